"""The what-if panel: what the page carries gives what `predict` gives, or the page says why not."""

import base64
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

import scaling_laws as sl
from scaling_laws.model import Link, bind
from scaling_laws.plot.style import level_looks
from scaling_laws.reporting.alone import SameRun
from scaling_laws.reporting.extent import Extent, extent_of
from scaling_laws.reporting.figures import curves
from scaling_laws.reporting.panel import fallback, payload, scales_of
from scaling_laws.reporting.program import STEPS, Program, Step, Untold, program_of
from scaling_laws.reporting.replay import Part, Replay, replay_of
from scaling_laws.study import Noise

L = sl.laws
FACTOR = "format"
# The page does the same operations on the same doubles, up to their order in a sum of four forms.
ROUNDING = 1e-12


# --- a law's steps --------------------------------------------------------------------------------
LOSS, SCORE = Link("log"), Link("logit", 0.25, 1.0, -1)
LAWS = [
    (L.Power(), SCORE), (L.Rectified(), LOSS), (L.Collapse(floor=0.1), Link("identity")),
    (L.Plateau(top=1.0), Link("identity")), (L.Chinchilla(), LOSS), (L.Kaplan(), LOSS),
    *[(L.Compressed(k, by=FACTOR), SCORE)
      for k in ("additive", "multiplicative", "interaction", "rectified", "size")],
    (L.Compressed("interaction"), LOSS), (L.Forgetting("interaction"), SCORE),
    (L.Broken(breaks=2, between=(10.0, 1e6)), LOSS), (L.P2(), LOSS), (L.Pruning(), LOSS),
    (L.Repeated(), LOSS), (L.Sparsity(), LOSS), (L.Supervised(), LOSS), (L.Transferred(), LOSS),
    (L.FineTuning(), LOSS), (L.LossToError(), Link("identity")),
]  # fmt: skip
RANGES = {"kept": (0.1, 1.0), "examples": (1e2, 1e6)}


def at_random(law, link, source, count):
    """A model at random rows, and parameters over what a fit searches."""
    raw = {
        a.name: np.exp(source.uniform(*np.log(RANGES.get(a.name, (1e7, 1e10))), count))
        for a in law.axis_list()
    }
    levels = ("blended", "label") if law.by else ("",)
    model = bind(law, raw, np.arange(count) % len(levels), levels, link)
    theta = []
    for name in model.names:
        one = model.param(name)
        low, high = one.search or (max(one.lower, -1.0), min(one.upper, 2.0))
        if one.scale == "log":
            low, high = max(low, 1e-6), max(high, 1e-3)
        ends = [float(one.inward(v)) for v in (low, high)]
        theta.append(source.uniform(*ends, 5))
    return model, raw, np.array(theta)


@pytest.mark.parametrize(("law", "link"), LAWS, ids=lambda one: getattr(one, "name", ""))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_steps_give_the_curve_of_every_law(law, link, seed):
    """Traced at one sample, run at other places and parameters: bit for bit `residual_mean`."""
    source = np.random.default_rng(seed)
    model, raw, theta = at_random(law, link, source, 12)
    _, places, others = at_random(law, link, source, 3)
    rows = [[c[code % len(c)] for c in model.columns.values()] for code in model.codes]
    sample = dict(zip(model.columns, others[rows[0]], strict=True))
    program = program_of(model, places, sample)
    curve = model.residual_mean(theta.T).T
    for i, row in enumerate(rows):
        found = program.run({k: v[[i]] for k, v in raw.items()}, theta[row])
        np.testing.assert_array_equal(found[0], curve[i])


def bound(function):
    law = L.from_function(function, ["examples"])
    raw = {"examples": np.array([10.0, 100.0, 1000.0])}
    return bind(law, raw, np.zeros(3, np.intp), ("",), LOSS), raw, {"size": np.array([1.0, 2.0])}


def test_a_step_done_twice_or_for_nothing_stands_once_or_not_at_all():
    def own(examples, size):
        np.sqrt(examples)
        return np.exp(-size) * np.log(examples) + np.exp(-size)

    program = program_of(*bound(own))
    names = ["negative", "exp", "log", "multiply", "add", "log"]
    assert [step.name for step in program.steps] == names
    assert program.fixed == 2
    found = program.run({"examples": np.array([50.0])}, np.array([[1.0, 3.0]]))
    np.testing.assert_array_equal(found, np.log([own(50.0, np.array([1.0, 3.0]))]))


