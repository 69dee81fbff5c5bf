"""What the scatter of the runs says of the form: that the curve misses them, by more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.problem import Problem
from scaling_laws.residuals import NO_VARIANCE, is_exact, own_errors, relaxed_residuals
from scaling_laws.runs import Note

__all__ = ["LackOfFit", "lack_of_fit", "misfit", "neighbours_alike"]

Array = NDArray[np.float64]

# The form is said to misfit where pure error rejects it at this level.
_MISFIT_P = 0.01


@dataclass(frozen=True)
class LackOfFit:
    """Means of configurations against the curve, in units of the scatter within configurations.

    Attributes
    ----------
    f, p_value : float
        ``F = (SS_curve - SS_means) / (C - p) / (SS_means / (n - C))``, C configurations.
    share : float
        Of the variance of a run about the curve, what its configuration's mean has of it:
        ``v / (v + 1)``, ``v = (F - 1) C / n``.
    """

    f: float
    p_value: float
    share: float

    @property
    def rejected(self) -> bool:
        """Whether the runs reject the curve."""
        return self.p_value < _MISFIT_P


def lack_of_fit(problem: Problem, fit: Estimate) -> LackOfFit | None:
    """Test the curve by pure error, on errors as the fit weighs them.

    None without replicates that scatter, and where the curve passes through every run.
    """
    if problem.copies or is_exact(problem, fit):
        return None
    codes = np.unique(problem.configuration, return_inverse=True)[1]
    n, c = problem.n, int(codes.max()) + 1
    between, within = c - int(fit.free.sum()) + fit.priors, n - c
    if between < 1 or within < 2:
        return None
    from scipy.special import fdtrc

    z = own_errors(problem, fit, problem.residual(fit.theta))
    total, pure = float(z @ z), _within(problem, fit, z, codes)
    # Seeds that agree to the last digit leave rounding as the only noise.
    f = (total - pure) / between / max(pure / within, 1e-12 * total, NO_VARIANCE)
    variance = max(f - 1.0, 0.0) * c / n
    return LackOfFit(f, float(fdtrc(between, within, max(f, 0.0))), variance / (variance + 1.0))


def _within(problem: Problem, fit: Estimate, z: Array, codes: NDArray[np.intp]) -> float:
    """Squares that are left when each configuration has a mean of its own, weighted alike."""
    if fit.chains is None:
        one = own_errors(problem, fit, np.ones(problem.n))
        share = np.bincount(codes, weights=one * z) ** 2 / np.bincount(codes, weights=one * one)
        return float(z @ z - share.sum())
    means = np.asarray(codes == np.arange(codes.max() + 1)[:, None], float)
    design = own_errors(problem, fit, means).T
    solution, *_ = np.linalg.lstsq(design, z, rcond=None)
    return float(((z - design @ solution) ** 2).sum())


def misfit(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Tell of a curve that misses the means of configurations."""
    found = lack_of_fit(problem, fit)
    if found is not None and found.rejected:
        yield Note(
            "lack_of_fit",
            "warning",
            f"The curve misses the means of configurations by more than their runs scatter (F = "
            f"{found.f:.2g}, p = {found.p_value:.2g}): {100 * found.share:.3g} % of the variance "
            "about it is lack of fit, or an error that runs of one configuration share. Try "
            "another form.",
        )


def neighbours_alike(problem: Problem, fit: Estimate, replicates: int) -> Iterator[Note]:
    """Tell of neighbours that err alike, where no replicates can show a misfit or a shared error.

    Von Neumann's ratio ``sum over pairs (e_i - e_j)^2 / sum e^2``, its distribution under the fit
    by the two moments of a beta (Durbin & Watson 1951, Biometrika 38, 159).
    """
    i, j = _neighbours(problem)
    nu = problem.n - int(fit.free.sum())
    if replicates or fit.chains is not None or problem.weights is not None:
        return
    if nu < 3 or len(i) < nu or is_exact(problem, fit):
        return
    from scipy.special import betainc

    e, a = relaxed_residuals(problem, fit)
    degree = np.bincount(np.concatenate([i, j]), minlength=problem.n).astype(float)
    # With M = 1 - a a' and L the Laplacian of the pairs: the traces of M L and of (M L)^2.
    inner = (a[i] - a[j]).T @ (a[i] - a[j])
    la = degree[:, None] * a
    np.subtract.at(la, i, a[j])
    np.subtract.at(la, j, a[i])
    first = 2.0 * len(i) - float(np.trace(inner))
    second = float((degree**2).sum() + 2.0 * len(i) - 2.0 * (la**2).sum() + (inner**2).sum())
    rank = float(problem.n - a.shape[1])
    top = 2.0 * float(degree.max())
    mean = first / rank / top
    variance = 2.0 * (second - first**2 / rank) / (rank * (rank + 2.0)) / top**2
    size = mean * (1.0 - mean) / variance - 1.0
    ratio = float(((e[i] - e[j]) ** 2).sum() / (e @ e))
    p_value = float(betainc(mean * size, (1.0 - mean) * size, min(ratio / top, 1.0)))
    if p_value < _MISFIT_P:
        yield Note(
            "neighbours_alike",
            "warning",
            f"Neighbouring runs lie off the curve to the same side more than chance explains (p = "
            f"{p_value:.1g}): the form misfits, or they share an error, as checkpoints of one "
            "training do. Intervals take runs as independent and may be too narrow. Try another "
            "form, or log what shares an error under one chain_id.",
        )


def _neighbours(problem: Problem) -> NDArray[np.intp]:
    """Return pairs ``[2, m]`` of rows next to one another along an axis, all else the same."""
    x = [problem.frame[a.name].to_numpy(dtype=float) for a in problem.model.law.axis_list()]
    pairs: list[NDArray[np.intp]] = []
    for k, along in enumerate(x):
        others = [*x[:k], *x[k + 1 :], problem.model.codes]
        order = np.lexsort((along, *others))
        same = np.ones(problem.n - 1, bool)
        for other in others:
            same &= np.diff(other[order]) == 0
        pairs.append(np.stack([order[:-1][same], order[1:][same]]))
    return np.concatenate(pairs, axis=1)
