"""The toy pipeline end to end: a legal log, nothing repeated, a failure that is told and mended."""

import json

import pytest

import scaling_laws as sl
from distill.tiny import run_tiny

QUICK = (
    "data.pool=96", "data.train=64", "data.validation=32", "data.test=80", "adapt.examples=96",
    "adapt.train.epochs=1", "train.epochs=1", "evaluate.replies=8", "prune.calibration=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    lines = []
    log = run_tiny(out, formats=("label",), overrides=QUICK, report=lines.append)
    return out, log, lines


def test_every_stage_is_a_row_of_one_chain(tiny):
    _, log, _ = tiny
    runs = sl.read_runs(log)
    assert len(runs.rejected) == 0
    frame = runs.frame
    assert frame["phase"].value_counts().to_dict() == {"pruned": 4, "distilled": 4, "teacher": 1}
    assert frame["chain_id"].nunique() == 1
    assert frame["config_hash"].nunique() == 1
    known = set(frame["run_id"])
    assert set(frame["parent_id"].dropna()) <= known
    assert frame["parent_id"].isna().sum() == 1
    kept = frame.loc[frame["phase"] == "distilled", "kept"]
    assert kept.is_monotonic_decreasing
    for wanted, reached in zip((0.79, 0.58, 0.37, 0.16), kept, strict=True):
        # One FFN step of 16 channels in a 148,000-weight model is 6 % of it.
        assert reached == pytest.approx(wanted, abs=0.06)


def test_every_score_has_its_error_and_its_items(tiny):
    frame = sl.read_runs(tiny[1]).frame
    for metric in ("task_f1", "task_accuracy", "task_nll", "task_brier", "task_unparsed"):
        # Macro-F1 of a model that hits nothing is exactly 0 by its own confusion matrix.
        assert frame[f"{metric}_se"].ge(0 if metric == "task_f1" else 1e-12).all()
        assert frame[f"{metric}_n"].gt(0).all()


def test_a_finished_chain_is_not_repeated(tiny):
    out, log, _ = tiny
    before = log.read_bytes()
    lines = []
    run_tiny(out, formats=("label",), overrides=QUICK, report=lines.append)
    assert log.read_bytes() == before
    assert not [line for line in lines if "task_f1" in line]


def test_a_lost_row_is_written_again_from_what_is_there(tiny):
    """The same stages give the same scores; only what was lost is logged."""
    out, log, _ = tiny
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(r) + "\n" for r in rows[:-1]))
    run_tiny(out, formats=("label",), overrides=QUICK)
    again = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(again) == len(rows)
    moving = {"wall_s"}
    assert {k: v for k, v in again[-1].items() if k not in moving} == {
        k: v for k, v in rows[-1].items() if k not in moving
    }


def test_missing_weights_are_a_failed_row_and_a_sentence(tmp_path):
    with pytest.raises(Exception, match="nothing-here"):
        run_tiny(tmp_path, formats=("label",),
                 overrides=(*QUICK, f"model.teacher={tmp_path / 'nothing-here'}"))  # fmt: skip
    logs = list(tmp_path.glob("*.jsonl"))
    rows = [json.loads(line) for p in logs if p.name == "runs.jsonl"
            for line in p.read_text().splitlines()]  # fmt: skip
    assert all(r.get("status") == "failed" for r in rows)
