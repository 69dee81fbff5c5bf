"""Whole toy chains: two processes, a teacher that gives text alone, merged adapters."""

import json
import os
import subprocess
import sys

import pytest
import torch

from distill.config import load_config, save_config
from distill.data import load_data
from distill.models import load_model
from distill.run import run_chain
from distill.tiny import tiny_config
from tests.distill.test_run import BRIEF, REPOSITORY, rows_of, settled

# The second of two processes fails in training, where the first one waits for it.
LONELY = """
import os, sys
from distill import steps
from distill.cli import main

def train(*args, **options):
    raise MemoryError

if os.environ["RANK"] == "1":
    steps.train = train
main(sys.argv[1:])
"""


def test_two_processes_log_the_rows_of_one(ground, tmp_path):
    """Even where one of them fails alone: that is logged, and the same command goes on."""
    one, two = (
        tiny_config(ground, [*BRIEF, f"out={tmp_path / name}", "train.parallel=fsdp"])
        for name in ("one", "two")
    )
    expected = rows_of(run_chain(one, bar=False))
    save_config(two, tmp_path / "two.yaml")
    (tmp_path / "lonely.py").write_text(LONELY)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def launch(*words):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", *words, "run", "two.yaml"]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )

    ended = launch("lonely.py")
    assert ended.returncode != 0
    rows = rows_of(tmp_path / "two" / "runs.jsonl")
    assert [row["phase"] for row in rows] == ["teacher", "pruned", "distilled"]
    assert rows[2]["error"].startswith("OutOfMemory: out of memory before or after the training")
    assert (rows[2]["status"], rows[2]["parent_id"]) == ("failed", rows[1]["run_id"])

    ended = launch("-m", "distill")
    assert ended.returncode == 0, ended.stderr[-6000:]
    rows = [row for row in rows_of(tmp_path / "two" / "runs.jsonl") if "status" not in row]
    assert {row.pop("machine")[:4] for row in rows} == {"2 x "}
    assert {row.pop("machine")[:4] for row in expected} == {"1 x "}
    for row, wanted in zip(settled(rows), settled(expected), strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            if name in ("items", "items_sha256"):  # of every digit
                continue
            # Gradients are added in another order: float32 roundings of a step or two.
            near = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            assert row[name] == near, name


def test_a_teacher_that_gives_text_alone(ground, tmp_path):
    """The example's settings, with a file as an API writes it: right, wrong, garbled and failed."""
    given = load_config(REPOSITORY / "experiments" / "text-teacher.yaml")
    pool = load_data(tiny_config(ground, BRIEF).data).pool
    other = {e.label: next(o.label for o in pool if o.label != e.label) for e in pool}
    kinds = ["wrong", "garbled", "failed", *["right"] * (len(pool) - 3)]
    with (tmp_path / "batch.jsonl").open("w") as file:
        for example, kind in zip(pool, kinds, strict=True):
            label = other[example.label] if kind == "wrong" else example.label
            said = "Hm." if kind == "garbled" else f"Reason: It is clear.\nEvent: {label}"
            body = {"choices": [{"message": {"role": "assistant", "content": said}}]}
            row = {"id": f"batch_req_{example.id}", "custom_id": example.id, "error": None}
            row["response"] = {"status_code": 200, "body": body}
            if kind == "failed":
                row |= {"response": None, "error": {"code": "batch_expired"}}
            file.write(json.dumps(row) + "\n")
    overrides = [
        *BRIEF, f"out={tmp_path / 'out'}", f"data.traces={tmp_path / 'batch.jsonl'}",
        "data.train=13", f"data.label_source={given.data.label_source}",
        f"data.wrong={given.data.wrong}", f"supervision.format={given.supervision.format}",
        f"supervision.alpha={given.supervision.alpha}",
    ]  # fmt: skip
    config, lines = tiny_config(ground, overrides), []
    learnt = load_data(config.data).pool
    assert [(e.text, e.label) for e in learnt] == [(e.text, e.label) for e in pool[3:]]
    assert {e.rationale for e in learnt} == {"It is clear."}

    rows = rows_of(run_chain(config, bar=False, report=lines.append))
    (counts,) = (line for line in lines if line.startswith("batch.jsonl"))
    assert counts == (
        "batch.jsonl: {'kept': 13, 'wrong': 1, 'unparsed': 1, 'no reasoning': 0, 'no reply': 1, "
        "'kept_wrong': 0}."
    )
    assert [row["phase"] for row in rows] == ["teacher", "pruned", "distilled"]
    student = rows[-1]
    assert (student["target"], student["label_source"]) == ("text", "teacher")
    assert (student["examples"], student["format"]) == (13, "blended")

    kept = load_data(load_config(config, ["data.wrong=keep"]).data).pool
    assert [e.label for e in kept] == [other[pool[0].label], *(e.label for e in learnt)]
    with pytest.raises(ValueError, match="has 13 usable traces .*'wrong': 1.* asks for 14"):
        load_data(load_config(config, ["data.train=14"]).data)


def test_a_merged_adapter_is_pruned_again_by_the_chain(ground, tmp_path):
    """Adapters are trained and merged, and the next student is cut out of the merged weights."""
    overrides = ["prune.kept=[.6, .4]", "train.lora={rank: 2}", "train.max_steps=4"]
    # Layers stay as they are, so that weights of the two students stand at the same places.
    overrides += ["train.lr=.01", "prune.split={ffn: 1}", "prune.importance=magnitude"]
    config = tiny_config(ground, [*BRIEF, f"out={tmp_path}", *overrides])
    rows = rows_of(run_chain(config, bar=False))
    assert [row["phase"] for row in rows] == ["teacher", *["pruned", "distilled"] * 2]
    assert [row["parent_id"] for row in rows[1:]] == [row["run_id"] for row in rows[:-1]]
    assert [row.get("method") for row in rows] == [None, None, "lora", None, "lora"]
    assert all(
        row["params"] == before["params"]
        for before, row in zip(rows[1::2], rows[2::2], strict=True)
    )

    def models(kind):
        folders = [path.parent for path in tmp_path.glob(f"stages/{kind}-*/model")]
        found = [load_model(folder / "model") for folder in folders]
        return sorted(found, key=lambda model: -model.num_parameters())

    cut, taught = models("prune"), models("teach")

    def attention(model):
        return model.model.layers[0].self_attn.q_proj.weight

    # The second cut begins with what the adapter made of the first one.
    assert not torch.equal(attention(taught[0]), attention(cut[0]))
    assert torch.equal(attention(cut[1]), attention(taught[0]))
    assert not any("lora" in name for name, _ in taught[1].named_parameters())
