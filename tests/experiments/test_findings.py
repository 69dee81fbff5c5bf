"""What a log says: simulated logs of known truth, logs that are not done, the command."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from experiments.findings.__main__ import main
from experiments.findings.claims import FINDINGS, ask
from experiments.findings.following import second_seeds
from experiments.findings.laws import read_law
from experiments.findings.noise import arms, run_noise
from experiments.findings.parts import read
from experiments.findings.rule import Claim, claim, together
from experiments.findings.sections import sections
from scaling_laws.study import Noise
from tests.experiments import simulated as sim

BOTH = ("task_f1", "quiz")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Return a function that writes a simulated log and reads its parts."""
    folder = tmp_path_factory.mktemp("logs")

    def make(name, laws, chains, change=lambda frame: frame):
        frame = change(sim.frame_of(laws, chains, rng=1))
        return sim.write_log(folder / f"{name}.jsonl", frame)

    return make


def laws_of(path):
    """Fit both metrics."""
    parts = read(path)
    return {metric: read_law(parts, metric) for metric in BOTH}, parts


def test_findings_that_are_true(logged):
    outcomes, parts = laws_of(logged("true", sim.TRUE, sim.MAIN))
    held = outcomes["task_f1"].hold_out("kept")
    findings = ask(outcomes, {"task_f1": held}, parts)
    found, claims = ({f.name: getattr(f, k) for f in findings} for k in ("answer", "claims"))
    assert found == {"1": "yes", "2": "yes", "3": "yes", "4": "yes", "5": "yes",
                     "4, by general_kl": "not decidable"}  # fmt: skip
    assert claims["4, by general_kl"][0].said == "there is no law of general_kl."
    kept = np.linspace(0.16, 1.0, 500)
    left = {
        metric: sim.above_floor(sim.TRUE[metric], "label", 1024, kept)
        / sim.above_floor(sim.TRUE[metric], "label", 1024, 1.0)
        for metric in BOTH
    }
    label = next(c for c in claims["2"] if c.what.startswith("label"))
    assert label.low < (left["task_f1"] - left["quiz"]).max() < label.high
    ends = sim.above_floor(sim.TRUE["task_f1"], "label", 256, np.array([0.79, 0.16]))
    assert claims["1"][0].low < ends[0] - ends[1] < claims["1"][0].high
    assert set(held.chains) == set(held.errors.index)
    assert len(held.forecast.frame) == 14
    assert held.errors.mean() < held.guesses.min()


def test_findings_that_are_false(logged):
    outcomes, parts = laws_of(logged("false", sim.FALSE, sim.MAIN[:12]))
    claims = {name: tuple(FINDINGS[name][2](outcomes, {}, parts)) for name in ("2", "4", "5")}
    assert {together(c, needs_all=False) for c in claims.values()} == {"no"}
    assert all(c.high < 0 for c in claims["2"])
    kept = np.linspace(0.16, 1.0, 5000)
    left = sim.above_floor(sim.FALSE["task_f1"], "label", 1024, kept, sim.MAIN[:12])
    half = kept[np.argmin(np.abs(left / left[-1] - 0.5))]
    assert all(c.low < 0.16 - half < c.high for c in claims["5"])


def test_general_knowledge_that_more_examples_cost(tmp_path):
    rows = sim.rows_of(sim.MAIN)
    true = {"e": 1.0, "a": 0.3, "b": 0.4, "g": 0.9}
    true |= {f"c[{f}]": c for f, c in zip(sim.FORMATS, (0.9, 0.3, 0.3), strict=True)}
    design = rows[["examples", "kept", "format", "run_id", "chain_id"]]
    noise = Noise(run=0.006, chain=0.003)
    scored = sl.simulate(sl.laws.Forgetting(by="format"), design, true, noise, rng=3, metric="quiz")
    frame = rows.merge(scored.frame[["run_id", "quiz"]], on="run_id")
    one = read_law(read(sim.write_log(tmp_path / "log.jsonl", frame)), "quiz")
    assert "quiz gets worse with examples" in str(one.choice.verdicts)
    weights = one.forecast.weights
    assert weights[[f for f in weights.index if f.startswith("Forgetting")]].sum() > 0.9
    table = one.choice.fits["Forgetting(by=('format',))"].parameters
    for name in ("b", "g", *(f"c[{f}]" for f in sim.FORMATS)):
        assert table.loc[name, "low"] < true[name] < table.loc[name, "high"]
    at = pd.DataFrame({"examples": [64, 1024], "kept": 0.37, "format": "label"})
    fewer, more = one.forecast.predict(at)["estimate"]
    assert fewer > more


