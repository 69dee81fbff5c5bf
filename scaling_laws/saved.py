"""Fits as JSON: read back bit-identically, checked by a hash, never code.

The file holds the rows used, the kernel's coordinates and everything that was frozen to reach them.
Ties are numbers, never expressions; a law is named and rebuilt from its options.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws import laws
from scaling_laws.chains import ChainError, chain_rotation
from scaling_laws.constraints import Constraints, apply
from scaling_laws.estimate import Estimate
from scaling_laws.kernel import Objective
from scaling_laws.laws.base import FunctionLaw, Law, from_function
from scaling_laws.metrics import Metric
from scaling_laws.model import Link, bind
from scaling_laws.problem import Problem
from scaling_laws.runs import Note

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["load", "save_fit"]

Array = NDArray[np.float64]

FORMAT = "scaling-laws fit"
VERSION = 1


def save_fit(fit: Fit, path: str | Path) -> Path:
    """Write a fit; the file appears whole or not at all."""
    target = Path(path)
    body = _body(fit)
    text = json.dumps(body, allow_nan=True, ensure_ascii=False)
    whole = json.dumps(
        {"format": FORMAT, "version": VERSION, "sha256": _digest(text), "fit": body},
        ensure_ascii=False,
    )
    handle, name = tempfile.mkstemp(dir=target.parent or ".", prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(whole + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _body(fit: Fit) -> dict[str, Any]:
    problem, estimate = fit.problem, fit.estimate
    prior = estimate.objective_of.prior
    lent = {} if fit.base is None else {"base": _body(fit.base)}
    return lent | {
        "law": _law_to_plain(fit.law),
        "metric": asdict(fit.metric),
        "constraints": fit.constraints.to_dict(),
        "settings": dict(fit.settings),
        "seed": fit.seed,
        "source": fit.source,
        "problem": {
            "link": asdict(problem.model.link),
            "local": problem.model.frame.local,
            "centre": dict(problem.model.frame.centre),
            "levels": list(problem.model.levels),
            "codes": problem.model.codes.tolist(),
            "index": [int(i) for i in problem.frame.index],
            "columns": {str(c): _column_to_plain(problem.frame[c]) for c in problem.frame.columns},
            "score": problem.score.tolist(),
            "se": problem.se.tolist(),
            "items": problem.items.tolist(),
            "weights": None if problem.weights is None else problem.weights.tolist(),
            "unit": problem.unit.tolist(),
            "unit_kind": problem.unit_kind,
            "configuration": problem.configuration.tolist(),
            "absolute": problem.absolute,
            "notes": [asdict(n) for n in problem.notes],
        },
        "estimate": {
            "theta": estimate.theta.tolist(),
            "objective": estimate.objective,
            "delta": estimate.objective_of.delta,
            "prior": None if prior is None else [np.asarray(p).tolist() for p in prior],
            "scale": estimate.scale.tolist(),
            "run_variance": estimate.run_variance,
            "evaluation": estimate.evaluation.tolist(),
            "free": estimate.free.tolist(),
            "sigma": estimate.sigma,
            "steps": estimate.steps,
            "converged": estimate.converged,
            "chains": _chains_to_plain(estimate.chains),
        },
    }


def _law_to_plain(law: Law) -> dict[str, Any]:
    own = isinstance(law, FunctionLaw) or getattr(laws, law.name, None) is not type(law)
    return {
        "name": law.name,
        "user": own,
        "by": list(law.by),
        "share": dict(law.share),
        "options": {} if own else dict(law.options),
        "parameters": list(law.params),
        # A number means nothing without the scale that the kernel had it on.
        **({"scales": [p.scale for p in law.params.values()]} if own else {}),
    }


def _column_to_plain(column: pd.Series[Any]) -> list[Any]:
    return [None if v is pd.NA or v is None else v for v in column.astype(object).tolist()]


def _chains_to_plain(chains: ChainError | None) -> dict[str, Any] | None:
    if chains is None:
        return None
    return {
        "rho": chains.rho,
        "positions": chains.positions.tolist(),
        "variance": chains.variance.tolist(),
    }


def load(path: str | Path, law: Law | Callable[..., Any] | None = None) -> Fit:
    """Read a saved fit.

    Parameters
    ----------
    path : path
        Written by `Fit.save`.
    law : Law or function, optional
        The same law or function again, for a user-written one: code is never stored.

    Returns
    -------
    Fit
        Equal to the one that was saved, to the last bit.

    Raises
    ------
    ValueError
        For a file that is truncated, changed, of another kind, of a newer version, or that needs
        ``law=``, or another one; the sentence says which.
    OSError
        For a file that can't be read.
    """
    name = Path(path).name
    try:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(
            f"{name} is not a whole JSON file: truncated, or not a saved fit."
        ) from None
    if not isinstance(whole, dict) or cast(dict[str, Any], whole).get("format") != FORMAT:
        raise ValueError(f"{name} is no saved fit: it lacks format = {FORMAT!r}.")
    whole = cast(dict[str, Any], whole)
    if whole.get("version") != VERSION:
        raise ValueError(
            f"{name} has version {whole.get('version')!r}; this library reads {VERSION}."
        )
    body = whole.get("fit")
    text = json.dumps(body, allow_nan=True, ensure_ascii=False)
    if not isinstance(body, dict) or whole.get("sha256") != _digest(text):
        raise ValueError(f"{name} was changed after it was saved: its hash does not agree.")
    body = cast(dict[str, Any], body)
    try:
        for part in (body, body.get("base")):
            if part is not None:
                _refuse_expressions(part["constraints"], name)
        return _rebuild(body, law, name)
    except (AttributeError, KeyError, TypeError, IndexError) as missing:
        raise ValueError(f"{name} is not a saved fit of this version: {missing}.") from None


def _refuse_expressions(plain: Any, name: str) -> None:
    """Ties are numbers; anything else might be meant to be evaluated."""
    for parameter, rule in plain["rules"].items():
        tie = rule.get("tie")
        texts = [] if tie is None else [tie["constant"], *tie["coefficients"].values()]
        texts += [rule.get(k) for k in ("value", "lower", "upper")]
        if "expr" in rule or any(isinstance(t, str) for t in texts):
            raise ValueError(
                f"{name}: the rule of {parameter!r} holds an expression; saved ties are numbers."
            )


def _law_from_plain(
    plain: Mapping[str, Any], given: Law | Callable[..., Any] | None, name: str
) -> Law:
    if not plain["user"]:
        made = getattr(laws, str(plain["name"]), None)
        if not (isinstance(made, type) and issubclass(made, Law)):
            raise ValueError(f"{name}: there is no law {plain['name']!r} in this version.")
        return made(by=tuple(plain["by"]), share=dict(plain["share"]), **plain["options"])
    if given is None:
        raise ValueError(
            f"{name} was fitted with your own law {plain['name']!r}: pass law=, that law or "
            "function again."
        )
    law = given if isinstance(given, Law) else _law_of_function(given, plain, name)
    if list(law.params) != plain["parameters"] or law.name != plain["name"]:
        raise ValueError(
            f"{name} was fitted with {plain['name']}({', '.join(plain['parameters'])}); law= is "
            f"{law.name}({', '.join(law.params)})."
        )
    scales = [p.scale for p in law.params.values()]
    if plain.get("scales", scales) != scales:
        raise ValueError(
            f"{name} was fitted with parameters on the scales {', '.join(plain['scales'])}; those "
            f"of law= are {', '.join(scales)}. Pass the law that was fitted."
        )
    return law


def _law_of_function(given: Any, plain: Mapping[str, Any], name: str) -> Law:
    """Return a plain function as the law that `sl.fit` made of it."""
    if isinstance(given, type):
        raise ValueError(f"{name}: law = {given.__name__} is a class; write {given.__name__}(...).")
    if not callable(given):
        raise ValueError(f"{name}: law = {given!r} is neither a Law nor a function.")
    arguments = list(inspect.signature(given).parameters)
    columns = [n for n in arguments if n not in plain["parameters"]]
    if missing := [n for n in plain["parameters"] if n not in arguments]:
        raise ValueError(
            f"{name} was fitted with {plain['name']}({', '.join(plain['parameters'])}); law= has "
            f"no argument {', '.join(missing)}."
        )
    return from_function(given, columns)


def _rebuild(body: Mapping[str, Any], given: Any, name: str) -> Fit:
    from scaling_laws.result import Fit

    law = _law_from_plain(body["law"], given, name)
    constraints = Constraints.from_dict(body["constraints"])
    problem = _problem(body["problem"], law, Metric(**body["metric"]))
    model, free, _, _ = apply(constraints, problem.model)
    problem = replace(problem, model=model)
    e = body["estimate"]
    prior = e["prior"]
    estimate = Estimate(
        theta=np.array(e["theta"], float),
        objective=float(e["objective"]),
        objective_of=Objective(
            float(e["delta"]),
            None if prior is None else (np.array(prior[0], float), np.array(prior[1], float)),
        ),
        scale=np.array(e["scale"], float),
        run_variance=float(e["run_variance"]),
        evaluation=np.array(e["evaluation"], float),
        free=free,
        sigma=float(e["sigma"]),
        steps=int(e["steps"]),
        converged=bool(e["converged"]),
        chains=_chains(e["chains"], problem),
    )
    settings, seed = dict(body["settings"]), int(body["seed"])
    base = _rebuild(body["base"], given, name) if "base" in body else None
    return Fit(law, problem, estimate, constraints, settings, seed, body["source"], base)


def _chains(plain: Mapping[str, Any] | None, problem: Problem) -> ChainError | None:
    if plain is None:
        return None
    return chain_rotation(
        problem.unit,
        float(plain["rho"]),
        np.array(plain["positions"], float),
        np.array(plain["variance"], float),
    )


def _problem(plain: Mapping[str, Any], law: Law, metric: Metric) -> Problem:
    frame = pd.DataFrame(
        {c: pd.Series(v, index=plain["index"]) for c, v in plain["columns"].items()}
    )
    raw = {a.name: frame[a.name].to_numpy(dtype=float) for a in law.axis_list()}
    codes = np.array(plain["codes"], np.intp)
    model = bind(
        law,
        raw,
        codes,
        plain["levels"],
        Link(**plain["link"]),
        local=bool(plain["local"]),
        centre={str(k): float(v) for k, v in plain["centre"].items()},
    )
    score = np.array(plain["score"], float)
    weights = plain["weights"]
    return Problem(
        model=model,
        metric=metric,
        frame=frame,
        score=score,
        y=np.log(score) if model.link.kind == "log" else score,
        se=np.array(plain["se"], float),
        items=np.array(plain["items"], float),
        weights=None if weights is None else np.array(weights, float),
        unit=np.array(plain["unit"], np.intp),
        unit_kind=str(plain["unit_kind"]),
        configuration=np.array(plain["configuration"], np.intp),
        absolute=bool(plain["absolute"]),
        notes=tuple(Note(**n) for n in plain["notes"]),
    )
