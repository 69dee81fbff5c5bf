"""Jobs on this machine: each done once whatever is killed, failures told, nothing left running."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

import scaling_laws as sl
from experiments.backends.local import Local
from experiments.engine import FOLDER, Sweep, SweepError, _State, _time_left, look
from experiments.jobs import Attempt, End, Job, load_jobs, save_jobs
from experiments.rows import RunRows
from experiments.sweep import status
from experiments.table import Table, View, duration


def sweep(out, jobs, workers=2, devices=(), gate=None, **options):
    shown = io.StringIO()
    table = Table(shown) if gate is None else Opening(shown, gate)
    done = Sweep(out, jobs, Local(workers, devices), table=table, **options).run()
    return done, shown.getvalue()


class Opening(Table):
    """Lets waiting jobs end once the sweep knows how all jobs stand."""

    def __init__(self, stream, gate):
        super().__init__(stream)
        self.gate = gate

    def show(self, view):
        self.gate.touch()


def python(code, *arguments):
    return (sys.executable, "-S", "-c", code, *map(str, arguments))


def attempts(out, job):
    """Return a job's attempts in the sweep of an output folder."""
    return Attempt.all_of(job, out.absolute() / FOLDER / "jobs" / job.name)


def test_every_job_is_done_once_and_not_again(tmp_path, burn, written, begun):
    jobs = burn(12)
    done, shown = sweep(tmp_path / "out", jobs, workers=3)
    assert done
    assert Counter(begun()) == Counter(job.name for job in jobs)
    assert Counter(written()) == Counter(job.name for job in jobs)
    assert shown.count("done      job-") == 12
    assert "12 done, 0 running, 0 failed, 0 waiting" in shown
    done, shown = sweep(tmp_path / "out", jobs, workers=3)
    assert done
    assert len(written()) == len(begun()) == 12
    assert "started" not in shown


def test_workers_bound_what_runs_at_once(tmp_path, burn):
    jobs, backend, most = burn(9, 0.05), Local(3), 0

    class Watched(Local):
        def submit(self, attempts):
            nonlocal most
            super().submit(attempts)
            most = max(most, len(self._taken))

    assert Sweep(tmp_path, jobs, Watched(3), table=Table(io.StringIO())).run()
    assert most == 3
    assert backend.room([0, 0, 0, 0]) == 3


def test_gpus_are_lent_to_one_job_at_a_time(tmp_path):
    code = (
        "import os, sys, time; began = time.time(); time.sleep(.15);"
        "open(sys.argv[1], 'a').write(f\"{os.environ['CUDA_VISIBLE_DEVICES']} {began} "
        '{time.time()}\\n")'
    )
    log = tmp_path / "log"
    wanted = [1, 2, 1, 3, 0, 2, 4, 1]
    jobs = [Job(f"j{i}", python(code, log), gpus=n) for i, n in enumerate(wanted)]
    assert sweep(tmp_path / "out", jobs, workers=8, devices=("0", "1", "2", "GPU-3"))[0]
    rows = [line.rsplit(" ", 2) for line in log.read_text().splitlines()]
    lent = [(set(filter(None, d.split(","))), float(a), float(b)) for d, a, b in rows]
    assert sorted(len(d) for d, _, _ in lent) == sorted(wanted)
    for i, (mine, began, ended) in enumerate(lent):
        for other, began_2, ended_2 in lent[i + 1 :]:
            if mine & other:
                assert ended <= began_2 or ended_2 <= began


def test_more_gpus_than_there_are(tmp_path, burn):
    with pytest.raises(ValueError, match="A job needs 2 GPUs, and 1 are given here"):
        sweep(tmp_path, burn(1, gpus=2), devices=("0",))


def test_threads_are_pinned_and_do_not_spin(tmp_path):
    code = (
        "import os, sys; open(sys.argv[1], 'w').write(' '.join(os.environ[n] for n in "
        "('OMP_NUM_THREADS', 'OMP_WAIT_POLICY')))"
    )
    job = Job("j", python(code, tmp_path / "log"))
    backend = Local(1, threads=3)
    assert Sweep(tmp_path / "out", [job], backend, table=Table(io.StringIO())).run()
    assert (tmp_path / "log").read_text() == "3 PASSIVE"


def test_a_failure_is_told_and_mended_on_request(tmp_path):
    mended = tmp_path / "mended"
    code = (
        "import os, sys; print('about to fail'); sys.exit(0 if os.path.exists(sys.argv[1]) else 3)"
    )
    jobs = [Job("bad", python(code, mended)), Job("good", python("print('fine')"))]
    out = tmp_path / "out"
    done, shown = sweep(out, jobs)
    assert not done
    assert "failed    bad" in shown
    assert "exit code 3" in shown
    assert "about to fail" in shown
    assert "1 done, 0 running, 1 failed" in shown

    mended.touch()
    done, shown = sweep(out, jobs)
    assert not done
    assert "started" not in shown
    assert any("bad: exit code 3" in line for line in status(out))

    done, shown = sweep(out, jobs, retry=True)
    assert done
    assert shown.count("started") == 1
    assert len(attempts(out, jobs[0])) == 2


