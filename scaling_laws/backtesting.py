"""Backtest: on many curves, what each way to forecast the hardest levels would have been worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from scaling_laws.candidates import admissible_forms
from scaling_laws.fitting import fit
from scaling_laws.forecast import Forecast
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric
from scaling_laws.problem import as_log, pick_metric
from scaling_laws.result import Fit
from scaling_laws.rolling import held_axis
from scaling_laws.runs import Note, Run, RunLog
from scaling_laws.validation import Holdout, choose, hardest_rows, judge, rest_of

__all__ = ["Backtest", "backtest"]

AnyLaw = Law | Callable[..., Any]

_CURVE = ["log", "curve", "form", "method", "axis", "error", "scale", "rows", "interval",
          "judged", "inside", "width"]  # fmt: skip
_FAILED = ["log", "curve", "rows", "reason"]


@dataclass(frozen=True, eq=False)
class Backtest:
    """Errors and coverage on held-out levels, over curves.

    Attributes
    ----------
    curves : DataFrame
        A row a curve and method: ``log, curve, method``, the ``form`` it used there, ``axis``,
        ``error`` on the held-out rows and its ``scale`` ({log-RMSE, RMSE}), held-out ``rows``,
        kind of ``interval``, rows ``judged`` (those with an interval) and ``inside``, and the
        intervals' median ``width`` on the scale of the error.
    failed : DataFrame
        Curves without a forecast: ``log, curve, rows, reason``.
    leave : int
        Levels held out of each curve.
    level : float
        Of the intervals.
    """

    curves: pd.DataFrame
    failed: pd.DataFrame
    leave: int
    level: float

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a log and method: ``curves``, error, ``coverage`` and median ``width``.

        Of the error the ``median``, ``mean`` and 90th percentile over curves, each curve once.
        """
        groups = self.curves.groupby(["log", "method"], sort=False)
        error = groups["error"]
        counts = groups[["inside", "judged"]].sum()
        return pd.DataFrame(
            {
                "curves": error.size(),
                "median": error.median(),
                "mean": error.mean(),
                "90 %": error.quantile(0.9),
                "coverage": counts["inside"] / counts["judged"].replace(0, np.nan),
                "width": groups["width"].median(),
                "scale": groups["scale"].first(),
            }
        )

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the table does not say: curves left out, methods judged on fewer, no intervals."""
        return (*self._uneven_notes(), *self._open_notes(), *self._failed_notes())

    def _failed_notes(self) -> Iterator[Note]:
        for (log, reason), part in self.failed.groupby(["log", "reason"], sort=False):
            curves = "; ".join(part["curve"])
            yield Note("curve_failed", "warning", f"{log}: {reason} So it is with: {curves}.")

    def _uneven_notes(self) -> Iterator[Note]:
        table = self.frame.reset_index()
        table["most"] = table.groupby("log")["curves"].transform("max")
        for row in table[table["curves"] < table["most"]].itertuples():
            yield Note(
                "fewer_curves",
                "warning",
                f"{row.log}: {row.method} could be judged on {row.curves} of {row.most} curves; "
                "compare it with the others on those alone (`.curves`).",
            )

    def _open_notes(self) -> Iterator[Note]:
        short = self.curves[self.curves["judged"] < self.curves["rows"]]
        for log, part in short.groupby("log", sort=False):
            yield Note(
                "no_interval",
                "warning",
                f"{log}: {part['curve'].nunique()} curves have too few rows for an interval and "
                "count in the error alone.",
            )

    def plot(self, ax: Any = None) -> Any:
        """Draw the error of each method over curves, with its coverage; returns the Axes."""
        from scaling_laws.plot.backtests import plot_backtest

        return plot_backtest(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_backtest import backtest_text

        return backtest_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_backtest import backtest_html

        return backtest_html(self)


def backtest(
    laws: Iterable[AnyLaw] | None,
    logs: Any,
    metric: str | Metric | None = None,
    *,
    by: str | Sequence[str] = (),
    axis: str | None = None,
    leave: int = 3,
    level: float = 0.9,
    columns: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Backtest:
    """Hold out the hardest levels of every curve and forecast them in each of the ways there are.

    The ways: every form alone, the form of least AICc, the form of least rolling-origin error, and
    the Forecast that mixes them. All see the easier levels alone.

    Parameters
    ----------
    laws : iterable of Law, or None
        The candidates; None: every form that a curve's axes admit.
    logs : log, sequence of logs, or mapping of names to logs
        Each a RunLog, DataFrame, path, or list of dict.
    metric, columns, **options
        As in `fit`, for every log.
    by : str or sequence of str
        Columns that split each log in curves; default a log is one curve.
    axis : str, optional
        Column that says what is hard, as ``by`` in `holdout`.
    leave : int
        Hardest levels to hold out of each curve.
    level : float
        Of the intervals: of one new evaluation where its noise is known, else of one new run.
    progress : bool, optional
        Show a bar; default where someone watches.

    Returns
    -------
    Backtest
        Curves that are too short or cannot be fitted are listed with the reason, not dropped.

    Raises
    ------
    ValueError
        If no curve could be judged, or a log lacks a column of `by`.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    candidates = None if laws is None else list(laws)
    parts = [
        (name, curve, rows)
        for name, log in _named(logs, metric, columns, options)
        for curve, rows in _curves(log, keys, name)
    ]
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name, curve, log in _counted(parts, progress):
        key = {"log": name, "curve": curve}
        try:
            forms = admissible_forms(log, metric=metric) if candidates is None else candidates
            found = _judge_curve(forms, log, metric, axis, leave, level, options)
        except ValueError as why:
            failed.append({**key, "rows": len(log), "reason": str(why)})
        else:
            rows += [{**key, **row} for row in found]
    if not rows:
        first = failed[0]["reason"] if failed else "there are no logs."
        raise ValueError(f"no curve could be judged; the first: {first}")
    return Backtest(
        pd.DataFrame(rows, columns=_CURVE), pd.DataFrame(failed, columns=_FAILED), leave, level
    )


