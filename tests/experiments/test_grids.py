"""Grids: their cells, their jobs, their bill; the toy's chains, killed and gone on with."""

import io
from collections import Counter
from pathlib import Path

import pytest

import scaling_laws as sl
from distill.config import load_config
from experiments import grids
from experiments.backends.local import Local
from experiments.chains import job_of, rows_of, stages_of
from experiments.engine import FOLDER, Sweep
from experiments.sweep import Place, _backend, main, make_toy
from experiments.table import Table

TEACHERS = {"teacher": Path("Qwen3-32B"), "headlines": Path("h.parquet"), "traces": Path("t.jsonl")}

# Seconds for a chain, not minutes.
QUICK = (
    "data.pool=96", "data.validation=32", "data.test=40", "adapt.examples=96",
    "adapt.train.epochs=1", "adapt.train.checkpoint_every=2", "train.epochs=1",
    "evaluate.replies=8", "prune.calibration=16", "prune.kept=[.58, .3]",
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy")
    make_toy(out)
    return out


def cells(runs):
    return Counter(
        (
            run.config.supervision.format,
            run.config.prune.schedule,
            "full" if run.config.train.lora is None else "lora",
        )
        for run in runs
    )


def test_the_papers_cells():
    runs = grids.paper(Path("out"), **TEACHERS)
    assert cells(runs) == {
        ("label", "iterative", "full"): 21, ("cot", "iterative", "full"): 21,
        ("blended", "iterative", "full"): 21, ("label", "iterative", "lora"): 9,
        ("cot", "iterative", "lora"): 9, ("blended", "iterative", "lora"): 9,
        ("label", "one-shot", "full"): 9, ("blended", "one-shot", "full"): 9,
    }  # fmt: skip
    assert {run.config.prune.kept for run in runs} == {(0.79, 0.58, 0.37, 0.16)}
    assert {run.config.seed for run in runs} == {0, 1, 2}
    examples = sorted({run.config.data.train for run in runs})
    assert (examples[0], examples[-1]) == (6250, 400_000)
    assert all(b == 2 * a for a, b in zip(examples[:-1], examples[1:], strict=True))
    assert {run.gpus for run in runs} == {8}


def test_the_small_cells(tmp_path):
    runs = grids.small(tmp_path, Path("SmolLM2-135M"))
    assert cells(runs) == {
        ("label", "iterative", "full"): 8, ("blended", "iterative", "full"): 9,
        ("cot", "iterative", "full"): 2, ("label", "one-shot", "full"): 2,
        ("label", "one-shot", "lora"): 1,
    }  # fmt: skip
    again = sorted((r.config.supervision.format, r.config.data.train) for r in runs
                   if r.config.seed == 2)  # fmt: skip
    assert again == [(f, n) for f in ("blended", "label") for n in (64, 256, 1024)]
    assert sum(run.config.prune.weights == "random" for run in runs) == 1
    for run in runs:
        assert run.config.prune.kept_of == "nonembedding"
        assert "hidden" not in run.config.prune.split
    # The seed is no part of what a chain is.
    assert len({run.name for run in runs}) == len(runs)
    assert len({run.config.hash for run in runs}) == 16
    assert sum(run.config.supervision.replay is not None for run in runs) == 1
    # Answers that are written out are fewer than those that are scored by likelihood.
    replies = {run.config.supervision.format: run.config.evaluate.replies for run in runs}
    assert replies == {"label": 200, "blended": 1000, "cot": 1000}


def test_second_seeds_that_are_asked_for_come_last_and_change_nothing_else(tmp_path):
    before = grids.small(tmp_path, Path("smollm2-135m"))
    cells = [("label", 128), ("cot", 256), ("label", 64), ("label", 128)]  # one is there, one twice
    runs = grids.small(tmp_path, Path("smollm2-135m"), again=cells)
    names = [run.name for run in runs]
    assert names[: len(before)] == [run.name for run in before]
    added = [run.config for run in runs[len(before) :]]
    assert [(c.supervision.format, c.data.train, c.seed) for c in added] == [
        ("label", 128, 2), ("cot", 256, 2),
    ]  # fmt: skip
    # The seed is no part of a configuration: both are that of the first seed.
    first = {run.config.name: run.config.hash for run in before if run.config.seed == 1}
    assert [c.hash for c in added] == [first[c.name] for c in added]
    with pytest.raises(ValueError, match=r"again: cot-n64 is not in the grid; there are label-n64"):
        grids.small(tmp_path, Path("x"), again=[("cot", 64)])


def test_overrides_reach_every_chain(tmp_path):
    runs = grids.small(tmp_path, Path("x"), overrides=["train.lr=3e-4", "data.test=99"])
    assert {(run.config.train.lr, run.config.data.test) for run in runs} == {(3e-4, 99)}


def test_jobs_of_many_gpus_go_through_torchrun(toy):
    (run,) = grids.tiny(toy, examples=(40,), formats=("label",), overrides=QUICK)
    plain = job_of(run, toy / "configs")
    assert plain.command[1:4] == ("-m", "distill", "run")
    assert load_config(plain.command[-1]) == run.config
    gang = job_of(grids.RunConfig(run.config, gpus=4), toy / "configs")
    assert gang.command[1:] == (
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4",
        *plain.command[1:],
    )  # fmt: skip
    assert gang.gpus == 4


def test_chains_of_one_teacher_share_its_stages(toy):
    runs = grids.tiny(toy, examples=(40, 80), overrides=QUICK)
    stages = [stages_of(run.config) for run in runs]
    shared = [name.split("-")[0] for name in stages[0] if name in stages[1]]
    assert shared == ["adapt", "score", "prune", "cache"]
    across = [name.split("-")[0] for name in stages[0] if name in stages[2]]
    assert across == ["adapt", "prune"]


def test_killed_and_gone_on_with_the_chains_repeat_nothing(toy, tmp_path, start_driver, wait_for):
    """Its stages have the names that were foretold, those that were done stay, rows are once."""
    out = tmp_path / "out"
    runs = grids.tiny(toy, examples=(32, 64), formats=("label",),
                      overrides=[*QUICK, f"out={out}"])  # fmt: skip
    jobs = [job_of(run, out / FOLDER / "configs") for run in runs]
    process = start_driver(out, jobs)
    wait_for(lambda: len(list(out.glob("stages/*/done.json"))) >= 3)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("stages/*/done.json")}
    shown = io.StringIO()
    assert Sweep(out, jobs, Local(2), table=Table(shown)).run()
    assert "goes on" in shown.getvalue()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    foretold = {name for run in runs for name in stages_of(run.config)}
    assert {path.name for path in (out / "stages").iterdir()} == foretold
    frame = sl.read_runs(out / "runs.jsonl").frame
    assert Counter(frame["run_id"]) == Counter(row for run in runs for row in rows_of(run))
    shown = io.StringIO()
    assert Sweep(out, jobs, Local(2), table=Table(shown)).run()
    assert "started" not in shown.getvalue()


