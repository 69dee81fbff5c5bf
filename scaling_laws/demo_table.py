"""The demo on someone's own table: an empty table of a whole design, and what a filled one tells.

The design is that of task-specific distillation of one teacher: fractions kept x labelled examples
x format x seed, each student pruned from the previous one of its chain.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from scaling_laws.candidates import admissible_forms, axes_of, factors_of
from scaling_laws.fitting import fit
from scaling_laws.laws import Collapse, Law
from scaling_laws.runs import RunLog, RunLogError, read_runs
from scaling_laws.show import number
from scaling_laws.validation import Holdout, holdout
from scaling_laws.wrapping import indented, wrapped

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["TableDemo", "run_table", "write_design"]

KEPT = (1.0, 0.79, 0.58, 0.37, 0.16)
EXAMPLES = (6_000, 12_000, 25_000, 50_000, 100_000, 200_000, 400_000)
FORMATS = ("label", "cot", "blended")
SEEDS = (0, 1, 2)
_COLUMNS = (
    "run_id", "chain_id", "stage", "phase", "teacher", "kept", "examples", "format", "method",
    "schedule", "seed", "task_f1", "task_f1_se", "task_nll", "task_brier", "mmlu", "mmlu_n",
    "mmlu_pro", "mmlu_pro_n",
)  # fmt: skip


def write_design(path: str | Path, teacher: str = "teacher") -> Path:
    """Write an empty table: a row a run of the design, scores to be filled in.

    5 fractions kept (1, .79, .58, .37, .16) x 7 numbers of examples (6k to 400k) x 3 formats x 3
    seeds: 315 rows, each trained in full on the way of iterative pruning; write lora or one-shot
    in rows that were not, and add such rows. Rows that stay empty, and metrics nobody measured, are
    left out when the table is read; `kept = 1` is the teacher's own size, tuned on the examples.

    Parameters
    ----------
    path : path
        A .csv file that does not exist yet.
    teacher : str
        Its name, for the column `teacher`.

    Raises
    ------
    RunLogError
        For a file that exists, or of another kind.
    """
    target = Path(path)
    if target.suffix.lower() != ".csv":
        raise RunLogError(f"{target}: the name must end in .csv.")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for form, examples, seed in product(FORMATS, EXAMPLES, SEEDS):
        chain = f"{form}-{examples}-s{seed}"
        for stage, kept in enumerate(KEPT):
            writer.writerow({
                "run_id": f"{chain}-{kept:g}", "chain_id": chain, "stage": stage,
                "phase": "distilled", "teacher": teacher, "kept": kept, "examples": examples,
                "format": form, "method": "full", "schedule": "iterative", "seed": seed,
            })  # fmt: skip
    try:
        with target.open("x", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
    except FileExistsError:
        raise RunLogError(f"{target} exists; name a new file for the table.") from None
    return target


@dataclass(frozen=True, eq=False)
class TableDemo:
    """What the demo finds in a table.

    Attributes
    ----------
    log : RunLog
    fits : dict of str to Fit
        Metric -> the first form that its axes admit.
    held : dict of str to Holdout
        The same form, its hardest level held out.
    collapses : dict of str to Fit
        General metric -> score against the fraction kept, at the most examples.
    failed : dict of str to str
        What could not be done, and why.
    """

    log: RunLog
    fits: Mapping[str, Fit]
    held: Mapping[str, Holdout]
    collapses: Mapping[str, Fit]
    failed: Mapping[str, str]

    def text(self) -> str:
        """Return everything as text."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield repr(self.log)
        for metric, one in self.fits.items():
            yield from ("", f"{metric}", repr(one))
            if metric in self.held:
                yield from ("", repr(self.held[metric]))
            if data := _data_axis(one):
                yield from ("", "One new training run (90 %):", *_prediction_lines(one, data))
        for metric, one in self.collapses.items():
            yield from ("", f"{metric} against the fraction kept, at the most examples", repr(one))
        for what, why in self.failed.items():
            yield from ("", *wrapped(what, why))

    def save(self, folder: str | Path) -> list[Path]:
        """Write the text and every fit."""
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        (out / "demo.txt").write_text(self.text() + "\n", encoding="utf-8")
        made = [out / "demo.txt"]
        made += [one.save(out / f"{metric}.json") for metric, one in self.fits.items()]
        made += [one.save(out / f"{m}-collapse.json") for m, one in self.collapses.items()]
        return made


def run_table(path: str | Path) -> TableDemo:
    """Fit every metric of a table; what cannot be fitted is listed with the reason.

    Parameters
    ----------
    path : path
        A run log, such as a filled table of `write_design`.

    Raises
    ------
    ValueError
        If no row has a score.
    """
    log = read_runs(path)
    if not len(log):
        raise ValueError(f"{path}: no row can be used. {log!r}")
    runs = read_runs(log.frame)
    fits: dict[str, Fit] = {}
    held: dict[str, Holdout] = {}
    collapses: dict[str, Fit] = {}
    failed: dict[str, str] = {}
    for metric in log.metrics:
        scored = runs.select(runs.frame[metric].notna().to_numpy())
        for found, what, make in (
            (fits, "fit", _fit),
            (held, "hold-out", _holdout),
            (collapses, "collapse", _collapse),
        ):
            try:
                made = make(scored, metric)
            except ValueError as why:
                failed[f"{metric}, {what}"] = str(why)
                continue
            if made is not None:
                cast(dict[str, object], found)[metric] = made
    return TableDemo(log, fits, held, collapses, failed)


def _fit(runs: RunLog, metric: str) -> Fit:
    return fit(_form(runs, metric), runs, metric)


def _holdout(runs: RunLog, metric: str) -> Holdout:
    return holdout(_form(runs, metric), runs, metric, leave=1)


def _collapse(runs: RunLog, metric: str) -> Fit | None:
    """Score against the fraction kept at the most examples, for general knowledge."""
    general = runs.schema.metrics[metric].role == "general"
    if not (general and {"kept", "examples"} <= set(axes_of(runs))):
        return None
    most = runs.select({"examples": float(runs.frame["examples"].max())})
    return fit(Collapse(by=factors_of(most)), most, metric)


def _form(runs: RunLog, metric: str) -> Law:
    return admissible_forms(runs, factors_of(runs), metric)[0]


def _data_axis(one: Fit) -> str | None:
    names = [a.name for a in one.law.axis_list()]
    return next((name for name in ("examples", "tokens") if name in names), None)


def _prediction_lines(one: Fit, data: str) -> Iterator[str]:
    """Each level at its smallest student, at the most data seen and at twice as many."""
    frame = one.problem.frame
    most = float(frame[data].max())
    sizes = {a.name: float(frame[a.name].min()) for a in one.law.axis_list() if a.name != data}
    rows: list[dict[str, Any]] = []
    for level in one.model.levels:
        point = dict(zip(one.law.by, level.split("|"), strict=True)) if one.law.by else {}
        rows += [{**point, **sizes, data: n} for n in (most, 2 * most)]
    table = one.predict(pd.DataFrame(rows), interval="run")
    ends = [f"{number(a)} – {number(b)}" for a, b in zip(table["low"], table["high"], strict=True)]
    shown = table[[*one.law.by, *sizes, data, "support"]].copy()
    shown[data] = [f"{n:,.0f}" for n in table[data]]
    for size in sizes:
        shown[size] = [f"{v:.4g}" for v in table[size]]
    shown.insert(len(shown.columns) - 1, "estimate", [number(v) for v in table["estimate"]])
    shown.insert(len(shown.columns) - 1, "interval", ends)
    yield from indented(shown.to_string(index=False))