def _named(
    logs: Any,
    metric: str | Metric | None,
    columns: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Iterator[tuple[str, RunLog]]:
    """Yield the name and the RunLog of every log given."""
    if isinstance(logs, Mapping):
        given = [(str(k), v) for k, v in cast(Mapping[Any, Any], logs).items()]
    else:
        given = [("", source) for source in (logs if _several(logs) else [logs])]
    taken: set[str] = set()
    for name, source in given:
        log = as_log(source, pick_metric(metric, source, options.get("link")), columns)
        label = base = name or Path(log.source).name
        n = 2
        while label in taken:
            label, n = f"{base} #{n}", n + 1
        taken.add(label)
        yield label, log


def _several(logs: Any) -> bool:
    """Tell a sequence of logs from a log that is itself a sequence of rows."""
    if isinstance(logs, str) or not isinstance(logs, Sequence):
        return False
    return not any(isinstance(row, Mapping | Run) for row in cast(Sequence[Any], logs))


def _curves(log: RunLog, keys: tuple[str, ...], name: str) -> Iterator[tuple[str, RunLog]]:
    for key in keys:
        if key not in log.frame.columns:
            raise ValueError(
                f"by: {name} has no column {key!r}; it has {', '.join(log.frame.columns)}."
            )
    if not keys:
        yield "all rows", log
        return
    for values, rows in log.frame.groupby(list(keys), sort=True, observed=True).indices.items():
        mask = np.zeros(len(log.frame), bool)
        mask[rows] = True
        words = cast(tuple[Any, ...], values if isinstance(values, tuple) else (values,))
        yield ", ".join(str(v) for v in words), log.select(mask)


def _counted(
    parts: list[tuple[str, str, RunLog]], progress: bool | None
) -> Iterable[tuple[str, str, RunLog]]:
    from tqdm.auto import tqdm

    # None: tqdm itself looks whether a terminal is there.
    silent = None if progress is None else not progress
    return tqdm(parts, desc="curves", unit="curve", leave=False, disable=silent)


def _judge_curve(
    laws: Sequence[AnyLaw],
    log: RunLog,
    metric: str | Metric | None,
    axis: str | None,
    leave: int,
    level: float,
    options: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Return a row a method on the held-out rows of one curve."""
    where = options.get("where")
    log = log if where is None else log.select(where)
    passed = {k: v for k, v in options.items() if k != "where"}
    whole = _first_fit(laws, log, metric, passed)
    along = axis or held_axis([whole], None)
    hard = hardest_rows(log, along, whole, leave)
    easy = rest_of(log, hard)
    choice = choose(laws, easy, whole.metric, by=along, **passed)

    def judged(fitted: Fit | Forecast) -> dict[str, Any]:
        return _row(judge(fitted, whole, log, easy, hard, along, level), along)

    forms = {label: judged(one) for label, one in choice.fits.items()}
    ways = {f"always {label}": (label, row) for label, row in forms.items()}
    for way, column in (("AICc", "aicc"), ("rolling origin", "rolling_rmse")):
        criterion = choice.frame[column]
        if criterion.notna().any():
            label = str(criterion.idxmin())
            ways[way] = (label, forms[label])
    ways["Forecast"] = (str(choice.frame["weight"].idxmax()), judged(choice.forecast))
    return ({"method": way, "form": label, **row} for way, (label, row) in ways.items())


def _first_fit(
    laws: Sequence[AnyLaw], log: RunLog, metric: str | Metric | None, options: Mapping[str, Any]
) -> Fit:
    """Fit the first form that can be: it tells which rows are usable and what is hard."""
    reasons: list[str] = []
    for law in laws:
        try:
            return fit(law, log, metric, **options)
        except ValueError as why:
            reasons.append(str(why))
    raise ValueError("no form can be fitted: " + " ".join(dict.fromkeys(reasons)))


def _row(held: Holdout, axis: str) -> dict[str, Any]:
    frame = held.frame
    fitted = held.fitted if isinstance(held.fitted, Fit) else held.fitted.best
    on_log = fitted.model.link.kind == "log"
    ends = frame[["low", "high"]].to_numpy(dtype=float)
    width = np.diff(np.log(ends) if on_log else ends)[:, 0]
    bounded = np.isfinite(width)
    return {
        "axis": axis,
        "error": held.log_rmse if on_log else held.rmse,
        "scale": "log-RMSE" if on_log else "RMSE",
        "rows": len(frame),
        "interval": held.interval,
        "judged": int(bounded.sum()),
        "inside": int((frame["covered"].to_numpy(dtype=bool) & bounded).sum()),
        "width": float(np.median(width[bounded])) if bounded.any() else np.nan,
    }
