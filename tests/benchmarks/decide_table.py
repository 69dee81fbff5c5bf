"""What the answers of `smallest` and `labels_needed` are worth, forms chosen by the log itself.

Run as ``python -m tests.benchmarks.decide_table [--logs 500] [--jobs 2] [--cell TEXT]``; ``--out
FILE`` keeps a row a log. The truths, designs and noise are those of ``coverage_table``, 16 units:
each log is simulated, `sl.choose` weighs all forms of its axes, and the forecast is asked. Every
log has targets of its own, such that the smallest student that meets one with confidence .9 has a
size drawn between those of the log, and the labels that do a number drawn from the least of the log
to twice its most.

Limits, over all logs: a run of the answered student meets the target in at least 87 %, the answer
is at most one level above the oracle's in at least 80 % (no answer counts as above), and intervals
of the labels needed cover in 86-94 %.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from tqdm import tqdm

import scaling_laws as sl
from scaling_laws.candidates import admissible_forms
from scaling_laws.halfwild import NoInterval
from scaling_laws.study import _at_points, _every_level, _truth_model
from tests.benchmarks.coverage_table import CELLS, LEVELS, SD, TRUTHS, Cell

ASKED = [cell for cell in CELLS if cell.units == 16]
# Truths whose forms no number of labels is an answer to.
NO_LABELS = {"collapse": "its form has no examples"}

CONFIDENCE = 0.9
LADDER = np.array([1.0, 0.79, 0.58, 0.46, 0.37, 0.29, 0.23, 0.16])
FINE = np.geomspace(0.16, 1, 41)
# Ends of what is drawn: the oracle's size, and its number of labels at one size.
KEPT, LABELS, AT = (0.37, 0.79), (LEVELS[0], 2 * LEVELS[-1]), 0.58
SUCCESS, ONE_LEVEL, COVERED = 0.87, 0.8, (0.86, 0.94)


@dataclass(frozen=True)
class Truth:
    """What is so in a cell."""

    cell: Cell

    @cached_property
    def _model(self):
        law, truth = TRUTHS[self.cell.truth]
        model, frame = _truth_model(law, self.cell.design(), self.cell.metric)
        return model, model.working(_every_level(model, truth)), np.unique(frame["kept"])

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes of the true form."""
        return tuple(axis.name for axis in TRUTHS[self.cell.truth][0].axis_list())

    def points(self, kept, examples=LEVELS[-1]) -> pd.DataFrame:
        """Return points in the axes of the form."""
        frame = pd.DataFrame({"kept": np.atleast_1d(kept)}).assign(examples=examples)
        return frame[list(self.axes)]

    def score(self, points: pd.DataFrame) -> np.ndarray:
        """Return the curve."""
        model, theta, _ = self._model
        return _at_points(model, points).residual_mean(theta[None])[0]

    def sd(self, points: pd.DataFrame) -> np.ndarray:
        """Return the standard deviation of a new run, whose chain has a stage a level of the log.

        Between levels, and to the one below all, stages are linear in the fraction kept.
        """
        if not self.cell.chained:
            return np.full(len(points), SD)
        levels = self._model[2]
        stages = np.arange(len(levels) + 1, 0, -1)
        return SD * np.sqrt(np.interp(points["kept"], [LADDER.min(), *levels], stages))

    def target(self, points: pd.DataFrame) -> float:
        """Return what a run at one point has with the confidence."""
        return float((self.score(points) - ndtri(CONFIDENCE) * self.sd(points))[0])

    def chance(self, points: pd.DataFrame, target: float) -> np.ndarray:
        """Return the probability that a new run at each point meets a target."""
        return ndtr((self.score(points) - target) / self.sd(points))


def ask(cell: Cell, seed: tuple[int, int]) -> dict[str, object]:
    """Simulate a log and ask it: a row of what came out."""
    begin, truth, rng = time.process_time(), Truth(cell), np.random.default_rng(seed)
    law, parameters = TRUTHS[cell.truth]
    log = sl.simulate(law, cell.design(), parameters, cell.noise(), rng, metric=cell.metric)
    size, labels = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (KEPT, LABELS))
    row: dict[str, object] = {
        "truth": cell.truth, "items": cell.items, "chained": cell.chained, "seed": seed[1],
        "size": size, "labels": np.nan if cell.truth in NO_LABELS else labels, "refused": "",
        **dict.fromkeys(("success", "excess", "low", "high", "covered"), np.nan),
    }  # fmt: skip
    try:
        forms = admissible_forms(log, (), cell.metric)
        forecast = sl.choose(forms, log, cell.metric, rng=rng).forecast
        row |= _of_sizes(truth, forecast, size)
        if cell.truth not in NO_LABELS:
            row |= _of_labels(truth, forecast, labels)
    except NoInterval as why:
        row["refused"] = str(why)
    return row | {"seconds": time.process_time() - begin}