def test_the_commands_words(tmp_path, capsys):
    for wrong, words in (
        (["small", "--out", "x"], "small needs --teacher"),
        (["status", "--out", str(tmp_path)], "has no sweep"),
        (["tiny", "--out", str(tmp_path), "--again", "label-n8"], "--again is for the grid small"),
        (["small", "--out", "x", "--teacher", "y", "--again", "label"], "write FORMAT-nEXAMPLES"),
        (["small", "--out", "x", "--teacher", "y", "--again", "cot-n64"], "is not in the grid"),
        (["tiny", "--out", str(tmp_path), "--set", "train.lrr=1"], "did you mean train.lr"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
        assert words in capsys.readouterr().err


def main_ok(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code in (0, None)


def test_a_detached_command_writes_to_its_log(tmp_path, capsys, wait_for, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    main_ok(["tiny", "--out", str(tmp_path), "--dry-run", "--detach"])
    log = tmp_path / FOLDER / "sweep.log"
    assert str(log) in capsys.readouterr().out
    wait_for(lambda: "10 chains, 41 trainings" in log.read_text("utf-8"))


@pytest.mark.parametrize("devices", ["0,1,", "0,,1", "1,1", ""])
def test_gpus_without_a_name_or_named_twice_are_refused(tmp_path, devices):
    """A job that gets such a one would train on the processor, or beside another job."""
    with pytest.raises(ValueError, match="write each GPU once, such as 0,1,2,3"):
        _backend(Place.local, tmp_path, None, devices, 1, ())
    assert _backend(Place.local, tmp_path, None, "0, 1", 1, ()).devices == ("0", "1")
