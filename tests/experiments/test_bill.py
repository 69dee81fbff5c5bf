"""What a grid would cost: sums, and the words of a dry run against arithmetic by hand."""

import re
from pathlib import Path

import pytest

from experiments import grids
from experiments.bill import bill, show
from experiments.sweep import main
from scaling_laws import cost

TEACHERS = {"teacher": Path("Qwen3-32B"), "headlines": Path("h.parquet"), "traces": Path("t.jsonl")}

# Qwen3-32B: weights, those that a token is multiplied with, and what an H100 does in an hour.
PARAMS, MULTIPLIED = 32.762e9, 32.762e9 - 151_936 * 5120
PEAK_HOUR = 989e12 * 3600
MFU = (0.43, 0.15)
PRICE = (1.99, 5.00)
KEPT = (0.79, 0.58, 0.37, 0.16)


@pytest.fixture(scope="module")
def paper():
    return bill(grids.paper(Path("out"), **TEACHERS))


def dry_run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*words, "--dry-run"])
    assert end.value.code in (0, None)
    return capsys.readouterr().out


def said(text, word):
    """Return the numbers of the line that begins with a word."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{word} ")]
    return [
        float(n.replace(",", "")) for n in re.findall(r"(?<![-\w])[\d,]*\.?\d+(?=[ ,.:]|$)", line)
    ]


def test_a_teacher_counts_once_and_a_cache_once(paper):
    frame = paper.budget.frame
    assert (len(frame), paper.trainings) == (108 * 4 + 1 + 1, 108 * 4 + 1)
    assert len(paper.chains) == 108 + 1 + 1
    # Two caches, of labels and of reasoning, for which the formats cot and blended share one.
    assert (frame["cache_gpu_hours_low"] > 0).sum() == 2
    assert paper.chains["gpu_hours_low"].sum() == pytest.approx(paper.budget.gpu_hours[0])
    row = frame[frame["name"].str.contains("label-n6250-(?!lora|one)")].iloc[0]
    # FLOPs of a parameter's forward and backward pass.
    assert row["flops"] == pytest.approx(6 * 6250 * 40 * 0.79 * PARAMS, rel=0.05)


def test_the_words_of_the_papers_dry_run(tmp_path, capsys):
    options = [w for name, path in TEACHERS.items() for w in (f"--{name}", str(path))]
    text = dry_run(capsys, "paper", "--out", str(tmp_path / "none"), *options)
    assert not (tmp_path / "none").exists()
    assert "108 chains, 433 trainings on H100\n" in text
    low, high = said(text, "GPU-hours")
    assert said(text, "dollars") == pytest.approx([low * PRICE[0], high * PRICE[1]], rel=0.01)
    # Of every pool the GPU-hours shared out, as long as that is more than one chain takes.
    wall = [low / 8, high / 8, 8, low / 64, high / 64, 64]
    assert said(text, "wall time")[:6] == pytest.approx(wall, rel=0.01)
    # 400,000 sequences of 400 tokens: four students, and the teacher's pass that fills the cache.
    tokens = 400_000 * 400
    flops = tokens * MULTIPLIED * (6 * sum(KEPT) + 2)
    longest = [flops / (8 * PEAK_HOUR * mfu) for mfu in MFU]
    assert said(text, "longest")[:2] == pytest.approx(longest, rel=0.05)
    assert longest[1] < high / 64
    # The 64 largest logits of each token, 6 bytes each, without and with reasoning.
    assert said(text, "caches") == pytest.approx([400_000 * (40 + 400) * 64 * 6 / 1e9], rel=0.005)
    assert said(text, "most memory") == pytest.approx([teacher_memory()], rel=0.005)
    assert "left out     pruning and evaluation" in text


def teacher_memory():
    """Gigabytes of adapting the teacher on each of 8 GPUs, 8192 tokens at a time."""
    states = 16 * PARAMS / 8
    inputs = 2 * 8192 * 5120 * 64  # of 64 layers
    # Norms, queries and outputs, keys and values, their norms, the gated network.
    layer = 2 * 8192 * (4 * 5120 + 2 * 8192 + 2 * 1024 + 8192 + 1024 + 4 * 25_600)
    logits = 5 * 4 * 256 * 151_936
    return (states + inputs + layer + logits) / 1e9


def test_the_teachers_traces_are_in_the_bill(paper):
    (traces,) = paper.traces
    server = traces.serving
    assert (traces.examples, server.tokens_out, server.batch) == (400_000, 400 - 40, 256)
    (row,) = paper.chains[paper.chains["run"] == "traces"].to_dict("records")
    assert (row["gpu_hours_low"], row["gpu_hours_high"]) == traces.gpu_hours
    trained = sum(paper.budget.frame["gpu_hours_low"]) - traces.gpu_hours[0]
    cached = paper.budget.frame["cache_gpu_hours_low"].sum()
    assert paper.budget.gpu_hours[0] == pytest.approx(trained + cached + traces.gpu_hours[0])
    # One GPU holds the weights, and not the cache of so many requests beside them.
    assert server.gpus == 2
    alone = cost.Serving(tokens_in=server.tokens_in, tokens_out=360, batch=256, gpus=1)
    assert not alone.evaluate("Qwen3-32B")["served"].iloc[0]
    # No server is faster than its peak: a forward pass of each token that is written.
    assert traces.gpu_hours[0] > 2 * MULTIPLIED * 400_000 * 360 / PEAK_HOUR
    assert not bill(grids.small(Path("out"), Path("SmolLM2-135M"))).traces


def test_the_wall_time_is_bounded_by_the_longest_chain(paper):
    assert paper.longest.startswith("paper-cot-n400000-")
    assert paper.wall_hours(8)[0] == paper.budget.gpu_hours[0] / 8
    assert paper.wall_hours(10_000) == paper.longest_hours


def test_a_pool_that_is_smaller_than_a_chain():
    text = show(grids.paper(Path("out"), **TEACHERS, gpus=16, seeds=(0,)))
    assert "h with 64 H100, not with 8 H100, since a chain takes 16" in text


def test_what_does_not_fit_is_refused():
    runs = grids.paper(Path("out"), **TEACHERS, gpus=4, seeds=(0,))
    with pytest.raises(ValueError, match=r"trainings do not fit:\n.*are needed on a device of"):
        show(runs)


def test_a_dry_run_of_the_toy_writes_nothing(tmp_path, capsys):
    text = dry_run(capsys, "tiny", "--out", str(tmp_path / "none"))
    assert "10 chains, 41 trainings on H100" in text
    assert "note: chains that ask for no GPU are counted as if on one H100." in text
    assert not any(tmp_path.iterdir())
