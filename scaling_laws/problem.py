"""A law, a log and a metric made ready for the kernel: rows, weights, known variance, units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.base import Law
from scaling_laws.metrics import METRICS, Metric, get_metric
from scaling_laws.model import Link, Model, bind
from scaling_laws.runs import Note, RunLog, read_runs
from scaling_laws.shared import repeats, shared_models

__all__ = ["Problem", "as_log", "build", "level_codes", "pick_metric", "specialise"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Scores that differ by such a share are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Problem:
    """Rows of one fit, sorted by level.

    Attributes
    ----------
    model : Model
    metric : Metric
    frame : DataFrame
        Rows used, index as in the log; a model that chains share has no ``chain_id``.
    score : array [n]
        The metric.
    y : array [n]
        The metric on the residual scale.
    se, items : array [n]
        Known evaluation standard error and number of test items; NaN where not known.
    weights : array [n] or None
    unit : array [n] of int
        Rows with one number share an error: a chain, else a configuration.
    unit_kind : {"chain", "configuration", "cluster"}
    configuration : array [n] of int
    absolute : bool
        True where `se` came from ``sigma=`` and is the whole error.
    notes : tuple of Note
        Rows left out, and why.
    """

    model: Model
    metric: Metric
    frame: pd.DataFrame
    score: Array
    y: Array
    se: Array
    items: Array
    weights: Array | None
    unit: Index
    unit_kind: str
    configuration: Index
    absolute: bool
    notes: tuple[Note, ...]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def units(self) -> str:
        """How many units share an error, in words; a row of no chain is none."""
        count, kind = len(np.unique(self.unit)), self.unit_kind
        alone = int(self.frame["chain_id"].isna().sum()) if kind == "chain" else 0
        count -= alone
        words = f"{count} {kind}{'s' * (count != 1)}"
        return f"{words} and {alone} row{'s' * (alone != 1)} of none" if alone else words

    @property
    def copies(self) -> int:
        """Rows with the score of another of their configuration; 0 where any replicate differs.

        Fewer than two are none: scores of few test items agree by chance.
        """
        _, first, code = np.unique(self.configuration, return_index=True, return_inverse=True)
        count = self.n - len(first)
        off = np.abs(self.score - self.score[first][code])
        same = bool((off <= _ROUNDING * np.abs(self.score)).all())
        return count if same and count > 1 else 0

    @property
    def known(self) -> bool:
        """Whether any row has a known evaluation variance."""
        proportion = self.metric.noise == "proportion" and bool(np.isfinite(self.items).any())
        return proportion or bool(np.isfinite(self.se).any())

    def residual(self, theta: Array) -> Array:
        """Return what the observations are off the curve, on the residual scale ``[n]``."""
        return self.y - self.model.residual_mean(theta[None])[0]

    def evaluation_variance(self, mean: Array) -> Array:
        """Known evaluation variance on the residual scale, at a fitted mean ``[..., n]``.

        ``p (1 - p) / n_test`` for a proportion, else the stored standard error; over the mean
        squared where residuals are logarithms; 0 where nothing is known.
        """
        variance = np.where(np.isfinite(self.se), self.se**2, 0.0)
        if self.metric.noise == "proportion" and not self.absolute:
            # Wilson's shrinkage keeps a fitted 0 or 1 from claiming no noise at all.
            p = (np.clip(mean, 0.0, 1.0) * self.items + 1.0) / (self.items + 2.0)
            with np.errstate(invalid="ignore"):
                binomial = p * (1.0 - p) / self.items
            variance = np.where(np.isfinite(self.items), binomial, variance)
        if self.model.link.kind == "log":
            variance = variance / np.maximum(mean, 1e-300) ** 2
        return variance

    def take(self, rows: Index) -> Problem:
        """Return the problem on some of its rows (same model frame and units)."""
        raw = {a.name: _column(self.frame, a.name)[rows] for a in self.model.law.axis_list()}
        return replace(
            self,
            model=self.model.at(raw, self.model.codes[rows]),
            frame=self.frame.iloc[rows],
            score=self.score[rows],
            y=self.y[rows],
            se=self.se[rows],
            items=self.items[rows],
            weights=None if self.weights is None else self.weights[rows],
            unit=self.unit[rows],
            configuration=self.configuration[rows],
        )


def as_log(data: Any, metric: Metric | None, columns: Mapping[str, Any] | None) -> RunLog:
    """Return a RunLog of whatever the caller has."""
    if isinstance(data, RunLog) and columns is None:
        return data
    source = data.frame if isinstance(data, RunLog) else data
    return read_runs(source, columns=columns, metrics=None if metric is None else [metric])


def pick_metric(metric: str | Metric | None, data: Any, link: str | None) -> Metric | None:
    """Return the metric as an object; None leaves the choice to the log."""
    if metric is None or isinstance(metric, Metric):
        return metric
    if metric not in METRICS and link is not None:
        return Metric(metric, link="identity" if link == "identity" else "log")
    return get_metric(metric)


def specialise(law: Law, metric: Metric, top: float | None = None) -> Law:
    """Give a law on the score its floor and top from the metric."""
    if getattr(law, "floor", 0) is None and "floor" in law.options:
        return type(law)(
            by=law.by, share=law.share, **{**law.options, "floor": metric.floor or 0.0}
        )
    if getattr(law, "top", 0) is None and metric.link == "logit" and "top" in law.options:
        known = {**law.options, "top": top if top is not None else metric.top}
        return type(law)(by=law.by, share=law.share, **known)
    return law


def build(
    law: Law,
    log: RunLog,
    metric: Metric,
    *,
    link: str | None = None,
    sigma: Any = None,
    weights: Any = None,
    cluster: Any = None,
    where: Any = None,
    local: bool = True,
    centre: Mapping[str, float] | None = None,
    levels: Sequence[str] | None = None,
    require: Callable[[pd.DataFrame], NDArray[np.bool_]] | None = None,
) -> Problem:
    """Select the usable rows of a log and bind the law to them.

    Raises
    ------
    ValueError
        If a column the law needs is missing, or no row is usable; the sentence says which.
    """
    frame = log.frame if where is None else log.select(where).frame
    law = specialise(law, metric)
    kind = link or metric.link
    axes = [a.name for a in law.axis_list()]
    for column in (metric.name, *axes, *law.by):
        if column not in frame.columns:
            raise ValueError(
                f"{law.name} needs the column {column!r}; the log has {', '.join(frame.columns)}. "
                f'Map it with columns={{"{column}": "your column"}}.'
            )
    extra = _aligned({"sigma": sigma, "weights": weights, "cluster": cluster}, frame)
    keep, notes = _usable(law, frame, metric, axes, kind)
    if log.rejections:
        why = log.rejections[0].reason
        count = len(log.rejections)
        words = "row of the log was" if count == 1 else "rows of the log were"
        sentence = f"{count} {words} rejected; the first: {why}"
        notes.insert(0, Note("rejected_rows", "warning", sentence))
    if weights is not None and (absent := keep & (extra["weights"] == 0)).any():
        keep &= ~absent
        notes.append(Note("zero_weight", "info", f"{int(absent.sum())} rows left out: weight 0."))
    shared = _shared(frame, keep, notes)
    if not keep.any():
        raise ValueError(
            f"no row of the log can be used to fit {law.name} to {metric.name}: "
            + " ".join(n.sentence for n in notes)
        )
    codes_all, names = level_codes(frame[keep], law.by, levels)
    order = np.argsort(codes_all, kind="stable")
    rows = np.flatnonzero(keep)[order]
    used = frame.iloc[rows]
    if shared[rows].any():
        # Its luck is that of every chain: it must not be taken for the first one's.
        used = used.assign(chain_id=used["chain_id"].where(~shared[rows]))
    codes = codes_all[order]
    raw = {a: _column(used, a) for a in axes}
    sign = -1 if kind == "logit" and metric.direction == "higher" else 1
    target = Link(kind, metric.floor or 0.0, 1.0 if metric.top is None else metric.top, sign)
    multiplicity = None if weights is None else extra["weights"][rows].astype(float)
    model = bind(law, raw, codes, names, target, local=local, centre=centre, weights=multiplicity)
    score = _column(used, metric.name)
    configuration = _group(used, [*axes, *law.by])
    unit, unit_kind = _units(
        used, configuration, None if cluster is None else extra["cluster"][rows]
    )
    own_se = sigma is not None
    return Problem(
        model=model,
        metric=metric,
        frame=used,
        score=score,
        y=np.log(score) if kind == "log" else score,
        se=extra["sigma"][rows].astype(float) if own_se else _optional(used, metric.se),
        items=_optional(used, metric.n),
        weights=multiplicity,
        unit=unit,
        unit_kind=unit_kind,
        configuration=configuration,
        absolute=own_se,
        notes=tuple(notes),
    )


def level_codes(
    frame: pd.DataFrame, by: Sequence[str], levels: Sequence[str] | None = None
) -> tuple[Index, tuple[str, ...]]:
    """Return the level code of each row and the level names.

    Raises
    ------
    ValueError
        For a level that the fit has not seen.
    """
    if not by:
        return np.zeros(len(frame), np.intp), ("",)
    words = frame[by[0]].astype(str)
    for column in by[1:]:
        words = words + "|" + frame[column].astype(str)
    names = tuple(levels) if levels is not None else tuple(sorted(words.unique().tolist()))
    # Distinct words are few and looked up alone; one that is missing has the code -1 in both.
    which, distinct = pd.factorize(words)
    places = pd.Index(names).get_indexer(pd.Index(distinct))
    if (places < 0).any():
        # Columns with a gap hold whole numbers as 1.0: 1 is that level too.
        alike = {_whole(name): place for place, name in enumerate(names)}
        found = [alike.get(_whole(word), -1) for word in distinct]
        places = np.where(places < 0, found, places)
    codes = np.asarray(np.append(places, -1)[which], np.intp)
    if (codes < 0).any():
        word = words.iloc[int(np.flatnonzero(codes < 0)[0])]
        raise ValueError(
            f"{'|'.join(by)} = {word!r} was not in the fitted log; it had {', '.join(names)}."
        )
    return codes, names


def _whole(level: str) -> str:
    """Return a level's words, whole numbers without their decimal point."""
    return "|".join(
        w[:-2] if w.endswith(".0") and w[:-2].isdigit() else w for w in level.split("|")
    )


