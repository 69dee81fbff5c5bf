"""Learning curves of the classes of a task, which lend each other their exponent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.items import CLASS_METRICS
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric, get_metric
from scaling_laws.pairing import paired_runs
from scaling_laws.partial import (
    Likelihood,
    Pooled,
    common_run_variance,
    likelihood,
    pool,
    shared_run_variance,
)
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note, RunLog
from scaling_laws.uncertainty import as_generator, student_t

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ClassFits", "fit_classes"]

# With fewer curves nothing can be said of the spread between classes.
_FEWEST = 3
_OWN, _BORROWED = "own curve", "pooled law"


@dataclass(frozen=True, eq=False)
class ClassFits:
    """A curve for each class: own limit and amplitude, an exponent drawn towards the others'.

    Attributes
    ----------
    fits : mapping
        Class -> Fit, with the pooled exponent as its prior.
    separate : mapping
        Class -> Fit of that class alone, where it has one.
    likelihoods : mapping
        Class -> what its runs alone say of the exponent.
    small : mapping
        Class -> why it has no curve of its own; it is predicted as any other class.
    pooled : Pooled
        Mean and spread of the exponent over classes.
    name : str
        The pooled parameter.
    by : str
        Column of the class.
    data : DataFrame
        The rows.
    notes : tuple of Note
    """

    fits: Mapping[Any, Fit]
    separate: Mapping[Any, Fit]
    likelihoods: Mapping[Any, Likelihood]
    small: Mapping[Any, str]
    pooled: Pooled
    name: str
    by: str
    data: pd.DataFrame
    notes: tuple[Note, ...]

    @property
    def metric(self) -> Metric:
        """The score of a class."""
        return next(iter(self.fits.values())).metric

    @property
    def law(self) -> Law:
        """The law of every class."""
        return next(iter(self.fits.values())).law

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a class, fewest test items first.

        ``runs``; ``items`` in the test set, ``labels`` at most, where logged; ``raw``, ``raw_se``:
        the exponent that its runs alone make most likely (no ``raw_se``: they set no end to it);
        ``pooled``, ``low``, ``high``: the exponent with what the other classes say; ``score``: the
        prediction at the largest size in the log, with ``score_low``, ``score_high``; ``curve``.
        """
        largest = {a.name: self.data[a.name].max() for a in self.law.axis_list()}
        score = self.predict(**largest).set_index(self.by)
        rows: dict[Any, dict[str, Any]] = {}
        for key in (*self.fits, *self.small):
            rows[key] = {**self._size(key), **self._exponent(key), "score": score["estimate"][key],
                         "score_low": score["low"][key], "score_high": score["high"][key],
                         "curve": _OWN if key in self.fits else _BORROWED}  # fmt: skip
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(self.by)
        return table.sort_values("items" if table["items"].notna().any() else "runs", kind="stable")

    def _size(self, key: Any) -> dict[str, float]:
        here = np.array([value == key for value in self.data[self.by]], np.bool_)

        def of(column: str) -> NDArray[np.float64]:
            return np.asarray(self.data[column], float)[here]

        size = {"runs": float(here.sum()), "items": float("nan")}
        if self.metric.n in self.data.columns:
            size["items"] = float(np.median(of(self.metric.n)))
        if "labels" in self.data.columns:
            size["labels"] = float(np.max(of("labels")))
        return size

    def _exponent(self, key: Any) -> dict[str, float]:
        own = self.likelihoods.get(key)
        raw = {"raw": np.nan if own is None else own.best,
               "raw_se": np.nan if own is None else own.se}  # fmt: skip
        if key in self.fits:
            table = self.fits[key].parameters
            ends = {end: float(table[end][self.name]) for end in ("low", "high")}
            return {**raw, "pooled": self.fits[key].values[self.name], **ends}
        mean, sd = self.pooled.prior
        half = student_t(np.inf, 0.9) * sd
        least, most = next(iter(self.fits.values())).model.legal_range(self.name)
        return {**raw, "pooled": mean, "low": max(mean - half, least),
                "high": min(mean + half, most)}  # fmt: skip

    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | None = None,
        interval: Interval | None = "mean",
        level: float = 0.9,
        **axes: Any,
    ) -> pd.DataFrame:
        """Predict every class at the same points.

        Returns
        -------
        DataFrame
            The class, the points, ``estimate``, ``low``, ``high``, and ``curve``: "own curve" as
            `Fit.predict`, or "pooled law" for a class without one, the median and the range of
            the other classes at that point.
        """
        parts = [
            one.predict(data, interval, level, **axes).assign(**{self.by: key, "curve": _OWN})
            for key, one in self.fits.items()
        ]
        if self.small:
            every = np.stack([part["estimate"].to_numpy(dtype=float) for part in parts])
            ends = np.quantile(every, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
            points = next(iter(self.fits.values())).predict(data, None, **axes)
            found = points.assign(estimate=ends[1], curve=_BORROWED)
            if interval is not None:
                found = found.assign(low=ends[0], high=ends[2])
            parts += [found.assign(**{self.by: key}) for key in self.small]
        table = pd.concat(parts, ignore_index=True)
        return table[[self.by, *(c for c in table.columns if c != self.by)]]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the exponent of every class: what its runs alone say, and with the others."""
        from scaling_laws.plot.classes import plot_exponents

        return plot_exponents(self, ax)

    def plot_curves(self, ax: Axes | None = None) -> Axes:
        """Draw the learning curve of every class; the fewer its test items, the lighter."""
        from scaling_laws.plot.classes import plot_curves

        return plot_curves(self, ax)

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.fits) + len(self.small)

    def __getitem__(self, key: Any) -> Fit:
        """Return the fit of a class."""
        return self.fits[key]

    def __repr__(self) -> str:
        from scaling_laws.show_classes import classes_text

        return classes_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_classes import classes_html

        return classes_html(self)


def fit_classes(
    law: Law,
    data: pd.DataFrame | RunLog,
    metric: str | Metric = "recall",
    *,
    by: str = "class",
    pool_over: str | None = None,
    rng: Any = 0,
    **options: Any,
) -> ClassFits:
    """Fit a learning curve to every class, the exponent partially pooled over classes.

    ``a_c ~ N(mean, spread^2)`` over classes c; mean and spread come from the profile likelihoods of
    the classes (see `partial`), then each class is fitted again with that as the prior of its
    exponent, while its limit and amplitude stay its own. A class with few test items borrows its
    exponent from the others; one with many keeps its own. So does one whose error is mostly that of
    the runs, which all classes share: averaging over classes does not take it away.

    Parameters
    ----------
    law : Law
        Of one curve, such as ``sl.laws.Power()``.
    data : DataFrame or RunLog
        A row a run and class: the law's axes, the class, the score and its noise: ``recall`` with
        ``recall_n``, or ``f1`` with ``f1_se`` (see `class_scores`). Where there is no column of
        that name, ``score``, ``n`` and ``se`` are read as those of the metric. A column ``labels``
        (of that class) is shown.
    metric : {"recall", "f1"}, another name, or Metric
    by : str
        Column of the class.
    pool_over : str, optional
        The pooled parameter; default the law's first shape.
    rng : int, Generator or RandomState
    **options
        As in `fit`, but arrays.

    Returns
    -------
    ClassFits

    Raises
    ------
    ValueError
        For a missing column, a law with factors of its own, or fewer than three classes with a
        curve.

    Notes
    -----
    Classes share their runs; how much of the run-to-run noise is one error of all classes of a run
    is estimated from their residuals (rows of a run are told by ``run_id``, else by their axes and
    ``seed``, else by their order within each class). The estimate rests on the few runs of a log,
    however many classes there are.

    Simulated, 13 classes and 7 runs, noise shared by all classes, 20 logs a figure, an exponent's
    90 % interval covered (before the shared error was counted; each class alone), for spreads 0,
    .05, .15 between classes: 10,000 test items a class 94, 93, 84 % (57, 79, 73; 93, 93, 84), 1,000
    items 92, 89, 91 % (79, 82, 83; 93, 94, 94); simulation error 2 to 5 points. Other numbers of
    classes, and noise that is each class's own, were measured less:
    ``python -m tests.benchmarks.classes_table`` prints all.
    """
    chosen = CLASS_METRICS.get(metric) if isinstance(metric, str) else metric
    chosen = chosen or get_metric(metric)
    if law.by:
        raise ValueError(f"law: {law!r} has factors; fit_classes makes {by!r} the only one.")
    frame, notes = _rows(data, chosen, by)
    name = pool_over or _first_shape(law)
    if name not in law.params or law.params[name].role != "shape":
        shapes = ", ".join(n for n, p in law.params.items() if p.role == "shape")
        raise ValueError(f"pool_over: {name!r} is no shape of {law.name}; it has {shapes}.")
    groups = {key: part.drop(columns=by) for key, part in frame.groupby(by, sort=True)}
    seeds = as_generator(rng).integers(0, 2**31, len(groups)).tolist()
    seed = dict(zip(groups, seeds, strict=True))
    small = {key: why for key, part in groups.items() if (why := _too_small(law, part, chosen))}
    separate: dict[Any, Fit] = {}
    for key, part in groups.items():
        if key not in small:
            try:
                separate[key] = fit(law, part, chosen, rng=seed[key], **options)
            except ValueError as why:
                small[key] = str(why)
    if len(separate) < _FEWEST:
        first = next(iter(small.items()), ("", ""))
        raise ValueError(
            f"{len(separate)} of {len(groups)} classes have a curve of their own; pooling needs "
            f"{_FEWEST}. {first[0]}: {first[1]}"
        )
    several = list(separate.values())
    common = common_run_variance(several)
    shared = shared_run_variance(several, _runs(several), common)
    likelihoods = {key: likelihood(one, name, common, shared) for key, one in separate.items()}
    pooled = pool(list(likelihoods.values()))
    given: Mapping[str, tuple[float, float]] = options.pop("prior", None) or {}
    fits: dict[Any, Fit] = {}
    for key, one in separate.items():
        prior = pooled.prior_of(likelihoods[key])
        if prior is not None:
            both = {**given, name: prior}
            one = fit(law, groups[key], chosen, prior=both, rng=seed[key], **options)
        fits[key] = one
    notes += _notes(fits, likelihoods, small)
    return ClassFits(fits, separate, likelihoods, small, pooled, name, by, frame, tuple(notes))


def _runs(fits: list[Fit]) -> list[NDArray[np.intp]]:
    axes = [axis.name for axis in fits[0].law.axis_list()]
    return paired_runs([one.problem.frame for one in fits], [*axes, "seed"])


def _first_shape(law: Law) -> str:
    shapes = [name for name, param in law.params.items() if param.role == "shape"]
    if not shapes:
        raise ValueError(f"{law.name} has no exponent to pool.")
    return shapes[0]


def _rows(data: pd.DataFrame | RunLog, metric: Metric, by: str) -> tuple[pd.DataFrame, list[Note]]:
    """Return the rows under the metric's names."""
    frame = data.frame if isinstance(data, RunLog) else pd.DataFrame(data)
    notes: list[Note] = []
    if metric.name not in frame and "score" in frame:
        names = {"score": metric.name, "n": metric.n, "score_n": metric.n,
                 "se": metric.se, "score_se": metric.se}  # fmt: skip
        found = {old: new for old, new in names.items() if old in frame and new not in frame}
        frame = frame.rename(columns=found)
        told = ", ".join(f"{old} -> {new}" for old, new in found.items())
        notes.append(Note("columns_read", "info", f"Columns read as the metric's: {told}."))
    for column in (by, metric.name):
        if column not in frame:
            raise ValueError(f"there is no column {column!r}; there are {list(frame.columns)}.")
    missing = frame[by].isna()
    if missing.any():
        sentence = f"{int(missing.sum())} rows left out: no {by}."
        notes.append(Note("no_class", "warning", sentence))
        frame = frame[~missing]
    return frame.reset_index(drop=True), notes


def _too_small(law: Law, part: pd.DataFrame, metric: Metric) -> str:
    """Say why a class can have no curve of its own; "" if it may."""
    scores = part[metric.name].dropna()
    if scores.nunique() < 2:
        value = f"{scores.iloc[0]:g} in all" if len(scores) else "absent in"
        return f"its {metric.name} is {value} {len(part)} runs."
    own = len(law.params)
    for axis in law.axis_list():
        levels = part.loc[scores.index, axis.name].nunique() if axis.name in part else own
        if levels < own:
            return f"{levels} levels of {axis.name} for {own} parameters."
    return ""


def _notes(
    fits: Mapping[Any, Fit], likelihoods: Mapping[Any, Likelihood], small: Mapping[Any, str]
) -> list[Note]:
    notes: list[Note] = []
    if small:
        told = "; ".join(f"{key}: {why.removesuffix('.')}" for key, why in small.items())
        sentence = f"No curve of their own, so they stay with the pooled law ({len(small)}): "
        notes.append(Note("small_classes", "warning", f"{sentence}{told}."))
    share = float(np.median([one.shared for one in likelihoods.values()]))
    if share > 0:
        alone = sum(one.shared >= 0.5 for one in likelihoods.values())
        left = f" {alone} of {len(likelihoods)} are left to their own runs." if alone else ""
        sentence = (
            f"Classes of a run err together: up to {share:.0%} of the variance of an exponent is "
            f"an error that they share, which pooling does not take away.{left}"
        )
        notes.append(Note("shared_errors", "info", sentence))
    blank = [str(key) for key, one in likelihoods.items() if np.isnan(one.se)]
    if blank:
        sentence = f"Their runs alone set no end to the exponent ({len(blank)}): "
        notes.append(Note("open_exponents", "info", f"{sentence}{', '.join(blank)}."))
    lost = {k: n for k, f in fits.items() for n in f.problem.notes if n.code == "rejected_rows"}
    for key, note in list(lost.items())[:1]:
        more = f" So in {len(lost) - 1} more classes." if len(lost) > 1 else ""
        notes.append(Note("rejected_rows", "warning", f"{key}: {note.sentence}{more}"))
    return notes