def test_the_noise_of_a_run_and_the_arms(logged):
    parts = read(logged("arms", sim.TRUE, sim.MAIN + sim.ARMS))
    noise = run_noise(parts)
    task = noise[noise["metric"] == "task_f1"]
    assert (task["df"] == 6).all()
    # A run's sd is .008, and .004 more with each stage of a chain.
    stage = np.arange(4, 0, -1)
    truth = np.sqrt(0.008**2 + stage * 0.004**2)
    assert (task["low"] < truth).sum() >= 3
    assert (task["high"] > truth).sum() >= 3
    table, missing = arms(parts, noise)
    assert missing == {}
    told = table.set_index(["arm", "metric", "kept"])["answer"]
    for kept in sim.TWO:
        assert told["one-shot - iterative", "task_f1", kept] == "worse"
        assert told["random - inherited weights", "task_f1", kept] == "worse"
        assert told["LoRA - all weights", "task_f1", kept] == "not decidable"
    assert [told["replay - none", "quiz", kept] for kept in sim.LEVELS] == ["better"] * 4
    taught = table[(table["arm"] == "taught - only pruned") & (table["metric"] == "task_f1")]
    assert np.allclose(taught["difference"], 0.3)
    assert (taught["pairs"] == 3).all()


def test_replay_is_no_student_of_the_grid(logged):
    parts = read(logged("replay", sim.TRUE, sim.MAIN[:2] + sim.ARMS))
    assert len(parts.students) == 8
    assert set(parts.log.frame["extra"]) == {"", "replay"}
    assert parts.formats == ("blended", "label")
    assert len(parts.teachers) == 2


def test_every_student_is_listed_with_its_arm(logged):
    path = logged("listed", sim.TRUE, sim.MAIN[:2] + sim.ARMS)
    table = next(s for s in sections(path, []) if s.title == "Rows and cost").tables["students"]
    students = read(path).done.frame.query("phase == 'distilled'")
    assert len(table) == len(students)
    assert (table["arm"] == "").sum() == 8
    assert {"one-shot", "one-shot lora", "scratch one-shot", "replay"} < set(table["arm"])
    assert sorted(table["task_f1"]) == sorted(students["task_f1"])


def test_the_cost_is_that_of_what_was_made_and_what_is_unknown_is_not_zero(logged):
    """A teacher adapted twice, students of known and of unknown processor time."""

    def timed(frame):
        second = frame["chain_id"].str.contains("-n1024-")
        teacher, pruned = frame["phase"] == "teacher", frame["phase"] == "pruned"
        frame["cpu_s"] = frame["wall_s"] / 2
        frame.loc[pruned, "cpu_s"] = np.nan
        frame.loc[teacher & second, "wall_s"] += 60.0
        return frame

    path = logged("timed", sim.TRUE, sim.MAIN[:6], timed)
    section = next(s for s in sections(path, []) if s.title == "Rows and cost")
    table = section.tables["cost"].set_index(["phase", "format"])
    assert table.loc[("teacher", ""), "rows"] == 2
    assert table.loc[("teacher", ""), "wall hours"] == pytest.approx((600 + 660) / 3600)
    students = 3 * sum(900 + stage for stage in range(1, 5)) / 3600
    assert table.loc[("distilled", "label"), "wall hours"] == pytest.approx(students)
    assert table.loc[("distilled", "label"), "CPU hours"] == pytest.approx(students / 2)
    assert table.loc["pruned", "wall hours"].gt(0).all()
    assert table.loc["pruned", "CPU hours"].isna().all()
    n = table.loc["pruned", "rows"].sum()
    assert f"The CPU hours of {n} rows (pruned) are unknown and in no sum." in section.lines[-1]


