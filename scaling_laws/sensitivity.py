"""How an answer moves with every choice that could have been made otherwise, and with every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.candidates import alternatives, means
from scaling_laws.constraints import Constraints
from scaling_laws.estimate import estimate, refit
from scaling_laws.laws import Law
from scaling_laws.problem import Problem, as_log, build
from scaling_laws.runs import Note

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["Influence", "Question", "Sensitivity", "influence_of", "sensitivity_of"]

Question = Callable[[Any], float] | Mapping[str, Any]
Ends = tuple[float, float]

# Corners of the literature, and what robust and plain fits would say.
_OBJECTIVES: tuple[tuple[str, str, float | str], ...] = (
    ("least squares", "squares", "auto"),
    ("Huber, delta auto", "huber", "auto"),
    ("Huber, delta 1e-2", "huber", 1e-2),
    ("Huber, delta 1e-3", "huber", 1e-3),
)


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """An answer under other choices.

    Attributes
    ----------
    frame : DataFrame
        A row a choice: ``answer``, ``change`` against the fit as it is, ``rows`` used, and
        ``failed``, the sentence why it could not be fitted or asked.
    interval : (float, float) or None
        Of the answer as fitted, where the question is a point to predict at and there is one.
    level : float
    """

    frame: pd.DataFrame
    interval: Ends | None
    level: float

    @property
    def notes(self) -> tuple[Note, ...]:
        """Whether a choice matters more than the noise, and what could not be tried."""
        failed = self.frame.loc[self.frame["failed"] != "", "failed"]
        notes = [Note("choice_failed", "info", f"{k}: {v}") for k, v in failed.items()]
        outside = _outside(self.frame["answer"], self.interval)
        if outside:
            sentence = (
                f"Outside the {100 * self.level:g} % interval of the answer: {', '.join(outside)}. "
                "There the choice matters more than the noise that the interval counts."
            )
            notes.insert(0, Note("choice_matters", "warning", sentence))
        return tuple(notes)

    def plot(self, ax: Any = None) -> Any:
        """Draw the answer under each choice; returns the Axes."""
        from scaling_laws.plot.answers import plot_sensitivity

        return plot_sensitivity(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_sensitivity import sensitivity_text

        return sensitivity_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_sensitivity import sensitivity_html

        return sensitivity_html(self)


@dataclass(frozen=True, eq=False)
class Influence:
    """An answer without each unit: a chain, else a configuration.

    Attributes
    ----------
    frame : DataFrame
        A row a unit, largest change first: ``unit`` (its rows' index in the log), ``which`` (its
        chain, or where it lies), ``answer`` without it, ``change``.
    kind : {"chain", "configuration", "cluster"}
    answer : float
        As fitted.
    interval, level
        As in `Sensitivity`.
    """

    frame: pd.DataFrame
    kind: str
    answer: float
    interval: Ends | None
    level: float

    @property
    def notes(self) -> tuple[Note, ...]:
        """Which units decide the answer alone."""
        outside = _outside(self.frame.set_index("which")["answer"], self.interval)
        if not outside:
            return ()
        either = "; or ".join(outside)
        sentence = (
            f"The answer leaves its {100 * self.level:g} % interval without {either}. "
            f"Repeat the runs of {'this' if len(outside) == 1 else 'each such'} {self.kind} first."
        )
        return (Note("one_unit_decides", "warning", sentence),)

    def plot(self, ax: Any = None) -> Any:
        """Draw the answers without the units that move it most; returns the Axes."""
        from scaling_laws.plot.answers import plot_influence

        return plot_influence(self, ax)

    def __repr__(self) -> str:
        from scaling_laws.show_sensitivity import influence_text

        return influence_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_sensitivity import influence_html

        return influence_html(self)


def _outside(answers: pd.Series[float], interval: Ends | None) -> list[str]:
    if interval is None:
        return []
    low, high = interval
    return [f"{k} ({float(v):.4g})" for k, v in answers.items() if v < low or v > high]


def _ask(question: Question, fit: Fit) -> float:
    if callable(question):
        return float(question(fit))
    answers = fit.predict(dict(question), interval=None)["estimate"]
    if len(answers) != 1:
        raise ValueError(f"question: {len(answers)} points; an answer is one number, give one.")
    return float(answers.iloc[0])


def _interval(question: Question, fit: Fit, level: float) -> Ends | None:
    """Interval of the answer as fitted, for a point to predict at."""
    if callable(question):
        return None
    low, high = fit.predict(dict(question), level=level)[["low", "high"]].iloc[0]
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def sensitivity_of(fit: Fit, question: Question) -> Sensitivity:
    """Ask again under other objectives, links and forms, and without each axis's end levels."""
    base = _ask(question, fit)
    rows = [{"choice": "as fitted", "answer": base, "rows": fit.problem.n, "failed": ""}]
    for name, make in _variants(fit):
        try:
            other = make()
            row = {"answer": _ask(question, other), "rows": other.problem.n, "failed": ""}
        except ValueError as why:
            row = {"answer": np.nan, "rows": 0, "failed": str(why)}
        except KeyError as missing:
            why = f"the question asks for {missing}, which this form does not have."
            row = {"answer": np.nan, "rows": 0, "failed": why}
        rows.append({"choice": name, **row})
    table = pd.DataFrame(rows).set_index("choice")
    table.insert(1, "change", table["answer"] - base)
    level = float(fit.settings["level"])
    return Sensitivity(table, _interval(question, fit, level), level)


