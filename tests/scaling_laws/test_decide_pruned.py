"""Students by the fraction kept: the sizes they are priced at, and the bits they are scored at."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from tests.logs import grid

WORK = {"tokens_in": 34, "tokens_out": 4}
SERVING = sl.cost.Serving("H100", **WORK)
WHOLE = "SmolLM2-135M"
# How the students of the shipped log were cut: experiments/grids.py.
GRID = {"split": {"layers": 1, "ffn": 1}, "rounding": {"ffn": 64}}
LAW = sl.laws.Compressed("interaction", by="format")
# A step of a layer, or of 64 of the feed-forward network, of the smallest of these students.
STEP = 0.04


@pytest.fixture(scope="module")
def runs():
    return sl.load_example().select(
        {"phase": "distilled", "origin": "pruned", "schedule": "iterative", "method": "full",
         "format": ["label", "blended"]}
    )  # fmt: skip


@pytest.fixture(scope="module")
def fit(runs):
    return sl.fit(LAW, runs, "task_f1")


@pytest.fixture(scope="module")
def logged(runs):
    """Parameters by the fraction kept, as the log has them."""
    return runs.frame.groupby("kept")["params"].first()


def ask(fit, **given):
    options = {"serving": SERVING, "shape": WHOLE, "examples": 1024, "format": "label"}
    return sl.decide.smallest(fit, at_least=0.5, **{**options, **given})


def refitted(runs, **columns):
    """Fit the same runs with columns set, or dropped where they are None."""
    frame = runs.frame.drop(columns=[c for c, v in columns.items() if v is None])
    return sl.fit(LAW, frame.assign(**{c: v for c, v in columns.items() if v is not None}),
                  "task_f1")  # fmt: skip


def codes(found):
    return [note.code for note in found.notes]


# --- sizes ----------------------------------------------------------------------------------------
def test_students_of_the_log_are_priced_at_their_own_parameters(fit, logged):
    found = ask(fit, kept=list(logged.index))
    priced = found.frame.set_index("kept")["params"].sort_index()
    assert len(logged) == 4
    assert priced.to_dict() == logged.to_dict()
    assert "other_students" not in codes(found)
    compared = sl.decide.compare_formats(fit, serving=SERVING, shape=WHOLE, examples=1024)
    by_kept = found.frame.set_index("kept")["price"]
    label = compared.frame[compared.frame["format"] == "label"].set_index("kept")["price"]
    assert label.to_dict() == pytest.approx(by_kept.to_dict(), rel=1e-12)


def test_between_them_sizes_rise_with_the_fraction(fit):
    frame = ask(fit).frame.sort_values("kept")
    assert len(frame) == 41
    assert frame["params"].is_monotonic_increasing
    assert frame["latency_ms"].is_monotonic_increasing
    # kept counts what is not embedding; no student of this log has less of that.
    whole = sl.cost.shape(WHOLE)
    reached = frame["params"] - (whole.params - whole.params_nonembedding)
    off = (reached / whole.params_nonembedding - frame["kept"]).abs().max()
    # Half of a layer and of 64 of the feed-forward network, where both are rounded at once.
    assert off < (1 / 30 + 64 / 1536) / 2


def test_the_split_of_the_grid_has_the_parameters_of_the_log(runs, logged):
    """Without the sizes in the log, the way in which they were planned."""
    blind = refitted(runs, layers=None)
    found = ask(blind, kept=list(logged.index), pruning=GRID)
    priced = found.frame.set_index("kept")["params"].sort_index()
    # The smallest was rounded on from a larger student, not from the whole model.
    assert priced.iloc[1:].to_dict() == logged.iloc[1:].to_dict()
    assert priced.iloc[0] == pytest.approx(logged.iloc[0], rel=STEP)
    assert "other_students" not in codes(found)


def test_another_way_to_cut_and_another_model_are_told(runs, fit):
    blind = refitted(runs, layers=None, kept_of=None)
    for found, words in (
        (ask(blind, kept=[0.57, 0.78]), "that of SmolLM2-135M, which is priced, can't be cut"),
        (ask(fit, kept=[0.57], pruning={"split": "width"}), "that of SmolLM2-135M, which is pric"),
        (ask(fit, kept=[0.57], shape="Qwen3-8B"), "that of Qwen3-8B, which is priced, has "),
    ):
        note = next(n for n in found.notes if n.code == "other_students")
        assert note.severity == "warning"
        assert words in note.sentence


def test_a_fraction_of_unlike_things_is_refused(runs, fit):
    half = np.where(runs.frame["kept"] < 0.5, "total", "nonembedding")
    mixed = refitted(runs, kept_of=half)
    with pytest.raises(ValueError, match="kept is a fraction of nonembedding parameters in some r"):
        ask(mixed)
    # Nothing is cut, so nothing is asked of them.
    assert ask(mixed, serving=None, shape=None).found
    with pytest.raises(ValueError, match="kept_of = 'total', but the rows count 'nonembedding'"):
        ask(fit, pruning={"kept_of": "total"})
    with pytest.raises(ValueError, match="pruning has no 'slit'; it has kept_of, split, rounding"):
        ask(fit, pruning={"slit": "depth"})
    with pytest.raises(ValueError, match="pruning = 'depth' is no mapping; write pruning={"):
        ask(fit, pruning="depth")


def test_too_small_a_student_says_how_to_cut_it(runs):
    blind = refitted(runs, layers=None, kept_of=None)
    with pytest.raises(ValueError, match=r"kept = 0.156312 is below 0.219.*Write pruning="):
        ask(blind)


def test_two_ways_to_cut_in_one_log(runs):
    """A student without two of its layers, and one as large without some of its network."""
    frame = runs.frame.copy()
    deep = sl.cost.shape(WHOLE).variants(layers=17)
    wide = frame.loc[frame["kept"].round(3) == 0.573].index[0]
    frame.loc[wide, ["layers", "ffn"]] = [deep["layers"][0], deep["ffn"][0]]
    frame.loc[wide, "kept"] = 17 / 30
    both = sl.fit(LAW, frame, "task_f1")
    with pytest.raises(ValueError, match="students of the log are cut in more than one way"):
        ask(both)
    assert ask(both, pruning=GRID).frame["price"].notna().all()


def test_a_law_of_parameters_is_cut_to_its_parameters(runs, logged):
    full = sl.cost.shape(WHOLE).params
    law = sl.laws.Compressed("multiplicative", by="format", size="params", full=full)
    fit = sl.fit(law, runs, "task_f1")
    frame = ask(fit, params=[44912448.0, 67813056.0, 89163072.0]).frame
    assert sorted(frame["params"]) == logged.iloc[:3].tolist()


def test_plan_counts_what_the_runs_or_the_caller_say(logged):
    runs = pd.DataFrame({"kept": logged.index, "examples": 1024.0})
    sizes = [sl.cost.training(p, 1024 * 40).gpu_hours[0] for p in logged]
    for given, options in (
        (runs, {"kept_of": "nonembedding", **GRID}),
        (runs.assign(kept_of="nonembedding"), GRID),
    ):
        found = sl.decide.plan(given, model=WHOLE, tokens=40, pruning=options)
        hours = found.frame["gpu_hours_low"].to_numpy()
        assert hours == pytest.approx(sizes, rel=STEP)
        assert hours[1:] == pytest.approx(sizes[1:], rel=0.01)
    with pytest.raises(ValueError, match="kept = 0.156312 is below 0.219.*Write pruning="):
        sl.decide.plan(runs, model=WHOLE, tokens=40)


# --- bits of a weight -----------------------------------------------------------------------------
def test_a_quantised_student_is_told_to_be_scored_unquantised(fit):
    plain = ask(fit)
    assert "scored_unquantised" not in codes(plain)
    bits = sl.cost.Serving("H100", weight_bits=4, **WORK)
    small = sl.cost.shape(WHOLE).quantised(4)
    answers = [ask(fit, weight_bits=4), ask(fit, serving=bits), ask(fit, shape=small)]
    for found in answers:
        note = next(n for n in found.notes if n.code == "scored_unquantised")
        assert note.severity == "warning"
        assert "students (4 bits a weight)" in note.sentence
        # Their bill is that of 4 bits all the same.
        assert found.frame["memory"].max() < 0.6 * plain.frame["memory"].max()
        assert found.frame["price"].to_numpy() == pytest.approx(
            answers[0].frame["price"].to_numpy(), rel=1e-12
        )
    assert "scored_unquantised" in codes(ask(fit, serving=None, shape=None, weight_bits=8))


def test_a_law_of_the_bits_scores_each_at_its_own():
    design = grid(
        examples=[1e3, 8e3, 6e4], params=[1e9, 4e9, 8e9], weight_bits=[4.0, 16.0],
        origin=["pruned", "pretrained"],
    )  # fmt: skip
    law = sl.laws.Compressed(
        "multiplicative", by=("origin", "weight_bits"), size="params", full=32e9
    )
    names = [f"[{origin}|{bits}]" for origin in ("pruned", "pretrained") for bits in (4.0, 16.0)]
    truth = {"e": 2.5, "b": 0.35, "g": 0.4}
    truth |= {f"a{n}": 0.4 + 0.2 * i for i, n in enumerate(names)}
    fit = sl.fit(law, sl.simulate(law, design, truth, 0.005, 1, metric="task_f1"), "task_f1")
    large = sl.cost.shape("Qwen3-8B")
    found = sl.decide.compare_origins(
        fit,
        "Qwen3-32B",
        [large, large.quantised(4)],
        examples=6e4,
        origins=("pruned", "pretrained"),
    )
    assert "scored_unquantised" not in codes(found)
    scores = found.frame["other"].tolist()
    for score, bits in zip(scores, (16.0, 4.0), strict=True):
        point = {"examples": 6e4, "params": large.params, "origin": "pretrained",
                 "weight_bits": bits}  # fmt: skip
        assert score == pytest.approx(fit.predict(point, interval=None)["estimate"][0], rel=1e-9)
    assert scores[0] != scores[1]
    assert found.frame["student"].nunique() == 1
    with pytest.raises(ValueError, match=r"weight_bits = 8 was not in the log; it had 16.0, 4.0"):
        sl.decide.compare_origins(fit, "Qwen3-32B", [large.quantised(8)], examples=6e4)


def test_origins_of_one_size_by_what_kept_counts():
    """A model of the same size has another share of embeddings, so another fraction kept."""
    design = grid(examples=[1e3, 8e3, 6e4], kept=[0.2, 0.4, 0.8], origin=["pruned", "pretrained"])
    law = sl.laws.Compressed("multiplicative", by="origin")
    truth = {"e": 2.5, "a[pruned]": 0.3, "a[pretrained]": 0.5, "b": 0.35, "g": 0.4}
    frame = sl.simulate(law, design, truth, 0.005, 1, metric="task_f1").frame
    fit = sl.fit(law, frame.assign(kept_of="nonembedding"), "task_f1")
    whole, other = sl.cost.shape("Qwen3-8B"), sl.cost.shape("Qwen3-4B")
    found = sl.decide.compare_origins(fit, whole, [other], examples=6e4, pruning={"split": "depth"})
    outside = whole.params - whole.params_nonembedding
    kept = {
        "student": ((other.params - outside) / whole.params_nonembedding, "pruned"),
        "other": (other.params_nonembedding / whole.params_nonembedding, "pretrained"),
    }
    for side, (k, origin) in kept.items():
        exact = fit.predict(examples=6e4, kept=k, origin=origin, interval=None)["estimate"][0]
        assert found.frame[side][0] == pytest.approx(exact, rel=1e-9)
    assert kept["other"][0] - kept["student"][0] > 0.05
    with pytest.raises(ValueError, match=r"no student of Qwen3-8B has 596,049,920 parameters"):
        sl.decide.compare_origins(
            fit, whole, ["Qwen3-0.6B"], examples=6e4, pruning={"split": "depth"}
        )
