"""Which runs to make next: those that tell most about the asked answer for a GPU-hour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.chains import position_of
from scaling_laws.decide.asking import check_positive, check_share, decisive_run, row_of, words_of
from scaling_laws.decide.draws import Fitted, Joint, joint_of, main_fit
from scaling_laws.decide.reduction import Batch, alone, best_batch, gather
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.forecast import Forecast
from scaling_laws.points import table_of, typical
from scaling_laws.result import Fit
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Proposal", "next_runs"]

Array = NDArray[np.float64]
Asked = Mapping[str, Any] | pd.DataFrame | Callable[[Fit], float]
Cost = str | float | Sequence[float] | Array | pd.Series | Callable[[pd.DataFrame], Any]

# Without a number or a budget: a batch that a person would look through.
_BATCH = 5
# A batch that removes less of the answer's variance than this is not worth its hours.
_LITTLE = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class Proposal(Result):
    """The runs to make next; `frame` has all candidates, the chosen first in their order."""

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what each candidate tells against what it costs; returns the Axes."""
        from scaling_laws.plot.plans import plot_next_runs

        return plot_next_runs(self, ax)


def next_runs(
    fitted: Fitted,
    candidates: pd.DataFrame,
    *,
    question: Asked,
    cost: Cost = "gpu_hours",
    n: int | None = None,
    budget: float | None = None,
    repeats: int = 1,
    level: float = 0.9,
) -> Proposal:
    """Propose runs that reduce the variance of an answer most for what they cost.

    A run at x with noise variance ``v(x)`` leaves ``Var(q) - Cov(q, m(x))^2 / (Var(m(x)) + v(x))``
    of the answer's variance ``Var(q)``, moments over the draws of the fit; those of a Forecast mix
    its forms, so that a run where forms disagree is worth something too. The batch is greedy, each
    run given those before it.

    Parameters
    ----------
    fitted : Fit or Forecast
    candidates : DataFrame
        A row a run that could be made: axes and factors, and the column of costs.
    question : mapping, DataFrame or callable
        A point whose score is asked, several (the sum of their variances is reduced), or
        ``question(fit) -> float`` for any other answer; it is asked of a fit a draw, so let it
        predict with ``interval=None``.
    cost : str, number, array or callable
        Column of the costs, the costs, or ``cost(candidates)``; GPU-hours as `plan` gives them.
    n : int, optional
        Runs at most; 5 where there is no `budget` either.
    budget : float, optional
        Cost at most.
    repeats : int
        How often a candidate may be run (seeds).
    level : float
        Of the interval of the answer now, and as it is expected after the batch.

    Returns
    -------
    Proposal
        ``frame``: the candidates, ``reduction`` (share of the answer's variance that this run
        removes alone), ``cost``, ``per_cost``, ``runs`` (times chosen), ``order`` (first time),
        ``left`` (share of variance left after it). ``values``: answer, ends now and expected.

    Raises
    ------
    ValueError
        If candidates, costs or limits can't be used; the sentence says what to write.
    NoInterval
        If the log cannot support an interval.

    Notes
    -----
    First-order Bayesian design with the draws as prior (Chaloner & Verdinelli 1995, Statistical
    Science 10, section 3); greedy batches under a budget after Khuller, Moss & Naor 1999.
    """
    _check(fitted, candidates, n, budget, repeats)
    check_share(level, "level")
    costs = _costs(candidates, cost)
    most = _BATCH if n is None and budget is None else n
    joint = joint_of(fitted)
    asked, answer = _question(joint, question)
    beliefs = gather(asked, lambda rows: _curves(joint, candidates.iloc[rows]), len(candidates))
    if not float((beliefs.question**2).sum()) > 0:
        raise ValueError(
            "next_runs: the answer is the same in every draw, so that no run can tell more of it; "
            "ask at another point."
        )
    noise = _noise(fitted, candidates)
    size = most if most is not None else repeats * len(candidates)
    limit = np.inf if budget is None else float(budget)
    batch = best_batch(beliefs, noise, costs, size, limit, repeats)
    frame = _table(candidates, alone(beliefs, noise), costs, batch)
    return _result(joint, frame, batch, asked, answer, level, question, budget)


# --- what is believed -----------------------------------------------------------------------------
def _curves(joint: Joint, points: pd.DataFrame) -> Array:
    """Draws of the curve ``[rows, draws]``, on the residual scale."""
    name = joint.names[0]
    values = joint.values(name, points)
    return np.log(values) if main_fit(joint.fits[name]).model.link.kind == "log" else values


