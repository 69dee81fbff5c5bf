"""To lmfit; ``fit(parameters=...)`` is the way back."""

# lmfit ships no types and no stub package exists.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import lmfit

    from scaling_laws.model import Tie
    from scaling_laws.result import Fit

__all__ = ["identifiers_of", "to_lmfit"]


def identifiers_of(fit: Fit) -> dict[str, str]:
    """Return the lmfit name of each parameter: ``e[label]`` is ``e_label``.

    What an identifier may not hold becomes ``_``; names that would then be equal get a number.
    """
    out: dict[str, str] = {}
    for name in fit.model.names:
        base = re.sub(r"\W", "_", name.removesuffix("]"))
        identifier, n = base, 2
        while identifier in out.values():
            identifier, n = f"{base}_{n}", n + 1
        out[name] = identifier
    return out


def to_lmfit(fit: Fit) -> lmfit.Parameters:
    """Return `lmfit.Parameters`: values, bounds, held ones, ties, first-order ``stderr``.

    As in lmfit, what has no first-order error has ``stderr = None``; see `Fit.covariance`.
    ``user_data`` keeps a parameter's own name, from which ``fit(parameters=...)`` reads it back.
    """
    import lmfit

    matrix = np.asarray(fit.covariance(), float)
    names = identifiers_of(fit)
    ties = {n: r.tie for n, r in fit.constraints.rules.items() if r.tie is not None}
    out: Any = lmfit.Parameters()
    # A tie is evaluated when it is added, so what it depends on comes first.
    for name in (*fit.model.coordinates, *ties):
        held = name not in ties and not fit.is_free(name)
        low, high = _bounds(fit, name)
        out.add(names[name], value=fit.values[name], vary=not held, min=low, max=high)
        made = out[names[name]]
        if name in ties:
            made.set(expr=_sum(ties[name], names), min=-np.inf, max=np.inf)
        made.user_data = name
        i = fit.model.names.index(name)
        known = not held and np.isfinite(matrix[i, i])
        made.stderr = float(np.sqrt(max(float(matrix[i, i]), 0.0))) if known else None
    return out


def _bounds(fit: Fit, name: str) -> tuple[float, float]:
    """Bounds on the printed scale: the caller's, else the law's."""
    low, high = fit.model.legal_range(name)
    rules = fit.constraints.rules
    rule = rules.get(name, rules.get(name.split("[", 1)[0]))
    if rule is None:
        return low, high
    return (
        low if rule.lower is None else rule.lower,
        high if rule.upper is None else rule.upper,
    )


def _sum(tie: Tie, names: dict[str, str]) -> str:
    """Write a tie for lmfit, from numbers and identifiers alone."""
    terms = [f"{k!r} * {names[other]}" for other, k in tie.coefficients.items()]
    return " + ".join([repr(tie.constant), *terms])
