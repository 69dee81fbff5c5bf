"""What reading a log costs, in time and in imports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from scaling_laws.runs import read_runs
from tests.yardstick import slowness


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Return the shortest processor time of a call, in seconds of a quiet core."""
    call()
    slow = slowness()
    times: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) / slow


@pytest.mark.parametrize(
    ("rows", "seconds", "repeats"), [(240, 0.7e-3, 200), (1000, 5e-3, 50), (100_000, 0.5, 3)]
)
def test_a_frame_of_numbers_is_checked_by_column(rows: int, seconds: float, repeats: int) -> None:
    size = np.geomspace(1e8, 1e10, rows)
    frame = pd.DataFrame({"params": size, "tokens": 20 * size, "loss": np.linspace(3, 2, rows)})
    assert fastest(lambda: read_runs(frame), repeats) < seconds
    assert len(read_runs(frame)) == rows


def test_a_hundred_thousand_full_rows_take_half_a_second() -> None:
    rng, rows = np.random.default_rng(0), 100_000
    frame = pd.DataFrame(
        {
            "run_id": [f"run-{i}" for i in range(rows)],
            "teacher": "T",
            "format": rng.choice(["label", "cot", "blended"], rows),
            "kept": rng.choice([1, 0.79, 0.58, 0.37, 0.16], rows),
            "examples": rng.integers(0, 400_000, rows),
            "seed": rng.integers(0, 3, rows),
            "task_f1": rng.uniform(0, 1, rows),
            "task_f1_se": 0.005,
            "remark": rng.choice(["a", "b"], rows),
        }
    )
    assert fastest(lambda: read_runs(frame), 3) < 0.5


def test_importing_runs_loads_nothing_heavy() -> None:
    program = (
        "import sys, numpy, pandas, pydantic; before = set(sys.modules); import scaling_laws.runs; "
        "print(*(name.partition('.')[0] for name in set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "scaling_laws" in loaded
    assert not {"filelock", "lmfit", "matplotlib", "pyarrow", "scipy", "torch"} & set(loaded)
