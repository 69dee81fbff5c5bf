"""Jobs on Ray: two machines of fake GPUs, gangs, a machine that is lost, a thousand jobs."""

import io
import os
import sys
from collections import Counter

import pytest

from experiments.engine import Sweep
from experiments.jobs import Job
from experiments.table import Table
from tests.experiments.test_sweep import attempts

# Without it, Ray writes a token into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# Ray's own threads and sockets, at its end.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

GPUS = 4


@pytest.fixture
def cluster():
    """Two machines of four GPUs each; the second one is `lost`."""
    cluster = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "num_gpus": GPUS, "object_store_memory": 80_000_000},
    )
    cluster.lost = cluster.add_node(num_cpus=8, num_gpus=GPUS, object_store_memory=80_000_000)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def sweep(out, jobs, **options):
    from experiments.backends.ray import OnRay

    shown = io.StringIO()
    return Sweep(out, jobs, OnRay(), table=Table(shown), **options).run(), shown.getvalue()


def lines(log):
    return [line.split() for line in log.read_text().splitlines()]


def test_gangs_share_no_gpu_and_a_lost_machine_loses_no_job(cluster, tmp_path, burn, begun, marked):
    jobs = burn(16, 1.5, gpus=2)
    lost = []

    class Watched(Table):
        def show(self, view):
            super().show(view)
            began = sum(age > 0 for age in view().running.values())
            if began > GPUS // 2 and not lost:  # more than one machine holds
                lost.append(began)
                cluster.remove_node(cluster.lost)  # with what runs there, and no farewell

    from experiments.backends.ray import OnRay

    shown = io.StringIO()
    assert Sweep(tmp_path / "out", jobs, OnRay(), table=Watched(shown)).run()
    gone = Counter(line.split()[-1] for line in shown.getvalue().splitlines() if "  gone " in line)
    assert gone
    rows = lines(tmp_path / "log")
    assert Counter(name for name, *_ in rows) == Counter(job.name for job in jobs)
    # Only what went with the machine is tried again, and no attempt begins twice.
    tried = Counter({job.name: len(attempts(tmp_path / "out", job)) for job in jobs})
    assert tried == Counter(job.name for job in jobs) + gone
    assert Counter(begun()) <= tried
    assert all(len(devices.split(",")) == 2 for _, devices, _ in rows)
    assert not marked(tmp_path / "out")


def test_devices_failures_and_the_next_call(cluster, tmp_path, burn):
    bad = Job("bad", (sys.executable, "-S", "-c", "print('oh'); raise SystemExit(4)"))
    jobs = [*burn(2), *(Job(j.name, j.command, gpus=1) for j in burn(4)[2:]), bad]
    done, shown = sweep(tmp_path / "out", jobs)
    assert not done
    assert "exit code 4\n    oh" in shown
    devices = sorted(len(row) for row in lines(tmp_path / "log"))
    assert devices == [2, 2, 3, 3]  # a column less where no GPU is seen
    done, shown = sweep(tmp_path / "out", jobs)
    assert "started" not in shown


@pytest.mark.slow
def test_a_thousand_jobs_of_a_second(cluster, tmp_path, burn, written, begun):
    jobs = burn(1000, 1.0)
    assert sweep(tmp_path / "out", jobs)[0]
    once = Counter(f"job-{i}" for i in range(1000))
    assert Counter(written()) == once
    assert Counter(begun()) == once
    assert {len(attempts(tmp_path / "out", job)) for job in jobs} == {1}
