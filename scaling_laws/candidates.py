"""Which forms could describe the same runs: of a log, and beside a given law."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from scaling_laws import laws
from scaling_laws.laws import Law
from scaling_laws.laws.forgetting import ForgettingKind
from scaling_laws.laws.joint import Kind
from scaling_laws.runs import RunLog

__all__ = ["admissible_forms", "alternatives", "forms_for"]

_JOINT: tuple[Kind, ...] = ("additive", "multiplicative", "interaction", "rectified")
# Forms of one axis that stand for one another; few parameters, so that few runs can tell them
# apart.
_CURVES = (laws.Power, laws.Rectified)
_SIZES = (laws.Collapse, laws.Plateau)


def admissible_forms(runs: RunLog, by: Sequence[str] = ()) -> list[Law]:
    """Return every form that the log's axes admit.

    Parameters
    ----------
    runs : RunLog
    by : sequence of str
        Factor columns of every form.

    Raises
    ------
    ValueError
        If the log varies no axis that a form is a function of.
    """
    axes = {a for a in ("examples", "kept", "params", "tokens")
            if a in runs.frame.columns and runs.frame[a].nunique() > 1}  # fmt: skip
    factors = tuple(by)
    if {"examples", "kept"} <= axes:
        return [laws.Compressed(kind, by=factors) for kind in _JOINT]
    if {"params", "tokens"} <= axes:
        return [laws.Chinchilla(by=factors)]
    if "kept" in axes:
        return [form(by=factors) for form in _SIZES]
    for axis in ("examples", "tokens"):
        if axis in axes:
            return [form(axis, by=factors) for form in _CURVES]
    raise ValueError("the log varies none of examples, kept, params, tokens: name a law.")


def forms_for(runs: RunLog, metric: str) -> list[Law]:
    """Return the forms to weigh for one metric of distilled students, each by format.

    Those of `admissible_forms`, with two differences. General knowledge may fall with more examples
    too: forms that say so stand beside the others. Of the size alone, where there is one number of
    examples, each format has a collapse of its own.

    Parameters
    ----------
    runs : RunLog
        Students with a score.
    metric : str
        A metric of the log.

    Raises
    ------
    ValueError
        As `admissible_forms`, and for a loss of the size alone: a collapse is that of a score.
    """
    several = "format" in runs.frame and runs.frame["format"].nunique() > 1
    by = ("format",) if several else ()
    forms = admissible_forms(runs, by)
    what = runs.schema.metrics[metric]
    if any(isinstance(form, laws.Collapse) for form in forms):
        if what.link == "log":
            raise ValueError(f"a law of {metric}, a loss, takes two numbers of examples.")
        return [laws.Collapse(by=by, share={"k0": False})] if by else forms
    if what.role == "general" and any(isinstance(form, laws.Compressed) for form in forms):
        forms += [laws.Forgetting(kind, by=by) for kind in get_args(ForgettingKind)]
    return forms


def alternatives(law: Law) -> list[Law]:
    """Return the other forms of the same axes, factors and options; none for a law without any."""
    if isinstance(law, laws.Compressed):
        kinds = [kind for kind in _JOINT if kind != law.kind]
        return [_like(law, laws.Compressed, {**law.options, "kind": kind}) for kind in kinds]
    for family in (_CURVES, _SIZES):
        if type(law) in family:
            return [_like(law, form, law.options) for form in family if form is not type(law)]
    return []


def _like(law: Law, form: type[Law], options: Mapping[str, Any]) -> Law:
    """Make another form with the options and shared parameters that it knows."""
    known = inspect.signature(form).parameters
    taken = {k: v for k, v in options.items() if k in known}
    plain = form(by=law.by, **taken)
    share = {k: v for k, v in law.share.items() if k in plain.params}
    return form(by=law.by, share=share, **taken) if share else plain
