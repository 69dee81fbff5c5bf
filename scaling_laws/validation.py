"""Hold out the hardest runs; choose among forms; combine them into a Forecast.

Everything here refits laws on some rows and looks at others. Rows are held out by size, data or
cost, never at random: what is asked of a scaling law lies beyond its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.forecast import Forecast, weigh
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric
from scaling_laws.misfit import lack_of_fit
from scaling_laws.problem import as_log, pick_metric
from scaling_laws.result import Fit
from scaling_laws.rolling import Rolled, held_axis, ordered_levels, roll
from scaling_laws.runs import Note, RunLog
from scaling_laws.shared import shared_models
from scaling_laws.verdict import Verdict, judge_problem

__all__ = ["Choice", "Forecast", "Holdout", "choose", "hardest_rows", "holdout", "judge", "rest_of"]

Array = NDArray[np.float64]
AnyLaw = Law | Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Holdout:
    """How a law did on runs it had not seen.

    Attributes
    ----------
    frame : DataFrame
        Held-out rows: observed, predicted, low, high, covered, ratio.
    by : str
        Column by which the hardest were held out.
    interval : {"run", "score"}
        Kind of the interval: one new evaluation where its noise is known, else one new run.
    level : float
    guesses : DataFrame
        What one would predict without a law: a row a held-out row, a column a guess.
    fitted : Fit or Forecast
        Fitted to the other rows.
    """

    frame: pd.DataFrame
    by: str
    interval: str
    level: float
    guesses: pd.DataFrame
    fitted: Fit | Forecast

    @property
    def relative(self) -> bool:
        """Whether errors have a share: a score of 0, as of a collapsed student, has none."""
        return bool((self.frame["observed"] != 0).all())

    @property
    def errors(self) -> pd.Series[float]:
        """Mean error of ``the law`` and of each guess without one.

        ``mean |predicted / observed - 1|``, or ``mean |predicted - observed|`` where a score of 0
        was observed (`relative`).
        """
        told = self.guesses.copy()
        told.insert(0, "the law", self.frame["estimate"])
        observed = self.frame["observed"]
        far = told.sub(observed, axis=0).abs()
        return (far.div(observed.abs(), axis=0) if self.relative else far).mean()

    @property
    def baselines(self) -> pd.Series[float]:
        """The `errors` without a law."""
        return self.errors.drop("the law")

    @property
    def are(self) -> float:
        """Mean absolute relative error, ``mean |predicted / observed - 1|``."""
        return float(np.abs(self.frame["ratio"] - 1.0).mean())

    @property
    def bias(self) -> float:
        """Mean relative error, ``mean(predicted / observed) - 1``."""
        return float(self.frame["ratio"].mean() - 1.0)

    @property
    def log_rmse(self) -> float:
        """Root mean square of ``log(predicted / observed)``."""
        return float(np.sqrt(np.mean(np.log(self.frame["ratio"]) ** 2)))

    @property
    def rmse(self) -> float:
        """Root mean square of ``predicted - observed``."""
        return float(np.sqrt(np.mean((self.frame["estimate"] - self.frame["observed"]) ** 2)))

    @property
    def coverage(self) -> float:
        """Share of held-out scores inside their interval."""
        return float(self.frame["covered"].mean())

    def plot(self, ax: Any = None) -> Any:
        """Draw observed against predicted with intervals; returns the Axes."""
        from scaling_laws.plot import plot_holdout

        return plot_holdout(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_validation import holdout_text

        return holdout_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_validation import holdout_html

        return holdout_html(self)


@dataclass(frozen=True, eq=False)
class Choice:
    """Several forms side by side.

    Attributes
    ----------
    fits : dict of str to Fit
        Every form fitted to all rows.
    failed : dict of str to str
        Forms that could not be fitted, with the reason.
    rolled : Rolled
        Rolling-origin forecasts of every form.
    forecast : Forecast
        Their mixture.
    verdicts : tuple of Verdict
        One for each axis: is there a law at all?
    frame : DataFrame
        A row a form: parameters, AICc, rolling-origin error, weight, whether admissible.
    """

    fits: Mapping[str, Fit]
    failed: Mapping[str, str]
    rolled: Rolled
    forecast: Forecast
    verdicts: tuple[Verdict, ...]
    frame: pd.DataFrame = field(repr=False)

    @property
    def best(self) -> Fit:
        """The form with the largest weight."""
        return self.fits[str(self.frame["weight"].idxmax())]

    @property
    def verdict(self) -> Verdict:
        """Verdict on the axis that was rolled along."""
        return next(v for v in self.verdicts if v.axis == self.rolled.axis)

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """Notes on the choice, then those of the best form."""
        own = [
            Note(
                "forms_tried",
                "info",
                f"{len(self.fits) + len(self.failed)} forms were tried on "
                f"{self.best.problem.n} rows.",
            )
        ]
        own += [
            Note("verdict", "info" if v.kind == "law" else "warning", f"{v.axis}: {v}")
            for v in self.verdicts
        ]
        own += [Note("form_failed", "warning", f"{k}: {why}") for k, why in self.failed.items()]
        own += _none_fits(self.fits)
        if not len(self.rolled.errors):
            own.append(
                Note(
                    "no_rolling_origin",
                    "warning",
                    f"{self.rolled.axis} has too few levels to forecast any of them from the "
                    "others; forms are weighed by AICc alone.",
                )
            )
        return (*own, *self.best.notes)

    def plot(self, ax: Any = None) -> Any:
        """Draw the forms and the forecast; returns the Axes."""
        from scaling_laws.plot import plot_choice

        return plot_choice(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_validation import choice_text

        return choice_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_validation import choice_html

        return choice_html(self)


def choose(
    laws: Iterable[AnyLaw],
    data: Any,
    metric: str | Metric | None = None,
    *,
    by: str | None = None,
    columns: Mapping[str, Any] | None = None,
    rng: Any = 0,
    **options: Any,
) -> Choice:
    """Fit several forms, forecast each level from easier ones, and weigh the forms.

    ``weight ~ exp(-AICc / 2) * (rolling mean squared error)^(-origins / 2)``: what the form says of
    the rows it saw times what its forecasts were worth.

    Parameters
    ----------
    laws : iterable of Law
        The candidates.
    data, metric, columns, rng, **options
        As in `fit`.
    by : str, optional
        Axis to roll along; default the law's data axis, else the axis with most levels.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If no form can be fitted; the sentence lists why for each.
    """
    wanted = pick_metric(metric, data, options.get("link"))
    log = as_log(data, wanted, columns)
    where = options.pop("where", None)
    log = log if where is None else log.select(where)
    fits: dict[str, Fit] = {}
    failed: dict[str, str] = {}
    for law in laws:
        label = _label(law, {**fits, **failed})
        try:
            fits[label] = fit(law, log, wanted, rng=rng, **options)
        except ValueError as why:
            failed[label] = str(why)
    if not fits:
        raise ValueError(
            "no form can be fitted: " + " ".join(f"{k}: {v}" for k, v in failed.items())
        )
    axis = held_axis(list(fits.values()), by)
    rolled = roll(fits, log, axis, options)
    frame, weights = weigh(fits, rolled)
    generator = np.random.default_rng(next(iter(fits.values())).seed)
    first = max(fits.values(), key=lambda f: f.problem.n)
    axes = dict.fromkeys(a.name for one in fits.values() for a in one.law.axis_list())
    verdicts = tuple(
        judge_problem(first.problem, a, generator) for a in axes if a in first.problem.frame.columns
    )
    forecast = Forecast(fits, weights, rolled, verdicts, tuple(frame.index[frame["admissible"]]))
    return Choice(fits, failed, rolled, forecast, verdicts, frame)


def _none_fits(fits: Mapping[str, Fit]) -> Iterator[Note]:
    """Weights rank the forms that were tried; where pure error rejects every one, say so."""
    tests = {k: lack_of_fit(one.problem, one.estimate) for k, one in fits.items()}
    found = {k: test for k, test in tests.items() if test is not None and test.rejected}
    if len(found) < len(fits):
        return
    least = min(found, key=lambda k: found[k].f)
    yield Note(
        "no_form_fits",
        "warning",
        f"No form fits: each misses the means of configurations by more than their runs scatter "
        f"(least {least}, F = {found[least].f:.2g}, p = {found[least].p_value:.2g}). Weights and "
        "verdict compare what was tried; try another form.",
    )


def _label(law: AnyLaw, taken: Mapping[str, Any]) -> str:
    label = repr(law) if isinstance(law, Law) else getattr(law, "__name__", repr(law))
    label = label.removesuffix("()")
    n, base = 2, label
    while label in taken:
        label, n = f"{base} #{n}", n + 1
    return label


def holdout(
    law: AnyLaw | Sequence[AnyLaw],
    data: Any,
    metric: str | Metric | None = None,
    *,
    by: str | None = None,
    leave: int | None = None,
    train: float | None = None,
    level: float = 0.9,
    columns: Mapping[str, Any] | None = None,
    **options: Any,
) -> Holdout:
    """Hold out the hardest runs, fit the rest, and compare.

    Parameters
    ----------
    law : Law, function, or sequence of them
        Several: `choose` runs on the training rows alone and its Forecast is judged.
    data, metric, columns, **options
        As in `fit`.
    by : str, optional
        Column that says what is hard: most examples, parameters or cost, least kept. Default the
        law's data axis, else its axis with most levels.
    leave : int, optional
        Hold out that many hardest levels (3 by default).
    train : float, optional
        Instead: train on rows up to this quantile of `by`.
    level : float
        Of the interval.

    Returns
    -------
    Holdout

    Raises
    ------
    ValueError
        If nothing is left to train on or to hold out.
    """
    if leave is not None and train is not None:
        raise ValueError("holdout takes leave= or train=, not both.")
    several = isinstance(law, Sequence)
    laws = list(cast(Sequence[AnyLaw], law)) if several else [law]
    wanted = pick_metric(metric, data, options.get("link"))
    log = as_log(data, wanted, columns)
    where = options.pop("where", None)
    log = log if where is None else log.select(where)
    whole = fit(laws[0], log, wanted, **options)
    axis = by or held_axis([whole], None)
    hard = hardest_rows(log, axis, whole, 3 if leave is None else leave, train)
    easy = rest_of(log, hard)
    if several:
        fitted: Fit | Forecast = choose(laws, easy, wanted, **options).forecast
    else:
        fitted = fit(laws[0], easy, wanted, **options)
    return judge(fitted, whole, log, easy, hard, axis, level)


def hardest_rows(
    log: RunLog, by: str, whole: Fit, leave: int, train: float | None = None
) -> NDArray[np.bool_]:
    """Return the mask of the rows to hold out, among those that `whole` could use.

    Raises
    ------
    ValueError
        If nothing would be left to train on or to hold out.
    """
    if by not in log.frame.columns:
        raise ValueError(
            f"by: the log has no column {by!r}; it has {', '.join(log.frame.columns)}."
        )
    used = whole.problem.frame.index
    values = log.frame[by].to_numpy(dtype=float, na_value=np.nan)
    hardness = -values if by == "kept" else values
    seen = hardness[log.frame.index.isin(used)]
    if train is not None:
        if not 0 < train < 1:
            raise ValueError(f"train = {train!r} is not in (0, 1); it is the share of rows to fit.")
        cut = float(np.quantile(seen, train))
        hard = hardness > cut
    else:
        levels = ordered_levels(seen)
        if leave < 1 or leave >= len(levels):
            raise ValueError(
                f"leave = {leave}: {by} has {len(levels)} levels; leave between 1 and "
                f"{len(levels) - 1}."
            )
        hard = hardness >= levels[-leave]
    hard &= log.frame.index.isin(used)
    if not hard.any():
        raise ValueError(f"nothing is held out: no row lies above the cut of {by}.")
    return hard


def rest_of(log: RunLog, hard: NDArray[np.bool_]) -> RunLog:
    """Return the log without the rows held out, and without those that repeat their model."""
    models = shared_models(log.frame)
    return log.select(~(hard | np.isin(models, models[hard & (models >= 0)])))


def judge(
    fitted: Fit | Forecast,
    whole: Fit,
    log: RunLog,
    easy: RunLog,
    hard: NDArray[np.bool_],
    by: str,
    level: float,
) -> Holdout:
    """Compare what was fitted to the `easy` rows with the `hard` ones of the whole log."""
    held = log.frame[hard]
    name = whole.metric.name
    interval = "score" if whole.problem.known else "run"
    predicted = fitted.predict(held, interval=interval, level=level)
    observed = held[name].to_numpy(dtype=float)
    frame = predicted[[c for c in predicted.columns if c in held.columns or c in _SHOWN]].copy()
    frame.insert(len(frame.columns), "observed", observed)
    frame["covered"] = (observed >= frame["low"]) & (observed <= frame["high"])
    frame["ratio"] = frame["estimate"] / observed
    return Holdout(frame, by, interval, level, _guesses(fitted, easy, held, by, name), fitted)


_SHOWN = ("estimate", "low", "high", "distance", "support")


def _guesses(
    fitted: Fit | Forecast, easy: RunLog, held: pd.DataFrame, by: str, name: str
) -> pd.DataFrame:
    """Return guesses that need no law."""
    metric = fitted.metric
    train = easy.frame.loc[fitted.training_index]
    y = train[name].to_numpy(dtype=float)
    x = train[by].to_numpy(dtype=float)
    x_new = held[by].to_numpy(dtype=float)
    best = float(y.max() if metric.direction == "higher" else y.min())
    hardest = x.min() if by == "kept" else x.max()
    guesses = {
        "best seen so far": np.full(len(x_new), best),
        "hardest level seen": np.full(len(x_new), float(y[x == hardest].mean())),
        "mean": np.full(len(x_new), float(y.mean())),
    }
    if (x > 0).all() and (x_new > 0).all() and np.ptp(x) > 0:
        positive = bool((y > 0).all())
        line = np.polynomial.Polynomial.fit(np.log(x), np.log(y) if positive else y, 1)
        guess = np.asarray(line(np.log(x_new)), float)
        guesses["straight line in log"] = np.exp(guess) if positive else guess
    return pd.DataFrame(guesses, index=held.index)
