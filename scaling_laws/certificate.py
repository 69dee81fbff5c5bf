"""How sure one can be that a fit ended at the global optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.estimate import Estimate, search_again
from scaling_laws.problem import Problem
from scaling_laws.search import along_curve, placed, projected

__all__ = ["Certificate", "certify"]

# Agreement of two optima, relative to the objective.
_AGREE = 1e-6


@dataclass(frozen=True)
class Certificate:
    """How many independent starts over the full bounds end where the fit ended.

    Attributes
    ----------
    agreeing, tried : int
        Starts whose objective is within 1e-6 (relative) of the best, and all starts; none where
        every parameter is held.
    spread : float
        Largest spread of the predictions at the data among agreeing starts, on the metric's scale:
        an equal objective with different predictions means that the data do not fix the curve.
    best : float
        Lowest objective that any start reached.
    objective : float
        Objective of the fit.
    """

    agreeing: int
    tried: int
    spread: float
    best: float
    objective: float

    @property
    def global_optimum(self) -> bool:
        """No start found a lower objective, and more than one reached this one.

        True where every parameter is held: the objective has one value then.
        """
        lowest = self.best >= self.objective * (1 - _AGREE) - 1e-12
        return not self.tried or (lowest and self.agreeing > 1)

    def __str__(self) -> str:
        if not self.tried:
            return "none tried: every parameter is held, nothing was fitted"
        lower = (
            "" if self.global_optimum else f"; lowest {self.best:.6g} against {self.objective:.6g}"
        )
        return f"{self.agreeing} of {self.tried} starts agree, spread {self.spread:.2g}{lower}"


def certify(problem: Problem, fit: Estimate, *, starts: int, seed: int) -> Certificate:
    """Restart from scrambled-Sobol points over the full bounds, none taken from the fit.

    The first half has its shapes spread along the curve, and takes limit and amplitudes from a fit
    with the shapes held: most points of a wide box put all scores at floor and top, or a steep fall
    between two runs, where nothing says which way to go. (Halves, not every other point: Sobol
    points in turn lie in one half of some axes.) Where no parameter is free there is nothing to
    restart.
    """
    if not fit.free.any():
        return Certificate(0, 0, 0.0, fit.objective, fit.objective)
    from scipy.stats import qmc

    model = problem.model
    y, held = problem.y, ~fit.free
    # Sobol points come in powers of two; any number of the first ones are as even as they can be.
    unit = qmc.Sobol(model.p, seed=seed).random_base2((starts - 1).bit_length())[:starts]
    theta = np.where(held, fit.theta, placed(model, y, unit))
    half = (starts + 1) // 2
    theta[:half] = along_curve(model, y, theta[:half], unit[:half], held)
    theta[:half] = projected(model, y, fit.scale, theta[:half], held)
    # A linear fit of limit and amplitudes takes no notice of those that are held.
    theta[:, held] = fit.theta[held]
    found = search_again(problem, fit, theta, steps=120)
    best = float(found.objective.min())
    reference = min(best, fit.objective)
    near = found.objective <= reference + _AGREE * max(abs(reference), 1e-300) + 1e-18
    means = model.mean(np.concatenate([found.theta[near], fit.theta[None]]))
    spread = float(np.ptp(means, axis=0).max())
    return Certificate(int(near.sum()), starts, spread, best, fit.objective)
