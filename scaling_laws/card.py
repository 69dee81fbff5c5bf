"""The reproducibility card: what was fitted, to what, how. No field is ever blank.

The questions follow M. Li et al., "(Mis)Fitting: a survey of scaling laws", arXiv 2502.18969,
appendix (checklist).
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
import pandas as pd

from scaling_laws.show import references_of
from scaling_laws.version import VERSION

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = ["card_of", "data_hash"]

_LIBRARIES = ("numpy", "scipy", "pandas")


def data_hash(frame: pd.DataFrame) -> str:
    """Return a hash of the rows used: of their values, not of their order, types or index."""
    names = sorted(str(c) for c in frame.columns)
    columns = [[_canonical(v) for v in frame[name].astype(object)] for name in names]
    rows = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join([json.dumps(names), *rows]).encode()).hexdigest()[:16]


def _canonical(value: Any) -> str | None:
    """Return a cell as text that survives saving and reading."""
    if value is None or pd.isna(value):
        return None
    numeric = isinstance(value, SupportsFloat) and not isinstance(value, str)
    return repr(float(value)) if numeric else str(value)


def card_of(fit: Fit) -> pd.Series[str]:
    """Return the card of a fit, question -> answer."""
    problem, law, model = fit.problem, fit.law, fit.model
    free = int(fit.estimate.free.sum())
    held = [n for n, f in zip(model.coordinates, fit.estimate.free, strict=True) if not f]
    answers = {
        "law": f"{law!r}: {law.formula_text or 'user-written'}",
        "variables": "; ".join(_axis(fit, a.name) for a in law.axis_list()),
        "factors": ", ".join(law.by) or "none",
        "parameters": f"{free} free ({', '.join(model.coordinates)}); held: "
        f"{', '.join(held) or 'none'}",
        "reference point": "; ".join(references_of(fit, 6)) or "none: no amplitude needs one",
        "runs": f"{problem.n} rows, {len(np.unique(problem.configuration))} configurations, "
        f"{len(np.unique(problem.unit))} {problem.unit_kind}s, from {fit.source or 'memory'}",
        "excluded": " ".join(n.sentence for n in problem.notes) or "nothing",
        "metric": f"{fit.metric.name} ({fit.metric.meaning or 'no description'}), "
        f"{fit.metric.direction} is better, floor {fit.metric.floor}, top {fit.metric.top}",
        "test set": _test_set(fit),
        "link and residuals": _residuals(fit),
        "objective": f"{fit.settings['objective']}, summed over rows, minimum {fit.objective:.10g}",
        "delta": "infinite (least squares)"
        if np.isinf(fit.delta)
        else f"{fit.delta:.6g} (asked: {fit.settings['delta']})",
        "weights": _weights(fit),
        "priors": ", ".join(f"{k} {m:g} ± {s:g}" for k, (m, s) in fit.constraints.prior.items())
        or "none",
        "starts": f"seeds by variable projection; certificate: {fit.starts}",
        "optimiser": "batched damped Newton with the curvature of Huber's loss, bounds by active "
        f"set; {fit.estimate.steps} steps, "
        + ("converged" if fit.estimate.converged else "not converged"),
        "uncertainty": str(fit.parameters.columns.name) + f", seed {fit.seed}",
        "validation": f"none stored with a fit; {fit.degrees} residual degrees of freedom; holdout "
        "predicts runs left out, choose compares forms",
        "notes": " ".join(n.sentence for n in fit.notes) or "none",
        "data hash": data_hash(problem.frame),
        "versions": f"scaling-laws {VERSION}, "
        + ", ".join(f"{n} {version(n)}" for n in _LIBRARIES)
        + f", Python {platform.python_version()}",
    }
    return pd.Series(answers, name="answer", dtype=object).rename_axis("question")


def _axis(fit: Fit, name: str) -> str:
    values = fit.problem.frame[name].to_numpy(dtype=float)
    return (
        f"{name}: {len(np.unique(values))} levels from {values.min():.6g} to {values.max():.6g}, "
        "as counted in the log"
    )


def _test_set(fit: Fit) -> str:
    items = fit.problem.items[np.isfinite(fit.problem.items)]
    if len(items):
        return f"{np.median(items):g} items (median)"
    if np.isfinite(fit.problem.se).any():
        return f"standard error {np.nanmedian(fit.problem.se):.3g} (median), items not logged"
    return "not logged"


def _residuals(fit: Fit) -> str:
    kind = fit.model.link.kind
    words = {
        "logit": "mean through the inverse logit, residuals on the score's own scale",
        "log": "differences of logarithms",
        "identity": "plain differences",
    }[kind]
    return f"{words}; run-to-run sd {np.sqrt(fit.estimate.run_variance):.3g}"


def _weights(fit: Fit) -> str:
    words = "none given" if fit.problem.weights is None else "multiplicities given"
    if fit.problem.absolute:
        return words + "; sigma given as the whole error"
    if fit.problem.known:
        return words + "; 1 / (evaluation variance at the fitted mean + run variance)"
    return words + "; all rows alike"