def test_a_command_that_is_not_there(tmp_path):
    _, shown = sweep(tmp_path, [Job("j", (str(tmp_path / "nothing"),))])
    assert "did not start" in shown
    assert "No such file" in shown


def test_many_failures_end_it(tmp_path):
    jobs = [Job(f"j{i}", python("import sys; sys.exit(1)")) for i in range(10)]
    done, shown = sweep(tmp_path, jobs, workers=1, give_up_after=3)
    assert not done
    assert "0 done, 0 running, 3 failed, 7 waiting" in shown
    assert "3 failures in a row" in shown


CHAIN = "c-0123-s0"
ABOUT = {"chain_id": CHAIN, "config_hash": "0123", "seed": 0, "format": "label"}
ROWS = tuple(f"{CHAIN}/{name}" for name in ("0-teacher", "1-pruned", "1-distilled"))


def chain(tmp_path, code):
    """Return a job that should log three rows."""
    log = tmp_path / "out" / "runs.jsonl"
    log.parent.mkdir(exist_ok=True)
    return Job(CHAIN, python(code, log), rows=ROWS, about=ABOUT)


WRITE = """
import json, os, sys
def write(name, **row):
    with open(sys.argv[1], "a") as log:
        row = {"schema_version": 1, "run_id": f"c-0123-s0/{name}", "task_f1": .5, **row}
        log.write(json.dumps(row) + "\\n")
"""


def test_a_killed_chain_is_a_row_of_the_log(tmp_path):
    job = chain(tmp_path, WRITE + "write('0-teacher'); print('half'); os.kill(os.getpid(), 9)")
    out = tmp_path / "out"
    for _ in range(2):  # nor is it written twice
        done, shown = sweep(out, [job])
        assert not done
        assert "killed by signal 9" in shown
    runs = sl.read_runs(out / "runs.jsonl")
    assert len(runs.rejected) == 0
    row = runs.frame.iloc[-1]
    assert len(runs.frame) == 2
    assert row["run_id"] == f"{CHAIN}/1-pruned.failed-1"
    assert (row["status"], row["phase"], row["stage"]) == ("failed", "pruned", 1)
    assert "killed by signal 9" in row["error"]
    assert "half" in row["error"]
    sweep(out, [job], retry=True)
    assert RunRows(out / "runs.jsonl").names()[2:] == [
        f"{CHAIN}/0-teacher", f"{CHAIN}/1-pruned.failed-2",
    ]  # fmt: skip


def test_what_a_chain_says_of_itself_is_not_said_again(tmp_path):
    code = WRITE + "write('0-teacher.failed-1', status='failed', error='disk'); sys.exit(2)"
    job = chain(tmp_path, code)
    sweep(tmp_path / "out", [job])
    sweep(tmp_path / "out", [job], retry=True)  # a second time it is another failure
    names = RunRows(tmp_path / "out" / "runs.jsonl").names()
    assert names == [f"{CHAIN}/0-teacher.failed-1"] * 2


def test_a_chain_that_ends_well_without_its_rows_failed(tmp_path):
    job = chain(tmp_path, WRITE + "write('0-teacher')")
    done, shown = sweep(tmp_path / "out", [job])
    assert not done
    assert f"ended well, but {CHAIN}/1-pruned is not in" in shown


def test_a_chain_whose_rows_are_there_is_done(tmp_path):
    job = chain(tmp_path, WRITE + "sys.exit('never begun')")
    log = tmp_path / "out" / "runs.jsonl"
    lines = [json.dumps({"schema_version": 1, "run_id": row, "task_f1": 0.5}) for row in ROWS]
    log.write_text("\n".join(lines) + "\n")
    done, shown = sweep(tmp_path / "out", [job])
    assert done
    assert "started" not in shown


def test_what_two_need_is_made_by_one(tmp_path):
    """Jobs that make the same file do not overlap before it is there, and do after."""
    shared, log = tmp_path / "shared", tmp_path / "log"
    code = (
        "import os, sys, time\n"
        "name, shared, log = sys.argv[1:]\n"
        "first = not os.path.exists(shared)\n"
        "time.sleep(.2)\n"
        "open(shared, 'a').close()\n"
        "time.sleep(.3)\n"
        "open(log, 'a').write(f'{name} {first} {time.time()}\\n')\n"
    )
    jobs = [
        Job(f"j{i}", python(code, f"j{i}", shared, log), makes=(str(shared),)) for i in range(3)
    ]
    other = Job("other", python(code, "other", tmp_path / "own", log))
    done, shown = sweep(tmp_path / "out", [*jobs, other], workers=4)
    assert done
    made = {line.split()[0]: line.split()[1] for line in log.read_text().splitlines()}
    assert made == {"j0": "True", "j1": "False", "j2": "False", "other": "True"}
    order = [line.split()[-1] for line in shown.splitlines() if "started" in line]
    assert order == ["j0", "other", "j1", "j2"]  # who waits for nothing is not held


