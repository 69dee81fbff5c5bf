"""Jobs through submitit: its local executor stands for Slurm, and once scripts for its commands."""

import io
import os
import signal
import socket
import subprocess
import time
from collections import Counter

import pytest

from experiments import chains, grids
from experiments import sweep as command
from experiments.engine import Sweep
from experiments.jobs import Attempt, Job
from experiments.runner import write_once
from experiments.table import Table

submitit = pytest.importorskip("submitit")

# Of submitit's own processes and logs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def sweep(tmp_path):
    from experiments.backends.slurm import Slurm

    def run(jobs, **options):
        backend, shown = Slurm(tmp_path / "submitit", 2, cluster="local"), io.StringIO()
        backend.interval = 0.1
        done = Sweep(tmp_path / "out", jobs, backend, table=Table(shown), **options).run()
        return done, shown.getvalue()

    return run


def test_every_job_is_done_once_and_failures_are_told(sweep, burn, written):
    jobs = [*burn(5, 0.2), Job("bad", ("sh", "-c", "echo oh; exit 4"))]
    done, shown = sweep(jobs)
    assert not done
    assert "exit code 4\n    oh" in shown
    assert Counter(written()) == Counter(job.name for job in jobs[:-1])
    done, shown = sweep([*jobs[:-1], Job("bad", ("true",))], retry=True)
    assert done
    assert shown.count("started") == 1


def test_an_attempt_is_found_by_its_number(tmp_path, burn, written):
    """What another sweep submitted is waited for, and not submitted again."""
    from experiments.backends.slurm import Slurm

    (job,) = burn(1, 1.5)
    folder = (tmp_path / "out").absolute() / "sweep" / "jobs" / job.name
    attempt = Attempt.new(job, folder)
    Slurm(tmp_path / "submitit", cluster="local").submit([attempt])
    while not attempt.alive:
        time.sleep(0.05)
    backend, shown = Slurm(tmp_path / "submitit", cluster="local"), io.StringIO()
    backend.interval = 0.1
    assert Sweep(tmp_path / "out", [job], backend, table=Table(shown)).run()
    assert f"goes on   {job.name}" in shown.getvalue()
    assert written() == [job.name]


def test_sigint_stops_what_runs(tmp_path, burn, written, marked):
    from experiments.backends.slurm import Slurm

    class Once(Table):
        def event(self, text):
            super().event(text)
            os.kill(os.getpid(), signal.SIGINT)

    backend = Slurm(tmp_path / "submitit", cluster="local")
    backend.interval = 0.1
    with pytest.raises(KeyboardInterrupt):
        Sweep(tmp_path / "out", burn(1, 30.0), backend, table=Once(io.StringIO())).run()
    assert not marked(tmp_path / "out")
    assert not written()


# What a script asks for is done at once, and its state is known by whether it has ended.
COMMANDS = {
    "sbatch": """
cp "$1" "$0.asked"
(SLURM_JOB_ID=7 SLURM_NTASKS=1 sh "$1"; touch "$0.ended") >/dev/null 2>&1 &
echo Submitted batch job 7
""",
    "srun": """
while true; do case $1 in --output|--error) shift 2;; -*) shift;; *) break;; esac; done
exec "$@"
""",
    "sacct": """
state=RUNNING; [ -e "${0%sacct}sbatch.ended" ] && state=COMPLETED
printf 'JobID|State|NodeList\\n7|%s|here\\n' $state
""",
}


