"""Curves of many draws at points that lie near one another, from a few of those points.

Where curves are smooth, their values ``A [points, draws]`` have a low rank: ``A = T A[skeleton]``
with an interpolative decomposition (Cheng, Gimbutas, Martinsson and Rokhlin 2005, SIAM J. Sci.
Comput. 26(4), section 3) of a sample of draws. Nothing is known of the law; where the rank is not
low, or what is checked is not met, all values are evaluated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

__all__ = ["spanned"]

Array = NDArray[np.float64]
Places = NDArray[np.intp]

# Draws of the sample, the highest rank that they tell, and the fewest points and draws worth it.
_SAMPLE, _MOST = 40, 30
_FEWEST = 96
# Points at which all draws are checked, and draws that are checked at all points.
_PROBES, _CHECKED = 4, 8
# Of the largest value: what the sample leaves out, and how far a checked value may lie off.
_LEFT = 1e-11
_OFF = 5e-9


def spanned(evaluate: Callable[[Places, Places], Array], points: int, draws: int) -> Array | None:
    """Return ``A = evaluate(every point, every draw)`` to 1e-8 of its largest value, or None.

    Parameters
    ----------
    evaluate : callable
        Of places of points and of draws; returns ``[points, draws]``.
    points, draws : int
        How many there are.

    Returns
    -------
    array [points, draws] or None
        None if it would not be faster, or not as exact.
    """
    if points < _FEWEST or draws < 2 * _FEWEST:
        return None
    every = np.arange(points)
    sample = np.linspace(0, draws - 1, _SAMPLE).astype(np.intp)
    seen = evaluate(every, sample)
    if not np.isfinite(seen).all():
        return None
    _, upper, pivots = qr(seen.T, mode="economic", pivoting=True)
    order: Places = pivots.astype(np.intp)
    size = np.abs(np.diag(upper))
    rank = int((size > _LEFT * size[0]).sum())
    if rank == 0 or rank > _MOST:
        return None
    weights = np.zeros((points, rank))
    weights[order[:rank]] = np.eye(rank)
    weights[order[rank:]] = solve_triangular(upper[:rank, :rank], upper[:rank, rank:]).T
    # The next points are those that the sample says are the worst off: of each draw they tell how
    # well it is met, and of the worst draws all points do.
    probes = order[rank : rank + _PROBES]
    exact = evaluate(order[: rank + _PROBES], np.arange(draws))
    if not np.isfinite(exact).all():
        return None
    found, largest = weights @ exact[:rank], float(np.abs(exact).max())
    off = np.abs(found[probes] - exact[rank:]).max(0)
    worst = np.argpartition(-off, _CHECKED)[:_CHECKED]
    left = np.abs(found[:, worst] - evaluate(every, worst)).max()
    return found if max(float(off.max()), float(left)) <= _OFF * largest else None