def test_if_the_one_fails_the_next_one_makes_it(tmp_path):
    shared = tmp_path / "shared"
    jobs = [
        Job("a", python("import sys; sys.exit(1)"), makes=(str(shared),)),
        Job("b", python("import sys; open(sys.argv[1], 'w')", shared), makes=(str(shared),)),
    ]
    _, shown = sweep(tmp_path / "out", jobs)
    assert "1 done, 0 running, 1 failed" in shown


def test_two_sweeps_of_one_folder(tmp_path, burn, start_driver, wait_for):
    jobs = burn(1, until=tmp_path / "go")
    process = start_driver(tmp_path / "out", jobs)
    try:
        wait_for(lambda: attempts(tmp_path / "out", jobs[0]))
        with pytest.raises(SweepError, match=f"Process {process.pid} sweeps in"):
            sweep(tmp_path / "out", jobs)
        assert f"Process {process.pid} is at work." in status(tmp_path / "out")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130


def test_interrupt_stops_all_and_the_next_call_goes_on(
    tmp_path, burn, written, marked, start_driver, wait_for
):
    out = tmp_path / "out"
    jobs = burn(4, until=tmp_path / "go")
    process = start_driver(out, jobs)
    wait_for(lambda: len(marked(out)) >= 4)  # two runners and two jobs
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not marked(out)
    assert not written()
    assert look(jobs[0], out.absolute() / FOLDER, RunRows(out / "runs.jsonl"))[0] == "waiting"
    assert sweep(out, burn(4))[0]
    assert Counter(written()) == Counter(job.name for job in jobs)


def test_children_of_a_killed_parent_are_found_and_not_begun_again(
    tmp_path, burn, written, marked, start_driver, wait_for
):
    out = tmp_path / "out"
    jobs = burn(5, until=tmp_path / "go")
    process = start_driver(out, jobs)
    wait_for(lambda: sum(a.alive for job in jobs for a in attempts(out, job)) == 2)
    process.kill()
    process.wait()
    assert len([p for p in marked(out) if p.is_running()]) >= 2
    assert not written()
    done, shown = sweep(out, jobs, gate=tmp_path / "go")
    assert done
    assert shown.count("goes on") == 2
    assert shown.count("started") == 3
    assert Counter(written()) == Counter(job.name for job in jobs)
    assert not marked(out)


def test_what_ended_while_nobody_watched_is_done(tmp_path, burn, written, start_driver, wait_for):
    out = tmp_path / "out"
    jobs = burn(2, until=tmp_path / "go")
    process = start_driver(out, jobs)
    wait_for(lambda: sum(a.alive for job in jobs for a in attempts(out, job)) == 2)
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    wait_for(lambda: all(attempts(out, job)[-1].ended for job in jobs))
    done, shown = sweep(out, jobs)
    assert done
    assert "started" not in shown
    assert len(written()) == 2


def test_what_runs_of_other_jobs_is_watched_to_its_end(
    tmp_path, burn, written, start_driver, wait_for
):
    out = tmp_path / "out"
    before, after = burn(1, until=tmp_path / "go"), burn(3)[1:]
    process = start_driver(out, before)
    wait_for(lambda: any(a.alive for a in attempts(out, before[0])))
    process.kill()
    process.wait()
    done, shown = sweep(out, after, gate=tmp_path / "go")
    assert done
    assert "goes on   job-0" in shown
    assert sorted(written()) == ["job-0", "job-1", "job-2"]


def test_another_backend_takes_over_what_does_not_run(
    tmp_path, burn, written, start_driver, wait_for
):
    class Elsewhere(Local):
        name = "elsewhere"

    out = tmp_path / "out"
    jobs = burn(1, until=tmp_path / "go")
    process = start_driver(out, jobs)
    wait_for(lambda: any(a.alive for a in attempts(out, jobs[0])))
    process.kill()
    process.wait()
    with pytest.raises(SweepError, match="job-0 still runs there: write --backend local"):
        Sweep(out, jobs, Elsewhere(1), table=Table(io.StringIO())).run()
    os.kill(attempts(out, jobs[0])[0].claim["pid"], signal.SIGKILL)
    wait_for(lambda: not attempts(out, jobs[0])[0].alive)
    assert Sweep(out, burn(1), Elsewhere(1), table=Table(io.StringIO())).run()
    assert written() == ["job-0"]


