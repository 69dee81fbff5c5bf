"""What the caller knows of the parameters: fixed values, bounds, ties, priors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, SupportsFloat, cast

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Law
from scaling_laws.model import Model, Tie

__all__ = ["Constraints", "Rule", "apply", "parse"]

Array = NDArray[np.float64]

# Points at which an lmfit expression is probed for being affine.
_PROBES = 4


@dataclass(frozen=True)
class Rule:
    """What is said of one parameter, on its printed scale."""

    value: float | None = None
    fixed: bool = False
    lower: float | None = None
    upper: float | None = None
    tie: Tie | None = None

    @property
    def binds(self) -> bool:
        """Whether it restricts the fit (a start value alone does not)."""
        bounded = self.lower is not None or self.upper is not None
        return self.fixed or bounded or self.tie is not None


@dataclass(frozen=True)
class Constraints:
    """Rules and priors by parameter name (``b``, or ``e[label]`` for one level)."""

    rules: Mapping[str, Rule] = field(default_factory=dict[str, Rule])
    prior: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def needs_printed_scale(self, law: Law) -> bool:
        """Whether the kernel must move printed limits and amplitudes."""
        named = [n for n, r in self.rules.items() if r.binds] + list(self.prior)
        ties = any(r.tie is not None for r in self.rules.values())
        return ties or any(law.params[n.split("[", 1)[0]].role != "shape" for n in named)

    def beyond(self, law: Law, link: str) -> Constraints:
        """Leave out bounds that the law has anyway, so that its soft bounds stay soft."""
        rules: dict[str, Rule] = {}
        for name, rule in self.rules.items():
            param = law.params[name.split("[", 1)[0]]
            if link == "logit" and law.output == "eta" and param.role == "limit":
                rules[name] = rule  # on the logit scale the law has no bound
                continue
            lower = None if rule.lower == param.lower else rule.lower
            upper = None if rule.upper == param.upper else rule.upper
            rules[name] = replace(rule, lower=lower, upper=upper)
        return replace(self, rules=rules)

    def to_dict(self) -> dict[str, Any]:
        """Plain structure for a saved fit; never an expression."""
        rules: dict[str, Any] = {}
        for name, r in self.rules.items():
            rules[name] = {
                "value": r.value,
                "fixed": r.fixed,
                "lower": r.lower,
                "upper": r.upper,
                "tie": None
                if r.tie is None
                else {"constant": r.tie.constant, "coefficients": dict(r.tie.coefficients)},
            }
        return {"rules": rules, "prior": {k: list(v) for k, v in self.prior.items()}}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Constraints:
        """Undo `to_dict`."""
        rules: dict[str, Rule] = {}
        for name, r in plain["rules"].items():
            tie = r["tie"]
            made = (
                None
                if tie is None
                else Tie(
                    float(tie["constant"]),
                    {str(k): float(v) for k, v in tie["coefficients"].items()},
                )
            )
            rules[str(name)] = Rule(r["value"], bool(r["fixed"]), r["lower"], r["upper"], made)
        prior = {str(k): (float(v[0]), float(v[1])) for k, v in plain["prior"].items()}
        return cls(rules, prior)


def parse(parameters: Any, prior: Mapping[str, tuple[float, float]] | None) -> Constraints:
    """Read ``parameters=`` and ``prior=``.

    Parameters
    ----------
    parameters : mapping, lmfit.Parameters or None
        A number fixes a parameter; ``(low, high)`` bounds it; a dict takes ``value``, ``vary``,
        ``min``, ``max`` and ``tie={"constant": c, "coefficients": {other: k}}``. In an
        `lmfit.Parameters` an ``expr`` is evaluated by lmfit, so take it only from your own code; it
        must be affine in the other parameters.
    prior : mapping, optional
        ``{name: (mean, sd)}``.
    """
    rules: dict[str, Rule] = {}
    if parameters is not None:
        if hasattr(parameters, "valuesdict"):
            rules = _from_lmfit(parameters)
        elif isinstance(parameters, Mapping):
            given = cast(Mapping[str, Any], parameters)
            rules = {str(k): _rule(str(k), v) for k, v in given.items()}
        else:
            raise TypeError(
                f"parameters: {type(parameters).__name__} is no mapping and no lmfit.Parameters."
            )
    checked: dict[str, tuple[float, float]] = {}
    for name, pair in (prior or {}).items():
        mean, sd = (float(v) for v in pair)
        if not (np.isfinite(mean) and sd > 0):
            raise ValueError(f"prior[{name!r}] = {pair!r}: give (mean, sd) with sd > 0.")
        checked[name] = (mean, sd)
    return Constraints(rules, checked)


def _rule(name: str, given: Any) -> Rule:
    if isinstance(given, tuple | list) and len(cast(Sequence[Any], given)) == 2:
        low, high = (None if v is None else float(v) for v in cast(Sequence[Any], given))
        if low is not None and high is not None and not low < high:
            raise ValueError(f"parameters[{name!r}]: lower {low} is not below upper {high}.")
        return Rule(lower=low, upper=high)
    if isinstance(given, Mapping):
        given = cast(Mapping[str, Any], given)
        unknown = set(given) - {"value", "vary", "min", "max", "tie"}
        if unknown:
            raise ValueError(
                f"parameters[{name!r}]: unknown {sorted(unknown)}; use value, vary, min, max, tie."
            )
        tie = given.get("tie")
        made = (
            None
            if tie is None
            else Tie(
                float(tie.get("constant", 0.0)),
                {str(k): float(v) for k, v in tie.get("coefficients", {}).items()},
            )
        )
        fixed = not given.get("vary", True)
        if fixed and given.get("value") is None:
            raise ValueError(f"parameters[{name!r}]: vary=False needs a value.")
        return Rule(given.get("value"), fixed, given.get("min"), given.get("max"), made)
    if isinstance(given, SupportsFloat) and not isinstance(given, str):
        return Rule(value=float(given), fixed=True)
    raise ValueError(
        f"parameters[{name!r}] = {given!r}: give a number (fixed), (low, high), or a dict."
    )


def _from_lmfit(parameters: Any) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for identifier, p in parameters.items():
        name = _own_name(parameters, identifier)
        if p.expr:
            rules[name] = Rule(tie=_affine(parameters, identifier))
            continue
        low = float(p.min) if np.isfinite(p.min) else None
        high = float(p.max) if np.isfinite(p.max) else None
        rules[name] = Rule(float(p.value), not p.vary, low, high)
    return rules


def _own_name(parameters: Any, identifier: str) -> str:
    """Return the law's own name, which `Fit.to_lmfit` keeps where lmfit allows identifiers only."""
    own = parameters[identifier].user_data
    return own if isinstance(own, str) else identifier


