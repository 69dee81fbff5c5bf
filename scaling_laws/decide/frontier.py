"""Which candidates can't be beaten: the front of scores against costs, with its probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.draws import Ask, Joint, joint_of, main_fit
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Frontier", "pareto"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Values of a chunk of candidates x draws.
_CHUNK = 1_500_000
# Values held at once where several scores or costs are compared draw by draw, and the fewest draws.
_HELD = 20_000_000
_FEWEST = 100
# Points compared with one another at once.
_BLOCK = 512
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
    candidates: pd.DataFrame,
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
    candidates : DataFrame
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
        estimates) and ``probability``, the likeliest first.

    Raises
    ------
    ValueError
        If a column is missing, or a cost is not finite.
    NoInterval
        If the log cannot support an interval.

    Notes
    -----
    Curves are compared: what a candidate gives over many trainings, not the luck of one. Costs are
    taken as known; a price of an hour that is common to all moves none across the front.
    """
    names = (costs,) if isinstance(costs, str) else tuple(costs)
    table = _costs(candidates, names)
    if not 0 < level < 1:
        raise ValueError(f"pareto: level = {level:g} is not in (0, 1).")
    joint = joint_of(fitted, rng)
    frame = candidates.copy()
    estimates: list[Array] = []
    for name in joint.names:
        estimate = joint.estimate(name, candidates)
        estimates.append(_sign(joint, name) * estimate)
        low, high = np.empty(len(frame)), np.empty(len(frame))
        for rows in _chunks(np.arange(len(frame)), joint.count):
            low[rows], high[rows] = quantile_pair(joint.values(name, candidates.iloc[rows]), level)
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = estimate, low, high
    frame["front"] = _front(np.stack(estimates), table)
    if len(joint.names) == len(names) == 1:
        sure, draws = _by_sweep(joint, candidates, table[0])
    else:
        sure, draws = _by_draw(joint, candidates, table, np.stack(estimates))
    frame["probability"] = sure
    frame = frame.sort_values(["probability", names[0]], ascending=[False, True], kind="stable")
    return _result(joint, frame, names, draws)


def _costs(candidates: pd.DataFrame, names: tuple[str, ...]) -> Array:
    """Return the costs ``[costs, candidates]``."""
    if not isinstance(candidates, pd.DataFrame) or not len(candidates):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("pareto: candidates must be a DataFrame with a row a candidate.")
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


