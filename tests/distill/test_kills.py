"""A chain killed again and again ends as one that was never stopped: bit for bit, a row a stage."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scaling_laws as sl
from distill.config import save_config
from distill.tiny import tiny_config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at files in /proc")

REPOSITORY = Path(__file__).parents[2]
MOVING = {"wall_s", "cpu_s", "gpu_hours", "answer_s"}

SMALL = (
    "data.pool=48", "data.train=32", "data.validation=16", "data.test=40", "adapt.examples=48",
    "adapt.train.epochs=1", "adapt.train.checkpoint_every=1", "train.epochs=1", "train.batch=8",
    "train.checkpoint_every=1", "evaluate.replies=4", "evaluate.tokens=8", "prune.calibration=8",
    "prune.kept=[.5]",
)  # fmt: skip

# In the order of the chain, for a kill is at the first write of a name after the one before.
ADAPTED = [
    ("step-*", "before"), ("step-*", "middle"), ("step-*", "after"), "any time",
    ("model", "before"), ("model", "middle"), ("model", "after"),
    ("done.json", "before"), ("done.json", "middle"), ("done.json", "after"),
]  # fmt: skip
SCORED = [
    ("evaluation-*", "before"), ("evaluation-*", "middle"), ("evaluation-*", "after"),
    ("runs.jsonl", "before"), ("runs.jsonl", "middle"), ("runs.jsonl", "after"),
]  # fmt: skip
TAUGHT = [
    "any time", ("model", "after"),
    ("shard-*", "middle"), ("shard-*", "after"), ("unfinished.json", "middle"),
    ("manifest.json", "before"), ("manifest.json", "after"),
    "any time", ("step-*", "middle"), ("model", "middle"), ("done.json", "after"),
]  # fmt: skip


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    return tmp_path_factory.mktemp("errors") / "stderr"


@pytest.fixture(scope="module")
def mortal(errors):
    """Return a function that does a chain in a process of its own and says how that ended."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("mortal.py")],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def run(config, **fault):
        process.stdin.write(json.dumps({"config": str(config), **fault}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    with process:
        assert json.loads(process.stdout.readline()) == {"threads": 1}
        yield run
        process.stdin.close()
    assert process.returncode == 0


def fault(kill, rng):
    if kill == "any time":
        return {"seconds": rng.uniform(0.02, 0.4)}
    return {"at": kill[0], "moment": kill[1]}


def files(out):
    """Names of all files below a folder; an evaluation's name has the hash of its timings."""
    names = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return sorted(re.sub(r"evaluation-\w+", "evaluation", name) for name in names)


def test_killed_at_every_kind_of_write_and_at_any_time(ground, tmp_path, mortal, errors):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        save_config(tiny_config(ground, [*SMALL, f"out={out}"]), out.with_suffix(".yaml"))
    assert mortal(whole.with_suffix(".yaml")) == 0, errors.read_text()
    rng = np.random.default_rng(0)
    kills = [*ADAPTED, *SCORED, *TAUGHT]
    assert len(kills) >= 20
    for kill in kills:
        ended = mortal(killed.with_suffix(".yaml"), **fault(kill, rng))
        assert ended in (-signal.SIGKILL, -signal.SIGPROF), (kill, errors.read_text())
    assert mortal(killed.with_suffix(".yaml")) == 0, errors.read_text()

    logs = [sl.read_runs(out / "runs.jsonl") for out in (whole, killed)]
    # The one append that was killed in its middle.
    assert [len(log.rejected) for log in logs] == [0, 1]
    rows = [log.frame.drop(columns=MOVING, errors="ignore").to_dict("records") for log in logs]
    assert [row["run_id"].rpartition("/")[2] for row in rows[0]] == [
        "0-teacher", "1-pruned", "1-distilled",
    ]  # fmt: skip
    np.testing.assert_equal(rows[1], rows[0])
    assert files(killed) == files(whole)
    weights = [path for path in whole.rglob("*.safetensors") if "shard" not in path.name]
    assert len(weights) == 3
    for path in whole.rglob("*.safetensors"):
        assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_an_error_is_no_kill(tmp_path, mortal, errors):
    """Else the kills above could be errors that nobody saw."""
    assert mortal(tmp_path / "absent.yaml") == 1
    assert "absent.yaml can't be read" in errors.read_text()
