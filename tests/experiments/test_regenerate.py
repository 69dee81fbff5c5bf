"""A row of the log made again from its configuration: the same student, within the noise of a seed.

The toy's takes seconds. That of the grid takes minutes and what the grid was made from:

    DISTILL_GRID=work/grid DISTILL_TEACHER=work/smollm2-135m \\
        python -m pytest -m slow tests/experiments/test_regenerate.py
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import scaling_laws as sl
from distill.run import LOG, run_chain
from experiments import grids
from experiments.findings.parts import read
from experiments.sweep import make_toy
from scaling_laws.uncertainty import student_t
from tests.experiments.test_grids import QUICK
from tests.experiments.test_results import LOG as RESULTS
from tests.experiments.test_results import TEACHER

# What the configuration decides, to the last digit.
DECIDED = (
    "run_id", "config_hash", "seed", "format", "kept", "params", "layers", "ffn", "kv_heads",
    "examples", "examples_seen", "steps", "tokens", "prompt_id", "label_source",
)  # fmt: skip
# Of a difference that only noise explains this share is called one.
FALSE_ALARMS = 0.01


class _Enough(BaseException):
    """The wanted row is written. No Exception, which would be logged as a failure of the chain."""


def regenerate(config, wanted, source):
    """Do a chain up to one row, with nothing done before but its teacher; return rows by run id.

    Of the stages in `source` all are taken that no student had a part in.
    """
    out = Path(config.out)
    for done in source.glob("*/done.json"):
        stage = json.loads(done.read_text("utf-8"))
        made = str(stage["inputs"].get("model", ""))
        if stage["kind"] not in ("prune", "teach") and not made.startswith(("prune-", "teach-")):
            leave = shutil.ignore_patterns(".lock", "checkpoints")
            shutil.copytree(done.parent, out / "stages" / done.parent.name, ignore=leave)

    def stop(line):
        if line.startswith(f"{wanted}:"):
            raise _Enough

    with pytest.raises(_Enough):
        run_chain(config, bar=False, report=stop)
    return sl.read_runs(out / LOG).frame.set_index("run_id", drop=False)


def test_a_row_of_the_toy_is_made_again(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    make_toy(first)
    made = []
    for out in (first, again):
        overrides = [*QUICK, f"out={out}"]
        (run,) = grids.tiny(first, examples=(32,), formats=("label",), overrides=overrides)
        made.append(run)
    assert made[0].name == made[1].name
    run_chain(made[0].config, bar=False)
    before = sl.read_runs(first / LOG).frame.set_index("run_id", drop=False)
    wanted = f"{made[0].name}/1-distilled"
    after = regenerate(made[1].config, wanted, first / "stages")
    assert list(after.index) == [f"{made[0].name}/0-teacher", wanted]
    for name in (*DECIDED, "task_f1", "task_nll"):
        assert after.loc[wanted, name] == before.loc[wanted, name], name
    kinds = {path.parent.name: path.read_bytes() for path in again.glob("stages/*/done.json")}
    fresh = {k.split("-")[0] for k, text in kinds.items()
             if text != (first / "stages" / k / "done.json").read_bytes()}  # fmt: skip
    # Made anew, since they tell their seconds: the student's stages, and not the teacher's.
    assert {"prune", "teach"} <= fresh <= {"prune", "teach", "score"}


@pytest.mark.slow
def test_the_cheapest_row_of_the_grid_is_made_again(tmp_path):
    missing = [name for name in ("DISTILL_GRID", "DISTILL_TEACHER") if name not in os.environ]
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not set: the folder of the grid, whose stages hold the "
            "adapted teacher, and that of the model it was adapted from"
        )
    grid, teacher = (Path(os.environ[k]) for k in ("DISTILL_GRID", "DISTILL_TEACHER"))
    parts = read(os.environ.get("DISTILL_LOG", RESULTS))
    row = cheapest(parts.students.frame)
    noise = seed_noise(parts.students, row["kept"])
    config = config_of(row["chain_id"], tmp_path, teacher)
    assert config.hash == row["config_hash"]
    made = regenerate(config, row["run_id"], grid / "stages").loc[row["run_id"]]
    for name in DECIDED:
        assert made[name] == row[name], name
    # Both are scored on one test set, which makes the limit wide.
    sd = np.sqrt(row["task_f1_se"] ** 2 + made["task_f1_se"] ** 2 + 2.0 * noise["sd"] ** 2)
    limit = student_t(noise["count"], 1.0 - FALSE_ALARMS) * sd
    print(f"{row['run_id']}: {row['task_f1']:.4f}, again {made['task_f1']:.4f}, limit {limit:.4f}")
    assert abs(made["task_f1"] - row["task_f1"]) <= limit


def config_of(chain, out, teacher):
    """The settings of a chain of the log, which the grid must still have."""
    runs = {run.name: run.config for run in grids.small(out, teacher)}
    if chain not in runs:
        pytest.fail(
            f"{chain} is no chain of experiments.grids.small with the teacher {teacher}: its hash "
            f"holds the name of the teacher's folder, which is {TEACHER} in the rows of "
            f"{RESULTS.name}. Let DISTILL_TEACHER name a folder, or a link to one, of that name."
        )
    return runs[chain]


def test_a_teacher_in_a_folder_of_another_name_is_told_which_name(tmp_path):
    chain = read(RESULTS).students.frame["chain_id"].iloc[0]
    assert config_of(chain, tmp_path, tmp_path / TEACHER).hash in chain
    with pytest.raises(pytest.fail.Exception, match=f"which is {TEACHER} in the rows of"):
        config_of(chain, tmp_path, tmp_path / "another")


def cheapest(students):
    """The first student of the chain with fewest labels."""
    label = students[(students["format"] == "label") & (students["seed"] == 1)]
    fewest = label[label["examples"] == label["examples"].min()]
    return fewest.loc[fewest["kept"].idxmax()]


def seed_noise(students, kept):
    """The scatter of students of one size that differ in their seed alone, beyond evaluation."""
    same = students.select({"kept": kept}).noise("task_f1", by=["format", "examples"])
    seed = same.set_index("source").loc["seed"]
    if np.isnan(seed["sd"]):
        pytest.skip(f"the log states no noise of a seed at kept {kept:.2f}: {seed['sentence']}")
    return seed


def test_the_noise_of_a_seed_is_that_of_students_of_its_size():
    """Two configurations with two seeds, one of another size that scatters much more."""
    rows = [
        {"format": f, "examples": 64, "kept": kept, "seed": s, "task_f1": 0.7 + s * gap,
         "task_f1_se": 0.001}
        for f, gap in (("label", 0.01), ("blended", 0.03))
        for kept in (0.79, 0.16)
        for s in (1, 2)
        for gap in [gap * (1 if kept > 0.5 else 9)]
    ]  # fmt: skip
    students = sl.read_runs(rows)
    noise = seed_noise(students, 0.79)
    # (y1 - y2)^2 / 2 of each configuration, averaged, less the variance of an evaluation.
    assert noise["sd"] == pytest.approx(np.sqrt((0.01**2 + 0.03**2) / 4 - 0.001**2), rel=1e-6)
    assert noise["count"] == 2
    assert cheapest(students.frame)["kept"] == 0.79
