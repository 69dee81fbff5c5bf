"""A fitted law: parameters with intervals, predictions, certificate, notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.bootstrap import DRAWS, Bootstrap, draw
from scaling_laws.certificate import Certificate, certify
from scaling_laws.checks import data_notes, draw_notes, identifiability, row_leverage
from scaling_laws.constraints import Constraints
from scaling_laws.estimate import Estimate
from scaling_laws.halfwild import Draws, NoInterval
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric
from scaling_laws.model import Model
from scaling_laws.points import table_of
from scaling_laws.predictions import draws_of, estimates, predictions
from scaling_laws.problem import Problem
from scaling_laws.profiles import Profile, profile
from scaling_laws.runs import Note
from scaling_laws.tables import (
    Method,
    covariance_table,
    derived_table,
    parameter_table,
    residual_table,
)
from scaling_laws.uncertainty import Kind, printed

if TYPE_CHECKING:
    import lmfit  # pyright: ignore[reportMissingTypeStubs]  (it has none)
    from matplotlib.axes import Axes

    from scaling_laws.card import Card
    from scaling_laws.sensitivity import Influence, Question, Sensitivity
    from scaling_laws.validation import Holdout

__all__ = ["Bootstrap", "Fit"]

Array = NDArray[np.float64]
Interval = Literal["mean", "run", "score"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to a log: made by `scaling_laws.fit`, frozen; slow parts are made when asked.

    Attributes
    ----------
    law : Law
    problem : Problem
        The rows used.
    estimate : Estimate
    constraints : Constraints
    settings : mapping
        ``objective``, ``delta``, ``link``, ``starts``, ``level`` as asked.
    seed : int
        Makes the draws and the certificate repeatable.
    source : str
        Where the log came from.
    base : Fit or None
        The fit whose exponents it keeps; see `scaling_laws.transfer`.
    """

    law: Law
    problem: Problem
    estimate: Estimate
    constraints: Constraints
    settings: Mapping[str, Any]
    seed: int
    source: str = ""
    base: Fit | None = None

    # --- what it is -------------------------------------------------------------------------------
    @property
    def metric(self) -> Metric:
        """The metric fitted."""
        return self.problem.metric

    @property
    def model(self) -> Model:
        """The law bound to the rows used."""
        return self.problem.model

    @property
    def objective(self) -> float:
        """Minimum of the objective: summed, never averaged, over rows."""
        return self.estimate.objective

    @property
    def delta(self) -> float:
        """Huber's corner in units of the residual; infinite for least squares."""
        return self.estimate.delta

    @cached_property
    def values(self) -> dict[str, float]:
        """Printed parameters at the estimate."""
        at = printed(self.model, self.estimate.theta, clip=False)
        return {k: float(v[0]) for k, v in at.items()}

    @cached_property
    def residuals(self) -> pd.DataFrame:
        """Score, fitted mean, residual on the residual scale, and ``z`` in units of its sd."""
        return residual_table(self)

    @cached_property
    def starts(self) -> Certificate:
        """The certificate: restarts over the full bounds, none taken from the fit."""
        count = int(self.settings["starts"])
        return certify(self.problem, self.estimate, starts=count, seed=self.seed)

    # --- uncertainty ------------------------------------------------------------------------------
    @cached_property
    def draws_or_reason(self) -> Draws | NoInterval:
        """The default draws, or why there are none."""
        try:
            return draw(self, DRAWS, self.seed)
        except NoInterval as reason:
            return reason

    @property
    def draws(self) -> Draws:
        """The default draws, made at first use.

        Raises
        ------
        NoInterval
            If the log cannot support an interval; the sentence says what to add.
        """
        if isinstance(self.draws_or_reason, NoInterval):
            raise self.draws_or_reason
        return self.draws_or_reason

    def bootstrap(
        self, n: int = 1000, kind: Kind = "wild", rng: Any = 0, unit: str | None = None
    ) -> Bootstrap:
        """Draw refits.

        Parameters
        ----------
        n : int
            Number of draws.
        kind : {"wild", "cluster", "case"}
            ``wild`` is the default recipe; ``case`` resamples rows and ``cluster`` whole units.
        rng : int, Generator or RandomState
        unit : {"run", "configuration"}, optional
            Overrides the pooling rule of ``wild``.
        """
        draws = draw(self, n, rng, kind, unit)
        return Bootstrap(pd.DataFrame(printed(self.model, draws.theta)), kind, draws)

    def covariance(self) -> pd.DataFrame:
        """Return the covariance of the printed parameters, to first order.

        ``(J^T W J / s^2 + P)^-1``, P the precisions of priors. 0 for what is held, NaN for what has
        no first-order error: at a bound, or where the runs do not fix parameters one by one;
        ``attrs["notes"]`` names both.
        """
        return covariance_table(self)

    def profile(self, name: str, level: float = 0.9) -> Profile:
        """Return the profile likelihood of a printed parameter."""
        if name not in self.model.names:
            raise ValueError(f"{name!r} is no parameter; there are {', '.join(self.model.names)}.")
        return profile(
            self.problem,
            self.estimate,
            lambda theta: printed(self.model, theta, clip=False)[name],
            level,
            bounds=self.model.legal_range(name),
        )

    def intervals(self, level: float = 0.9, method: Method = "wild") -> pd.DataFrame:
        """Return the parameter table at another level or by another method.

        Columns ``estimate, se, low, high, meaning``. An estimate at its bound has no ``se`` and a
        one-sided interval; an infinite end is open.
        """
        return parameter_table(self, level, method)

    @property
    def parameters(self) -> pd.DataFrame:
        """``estimate, se, low, high, meaning`` by parameter; the header names level and method."""
        return self._table

    @cached_property
    def _table(self) -> pd.DataFrame:
        return self.intervals(float(self.settings["level"]))

    @cached_property
    def derived(self) -> pd.DataFrame:
        """What follows from the parameters (half-collapse): estimate, low, high, meaning."""
        return derived_table(self, float(self.settings["level"]))

    @property
    def degrees(self) -> int:
        """Rows minus free parameters."""
        return self.problem.n - int(self.estimate.free.sum())

    def is_free(self, name: str) -> bool:
        """Whether the fit moved this parameter (a tied one moves with the others)."""
        if name not in self.model.coordinates:
            return True
        return bool(self.estimate.free[self.model.coordinates.index(name)])

    # --- predictions ------------------------------------------------------------------------------
    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | None = None,
        interval: Interval | None = "mean",
        level: float = 0.9,
        *,
        population: bool = False,
        rng: Any = None,
        **axes: Any,
    ) -> pd.DataFrame:
        """Predict the metric at new points.

        Parameters
        ----------
        data : DataFrame or mapping, optional
            Columns named like the law's axes and factors; keyword arguments do the same.
        interval : {"mean", "run", "score"} or None
            The curve on this test set; one new training run; one new evaluation of such a run.
            None: estimates alone, which is fast for millions of points.
        level : float
            Of the interval.
        population : bool
            Add the variance that the shared test set itself puts on the level of all rows.
        rng : int, Generator or RandomState, optional
            For the noise of ``run`` and ``score``; default the fit's own seed.
        **axes
            Scalars or arrays that broadcast together.

        Returns
        -------
        DataFrame
            The points, then ``estimate, low, high``, ``distance`` (largest overshoot beyond the
            data, in log-ranges of its axis), ``support`` ({inside, corner, outside}) and, for
            proportions, ``equivalent_n`` (the test set whose binomial error is as large).
            ``attrs["notes"]`` says what is vacuous, far, or narrower than the data can support.

        Raises
        ------
        ValueError
            For a missing axis, a level the log never had, or a value that is not positive.
        """
        points = table_of(self.problem, data, axes)
        if interval is None:
            return estimates(self.problem, self.estimate, points)
        return predictions(
            self.problem,
            self.estimate,
            self.draws_or_reason,
            points,
            interval,
            level,
            self.seed if rng is None else rng,
            population=population,
        )

    def draws_at(self, points: pd.DataFrame, interval: Interval = "mean", rng: Any = 0) -> Array:
        """Return the draws behind `predict`: the metric, ``[rows, draws]``.

        Raises
        ------
        NoInterval
            If the log cannot support an interval.
        """
        return draws_of(self.problem, self.estimate, self.draws, points, interval, rng)

    @property
    def training_index(self) -> pd.Index[Any]:
        """Index, in the log, of the rows used."""
        return self.problem.frame.index

    # --- what to make of it -----------------------------------------------------------------------
    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """What a careful reader would be told about this fit."""
        own = data_notes(self.problem, self.estimate, self.constraints, self.settings)
        drawn = draw_notes(self.problem, self.estimate, self.draws_or_reason)
        return (*self.problem.notes, *own, *drawn)

    @property
    def identifiability(self) -> pd.DataFrame:
        """Combinations of parameters, best fixed first, with relative singular values."""
        return identifiability(self.problem, self.estimate)

    @property
    def leverage(self) -> pd.Series[float]:
        """Leverage of each row, 0 to 1."""
        return pd.Series(
            row_leverage(self.problem, self.estimate), index=self.problem.frame.index
        ).sort_index()

    def sensitivity(self, question: Question) -> Sensitivity:
        """Return how the answer moves with objective, link, form, and each axis's end levels.

        Parameters
        ----------
        question : callable or mapping
            ``question(fit) -> float``, or a point to predict at.
        """
        from scaling_laws.sensitivity import sensitivity_of

        return sensitivity_of(self, question)

    def influence(self, question: Question) -> Influence:
        """Return the answer without each unit (chain or configuration), largest change first.

        Parameters
        ----------
        question : callable or mapping
            As in `sensitivity`.
        """
        from scaling_laws.sensitivity import influence_of

        return influence_of(self, question)

    def card(self, holdout: Holdout | None = None) -> Card:
        """Return the reproducibility card: what was fitted, to what, how; `to_latex` prints it.

        Parameters
        ----------
        holdout : Holdout, optional
            How forecasts of this score did on runs held out: answers "validation".

        Raises
        ------
        ValueError
            If the hold-out judges another score.
        """
        from scaling_laws.card import card_of

        return card_of(self, holdout)

    # --- in and out -------------------------------------------------------------------------------
    def save(self, path: str | Path) -> Path:
        """Write the fit as JSON; `scaling_laws.load` reads it back bit-identically."""
        from scaling_laws.saved import save_fit

        return save_fit(self, path)

    def to_lmfit(self) -> lmfit.Parameters:
        """Return the parameters as `lmfit.Parameters`: values, bounds, held ones, ``stderr``."""
        from scaling_laws.bridge import to_lmfit

        return to_lmfit(self)

    def to_markdown(self) -> str:
        """Return the summary as Markdown."""
        from scaling_laws.show import fit_markdown

        return fit_markdown(self)

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw data, curve and intervals along the main axis; returns the Axes."""
        from scaling_laws.plot import plot_fit

        return plot_fit(self, ax, **options)

    def __repr__(self) -> str:
        from scaling_laws.show import fit_text

        return fit_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show import fit_html

        return fit_html(self)
