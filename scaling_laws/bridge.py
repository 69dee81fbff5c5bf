"""To lmfit and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import lmfit

    from scaling_laws.result import Fit

__all__ = ["to_lmfit"]


def to_lmfit(fit: Fit) -> lmfit.Parameters:
    """Return `lmfit.Parameters` with values, bounds, held ones and first-order ``stderr``.

    lmfit wants identifiers: ``e[label]`` becomes ``e_label``, other characters ``_``; the parameter's
    own name is kept in ``user_data``, and `fit` reads it back from there.
    """
    import lmfit

    matrix = np.asarray(fit.covariance(), float)
    out = lmfit.Parameters()
    model = fit.model
    for i, name in enumerate(model.names):
        param = model.param(name)
        free_limit = model.link.kind == "logit" and param.role == "limit"
        identifier = re.sub(r"\W", "_", name.replace("]", ""))
        held = name in model.coordinates and not fit.estimate.free[model.coordinates.index(name)]
        out.add(
            identifier,
            value=fit.values[name],
            vary=not held,
            min=-np.inf if free_limit else param.lower,
            max=np.inf if free_limit else param.upper,
        )
        out[identifier].user_data = name
        variance = float(matrix[i, i])
        out[identifier].stderr = None if held else float(np.sqrt(max(variance, 0.0)))
    return out