def _affine(parameters: Any, name: str) -> Tie:
    """Probe an lmfit expression; it must be affine in the parameters without expressions."""
    others = [k for k, p in parameters.items() if not p.expr]
    live = parameters.copy()
    # lmfit clips an expression to its parameter's bounds, which would bend the probe.
    for parameter in live.values():
        parameter.set(min=-np.inf, max=np.inf)
    rng = np.random.default_rng(0)
    points = rng.uniform(0.5, 1.5, (len(others) + 1 + _PROBES, len(others)))
    values: list[float] = []
    for point in points:
        for other, v in zip(others, point, strict=True):
            live[other].set(value=float(v))
        live.update_constraints()
        values.append(float(live[name].value))
    design = np.column_stack([np.ones(len(points)), points])
    solution, *_ = np.linalg.lstsq(design, np.array(values), rcond=None)
    if not np.allclose(design @ solution, values, rtol=1e-9, atol=1e-9):
        raise ValueError(
            f"parameters[{name!r}].expr is not affine in {', '.join(others)}; only ties such as "
            f"'2*b + 1' can be fitted."
        )
    coefficients = {
        _own_name(parameters, o): float(c)
        for o, c in zip(others, solution[1:], strict=True)
        if abs(c) > 1e-12
    }
    return Tie(float(solution[0]), coefficients)


def apply(
    constraints: Constraints, model: Model
) -> tuple[Model, NDArray[np.bool_], dict[str, float], tuple[Array, Array] | None]:
    """Return the model with bounds and ties, the free mask, start values and the prior.

    Raises
    ------
    ValueError
        For a name the law does not have, or a fixed value outside its bounds.
    """
    rules: dict[str, Rule] = {}
    for name, rule in constraints.rules.items():
        for full in _expand(name, model):
            rules[full] = rule
    model = model.tied({n: r.tie for n, r in rules.items() if r.tie is not None})
    lower, upper, soft = model.lower.copy(), model.upper.copy(), model.open_lower.copy()
    free = np.ones(model.p, bool)
    starts: dict[str, float] = {}
    for name, rule in rules.items():
        if rule.tie is not None:
            continue
        j = model.coordinates.index(name)
        param = model.param(name)
        if rule.lower is not None:
            lower[j] = soft[j] = float(param.inward(rule.lower))
        if rule.upper is not None:
            upper[j] = float(param.inward(rule.upper))
        if rule.value is not None:
            starts[name] = rule.value
        if rule.fixed and rule.value is not None:
            inside = float(param.inward(rule.value))
            lower[j], upper[j] = min(lower[j], inside), max(upper[j], inside)
            soft[j] = min(soft[j], lower[j])
            free[j] = False
    model = replace(model, lower=lower, upper=upper, open_lower=soft)
    return model, free, starts, _prior(constraints, model)


def _prior(constraints: Constraints, model: Model) -> tuple[Array, Array] | None:
    if not constraints.prior:
        return None
    centre, inverse = np.zeros(model.p), np.zeros(model.p)
    for name, (mean, sd) in constraints.prior.items():
        for full in _expand(name, model):
            j = model.coordinates.index(full)
            param = model.param(full)
            centre[j] = float(param.inward(mean))
            # sd moves to the kernel's scale by the slope there (1 unless log or share scaled).
            step = 1e-6 * max(abs(mean), 1e-6)
            slope = (float(param.inward(mean + step)) - centre[j]) / step
            inverse[j] = 1.0 / (sd * slope)
    return centre, inverse


def _expand(name: str, model: Model) -> Iterable[str]:
    if name in model.names:
        return [name]
    if name in model.columns:
        return [model.names[c] for c in model.columns[name]]
    known = [*model.columns, *(n for n in model.names if n not in model.columns)]
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"{model.law.name} has no parameter {name!r}.{hint} It has {', '.join(known)}."
    )