def _usable(
    law: Law, frame: pd.DataFrame, metric: Metric, axes: Sequence[str], kind: str
) -> tuple[NDArray[np.bool_], list[Note]]:
    """Rows with a score and a point on every axis; one note for each reason to leave rows out."""
    keep = np.ones(len(frame), bool)
    notes: list[Note] = []

    def leave_out(bad: NDArray[np.bool_], code: str, why: str) -> None:
        count = int((bad & keep).sum())
        if count:
            keep[bad] = False
            notes.append(Note(code, "info", f"{count} row{'s' * (count > 1)} left out: {why}."))

    if "status" in frame.columns:
        failed = frame["status"].isin(["failed", "error"]).to_numpy(dtype=bool)
        leave_out(failed, "failed_runs", "the run failed")
    if "phase" in frame.columns:
        # A pruned, not yet distilled student is another population than the distilled ones.
        pruned = (frame["phase"] == "pruned").to_numpy(dtype=bool)
        if pruned.any() and not pruned.all():
            leave_out(pruned, "pruned_phase", "pruned but not yet distilled (phase = pruned)")
    score = _column(frame, metric.name)
    leave_out(~np.isfinite(score), "no_score", f"no {metric.name}")
    if kind == "log":
        leave_out(score <= 0, "not_positive", f"{metric.name} <= 0 has no logarithm")
    for axis in axes:
        x = _column(frame, axis)
        leave_out(~np.isfinite(x), "no_axis", f"no {axis}")
        if law.output == "eta":
            leave_out(x == 0, "zero_" + axis, f"{axis} = 0, where {law.name} has no value")
    for factor in law.by:
        leave_out(frame[factor].isna().to_numpy(dtype=bool), "no_factor", f"no {factor}")
    return keep, notes


