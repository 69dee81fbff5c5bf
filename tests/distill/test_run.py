"""The toy pipeline end to end: a legal log, nothing repeated, a failure that is told and mended."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

import scaling_laws as sl
from distill import steps
from distill.config import load_config, save_config
from distill.data import load_data
from distill.evaluate import load_evaluation
from distill.files import StorageError
from distill.memory import OutOfMemory
from distill.models import ModelError, load_model, load_tokenizer, read_config, save_model
from distill.prune import Rounding, plan_chain
from distill.run import run_chain
from distill.stages import Stages
from distill.student import make_accelerator
from distill.tiny import run_tiny, tiny_config
from distill.train import TrainingError

REPOSITORY = Path(__file__).parents[2]
MOVING = {"wall_s", "cpu_s", "gpu_hours", "answer_s"}

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
    assert frame["answer_s"].gt(0).all()
    for row in frame.to_dict("records"):
        answers = load_evaluation(tiny[0] / row["items"], row["items_sha256"])
        assert answers.confusion.to_numpy().sum() == len(answers.items) == row["task_accuracy_n"]
        assert answers.scores["task_accuracy"] == row["task_accuracy"]


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
    assert settled(again[-1:]) == settled(rows[-1:])


def test_a_row_that_says_other_than_the_log_is_refused(tiny):
    out, log, _ = tiny
    before, rows = log.read_bytes(), rows_of(log)
    # Clocks, versions, what only one of them has, and rounding are nothing else.
    rows[0] |= {"answer_s": 99.0, "code_version": "0", "a_newer_field": 1.0}
    del rows[0]["ffn"]
    score = rows[-1]["task_nll"]
    try:
        for shift in (1e-6, 1e-2):
            rows[-1]["task_nll"] = score + shift
            log.write_text("".join(json.dumps(row) + "\n" for row in rows))
            if shift < 1e-4:
                run_tiny(out, formats=("label",), overrides=QUICK)
                continue
            said = (
                f"{log} has {rows[-1]['run_id']} with other results: task_nll = {score + shift!r} "
                f"there, {score!r} now. What the names"
            )
            with pytest.raises(ValueError, match=re.escape(said)):
                run_tiny(out, formats=("label",), overrides=QUICK)
        again = rows_of(log)
        assert again[:-1] == rows
        assert again[-1]["status"] == "failed"
    finally:
        log.write_bytes(before)


def rows_of(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def settled(rows):
    """Rows without what a clock says."""
    return [{k: v for k, v in row.items() if k not in MOVING} for row in rows]


BRIEF = (
    "data.pool=16", "data.train=16", "data.validation=8", "data.test=20", "adapt=null",
    "prune.kept=[.5]", "prune.calibration=8", "evaluate.replies=4", "evaluate.tokens=8",
    "train.max_steps=1",
)  # fmt: skip


def test_other_data_under_the_names_of_a_logged_chain(ground, tmp_path):
    shutil.copytree(ground / "base", tmp_path / "base")
    lines = (ground / "easy-headlines.jsonl").read_text().splitlines(keepends=True)
    data = tmp_path / "easy-headlines.jsonl"
    data.write_text("".join(lines))
    log = run_chain(tiny_config(tmp_path, BRIEF), bar=False)
    rows = rows_of(log)
    data.write_text("".join(reversed(lines)))
    with pytest.raises(ValueError, match=f"{rows[0]['run_id']} with other results: .*task_nll = "):
        run_chain(tiny_config(tmp_path, BRIEF), bar=False)
    assert rows_of(log)[:-1] == rows


def test_pruned_students_may_be_scored_later(ground, tmp_path):
    def chain(pruned):
        return tiny_config(ground, [*BRIEF, f"out={tmp_path}", f"evaluate.pruned={pruned}"])

    run_chain(chain("false"), bar=False)
    lines = []
    rows = rows_of(run_chain(chain("true"), bar=False, report=lines.append))
    assert [row["phase"] for row in rows] == ["teacher", "distilled", "pruned"]
    assert [row.get("parent_id") for row in rows] == [None, *[rows[0]["run_id"]] * 2]
    (said,) = (line for line in lines if "keeps the parent_id" in line)
    assert said.startswith(f"{rows[1]['run_id']} keeps the parent_id {rows[0]['run_id']}")


# Shorter still: one student, and what it is made from lies ready.
SHORT = (
    *QUICK, "prune.kept=[.5]", "data.test=40", "adapt.train.checkpoint_every=3",
    "adapt.examples=64", "train.checkpoint_every=3", "train.batch=8",
)  # fmt: skip


@pytest.fixture
def config(ground, tmp_path):
    def make(*overrides, out=tmp_path / "out"):
        return tiny_config(ground, [*SHORT, f"out={out}", *overrides])

    return make


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(config, tmp_path):
    """SIGKILL between two checkpoints of a training; every weight and row is the same."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_chain(config(out=whole), bar=False)
    save_config(config(out=killed), tmp_path / "c.yaml")
    command = [sys.executable, "-m", "distill", "run", "c.yaml"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(killed.glob("stages/adapt-*/checkpoints/step-0*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("stages/adapt-*/done.json"))
    assert not (killed / "runs.jsonl").exists()

    log = run_chain(config(out=killed), bar=False)
    assert settled(rows_of(log)) == settled(rows_of(whole / "runs.jsonl"))
    models = sorted(path.relative_to(whole) for path in whole.glob("stages/*/model/*.safetensors"))
    assert len(models) == 3  # teacher, pruned, taught
    for model in models:
        assert (killed / model).read_bytes() == (whole / model).read_bytes()
    assert not list(killed.glob("stages/*/checkpoints"))


def test_chains_share_what_they_have_in_common(config, tmp_path):
    run_chain(config(), bar=False)
    before = {path.parent.name: path.stat().st_mtime_ns
              for path in (tmp_path / "out" / "stages").glob("*/done.json")}  # fmt: skip
    log = run_chain(config("supervision.format=cot", "seed=1", "data.train=32"), bar=False)
    after = {path.parent.name: path.stat().st_mtime_ns
             for path in (tmp_path / "out" / "stages").glob("*/done.json")}  # fmt: skip
    assert {name: after[name] for name in before} == before
    kinds = sorted(name.split("-")[0] for name in after.keys() - before.keys())
    # Not adapted, not pruned again.
    assert kinds == ["cache", "score", "score", "score", "teach"]
    frame = sl.read_runs(log).frame
    assert len(frame) == 6
    assert frame["chain_id"].nunique() == 2


def test_one_shot_students_come_from_the_teacher(config):
    log = run_chain(config("prune.kept=[.6, .3]", "prune.schedule=one-shot"), bar=False)
    frame = sl.read_runs(log).frame
    pruned = frame[frame["phase"] == "pruned"]
    assert set(pruned["parent_id"]) == set(frame.loc[frame["phase"] == "teacher", "run_id"])
    assert pruned["step_kept"].tolist() == pruned["kept"].tolist()


def test_a_pretrained_student_and_text_alone(config, ground):
    overrides = [f"model.student={ground / 'base'}", "supervision.alpha=0", "evaluate.quiz=8"]
    rows = rows_of(run_chain(config(*overrides), bar=False))
    assert [row["phase"] for row in rows] == ["teacher", "distilled"]
    assert (rows[1]["origin"], rows[1]["target"], rows[1]["kept"]) == ("pretrained", "text", 1.0)
    assert rows[1]["quiz_n"] == 8


def test_adapters_replay_and_the_top_of_the_logits(config, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Tell me of rain.\nWhy?\n")
    overrides = [
        "train.lora.rank=2", "supervision.cache=topk", "supervision.k=8",
        "adapt.replay={texts: 8, tokens: 6, batch: 4}",
        f"supervision.replay={{texts: 4, tokens: 6, batch: 2, prompts: {prompts}}}",
    ]  # fmt: skip
    log = run_chain(config(*overrides), bar=False)
    rows = rows_of(log)
    assert [row["phase"] for row in rows] == ["teacher", "pruned", "distilled"]
    assert rows[2]["method"] == "lora"
    results = [
        json.loads(done.read_text())["result"]
        for done in log.parent.glob("stages/replay-*/done.json")
    ]
    asked, free = sorted(results, key=lambda result: len(result["texts"]))
    assert len(free["texts"]) == 8
    assert all(2 <= len(text) <= 6 for text in free["texts"])
    assert len(asked["texts"]) == 4
    assert all(
        1 < given < len(text) for given, text in zip(asked["given"], asked["texts"], strict=True)
    )


def test_teacher_and_student_of_other_vocabularies(config, ground, tmp_path):
    path, model = tmp_path / "padded", load_model(ground / "base")
    model.resize_token_embeddings(1088, mean_resizing=False)
    save_model(model, load_tokenizer(ground / "base"), path)
    with pytest.raises(ModelError, match="vocabulary has 1024 rows, the student's 1088"):
        run_chain(config(f"model.student={path}"), bar=False)


def failed_then_mended(config, error, match, monkeypatch, *overrides):
    with pytest.raises(error, match=match):
        run_chain(config(*overrides), bar=False)
    log = Path(config(*overrides).out) / "runs.jsonl"
    assert not [*log.parent.rglob("*.tmp"), *log.parent.rglob("*.unfinished")]
    runs = sl.read_runs(log)
    assert len(runs.rejected) == 0
    assert rows_of(log)[-1]["status"] == "failed"
    monkeypatch.undo()
    run_chain(config(*overrides), bar=False)
    rows = rows_of(log)
    assert [row["phase"] for row in rows if row.get("status") != "failed"] == [
        "teacher", "pruned", "distilled",
    ]  # fmt: skip
    assert len(sl.read_runs(log).rejected) == 0
    return rows


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"task_f1": 1.0}, r"macro-F1 0\.\d+ is below task_f1 = 1\.0; raise adapt\.examples"),
        ({"task_f1": 0.0, "quiz_drop": 0.0}, r"more than quiz_drop = 0\.0 below the 0\.9"),
    ],
)
def test_a_teacher_that_learnt_too_little_makes_no_students(config, monkeypatch, gate, said):
    monkeypatch.setattr("distill.steps.Steps.quiz", lambda self, made: {"quiz": 0.9})
    small = ["evaluate.quiz=8", "supervision.format=label"]
    bad = config("adapt.examples=16", f"adapt.gate={gate}", *small)
    with pytest.raises(ModelError, match=said):
        run_chain(bad, bar=False)
    rows = rows_of(Path(bad.out) / "runs.jsonl")
    assert [row["phase"] for row in rows] == ["teacher", "teacher"]
    assert rows[1]["status"] == "failed"
    # The gate decides no result: without it the same chain goes on.
    assert config("adapt.examples=16", *small).hash == bad.hash


