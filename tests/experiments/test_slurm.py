"""Jobs through submitit, whose local executor stands for Slurm."""

import io
import os
import signal
import time
from collections import Counter

import pytest

from experiments.engine import Sweep
from experiments.jobs import Attempt, Job
from experiments.table import Table

pytest.importorskip("submitit")

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
