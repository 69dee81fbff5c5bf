"""What the scatter of the runs says: of the noise, and of the form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.halfwild import leverage, relax
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
# A run is said to lie off where as far a one is rarer than this in logs of as many.
_OUTLIER_P = 0.01
# Standard deviations in a median absolute deviation of normal errors.
_MAD = 1.4826
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

    None without replicates that scatter, and where the curve passes through every run.
    """
    if problem.copies or _exact(problem, fit):
        return None
    codes = np.unique(problem.configuration, return_inverse=True)[1]
    n, c = problem.n, int(codes.max()) + 1
    between, within = c - int(fit.free.sum()) + fit.priors, n - c
    if between < 1 or within < 2:
        return None
    from scipy.special import fdtrc

    z = _own(problem, fit, _residual(problem, fit))
    total, pure = float(z @ z), _within(problem, fit, z, codes)
    # Seeds that agree to the last digit leave rounding as the only noise.
    f = (total - pure) / between / max(pure / within, 1e-12 * total, _NO_VARIANCE)
    variance = max(f - 1.0, 0.0) * c / n
    return LackOfFit(f, float(fdtrc(between, within, max(f, 0.0))), variance / (variance + 1.0))


def _residual(problem: Problem, fit: Estimate) -> Array:
    return problem.y - problem.model.residual_mean(fit.theta[None])[0]


def _exact(problem: Problem, fit: Estimate) -> bool:
    """Whether the curve passes through every run, to rounding."""
    size = np.abs(_residual(problem, fit)).max()
    return bool(size <= _ROUNDING * np.abs(problem.y).max())


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


def _exact_notes(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Tell of runs that do not scatter: about their configuration, or about the curve."""
    name = problem.metric.name
    if problem.copies:
        yield Note(
            "identical_runs",
            "warning",
            f"Runs of one configuration have the same {name} to the last digit ({problem.copies} "
            "rows repeat another): one run logged again, or a seed that changes nothing. They say "
            "nothing of the noise: intervals count configurations.",
        )
    several = problem.n > int(fit.free.sum()) and np.ptp(problem.score) > 0
    if several and not problem.known and _exact(problem, fit):
        yield Note(
            "exact",
            "warning",
            f"The curve passes through every run to rounding, as no measured {name} would: there "
            "is no scatter to take an interval from, so intervals have no width. Are these values "
            "of a formula, or smoothed?",
        )


def _outlier(problem: Problem, fit: Estimate) -> Iterator[Note]:
    """Tell of runs so far off the curve as none of as many lie.

    Least squares: the residual in standard errors of a fit without the run (externally studentised:
    Cook & Weisberg 1982, section 2.2.2), Bonferroni over the runs. Huber: in robust ones.
    """
    nu = problem.n - int(fit.free.sum()) + fit.priors - 1
    if nu < 2 or fit.chains is not None or problem.weights is not None or _exact(problem, fit):
        return
    from scipy.special import fdtrc

    theta, lower = relax(problem, fit)
    e = (problem.y - problem.model.residual_mean(theta[None])[0]) * fit.scale
    h = (leverage(problem, fit, theta, fit.scale, lower) ** 2).sum(1)
    # A run that alone fixes a parameter lies on the curve wherever it is.
    off: Array = np.where(
        h < 1.0 - _ROUNDING, np.abs(e) / np.sqrt(np.maximum(1.0 - h, _ROUNDING)), 0.0
    )
    i = int(off.argmax())
    if np.isfinite(fit.delta):
        sd = _MAD * float(np.median(np.abs(e))) * float(np.sqrt(problem.n / (nu + 1)))
    else:
        sd = float(np.sqrt(max(float(e @ e) - off[i] ** 2, 0.0) / nu))
    # The test sets alone scatter by so much.
    least = np.maximum(np.sqrt(fit.evaluation) * fit.scale, _NO_VARIANCE)
    errors = off / np.maximum(sd, least)
    p_value: Array = np.asarray(problem.n * fdtrc(1, nu, errors**2), float)
    far = np.flatnonzero(p_value < _OUTLIER_P)
    if not np.isfinite(fit.delta):
        # Without the farthest run another may no longer be far: only of that one is told.
        far = far[far == i]
    if len(far):
        row = problem.frame.iloc[i]
        names = [*(a.name for a in problem.model.law.axis_list()), *problem.model.law.by]
        words = [f"{v:g}" if isinstance(v, Real) else str(v) for v in (row[n] for n in names)]
        at = ", ".join(f"{n} {word}" for n, word in zip(names, words, strict=True))
        lies = "1 run lies" if len(far) == 1 else f"{len(far)} runs lie"
        weighs = "with less weight" if np.isfinite(fit.delta) else "in full"
        yield Note(
            "outlier",
            "warning",
            f"{lies} farther off the curve than the scatter of {problem.n} explains, the farthest "
            f"{errors[i]:.0f} standard errors ({at}: {problem.metric.name} {problem.score[i]:.4g}; "
            f"p = {p_value[i]:.1g}). Such a run counts {weighs}: look at what happened to it, and "
            'where it failed mark it status = "failed".',
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


def _alike(problem: Problem, fit: Estimate, replicates: int) -> Iterator[Note]:
    """Tell of neighbours that err alike, where no replicates can show a misfit or a shared error.

    Von Neumann's ratio ``sum over pairs (e_i - e_j)^2 / sum e^2``, its distribution under the fit
    by the two moments of a beta (Durbin & Watson 1951, Biometrika 38, 159).
    """
    i, j = _neighbours(problem)
    nu = problem.n - int(fit.free.sum())
    if replicates or fit.chains is not None or problem.weights is not None:
        return
    if nu < 3 or len(i) < nu or _exact(problem, fit):
        return
    from scipy.special import betainc

    theta, lower = relax(problem, fit)
    e = (problem.y - problem.model.residual_mean(theta[None])[0]) * fit.scale
    a = leverage(problem, fit, theta, fit.scale, lower)
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
    alike = tuple(_alike(problem, fit, replicates))
    yield from alike
    if replicates == 0 and not problem.known and not alike:
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
    yield from _exact_notes(problem, fit)
    yield from _outlier(problem, fit)
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
