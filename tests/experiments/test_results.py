"""The measured rows: legal, of the grid as it stands, and each once."""

import json
from pathlib import Path

import pytest

import scaling_laws as sl
from distill.general import GENERAL_KL
from experiments import grids
from experiments.findings.parts import read
from scaling_laws.demo_rows import plain_students

LOG = Path(__file__).parents[2] / "experiments" / "results" / "smollm2-135m.jsonl"

# Name of the teacher's folder, which the hashes of these rows hold.
TEACHER = "smollm2-135m"

# The quiz of the model before it was adapted, and how much of it the adaptation may cost.
BASE_QUIZ, QUIZ_DROP = 0.575, 0.05

SCORED = ("task_f1", "task_accuracy", "task_nll", "task_brier")

# Fields of the schema that no row of this log can have.
NONE_HAS = {
    "status": "only a row that failed says so",
    "error": "only a row that failed has one",
    "gpu_hours": "made without a GPU",
    **dict.fromkeys(("answer_s", "items", "items_sha256"), "logged since, by a later version"),
    **{f"{m}{part}": "not measured here: general knowledge is the quiz and the KL of general text"
       for m in ("mmlu", "mmlu_pro", "loss") for part in ("", "_se", "_n")},
}  # fmt: skip
UNTAUGHT = dict.fromkeys(("method", "target", "temperature"), "says how a student was taught")
PHASE_HAS_NOT = {
    "teacher": {
        "parent_id": "a chain begins with it",
        **dict.fromkeys(("prune_axis", "schedule", "step_kept"), "says how a model was pruned"),
        **UNTAUGHT,
    },
    "pruned": {
        "stopped_by": "pruning is no training, which something would end",
        "cpu_s": "pruning measures seconds on the clock alone",
        **UNTAUGHT,
    },
    "distilled": {},
}


@pytest.fixture(scope="module")
def log():
    return sl.read_runs(LOG, metrics=[GENERAL_KL])


@pytest.fixture(scope="module")
def done(log):
    """Rows that did not fail."""
    return log.frame[log.frame["status"] != "failed"] if "status" in log.frame else log.frame


@pytest.fixture(scope="module")
def runs():
    """All chains of the grid, with the second seeds that may be asked for beyond its own."""
    again = [(f, n) for f in ("label", "blended") for n in (64, 128, 256, 512, 1024)]
    grid = grids.small(Path("grid"), Path(TEACHER), again=again)
    return {run.name: run.config for run in grid}


def test_every_row_is_read_and_stands_once(log):
    assert not len(log.rejected)
    assert log.frame["run_id"].is_unique


def test_every_row_is_of_the_grid_and_has_its_settings(log, runs):
    """A row's hash names settings that `experiments.grids.small` still gives."""
    for row in log.frame.to_dict("records"):
        config = runs[row["chain_id"]]
        assert row["config_hash"] == config.hash
        assert row["format"] == config.supervision.format
        assert row["seed"] == config.seed
        if row["phase"] == "distilled":
            assert row["examples"] == config.data.train
            assert row["schedule"] == config.prune.schedule


def test_every_row_has_every_field_that_it_can_have(log):
    """Read from the file itself: a field that is empty is none."""
    schema = {"schema_version", *log.schema.rules}
    assert NONE_HAS.keys() < schema
    lines = [json.loads(line) for line in LOG.read_text("utf-8").splitlines()]
    done = [row for row in lines if row.get("status") != "failed"]
    assert {row["phase"] for row in done} == set(PHASE_HAS_NOT)
    for row in done:
        has = {name for name, value in row.items() if value not in (None, "")}
        assert has == schema - NONE_HAS.keys() - PHASE_HAS_NOT[row["phase"]].keys(), row["run_id"]


def test_every_teacher_passed_the_gate_and_is_alike_in_all_its_chains(done):
    """Chains that share an adaptation, told by its seconds, score it alike to the last digit.

    It was made anew where a sitting had no teacher of the one before.
    """
    teachers = done[done["phase"] == "teacher"]
    by_format = teachers.groupby(["wall_s", "format"])[["task_f1", "task_nll"]].nunique()
    assert (by_format == 1).all(axis=None)
    assert (teachers.groupby("wall_s")[["quiz", "general_kl"]].nunique() == 1).all(axis=None)
    assert (teachers["task_f1"] >= 0.85).all()
    assert (teachers["quiz"] >= BASE_QUIZ - QUIZ_DROP).all()


def test_the_gates_limits_are_those_of_the_configuration(runs):
    for config in runs.values():
        assert (config.adapt.gate.task_f1, config.adapt.gate.quiz_drop) == (0.85, QUIZ_DROP)


def test_scores_have_their_errors_and_items(done):
    """2,000 headlines by likelihood; where reasoning is written first, half of them."""
    label = done["format"] == "label"
    for metric in SCORED:
        assert (done.loc[label, f"{metric}_n"] == 2000).all()
        assert (done.loc[~label, f"{metric}_n"] == 1000).all()
    assert (done["quiz_n"] == 1000).all()
    assert (done["general_kl_n"] == 100).all()
    for metric in (*SCORED[1:], "quiz", "quiz_nll", "general_kl"):
        assert (done[f"{metric}_se"] > 0).all()
    # With so many items of each class, macro-F1 has no error where all get one answer: its F1 is
    # 2 p / (1 + p), p the share of that class and so the accuracy, and 0 for the 34 others.
    same = done[~(done["task_f1_se"] > 0)]
    share = same["task_accuracy"]
    assert same["task_f1"].to_numpy() == pytest.approx((2 * share / (1 + share) / 35).to_numpy())


def test_the_demo_fits_what_the_findings_fit(log):
    """Both know the students of the grid by another rule: names of chains, and columns."""
    assert len(plain_students(log))
    assert set(plain_students(log).frame["run_id"]) == set(read(LOG).students.frame["run_id"])
