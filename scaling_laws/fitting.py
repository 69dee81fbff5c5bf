"""The verbs that make fits: `fit`, `fit_each`, `update`, `transfer`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any, SupportsIndex, cast

import numpy as np
import pandas as pd

from scaling_laws.constraints import Constraints, Rule, parse
from scaling_laws.estimate import estimate
from scaling_laws.halfwild import NoInterval
from scaling_laws.inherited import keeps_noise, scatter
from scaling_laws.laws.base import Law, from_function
from scaling_laws.metrics import Metric
from scaling_laws.problem import Problem, as_log, build, level_codes, pick_metric
from scaling_laws.result import Fit
from scaling_laws.runs import Note, RunLog

__all__ = ["FitTable", "fit", "fit_each", "transfer", "update"]

# Scatter of transferred runs that chance explains less often than this is told.
_RARE = 0.05
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


@dataclass(frozen=True, eq=False)
class FitTable:
    """Fits by group.

    Attributes
    ----------
    fits : dict
        Group key -> Fit.
    failed : dict
        Group key -> the sentence why it could not be fitted.
    by : tuple of str
    """

    fits: Mapping[Any, Fit]
    failed: Mapping[Any, str]
    by: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A row a group: parameters, objective, rows, and why a group failed."""
        rows: list[dict[str, Any]] = []
        for key, one in self.fits.items():
            rows.append(
                {
                    **self._key(key),
                    **one.values,
                    "objective": one.objective,
                    "rows": one.problem.n,
                    "failed": "",
                }
            )
        rows += [{**self._key(key), "failed": why} for key, why in self.failed.items()]
        return pd.DataFrame(rows).set_index(list(self.by))

    def _key(self, key: Any) -> dict[str, Any]:
        values = cast(tuple[Any, ...], key if isinstance(key, tuple) else (key,))
        return dict(zip(self.by, values, strict=True))

    def predict(self, **options: Any) -> pd.DataFrame:
        """Predict every group at the same points; the group's key comes first."""
        parts = [one.predict(**options).assign(**self._key(k)) for k, one in self.fits.items()]
        table = pd.concat(parts, ignore_index=True)
        return table[[*self.by, *(c for c in table.columns if c not in self.by)]]

    def __len__(self) -> int:
        return len(self.fits)

    def __getitem__(self, key: Any) -> Fit:
        return self.fits[key]

    def __repr__(self) -> str:
        return (
            f"{len(self.fits)} fits by {', '.join(self.by)}, {len(self.failed)} failed\n"
            f"{self.frame}"
        )

    def _repr_html_(self) -> str:
        return self.frame.to_html()