def test_teachers_that_were_adapted_anew_are_listed_and_told_in_the_noise(logged):
    """The chains of the second seed at one number of examples have another teacher."""

    def anew(frame):
        other = (frame["phase"] == "teacher") & frame["chain_id"].str.contains(r"-n64-\w+-s2$")
        frame.loc[other, "quiz"] -= 0.05
        return frame

    path = logged("anew", sim.TRUE, sim.MAIN[:12], anew)
    found = {s.title: s for s in sections(path, [])}
    table = found["Rows and cost"].tables["teacher"]
    assert sorted(zip(table["format"], table["quiz"], table["rows"], strict=True)) == [
        ("blended", pytest.approx(0.68), 1), ("blended", pytest.approx(0.73), 5),
        ("label", pytest.approx(0.68), 1), ("label", pytest.approx(0.73), 5),
    ]  # fmt: skip
    # Of three numbers of examples, two formats and four sizes, those of 64 examples.
    said = "Of 24 configurations with two seeds 8 had teachers that score apart"
    assert said in str(found["Noise of a run"]).replace("\n", " ")
    path = logged("alike", sim.TRUE, sim.MAIN[:12])
    assert "score apart" not in " ".join(s for one in sections(path, []) for s in one.lines)


def test_chains_forecast_from_the_others(logged):
    chains = [c for c in sim.MAIN if c[0] == "label"]
    one = read_law(read(logged("label", sim.TRUE, chains)), "task_f1")
    rows, failed = one.by_chain(lambda line: None)
    assert failed == {}
    assert len(rows) == 24
    assert rows["chain"].nunique() == 6
    # At 90 % fewer than 18 of 24 have a probability of .007, were rows independent.
    assert rows["covered"].sum() >= 18


def test_second_seeds_are_proposed_for_those_that_have_none(logged):
    """What has two seeds is not proposed; a chain stands where the first of its students does."""
    twice = [c for c in sim.MAIN if (c[0], c[1]) in (("label", 64), ("blended", 1024))]
    once = [c for c in sim.MAIN if c not in twice and c[2] == 1]
    parts = read(logged("next", sim.TRUE, twice + once))
    one = read_law(parts, "task_f1")
    found = second_seeds(one)
    chains = found.chains
    assert sorted(zip(chains["format"], chains["examples"], strict=True)) == sorted(
        (f, n) for f, n, *_ in once
    )
    assert (chains["students"] == 4).all()
    assert len(found.proposal.frame) == 4 * len(once)
    assert chains["place"].is_monotonic_increasing
    assert chains["left"].is_monotonic_decreasing
    # The first is what removes most for its cost, or most where all cost the same.
    frame = found.proposal.frame
    assert chains["place"].iloc[0] == 1
    best = frame.loc[frame["per_cost"].idxmax()]
    assert tuple(chains[["format", "examples"]].iloc[0]) == (best["format"], best["examples"])
    best = frame.loc[frame["reduction"].idxmax()]
    alike = chains.loc[chains["place_alike"] == 1].iloc[0]
    assert (alike["format"], alike["examples"]) == (best["format"], best["examples"])
    assert found.cost == "hours of its training"
    seconds = frame["cost"].to_numpy() * 3600
    assert set(np.round(seconds, 6)) == {900.0 + stage for stage in range(1, 5)}
    first = f"--again {chains['format'].iloc[0]}-n{chains['examples'].iloc[0]} "
    assert found.option.startswith(first)
    assert found.option.count("--again") == len(once)