def _variants(fit: Fit) -> Iterator[tuple[str, Callable[[], Fit]]]:
    whole = np.ones(fit.problem.n, bool)
    for name, objective, delta in _OBJECTIVES:
        yield name, _refitter(fit, whole, objective, delta)
    objective, delta = str(fit.settings["objective"]), fit.settings["delta"]
    for axis in fit.law.axis_list():
        values = fit.problem.frame[axis.name].to_numpy(dtype=float)
        for word, end in (("smallest", values.min()), ("largest", values.max())):
            keep = values != end
            yield f"without the {word} {axis.name}", _refitter(fit, keep, objective, delta)
    link = _other_link(fit)
    if link is not None:
        yield f"link {link}", _refitter(fit, whole, objective, delta, link)
    for law in alternatives(fit.law, fit.problem.frame, fit.metric):
        yield f"form {_form(law, fit.law)}", _reformer(fit, law)


def _form(law: Law, instead_of: Law) -> str:
    """Name a form by what sets it apart."""
    if type(law) is not type(instead_of):
        return " ".join([law.name, *(str(law.options[k]) for k in ("kind",) if k in law.options)])
    return ", ".join(str(v) for k, v in law.options.items() if v != instead_of.options.get(k))


def _other_link(fit: Fit) -> str | None:
    """Link under which the same curve can be fitted to the same scores, if there is one.

    A curve that lives on the logit scale has none: without it the sign of every term would turn.
    """
    kind = fit.model.link.kind
    if kind == "log":
        return "identity"
    on_score = kind == "identity" or fit.law.output == "mean"
    return "log" if on_score and bool((fit.problem.score > 0).all()) else None


def _refitter(
    fit: Fit, keep: NDArray[np.bool_], objective: str, delta: float | str, link: str | None = None
) -> Callable[[], Fit]:
    def make() -> Fit:
        problem = fit.problem.take(np.flatnonzero(keep))
        _refuse_constant(fit.problem, problem)
        if link is not None:
            y = np.log(problem.score) if link == "log" else problem.score
            model = replace(problem.model, link=replace(problem.model.link, kind=link))
            problem = replace(problem, model=model, y=y)
        # The model is tied already.
        rules = {name: rule for name, rule in fit.constraints.rules.items() if rule.tie is None}
        untied = Constraints(rules, fit.constraints.prior)
        problem, found = estimate(problem, untied, objective=objective, delta=delta)
        return replace(fit, problem=problem, estimate=found)

    return make


def _refuse_constant(whole: Problem, part: Problem) -> None:
    """Refuse rows that leave one level of an axis which had several: its exponent is then free."""
    for axis in whole.model.law.axis_list():
        before, after = (p.frame[axis.name].nunique() for p in (whole, part))
        if before > 1 and after == 1:
            raise ValueError(f"one level of {axis.name} would be left.")


def _reformer(fit: Fit, law: Law) -> Callable[[], Fit]:
    def make() -> Fit:
        old = fit.problem
        log = as_log(old.frame, fit.metric, None)

        def known(name: str) -> bool:
            return means(law, name.split("[", 1)[0], fit.law)

        rules = {k: v for k, v in fit.constraints.rules.items() if known(k) and v.tie is None}
        prior = {k: v for k, v in fit.constraints.prior.items() if known(k)}
        constraints = Constraints(rules, prior)
        problem = build(
            law, log, fit.metric, link=fit.settings["link"], weights=old.weights,
            sigma=old.se if old.absolute else None,
            cluster=old.unit if old.unit_kind == "cluster" else None,
            local=not constraints.needs_printed_scale(law),
        )  # fmt: skip
        objective, delta = str(fit.settings["objective"]), fit.settings["delta"]
        problem, found = estimate(problem, constraints, objective=objective, delta=delta)
        return replace(
            fit, law=problem.model.law, problem=problem, estimate=found, constraints=constraints
        )

    return make


def influence_of(fit: Fit, question: Question) -> Influence:
    """Ask again without each unit. All refits are one batch: a left-out unit has weight 0."""
    problem, found = fit.problem, fit.estimate
    units = np.unique(problem.unit)
    weights = (problem.unit[None, :] != units[:, None]).astype(float)
    if problem.weights is not None:
        weights = weights * problem.weights
    starts = np.repeat(found.theta[None], len(units), 0)
    refits = refit(problem, found, starts, weights=weights)
    base = _ask(question, fit)
    rows: list[dict[str, Any]] = []
    index = np.asarray(problem.frame.index, int)
    for code, theta in enumerate(refits.theta):
        mine = problem.unit == units[code]
        answer = _ask(question, replace(fit, estimate=replace(found, theta=theta)))
        rows.append({"unit": index[mine].tolist(), "which": _which(problem, mine),
                     "answer": answer, "change": answer - base})  # fmt: skip
    rows.sort(key=lambda row: -abs(row["change"]))
    level = float(fit.settings["level"])
    return Influence(
        pd.DataFrame(rows), problem.unit_kind, base, _interval(question, fit, level), level
    )


def _which(problem: Problem, mine: NDArray[np.bool_]) -> str:
    """Name a unit by its chain, else by where its rows lie."""
    rows = problem.frame[mine]
    if problem.unit_kind == "chain" and rows["chain_id"].notna().all():
        return f"chain {rows['chain_id'].iloc[0]}"
    if problem.unit_kind == "cluster":
        return "rows " + ", ".join(str(i) for i in rows.index)
    law = problem.model.law
    first = rows.iloc[0]
    words = [f"{a.name} {float(first[a.name]):.4g}" for a in law.axis_list()]
    return ", ".join([*words, *(f"{factor} {first[factor]}" for factor in law.by)])
