"""What proposed runs are worth beside uniform and random grids of equal GPU-hours.

Run as ``python -m tests.benchmarks.next_runs [--logs 20] [--truth TEXT] [--reach]``. From each of
three starting logs of known truths runs are added by `next_runs`, by the evenly spaced grid that
costs most within the budget, and at random, all for what that grid costs; the law is fitted again
and asked. Printed is the root mean square error of the answer over logs, and its ratio to both
others; ratios below 1 say that the proposed runs tell more. Without ``--reach`` the asked point
itself, and all of its size and as many examples, can't be run.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.decide import next_runs
from scaling_laws.study import Noise

EXAMPLES = np.geomspace(3_000, 400_000, 8).round()
KEPT = np.array([1.0, 0.79, 0.58, 0.45, 0.37, 0.25, 0.16])
ALL = pd.MultiIndex.from_product([EXAMPLES, KEPT], names=["examples", "kept"]).to_frame(index=False)
# A fixed share of every run, then what grows with size and data.
ALL["gpu_hours"] = 0.5 + 20.0 * ALL["kept"] * ALL["examples"] / 400_000
METRIC = sl.Metric("task_accuracy", "higher", "in-domain", 1 / 35, 1.0, "logit", "proportion")
NOISE = Noise(run=0.015, items=2_000)
ASKED = {"examples": 400_000.0, "kept": 0.16}

TRUTHS = {
    "additive": (sl.laws.Compressed("additive"), dict(e=2.3, a=0.8, b=0.35, c=0.5, g=0.9)),
    "steep": (sl.laws.Compressed("additive"), dict(e=1.8, a=0.6, b=0.7, c=0.3, g=1.5)),
    "multiplicative": (sl.laws.Compressed("multiplicative"), dict(e=2.3, a=0.9, b=0.35, g=0.7)),
    "rectified": (sl.laws.Compressed("rectified"), dict(e=2.3, a=1.2, b=0.6, d=0.5, c=0.5, g=0.9)),
}
STARTS = {
    "3 x 3": [(n, k) for n in (3_000, 12_000, 50_000) for k in (1.0, 0.79, 0.58)],
    "one size": [(n, 0.58) for n in EXAMPLES[:6]] + [(12_000, 1.0), (12_000, 0.79)],
    "two sizes of data": [(n, k) for n in (6_000, 50_000) for k in (1.0, 0.79, 0.58, 0.37)],
}
WAYS = ("proposed", "uniform", "random")


@dataclass(frozen=True)
class Cell:
    """A truth, a starting log, and whether the asked point can be run."""

    truth: str
    start: str
    reach: bool = False

    @property
    def budget(self) -> float:
        """GPU-hours at most; where all can be run, the corners alone take 25."""
        return 60.0 if self.reach else 20.0

    @property
    def candidates(self) -> pd.DataFrame:
        """Runs that can be made."""
        if self.reach:
            return ALL
        near = (ALL["kept"] >= 0.25) & (ALL["examples"] < 200_000)
        return ALL[near].reset_index(drop=True)


def uniform(candidates: pd.DataFrame, budget: float) -> list[int]:
    """Rows of the evenly spaced grid, both ends of both axes included, that costs most below it."""
    best, most = [], 0.0
    levels = [np.sort(candidates[c].unique()) for c in ("examples", "kept")]
    for sizes in np.ndindex(*(len(v) - 1 for v in levels)):
        chosen = [
            v[np.linspace(0, len(v) - 1, s + 2).round().astype(int)]
            for v, s in zip(levels, sizes, strict=True)
        ]
        inside = candidates["examples"].isin(chosen[0]) & candidates["kept"].isin(chosen[1])
        cost = float(candidates.loc[inside, "gpu_hours"].sum())
        if most < cost <= budget:
            best, most = list(np.flatnonzero(inside)), cost
    return best


def at_random(candidates: pd.DataFrame, budget: float, rng: np.random.Generator) -> list[int]:
    """Rows in random order, each that still fits."""
    rows, left = [], budget
    for i in rng.permutation(len(candidates)):
        if candidates["gpu_hours"].iloc[i] <= left:
            rows.append(int(i))
            left -= float(candidates["gpu_hours"].iloc[i])
    return rows


def errors(cell: Cell, logs: int, seed: int = 0) -> pd.DataFrame:
    """Return the error of the answer after each way, a row a log, and what was spent."""
    law, truth = TRUTHS[cell.truth]
    start = pd.DataFrame(STARTS[cell.start], columns=["examples", "kept"])
    candidates = cell.candidates
    # One design holds every run that could be made, so that the truth is the same in all of them.
    every = pd.concat([start, ALL[["examples", "kept"]], candidates[["examples", "kept"]]])
    exact = sl.simulate(law, every, truth, 0.0, metric=METRIC).frame[METRIC.name].to_numpy()
    there = (ALL["examples"] == ASKED["examples"]) & (ALL["kept"] == ASKED["kept"])
    answer = float(exact[len(start) + int(np.flatnonzero(there)[0])])
    grid = uniform(candidates, cell.budget)
    budget = float(candidates["gpu_hours"].iloc[grid].sum())
    rng = np.random.default_rng((seed, len(cell.truth), len(cell.start), int(cell.reach)))
    rows = []
    for _ in range(logs):
        frame = sl.simulate(law, every, truth, NOISE, rng, metric=METRIC).frame
        first = frame.iloc[: len(start)]
        offered = frame.iloc[len(start) + len(ALL) :].reset_index(drop=True)
        known = sl.fit(law, first, METRIC)
        found = next_runs(known, candidates, question=ASKED, budget=budget).frame
        chosen = {
            "proposed": list(found.index[found["runs"] > 0]),
            "uniform": grid,
            "random": at_random(candidates, budget, rng),
        }
        row = {}
        for way, take in chosen.items():
            both = pd.concat([first, offered.iloc[take]], ignore_index=True)
            after = sl.fit(law, both, METRIC).predict(ASKED, interval=None)["estimate"].iloc[0]
            row[way] = float(after) - answer
            row[f"{way}_hours"] = float(candidates["gpu_hours"].iloc[take].sum())
        rows.append(row)
    return pd.DataFrame(rows)


def ratios(cells: list[Cell], logs: int, seed: int = 0) -> pd.DataFrame:
    """Return root mean square errors and their ratios, a row a cell."""
    rows = []
    for cell in cells:
        begin = time.perf_counter()
        found = errors(cell, logs, seed)
        rms = {way: float(np.sqrt((found[way] ** 2).mean())) for way in WAYS}
        hours = {f"{way} hours": float(found[f"{way}_hours"].mean()) for way in WAYS}
        rows.append({
            "truth": cell.truth, "start": cell.start, **rms, **hours,
            "to uniform": rms["proposed"] / rms["uniform"],
            "to random": rms["proposed"] / rms["random"],
            "seconds": time.perf_counter() - begin,
        })  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table and its medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=20)
    parser.add_argument("--truth", default="", help="only truths whose name holds this")
    parser.add_argument("--reach", action="store_true", help="the asked point can be run too")
    given = parser.parse_args()
    cells = [Cell(t, s, given.reach) for t in TRUTHS if given.truth in t for s in STARTS]
    table = ratios(cells, given.logs)
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    for other in ("uniform", "random"):
        print(f"median ratio to {other}: {table[f'to {other}'].median():.2f}")


if __name__ == "__main__":
    main()
