"""Which student: the smallest, cheapest or fastest one that meets the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import (
    Limits,
    check_interval,
    check_share,
    cost_limits,
    decisive_run,
    points_of,
    row_of,
    support_notes,
    target_words,
    targets_of,
    words_of,
)
from scaling_laws.decide.draws import Ask, Joint, joint_of
from scaling_laws.decide.probability import Targets, probabilities
from scaling_laws.decide.pruned import Pruning, at_bits, bits_notes, students_of
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.result import Interval
from scaling_laws.runs import Note
from scaling_laws.show import number

if TYPE_CHECKING:
    from scaling_laws.cost import Serving, Shape

__all__ = ["scored_notes", "served", "smallest"]

Array = NDArray[np.float64]
By = Literal["params", "price", "latency"]

# Default sizes: so many between the smallest and the largest of the log.
_SIZES = 41
_COLUMN = {"params": "size", "price": "price", "latency": "latency_ms"}


def smallest(
    fitted: Ask,
    candidates: pd.DataFrame | None = None,
    *,
    at_least: Limits = None,
    at_most: Limits = None,
    confidence: float = 0.9,
    by: By = "params",
    interval: Interval = "run",
    serving: Serving | None = None,
    shape: Shape | str | None = None,
    pruning: Pruning | None = None,
    latency_ms: float | None = None,
    memory: float | None = None,
    price: float | None = None,
    rng: Any = None,
    **axes: Any,
) -> Result:
    """Return the smallest student that meets all targets with a confidence.

    ``min size  such that  P(all targets are met by one new run) >= confidence``, over candidates
    within the limits; the probability is joint over metrics.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
    candidates : DataFrame, optional
        A row a student: the laws' axes and factors; may have ``tokens_in``, ``tokens_out``,
        ``weight_bits``, or the sizes of a shape. Default: every combination of `axes`, at 41 sizes
        between the log's smallest and largest, its largest other axes and all levels.
    at_least, at_most : mapping of metric to number, or number
        Targets: scores at least, losses at most.
    confidence : float
    by : {"params", "price", "latency"}
        What is made small.
    interval : {"run", "mean", "score"}
        Whether a new training run must meet the targets, the curve, or one evaluation of a run.
    serving : cost.Serving, optional
        Makes latency, memory and price of each student; a range counts by its dear end.
    shape : cost.Shape or name, optional
        Of the whole model, whose fraction ``kept`` is; needed with `serving`.
    pruning : mapping, optional
        How students are cut: ``split`` and ``rounding`` of `scaling_laws.cost.planned`, and
        ``kept_of`` where the log has none. Default: as those of the log are, if it has their
        ``layers``, ``hidden``, ``ffn`` and ``kv_heads`` and they are of this model; else the
        default split.
    latency_ms, memory, price : float, optional
        Limits: milliseconds a request, bytes on one device, dollars a million requests.
    rng : int, optional
        Seed; default that of the fit.
    **axes
        Values of an axis or factor; ``tokens_out={"label": 4, "cot": 300}`` by level.

    Returns
    -------
    Result
        ``frame``: a row a candidate, the ones that meet everything first, smallest first.

    Raises
    ------
    ValueError
        For no or contradictory targets, unknown names, or limits without `serving`.

    Examples
    --------
    >>> import pandas as pd, scaling_laws as sl
    >>> design = pd.MultiIndex.from_product(
    ...     [[6e3, 25e3, 1e5, 4e5], [.79, .58, .37, .16]], names=["examples", "kept"])
    >>> truth = {"e": 2.5, "a": .8, "b": .35, "c": .5, "g": .9}
    >>> law = sl.laws.Compressed()
    >>> runs = sl.simulate(law, design.to_frame(index=False), truth, .01, 1, metric="task_f1")
    >>> fit = sl.fit(law, runs, "task_f1")
    >>> best = sl.decide.smallest(fit, at_least=.80, kept=[.79, .58, .37, .16], examples=4e5)
    >>> best.values["kept"], best.found
    (0.58, True)
    """
    check_share(confidence, "confidence")
    check_interval(interval)
    joint = joint_of(fitted, rng)
    targets = targets_of(joint, at_least, at_most)
    limits = cost_limits(latency_ms=latency_ms, memory=memory, price=price)
    if by not in _COLUMN:
        raise ValueError(f"by = {by!r} is not one of 'params', 'price', 'latency'.")
    if serving is None and (limits or by != "params"):
        what = next(iter(limits), f"by={by!r}")
        raise ValueError(f"{what} needs serving=sl.cost.Serving(...) and the whole model's shape=.")
    points = points_of(joint, candidates, axes, partial(_default, joint))
    table, notes = points.copy(), scored_notes(joint, points, serving, shape)
    if serving is not None:
        bill, differing = served(joint, points, serving, shape, pruning)
        notes = (*differing, *notes)
        table = pd.concat([table.drop(columns=[c for c in bill if c in table]), bill], axis=1)
    table["size"] = _size(table)
    for name in targets:
        table[name] = joint.estimate(name, points)
    table = pd.concat([table, probabilities(joint, points, targets, interval)], axis=1)
    table["allowed"] = _allowed(table, limits)
    asked = _Asked(joint, targets, limits, confidence, by, interval, notes)
    return asked.answer(table)


def served(
    joint: Joint,
    points: pd.DataFrame,
    serving: Serving,
    shape: Shape | str | None,
    pruning: Pruning | None,
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Return ``params, latency_ms, memory, price, served`` of students; ranges by the dear end.

    Notes are of `students_of`.

    Raises
    ------
    ValueError
        If the sizes are not known: no shape columns, and no shape to prune.
    """
    notes: tuple[Note, ...] = ()
    if "layers" in points:
        sizes: pd.DataFrame = points
    elif shape is None:
        raise ValueError("serving needs shape=, the whole model's, or candidates with its sizes.")
    else:
        sizes, notes = _cut(joint, points, shape, pruning)
        # Bits of a point stand for the server's, and these for the shape's.
        own = [c for c in _OWN if c in points]
        sizes = at_bits(sizes, serving).drop(columns=own, errors="ignore")
        sizes = sizes.assign(**{c: points[c].to_numpy() for c in own})
    bill = serving.evaluate(sizes)
    bill.index = points.index
    frame = pd.DataFrame(
        {
            "params": bill["params"], "latency_ms": bill["latency_ms_high"],
            "memory": bill["weights_bytes"] + bill["cache_bytes"], "price": bill["price_high"],
            "served": bill["served"],
        }
    )  # fmt: skip
    return frame, notes


