"""Which candidates can't be beaten: the front of scores against costs, with its probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import check_share, decisive_run
from scaling_laws.decide.draws import Ask, Joint, joint_of, main_fit
from scaling_laws.decide.fronts import Survivors, rivals, unbeaten
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.decide.sampled import Sampled, Tails, near, sampled
from scaling_laws.runs import Note
from scaling_laws.show import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Frontier", "pareto"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.intp]

# Candidates whose draws are made and compared at once, in a processor's cache.
_CHUNK = 256
_NAMED = 4


@dataclass(frozen=True, eq=False, repr=False)
class Frontier(Result):
    """Candidates with the probability of being on the front.

    Attributes
    ----------
    scores, costs : tuple of str
        Columns compared.
    axes : tuple of str
        Columns that tell candidates apart.
    """

    scores: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()
    axes: tuple[str, ...] = field(default=())

    def label(self, row: Mapping[Any, Any]) -> str:
        """Name a candidate by its axes and factors."""
        return _label(row, self.axes)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the front; returns the Axes."""
        from scaling_laws.plot.plans import plot_pareto

        return plot_pareto(self, ax)


def pareto(
    fitted: Ask,
    candidates: pd.DataFrame | Sequence[Mapping[str, Any]],
    *,
    costs: str | Sequence[str] = "price",
    level: float = 0.9,
    rng: int | None = None,
) -> Frontier:
    """Find the candidates that no other beats, and how sure that is.

    A candidate is on the front of a draw if no other is as good in every score and cost and better
    in one; its probability is the share of draws.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
        The scores; several are drawn jointly.
    candidates : DataFrame or list of dict
        A row a candidate: axes and factors of the laws, and the costs (price, latency, parameters:
        less is better).
    costs : str or sequence of str
        Columns of the costs.
    level : float
        Of the scores' intervals.
    rng : int, optional
        Seed; default that of the fit.

    Returns
    -------
    Frontier
        ``frame``: the candidates, each score with ``_low`` and ``_high``, ``front`` (of the
        estimates), ``probability``, ``distance`` (largest overshoot beyond the log, in log-ranges
        of its axis) and ``support`` ({inside, corner, outside}), the likeliest first.

    Raises
    ------
    ValueError
        If a column is missing, a cost is not finite, or the level is not in (0, 1).
    NoInterval
        If the log cannot support an interval.

    Notes
    -----
    Curves are compared: what a candidate gives over many trainings, not the luck of one. Costs are
    taken as known; a price of an hour that is common to all moves none across the front.
    """
    names = (costs,) if isinstance(costs, str) else tuple(costs)
    rows = _listed(candidates)
    table = _costs(rows, names)
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    frame = rows.copy()
    estimates = {name: joint.estimate(name, rows) for name in joint.names}
    better = np.stack([_sign(joint, name) * estimates[name] for name in joint.names])
    front = unbeaten(np.concatenate([table, -better]))
    scores = [_Scores.of(joint, name, rows, level) for name in joint.names]
    met = _Rivals.of(scores, rivals(better, table, front), table)
    found = _drawn(scores, near(joint, rows), met)
    for name, one in zip(joint.names, scores, strict=True):
        frame[name] = estimates[name]
        frame[f"{name}_low"], frame[f"{name}_high"] = one.low, one.high
    frame["front"] = front
    frame["probability"] = found.share(table)
    for name, values in joint.support(rows).items():
        frame[str(name)] = values.to_numpy()
    frame = frame.sort_values(["probability", names[0]], ascending=[False, True], kind="stable")
    return _result(joint, frame, names, found.count)


def _listed(candidates: Any) -> pd.DataFrame:
    """Return a list of rows as a frame; what is neither is refused where it is read."""
    return pd.DataFrame(cast(list[Any], candidates)) if isinstance(candidates, list) else candidates


def _costs(candidates: pd.DataFrame, names: tuple[str, ...]) -> Array:
    """Return the costs ``[costs, candidates]``."""
    if not isinstance(candidates, pd.DataFrame) or not len(candidates):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("pareto: candidates must be a DataFrame or list with a row a candidate.")
    if not names:
        raise ValueError("pareto: costs is empty; name one column or more, such as 'price'.")
    for name in names:
        if name not in candidates.columns:
            raise ValueError(
                f"pareto: the candidates have no column {name!r}; they have "
                f"{', '.join(map(str, candidates.columns))}. Add what each costs, or name it in "
                "costs=."
            )
        bad = ~np.isfinite(candidates[name].to_numpy(dtype=float))
        if bad.any():
            raise ValueError(
                f"pareto: {name} of candidate {candidates.index[bad][0]} is not a finite number; "
                f"leave out the {int(bad.sum())} candidates without one."
            )
    return np.stack([candidates[name].to_numpy(dtype=float) for name in names])


def _sign(joint: Joint, name: str) -> float:
    return 1.0 if joint.metric(name).direction == "higher" else -1.0


# --- draw by draw ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Scores:
    """A metric: its draws, and its interval's ends."""

    sampled: Sampled
    tails: Tails
    sign: float
    low: Array
    high: Array

    @classmethod
    def of(cls, joint: Joint, name: str, candidates: pd.DataFrame, level: float) -> _Scores:
        ends = np.empty((2, len(candidates)))
        drawn = sampled(joint, name, candidates)
        return cls(drawn, Tails(level, joint.count), _sign(joint, name), *ends)

    def at(self, rows: Places) -> Array:
        """Return draws ``[rows, draws]``, larger = better; keep the ends of their interval."""
        values, back = self.sampled.distinct(rows)
        low, high = self.tails.ends(values)
        self.low[rows], self.high[rows] = low[back], high[back]
        return self._signed(values if len(values) == len(back) else values[back])

    def rivals(self, rows: Places) -> Array:
        """Return draws ``[rows, draws]``, larger = better."""
        return self._signed(self.sampled.values(rows))

    def _signed(self, values: Array) -> Array:
        return values if self.sign > 0 else np.negative(values)


