"""Points that no other beats, in O(n log n) for two and three objectives, once or in each draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Survivors", "rivals", "unbeaten"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.intp]
Ranks = NDArray[np.int32]

# Points compared pair by pair, where dividing any further would take longer.
_LEAF = 48
# Scores of survivors held at once, and the fewest draws; draws whose fronts are taken in turn.
_HELD = 30_000_000
_FEWEST = 100
_DRAWS = 32
# Points whose rival is looked up at once, and the most points of the front that may be one.
_BLOCK = 512
_MOST = 1024


def unbeaten(bad: Array) -> Flags:
    """Return which of n points ``bad [objectives, n]`` no other beats; smaller is better.

    A point is beaten by one that is as good in every objective and better in one; equal points do
    not beat each other. By divide and conquer (Kung, Luccio and Preparata 1975): in the order of
    the first objective, the better half is never beaten by the worse one, and what it beats there
    is a question of one objective fewer. O(n log n) for two and three objectives, and a factor
    log n more for each further one.
    """
    order = _sorted(bad[0], bad[1:])
    points = bad[:, order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (points[:, 1:] != points[:, :-1]).any(0)
    lost = _beaten(points if new.all() else points[:, new])
    out = np.empty(len(order), np.bool_)
    out[order] = ~lost[np.cumsum(new) - 1]
    return out


def _sorted(values: Array, ties: Array) -> Places:
    """Return the order of values, those that tie in the order of the first of `ties` that differ.

    Ties are few, or of few points: sorting them apart is faster than a stable sort of all.
    """
    order = np.argsort(values)
    sizes = values[order]
    tied = sizes[1:] == sizes[:-1]
    if tied.any():
        at = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        members = order[at]
        order[at] = members[np.lexsort((*ties[::-1, members], sizes[at]))]
    return order


def _beaten(points: Array) -> Flags:
    """Return which points are beaten; they are distinct and in the order of `_sorted`.

    Ties of an objective are ranked by the place in that order: whoever beats a point comes before
    it there, so that to beat is to have the smaller rank in everything.
    """
    n = points.shape[1]
    here = np.arange(n, dtype=float)[None]
    orders = [_sorted(points[k], here) for k in range(1, len(points))]
    if not orders:
        return here[0] > 0
    # Places are halved down to leaves of equal size; those added at the end beat nothing.
    leaves = 1
    while len(orders) > 1 and n > leaves * _LEAF:
        leaves *= 2
    size = leaves * -(-n // leaves)
    added: Places = np.arange(n, size, dtype=np.intp)
    orders = [np.append(order, added) for order in orders]
    ranks = [np.empty((1, size), np.int32) for _ in orders]
    for rank, order in zip(ranks, orders, strict=True):
        rank[0, order] = np.arange(size)
    every = np.ones((1, size), np.bool_)
    return _lost(ranks, orders[0][None], every, every)[0, :n]


def _lost(ranks: Sequence[Ranks], order: Places, gives: Flags, takes: Flags) -> Flags:
    """Return, row by row, which takers have a giver before them with smaller ranks in everything.

    Parameters
    ----------
    ranks : sequence of array [rows, size]
        The other objectives, in the order of the first one.
    order : array [rows, size]
        Places, counted over all rows, in the order of ``ranks[0]`` within each row.
    gives, takes : array [rows, size]
    """
    rows, size = gives.shape
    if len(ranks) == 1:
        best = np.minimum.accumulate(np.where(gives, ranks[0], np.iinfo(np.int32).max), axis=1)
        return takes & (best < ranks[0])
    if size <= _LEAF:
        beats = np.tri(size, k=-1, dtype=np.bool_) & gives[:, None, :]
        for rank in ranks:
            beats &= rank[:, None, :] < rank[:, :, None]
        return takes & beats.any(2)
    starts: Places = np.arange(0, rows * size, size, dtype=np.intp).reshape(rows, 1)
    worse: Flags = order >= starts + size // 2
    halves = np.stack([order[~worse].reshape(rows, -1), order[worse].reshape(rows, -1)], 1)
    half = (2 * rows, size // 2)
    out = _lost(
        [rank.reshape(half) for rank in ranks], halves.reshape(half), gives.reshape(half),
        takes.reshape(half),
    ).reshape(-1)  # fmt: skip
    # What the better half beats of the worse one: there the first objective is settled.
    fewer = [rank.reshape(-1)[order] for rank in ranks[1:]]
    within = order
    if len(fewer) > 1:
        within = np.argsort(fewer[0], axis=1) + starts
    given: Flags = ~worse & gives.reshape(-1)[order]
    taken: Flags = worse & takes.reshape(-1)[order]
    out[order[_lost(fewer, within, given, taken)]] = True
    return out.reshape(rows, size)


def rivals(scores: Array, costs: Array, front: Flags) -> Places:
    """Return, for each of n points, the member of the front that is strongest against it, or n.

    Strongest is whose smallest lead in a score, over its range, is the largest, at no higher cost.
    A choice, not a proof: where the scores are drawn anew, it beats the point in most draws.

    Parameters
    ----------
    scores : array [scores, n]
        Larger is better.
    costs : array [costs, n]
    front : array [n]
        Which points none beats; of more than a few hundred, some evenly spaced in cost are asked.
    """
    n = scores.shape[1]
    spread = np.ptp(scores, axis=1)
    scaled = scores / np.where(spread > 0, spread, 1.0)[:, None]
    first = costs[0]
    order = np.argsort(first, kind="stable")
    asked = order[front[order]]
    asked = asked[np.unique(np.linspace(0, len(asked) - 1, min(len(asked), _MOST)).astype(np.intp))]
    out = np.full(n, n, np.intp)
    for begin in range(0, n, _BLOCK):
        rows = order[begin : begin + _BLOCK]
        able = asked[: np.searchsorted(first[asked], first[rows[-1]], side="right")]
        if not len(able):
            continue
        lead = np.full((len(rows), len(able)), np.inf)
        for score in scaled:
            np.minimum(lead, score[able] - score[rows, None], out=lead)
        for cost in costs:
            lead[cost[able] > cost[rows, None]] = -np.inf
        best = lead.argmax(1)
        wins = lead[np.arange(len(rows)), best] > 0
        out[rows[wins]] = able[best[wins]]
    return out


class Survivors:
    """Points that may be on the front of a draw, with their scores there.

    Where they are so many that not all their draws can be held, every other draw is left out.
    """

    def __init__(self, draws: int) -> None:
        self._every, self._held = 1, 0
        self._draws = draws
        self._parts: list[tuple[Places, Array, Flags]] = []

    @property
    def count(self) -> int:
        """Draws whose fronts are taken."""
        return -(-self._draws // self._every)

    def add(self, points: Places, scores: Sequence[Array], alive: Flags) -> None:
        """Take points whose ``scores [points, draws]``, larger = better, count where `alive`."""
        some = np.flatnonzero(alive.any(1))
        if not len(some):
            return
        kept = np.stack([-score[some, :: self._every] for score in scores])
        self._parts.append((points[some], kept, alive[some, :: self._every]))
        self._held += kept.size
        while self._held > _HELD and self.count >= 2 * _FEWEST:
            self._every *= 2
            self._parts = [
                (rows, bad[..., ::2].copy(), there[:, ::2].copy())
                for rows, bad, there in self._parts
            ]
            self._held = sum(bad.size for _, bad, _ in self._parts)

    def share(self, costs: Array) -> Array:
        """Return the share of draws in which each point is on the front ``[n]``."""
        out = np.zeros(costs.shape[1])
        points = np.concatenate([rows for rows, _, _ in self._parts])
        for begin in range(0, self.count, _DRAWS):
            part = slice(begin, begin + _DRAWS)
            bad = np.concatenate([b[..., part] for _, b, _ in self._parts], axis=1)
            alive = np.concatenate([there[:, part] for _, _, there in self._parts])
            for scores, there in zip(np.moveaxis(bad, 2, 0).copy(), alive.T, strict=True):
                rows = np.flatnonzero(there)
                front = unbeaten(np.concatenate([costs[:, points[rows]], scores[:, rows]]))
                out[points[rows[front]]] += 1.0
        return out / self.count
