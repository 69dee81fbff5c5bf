"""Structural pruning of `transformers` models: layers, hidden, FFN channels, key-value groups.

``plan(config, kept=.79)`` chooses sizes, ``measure_importance(model, batches)`` scores what may go,
``prune_model(model, plan, importance)`` returns a smaller model of the same class. Widths are the
same in every layer, so the result loads as a plain checkpoint.
"""

from distill.prune.importance import Importance, magnitude_importance, measure_importance
from distill.prune.planner import (
    KEPT,
    SPLITS,
    Plan,
    Rounding,
    Step,
    plan,
    plan_chain,
    plan_shape,
    schedule,
)
from distill.prune.surgery import Kept, keep, prune_model
from distill.prune.tensors import FAMILIES, UnsupportedModelError

__all__ = [
    "FAMILIES",
    "KEPT",
    "SPLITS",
    "Importance",
    "Kept",
    "Plan",
    "Rounding",
    "Step",
    "UnsupportedModelError",
    "keep",
    "magnitude_importance",
    "measure_importance",
    "plan",
    "plan_chain",
    "plan_shape",
    "prune_model",
    "schedule",
]
