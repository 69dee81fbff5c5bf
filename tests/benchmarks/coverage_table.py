"""Coverage of intervals over truths x noise x dependence x size, as one table.

Run as ``python -m tests.benchmarks.coverage_table [--logs 2000] [--jobs 2] [--cell TEXT]``. The
cells below were fixed before anything was tuned on them. Limits: coverage of a nominal 90 %
interval within 86-96 % at 12 units or fewer and 86-94 % above, median width of ``mean`` at most
1.4 times the width of an oracle that knows the form and all variances, refusals at most 5 %.
``--further`` takes the forms with more parameters instead: interaction, plateau, and curves that
bend. ``--outside`` fits another form than the truth: no limits, since no interval covers a wrong
form.

``--keep FILE`` writes every finished cell to a file of JSON lines and does not run those again that
it holds with the same settings, so that a study may be stopped and gone on with; begin a new file
when the library changes. ``--markdown`` prints the summary of the README, and lines of cells to
stderr.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.study import Noise

LEVELS = np.logspace(np.log10(6_000), np.log10(400_000), 4).round()
KEPT = (0.79, 0.58, 0.37)
FLOOR = 1 / 35

JOINT = sl.Metric("task_accuracy", "higher", "in-domain", FLOOR, 1.0, "logit", "proportion")
GENERAL = sl.Metric("quiz", "higher", "general", 0.25, 1.0, "logit", "proportion")

TRUTHS = {
    "additive": (sl.laws.Compressed("additive"), dict(e=2.3, a=0.8, b=0.35, c=0.5, g=0.9)),
    "multiplicative": (sl.laws.Compressed("multiplicative"), dict(e=2.3, a=0.9, b=0.35, g=0.7)),
    "rectified": (sl.laws.Compressed("rectified"), dict(e=2.3, a=1.2, b=0.6, d=0.5, c=0.5, g=0.9)),
    "collapse": (sl.laws.Collapse(), dict(acc1=0.75, k0=0.5, s=6.0)),
    "interaction": (
        sl.laws.Compressed("interaction"),
        dict(e=2.3, a=0.8, b=0.35, h=0.8, c=0.5, g=0.9),
    ),
    "plateau": (sl.laws.Plateau(), dict(e0=0.25, ratio=3.2, p=0.25, g=3.0)),
    "broken": (sl.laws.Broken(), dict(a=0.8, b=3.0, c0=0.05, c1=0.35, d1=5e3, f1=0.4)),
    "bounded": (sl.laws.Bounded(), dict(E=0.8, L0=3.0, B=50.0, a=1.5, c=0.5)),
}
# What each truth is a score of; losses have no test items.
METRIC_OF = {"collapse": GENERAL, "plateau": GENERAL, "broken": sl.METRICS["loss"],
             "bounded": sl.METRICS["loss"]}  # fmt: skip
# Axes of the truths of one axis: levels of a unit each, of a chain, and where to predict.
SIZES_OF = {
    "collapse": (np.linspace, (0.3, 1.0), (1.0, 0.79, 0.58, 0.37), (0.65, 0.45, 0.16), (3, 4, 5)),
    "plateau": (np.geomspace, (0.08, 1.0), (1.0, 0.7, 0.5, 0.35, 0.2, 0.1), (0.5, 0.25, 0.06),
                (3, 5, 7)),
}  # fmt: skip
CURVES = ("broken", "bounded")
# Truths outside the form that is fitted: a table without limits.
OUTSIDE = {
    "interaction": sl.laws.Compressed("additive"),
    "rectified": sl.laws.Compressed("additive"),
    "additive": sl.laws.Compressed("multiplicative"),
    "multiplicative": sl.laws.Compressed("additive"),
    "collapse": sl.laws.Plateau(),
}
LIMITED = ("additive", "multiplicative", "rectified", "collapse")
ITEMS = (1_000, 10_000)
SD = 0.01
SIZES = (12, 16)
KINDS = ("mean", "run", "score")


@dataclass(frozen=True)
class Cell:
    """One simulated situation."""

    truth: str
    items: int
    chained: bool
    units: int

    @property
    def name(self) -> str:
        """Words for the table."""
        kind = "chained" if self.chained else "independent"
        items = f"n={self.items} " if self.items else ""
        return f"{self.truth} {items}{kind} units={self.units}"

    @property
    def metric(self) -> sl.Metric:
        """What is scored."""
        return METRIC_OF.get(self.truth, JOINT)

    def design(self) -> pd.DataFrame:
        """Runs of the cell: `units` configurations, or `units` chains of one run a kept level."""
        if self.truth in CURVES:
            return pd.DataFrame({"examples": np.geomspace(1e2, 1e6, self.units).round()})
        if self.truth in SIZES_OF:
            spread, ends, chain, _, _ = SIZES_OF[self.truth]
            if self.chained:
                return pd.DataFrame(
                    [(k, f"c{c}") for c in range(self.units) for k in chain],
                    columns=["kept", "chain_id"],
                )
            return pd.DataFrame({"kept": spread(*ends, self.units)})
        if self.chained:
            rows = [(LEVELS[c % 4], k, f"c{c}") for c in range(self.units) for k in KEPT]
            return pd.DataFrame(rows, columns=["examples", "kept", "chain_id"])
        kept = KEPT if self.units == 12 else (1.0, *KEPT)
        return pd.DataFrame([(n, k) for n in LEVELS for k in kept], columns=["examples", "kept"])

    def points(self) -> pd.DataFrame:
        """Inside; at twice the data (between levels, for one size axis); one level further."""
        if self.truth in CURVES:
            places = ["inside", "2x data", "10x data"]
            return pd.DataFrame({"where": places, "examples": [1e4, 2e6, 1e7]})
        if self.truth in SIZES_OF:
            _, _, _, kept, stages = SIZES_OF[self.truth]
            return pd.DataFrame(
                {
                    "where": ["inside", "between", "next level"],
                    "kept": kept,
                    "stage": stages if self.chained else (1, 1, 1),
                }
            )
        return pd.DataFrame(
            {
                "where": ["inside", "2x data", "next level"],
                "examples": [49_000, 800_000, 400_000],
                "kept": [0.58, 0.58, 0.16],
                "stage": [2, 2, 4] if self.chained else [1, 1, 1],
            }
        )

    def noise(self) -> Noise:
        """Run noise, or noise that accumulates along chains, and the test set."""
        items = self.items or None
        return Noise(chain=SD, items=items) if self.chained else Noise(run=SD, items=items)

    @property
    def limits(self) -> tuple[float, float]:
        """Coverage that passes."""
        return (0.86, 0.96) if self.units <= 12 else (0.86, 0.94)


CELLS = [
    Cell(truth, items, chained, units)
    for truth in LIMITED
    for items in ITEMS
    for chained in (False, True)
    for units in SIZES
]
# Forms with more parameters; a curve that bends takes as many sizes as it takes to see it bend.
FURTHER = [
    *(Cell("interaction", items, chained, units)
      for items in ITEMS for chained in (False, True) for units in SIZES),
    *(Cell("plateau", items, False, 16) for items in ITEMS),
    Cell("plateau", 10_000, True, 12),
    *(Cell(curve, 0, False, units) for curve in CURVES for units in (16, 24)),
]  # fmt: skip


def run(cell: Cell, logs: int, seed: int, wrong: bool = False) -> pd.DataFrame:
    """Coverage of one cell; `wrong` fits another form than the true one."""
    law, truth = TRUTHS[cell.truth]
    table = sl.coverage(
        law,
        cell.design(),
        truth,
        cell.noise(),
        cell.points(),
        metric=cell.metric,
        n=logs,
        rng=seed,
        fitted=OUTSIDE[cell.truth] if wrong else None,
    )
    table.insert(0, "cell", cell.name)
    return table


def failures(table: pd.DataFrame, cell: Cell) -> list[str]:
    """Sentences for what lies outside the limits by more than three simulation errors."""
    low, high = cell.limits
    out: list[str] = []
    for row in table.itertuples():
        slack = 3 * row.coverage_se if row.coverage_se > 0 else 0.01
        if not low - slack <= row.coverage <= high + slack:
            out.append(f"{cell.name} {row.where} {row.interval}: coverage {row.coverage:.3f}")
        if row.interval == "mean" and row.oracle > 1.4:
            out.append(f"{cell.name} {row.where}: width {row.oracle:.2f} x oracle")
    if table["refused"].max() > 0.05:
        out.append(f"{cell.name}: {table['refused'].max():.1%} refused")
    return out


def settings(cell: Cell, logs: int, seed: int, wrong: bool) -> dict[str, object]:
    """What a kept cell was run with, the library's release among it."""
    return {"cell": cell.name, "logs": logs, "seed": seed, "outside": wrong,
            "version": sl.__version__}  # fmt: skip