# Columns that points may have of their own, for serving.
_OWN = ("tokens_in", "tokens_out", "batch", "load", "weight_bits", "group")


def _cut(
    joint: Joint, points: pd.DataFrame, shape: Shape | str, pruning: Pruning | None
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Return the sizes of students of a model, a row a point."""
    from scaling_laws.cost import shape as shape_of

    whole = shape_of(shape)
    if "kept" in points:
        return students_of(whole, points["kept"], joint.rows, pruning)
    kept = points["params"].to_numpy(dtype=float) / whole.params
    return students_of(whole, kept, joint.rows, pruning, counted="total")


def scored_notes(
    joint: Joint, points: pd.DataFrame, serving: Serving | None, shape: Shape | str | None
) -> tuple[Note, ...]:
    """Say which students are scored as if their weights had the bits of the log's."""
    from scaling_laws.cost import shape as shape_of

    if "weight_bits" in points:
        bits = points["weight_bits"].to_numpy(dtype=float)
    elif serving is not None and serving.weight_bits is not None:
        bits = np.array([serving.weight_bits], float)
    elif shape is not None:
        bits = np.array([shape_of(shape).weight_bits], float)
    else:
        return ()
    return bits_notes(joint.rows, (*joint.axes, *joint.factors), bits, "students")


def _default(joint: Joint, axis: str) -> Array:
    """Sizes between those of the log; of all else its largest."""
    seen = joint.seen(axis)
    if axis in ("kept", "params") and len(seen) > 1:
        return np.geomspace(float(seen[0]), float(seen[-1]), _SIZES)
    return seen[-1:]


def _size(table: pd.DataFrame) -> Array:
    """Parameters where known, else the fraction kept."""
    for name in ("params", "kept"):
        if name in table:
            return np.asarray(table[name], float)
    raise ValueError("the candidates have neither kept nor params: nothing says which is smallest.")


def _allowed(table: pd.DataFrame, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    ok = np.ones(len(table), np.bool_)
    if "served" in table:
        ok &= table["served"].to_numpy(dtype=np.bool_)
    for name, most in limits.items():
        # NaN, not served, is not within any limit.
        ok &= table[name].to_numpy(dtype=float) <= most
    return ok


@dataclass(frozen=True, eq=False)
class _Asked:
    """The question, to be answered from the table of candidates."""

    joint: Joint
    targets: Targets
    limits: Mapping[str, float]
    confidence: float
    by: By
    interval: Interval
    notes: tuple[Note, ...]

    def answer(self, table: pd.DataFrame) -> Result:
        column = _COLUMN[self.by]
        table["meets"] = table["allowed"] & (table["probability"] >= self.confidence)
        # What meets everything by size; the rest by how near it comes.
        key = np.where(table["meets"], table[column], -table["probability"])
        order = np.lexsort([-table["probability"], key, ~table["allowed"], ~table["meets"]])
        frame = table.iloc[order].reset_index(drop=True)
        best = row_of(frame, 0) if frame["allowed"].any() else None
        found = best is not None and bool(best["meets"])
        values: dict[str, Any] = {}
        idle = [name for name in self.joint.names if name not in self.targets]
        notes = (
            self.joint.left_out
            + self.notes
            + tuple(
                Note("no_target", "info", f"{n} has no target: it is not asked about.")
                for n in idle
            )
        )
        if best is not None:
            at = self._point(best)
            told = ("probability", "size", "latency_ms", "memory", "price", *self.targets)
            values = {**at, **{k: best[k] for k in told if k in best}}
            notes += support_notes(self.joint, pd.DataFrame([at]))
        return Result(
            question=self._question(), answer=self._words(best, frame), frame=frame,
            view=self._view(frame, best if found else None), values=values, found=found,
            reason=partial(self._why, frame, best), notes=notes,
        )  # fmt: skip

    def _point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {k: row[k] for k in (*self.joint.axes, *self.joint.factors)}

    def _question(self) -> str:
        what = {"params": "smallest", "price": "cheapest", "latency": "fastest"}[self.by]
        whose = {"run": "a new run", "mean": "the curve", "score": "one evaluation of a new run"}
        limits = "".join(f", {k} <= {number(v)}" for k, v in self.limits.items())
        return (
            f"the {what} student of which {whose[self.interval]} has {target_words(self.targets)} "
            f"with probability {self.confidence:g}{limits}"
        )

    def _words(self, best: Mapping[str, Any] | None, frame: pd.DataFrame) -> str:
        if best is None:
            return f"none: no candidate of {len(frame)} is within the limits"
        if best["meets"]:
            return words_of(self._point(best))
        within = " within the limits" * bool(self.limits)
        return (
            f"none of {int(frame['allowed'].sum())}{within} meets {target_words(self.targets)} "
            f"with probability {self.confidence:g}; nearest {words_of(self._point(best))}, with "
            f"{best['probability']:.2f}"
        )

    def _why(self, frame: pd.DataFrame, best: Mapping[str, Any] | None) -> Why:
        answer = self._words(best, frame)
        if best is None:
            return Why(answer, change="a wider limit: " + self._binding(frame))
        weakest = min(self.targets, key=lambda name: float(best[f"p_{name}"]))
        run = decisive_run(self.joint, weakest, self._point(best), f"{weakest} there")
        return Why(answer, float(best["probability"]), run, self._change(frame, best))

    def _change(self, frame: pd.DataFrame, best: Mapping[str, Any]) -> str:
        column, p = _COLUMN[self.by], float(best["probability"])
        if not best["meets"]:
            return f"a confidence of {p:.2f} or less, or another target, would admit it"
        smaller = frame[column].to_numpy(dtype=float) < best[column]
        within = frame["allowed"].to_numpy(dtype=np.bool_)
        if (smaller & within).any():
            sure = np.where(smaller & within, frame["probability"].to_numpy(dtype=float), -1.0)
            rival = row_of(frame, int(np.argmax(sure)))
            p = float(rival["probability"])
            return f"at a confidence of {p:.2f} it would be {words_of(self._point(rival))}"
        if smaller.any():
            return "a wider limit: " + self._binding(frame.iloc[np.flatnonzero(smaller)])
        return "no candidate is smaller: add smaller ones"

    def _binding(self, frame: pd.DataFrame) -> str:
        parts = [
            f"{name} excludes {int((~(frame[name] <= most)).sum())}"
            for name, most in self.limits.items()
        ]
        return ", ".join(parts) + f" of {len(frame)} candidates"

    def _view(self, frame: pd.DataFrame, best: Mapping[str, Any] | None) -> View:
        column = _COLUMN[self.by]
        size = "parameters" if "params" in frame else "fraction kept"
        labels = {"size": size, "price": "dollars a million requests", "latency_ms": "latency, ms"}
        # The factor whose levels differ among the candidates, if any does.
        factors = self.joint.factors
        by = next((f for f in factors if frame[f].nunique() > 1), next(iter(factors), None))
        return View(
            column, "probability", by=by, levels=factors.get(by or "", ()), style="points",
            log_x=True, x_label=labels[column], y_label="probability of meeting the targets",
            lines={f"confidence {self.confidence:g}": self.confidence},
            marks={} if best is None else {"answer": float(best[column])},
        )  # fmt: skip
