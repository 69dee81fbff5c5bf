"""What the scatter of the runs says: of the noise, and of the form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.problem import Problem
from scaling_laws.runs import Note

__all__ = ["UNEQUAL_P", "LackOfFit", "lack_of_fit", "scatter_notes"]

Array = NDArray[np.float64]

# Residuals of an exact fit have no scale; divided by this they stay what they are, 0.
_NO_VARIANCE = 1e-300
# Residuals of such a share of the observations are rounding.
_ROUNDING = 1e-9
# The form is said to misfit where pure error rejects it at this level.
_MISFIT_P = 0.01
# Scatter is said to differ, along an axis or between units, where a test rejects that it does not.
UNEQUAL_P = 0.05


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

    None without replicates, and where the curve passes through every run.
    """
    codes = np.unique(problem.configuration, return_inverse=True)[1]
    n, c = problem.n, int(codes.max()) + 1
    between, within = c - int(fit.free.sum()) + fit.priors, n - c
    if between < 1 or within < 2:
        return None
    from scipy.special import fdtrc

    residual = problem.y - problem.model.residual_mean(fit.theta[None])[0]
    if np.abs(residual).max() <= _ROUNDING * np.abs(problem.y).max():
        return None
    z = _own(problem, fit, residual)
    total, pure = float(z @ z), _within(problem, fit, z, codes)
    # Seeds that agree to the last digit leave rounding as the only noise.
    f = (total - pure) / between / max(pure / within, 1e-12 * total, _NO_VARIANCE)
    variance = max(f - 1.0, 0.0) * c / n
    return LackOfFit(f, float(fdtrc(between, within, max(f, 0.0))), variance / (variance + 1.0))


def _within(problem: Problem, fit: Estimate, z: Array, codes: NDArray[np.intp]) -> float:
    """Squares that are left when each configuration has a mean of its own, weighted alike."""
    if fit.chains is None:
        one = _own(problem, fit, np.ones(problem.n))
        share = np.bincount(codes, weights=one * z) ** 2 / np.bincount(codes, weights=one * one)
        return float(z @ z - share.sum())
    means = np.asarray(codes == np.arange(codes.max() + 1)[:, None], float)
    design = _own(problem, fit, means).T
    solution, *_ = np.linalg.lstsq(design, z, rcond=None)
    return float(((z - design @ solution) ** 2).sum())


def _misfit(problem: Problem, fit: Estimate) -> Iterator[Note]:
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


def scatter_notes(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Yield the notes on where the scatter comes from and on what it says of the form."""
    metric = problem.metric
    if problem.known and not problem.absolute and fit.run_variance <= 0:
        yield Note(
            "eval_noise_dominates",
            "info",
            "Run-to-run noise cannot be told from test-set noise; raise the number of test "
            "items or add seeds.",
        )
    if metric.link == "logit" and not problem.known:
        what = "its standard error comes from the confusion matrix; " * (metric.noise == "stored")
        yield Note(
            "evaluation_noise_unknown",
            "info",
            f"No evaluation noise of {metric.name} is known ({what}log {metric.se} or "
            f"{metric.n}); all scatter counts as run noise.",
        )
    if metric.link == "logit" and problem.known:
        yield Note(
            "same_items",
            "info",
            "All runs share one test set: mean and run intervals are for these items; "
            "population=True adds the test set's own error.",
        )
    replicates = problem.n - len(np.unique(problem.configuration))
    if replicates == 0 and not problem.known:
        yield Note(
            "no_lack_of_fit_test",
            "info",
            "Lack of fit cannot be tested: no replicate runs and no known evaluation noise.",
        )
    if fit.chains is not None:
        yield Note(
            "chained",
            "info",
            f"Errors accumulate along chains (share {fit.chains.rho:.2f} is inherited); rows "
            "of a chain are weighted as one lineage.",
        )
    yield from _misfit(problem, fit)
    yield from _uneven(problem, fit, replicates)


def _own(problem: Problem, fit: Estimate, errors: Array) -> Array:
    """Return of errors ``[..., n]`` what is each row's own, in sd, as the fit weighs it."""
    if fit.chains is not None:
        return fit.chains.innovations(errors, max(fit.run_variance, _NO_VARIANCE))
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    return errors * np.sqrt(weights / np.maximum(fit.variance, _NO_VARIANCE))


def _uneven(problem: Problem, fit: Estimate, replicates: int) -> Iterator[Note]:
    """Noise that changes along the data axis, tested where there are replicates."""
    names = [a.name for a in problem.model.law.axis_list()]
    if replicates < 4 or not names:
        return
    residual = problem.y - problem.model.residual_mean(fit.theta[None])[0]
    frame = pd.DataFrame(
        {
            "c": problem.configuration,
            "r": _own(problem, fit, residual),
            "x": np.log(problem.frame[names[0]].to_numpy(dtype=float)),
        }
    )
    groups = frame.groupby("c")
    count, spread, x = groups["r"].count(), groups["r"].var(), groups["x"].mean()
    ok = (count > 1) & (spread > 0)
    if ok.sum() < 4 or np.ptp(x[ok]) == 0:
        return
    from scipy.stats import linregress

    line = linregress(x[ok], np.log(spread[ok]))
    if line.pvalue < UNEQUAL_P:
        yield Note(
            "uneven_noise",
            "warning",
            f"Noise changes with {names[0]} (p = {line.pvalue:.2g}); intervals assume it does "
            "not. Give sigma= or weights=.",
        )
