"""The toy learns: students near their teacher, far from those taught noise; a law fits its log.

Three seeds, and controls of which not even the teacher saw a true label, take about a minute:

    pytest -m slow tests/distill/test_tiny.py
"""

import json
import sys

import numpy as np
import pytest

import scaling_laws as sl
from distill.data import load_data
from distill.run import run_chain
from distill.tiny import FORMATS, run_tiny, tiny_config
from scaling_laws.cli import main

FIRST = ("prune.kept=[.79]", "evaluate.pruned=false")
TRAIN = (40, 80, 160)

# Of the teacher's macro-F1, that a student must reach; and above that of one taught noise.
REACHED, APART = 0.85, 0.5


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Return the folder of the preset: all formats at the first size, one seed."""
    out = tmp_path_factory.mktemp("toy")
    run_tiny(out, overrides=FIRST)
    return out


def chain(out, *overrides):
    """Do a chain and return its rows by phase."""
    config = tiny_config(out, overrides)
    log = run_chain(config, bar=False)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    prefix = f"{config.name}-{config.hash}-s{config.seed}"
    return {row["phase"]: row for row in rows if row["chain_id"] == prefix}


def shuffled(out):
    """Settings under which the pool has the labels and reasons of other examples of it."""
    pool, path = load_data(tiny_config(out).data).pool, out / "shuffled.jsonl"
    order = np.random.default_rng(0).permutation(len(pool))
    rows = [
        {"text": example.text, "label": pool[i].label, "rationale": pool[i].rationale}
        for example, i in zip(pool, order, strict=True)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return ("name=shuffled", f"data.traces={path}", "data.label_source=teacher")


@pytest.mark.parametrize("format", FORMATS)
def test_a_student_comes_near_its_teacher(toy, format):
    rows = chain(toy, *FIRST, f"supervision.format={format}")
    assert rows["distilled"]["kept"] == pytest.approx(0.79, abs=0.06)
    assert rows["distilled"]["task_f1"] >= REACHED * rows["teacher"]["task_f1"]


def test_the_same_student_taught_on_shuffled_labels_falls_to_chance(toy):
    """The control is the whole chain with other labels: teacher, student, everything else alike.

    Taught noise by a teacher that knows better, a student keeps up to .3 of macro-F1, on some
    processors more than on others.
    """
    student = chain(toy, *FIRST)["distilled"]["task_f1"]
    assert student - chain(toy, *FIRST, *shuffled(toy))["distilled"]["task_f1"] >= APART


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_seeds_come_near_and_leave_noise_behind(toy, seed, format):
    same = (*FIRST, f"seed={seed}", f"supervision.format={format}")
    rows = chain(toy, *same)
    student = rows["distilled"]["task_f1"]
    assert student >= REACHED * rows["teacher"]["task_f1"]
    assert student - chain(toy, *same, *shuffled(toy))["distilled"]["task_f1"] >= APART


@pytest.fixture(scope="module")
def grid(toy):
    """Return the log of students of four sizes, each taught on three numbers of examples."""
    out = toy / "grid.jsonl"
    lines = []
    for n in TRAIN:
        config = tiny_config(toy, ["evaluate.pruned=false", f"data.train={n}"])
        log = run_chain(config, bar=False)
        name = f"{config.name}-{config.hash}-"
        lines += [line for line in log.read_text().splitlines() if name in line]
    out.write_text("".join(f"{line}\n" for line in lines))
    return out


def test_the_command_accepts_the_log(grid, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scaling-laws"])
    with pytest.raises(SystemExit) as end:
        main(["check", str(grid), "--json"])
    assert not end.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["rejected"] == []
    assert found["accepted"] == len(TRAIN) * 5
    assert {"task_f1", "task_accuracy", "task_nll", "task_brier"} <= set(found["metrics"])


def test_every_row_is_a_run(grid):
    for line in grid.read_text().splitlines():
        sl.Run.model_validate_json(line)


def test_a_law_fits_the_log(grid):
    students = sl.read_runs(grid).select({"phase": "distilled"})
    assert sorted(set(students.frame["examples"])) == list(TRAIN)
    assert students.accepted == 12
    fit = sl.fit(sl.laws.Compressed("multiplicative"), students, metric="task_nll")
    found = fit.predict(kept=0.5, examples=100).iloc[0]
    assert 0 < found["low"] <= found["estimate"] <= found["high"] < np.inf
