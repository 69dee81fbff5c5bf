"""What a job's processes are given, and how its runner stays known to be alive."""

import errno
import io
import sys

import pytest

from experiments import runner
from experiments.backends.local import Local, visible_devices
from experiments.engine import Sweep
from experiments.jobs import Job
from experiments.table import Table


def test_processes_of_a_gang_share_its_threads(tmp_path):
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    job = Job("j", (sys.executable, "-S", "-c", code, str(tmp_path / "log")), gpus=2)
    backend = Local(1, devices=("0", "1"), threads=6)
    assert Sweep(tmp_path / "out", [job], backend, table=Table(io.StringIO())).run()
    assert (tmp_path / "log").read_text() == "3"


def test_a_file_system_that_fails_once_does_not_silence_a_runner(tmp_path, monkeypatch):
    """Who is silent counts as dead on other machines, and its job is begun a second time."""
    monkeypatch.setattr(runner, "_LOOK_S", 0.001)
    monkeypatch.setattr(runner, "BEAT_S", 0.0)
    beats, told = [], []

    def beat(path):
        beats.append(path)
        if len(beats) == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        if len(beats) == 3:
            (tmp_path / "stop").write_text("")

    monkeypatch.setattr(runner.os, "utime", beat)
    monkeypatch.setattr(runner.os, "kill", lambda *signal: told.append(signal))
    runner._beat(tmp_path)
    assert len(beats) == 3
    assert len(told) == 1


@pytest.mark.parametrize(
    ("named", "devices"), [("-1", ()), ("", ()), (" 2, 0 ", ("2", "0")), ("3,-1,1", ("3",))]
)
def test_hidden_gpus_are_not_lent(monkeypatch, named, devices):
    """A job that is lent one would train on the processor."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_devices() == devices
