"""The demo on real runs: true answers from simulated logs, reasons from logs that are not done."""

import json
from dataclasses import replace

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.demo import run_demo
from scaling_laws.demo_rows import GENERAL, METRICS, TASK, places, plain_students
from scaling_laws.demo_show import _form
from scaling_laws.show import number
from scaling_laws.show_validation import held_words
from tests.experiments import simulated as sim

CHAINS = sim.MAIN[:12]  # label and blended, three numbers of examples, two seeds


def log_of(chains, change=lambda frame: frame, rng=1):
    return sl.read_runs(change(sim.frame_of(sim.TRUE, chains, rng=rng)))


@pytest.fixture(scope="module")
def demo():
    return run_demo(log_of(CHAINS + sim.ARMS))


def left(metric, format, kept):
    """The true share of a skill, at 1,024 examples."""
    whole = sim.above_floor(sim.TRUE[metric], format, 1024, 1.0, CHAINS)
    return sim.above_floor(sim.TRUE[metric], format, 1024, kept, CHAINS) / whole


def test_side_arms_teachers_and_the_untaught_are_not_fitted(demo):
    assert len(demo.students) == 4 * len(CHAINS)
    frame = demo.students.frame
    assert set(frame["phase"]) == {"distilled"}
    assert set(frame["schedule"]) == {"iterative"}
    assert set(frame["origin"]) == {"pruned"}
    assert not frame["chain_id"].str.contains("replay").any()
    said = " ".join(demo.text().split())
    others = demo.log.frame["phase"].value_counts()
    assert f"{others['teacher']} of the teacher" in said
    assert f"{others['pruned']} of students before they are taught" in said
    assert f"{others['distilled'] - len(frame)} of students that differ" in said


def test_nothing_is_open_in_a_whole_grid(demo):
    assert demo.undecided == {}
    assert set(demo.choices) == set(METRICS)
    assert set(demo.held) == {(m, axis) for m in METRICS for axis in ("kept", "examples")}
    assert places(demo.students) == [
        {"format": f, "examples": 1024.0} for f in ("blended", "label")
    ]


def test_half_points_are_the_true_ones(demo):
    kept = np.linspace(0.08, 1.0, 20_000)
    for format in ("label", "blended"):
        true = kept[np.argmin(np.abs(left(GENERAL, format, kept) - 0.5))]
        v = demo.halves[GENERAL, format].values
        assert v["low"] < true < v["high"]
        assert left(TASK, format, 0.08) > 0.5
        assert not demo.halves[TASK, format].found


def test_general_knowledge_goes_first_where_it_does(demo):
    kept = np.linspace(0.16, 1.0, 2000)
    for format in ("label", "blended"):
        true = (left(TASK, format, kept) - left(GENERAL, format, kept)).max()
        assert demo.gaps[format].found
        assert demo.gaps[format].values["low"] < true < demo.gaps[format].values["high"]


def test_the_task_goes_first_where_it_does():
    label = [c for c in CHAINS if c[0] == "label"]
    demo = run_demo(sl.read_runs(sim.frame_of(sim.FALSE, label, rng=1)))
    assert demo.undecided == {"Law of general_kl": "no student has a general_kl."}
    assert "it is quiz that keeps" in demo.gaps["label"].answer


def test_predictions_hold_the_truth(demo):
    table = demo.predictions
    assert len(table) == 8
    assert set(table["support"]) == {"seen"}
    inside = 0
    for row in table.to_dict("records"):
        for metric, floor in ((TASK, 0.0), (GENERAL, 0.25)):
            skill = sim.above_floor(sim.TRUE[metric], row["format"], 1024, row["kept"], CHAINS)
            true = floor + (1.0 - floor) * skill
            inside += row[f"{metric}_low"] < true < row[f"{metric}_high"]
    # A run's interval is wider than that of the truth; at 90 % fewer than 12 of 16 would have a
    # probability of .02, were rows independent.
    assert inside >= 12


def test_text(demo):
    text = demo.text()
    assert max(map(len, text.split("\n"))) <= 100
    for part in range(1, 7):
        assert f"\n{part}. " in text
    assert "48 of them fitted: distilled students in 12 chains" in " ".join(text.split())
    assert "one run" in text
    for choice in demo.choices.values():
        named = [_form(choice, label) for label in choice.fits]
        assert len(set(named)) == len(named) >= 8
    assert "additive Compressed (b by format)" in named