def test_where_every_student_has_a_second_seed_none_is_proposed(logged):
    chains = [c for c in sim.MAIN if c[0] == "label"]
    assert second_seeds(read_law(read(logged("both", sim.TRUE, chains)), "task_f1")) is None


def test_a_log_that_is_not_done(logged, tmp_path, capsys):
    def torn(frame):
        failed = frame.iloc[[-1]].assign(
            run_id="x.failed-1", status="failed", error="out of memory", task_f1=np.nan, quiz=np.nan
        )
        return pd.concat([frame.iloc[:-2], failed], ignore_index=True)

    chains = [("label", 64, 1, "", sim.LEVELS, {}), ("label", 1024, 1, "", sim.LEVELS, {}),
              ("label", 64, 2, "", sim.LEVELS, {})]  # fmt: skip
    path = logged("part", {m: sim.TRUE[m] for m in BOTH}, chains, torn)
    options = [f"--metric={m}" for m in BOTH]
    with pytest.raises(SystemExit) as end:
        main([str(path), "--out", str(tmp_path / "out"), *options])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "Failed: x.failed-1: out of memory" in text
    assert "3. Supervision format is the key driver of that trade-off: NOT DECIDABLE" in text
    assert "it takes label and a format with reasoning" in text
    assert "one-shot - iterative: not decidable, no pair of runs: 0 rows" in text
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"findings.txt", "noise.csv", "claims.csv", "quiz_chains.csv", "divergence.png",
            "task_f1_kept.png", "task_f1_holdout_kept.png"} <= written  # fmt: skip
    claims = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(claims["answer"]) <= {"yes", "no", "not decidable"}
    assert (tmp_path / "out" / "findings.txt").read_text() in text


def test_a_log_of_two_chains(logged):
    path = logged("two", sim.TRUE, sim.MAIN[:2])
    found = {s.title: str(s) for s in sections(path, (*BOTH, "general_kl", "task_nll"))}
    assert "no configuration was run with two seeds" in found["Noise of a run"]
    assert "takes two numbers of examples" in found["Law of general_kl"]
    assert "no student of the grid has a task_nll" in found["Law of task_nll"]
    assert "levels of examples among the students: 1" in found["Hold-out of task_f1"]
    assert "no chain could be left out" in found["Coverage of task_f1 by chains"]
    assert "not identifiable from 4 kept levels" in found["Half points, knee, divergence"]
    assert "an interval takes 6 chains" in found["The paper's findings"]
    assert "no pair of runs" in found["Side arms"]
    assert "for 8 students of 2 chains that have one" in found["What next"]
    assert "These chains, in this order: experiments.sweep small --again " in found["What next"]


def test_a_log_of_a_teacher_alone(logged):
    path = logged("teacher", sim.TRUE, sim.MAIN[:2], lambda frame: frame.iloc[:1])
    found = {s.title: str(s) for s in sections(path, BOTH)}
    assert "1 rows accepted" in found["Rows and cost"]
    assert found["The paper's findings"].count("NOT DECIDABLE") == 6
    assert "there is no law of task_f1" in found["What next"]


def test_a_file_that_is_no_log_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "none.jsonl")])
    assert end.value.code == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_the_rule():
    yes, no, open_ = claim("a", 1, 0.5, 2), claim("b", -1, -2, -0.5), claim("c", 1, -1, 2)
    assert [c.answer for c in (yes, no, open_, Claim("d"))] == ["yes", "no", *["not decidable"] * 2]
    assert claim("e", 1, float("nan"), float("nan")).answer == "not decidable"
    for needs_all, claims, answer in (
        (False, (yes, open_), "yes"), (False, (no, open_), "no"),
        (False, (yes, no), "not decidable"), (False, (), "not decidable"),
        (True, (yes, yes), "yes"), (True, (yes, open_), "not decidable"), (True, (yes, no), "no"),
        (True, (), "not decidable"),
    ):  # fmt: skip
        assert together(claims, needs_all) == answer
