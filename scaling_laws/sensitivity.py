"""How an answer moves with every choice that could have been made otherwise, and with every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.constraints import Constraints
from scaling_laws.estimate import estimate
from scaling_laws.kernel import minimise

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["influence_table", "sensitivity_table"]

Question = Callable[[Any], float] | Mapping[str, Any]

# Corners of the literature, and what robust and plain fits would say.
_OBJECTIVES: tuple[tuple[str, str, float | str], ...] = (
    ("least squares", "squares", "auto"),
    ("Huber, delta auto", "huber", "auto"),
    ("Huber, delta 1e-2", "huber", 1e-2),
    ("Huber, delta 1e-3", "huber", 1e-3),
)


def _ask(question: Question, fit: Fit) -> float:
    if callable(question):
        return float(question(fit))
    return float(fit.predict(dict(question), interval=None)["estimate"].iloc[0])


def sensitivity_table(fit: Fit, question: Question) -> pd.DataFrame:
    """Return the answer under other objectives, another link, and without each axis's end levels.

    A row a choice: ``answer``, ``change`` against the fit as it is, ``rows`` used, and ``failed``,
    the sentence why a variant could not be fitted.
    """
    base = _ask(question, fit)
    rows = [{"choice": "as fitted", "answer": base, "rows": fit.problem.n, "failed": ""}]
    for name, make in _variants(fit):
        try:
            other = make()
            row = {"answer": _ask(question, other), "rows": other.problem.n, "failed": ""}
        except ValueError as why:
            row = {"answer": np.nan, "rows": 0, "failed": str(why)}
        rows.append({"choice": name, **row})
    table = pd.DataFrame(rows).set_index("choice")
    table.insert(1, "change", table["answer"] - base)
    return table


def _variants(fit: Fit) -> Iterator[tuple[str, Callable[[], Fit]]]:
    for name, objective, delta in _OBJECTIVES:
        yield name, _refitter(fit, np.ones(fit.problem.n, bool), objective, delta)
    objective, delta = str(fit.settings["objective"]), fit.settings["delta"]
    for axis in fit.law.axis_list():
        values = fit.problem.frame[axis.name].to_numpy(dtype=float)
        for word, end in (("smallest", values.min()), ("largest", values.max())):
            keep = values != end
            yield f"without the {word} {axis.name}", _refitter(fit, keep, objective, delta)
    link = _other_link(fit)
    if link is not None:
        whole = np.ones(fit.problem.n, bool)
        yield f"link {link}", _refitter(fit, whole, objective, delta, link)


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


def influence_table(fit: Fit, question: Question) -> pd.DataFrame:
    """Return the answer without each unit, largest change first.

    All refits are one batch: a left-out unit has weight 0. Columns ``unit`` (its rows' index in the
    log), ``answer``, ``change``.
    """
    problem, found = fit.problem, fit.estimate
    units = np.unique(problem.unit)
    weights = (problem.unit[None, :] != units[:, None]).astype(float)
    if problem.weights is not None:
        weights = weights * problem.weights
    model = problem.model
    refits = minimise(
        found.curve(problem), found.target(problem), np.repeat(found.theta[None], len(units), 0),
        scale=found.scale, weights=weights, free=found.free, lower=model.lower, upper=model.upper,
        objective=found.objective_of,
    )  # fmt: skip
    base = _ask(question, fit)
    rows: list[dict[str, Any]] = []
    index = np.asarray(problem.frame.index, int)
    for code, theta in enumerate(refits.theta):
        left_out = index[problem.unit == units[code]].tolist()
        answer = _ask(question, replace(fit, estimate=replace(found, theta=theta)))
        rows.append({"unit": left_out, "answer": answer, "change": answer - base})
    rows.sort(key=lambda row: -abs(row["change"]))
    return pd.DataFrame(rows)