def test_a_job_that_never_began_is_not_begun_later(tmp_path, burn, written):
    """A runner that wakes up after its attempt was given up does nothing."""
    (job,) = burn(1)
    attempt = Attempt.new(job, tmp_path / "jobs" / job.name)
    attempt.close("gone")
    assert subprocess.run(attempt.runner(), check=False).returncode == 0
    assert not written()
    assert attempt.end().kind == "gone"


def test_a_killed_runner_leaves_nothing_behind(
    tmp_path, burn, written, marked, start_driver, wait_for
):
    out = tmp_path / "out"
    jobs = burn(2, until=tmp_path / "go")
    process = start_driver(out, jobs)
    wait_for(lambda: len(marked(out)) == 4)
    victim = attempts(out, jobs[0])[-1].claim["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: attempts(out, jobs[0])[-1].ended)
    (tmp_path / "go").touch()
    assert process.wait() == 1
    assert not marked(out)
    assert written() == ["job-1"]
    end = attempts(out, jobs[0])[-1].end()
    assert (end.kind, end.error) == ("failed", "the process that ran it was killed")
    assert sweep(out, burn(2), retry=True)[0]
    assert Counter(written()) == Counter(job.name for job in jobs)


def test_sessions_of_their_own_do_not_escape(tmp_path, marked):
    """Workers that leave the process group, as those of torchrun do, end with their job."""
    code = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True)\n"
        "time.sleep(.2); os.kill(os.getpid(), 9)"
    )
    sweep(tmp_path, [Job("j", python(code))])
    assert not marked(tmp_path)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_times_every_job_is_done_once(
    tmp_path, burn, written, marked, seed, start_driver, wait_for
):
    """Parents and jobs are killed again and again; each job writes its line exactly once."""
    rng = np.random.default_rng(seed)
    out = tmp_path / "out"
    jobs = burn(30, 0.4)
    kills = Counter()
    for _ in range(5):
        process = start_driver(out, jobs, 3, "retry")
        for _ in range(rng.integers(1, 3)):
            wait_for(lambda process=process: marked(out) or process.poll() is not None)
            time.sleep(rng.uniform(0, 0.3))
            for victim in rng.permutation(marked(out))[:1]:
                victim.kill()
                kills["children"] += 1
        time.sleep(rng.uniform(0, 0.2))
        if process.poll() is None:
            process.kill()
            kills["parents"] += 1
        process.wait()
    assert min(kills["children"], kills["parents"]) >= 3
    assert start_driver(out, jobs, 3, "retry").wait() == 0
    assert Counter(written()) == Counter(job.name for job in jobs)
    assert any(len(attempts(out, job)) > 1 for job in jobs)
    assert not marked(out)


def test_the_table_in_a_file_and_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    view = View(3, {"a": 12.0, "b": 100.0}, {"c": "exit code 1"}, 4, left=4000.0)
    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        table = Table(stream)
        table.show(lambda: view)
        table.event("done      x")
        table.show(lambda: view)
        table.close(view)
        text = stream.getvalue()
        assert "3 done, 2 running, 1 failed, 4 waiting, 67 min left" in text
        assert ("\x1b[" in text) == drawn
        assert ("  b  2 min" in text) == drawn


def test_the_time_left_is_what_the_sizes_say_at_the_median_speed():
    sizes = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 4.0, "e": 1.0, "f": 3.0, "g": 1.0}
    jobs = {name: Job(name, ("true",), size=size) for name, size in sizes.items()}
    running = {"d": 15.0, "e": 30.0}
    state = _State(waiting={name: jobs[name] for name in "fg"})
    assert _time_left(jobs, state, running) is None
    state.done["c"] = End("done")  # found done, and nobody measured it
    assert _time_left(jobs, state, running) is None
    # 100, 10 and 5 seconds for a size of 1: the first job made what the others share.
    for name, seconds in (("a", 100.0), ("b", 20.0), ("c", 5.0)):
        state.done[name] = End("done", seconds=seconds)
    # f and g wait, 25 of the 40 seconds of d are left, e is late: on as many workers as run now.
    assert _time_left(jobs, state, running) == (30 + 10 + 25 + 0) / 2
    assert _time_left(jobs, state, {}) == 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (600, "10 min"), (3 * 3600, "3 h 0 min"), (50 * 3600, "2 d 2 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_jobs_survive_their_file(tmp_path, burn):
    jobs = burn(3, makes=("a", "b"), rows=("x/0-teacher",), about={"seed": 1}, size=2.0)
    save_jobs(tmp_path / "jobs.json", jobs)
    assert load_jobs(tmp_path / "jobs.json") == jobs


def test_two_jobs_of_one_name(tmp_path, burn):
    with pytest.raises(ValueError, match="Two jobs have one name"):
        Sweep(tmp_path, [*burn(1), *burn(1)], Local(1))
