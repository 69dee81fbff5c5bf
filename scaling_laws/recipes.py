"""Two published fits of one law to one set of runs, choice by choice: why they differ.

Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3) fitted ``E + A / N^alpha + B / D^beta`` with a
Huber loss of log residuals, corner 1e-3, by L-BFGS from a grid of 4500 starts. Besiroglu et al.
2024 (arXiv 2404.10102) fitted the points of their figure 4 again and found that the first fit had
averaged the loss, so that its optimiser stopped early, and that its printed digits are too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.laws import Chinchilla
from scaling_laws.metrics import get_metric
from scaling_laws.presets.catalogue import presets
from scaling_laws.problem import as_log
from scaling_laws.result import Fit
from scaling_laws.runs import Note, RunLog

__all__ = ["PUBLISHED", "Recipe", "besiroglu", "grid_of_starts", "hoffmann", "tokens_per_parameter"]

Array = NDArray[np.float64]
Reduction = Literal["mean", "sum"]
Start = tuple[float, float, float, float, float]

CONSTANTS = ("E", "A", "B", "alpha", "beta")
CORNER = 1e-3
# Budget of Gopher and of Chinchilla: where the two fits are compared.
FLOPS = 5.76e23
# The replication leaves out so many points of highest loss.
OUTLIERS = 5

# Constants as published: rounded in the paper's text, unrounded in its source; the replication.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    words: presets[f"chinchilla/{name}"].values
    for words, name in (
        ("hoffmann, as printed", "hoffmann-2022-printed"),
        ("hoffmann, unrounded", "hoffmann-2022"),
        ("besiroglu, as printed", "besiroglu-2024"),
    )
}

# Of the 4500 starts (log A, log B, log E, alpha, beta) the one whose averaged loss L-BFGS-B takes
# lowest on the digitised points.
_BEST_START: Start = (0.0, 0.0, -1.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Recipe:
    """A published fit, and the choices that lead away from it.

    Attributes
    ----------
    title : str
    frame : DataFrame
        A row a step: the constants, ``objective`` (sum of Huber losses of the log residuals over
        the points, corner 1e-3, whatever the step minimised) and ``tokens_per_parameter`` of the
        compute optimum at `flops`.
    fit : Fit
        What the recipe arrives at; predicts and saves like any other.
    flops : float
    notes : tuple of Note
        What is reproduced, and what is not.
    """

    title: str
    frame: pd.DataFrame
    fit: Fit
    flops: float
    notes: tuple[Note, ...]

    def plot(self, ax: Any = None) -> Any:
        """Draw the tokens per parameter of each step; returns the Axes."""
        from scaling_laws.plot.recipes import plot_recipe

        return plot_recipe(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_recipe import recipe_text

        return recipe_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_recipe import recipe_html

        return recipe_html(self)


def tokens_per_parameter(constants: Mapping[str, float], flops: float = FLOPS) -> float:
    """Return the compute optimum ``D / N`` at ``flops = 6 N D``.

    ``N = G (flops / 6)^(beta / (alpha + beta))``,
    ``G = (alpha A / (beta B))^(1 / (alpha + beta))``: Hoffmann et al. 2022, Eq. 4. NaN where an
    amplitude or an exponent is not positive: then more of one is never worth less of the other.
    """
    alpha, beta = constants["alpha"], constants["beta"]
    if min(alpha, beta, constants["A"], constants["B"]) <= 0:
        return float("nan")
    log_g = np.log(alpha * constants["A"] / (beta * constants["B"])) / (alpha + beta)
    log_n = log_g + beta / (alpha + beta) * np.log(flops / 6.0)
    return float(np.exp(np.log(flops / 6.0) - 2.0 * log_n))


def grid_of_starts() -> list[Start]:
    """Return the 4500 starts of Hoffmann et al. 2022, appendix D.3."""
    amplitude, limit = np.arange(0.0, 30.0, 5.0), np.arange(-1.0, 1.25, 0.5)
    exponent = np.arange(0.0, 2.25, 0.5)
    axes = (amplitude, amplitude, limit, exponent, exponent)
    return [(float(a), float(b), float(e), float(i), float(j)) for a, b, e, i, j in product(*axes)]


def hoffmann(
    points: Any,
    *,
    columns: Mapping[str, Any] | None = None,
    drop: int = OUTLIERS,
    starts: Iterable[Start] = (_BEST_START,),
    flops: float = FLOPS,
    rng: Any = 0,
) -> Recipe:
    """Fit as Hoffmann et al. 2022 did: mean Huber loss, L-BFGS-B with its usual stopping rule.

    The gradient of an averaged loss of 1e-6 is below the optimiser's tolerance long before the
    optimum; it reports success there. From the same start the summed loss stops early too: what
    leads out is many starts *and* a sum, or an optimiser that certifies its optimum.

    Parameters
    ----------
    points : log
        ``params``, ``tokens`` and ``loss``; anything `read_runs` takes.
    columns : mapping, optional
        As in `fit`.
    drop : int
        Points of highest loss left out, as in the replication.
    starts : iterable of (log A, log B, log E, alpha, beta)
        By default the one of their 4500 that ends lowest on the digitised points;
        `grid_of_starts` gives all, which takes some seconds.
    flops : float
        Where the optimum is compared.
    rng : int, Generator or RandomState

    Returns
    -------
    Recipe
        Its `fit` holds the constants where the optimiser stopped, so its curve has no interval.
    """
    log, left_out = _points(points, columns, drop)
    given = list(starts)
    averaged = _lowest(log, given, "mean")
    summed = _lowest(log, given, "sum")
    exact = fit(Chinchilla(), log, "loss", delta=CORNER, rng=rng)
    words = "their best start" if len(given) == 1 else f"the best of {len(given)} starts"
    steps = [
        ("as printed: exponents of two digits", PUBLISHED["hoffmann, as printed"]),
        ("as fitted by them: unrounded", PUBLISHED["hoffmann, unrounded"]),
        (f"mean loss, L-BFGS-B from {words}", averaged),
        (f"sum of losses, L-BFGS-B from {words}", summed),
        (f"the optimum, {exact.starts.agreeing} of {exact.starts.tried} starts", exact.values),
    ]
    stopped = fit(Chinchilla(), log, "loss", delta=CORNER, parameters=averaged, rng=rng)
    frame = _table(steps, log, flops)
    early = float(frame["objective"].iloc[2] / exact.objective - 1.0)
    note = f"L-BFGS-B reports success {early:.0%} above the optimum of the same loss"
    if min(averaged["alpha"], averaged["beta"]) > 0:
        note += (
            ". Their own runs and stopping rule are not published: this reproduces why their fit "
            "stopped early, near where it stopped, not their digits."
        )
    else:
        note += (
            f", with exponents of {averaged['alpha']:.3g} and {averaged['beta']:.3g}: no law. "
            "The default start is chosen for the published points; pass starts=grid_of_starts()."
        )
    notes = (*left_out, Note("stopped_early", "warning", note))
    return Recipe("Hoffmann et al. 2022, approach 3", frame, stopped, flops, notes)


def besiroglu(
    points: Any,
    *,
    columns: Mapping[str, Any] | None = None,
    drop: int = OUTLIERS,
    flops: float = FLOPS,
    rng: Any = 0,
) -> Recipe:
    """Fit as Besiroglu et al. 2024 did: summed Huber loss of log residuals, corner 1e-3, optimum.

    Their intervals are case resamples,
    ``recipe.fit.bootstrap(4000, "case", numpy.random.RandomState(42)).interval(.95)``.

    Parameters
    ----------
    points, columns, drop, flops, rng
        As in `hoffmann`.

    Returns
    -------
    Recipe
        The steps after the optimum change one choice each: the corner, the loss, the points.
    """
    log, left_out = _points(points, columns, drop)
    every, _ = _points(points, columns, 0)
    law = Chinchilla()
    exact = fit(law, log, "loss", delta=CORNER, rng=rng)
    wide = fit(law, log, "loss", delta=1e-2, rng=rng)
    squares = fit(law, log, "loss", objective="squares", rng=rng)
    steps = [
        ("as printed", PUBLISHED["besiroglu, as printed"]),
        ("the optimum: sum of losses, corner 1e-3", exact.values),
        ("corner 1e-2", wide.values),
        ("least squares", squares.values),
    ]
    if drop:
        whole = fit(law, every, "loss", delta=CORNER, rng=rng)
        steps.append((f"corner 1e-3, the {drop} points kept in", whole.values))
    sd = exact.estimate.sigma * float(np.median(exact.estimate.scale))
    note = (
        f"A corner of {CORNER:g} is {CORNER / sd:.2g} residual standard deviations: close to least "
        "absolute deviations. What the corner alone does to the answer is in the table."
    )
    notes = (*left_out, Note("corner", "info", note))
    return Recipe("Besiroglu et al. 2024, replication", _table(steps, log, flops), exact, flops,
                  notes)  # fmt: skip


def _points(
    points: Any, columns: Mapping[str, Any] | None, drop: int
) -> tuple[RunLog, tuple[Note, ...]]:
    """Return the log without its `drop` highest losses, and the note that says so."""
    log = as_log(points, get_metric("loss"), columns)
    for name in ("params", "tokens", "loss"):
        if name not in log.frame.columns:
            raise ValueError(
                f"points lack {name!r}; they have {', '.join(log.frame.columns)}. "
                f'Map it with columns={{"{name}": "your column"}}.'
            )
    if not 0 <= drop < len(log):
        raise ValueError(f"drop = {drop}: leave out between 0 and {len(log) - 1} points.")
    if not drop:
        return log, ()
    loss = log.frame["loss"]
    worst = loss.nlargest(drop)
    sentence = (
        f"{drop} points of highest loss left out of {len(log)}, as in the replication: "
        f"{worst.min():.2f} to {worst.max():.2f}."
    )
    return log.select(~loss.index.isin(worst.index)), (Note("points_left_out", "info", sentence),)


def _table(
    steps: Iterable[tuple[str, Mapping[str, float]]], log: RunLog, flops: float
) -> pd.DataFrame:
    rows = dict(_rows(steps, log, flops))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index="step")


def _rows(
    steps: Iterable[tuple[str, Mapping[str, float]]], log: RunLog, flops: float
) -> Iterator[tuple[str, dict[str, float]]]:
    for words, constants in steps:
        value, _ = _huber(_vector(constants), *_logs(log), "sum")
        row = {name: float(constants[name]) for name in CONSTANTS}
        ratio = tokens_per_parameter(constants, flops)
        yield words, {**row, "objective": value, "tokens_per_parameter": ratio}


# --- their objective and their optimiser ----------------------------------------------------------
def _logs(log: RunLog) -> tuple[Array, Array, Array]:
    params, tokens, loss = (np.log(log.frame[c].to_numpy(dtype=float))
                            for c in ("params", "tokens", "loss"))  # fmt: skip
    return params, tokens, loss


def _vector(constants: Mapping[str, float]) -> Array:
    amplitudes = [np.log(constants[name]) for name in ("A", "B", "E")]
    return np.array([*amplitudes, constants["alpha"], constants["beta"]], float)


def _huber(
    theta: Array, params: Array, tokens: Array, loss: Array, reduction: Reduction
) -> tuple[float, Array]:
    """Huber loss of ``LSE(a - alpha log N, b - beta log D, e) - log L`` and its gradient."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * params, b - beta * tokens, np.full_like(params, e)])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    residual = top + np.log(total) - loss
    size = np.abs(residual)
    inside = size <= CORNER
    value = inside * 0.5 * residual**2 + ~inside * CORNER * (size - 0.5 * CORNER)
    slope = np.clip(residual, -CORNER, CORNER) * shares / total
    gradient = np.array([
        slope[0].sum(), slope[1].sum(), slope[2].sum(),
        -(slope[0] * params).sum(), -(slope[1] * tokens).sum(),
    ])  # fmt: skip
    over = len(loss) if reduction == "mean" else 1
    return float(value.sum() / over), gradient / over


def _lowest(log: RunLog, starts: list[Start], reduction: Reduction) -> dict[str, float]:
    """Return the constants where L-BFGS-B stops lowest, tolerances left at their defaults."""
    from scipy.optimize import minimize

    if not starts:
        raise ValueError("starts is empty; give at least one (log A, log B, log E, alpha, beta).")
    columns = _logs(log)
    ends = [
        minimize(_huber, start, args=(*columns, reduction), jac=True, method="L-BFGS-B")
        for start in starts
    ]
    best = min(ends, key=lambda end: float(end.fun))
    a, b, e, alpha, beta = (float(v) for v in best.x)
    return {
        "E": float(np.exp(e)), "A": float(np.exp(a)), "B": float(np.exp(b)),
        "alpha": alpha, "beta": beta,
    }  # fmt: skip
