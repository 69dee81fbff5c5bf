"""The command of a sweep from its words to the law that it prints."""

import re
from collections import Counter

import pytest

import scaling_laws as sl
from experiments import grids
from experiments.chains import rows_of
from experiments.sweep import _law, main
from tests.benchmarks import sweep_overhead
from tests.experiments import simulated as sim
from tests.experiments.test_grids import QUICK

TRUE = {"task_nll": sim.TRUE["general_kl"]}


def parameters(text):
    """Return the ends of the interval of each parameter that has one."""
    found = re.findall(r"^  (\S+) +-?[\d.]+ +(?:± [\d.]+ +)?([\d.]+) – ([\d.]+)", text, re.M)
    return {name: (float(low), float(high)) for name, low, high in found}


def test_the_law_that_is_printed_is_that_of_the_grid(tmp_path):
    """Its parameters are the true ones, and no side arm moves it: not one by its name alone."""
    frame = sim.frame_of(TRUE, sim.MAIN + sim.ARMS, rng=1)
    other = frame["chain_id"].str.contains("replay|one-shot|random")
    frame.loc[other, "task_nll"] *= 5
    text = _law(sim.write_log(tmp_path / "log.jsonl", frame))
    assert "rows      56 from log.jsonl; 14 chains, 3 levels of format" in text
    best = text.split("\n\n")[1]
    assert best.startswith("Compressed(by=('format',))\n"), "the kind of the truth"
    found = parameters(text)
    for name in ("g", "b", *(f"{p}[{f}]" for p in "eac" for f in sim.FORMATS)):
        true = TRUE["task_nll"].get(name, TRUE["task_nll"].get(name[0]))
        low, high = found[name]
        assert low <= true <= high, name
    main_only = sim.write_log(tmp_path / "log.jsonl", frame[~other])
    assert _law(main_only) == text


def test_a_sweep_without_a_law_says_why(tmp_path):
    frame = sim.frame_of(TRUE, sim.MAIN[:1])
    text = _law(sim.write_log(tmp_path / "log.jsonl", frame))
    assert text.startswith("All is done; there is no law of task_nll: ")


@pytest.mark.slow
def test_the_toys_grid_to_its_end(tmp_path, capsys):
    """The command of the README: all rows, each once, and a law; given again it starts nothing."""
    runs = grids.tiny(tmp_path)
    wanted = Counter(row for run in runs for row in rows_of(run))
    assert len(wanted) == 10 * (1 + 4)
    texts = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["tiny", "--out", str(tmp_path)])
        assert end.value.code in (0, None)
        log = sl.read_runs(tmp_path / "runs.jsonl")
        assert Counter(log.frame["run_id"]) == wanted
        assert not len(log.rejected)
        texts.append(capsys.readouterr().out)
    first, second = texts
    assert first.count("  started  ") == first.count("  done  ") == 10
    assert "started" not in second
    assert "10 done, 0 running, 0 failed, 0 waiting" in second
    law = first.partition("Choice among ")[2]
    assert "rows      40 from runs.jsonl" in law
    assert "formula   task_nll = " in law
    assert law
    assert second.endswith(law)


def overhead(capsys, *words):
    """Return what the benchmark prints: wall-clock and processor seconds of both ways."""
    sweep_overhead.main(["--rounds", "1", *words])
    title, _, *lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows] == ["wall", "processor"]
    found = [[float(v) for v in row[1:4]] for row in rows]
    for loop, through, ratio in found:
        assert ratio == pytest.approx(through / loop, rel=0.02)
    return title, found


def test_the_overhead_of_stand_ins_is_measured(capsys):
    title, (_, (loop, through, _)) = overhead(capsys, "--jobs", "2", "--seconds", "0.5")
    assert title == "2 jobs of 0.5 s, median of 1 rounds"
    assert min(loop, through) >= 2 * 0.5, "both ways burn what they should"


@pytest.mark.slow
def test_the_overhead_of_real_chains_is_measured(capsys):
    """Chains of seconds: each way does both, from an empty folder."""
    words = [w for part in QUICK if "epochs" not in part for w in ("--set", part)]
    pool = ("--set", "data.pool=128", "--set", "adapt.train.epochs=1")
    title, _ = overhead(capsys, "--chains", "2", "--epochs", "1", *words, *pool)
    assert title == "2 chains of the toy, 1 epochs, median of 1 rounds"
