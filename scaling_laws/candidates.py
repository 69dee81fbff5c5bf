"""Which forms could describe the same runs: of a log, and beside a given law."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from scaling_laws import laws
from scaling_laws.factors import ROUNDED, apart, follows
from scaling_laws.laws import Law
from scaling_laws.laws.forgetting import ForgettingKind
from scaling_laws.laws.joint import Kind
from scaling_laws.metrics import Metric
from scaling_laws.runs import RunLog

__all__ = [
    "admissible_forms", "alternatives", "axes_of", "check_factors", "factors_of", "forms_for",
    "means",
]  # fmt: skip

# What the data leave as it is has a form of the size alone, offered for general knowledge only: of
# a task's score it would say with too few runs that more labels are worth nothing.
_SIZE: Kind = "size"
_KINDS: tuple[Kind, ...] = tuple(k for k in get_args(Kind) if k != _SIZE)
# Forms of the same axes stand for one another, each another curve; the law of fine-tuning is the
# multiplicative kind of parameters. Where no form has all axes, the first of most is named.
_FORMS: tuple[Law, ...] = (
    *(laws.Compressed(kind) for kind in _KINDS),
    *(laws.Compressed(k, size="params", full=1.0) for k in _KINDS if k != "multiplicative"),
    laws.FineTuning(),
    *(laws.Compressed(kind, data="tokens") for kind in _KINDS),
    laws.Chinchilla(), laws.Supervised(), laws.Kaplan(size="params"), laws.Repeated(),
    laws.Sparsity(), laws.P2(), laws.Pruning(), laws.Collapse(), laws.Plateau(),
    *(form(axis) for axis in ("examples", "tokens", "params")
      for form in (laws.Power, laws.Rectified, laws.Broken, laws.Bounded)),
)  # fmt: skip
# General knowledge that the data cost; the same curves otherwise.
_TURNED = tuple(laws.Forgetting(kind) for kind in get_args(ForgettingKind))
_LOSSES = (laws.Supervised, laws.Kaplan, laws.Repeated, laws.P2)
_SCORES = (laws.Collapse, laws.Pruning)
# Curves that bend where they like need so many levels more than they have parameters.
_BENDING, _SPARE = (laws.Broken, laws.Bounded), 3
# Limit, amplitude and exponent: fewer levels of the data fix no exponent of a format's own.
_FIXED = 3
# Columns that count one size: the first says it where the others follow from it.
_SIZES = ("kept", "params_nonzero", "params_unpruned", "params")
# Names that share so much are near ones.
_NEAR = 0.5
# Options that other forms of the same axes take over.
_TAKEN = ("full", "floor", "top")


def admissible_forms(
    runs: RunLog, by: Sequence[str] = (), metric: str | Metric | None = None
) -> list[Law]:
    """Return every form of the axes that the log varies (`axes_of`).

    Curves that bend where they like are among them where each level of the factors has three levels
    more than they have parameters.

    Parameters
    ----------
    runs : RunLog
    by : sequence of str
        Factor columns of every form.
    metric : str or Metric, optional
        Forms of losses alone, or of scores alone, are offered for one; default the only one of the
        log.

    Raises
    ------
    ValueError
        If the log varies no axis that a form is a function of, or one more than any form has: runs
        that differ in it would be pooled. The sentence says which, and what to write.
    """
    frame = runs.frame
    check_factors(runs, by)
    axes = axes_of(runs, by)
    if not axes:
        raise ValueError(f"the log varies none of {', '.join(_known())}: name a law.")
    if not any(_axes(form) == frozenset(axes) for form in _FORMS):
        raise ValueError(_beyond(frame, axes, tuple(by)))
    what = _metric(runs, metric)
    found = [form for form in _FORMS if _axes(form) == frozenset(axes) and _describes(form, what)]
    if not found:
        kind = "a loss" if what is not None and what.link == "log" else "a score"
        raise ValueError(f"no form of {_words(axes)} is one of {kind}: name a law.")
    return [_placed(form, frame, by) for form in found if _enough(form, frame, by)]


def check_factors(runs: RunLog, by: Sequence[str], option: str = "") -> None:
    """Refuse factors that are no columns of a log.

    Parameters
    ----------
    runs : RunLog
    by : sequence of str
    option : str, optional
        How factors are given, if not by ``by=[...]``: ``--by``.

    Raises
    ------
    ValueError
        The sentence lists the columns, near names first, and what to write.
    """
    columns = [str(c) for c in runs.frame.columns]
    for name in by:
        if name in columns:
            continue
        near = get_close_matches(name, columns, n=len(columns), cutoff=_NEAR)
        told = [*near, *(c for c in columns if c not in near)]
        axes = axes_of(runs)
        kinds = [c for c in near if c not in axes] or list(factors_of(runs))
        out = f"leave {option or 'by'} out"
        free = f": a law takes {_words(axes)} without it" * bool(axes)
        advice = f"L{out[1:]}"
        if kinds:
            advice = f"Write {f'{option} {kinds[0]}' if option else f'by={kinds[0]!r}'}, or {out}"
        raise ValueError(
            f"{option or 'by'}: the log has no column {name!r}; it has {', '.join(told)}. "
            f"{advice}{free}."
        )


def forms_for(runs: RunLog, metric: str) -> list[Law]:
    """Return the forms to weigh for one metric of distilled students, each by format.

    Those of `admissible_forms`, with three differences. Where each format has three numbers of
    examples, every joint form stands there twice: with one exponent of the data, and with one for
    each format. General knowledge may fall with more examples too, or stay: forms that say so stand
    beside the others. Where there is one number of examples, each format has a collapse of its own.

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
    what = runs.schema.metrics[metric]
    if axes_of(runs, by) == ("kept",) and what.link == "log":
        raise ValueError(f"a law of {metric}, a loss, takes two numbers of examples.")
    forms = admissible_forms(runs, by, what)
    if any(isinstance(form, laws.Collapse) for form in forms):
        return [laws.Collapse(by=by, share={"k0": False})] if by else forms
    joint = [form for form in forms if isinstance(form, laws.Compressed)]
    if by and joint and _levels(runs.frame, joint[0].axis_list()[0].name, by) >= _FIXED:
        forms += [laws.Compressed(**form.options, by=by, share={"b": False}) for form in joint]
    if joint and what.role == "general":
        own = joint[0].options
        flat = laws.Compressed(_SIZE, size=own["size"], full=own["full"], data=own["data"])
        forms += [_placed(form, runs.frame, by) for form in (*_TURNED, flat)]
    return forms