def test_no_share_is_taken_of_a_score_of_zero(demo):
    held = demo.held[TASK, "kept"]
    assert "without a law at best" in held_words(held)
    rows = held.frame.assign(observed=0.0, ratio=np.inf)
    said = held_words(replace(held, frame=rows))
    least = held.guesses.mean().min()
    mean = number(rows["estimate"].mean())
    assert said.startswith(f"mean |predicted - observed| {mean}, without a")
    assert f"at best {number(least)} ({held.guesses.mean().idxmin()})" in said
    assert "inf " not in said


def test_intervals_that_miss_are_told(demo):
    warning = "quiz beyond the kept seen: {} of 12 held-out rows inside 90 % intervals"
    held = demo.held[GENERAL, "kept"]
    # At 90 % eight of twelve or fewer have a probability of .026, nine of .11.
    for inside, told in ((8, True), (9, False)):
        covered = held.frame.assign(covered=np.arange(len(held.frame)) < inside)
        missed = replace(demo, held={(GENERAL, "kept"): replace(held, frame=covered)})
        assert (warning.format(inside) in " ".join(missed.text().split())) == told


def test_files(demo, tmp_path):
    written = demo.save(tmp_path / "out")
    assert {p.name for p in written} == {p.name for p in (tmp_path / "out").iterdir()}
    names = {p.name for p in written}
    figures = {f"{m}-{axis}.png" for m in METRICS for axis in ("kept", "examples")}
    assert figures | {"demo.png", "divergence.png", "predictions.csv", "demo.txt"} <= names
    for path in written:
        assert path.stat().st_size > 200
    for metric in METRICS:
        loaded = sl.load(tmp_path / "out" / f"{metric}.json")
        assert loaded.values == demo.choices[metric].best.values


def test_two_chains_say_what_they_do_not_fix():
    demo = run_demo(log_of(CHAINS[:2]))
    assert set(demo.choices) == {TASK, GENERAL}
    assert "takes two numbers of examples" in demo.undecided["Law of general_kl"]
    words = " ".join(demo.text().split())
    assert "no configuration was run with a second seed" in words
    assert "Law of general_kl: a law of general_kl, a loss, takes two" in words
    for why in demo.undecided.values():
        assert " ".join(why.split()) in words


def test_a_format_without_a_size_is_told_from_one_that_was_trained():
    def torn(frame):
        smallest = (frame["format"] == "blended") & (frame["kept"] < 0.3)
        return frame[~smallest]

    demo = run_demo(log_of(CHAINS[:4], torn))
    table = demo.predictions.set_index(["format", "kept"])["support"]
    assert table["blended", 0.16] != "seen"
    assert table["label", 0.16] == "seen"


def test_formats_without_common_examples_are_asked_at_their_own_most():
    chains = [c for c in CHAINS if c[:2] in {("label", 64), ("label", 256), ("blended", 1024)}]
    assert places(plain_students(log_of(chains))) == [
        {"format": "blended", "examples": 1024.0}, {"format": "label", "examples": 256.0},
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2])
def test_a_log_that_has_hardly_begun(rows, tmp_path):
    def begun(frame):
        taught = frame[frame["phase"] == "distilled"].index[: rows - 1]
        return frame.loc[[frame.index[0], *taught]]

    demo = run_demo(log_of(CHAINS[:1], begun))
    assert not demo.choices
    assert {f"Law of {m}" for m in METRICS} == set(demo.undecided)
    assert "Law of task_f1" in demo.text()
    assert {p.name for p in demo.save(tmp_path)} == {"demo.txt", "predictions.csv"}


def test_a_failed_run_is_no_student():
    def failed(frame):
        return frame.assign(status=np.where(frame.index == frame.index[-1], "failed", "ok"))

    assert len(plain_students(log_of(CHAINS[:1], failed))) == 3


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_the_command_shows_the_log_of_the_library(capsys):
    """However many rows it has by now, and should some be added meanwhile."""
    before = sl.load_example()
    code, out, _ = run(capsys, "demo", "--json")
    assert code == 0
    plain = json.loads(out)
    assert len(before) <= plain["rows"] <= len(sl.load_example())
    assert set(plain["fits"]) | {n.removeprefix("Law of ") for n in plain["undecided"]} >= {
        *METRICS
    }
    assert len(plain_students(before)) <= plain["fitted"] <= plain["rows"]


def test_the_command_shows_published_points(capsys):
    code, out, _ = run(capsys, "demo", "--published", "--json")
    assert code == 0
    assert {"headlines", "distilled", "pruned", "holdout"} <= set(json.loads(out))
    code, _, error = run(capsys, "demo", "--published", "--log", "runs.csv")
    assert code == 2
    assert "leave out --log" in error