@dataclass(frozen=True, eq=False)
class _Rivals:
    """Each candidate's strongest rival, and what it leaves of the candidate.

    What a rival beats in a draw is on no front there and keeps nobody else off that its rival does
    not: the fronts are those of the survivors.
    """

    met: Flags
    cheaper: Flags
    place: Places
    scores: Sequence[Array]

    @classmethod
    def of(cls, scores: Sequence[_Scores], rival: Places, costs: Array) -> _Rivals:
        met = rival < len(rival)
        own = np.where(met, rival, 0)
        asked, place = np.unique(own, return_inverse=True)
        cheaper = np.asarray((costs[:, own] < costs).any(0), np.bool_)
        return cls(met, cheaper, place, [one.rivals(asked) for one in scores])

    def leave(self, rows: Places, drawn: Sequence[Array]) -> Flags:
        """Return in which draws the candidates ``[rows, draws]`` are not beaten."""
        lost = np.repeat(self.met[rows, None], drawn[0].shape[1], axis=1)
        strict = np.repeat(self.cheaper[rows, None], drawn[0].shape[1], axis=1)
        for mine, table in zip(drawn, self.scores, strict=True):
            theirs = table[self.place[rows]]
            lost &= theirs >= mine
            strict |= theirs > mine
        return ~(lost & strict)


def _drawn(
    scores: Sequence[_Scores], cells: Sequence[tuple[Places, Places]], met: _Rivals
) -> Survivors:
    """Return what rivals leave of all candidates; keep the ends of their intervals."""
    found = Survivors(scores[0].sampled.joint.count)
    for cell, corners in cells:
        for one in scores:
            one.tails.expect(one.sampled.values(corners))
        for begin in range(0, len(cell), _CHUNK):
            rows = cell[begin : begin + _CHUNK]
            drawn = [one.at(rows) for one in scores]
            found.add(rows, drawn, met.leave(rows, drawn))
    return found


# --- the answer -----------------------------------------------------------------------------------
def _label(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    words = (row[a] if isinstance(row[a], str) else number(float(row[a])) for a in axes)
    return ", ".join(f"{a} {w}" for a, w in zip(axes, words, strict=True))


def _result(joint: Joint, frame: pd.DataFrame, costs: tuple[str, ...], draws: int) -> Frontier:
    axes = tuple(a for a in (*joint.axes, *joint.factors) if a in frame.columns)
    sure = frame["probability"].to_numpy(dtype=float)
    likely = frame[frame["probability"] >= 0.5]
    named = "; ".join(
        f"{_label(row, axes)} ({row['probability']:.2f})"
        for row in likely.head(_NAMED).to_dict("records")
    )
    more = len(likely) - _NAMED
    answer = (
        f"{len(likely)} of {len(frame)} candidates are on the front with a probability of one half "
        f"or more: {named}{f'; and {more} more' if more > 0 else ''}."
        if len(likely)
        else f"None of {len(frame)} candidates is on the front with a probability of one half."
    )
    notes: list[Note] = [*joint.left_out]
    if draws < joint.count:
        sentence = (
            f"Fronts of {draws} of {joint.count} draws were taken: a probability has a standard "
            f"error of up to {0.5 / np.sqrt(draws):.2g}."
        )
        notes.append(Note("fewer_draws", "info", sentence))
    far = frame[frame["distance"] > 0]
    if len(far):
        farthest = far.iloc[int(np.argmax(far["distance"].to_numpy()))].to_dict()
        sentence = (
            f"{len(far)} of {len(frame)} candidates lie beyond the log: forecasts. The farthest, "
            f"{_label(farthest, axes)}, lies {farthest['distance']:.2g} of its log-range beyond."
        )
        notes.append(Note("outside", "warning", sentence))
    words = " and ".join((*joint.names, *costs))
    return Frontier(
        question=f"Which of {len(frame)} candidates does no other beat in {words}?",
        answer=answer,
        frame=frame,
        view=View(costs[0], joint.names[0], f"{joint.names[0]}_low", f"{joint.names[0]}_high",
                  style="points"),
        values={"likely": len(likely), "expected": float(sure.sum()), "draws": draws},
        found=len(likely) > 0,
        reason=lambda: _why(joint, frame, answer, axes),
        notes=tuple(notes),
        scores=joint.names,
        costs=costs,
        axes=axes,
    )  # fmt: skip


def _why(joint: Joint, frame: pd.DataFrame, answer: str, axes: tuple[str, ...]) -> Why:
    """Ask the log about the candidate whose place is the least decided."""
    sure = frame["probability"].to_numpy(dtype=float)
    doubtful = frame.iloc[int(np.abs(sure - 0.5).argmin())].to_dict()
    law = main_fit(joint.fits[joint.first]).law
    point = {a: doubtful[a] for a in (*(axis.name for axis in law.axis_list()), *law.by)}
    what = f"{joint.first} at {_label(doubtful, axes)}, the least decided candidate,"
    run = decisive_run(joint, joint.first, point, what)
    change = f"More runs near {_label(doubtful, axes)} (probability {doubtful['probability']:.2f})"
    likely = sure[sure >= 0.5]
    return Why(answer, float(likely.mean()) if len(likely) else None, run, change)