def kept(path: Path) -> list[dict]:
    """Cells of a file of JSON lines; a line cut off by a stop in the middle of it is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        print(f"{path}: the last line was cut off; its cell runs again", file=sys.stderr)
        path.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def tables(
    cells: Sequence[Cell],
    logs: int,
    seeds: Mapping[Cell, int],
    wrong: bool,
    jobs: int,
    keep: Path | None,
) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """Yield each cell with its table, the kept ones first, others as they are done."""
    asked = [settings(cell, logs, seeds[cell], wrong) for cell in cells]
    known = kept(keep) if keep else []
    left: list[int] = []
    for i, cell in enumerate(cells):
        rows = next((x["rows"] for x in known if x["settings"] == asked[i]), None)
        if rows is None:
            left.append(i)
        else:
            yield cell, pd.DataFrame(rows)
    if keep:
        print(f"{len(cells) - len(left)} of {len(cells)} cells kept in {keep}", file=sys.stderr)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(run, cells[i], logs, asked[i]["seed"], wrong): i for i in left}
        for job in as_completed(running):
            i, table = running[job], job.result()
            if keep:
                # NaN as null, so that the file is JSON.
                rows = json.loads(table.to_json(orient="records", double_precision=15))
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"settings": asked[i], "rows": rows}) + "\n")
            yield cells[i], table


def markdown(found: Sequence[tuple[Cell, pd.DataFrame]]) -> str:
    """The README's summary: ranges over test sets and places, a row a truth, dependence, size."""
    lines = ["| truth | runs | units | curve | new run | new score | width / oracle |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    rows: dict[tuple[str, str, int], list[pd.DataFrame]] = {}
    for cell, table in found:
        kind = "chained" if cell.chained else "independent"
        rows.setdefault((cell.truth, kind, cell.units), []).append(table)
    for (truth, kind, units), parts in rows.items():
        both = pd.concat(parts)
        percent = [_range(100 * both.loc[both["interval"] == k, "coverage"], 1) for k in KINDS]
        width = _range(both.loc[both["interval"] == "mean", "oracle"], 2)
        lines.append(f"| {truth} | {kind} | {units} | {' | '.join([*percent, width])} |")
    return "\n".join(lines)


def _range(values: pd.Series, digits: int) -> str:
    """Smallest and largest; losses have no score."""
    values = values.dropna().astype(float)
    return f"{values.min():.{digits}f}-{values.max():.{digits}f}" if len(values) else "–"


def outlying(found: Sequence[tuple[Cell, pd.DataFrame]]) -> str:
    """How many figures lie outside the limits as they stand, simulation error or not."""
    every = pd.concat([table.assign(low=cell.limits[0], high=cell.limits[1])
                       for cell, table in found], ignore_index=True)  # fmt: skip
    out = every[(every["coverage"] < every["low"]) | (every["coverage"] > every["high"])]
    named = "; ".join(f"{100 * row.coverage:.1f} %: {row.cell} {row.where} {row.interval}"
                      for row in out.itertuples())  # fmt: skip
    return f"{len(out)} of {len(every)} figures outside the limits{': ' * bool(named)}{named}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; exit 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cell", default="", help="cells whose name holds this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--further", action="store_true", help="forms with more parameters")
    parser.add_argument("--outside", action="store_true", help="fit a form that is not the truth")
    parser.add_argument("--keep", type=Path, help="file of finished cells, to go on from")
    parser.add_argument("--markdown", action="store_true", help="print the README's summary")
    asked = parser.parse_args(arguments)
    every = FURTHER if asked.further else CELLS
    if asked.outside:
        every = [Cell(truth, 10_000, False, units) for truth in OUTSIDE for units in SIZES]
    cells = [c for c in every if asked.cell in c.name]
    if not cells:
        parser.error(f"--cell {asked.cell!r}: no cell has this name; one is {every[0].name!r}")
    # By its place among all: a cell asked for alone is the same study.
    seeds = {cell: asked.seed + number for number, cell in enumerate(every)}
    begin, found = time.perf_counter(), []
    for cell, table in tables(cells, asked.logs, seeds, asked.outside, asked.jobs, asked.keep):
        found.append((cell, table))
        # Cells come as they are done: a study of hours says how far it is.
        print(line_of(cell, table), file=sys.stderr if asked.markdown else sys.stdout, flush=True)
    found.sort(key=lambda one: cells.index(one[0]))
    if asked.markdown:
        print(markdown(found))
    else:
        print(
            f"{len(cells)} cells, {asked.logs} logs each, {time.perf_counter() - begin:.0f} s; "
            "coverage mean/run/score in %, (width of mean over the oracle's)"
        )
    if asked.outside:
        print("another form than the truth was fitted: no limits apply")
        return 0
    print(outlying(found))
    broken = [sentence for cell, table in found for sentence in failures(table, cell)]
    print("\n".join(broken) if broken else "all limits hold")
    return int(bool(broken))


def line_of(cell: Cell, table: pd.DataFrame) -> str:
    """One printed line of a cell."""
    wide = table.pivot(index="where", columns="interval", values="coverage")
    places = cell.points()["where"]
    oracle = table[table["interval"] == "mean"]["oracle"].to_numpy()
    shown = "  ".join(
        f"{place}: "
        + "/".join(f"{100 * wide.loc[place, k]:.1f}" for k in KINDS if k in wide)
        + f" ({ratio:.2f})"
        for place, ratio in zip(places, oracle, strict=True)
    )
    return f"{cell.name:46s} {shown}  refused {table['refused'].max():.3f}"


if __name__ == "__main__":
    sys.exit(main())
