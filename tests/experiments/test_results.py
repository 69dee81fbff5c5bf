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
def runs():
    grid = grids.small(Path("grid"), Path(TEACHER))
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


def test_one_teacher_taught_all(log):
    """Chains that share a teacher and a format score it alike, to the last digit."""
    teachers = log.frame[(log.frame["phase"] == "teacher")]
    assert (teachers.groupby("format")["task_f1"].nunique() == 1).all()
    assert teachers["quiz"].nunique() == 1
    assert (teachers["task_f1"] >= 0.85).all(), "the gate"
    assert (teachers["quiz"] >= BASE_QUIZ - QUIZ_DROP).all(), "the gate"


def test_the_gates_limits_are_those_of_the_configuration(runs):
    for config in runs.values():
        assert (config.adapt.gate.task_f1, config.adapt.gate.quiz_drop) == (0.85, QUIZ_DROP)


def test_scores_have_their_errors_and_items(log):
    """2,000 headlines by likelihood; where reasoning is written first, half of them."""
    done = log.frame[log.frame["status"] != "failed"] if "status" in log.frame else log.frame
    label = done["format"] == "label"
    for metric in SCORED:
        assert (done.loc[label, f"{metric}_n"] == 2000).all()
        assert (done.loc[~label, f"{metric}_n"] == 1000).all()
    assert (done["quiz_n"] == 1000).all()
    assert (done["general_kl_n"] == 100).all()
    distilled = done[done["phase"] == "distilled"]
    for metric in (*SCORED, "quiz", "quiz_nll", "general_kl"):
        assert (distilled[f"{metric}_se"] > 0).all()


def test_the_demo_fits_what_the_findings_fit(log):
    """Both know the students of the grid by another rule: names of chains, and columns."""
    assert len(plain_students(log))
    assert set(plain_students(log).frame["run_id"]) == set(read(LOG).students.frame["run_id"])
