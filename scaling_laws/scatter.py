"""What the scatter of the runs says: where the noise comes from, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.estimate import Estimate
from scaling_laws.misfit import misfit, neighbours_alike
from scaling_laws.problem import Problem
from scaling_laws.residuals import (
    NO_VARIANCE,
    ROUNDING,
    is_exact,
    own_errors,
    relaxed_residuals,
)
from scaling_laws.runs import Note

__all__ = ["UNEQUAL_P", "scatter_notes"]

Array = NDArray[np.float64]

# A run is said to lie off where as far a one is rarer than this in logs of as many.
_OUTLIER_P = 0.01
# Standard deviations in a median absolute deviation of normal errors.
_MAD = 1.4826
# Scatter is said to differ, along an axis or between units, where a test rejects that it does not.
UNEQUAL_P = 0.05


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
    alike = tuple(neighbours_alike(problem, fit, replicates))
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
    yield from misfit(problem, fit)
    yield from _uneven(problem, fit, replicates)


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
    if several and not problem.known and is_exact(problem, fit):
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
    if nu < 2 or fit.chains is not None or problem.weights is not None or is_exact(problem, fit):
        return
    from scipy.special import fdtrc

    e, a = relaxed_residuals(problem, fit)
    h = (a**2).sum(1)
    # A run that alone fixes a parameter lies on the curve wherever it is.
    off: Array = np.where(
        h < 1.0 - ROUNDING, np.abs(e) / np.sqrt(np.maximum(1.0 - h, ROUNDING)), 0.0
    )
    i = int(off.argmax())
    if np.isfinite(fit.delta):
        sd = _MAD * float(np.median(np.abs(e))) * float(np.sqrt(problem.n / (nu + 1)))
    else:
        sd = float(np.sqrt(max(float(e @ e) - off[i] ** 2, 0.0) / nu))
    # The test sets alone scatter by so much.
    least = np.maximum(np.sqrt(fit.evaluation) * fit.scale, NO_VARIANCE)
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


def _uneven(problem: Problem, fit: Estimate, replicates: int) -> Iterator[Note]:
    """Noise that changes along the data axis, tested where there are replicates."""
    names = [a.name for a in problem.model.law.axis_list()]
    if replicates < 4 or not names:
        return
    residual = problem.residual(fit.theta)
    frame = pd.DataFrame(
        {
            "c": problem.configuration,
            "r": own_errors(problem, fit, residual),
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