@pytest.mark.parametrize(
    ("file", "stopped", "parent"),
    [("weights.safetensors", "0-teacher", ""), ("evaluation-*", "0-teacher", ""),
     ("shard-*", "1-distilled", "1-pruned"), ("done.json.*", "0-teacher", "")],
)  # fmt: skip
def test_a_full_disk_is_told_and_mended(config, monkeypatch, full_disk, file, stopped, parent):
    full_disk(file)
    said = r"could not be written: .*No space left on device.*MB are free"
    rows = failed_then_mended(config, StorageError, said, monkeypatch)
    (failed,) = (row for row in rows if row.get("status") == "failed")
    assert re.search(said, failed["error"])
    assert failed["run_id"].endswith(f"/{stopped}.failed-1")
    assert failed.get("parent_id", "").rpartition("/")[2] == parent


def allocate(*args, **options):
    torch.empty(2**60)


@pytest.mark.parametrize(
    ("step", "at", "end"),
    [("score", "evaluate", allocate), ("quiz", "take_quiz", MemoryError()),
     ("prune", "measure_importance", torch.OutOfMemoryError("CUDA out of memory")),
     ("cache", "build_cache", allocate), ("replay", "generate", MemoryError()),
     ("teach", "OnlineTeacher", torch.OutOfMemoryError("CUDA out of memory"))],
)  # fmt: skip
def test_the_end_of_memory_names_the_setting_to_lower(ground, tmp_path, monkeypatch, step, at, end):
    changes = [f"out={tmp_path}", "evaluate.quiz=8"]
    changes += ["supervision.cache=none"] if step in ("replay", "teach") else []
    changes += ["supervision.replay={texts: 4}"] if step == "replay" else []
    config = tiny_config(ground, [*BRIEF, *changes])
    stages = Stages(tmp_path, make_accelerator())
    chain = steps.Steps(config, load_data(config.data), stages, bar=False)
    base = chain.given(config.model.teacher)
    rounding = Rounding(hidden=16, ffn=16)
    (plan,) = plan_chain(read_config(base.path), (0.5,), rounding=rounding)
    calls = {
        "score": lambda: chain.score(base), "quiz": lambda: chain.quiz(base),
        "prune": lambda: chain.prune(base, plan), "cache": lambda: chain.teach(base, base),
    }  # fmt: skip
    monkeypatch.setattr(steps, at, Mock(side_effect=end))
    lower = "train.lora" if step == "teach" else r"Lower evaluate\.batch, now 64"
    with pytest.raises(OutOfMemory, match=f"out of memory .*the step '{step}'.*{lower}"):
        calls.get(step, calls["cache"])()