def _shared(frame: pd.DataFrame, keep: NDArray[np.bool_], notes: list[Note]) -> NDArray[np.bool_]:
    """Leave out, in place, what repeats a model that chains share; return the rows that stay."""
    shared = np.zeros(len(frame), bool)
    rows = np.flatnonzero(keep)
    codes = shared_models(frame.iloc[rows])
    shared[rows] = codes >= 0
    keep[rows] = ~repeats(codes)
    if count := len(rows) - int(keep.sum()):
        sentence = (
            f"{count} row{'s' * (count > 1)} left out: they repeat a model that several chains "
            "share, which counts once and in no chain."
        )
        notes.append(Note("shared_model", "info", sentence))
    return shared & keep


def _units(
    frame: pd.DataFrame, configuration: Index, cluster: NDArray[Any] | None
) -> tuple[Index, str]:
    """Find what shares an error: the caller's clusters, else chains, else configurations."""
    if cluster is not None:
        return np.unique(cluster.astype(str), return_inverse=True)[1], "cluster"
    if "chain_id" in frame.columns and frame["chain_id"].notna().any():
        chain = frame["chain_id"].astype("string")
        alone = pd.Series([f"\0{i}" for i in range(len(frame))], index=frame.index, dtype="string")
        words = chain.fillna(alone).to_numpy(dtype=str)
        codes = np.unique(words, return_inverse=True)[1]
        if len(np.unique(codes)) < len(frame):
            return codes, "chain"
    return configuration, "configuration"