def _question(joint: Joint, question: Asked) -> tuple[Array, float | None]:
    """Return draws of the answers ``[answers, draws]``, and the answer where it is one number."""
    name = joint.names[0]
    fitted = joint.fits[name]
    if callable(question):
        values = np.empty(joint.count)
        for form in joint.forms[name]:
            one = form.fit
            values[form.at] = [
                question(replace(one, estimate=replace(one.estimate, theta=theta)))
                for theta in one.draws.theta
            ]
        if (bad := ~np.isfinite(values)).any():
            raise ValueError(
                f"next_runs: the question has no finite answer in {int(bad.sum())} of "
                f"{len(values)} draws; ask for one that has, such as a score."
            )
        return values[None], float(question(main_fit(fitted)))
    points = table_of(main_fit(fitted).problem, question, {})
    values = _curves(joint, points)
    if len(points) > 1:
        return values, None
    return values, float(joint.estimate(name, points)[0])


def _noise(fitted: Fitted, candidates: pd.DataFrame) -> Array:
    """Variance of one run's score about the curve, evaluation included, on the residual scale."""
    best = main_fit(fitted)
    run = np.full(len(candidates), float(np.median(best.draws.run_variance)))
    chains = best.estimate.chains
    if chains is not None and "kept" in candidates.columns:
        seen = best.problem.frame["kept"].to_numpy(dtype=float)
        place = position_of(chains, seen, candidates["kept"].to_numpy(dtype=float))
        run *= chains.rho * place + 1.0 - chains.rho
    mean = fitted.predict(candidates, interval=None)["estimate"].to_numpy(dtype=float)
    metric, problem = best.metric, best.problem
    evaluation = np.zeros(len(candidates))
    items = typical(candidates, metric.n, problem.items)
    se = typical(candidates, metric.se, problem.se)
    if metric.noise == "proportion" and items is not None:
        share = (np.clip(mean, 0.0, 1.0) * items + 1.0) / (items + 2.0)
        evaluation = share * (1.0 - share) / items
    elif se is not None:
        evaluation = se**2
    if best.model.link.kind == "log":
        evaluation = evaluation / np.maximum(mean, 1e-300) ** 2
    return run + evaluation


# --- input and output -----------------------------------------------------------------------------
def _check(fitted: Any, candidates: Any, n: int | None, budget: float | None, repeats: int) -> None:
    if not isinstance(fitted, Fit | Forecast):
        raise ValueError(
            f"next_runs: {type(fitted).__name__} is neither a Fit nor a Forecast; pass what sl.fit "
            "returns, or .forecast of what sl.choose returns."
        )
    if not isinstance(candidates, pd.DataFrame) or not len(candidates):
        raise ValueError(
            "next_runs: candidates must be a DataFrame with a row a run that could be made, such "
            "as sl.decide.plan(...).frame."
        )
    for name, value in (("n", n), ("repeats", repeats)):
        if value is not None and not (value >= 1 and float(value).is_integer()):
            raise ValueError(f"next_runs: {name} = {value} is not 1 or more, a whole number.")
    if budget is not None:
        check_positive(budget, "budget", "write a cost, or leave it out for no limit")


def _costs(candidates: pd.DataFrame, cost: Cost) -> Array:
    if isinstance(cost, str):
        if cost not in candidates.columns:
            raise ValueError(
                f"next_runs: the candidates have no column {cost!r}; price them with "
                "sl.decide.plan, or pass cost= a number, an array or a function of candidates."
            )
        given: Any = candidates[cost]
    else:
        given = cost(candidates) if callable(cost) else cost
    costs = np.asarray(given, float)
    costs = np.full(len(candidates), float(costs)) if costs.ndim == 0 else costs
    if costs.shape != (len(candidates),):
        raise ValueError(
            f"next_runs: cost has {costs.size} values for {len(candidates)} candidates; give one a "
            "candidate."
        )
    if not (np.isfinite(costs) & (costs > 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(costs) & (costs > 0)))[0])
        raise ValueError(
            f"next_runs: the cost of candidate {row} is {costs[row]}; costs must be positive."
        )
    return costs


def _table(candidates: pd.DataFrame, reduction: Array, costs: Array, batch: Batch) -> pd.DataFrame:
    n = len(candidates)
    order, left = np.full(n, np.nan), np.full(n, np.nan)
    times = np.zeros(n, int)
    for place, (row, share) in enumerate(zip(batch.rows, batch.left, strict=True), start=1):
        times[row] += 1
        if np.isnan(order[row]):
            order[row], left[row] = place, share
    frame = candidates.assign(
        reduction=reduction, cost=costs, per_cost=reduction / costs, runs=times, order=order,
        left=left,
    )  # fmt: skip
    return frame.sort_values(["order", "per_cost"], ascending=[True, False], kind="stable")


