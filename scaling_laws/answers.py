"""What a fit answers to the questions of the reproducibility card; "not logged" is an answer."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
import pandas as pd

from scaling_laws.runs import Run
from scaling_laws.show import number, references_of
from scaling_laws.show_validation import held_words
from scaling_laws.spent import spent_words
from scaling_laws.version import VERSION

if TYPE_CHECKING:
    from scaling_laws.result import Fit
    from scaling_laws.validation import Holdout

__all__ = ["answers_of", "data_hash"]

_LIBRARIES = ("numpy", "scipy", "pandas")
# Covariates and words that are listed; the rest is counted.
_MOST = 6
_UNKNOWN = "not logged"


def answers_of(fit: Fit, holdout: Holdout | None = None) -> dict[str, dict[str, str]]:
    """Return section -> question -> answer."""
    return {
        "Form": _form(fit),
        "Training runs": _training(fit),
        "Data points": _data(fit),
        "Fit": _fit(fit),
        "Trust": _trust(fit, holdout),
    }


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


# --- the form -------------------------------------------------------------------------------------
def _form(fit: Fit) -> dict[str, str]:
    law, model = fit.law, fit.model
    free = [n for n, f in zip(model.coordinates, fit.estimate.free, strict=True) if f]
    held = [n for n in model.coordinates if n not in free]
    moved = f" ({', '.join(free)})" if free else ""
    return {
        "law": f"{law!r}: {law.formula_text or 'user-written'}",
        "variables": "; ".join(_axis(fit, a.name) for a in law.axis_list()),
        "factors": f"{', '.join(law.by)} ({len(model.levels)} levels)" if law.by else "none",
        "parameters": f"{len(free)} free{moved}; held: {', '.join(held) or 'none'}",
        "assumptions": _assumptions(fit),
        "constraints": _constraints(fit),
        "reference point": "; ".join(references_of(fit, 6)) or "none: no amplitude needs one",
    }


def _assumptions(fit: Fit) -> str:
    law = fit.law
    if not law.by:
        return "one curve for all rows"
    own = [name for name in law.params if law.own(name)]
    shared = [name for name in law.params if not law.own(name)]
    return f"own for each level: {', '.join(own) or 'none'}; shared: {', '.join(shared) or 'none'}"


def _axis(fit: Fit, name: str) -> str:
    values = fit.problem.frame[name].to_numpy(dtype=float)
    field = Run.model_fields.get(name)
    meaning = (field.description if field else "") or "as counted in the log"
    of = fit.problem.frame.get("kept_of")
    counted = "" if name != "kept" or of is None else f", of {_words(of)} parameters"
    return (
        f"{name} ({meaning}{counted}): {len(np.unique(values))} levels from {values.min():.6g} to "
        f"{values.max():.6g}"
    )


def _constraints(fit: Fit) -> str:
    told: list[str] = []
    for name, rule in fit.constraints.rules.items():
        if rule.tie is not None:
            terms = [f"{c:g} {other}" for other, c in rule.tie.coefficients.items()]
            told.append(f"{name} = {' + '.join([f'{rule.tie.constant:g}', *terms])}")
        elif rule.fixed:
            told.append(f"{name} = {rule.value:g}")
        elif rule.binds:
            low, high = ("open" if b is None else f"{b:g}" for b in (rule.lower, rule.upper))
            told.append(f"{name} from {low} to {high}")
    return "; ".join(told) or "the law's own bounds"


# --- the training runs ----------------------------------------------------------------------------
_MODELS = (
    "teacher", "base_model", "origin", "prune_axis", "schedule", "method", "target", "format",
)  # fmt: skip


def _training(fit: Fit) -> dict[str, str]:
    frame = fit.problem.frame
    models = [f"{name}: {_words(frame[name])}" for name in _MODELS if _logged(frame, name)]
    sizes = [_range(frame, name) for name in ("params", "params_nonembedding", "kept")]
    task = [f"{name}: {_words(frame[name])}" for name in ("task", "label_source")
            if _logged(frame, name)]  # fmt: skip
    data = [_range(frame, name) for name in ("examples", "tokens")]
    return {
        "models trained": _all([f"{fit.problem.n} rows", *models, *sizes]),
        "training data": _all([*task, *data]),
        "repeated data": _repeats(frame),
        "hyperparameters": _hyperparameters(fit),
        "seeds": _seeds(fit),
        "compute": spent_words(frame),
    }


def _logged(frame: pd.DataFrame, name: str) -> bool:
    return name in frame.columns and bool(frame[name].notna().any())


def _all(parts: list[str]) -> str:
    return "; ".join(part for part in parts if part) or _UNKNOWN


def _words(column: pd.Series[Any]) -> str:
    found = sorted({str(value) for value in column.dropna()})
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ", ".join(found[:_MOST]) + more if found else _UNKNOWN


def _range(frame: pd.DataFrame, name: str) -> str:
    if not _logged(frame, name):
        return ""
    values = frame[name].dropna().to_numpy(dtype=float)
    if values.min() == values.max():
        return f"{name} {values.min():.6g}"
    return f"{name} {values.min():.6g} to {values.max():.6g}"


def _repeats(frame: pd.DataFrame) -> str:
    if not (_logged(frame, "examples") and _logged(frame, "examples_seen")):
        return f"{_UNKNOWN} (needs examples and examples_seen)"
    ratio = frame["examples_seen"] / frame["examples"].where(frame["examples"] > 0)
    ratio = ratio.dropna()
    if not len(ratio):
        return f"{_UNKNOWN} (no row has both examples and examples_seen)"
    return f"examples seen {ratio.min():.3g} to {ratio.max():.3g} times"


def _hyperparameters(fit: Fit) -> str:
    metric = fit.metric
    used = {metric.name, metric.se, metric.n, *(a.name for a in fit.law.axis_list()), *fit.law.by}
    names = [
        str(name)
        for name in fit.problem.frame.columns
        if name not in Run.model_fields and name not in used
    ]
    told = [
        f"{name} ({levels} level{'s' * (levels != 1)})"
        for name in names
        if (levels := int(fit.problem.frame[name].nunique()))
    ]
    more = f" and {len(told) - _MOST} more covariates" if len(told) > _MOST else ""
    return ", ".join(told[:_MOST]) + more if told else f"{_UNKNOWN} (no covariates in the log)"


def _seeds(fit: Fit) -> str:
    most = int(np.bincount(fit.problem.configuration).max())
    frame = fit.problem.frame
    count = frame["seed"].nunique() if _logged(frame, "seed") else 0
    seeds = f"{count} seed{'s' * (count > 1)}" if count else f"seeds {_UNKNOWN}"
    return f"{seeds}; at most {most} row{'s' * (most > 1)} a configuration"


# --- the data points ------------------------------------------------------------------------------
def _data(fit: Fit) -> dict[str, str]:
    problem, metric = fit.problem, fit.metric
    limits = [
        f"{word} {'not known' if value is None else f'{value:g}'}"
        for word, value in (("floor", metric.floor), ("top", metric.top))
    ]
    return {
        "runs": f"{', '.join(_counts(fit))}, from {fit.source or 'memory'}",
        "checkpoints": _checkpoints(fit),
        "excluded": " ".join(n.sentence for n in problem.notes) or "nothing",
        "metric": f"{metric.name} ({metric.meaning or 'no description'}), "
        f"{metric.direction} is better, {', '.join(limits)}",
        "test set": _test_set(fit),
        "data hash": data_hash(problem.frame),
    }


def _counts(fit: Fit) -> list[str]:
    """Return rows, configurations, and the units that share an error where those are others."""
    problem = fit.problem
    counts = {"row": problem.n, "configuration": len(np.unique(problem.configuration))}
    told = [f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items()]
    return told if problem.unit_kind in counts else [*told, problem.units]


def _checkpoints(fit: Fit) -> str:
    frame = fit.problem.frame
    if not _logged(frame, "chain_id"):
        return "one row a run; no chain_id marks rows of one run"
    most = int(frame["chain_id"].value_counts().max())
    if most == 1:
        return "one row a chain_id"
    how = "counted as one cluster" if fit.problem.unit_kind == "chain" else "not used as clusters"
    return f"up to {most} rows a chain_id (checkpoints of a run, or stages of a chain), {how}"


def _test_set(fit: Fit) -> str:
    items = fit.problem.items[np.isfinite(fit.problem.items)]
    if len(items):
        return f"{np.median(items):g} items (median)"
    if np.isfinite(fit.problem.se).any():
        return f"standard error {np.nanmedian(fit.problem.se):.3g} (median), items {_UNKNOWN}"
    return _UNKNOWN


# --- the fit --------------------------------------------------------------------------------------
def _fit(fit: Fit) -> dict[str, str]:
    return {
        "link and residuals": _residuals(fit),
        "objective": f"{fit.settings['objective']}, summed over rows, minimum {fit.objective:.10g}",
        "delta": "infinite (least squares)"
        if np.isinf(fit.delta)
        else f"{fit.delta:.6g} (asked: {fit.settings['delta']})",
        "weights": _weights(fit),
        "priors": ", ".join(f"{k} {m:g} ± {s:g}" for k, (m, s) in fit.constraints.prior.items())
        or "none",
        "starts": f"seeds by variable projection; certificate: {fit.starts}"
        if fit.starts.tried
        else str(fit.starts),
        "optimiser": _optimiser(fit),
        "versions": f"scaling-laws {VERSION}, "
        + ", ".join(f"{n} {version(n)}" for n in _LIBRARIES)
        + f", Python {platform.python_version()}",
    }


def _optimiser(fit: Fit) -> str:
    if not fit.estimate.free.any():
        return "none: every parameter is held"
    how = "batched damped Newton with the curvature of Huber's loss, bounds by active set"
    ended = "converged" if fit.estimate.converged else "not converged"
    return f"{how}; {fit.estimate.steps} steps, {ended}"


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


# --- how far to trust it --------------------------------------------------------------------------
def _trust(fit: Fit, holdout: Holdout | None) -> dict[str, str]:
    return {
        "goodness of fit": _goodness(fit),
        "uncertainty": str(fit.parameters.columns.name) + f", seed {fit.seed}",
        "validation": f"{_validation(holdout)}; {fit.degrees} residual degrees of freedom",
        "notes": " ".join(n.sentence for n in fit.notes) or "none",
    }


def _validation(held: Holdout | None) -> str:
    if held is None:
        return "no hold-out given to the card (a fit stores none)"
    # A Forecast of several forms has no law of its own; its first line says what it is.
    law = repr(getattr(held.fitted, "law", held.fitted)).partition("\n")[0]
    return (
        f"{len(held.frame)} rows held out ({_range(held.frame, held.by)}), forecast from "
        f"{len(held.fitted.training_index)} by {law}: {held_words(held)}"
    )


def _goodness(fit: Fit) -> str:
    raw = np.asarray(fit.residuals["residual"], float)
    return (
        f"root mean square residual {number(float(np.sqrt(np.mean(raw**2))))}, largest "
        f"{number(float(np.max(np.abs(raw))))} in size, on the scale of the residuals"
    )