def test_functions_of_whole_arrays_are_steps():
    def own(examples, size):
        out = np.zeros_like(examples) + np.ones_like(size) + np.full_like(size, 2.0)
        out += np.clip(examples, 20.0, None) * np.where(size > 1.5, size, 0.5)
        return np.broadcast_to(out, (3, 2)) + np.ones((3, 2))

    model, raw, params = bound(own)
    got = program_of(model, raw, params).run(raw, [params["size"]])
    kept = np.array([20.0, 100.0, 1000.0])[:, None]
    np.testing.assert_array_equal(got, np.log(4.0 + kept * [[0.5, 2.0]]))


def masked(examples, size):
    out = np.array(examples)
    out[examples > 100] = size
    return out


def decided(examples, size):
    return size if examples > 100 else examples


def summed(examples, size):
    return np.cumsum(examples * size)


def tabled(examples, size):
    return size + np.array([1.0, 2.0, 3.0])


def reduced(examples, size):
    return np.add.reduce(examples * size)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (masked, "masked"), (decided, "ambiguous"), (summed, "np.cumsum"),
        (tabled, "an array of different constants"), (reduced, "np.add in a way"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_refused_with_what_to_write(function, words):
    with pytest.raises(Untold, match=re.escape(words)) as refused:
        program_of(*bound(function))
    assert "np.where for if" in str(refused.value)


def test_the_page_knows_every_step():
    script = (files("scaling_laws.reporting") / "panel.js").read_text(encoding="utf-8")
    told = re.search(r"const OPERATIONS = \{(.*?)\n  \};", script, re.DOTALL)
    assert told is not None
    names = re.findall(r"(?:^|, |\n)\s*(\w+): ", told.group(1))
    assert sorted(names) == sorted(STEPS)


# --- what the page carries ------------------------------------------------------------------------
def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<f8")


def unpacked(packed, scales, factors):
    """A replay from nothing but the page's data."""
    own = tuple(
        replace(scales[a["at"]], low=a["low"], high=a["high"], seen=tuple(a["seen"]))
        for a in packed["axes"]
    )
    names = [scale.name for scale in own]
    parts = []
    for part in packed["parts"]:
        width = len(part["rows"][0])
        program = Program(
            tuple(names[i] for i in part["inputs"]), tuple(f"p{i}" for i in range(width)),
            numbers(part["constants"]), tuple(Step(name, tuple(of)) for name, *of in part["steps"]),
            part["fixed"], part["result"],
        )  # fmt: skip
        noise, stages = numbers(part["noise"]), numbers(part["stages"]).reshape(2, -1)
        table = numbers(part["table"]).reshape(-1, 1 + len(noise))
        rows = np.array(part["rows"], np.intp)
        parts.append(Part(program, table, rows, part["weight"], part["admissible"], noise, stages))
    chosen = {factors[i]["name"]: tuple(factors[i]["levels"]) for i in packed["factors"]}
    combinations = int(np.prod([len(levels) for levels in chosen.values()]))
    support = np.frombuffer(base64.b64decode(packed["support"]), np.uint8)
    extent = Extent(own, chosen, support.reshape(combinations, -1))
    bounds = None if packed["bounds"] is None else tuple(packed["bounds"])
    growth = packed["growth"]
    return Replay(extent, tuple(parts), packed["log"], bounds, packed["level"], growth)


def random_states(extent, count, seed):
    source = np.random.default_rng(seed)
    known = extent.combinations
    states = known.iloc[source.integers(len(known), size=count)].reset_index(drop=True)
    places = {scale.name: scale.spread(source.uniform(size=count)) for scale in extent.scales}
    return states.assign(**places)


def worst(forecast, states, read, level=0.9):
    """The largest error of what was read, each point asked alone, over the interval's width."""
    found = []
    for i in range(len(states)):
        point, shown = states.iloc[[i]], read.iloc[i]
        mean = forecast.predict(point, interval="mean", level=level).iloc[0]
        run = forecast.predict(point, interval="run", level=level).iloc[0]
        narrow, wide = mean["high"] - mean["low"], run["high"] - run["low"]
        gaps = [(abs(mean[name] - shown[name]), narrow) for name in ("estimate", "low", "high")]
        gaps += [(abs(run[name] - shown[f"run_{name}"]), wide) for name in ("low", "high")]
        # What agrees to the last digit is right in an interval of no width, too.
        found += [gap / width if gap else 0.0 for gap, width in gaps]
    return max(found)


@pytest.fixture(scope="module")
def shipped():
    """The page of the shipped runs, as `report` makes it unasked: two metrics of four forms."""
    rows = {"phase": "distilled", "format": ["label", "blended"]}
    return sl.report(sl.load_example().select(rows))


def test_panel_agrees_with_predict_on_the_shipped_log(shipped):
    found = shipped.findings
    assert list(found.outcomes) == ["task_f1", "quiz"]
    page = payload(found)
    scales = list(scales_of(found).values())
    for one, packed in zip(found.outcomes.values(), page["metrics"], strict=True):
        assert len(packed["parts"]) == 4
        states = random_states(one.extent, 50, 3)
        read = unpacked(packed, scales, page["factors"]).read(states)
        assert worst(one.forecast, states, read) < ROUNDING
        assert one.replay.error < ROUNDING


def test_the_shipped_log_pools_no_methods_and_schedules(shipped):
    found = shipped.findings
    frame = found.first.choice.best.problem.frame
    by = ["origin", "schedule", "format", "method"]
    assert list(found.factors) == by
    assert not [n for n in found.first.choice.notes if "pooled" in n.sentence]
    runs = set(frame[by].astype(str).itertuples(index=False, name=None))
    for one in found.outcomes.values():
        assert set(one.extent.combinations.itertuples(index=False, name=None)) == runs
        assert len(one.extent.combinations) < np.prod([len(v) for v in found.factors.values()])
    page = payload(found)
    assert [f["name"] for f in page["factors"]] == by


def test_levels_that_no_run_has_together_have_no_answer(shipped):
    one = shipped.findings.first
    every = pd.MultiIndex.from_product(one.extent.factors.values(), names=one.extent.factors)
    states = every.to_frame(index=False).assign(examples=256.0, kept=0.5)
    read = one.replay.read(states)
    known = one.extent.has_runs(states)
    assert 0 < known.sum() < len(known)
    assert read[~known].isna().all(axis=None)
    assert read[known].notna().all(axis=None)
    assert (one.extent.support[~known] == 3).all()
    assert (one.extent.support[known] < 3).all()
    script = (files("scaling_laws.reporting") / "panel.js").read_text(encoding="utf-8")
    assert "UNSEEN = 3;" in script
    # The table for who has no script has the combinations of the log only.
    assert "no run has these levels" not in shipped.html


def test_a_metric_that_lacks_levels_says_so_in_the_table(shipped):
    found = shipped.findings
    outcomes = dict(found.outcomes)
    one = outcomes["quiz"]
    support = one.extent.support.copy()
    support[one.extent.combinations.index[0]] = 3
    outcomes["quiz"] = replace(one, extent=replace(one.extent, support=support))
    assert "no run has these levels" not in fallback(found)
    assert "no run has these levels" in fallback(replace(found, outcomes=outcomes))


def test_a_curve_has_a_line_for_levels_with_runs_in_the_colour_of_the_fit(shipped):
    one, found = shipped.findings.first, shipped.findings
    scale = next(s for s in one.extent.scales if s.name == "kept")
    ax = curves(one, scale, found.point, 0.9)
    legend = ax.get_legend()
    told = {t.get_text(): to_hex(h.get_color()).upper()
            for t, h in zip(legend.get_texts(), legend.legend_handles, strict=True)}  # fmt: skip
    looks = level_looks(one.choice.best.model.levels)
    assert told == {level.replace("|", ", "): look[0] for level, look in looks.items()}
    assert legend.get_title().get_text() == "origin, schedule, format, method"


def test_page_of_the_shipped_log_is_small_and_says_how_well_it_agrees(shipped):
    assert len(shipped.html.encode()) < 2e6
    assert (
        "At 60 random places it differs from the forecast by less than 0.000001 % of"
        in shipped.html
    )


def forecast_of(runs, laws, metric):
    forecast = sl.choose(laws, runs, metric).forecast
    return forecast, extent_of(forecast.best, {n: ("label", "r") for n in forecast.best.law.by})


def chained(source, metric="task_f1"):
    """Runs of two chains a format whose errors are inherited, four sizes each."""
    design = pd.MultiIndex.from_product(
        [["label", "r"], [1, 2], [2000, 30_000], [1.0, 0.6, 0.35, 0.2]],
        names=[FACTOR, "seed", "examples", "kept"],
    ).to_frame(index=False)
    design["chain_id"] = [
        f"{f}{s}{n}"
        for f, s, n in zip(design[FACTOR], design["seed"], design["examples"], strict=True)
    ]
    law = L.Compressed("multiplicative", by=FACTOR)
    truth = {"e": 2.2, "a[label]": 1.0, "a[r]": 1.3, "b": 0.35, "g": 0.5}
    return sl.simulate(law, design, truth, Noise(chain=0.03), source, metric=metric)


def test_a_run_deep_in_a_chain_is_as_uncertain_as_predict_says():
    laws = [L.Compressed(k, by=FACTOR) for k in ("multiplicative", "additive")]
    forecast, extent = forecast_of(chained(2), laws, "task_f1")
    replay = replay_of(forecast, extent)
    assert any(part.stages.size and np.ptp(part.stages[1]) > 0 for part in replay.parts)
    states = random_states(extent, 50, 4)
    assert worst(forecast, states, replay.read(states)) < ROUNDING


def test_published_collapse():
    """A steep law of one axis without a factor."""
    points = sl.presets.load_points("qwen3-8b-pruned").frame
    rows = points[points["phase"].isin(["teacher", "distilled"])]
    forecast, extent = forecast_of(rows, [L.Collapse()], "mmlu")
    states = random_states(extent, 30, 1)
    read = replay_of(forecast, extent, level=0.8).read(states)
    assert worst(forecast, states, read, level=0.8) < ROUNDING


def losses(examples, floor, size, rate):
    return floor + size * examples**-rate


def aliased(examples, floor, size, rate):
    """Changes an array under two names, which no step does."""
    out = examples**-rate
    same = out
    same *= size
    return floor + out


def own_law(function):
    source = np.random.default_rng(5)
    sizes = np.tile(10.0 ** np.arange(2, 7), 2)
    noise = np.exp(source.normal(0, 0.01, len(sizes)))
    rows = pd.DataFrame({"examples": sizes, "loss": losses(sizes, 1.0, 9.0, 0.4) * noise})
    start = {"floor": (0, 2), "size": (0, 20), "rate": (0.01, 2)}
    return sl.read_runs(rows), [L.from_function(function, ["examples"], start)]


def test_a_plain_function_is_repeated():
    forecast, extent = forecast_of(*own_law(losses), "loss")
    replay = replay_of(forecast, extent)
    assert replay.log
    states = random_states(extent, 30, 6)
    assert worst(forecast, states, replay.read(states)) < ROUNDING


def test_a_law_that_the_page_cannot_follow_is_refused():
    forecast, extent = forecast_of(*own_law(aliased), "loss")
    with pytest.raises(Untold, match=r"aliased misses `predict` by .* more than 0.01"):
        replay_of(forecast, extent)


def test_more_numbers_than_fit_are_refused_with_what_to_ask():
    forecast, extent = forecast_of(*own_law(losses), "loss")
    needed = replay_of(forecast, extent).numbers
    assert replay_of(forecast, extent, most=needed).numbers == needed
    with pytest.raises(Untold, match=f"needs {needed} numbers; with more than {needed - 1}"):
        replay_of(forecast, extent, most=needed - 1)


def test_the_page_says_why_there_is_no_what_if():
    def bent(examples, floor, size, rate):
        out = np.array(losses(examples, floor, size, rate))
        out[out > 1e6] = 1e6
        return out

    runs, laws = own_law(bent)
    made = sl.report(runs, laws=laws, at_most={"loss": 0.5})
    why = made.findings.first.replay
    assert isinstance(why, str)
    assert "Not here: the page cannot repeat the formula of bent" in made.html
    assert payload(made.findings)["metrics"] == []
    assert "Predictions as a table" in made.html
    # A probability that the answer tells is not told again after it.
    answer = made.findings.decisions["Labels needed"].answer
    assert re.search(r"probability \d", answer)
    assert f"{answer}<" in made.html


def test_one_run_has_the_same_luck_everywhere():
    fit = sl.fit(L.Power(), own_law(losses)[0], "loss")
    sizes = [200.0, 3e3, 5e4]
    together = fit.predict(examples=sizes, interval="run", rng=SameRun.of(fit.seed))
    for i, n in enumerate(sizes):
        alone = fit.predict(examples=n, interval="run").iloc[0]
        assert alone["low"] == together["low"][i]
        assert alone["high"] == together["high"][i]


def test_support_is_told_at_the_nodes():
    runs = chained(3)
    # A format without many examples: with them it is a corner.
    runs = runs.select((runs.frame[FACTOR] == "label") | (runs.frame["examples"] < 30_000))
    forecast, extent = forecast_of(runs, [L.Compressed("additive", by=FACTOR)], "task_f1")
    nodes = pd.MultiIndex.from_product(
        [*extent.factors.values(), *(s.values for s in extent.scales)],
        names=[*extent.factors, *(s.name for s in extent.scales)],
    ).to_frame(index=False)
    words = forecast.predict(nodes)["support"]
    told = np.array(["inside", "corner", "outside"])[extent.support.ravel()]
    assert (words.to_numpy() == told).all()
    assert set(told) == {"inside", "corner", "outside"}