def test_other_errors_of_a_step_pass_as_they_are(ground, tmp_path, monkeypatch):
    config = tiny_config(ground, [*BRIEF, f"out={tmp_path}"])
    monkeypatch.setattr(steps, "evaluate", Mock(side_effect=RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="^a fault$"):
        run_chain(config, bar=False)
    (row,) = rows_of(tmp_path / "runs.jsonl")
    assert row["error"] == "RuntimeError: a fault"


def test_a_loss_that_is_no_number_is_told_and_mended(config, monkeypatch):
    real = steps.train

    def poisoned(model, *args, **options):
        with torch.no_grad():
            model.model.norm.weight[0] = torch.nan
        return real(model, *args, **options)

    monkeypatch.setattr(steps, "train", poisoned)
    rows = failed_then_mended(config, TrainingError, "loss is nan", monkeypatch)
    assert "loss is nan" in rows[0]["error"]


def test_failures_are_counted(config, tmp_path):
    broken = config(f"model.teacher={tmp_path / 'nothing-here'}")
    for _ in range(2):
        with pytest.raises(ModelError, match="nothing-here holds no model"):
            run_chain(broken, bar=False)
    rows = rows_of(Path(broken.out) / "runs.jsonl")
    assert [row["run_id"].rpartition(".")[2] for row in rows] == ["failed-1", "failed-2"]
    assert all(row["status"] == "failed" for row in rows)


def test_a_torn_line_is_stepped_over(config):
    log = run_chain(config(), bar=False)
    rows = rows_of(log)
    text = log.read_text()
    log.write_text(text[: text.rindex('"task_f1"')])
    run_chain(config(), bar=False)
    runs = sl.read_runs(log)
    assert len(runs.rejected) == 1
    assert runs.frame["run_id"].tolist() == [row["run_id"] for row in rows]


def test_the_settings_lie_beside_the_log(config):
    log = run_chain(config(), bar=False)
    (path,) = log.parent.glob("*.yaml")
    assert load_config(path) == config()


# Many processes
