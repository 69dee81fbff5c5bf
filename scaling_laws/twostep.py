"""A score in two steps: the loss from its scaling law, the score from the loss.

Beside it the direct way, one law of the score itself; a hold-out says which forecasts better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.halfwild import NoInterval
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric
from scaling_laws.points import table_of, typical
from scaling_laws.problem import as_log, level_codes, pick_metric
from scaling_laws.result import Fit, Interval
from scaling_laws.runs import Note, RunLog
from scaling_laws.uncertainty import NewRuns, as_generator, quantile_pair, values_at
from scaling_laws.validation import Holdout, hardest_rows, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Steps", "TwoStep", "compare_steps", "two_step"]

Array = NDArray[np.float64]

# Rows whose draws are held at once: 1000 draws each.
_CHUNK = 1500


@dataclass(frozen=True, eq=False)
class TwoStep:
    """``score = link(loss(axes))``; predicts like a `Fit`.

    Attributes
    ----------
    loss : Fit
        The loss against sizes and data.
    link : Fit
        The score against the loss.
    axis : str
        Column of the loss.
    """

    loss: Fit
    link: Fit
    axis: str

    @property
    def metric(self) -> Metric:
        """The score."""
        return self.link.metric

    @property
    def training_index(self) -> pd.Index[Any]:
        """Rows of the log behind the link."""
        return self.link.training_index

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Parameters of both steps, as in `Fit.parameters`."""
        return pd.concat({"loss": self.loss.parameters, "link": self.link.parameters},
                         names=["step", "parameter"])  # fmt: skip

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """Notes of both steps, each named."""
        steps = (("loss", self.loss), ("link", self.link))
        return tuple(
            Note(n.code, n.severity, f"{step}: {n.sentence}") for step, one in steps
            for n in one.notes
        )  # fmt: skip

    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | None = None,
        interval: Interval | None = "mean",
        level: float = 0.9,
        *,
        rng: Any = None,
        **axes: Any,
    ) -> pd.DataFrame:
        """Predict the score from the axes of the loss law.

        A column of observed losses plays no part: the loss is predicted too.

        Parameters
        ----------
        data, interval, level, rng, **axes
            As in `Fit.predict`; `run` and `score` carry the run-to-run noise of the loss and that
            of the score at a given loss.

        Returns
        -------
        DataFrame
            The points, ``estimate, low, high``, ``distance`` (the larger of both steps': axes
            beyond the log, predicted loss beyond the losses seen) and ``support``.
        """
        points = table_of(self.loss.problem, data, axes)
        first = self.loss.predict(points, interval=None if interval is None else "mean")
        between = points.assign(**{self.axis: first["estimate"].to_numpy()})
        second = self.link.predict(between, interval=None if interval is None else "mean")
        out = points.assign(estimate=second["estimate"].to_numpy())
        if interval is None:
            return out
        out["low"], out["high"] = self._ends(points, interval, level, rng)
        out["distance"] = np.maximum(first["distance"].to_numpy(), second["distance"].to_numpy())
        worst = np.maximum(_ranked(first["support"]), _ranked(second["support"]))
        out["support"] = [_SUPPORT[i] for i in worst]
        out.attrs["notes"] = (*first.attrs["notes"], *second.attrs["notes"], *self._beyond(out))
        return out

    def _beyond(self, out: pd.DataFrame) -> Iterator[Note]:
        """Tell of scores that no model can have: an exponential link knows no best score."""
        top = np.inf if self.metric.top is None else self.metric.top
        count = int(((out["estimate"] > top) | (out["estimate"] < 0)).sum())
        if count:
            yield Note(
                "impossible_score",
                "warning",
                f"{count} of {len(out)} predicted scores lie outside 0 to {top:g}: the link is "
                "extrapolated beyond the losses that it holds for.",
            )

    def draws_at(self, points: pd.DataFrame, interval: Interval = "mean", rng: Any = 0) -> Array:
        """Return draws of the score ``[rows, draws]``: each draw of the link at its draw of loss.

        Raises
        ------
        NoInterval
            If the log cannot support an interval of either step.
        """
        source = as_generator(rng)
        kind: Interval = "mean" if interval == "mean" else "run"
        losses = self.loss.draws_at(points, kind, source)
        link = self.link
        codes, _ = level_codes(points, link.law.by, link.model.levels)
        model = link.model.at(
            {self.axis: np.ascontiguousarray(losses.T)},
            np.broadcast_to(codes, losses.T.shape),
        )
        new = NewRuns(
            items=typical(points, self.metric.n, link.problem.items),
            se=typical(points, self.metric.se, link.problem.se),
        )
        return values_at(
            link.problem, link.estimate, link.draws, model, interval, source, new
        )  # fmt: skip

    def _ends(
        self, points: pd.DataFrame, interval: Interval, level: float, rng: Any
    ) -> tuple[Array, Array]:
        low, high = np.full(len(points), np.nan), np.full(len(points), np.nan)
        if any(isinstance(one.draws_or_reason, NoInterval) for one in (self.loss, self.link)):
            return low, high
        source = as_generator(self.loss.seed if rng is None else rng)
        for begin in range(0, len(points), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            values = self.draws_at(points.iloc[part], interval, source)
            low[part], high[part] = quantile_pair(values, level)
        return low, high

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the link: the score against the loss, with intervals; returns the Axes."""
        return self.link.plot(ax, **options)

    def __repr__(self) -> str:
        from scaling_laws.show_twostep import two_step_text

        return two_step_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_twostep import two_step_html

        return two_step_html(self)


_SUPPORT = ("inside", "corner", "outside")


def _ranked(support: pd.Series[str]) -> NDArray[np.intp]:
    return np.array([_SUPPORT.index(s) for s in support], np.intp)


def two_step(
    loss_law: Law,
    link_law: Law,
    data: Any,
    metric: str | Metric,
    *,
    loss: str | Metric = "loss",
    columns: Mapping[str, Any] | None = None,
    where: Any = None,
    rng: int = 0,
    **options: Any,
) -> TwoStep:
    """Fit the loss against sizes and data, and the score against the loss.

    Parameters
    ----------
    loss_law : Law
        Of the loss, such as ``sl.laws.Chinchilla()``.
    link_law : Law
        Of the score, a function of the loss alone, such as ``sl.laws.LossToError()``.
    data : RunLog, DataFrame, path, or list of dict
        Runs with a loss; those with a score too make the link.
    metric : str or Metric
        The score.
    loss : str or Metric
        The loss.
    columns, where, **options
        As in `fit`; the same for both steps.
    rng : int
        Seed of the loss's draws; the link's are independent of them.

    Returns
    -------
    TwoStep

    Raises
    ------
    ValueError
        If the link is not a function of the loss alone, or either step cannot be fitted.
    """
    wanted, log = _prepared(data, metric, loss, columns, where)
    score, own = wanted
    if [a.name for a in link_law.axis_list()] != [own.name]:
        axes = ", ".join(a.name for a in link_law.axis_list())
        raise ValueError(
            f"link_law: {link_law!r} is a function of {axes}; the second step is one of "
            f"{own.name} alone."
        )
    return TwoStep(
        fit(loss_law, log, own, rng=rng, **options),
        fit(link_law, log, score, rng=rng + 1, **options),
        own.name,
    )


def _prepared(
    data: Any, metric: str | Metric, loss: str | Metric, columns: Any, where: Any
) -> tuple[tuple[Metric, Metric], RunLog]:
    score, own = (cast(Metric, pick_metric(m, data, None)) for m in (metric, loss))
    log = as_log(data, score, columns)
    return (score, own), log if where is None else log.select(where)


@dataclass(frozen=True, eq=False)
class Steps:
    """Two ways to forecast a score, judged on the same held-out runs.

    Attributes
    ----------
    two_step, direct : Holdout
    """

    two_step: Holdout
    direct: Holdout

    @property
    def frame(self) -> pd.DataFrame:
        """A row a way: `error`, `bias`, `coverage`, mean `width` of the intervals, `rows`, `scale`.

        ``error = mean |predicted / observed - 1|``, ``bias = mean(predicted / observed) - 1``, on
        the `scale` "relative"; where a score of 0 was observed (`Holdout.relative`) they are
        ``mean |predicted - observed|`` and ``mean(predicted - observed)``, in "points" of the
        score.
        """
        ways = {"two steps": self.two_step, "direct": self.direct}
        rows = {name: _row(held) for name, held in ways.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("way")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw observed against predicted of the two steps; returns the Axes."""
        return self.two_step.plot(ax)

    def __repr__(self) -> str:
        from scaling_laws.show_twostep import steps_text

        return steps_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_twostep import steps_html

        return steps_html(self)


def _row(held: Holdout) -> dict[str, Any]:
    frame = held.frame
    points = float((frame["estimate"] - frame["observed"]).mean())
    return {
        "error": float(held.errors["the law"]),
        "bias": held.bias if held.relative else points,
        "coverage": held.coverage,
        "width": float((frame["high"] - frame["low"]).mean()),
        "rows": len(frame),
        "scale": "relative" if held.relative else "points",
    }


def compare_steps(
    loss_law: Law,
    link_law: Law,
    direct_law: Law,
    data: Any,
    metric: str | Metric,
    *,
    loss: str | Metric = "loss",
    by: str,
    leave: int = 3,
    level: float = 0.9,
    columns: Mapping[str, Any] | None = None,
    where: Any = None,
    rng: int = 0,
    **options: Any,
) -> Steps:
    """Hold out the hardest runs and forecast their score in two steps, and directly.

    Parameters
    ----------
    loss_law, link_law, data, metric, loss, columns, where, rng, **options
        As in `two_step`.
    direct_law : Law
        Of the score itself, on the axes of the loss law.
    by : str
        Column that says what is hard: most parameters, tokens, examples or cost, least kept.
    leave : int
        Levels held out.
    level : float
        Of the intervals.

    Returns
    -------
    Steps
    """
    (score, own), log = _prepared(data, metric, loss, columns, where)
    whole = fit(direct_law, log, score, rng=rng, **options)
    hard = hardest_rows(log, by, whole, leave)
    # Neither loss nor score of a held-out size may be seen, also of runs without a score.
    values = log.frame[by].to_numpy(dtype=float, na_value=np.nan)
    size = -values if by == "kept" else values
    easy = log.select(~(hard | (size >= size[hard].min())))
    ways = (
        two_step(loss_law, link_law, easy, score, loss=own, rng=rng, **options),
        fit(direct_law, easy, score, rng=rng, **options),
    )
    judged = [judge(cast(Fit, w), whole, log, easy, hard, by, level) for w in ways]
    return Steps(*judged)