def test_the_command_asks_slurm_for_what_it_is_told(tmp_path, monkeypatch, capsys):
    """The whole way of one job: from the command line to Slurm's commands, and to the law."""
    from experiments.backends.slurm import Slurm

    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh{text}")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setattr(Slurm, "interval", 0.1)
    monkeypatch.setattr(command, "make_toy", lambda out: None)
    monkeypatch.setattr(command, "_law", lambda log: "the law")
    monkeypatch.setattr(grids, "tiny", lambda out, overrides: [out])
    made = tmp_path / "made"
    monkeypatch.setattr(chains, "job_of", lambda run, folder: Job("one", ("touch", str(made))))
    words = ["tiny", "--out", str(tmp_path / "out"), "--backend", "slurm"]
    settings = ["timeout_min=60", "slurm_partition=gpu"]
    with pytest.raises(SystemExit) as end:
        command.main([*words, *(w for part in settings for w in ("--slurm", part))])
    assert end.value.code == 0, capsys.readouterr().err
    assert made.exists()
    assert "the law" in capsys.readouterr().out
    asked = (commands / "sbatch.asked").read_text()
    assert "#SBATCH --time=60\n" in asked
    assert "#SBATCH --partition=gpu\n" in asked


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["foo"], "--slurm foo: write NAME=VALUE"),
        (["slurm_partition=gpu"], "needs a time limit, for submitit asks for 5 minutes"),
        (["timeout_min=", "slurm_partition=gpu"], "needs a time limit"),
        (["timeout_min=an hour"], 'Parameter "timeout_min" expected type'),
        (["timeout_min=[60"], "--slurm timeout_min=[60: the value is not YAML"),
        (["timeout_min=60", "slurm_colour=red"], "Unknown argument 'colour'"),
    ],
)
def test_what_submitit_cannot_take_is_a_sentence(tmp_path, monkeypatch, capsys, settings, sentence):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda: 2)
    words = ["small", "--out", str(tmp_path), "--teacher", "none", "--backend", "slurm"]
    monkeypatch.setattr(chains, "job_of", lambda run, folder: Job("one", ("true",)))
    with pytest.raises(SystemExit) as end:
        command.main([*words, *(w for part in settings for w in ("--slurm", part))])
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_settings_have_the_types_of_yaml_and_times_stay_text():
    from experiments.backends.slurm import settings

    given = ["timeout_min=60", "mem_gb=7.5", "slurm_time=12:00:00", "slurm_use_srun=false"]
    assert settings(given) == {
        "timeout_min": 60, "mem_gb": 7.5, "slurm_time": "12:00:00", "slurm_use_srun": False,
    }  # fmt: skip


def test_where_there_is_no_slurm(tmp_path, monkeypatch):
    from experiments.backends.slurm import Slurm

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda: -1)
    with pytest.raises(ValueError, match="there is no srun here"):
        Slurm(tmp_path)


class Told:
    """A job of which Slurm says one thing."""

    def __init__(self, state):
        self.state, self.cancelled = state, False

    def done(self, force_check=False):
        return True

    def get_info(self, mode):
        return {"State": self.state}

    def cancel(self, check=True):
        self.cancelled = True


@pytest.fixture
def ended(tmp_path, burn):
    """Return a function of what Slurm says of an attempt, and of what its runner wrote of its end.

    What it gives is the end as the sweep sees it.
    """
    from experiments.backends.slurm import Slurm

    backend = Slurm(tmp_path / "submitit", cluster="local")

    def end(state, **exit):
        (job,) = burn(1)
        attempt = Attempt.new(job, tmp_path / "jobs")
        attempt.put(backend="slurm", job_id="7")
        gone = subprocess.Popen(["true"])
        gone.wait()
        claim = {"pid": gone.pid, "host": socket.gethostname(), "at": time.time()}
        write_once(attempt.folder / "claim.json", claim)
        if exit:
            said = {"code": -15, "began": 1.0, "ended": 2.0, "cpu_s": 0.5, "error": None}
            write_once(attempt.folder / "exit.json", said | exit)
        backend._jobs[attempt.folder] = Told(state)
        found = backend.poll(attempt)
        if found == "running":
            old = time.time() - 600
            os.utime(attempt.folder / "exit.json", (old, old))
            assert backend.poll(attempt) == "ended"
        return found, attempt.end(), attempt

    return end


@pytest.mark.parametrize(
    ("state", "kind"),
    # Slurm begins a job anew that it took off a machine, and finds nothing left to do.
    [("COMPLETED", "gone"), ("PREEMPTED", "gone"), ("NODE_FAIL", "gone"), ("TIMEOUT", "failed")],
)
def test_what_slurm_took_away_is_begun_again(ended, state, kind):
    _, end, _ = ended(state)
    assert end.kind == kind
    assert end.error.startswith("gone" if kind == "gone" else "Slurm: TIMEOUT; write --slurm")


@pytest.mark.parametrize("by", ["SIGTERM", "SIGUSR2"])
def test_a_runner_that_was_told_to_stop_by_slurm_is_no_failure_of_its_job(ended, by):
    for state in ("PREEMPTED", "PENDING"):
        found, end, attempt = ended(state, stopped_by=by)
        assert (found, end.kind, end.seconds) == ("ended", "gone", 1.0)
        assert attempt.place == {"backend": "slurm", "job_id": "7", "lost": state}
    for state, first in (
        ("TIMEOUT", "ended"),
        ("CANCELLED by 1000", "ended"),
        ("RUNNING", "running"),
    ):
        found, end, _ = ended(state, stopped_by=by)
        assert (found, end.kind, end.error) == (first, "failed", f"stopped from outside by {by}")
    assert ended("PREEMPTED", stopped_by=None, code=0)[1].kind == "done"