def _of_sizes(truth: Truth, forecast: sl.Forecast, size: float) -> dict[str, float]:
    """Return the chance of the answer among fine sizes, and its levels above the oracle's."""
    target, ladder = truth.target(truth.points(size)), truth.points(LADDER)
    asked = {"at_least": target, "confidence": CONFIDENCE}
    fine = sl.decide.smallest(forecast, truth.points(FINE), **asked)
    step = sl.decide.smallest(forecast, ladder, **asked)
    oracle = int(np.flatnonzero(truth.chance(ladder, target) >= CONFIDENCE).max())
    chance = truth.chance(truth.points(fine.values["kept"]), target)[0] if fine.found else np.nan
    excess = np.inf
    if step.found:
        excess = oracle - int(np.flatnonzero(LADDER == step.values["kept"])[0])
    return {"success": float(chance), "excess": float(excess)}


def _of_labels(truth: Truth, forecast: sl.Forecast, labels: float) -> dict[str, float]:
    """Return the interval of the labels needed, and whether it has the true number."""
    target = truth.target(truth.points(AT, labels))
    found = sl.decide.labels_needed(
        forecast, at_least=target, confidence=CONFIDENCE, kept=AT
    ).values
    low, high = found["low"], found["high"]
    return {"low": low, "high": high, "covered": float(low <= labels <= high)}


# --- the table ------------------------------------------------------------------------------------
def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Return shares over rows, refused ones left out of all but their own."""
    told = rows[rows["refused"] == ""]
    found, covered = told["success"].dropna(), told["covered"].dropna()
    return {
        "logs": len(rows),
        "success": found.mean(), "success ±": found.std() / np.sqrt(max(len(found), 1)),
        "none": 1 - len(found) / max(len(told), 1),
        "<= 1 level": (told["excess"] <= 1).mean(), "below": (told["excess"] < 0).mean(),
        "excess": told["excess"].median(),
        "labels": covered.mean(),
        "labels ±": np.sqrt(covered.mean() * (1 - covered.mean()) / max(len(covered), 1)),
        "refused": (rows["refused"] != "").mean(), "CPU s a log": rows["seconds"].mean(),
    }  # fmt: skip


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a truth, a size of the test set and a dependence, and one of all."""
    parts = {name: rows[rows["truth"] == name] for name in dict.fromkeys(rows["truth"])}
    parts |= {f"n={n}": rows[rows["items"] == n] for n in dict.fromkeys(rows["items"])}
    for chained, name in ((False, "independent"), (True, "chained")):
        parts[name] = rows[rows["chained"] == chained]
    parts["all"] = rows
    return pd.DataFrame({name: summary(part) for name, part in parts.items() if len(part)}).T


def failures(total: pd.Series) -> list[str]:
    """Sentences for the limits that all logs together break."""
    out: list[str] = []
    if not total["success"] >= SUCCESS:
        out.append(f"success of smallest {total['success']:.3f}, not {SUCCESS} or more")
    if not total["<= 1 level"] >= ONE_LEVEL:
        out.append(f"at most one level above {total['<= 1 level']:.3f}, not {ONE_LEVEL} or more")
    # NaN where labels are asked of no truth.
    if total["labels"] < COVERED[0] or total["labels"] > COVERED[1]:
        out.append(
            f"coverage of labels_needed {total['labels']:.3f}, not {COVERED[0]}-{COVERED[1]}"
        )
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print the table; exit 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=500, help="of all cells together")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cell", default="", help="only cells whose name holds this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a CSV with a row a log")
    given = parser.parse_args(arguments)
    cells = [cell for cell in ASKED if given.cell in cell.name]
    if not cells:
        parser.error(f"no cell holds {given.cell!r}; there are {', '.join(c.name for c in ASKED)}")
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = [pool.submit(ask, cells[i % len(cells)], (given.seed, i)) for i in range(given.logs)]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="logs", smoothing=0):
            job.result()
    rows = pd.DataFrame([job.result() for job in jobs])
    if given.out is not None:
        rows.to_csv(given.out, index=False)
    table = table_of(rows)
    print(table.to_string(float_format=lambda v: f"{v:.3g}"))
    for truth, why in NO_LABELS.items():
        print(f"labels_needed is not asked of {truth}: {why}")
    broken = failures(table.loc["all"])
    print("\n".join(broken) if broken else "all limits hold")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