def axes_of(runs: RunLog, by: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the axes of laws that the log varies, each told by one column.

    A size that rises or falls with another one within each level of the factors is that one:
    parameters and the fraction kept of one teacher. Tokens beside examples say how long a run
    trained, which is no axis of its own; unique tokens are one where epochs vary.

    Parameters
    ----------
    runs : RunLog
    by : sequence of str
        Columns that are factors.
    """
    frame = runs.frame
    free = [a for a in _known() if a in frame.columns and a not in by]
    free = [a for a in free if is_numeric_dtype(frame[a])]
    varied = [a for a in free if a != "unique_tokens" and frame[a].nunique() > 1]
    if "examples" in varied:
        varied = [a for a in varied if a != "tokens"]
    if "tokens" in varied and "unique_tokens" in free and _epochs_vary(frame):
        varied.append("unique_tokens")
    sizes: list[str] = []
    for name in _SIZES:
        if name in varied and not follows(frame, name, sizes, by):
            sizes.append(name)
    return tuple(a for a in varied if a not in _SIZES or a in sizes)


def factors_of(runs: RunLog) -> tuple[str, ...]:
    """Return the categories by which a law of the log must tell runs apart, or it pools them.

    All that vary where neither others nor an axis of the law say the same: formats, methods,
    schedules, teachers.

    Parameters
    ----------
    runs : RunLog
    """
    axes = axes_of(runs)
    # What sets a second size apart from the first is a factor: the teacher.
    more = [a for a in _SIZES if a in axes][1:]
    return apart(runs.frame, [a for a in axes if a not in more])


def alternatives(law: Law, frame: pd.DataFrame, metric: Metric) -> list[Law]:
    """Return the other forms of the same axes, factors and options; none for a law without any.

    Parameters
    ----------
    law : Law
    frame : DataFrame
        The rows that it was fitted to.
    metric : Metric
        What it was fitted to.
    """
    size = len(law.axis_list())
    same = [f for f in (*_FORMS, *_TURNED) if type(f) is type(law) and len(_axes(f)) == size]
    if not same:
        return []
    # A law of other columns, such as steps, has the forms of those whose place they take.
    near = max(same, key=lambda form: len(_axes(form) & _axes(law)))
    columns = {a.name: b.name for a, b in zip(near.axis_list(), law.axis_list(), strict=True)}
    family = [f for f in _FORMS if _axes(f) == _axes(near) and _describes(f, metric)]
    if isinstance(law, laws.Forgetting):
        family = [*_TURNED, *(f for f in family if _kind(f) == _kind(law))]
    elif metric.role == "general":
        family += [f for f in _TURNED if _axes(f) == _axes(near) and _kind(f) == _kind(law)]
    made = [_placed(f, frame, law.by, law, columns) for f in family if _curve(f) != _curve(law)]
    return [f for f in made if _axes(f) == _axes(law) and _enough(f, frame, law.by)]


def _placed(
    form: Law,
    frame: pd.DataFrame,
    by: Sequence[str],
    like: Law | None = None,
    columns: Mapping[str, str] | None = None,
) -> Law:
    """Make a form by factors, at the sizes of the rows; or with what it knows of another law."""
    own: dict[str, Any] = {k: (columns or {}).get(v, v) for k, v in form.options.items()}
    if own.get("full") is not None:
        own["full"] = float(frame[str(own["size"])].max())
    given = {} if like is None else {k: like.options[k] for k in _TAKEN if k in like.options}
    known = inspect.signature(type(form)).parameters
    taken = own | {k: v for k, v in given.items() if k in known}
    plain = type(form)(by=tuple(by), **taken)
    share = {} if like is None else {k: v for k, v in like.share.items() if means(plain, k, like)}
    return type(form)(by=tuple(by), share=share, **taken) if share else plain


def means(law: Law, name: str, other: Law) -> bool:
    """Whether a parameter of another law is one of this law too, and not by its name alone."""
    mine, theirs = law.params.get(name), other.params.get(name)
    return mine is not None and theirs is not None and mine.meaning == theirs.meaning


def _known() -> tuple[str, ...]:
    return tuple(dict.fromkeys(a.name for form in _FORMS for a in form.axis_list()))


def _axes(form: Law) -> frozenset[str]:
    return frozenset(a.name for a in form.axis_list())


def _kind(form: Law) -> str:
    return "multiplicative" if isinstance(form, laws.FineTuning) else form.options.get("kind", "")


def _curve(form: Law) -> tuple[str, str]:
    """Name the curve: two forms of one curve can't be told apart."""
    joint = isinstance(form, laws.FineTuning | laws.Compressed)
    turned = isinstance(form, laws.Forgetting)
    return "" if joint and not turned else form.name, _kind(form)


def _metric(runs: RunLog, metric: str | Metric | None) -> Metric | None:
    if isinstance(metric, Metric):
        return metric
    name = runs.metrics[0] if metric is None and len(runs.metrics) == 1 else metric
    return None if name is None else runs.schema.metrics.get(name)


def _describes(form: Law, metric: Metric | None) -> bool:
    if metric is None:
        return True
    if isinstance(form, _LOSSES):
        return metric.link == "log"
    return metric.direction == "higher" or not isinstance(form, _SCORES)


def _enough(form: Law, frame: pd.DataFrame, by: Sequence[str]) -> bool:
    """Whether each level of the factors has the levels that a curve which bends needs."""
    if not isinstance(form, _BENDING):
        return True
    return _levels(frame, form.axis, by) >= len(form.params) + _SPARE


def _levels(frame: pd.DataFrame, axis: str, by: Sequence[str]) -> int:
    """Fewest levels of an axis in any level of the factors."""
    rows = frame[frame[axis] > 0]
    counts = rows.groupby(list(by), observed=True)[axis].nunique() if by else rows[axis].nunique()
    return int(np.min(counts))


def _epochs_vary(frame: pd.DataFrame) -> bool:
    """Whether data are seen again, and not equally often: else it is the law without epochs."""
    unique = frame["unique_tokens"]
    epochs = (frame["tokens"] / unique.where(unique > 0)).clip(lower=1.0).dropna()
    return len(epochs) > 0 and float(epochs.max()) > (1.0 + ROUNDED) * float(epochs.min())


def _beyond(frame: pd.DataFrame, axes: Sequence[str], by: Sequence[str]) -> str:
    """Say which axis no form has beside the others, and what to write."""
    parts = [form for form in _FORMS if _axes(form) < frozenset(axes)]
    if not parts:
        return f"no form here is one of {_words(axes)}: name a law."
    most = _axes(max(parts, key=lambda form: len(_axes(form))))
    rest, name = [a for a in axes if a in most], next(a for a in axes if a not in most)
    told = (c for c in apart(frame, rest, by) if follows(frame, name, rest, [*by, c]))
    cause = next(told, name)
    own = next((form for form in parts if name in _axes(form)), None)
    law = "" if own is None else f", such as sl.laws.{_placed(own, frame, ())!r}"
    return (
        f"{name} varies ({frame[name].nunique()} levels) beside {_words(rest)}, and no form here "
        f"is one of them all: runs that differ in it would be pooled. Give each its own curve with "
        f"by={cause!r}, select one of them, or name a law{law}."
    )


def _words(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
