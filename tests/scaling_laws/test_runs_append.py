"""Appending to a log: durable lines, torn ones left standing, one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import ValidationError

from scaling_laws.metrics import Metric
from scaling_laws.runs import SCHEMA_VERSION, Run, RunLogError, append_run, read_runs


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_run_becomes_one_line_with_its_version(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append_run(
        path, {"task_f1": 0.5, "examples": "6000", "lr": 1e-3, "teacher": "Ü\nb", "seed": None}
    )
    append_run(path, Run(run_id="b", loss=2.0))
    lines = path.read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[0]) == {
        "schema_version": SCHEMA_VERSION,
        "teacher": "Ü\nb",
        "examples": 6000,
        "task_f1": 0.5,
        "lr": 1e-3,
    }
    assert list(json.loads(lines[0])) == ["schema_version", "teacher", "examples", "task_f1", "lr"]
    assert (len(lines), lines[2]) == (3, "")
    assert list(read_runs(path))[1] == Run(run_id="b", loss=2.0)


def test_a_bad_run_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with pytest.raises(ValidationError, match=r"kept = 16 is not in \(0, 1\]"):
        append_run(path, {"kept": 16, "loss": 2.0})
    own = Metric("my_score", "higher", "in-domain", 0.0, 1.0, "logit")
    with pytest.raises(ValidationError, match="my_score = 2"):
        append_run(path, {"my_score": 2, "loss": 2.0}, metrics=[own])
    assert not path.exists()
    with pytest.raises(RunLogError, match=r"must end in \.jsonl"):
        append_run(tmp_path / "runs.csv", {"loss": 2.0})


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/dev/fd/{handle}").is_dir())
    )
    append_run(tmp_path / "runs.jsonl", {"loss": 2.0})
    assert synced == [False, True]


def test_a_torn_line_is_left_standing_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append_run(path, {"run_id": "a", "loss": 2.0})
    torn = b'{"schema_version": 1, "run_id": "b", "lo'
    with path.open("ab") as file:
        file.write(torn)
    append_run(path, {"run_id": "c", "loss": 1.0})
    assert path.read_bytes().split(b"\n")[1] == torn
    log = read_runs(path)
    assert log.rows.tolist() == [1, 3]
    assert "not a complete JSON object" in log.rejected["reason"][0]


KILLED_WHILE_WRITING = """
import os, signal, sys
from scaling_laws.runs import append_run
write = os.write
def torn(handle, line):
    write(handle, line[: len(line) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = torn
append_run(sys.argv[1], {"run_id": "b", "loss": 1.5})
"""


def test_killed_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append_run(path, {"run_id": "a", "loss": 2.0})
    with python(KILLED_WHILE_WRITING, str(path)) as writer:
        assert writer.wait(60) == -signal.SIGKILL
    log = read_runs(path)
    assert log.frame["run_id"].tolist() == ["a"]
    assert [note.code for note in log.notes] == ["torn_line"]
    append_run(path, {"run_id": "c", "loss": 1.0})  # the lock died with its process
    again = read_runs(path)
    assert again.frame["run_id"].tolist() == ["a", "c"]
    assert again.rejected["row"].tolist() == [2]


APPENDING = """
import sys
from scaling_laws.runs import append_run
for i in range(int(sys.argv[3])):
    append_run(sys.argv[1], {"run_id": f"{sys.argv[2]}-{i}", "loss": 1.0}, timeout=60)
    print(i, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    writer = python(APPENDING, str(path), "w", "100000")
    assert writer.stdout is not None
    with writer.stdout as lines:
        for _ in range(20):
            lines.readline()
        writer.kill()
        acknowledged = 20 + len([line for line in lines.read().split("\n") if line])
    writer.wait(60)
    log = read_runs(path)
    assert acknowledged <= len(log) <= acknowledged + 1
    assert len(log.rejected) <= 1
    assert log.frame["run_id"].tolist() == [f"w-{i}" for i in range(len(log))]


def test_two_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    writers = [python(APPENDING, str(path), name, "25") for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    log = read_runs(path)
    assert (len(log), len(log.rejected)) == (50, 0)
    assert set(log.frame["run_id"]) == {f"{name}-{i}" for name in "ab" for i in range(25)}


def test_a_second_writer_is_locked_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with (
        FileLock(f"{path}.lock"),
        pytest.raises(RunLogError, match=r"runs\.jsonl\.lock, waited 0\.05 s\); nothing was"),
    ):
        append_run(path, {"loss": 2.0}, timeout=0.05)
    assert not path.exists()
    append_run(path, {"loss": 2.0}, timeout=0.05)
    assert len(read_runs(path)) == 1


def test_a_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.jsonl"
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:10]))
    with pytest.raises(RunLogError, match="only 10 of"):
        append_run(path, {"loss": 2.0})


def test_a_whole_log_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text("old", encoding="utf-8")
    read_runs([{"loss": 2.0, "lr": 1.0}, {"loss": 1.0}, {"loss": -1.0}]).to_jsonl(path)
    assert read_runs(path).frame["loss"].tolist() == [2.0, 1.0]
    assert os.listdir(tmp_path) == ["runs.jsonl"]
    with pytest.raises(RunLogError, match=r"must end in \.jsonl"):
        read_runs([{"loss": 2.0}]).to_jsonl(tmp_path / "runs.json")
