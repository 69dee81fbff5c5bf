"""The Forecast: several forms mixed by what they were worth, and honest where they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.bootstrap import DRAWS
from scaling_laws.checks import prediction_notes
from scaling_laws.halfwild import NoInterval
from scaling_laws.metrics import Metric
from scaling_laws.result import Fit, Interval
from scaling_laws.rolling import Rolled
from scaling_laws.runs import Note
from scaling_laws.uncertainty import as_generator, quantile_pair, student_t
from scaling_laws.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Forecast", "aicc", "weigh"]

Array = NDArray[np.float64]

_CHUNK = 1500


@dataclass(frozen=True, eq=False)
class Forecast:
    """A mixture of fitted forms; the default object of every question.

    Attributes
    ----------
    fits : dict of str to Fit
    weights : Series
        Non-negative, sum 1.
    rolled : Rolled
        The rolling-origin errors behind the weights.
    verdicts : tuple of Verdict
    admissible : tuple of str
        Forms within two standard errors of the best rolling-origin error.
    """

    fits: Mapping[str, Fit]
    weights: pd.Series[float]
    rolled: Rolled
    verdicts: tuple[Verdict, ...]
    admissible: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        """The metric forecast."""
        return next(iter(self.fits.values())).metric

    @property
    def best(self) -> Fit:
        """The form with the largest weight."""
        return self.fits[str(self.weights.idxmax())]

    @property
    def training_index(self) -> pd.Index[Any]:
        """Rows of the log behind it."""
        return self.best.training_index

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes of the best form, and on the mixture."""
        share = ", ".join(f"{k} {w:.2f}" for k, w in self.weights.items() if w >= 0.005)
        return (Note("mixture", "info", f"Forecast mixes {share}."), *self.best.notes)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Draws of each form, by largest remainder."""
        exact = {str(k): float(w) * DRAWS for k, w in self.weights.items()}
        counts = {k: int(e) for k, e in exact.items()}
        by_remainder = sorted(exact, key=lambda k: counts[k] - exact[k])
        for form in by_remainder[: DRAWS - sum(counts.values())]:
            counts[form] += 1
        return {k: n for k, n in counts.items() if n > 0}

    @cached_property
    def growth(self) -> float:
        """Rolling-origin error per log-range of distance, on the residual scale."""
        errors = self.rolled.errors
        if not len(errors):
            return 0.0
        blended = (
            errors.assign(
                weighted=errors["error"] * errors["form"].map(self.weights).to_numpy(dtype=float)
            )
            .assign(row=errors.groupby("form").cumcount())
            .groupby("row")
            .agg(error=("weighted", "sum"), distance=("distance", "first"))
        )
        ahead = blended[blended["distance"] > 0]
        if not len(ahead):
            return 0.0
        return float(np.sqrt(np.mean((ahead["error"] / ahead["distance"]) ** 2)))

    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | None = None,
        interval: Interval | None = "mean",
        level: float = 0.9,
        *,
        rng: Any = None,
        **axes: Any,
    ) -> pd.DataFrame:
        """Predict like `Fit.predict`, from draws mixed over the forms.

        Outside the data an interval is at least as wide as the spread of the admissible forms, and
        as the rolling-origin error at that distance. ``attrs["notes"]`` as there.
        """
        table = self.best.predict(data, interval=None, **axes)
        columns = [c for c in table.columns if c != "estimate"]
        points = table[columns]
        log_scale = self.best.model.link.kind == "log"
        centre = np.zeros(len(points))
        for form, one in self.fits.items():
            own = one.predict(points, interval=None)["estimate"].to_numpy()
            centre += float(self.weights[form]) * (np.log(own) if log_scale else own)
        out = points.copy()
        out["estimate"] = np.exp(centre) if log_scale else centre
        if interval is None:
            return out
        shape = self.best.predict(points, interval="mean", level=level)
        out["low"], out["high"] = self._ends(
            points, interval, level, self.best.seed if rng is None else rng
        )
        out["distance"], out["support"] = shape["distance"], shape["support"]
        self._widen(out, points, level, log_scale)
        if self.metric.noise == "proportion":
            p = np.clip(out["estimate"].to_numpy(), 0.0, 1.0)
            se = (out["high"] - out["low"]).to_numpy() / (2 * student_t(np.inf, level))
            with np.errstate(divide="ignore", invalid="ignore"):
                out["equivalent_n"] = p * (1 - p) / se**2
        out.attrs["notes"] = prediction_notes(self.best.problem, out)
        return out

    def admitted(self, points: pd.DataFrame) -> Array:
        """Return ``[admissible forms, rows]`` estimates: outside the data they bound an answer."""
        return np.stack(
            [
                self.fits[form].predict(points, interval=None)["estimate"].to_numpy(dtype=float)
                for form in self.admissible
            ]
        )

    def draws_at(self, points: pd.DataFrame, interval: Interval = "mean", rng: Any = 0) -> Array:
        """Return ``[rows, draws]`` of the metric: each form's share of the draws, its own noise."""
        parts = [
            self.fits[form].draws_at(points, interval, rng)[:, :count]
            for form, count in self.counts.items()
        ]
        return np.concatenate(parts, axis=1)

    def _ends(
        self, points: pd.DataFrame, interval: Interval, level: float, rng: Any
    ) -> tuple[Array, Array]:
        low, high = np.empty(len(points)), np.empty(len(points))
        sources = as_generator(rng).spawn(max(1, -(-len(points) // _CHUNK)))
        for i, source in enumerate(sources):
            part = slice(i * _CHUNK, (i + 1) * _CHUNK)
            try:
                values = self.draws_at(points.iloc[part], interval, source)
            except NoInterval:
                low[part] = high[part] = np.nan  # as `Fit.predict` does
                continue
            low[part], high[part] = quantile_pair(values, level)
        return low, high

    def _widen(
        self, out: pd.DataFrame, points: pd.DataFrame, level: float, log_scale: bool
    ) -> None:
        """Outside the data, in place: the admissible forms' spread and the rolling-origin error."""
        outside = (out["distance"] > 0).to_numpy()
        if not outside.any():
            return
        estimates = self.admitted(points[outside])
        centre = out.loc[outside, "estimate"].to_numpy()
        half = student_t(np.inf, level) * self.growth * out.loc[outside, "distance"].to_numpy()
        if log_scale:
            low, high = centre * np.exp(-half), centre * np.exp(half)
        else:
            top = self.best.model.link.top if self.best.model.link.kind == "logit" else np.inf
            low, high = centre - half, np.minimum(centre + half, top)
            if self.best.model.link.kind == "logit":
                low = np.maximum(low, 0.0)
        out.loc[outside, "low"] = np.minimum.reduce(
            [out.loc[outside, "low"].to_numpy(), low, estimates.min(0)]
        )
        out.loc[outside, "high"] = np.maximum.reduce(
            [out.loc[outside, "high"].to_numpy(), high, estimates.max(0)]
        )

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw data, mixture and intervals; returns the Axes."""
        from scaling_laws.plot import plot_fit

        return plot_fit(self, ax, **options)

    def __repr__(self) -> str:
        from scaling_laws.show_validation import forecast_text

        return forecast_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_validation import forecast_html

        return forecast_html(self)


def aicc(fits: Mapping[str, Fit]) -> pd.Series[float]:
    """Small-sample AIC of each form on one common scale of residuals; NaN with too few rows.

    ``n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1)``, k parameters and the variance, RSS of
    residuals standardised by the variances of the closest form; needs ``n >= k + 3``.
    """
    closest = min(fits.values(), key=lambda f: float((f.residuals["residual"] ** 2).sum()))
    sd = closest.residuals["residual"] / closest.residuals["z"].replace(0.0, np.nan)
    sd = sd.fillna(float(sd.median())) if sd.notna().any() else sd.fillna(1.0)
    out: dict[str, float] = {}
    for form, one in fits.items():
        z = (one.residuals["residual"] / sd).to_numpy()
        n, k = len(z), int(one.estimate.free.sum()) + 1
        rss = max(float((z * z).sum()), 1e-300)
        short = n < k + 3
        out[form] = np.nan if short else n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return pd.Series(out, dtype=float)


def weigh(fits: Mapping[str, Fit], rolled: Rolled) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Return the table of forms and their weights.

    ``weight ~ exp(-AICc / 2) * (rolling mean squared error)^(-origins / 2)``. Plain stacking of few
    correlated forecast errors has heavy tails; the in-sample term steadies it.

    Where the runs are too few for either, the forms with the fewest parameters share the weight,
    and every form counts as admissible: the others still widen what lies beyond the data.
    """
    forms = list(fits)
    criterion = aicc(fits)
    score = -0.5 * (criterion - criterion.min())
    free = pd.Series([int(f.estimate.free.sum()) for f in fits.values()], index=forms)
    untold = criterion.isna().all()
    if untold:
        score = pd.Series(0.0, index=forms)
        if not rolled.origins:
            score = score.where(free == free.min(), -np.inf)
    mean_square = rolled.mean_square().reindex(forms) if rolled.origins else None
    if mean_square is not None:
        score = score - 0.5 * rolled.origins * np.log(np.maximum(mean_square, 1e-300))
    score = score.fillna(-np.inf)
    weights = np.exp(score - score.max())
    weights = weights / weights.sum()
    frame = pd.DataFrame(
        {
            "parameters": free,
            "rows": [f.problem.n for f in fits.values()],
            "aicc": criterion,
            "rolling_rmse": np.nan if mean_square is None else np.sqrt(mean_square),
            "weight": weights,
            "admissible": _admissible(forms, rolled, weights) | (untold and not rolled.origins),
        },
        index=pd.Index(forms, name="form"),
    )
    return frame.sort_values("weight", ascending=False), weights


def _admissible(forms: list[str], rolled: Rolled, weights: pd.Series[float]) -> NDArray[np.bool_]:
    """Within two standard errors of the best rolling-origin error (paired by forecast)."""
    if not rolled.origins:
        return (weights > 0).reindex(forms).to_numpy()
    table = rolled.errors.assign(row=rolled.errors.groupby("form").cumcount())
    squares = table.pivot(index=["origin", "row"], columns="form", values="error")[forms] ** 2
    # Forecasts from one origin share a fit: origins are the units of the standard error.
    per_origin = squares.groupby("origin").mean()
    best = per_origin.mean().idxmin()
    gap = per_origin.sub(per_origin[best], axis=0)
    se = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else gap.abs().mean()
    inside = gap.mean() <= 2 * se.fillna(0.0) + 1e-300
    return inside.reindex(forms).to_numpy(dtype=bool)