def fit_each(
    law: Law | Callable[..., Any],
    data: Any,
    metric: str | Metric | None = None,
    *,
    by: str | Sequence[str],
    columns: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> FitTable:
    """Fit the law to every group on its own.

    Parameters
    ----------
    by : str or sequence of str
        Columns whose combinations are the groups.
    progress : bool, optional
        Show a bar; default where there are more than 200 groups.
    **options
        As in `fit`.

    Returns
    -------
    FitTable
        Groups that cannot be fitted are listed with the reason, not dropped.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    wanted = pick_metric(metric, data, options.get("link"))
    log = as_log(data, wanted, columns)
    for key in keys:
        if key not in log.frame.columns:
            raise ValueError(f"by: the log has no column {key!r}.")
    groups = log.frame.groupby(list(keys), sort=True, observed=True).indices
    items: Iterable[tuple[Any, Any]] = groups.items()
    if progress or (progress is None and len(groups) > 200):
        from tqdm.auto import tqdm

        items = tqdm(items, total=len(groups), desc="fits", unit="fit")
    fits: dict[Any, Fit] = {}
    failed: dict[Any, str] = {}
    for key, rows in items:
        if len(keys) == 1 and isinstance(key, tuple):
            key = cast(tuple[Any, ...], key)[0]
        mask = np.zeros(len(log.frame), bool)
        mask[rows] = True
        try:
            fits[key] = fit(law, log, wanted, where=mask, **options)
        except ValueError as why:
            failed[key] = str(why)
    return FitTable(fits, failed, keys)


def update(fitted: Fit, runs: Any) -> Fit:
    """Refit with further runs, everything else as it was asked.

    Parameters
    ----------
    fitted : Fit
    runs : RunLog, DataFrame, path, or list of dict
        Only the new runs.
    """
    new = as_log(runs, fitted.metric, None)
    old = fitted.problem.frame
    clash = [r for r in _ids(new.frame) if r in set(_ids(old))]
    if clash:
        raise ValueError(f"update: run_id {clash[0]!r} is already in the fit; pass only new runs.")
    both = pd.concat([old.sort_index(), new.frame], ignore_index=True)
    log = as_log(both, fitted.metric, None)
    # A transferred fit stays at the reference point where its exponents were kept.
    keep = None if fitted.base is None else fitted.model
    found = _refit(fitted, log, fitted.constraints, keep)
    # Rows of the first log are still left out; that its exponents are kept is told anew.
    told = {"transferred", *(n.sentence for n in found.problem.notes)}
    earlier = tuple(n for n in fitted.problem.notes if not told & {n.code, n.sentence})
    problem = replace(found.problem, notes=(*earlier, *found.problem.notes))
    return _with_noise(replace(found, problem=problem))


def transfer(fitted: Fit, runs: Any, free: Sequence[str] | None = None) -> Fit:
    """Keep the exponents, refit amplitudes on a few runs of another setting.

    Intervals count the uncertainty of what is kept, through the draws of `fitted`, and its
    run-to-run noise, unless the new runs are as many or scatter more.

    Parameters
    ----------
    fitted : Fit
    runs : RunLog, DataFrame, path, or list of dict
        One to three runs are enough for one to three free parameters.
    free : sequence of str, optional
        Parameters to refit; default the limit and amplitudes. All others keep their value, and the
        reference point stays where it was.

    Returns
    -------
    Fit
        With `fitted` as its `base`.

    Raises
    ------
    ValueError
        If there are fewer runs than free parameters.
    """
    law = fitted.law
    chosen = [n for n, p in law.params.items() if p.role != "shape"] if free is None else list(free)
    rules: dict[str, Rule] = {}
    for name in chosen:
        if name.split("[", 1)[0] not in law.params:
            raise ValueError(f"free: {name!r} is no parameter; there are {', '.join(law.params)}.")
    log = as_log(runs, fitted.metric, None)
    codes, _ = level_codes(log.frame, law.by, fitted.model.levels)
    present = {fitted.model.levels[int(c)] for c in codes}
    for name in fitted.model.names:
        base, _, level = name.partition("[")
        # A level without new runs keeps what it was.
        if not {name, base} & set(chosen) or (level and level[:-1] not in present):
            rules[name] = Rule(value=fitted.values[name], fixed=True)
    return _with_noise(replace(_refit(fitted, log, Constraints(rules), fitted.model), base=fitted))


def _with_noise(moved: Fit) -> Fit:
    """Give a transferred fit the noise of its base where it keeps it, and say so."""
    base = moved.base
    if base is None or isinstance(base.draws_or_reason, NoInterval):
        return moved
    rule = base.draws.pooling
    df = np.inf if rule is None else rule.df
    found, problem = moved.estimate, moved.problem
    own = not keeps_noise(problem, found, base.estimate, df)
    kept = ", ".join(name for name in moved.model.names if not moved.is_free(name))
    whose = "run-to-run noise is its own" if own else "so is the run-to-run noise"
    sentence = f"{kept} kept from {base.problem.n} other runs, with their uncertainty; {whose}."
    notes = [Note("transferred", "info", sentence)]
    if not own and (p := scatter(problem, found, base.estimate, df)) < _RARE:
        sentence = (
            f"The new runs scatter more about the kept exponents than the kept noise explains "
            f"(p = {p:.2g}): they may not have these exponents."
        )
        notes.append(Note("transfer_misfit", "warning", sentence))
    if base.estimate.chains is not None and not own:
        sentence = (
            "Errors accumulate along the chains of the kept fit; here a run counts one stage."
        )
        notes.append(Note("transferred_chains", "warning", sentence))
    problem = replace(problem, notes=(*problem.notes, *notes))
    variance = found.run_variance if own else base.estimate.run_variance
    return replace(moved, problem=problem, estimate=replace(found, run_variance=variance))


def _refit(fitted: Fit, log: RunLog, constraints: Constraints, keep: Any) -> Fit:
    settings = fitted.settings
    local = not constraints.needs_printed_scale(fitted.law)
    problem: Problem = build(
        fitted.law,
        log,
        fitted.metric,
        link=settings["link"],
        local=local,
        centre=None if keep is None else keep.frame.centre,
        levels=None if keep is None else keep.levels,
    )
    problem, found = estimate(
        problem, constraints, objective=settings["objective"], delta=settings["delta"]
    )
    return replace(
        fitted, problem=problem, estimate=found, constraints=constraints, source=log.source
    )


def _ids(frame: pd.DataFrame) -> list[str]:
    return [] if "run_id" not in frame.columns else list(frame["run_id"].dropna().astype(str))