def _result(
    joint: Joint, frame: pd.DataFrame, batch: Batch, asked: Array, answer: float | None,
    level: float, question: Asked, budget: float | None,
) -> Proposal:  # fmt: skip
    best = main_fit(joint.fits[joint.first])
    axes = [*(a.name for a in best.law.axis_list()), *best.law.by]
    share = batch.left[-1] if batch.left else 1.0
    values: dict[str, Any] = {
        "runs": len(batch.rows), "cost": batch.cost, "variance_left": share,
        "width_ratio": float(np.sqrt(share)),
    }  # fmt: skip
    notes = [Note("first_order", "info", _FIRST_ORDER)]
    if answer is not None:
        log = best.model.link.kind == "log" and not callable(question)
        values |= _ends(asked[0], answer, share, level, log)
    chosen = frame[frame["runs"] > 0]
    notes += [*_far(best, question), *_far_runs(joint, chosen)]
    if not len(chosen):
        words = "no candidate tells anything of the answer within the budget"
    else:
        words = "; ".join(_words(row, axes) for row in chosen.head(5).to_dict("records"))
        more = len(chosen) - 5
        words += f"; and {more} more" if more > 0 else ""
        words += (
            f": {number(batch.cost)} in all, the interval shrinks to about "
            f"{np.sqrt(share):.0%} of its width"
        )
    if share > 1.0 - _LITTLE:
        sentence = (
            f"The batch removes {1 - share:.1%} of the answer's variance. Offer candidates nearer "
            "to the asked point, or a larger budget."
        )
        notes.append(Note("little_to_learn", "warning", sentence))
    limit = "" if budget is None else f" within {number(float(budget))}"
    return Proposal(
        question=f"Which runs tell most of {_asked_words(question, best)} for their cost{limit}?",
        answer=words[0].upper() + words[1:] + ".",
        frame=frame,
        view=View("cost", "reduction", style="points", log_x=True),
        values=values,
        found=len(chosen) > 0,
        reason=partial(_why, joint, words, frame, question),
        notes=(*joint.left_out, *notes),
    )


_FIRST_ORDER = (
    "Expected reductions are first order in the draws, under the fitted forms and their noise; "
    "what a run really tells depends on its score."
)


def _ends(drawn: Array, answer: float, share: float, level: float, log: bool) -> dict[str, float]:
    low, high = (float(e[0]) for e in quantile_pair(drawn[None].copy(), level))
    centre = float(np.log(answer)) if log else answer
    root = float(np.sqrt(share))
    ends = [low, high, centre + root * (low - centre), centre + root * (high - centre)]
    if log:
        ends = [float(np.exp(e)) for e in ends]
    return dict(
        zip(
            ("answer", "low", "high", "expected_low", "expected_high"), [answer, *ends], strict=True
        )
    )


def _far(best: Fit, question: Asked) -> tuple[Note, ...]:
    """Say how far beyond the log the asked point lies, or the farthest of several."""
    if callable(question):
        return ()
    points = table_of(best.problem, question, {})
    distance = best.predict(points)["distance"].to_numpy(dtype=float)
    row = int(np.argmax(distance))
    if not distance[row] > 0:
        return ()
    sentence = (
        f"The question, {words_of(row_of(points, row))}, lies {distance[row]:.2g} of its log-range "
        "beyond the log, where a wrong form errs more than its draws say; a run at the asked point "
        "itself is the only check of the form there."
    )
    return (Note("outside", "info", sentence),)


def _far_runs(joint: Joint, chosen: pd.DataFrame) -> tuple[Note, ...]:
    """Say how far beyond the log the runs lie that are chosen."""
    far = joint.support(chosen)["distance"].to_numpy(dtype=float) if len(chosen) else np.zeros(1)
    k = int((far > 0).sum())
    if not k:
        return ()
    sentence = (
        f"Of {len(chosen)} chosen runs {k} {'lies' if k == 1 else 'lie'} beyond the log, the "
        f"farthest by {far.max():.2g} of its log-range: what such a run is expected to tell rests "
        "on the form."
    )
    return (Note("runs_outside", "info", sentence),)


def _words(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    at = ", ".join(
        f"{a} {row[a]}" if isinstance(row[a], str) else f"{a} {number(float(row[a]))}" for a in axes
    )
    times = int(row["runs"])
    return f"{at} ({number(float(row['cost']))}{f', {times} times' if times > 1 else ''})"


def _asked_words(question: Asked, best: Fit) -> str:
    if callable(question):
        return "the question"
    points = table_of(best.problem, question, {})
    if len(points) > 1:
        return f"{best.metric.name} at {len(points)} points"
    row = points.iloc[0].to_dict()
    at = ", ".join(
        f"{k} {v}" if isinstance(v, str) else f"{k} {number(float(v))}" for k, v in row.items()
    )
    return f"{best.metric.name} at {at}"


def _why(joint: Joint, words: str, frame: pd.DataFrame, question: Asked) -> Why:
    best = main_fit(joint.fits[joint.first])
    run = ""
    if not isinstance(question, pd.DataFrame):
        run = decisive_run(joint, joint.first, question, "the answer")
    elif len(question) == 1:
        run = decisive_run(joint, joint.first, row_of(question, 0), "the answer")
    after = frame[frame["runs"] == 0].head(1)
    axes = [*(a.name for a in best.law.axis_list()), *best.law.by]
    change = ""
    if len(after):
        change = f"Next in line is {_words(after.to_dict('records')[0], axes)}"
    return Why(words, None, run, change)