def _chunks(order: NDArray[np.intp], draws: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, _CHUNK // draws)
    for begin in range(0, len(order), step):
        yield order[begin : begin + step]


# --- the front ------------------------------------------------------------------------------------
def _front(scores: Array, costs: Array) -> Flags:
    """Which of n points no other beats; ``scores [s, n]`` larger = better, ``costs [c, n]``."""
    bad = np.concatenate([costs, -scores])
    order = np.lexsort(bad[::-1])
    out = np.zeros(bad.shape[1], bool)
    front = np.empty((len(bad), 0))
    # In this order no point is beaten by a later one, only by the front so far and its own block.
    for begin in range(0, len(order), _BLOCK):
        rows = order[begin : begin + _BLOCK]
        block = bad[:, rows]
        rows = rows[~_beaten(block, front)]
        rows = rows[~_beaten(bad[:, rows], bad[:, rows])]
        out[rows] = True
        front = np.concatenate([front, bad[:, rows]], axis=1)
    return out


def _beaten(points: Array, others: Array) -> Flags:
    """Whether any of the others is as good as each point in everything and better in something."""
    worse = np.ones((points.shape[1], others.shape[1]), bool)
    better = np.zeros_like(worse)
    for mine, theirs in zip(points, others, strict=True):
        worse &= theirs[None, :] <= mine[:, None]
        better |= theirs[None, :] < mine[:, None]
    return np.asarray((worse & better).any(1), np.bool_)


def _by_sweep(joint: Joint, candidates: pd.DataFrame, cost: Array) -> tuple[Array, int]:
    """One score, one cost: from cheap to dear, what beats the best of all that is cheaper."""
    name = joint.names[0]
    sign = _sign(joint, name)
    out = np.empty(len(cost))
    cheaper = np.full(joint.count, -np.inf)
    order = np.argsort(cost, kind="stable")
    for rows in _whole_groups(order, cost[order], joint.count):
        if (cost[rows] == cost[rows[0]]).all():
            # One cost, maybe of more candidates than a chunk holds: the best first, then who it is.
            parts = list(_chunks(rows, joint.count))
            top = cheaper
            for part in parts:
                top = np.maximum(top, (sign * joint.values(name, candidates.iloc[part])).max(0))
            for part in parts:
                drawn = sign * joint.values(name, candidates.iloc[part])
                out[part] = ((drawn >= top) & (drawn > cheaper)).mean(1)
            cheaper = top
            continue
        drawn = sign * joint.values(name, candidates.iloc[rows])
        best = np.maximum.accumulate(np.concatenate([cheaper[None], drawn]), axis=0)
        first = np.searchsorted(cost[rows], cost[rows], side="left")
        last = np.searchsorted(cost[rows], cost[rows], side="right")
        out[rows] = ((drawn >= best[last]) & (drawn > best[first])).mean(1)
        cheaper = best[-1]
    return out, joint.count


def _whole_groups(order: NDArray[np.intp], cost: Array, draws: int) -> Iterator[NDArray[np.intp]]:
    """Chunks of candidates that split no group of equal cost, `cost` ascending."""
    step = max(1, _CHUNK // draws)
    begin = 0
    while begin < len(order):
        end = min(begin + step, len(order))
        if end < len(order):
            group = np.flatnonzero(cost == cost[end])
            end = int(group[0]) if group[0] > begin else int(group[-1]) + 1
        yield order[begin:end]
        begin = end


def _by_draw(
    joint: Joint, candidates: pd.DataFrame, costs: Array, estimates: Array
) -> tuple[Array, int]:
    """Several scores or costs: the front of each draw, of as many draws as can be held.

    What the strongest rival by the estimates beats in a draw is not compared with the others there.
    """
    n = len(candidates)
    most = max(_FEWEST, _HELD // (n * len(joint.names)))
    draws = np.unique(np.linspace(0, joint.count - 1, min(joint.count, most)).astype(np.intp))
    held = np.empty((len(draws), len(joint.names), n))
    for i, name in enumerate(joint.names):
        for rows in _chunks(np.arange(n), joint.count):
            values = joint.values(name, candidates.iloc[rows])[:, draws]
            held[:, i, rows] = _sign(joint, name) * values.T
    rival = _rivals(estimates, costs)
    cheaper = (costs[:, rival] < costs).any(0)
    count = np.zeros(n)
    for scores in held:
        theirs = scores[:, rival]
        lost = (theirs >= scores).all(0) & (cheaper | (theirs > scores).any(0))
        alive = np.flatnonzero(~lost)
        count[alive] += _front(scores[:, alive], costs[:, alive])
    return count / len(draws), len(draws)


def _rivals(estimates: Array, costs: Array) -> NDArray[np.intp]:
    """Return, for each point, the member of the front that is strongest against it, or itself."""
    front = np.flatnonzero(_front(estimates, costs))
    spread = np.ptp(estimates, axis=1)
    scaled = estimates / np.where(spread > 0, spread, 1.0)[:, None]
    out = np.arange(estimates.shape[1], dtype=np.intp)
    for begin in range(0, len(out), _BLOCK):
        rows = out[begin : begin + _BLOCK]
        legal = (costs[:, front][:, None, :] <= costs[:, rows][:, :, None]).all(0)
        lead = (scaled[:, front][:, None, :] - scaled[:, rows][:, :, None]).min(0)
        lead = np.where(legal, lead, -np.inf)
        best = lead.argmax(1)
        wins = lead[np.arange(len(rows)), best] > 0
        out[begin : begin + _BLOCK] = np.where(wins, front[best], rows)
    return out


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
    notes: list[Note] = []
    if draws < joint.count:
        sentence = (
            f"Fronts of {draws} of {joint.count} draws were taken: a probability has a standard "
            f"error of up to {0.5 / np.sqrt(draws):.2g}."
        )
        notes.append(Note("fewer_draws", "info", sentence))
    far = int((joint.support(frame)["distance"] > 0).sum())
    if far:
        sentence = f"{far} of {len(frame)} candidates lie beyond the log's axes: forecasts."
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
    main = main_fit(joint.fits[joint.names[0]])
    most = main.influence({a: doubtful[a] for a in (*joint.axes, *main.law.by)}).frame.iloc[0]
    run = (
        f"Without {most['which']} the score of {_label(doubtful, axes)}, the least decided "
        f"candidate, moves by {float(most['change']):+.3g}"
    )
    change = f"More runs near {_label(doubtful, axes)} (probability {doubtful['probability']:.2f})"
    likely = sure[sure >= 0.5]
    return Why(answer, float(likely.mean()) if len(likely) else None, run, change)