def _group(frame: pd.DataFrame, columns: Sequence[str]) -> Index:
    codes = np.zeros(len(frame), np.int64)
    for column in columns:
        _, inverse = np.unique(frame[column].to_numpy(), return_inverse=True)
        codes = codes * (int(inverse.max(initial=0)) + 1) + inverse
        _, codes = np.unique(codes, return_inverse=True)
    return codes.astype(np.intp)


def _aligned(given: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Column names, scalars or arrays -> arrays aligned with the log's rows."""
    out: dict[str, NDArray[Any]] = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, str):
            if value not in frame.columns:
                raise ValueError(f"{name}: the log has no column {value!r}.")
            array = frame[value].to_numpy()
        else:
            array = np.asarray(value)
            array = np.full(len(frame), array[()]) if array.ndim == 0 else array
        if len(array) != len(frame):
            raise ValueError(f"{name} has {len(array)} values for {len(frame)} rows of the log.")
        if name in ("sigma", "weights"):
            array = array.astype(float)
            floor_ok = array > 0 if name == "sigma" else array >= 0
            if not (np.isfinite(array) & floor_ok).all():
                word = "positive" if name == "sigma" else "not negative"
                bad = int(np.flatnonzero(~(np.isfinite(array) & floor_ok))[0])
                raise ValueError(f"{name}[{bad}] = {array[bad]} must be finite and {word}.")
        out[name] = array
    return out


def _column(frame: pd.DataFrame, name: str) -> Array:
    try:
        return frame[name].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} is not numeric: {error}.") from None


def _optional(frame: pd.DataFrame, name: str) -> Array:
    if name in frame.columns:
        return _column(frame, name)
    return np.full(len(frame), np.nan)
