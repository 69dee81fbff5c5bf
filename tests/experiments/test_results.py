"""The measured rows: legal, of the grid as it stands, and each once."""

from pathlib import Path

import pytest

import scaling_laws as sl
from distill.general import GENERAL_KL
from experiments import grids
from experiments.findings.parts import read
from scaling_laws.demo_rows import plain_students

LOG = Path(__file__).parents[2] / "experiments" / "results" / "smollm2-135m.jsonl"


@pytest.fixture(scope="module")
def log():
    return sl.read_runs(LOG, metrics=[GENERAL_KL])


@pytest.fixture(scope="module")
def runs():
    grid = grids.small(Path("grid"), Path("smollm2-135m"))
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


def test_one_teacher_taught_all(log):
    """Chains that share a teacher and a format score it alike, to the last digit."""
    teachers = log.frame[(log.frame["phase"] == "teacher")]
    assert (teachers.groupby("format")["task_f1"].nunique() == 1).all()
    assert (teachers["task_f1"] >= 0.85).all(), "the gate"


def test_scores_have_their_errors(log):
    distilled = log.frame[log.frame["phase"] == "distilled"]
    for metric in ("task_f1", "task_accuracy", "task_nll", "task_brier", "quiz"):
        assert (distilled[f"{metric}_se"] > 0).all()
        assert (distilled[f"{metric}_n"] >= 1000).all()


def test_the_demo_fits_what_the_findings_fit(log):
    """Both know the students of the grid by another rule: names of chains, and columns."""
    assert len(plain_students(log))
    assert set(plain_students(log).frame["run_id"]) == set(read(LOG).students.frame["run_id"])
