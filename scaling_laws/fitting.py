"""Fit a law to runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np

from scaling_laws.constraints import Constraints, parse
from scaling_laws.estimate import estimate
from scaling_laws.laws.base import Law, from_function
from scaling_laws.metrics import Metric
from scaling_laws.problem import as_log, build, pick_metric
from scaling_laws.result import Fit
from scaling_laws.runs import RunLog

__all__ = ["fit"]

_OBJECTIVES = ("huber", "squares")
_LINKS = ("log", "logit", "identity")


def fit(
    law: Law | Callable[..., Any],
    data: Any,
    metric: str | Metric | None = None,
    *,
    columns: Mapping[str, Any] | None = None,
    objective: str = "huber",
    delta: float | str = "auto",
    link: str | None = None,
    sigma: Any = None,
    weights: Any = None,
    cluster: Any = None,
    parameters: Any = None,
    prior: Mapping[str, tuple[float, float]] | None = None,
    starts: int = 64,
    where: Any = None,
    rng: Any = 0,
) -> Fit:
    """Fit a law to runs; no start values are asked.

    ``minimise sum_i w_i rho((y_i - m_i(theta)) / sd_i)`` with Huber's ``rho``. For scores ``m`` is
    the score itself and ``sd^2`` the evaluation variance at the fitted score plus the run-to-run
    variance, estimated; for losses ``y`` and ``m`` are logarithms.

    Parameters
    ----------
    law : Law or callable
        One of ``sl.laws``, a subclass of `Law`, or a plain function whose arguments are columns of
        the log and parameters.
    data : RunLog, DataFrame, path, or list of dict
        Anything `read_runs` takes.
    metric : str or Metric, optional
        Which score; may be left out where the log has one.
    columns : mapping, optional
        Canonical name -> column name, or callable of the frame.
    objective : {"huber", "squares"}
    delta : float or "auto"
        Huber's corner. ``auto``: 1.345 robust standard deviations of the residuals, least squares
        below 20 rows. A number is taken in residual units (log loss), as in the literature; where
        evaluation noise is known, in standard deviations of the row.
    link : {"log", "logit", "identity"}, optional
        Overrides the metric's.
    sigma : array, column name or number, optional
        Known whole standard deviation of each row, on the metric's scale.
    weights : array or column name, optional
        Multiplicities: 2 is a row twice.
    cluster : array or column name, optional
        Rows that share an error; default ``chain_id``, else the configuration.
    parameters : mapping or lmfit.Parameters, optional
        Fixed values, bounds, ties; see `constraints.parse`.
    prior : mapping, optional
        ``{name: (mean, sd)}``, normal on the parameter (on its logarithm's scale for log-scaled
        ones).
    starts : int
        Restarts of the certificate ``fit.starts``.
    where : callable, mapping or mask, optional
        Rows to use, as in `RunLog.select`.
    rng : int, Generator or RandomState
        Seed of draws and certificate.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        For missing columns, no usable rows, or fewer rows than free parameters.
    """
    _check_options(objective, delta, link, starts)
    wanted = pick_metric(metric, data, link)
    log = as_log(data, wanted, columns)
    if not len(log.frame):
        raise ValueError(f"{log.source}: no row of the log can be used.{_refused(log)}")
    chosen = wanted or _only_metric(log)
    made = law if isinstance(law, Law) else _from_callable(law, log, chosen)
    constraints = parse(parameters, prior)
    _check_names(constraints, made)
    constraints = constraints.beyond(made, link or chosen.link)
    problem = build(
        made,
        log,
        chosen,
        link=link,
        sigma=sigma,
        weights=weights,
        cluster=cluster,
        where=where,
        local=not constraints.needs_printed_scale(made),
    )
    try:
        problem, found = estimate(problem, constraints, objective=objective, delta=delta)
    except ValueError as why:
        lost = "".join(f" {n.sentence}" for n in problem.notes if n.code != "rejected_rows")
        raise ValueError(f"{why}{lost}{_refused(log)}") from None
    settings = {
        "objective": objective,
        "delta": delta,
        "link": link,
        "starts": int(starts),
        "level": 0.9,
    }
    return Fit(problem.model.law, problem, found, constraints, settings, _seed(rng), log.source)


def _check_options(objective: str, delta: float | str, link: str | None, starts: int) -> None:
    if objective not in _OBJECTIVES:
        raise ValueError(f"objective: {objective!r} is not one of {_listed(_OBJECTIVES)}.")
    if link is not None and link not in _LINKS:
        raise ValueError(
            f"link: {link!r} is not one of {_listed(_LINKS)}; leave it out for the metric's own."
        )
    if delta != "auto" and not (isinstance(delta, Real) and float(delta) > 0):
        raise ValueError(f"delta = {delta!r} must be positive, or 'auto'.")
    if starts < 1:
        raise ValueError(f"starts = {starts} must be 1 or more; 64 are the default.")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


def _refused(log: RunLog) -> str:
    """Say which rows the reader refused: what to mend where none or too few are left."""
    count = len(log.rejections)
    if not count:
        return ""
    words = "row was" if count == 1 else "rows were"
    return (
        f" {count} {words} rejected; the first: {log.rejections[0].reason} (Options such as units "
        "are those of sl.read_runs, whose .rejected lists them all.)"
    )


def _seed(rng: Any) -> int:
    if isinstance(rng, SupportsIndex):
        return int(rng)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, 2**31))
    if isinstance(rng, np.random.RandomState):
        return int(rng.randint(0, 2**31 - 1))
    raise TypeError(f"rng: {type(rng).__name__} is no seed, Generator or RandomState.")


def _only_metric(log: RunLog) -> Metric:
    present = [m for m in log.metrics if log.frame[m].notna().any()]
    if len(present) == 1:
        return log.schema.metrics[present[0]]
    if not present:
        raise ValueError(
            "the log has no score; name the column with metric= or columns=." + _refused(log)
        )
    raise ValueError(f"the log has several scores: say which with metric=, one of {present}.")


def _refuse_class(law: object) -> None:
    if isinstance(law, type) and issubclass(law, Law):
        raise TypeError(f"law: {law.__name__} is a class; write {law.__name__}().")


def _from_callable(function: Callable[..., Any], log: RunLog, metric: Metric) -> Law:
    _refuse_class(function)
    if not callable(function):
        raise TypeError(f"law: {function!r} is neither a Law nor a function.")
    names = list(inspect.signature(function).parameters)
    axes = [n for n in names if n in log.frame.columns and n != metric.name]
    if not axes:
        raise ValueError(
            f"no argument of {function!r} ({', '.join(names)}) is a "
            f"column of the log; it has {', '.join(log.frame.columns)}."
        )
    return from_function(function, axes)


def _check_names(constraints: Constraints, law: Law) -> None:
    for name in (*constraints.rules, *constraints.prior):
        if name.split("[", 1)[0] not in law.params:
            close = get_close_matches(name, law.params, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"{law.name} has no parameter {name!r}.{hint} It has {', '.join(law.params)}."
            )
