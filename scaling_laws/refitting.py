"""Fits that come of a fit: with further runs, or its exponents on runs of another setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.constraints import Constraints, Rule
from scaling_laws.estimate import estimate
from scaling_laws.halfwild import NoInterval
from scaling_laws.inherited import keeps_noise, scatter
from scaling_laws.model import Model
from scaling_laws.problem import as_log, build, level_codes
from scaling_laws.result import Fit
from scaling_laws.runs import Note, RunLog

__all__ = ["transfer", "update"]

# Scatter of transferred runs that chance explains less often than this is told.
_RARE = 0.05


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


def _refit(fitted: Fit, log: RunLog, constraints: Constraints, keep: Model | None) -> Fit:
    settings = fitted.settings
    local = not constraints.needs_printed_scale(fitted.law)
    problem = build(
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
