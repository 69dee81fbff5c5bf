"""Cut a model to the sizes of a plan: a new model of the same class from slices of the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill.prune.importance import Importance, understood_shape
from distill.prune.planner import Plan
from distill.prune.tensors import Shape, edited_config, locate

__all__ = ["Kept", "keep", "prune_model"]


@dataclass(frozen=True)
class Kept:
    """Positions that stay, rising, counted in the model that is cut.

    Parameters
    ----------
    layers, hidden : tuple of int
    ffn, kv_heads : tuple of tuple of int
        One tuple for each layer that stays.
    """

    layers: tuple[int, ...]
    hidden: tuple[int, ...]
    ffn: tuple[tuple[int, ...], ...]
    kv_heads: tuple[tuple[int, ...], ...]


def keep(importance: Importance, plan: Plan) -> Kept:
    """Choose the most important layers, channels and heads, as many as the plan has.

    Of equal scores the earlier one stays.

    Raises
    ------
    ValueError
        If the plan asks for more than there is.
    """
    layers = _top(importance.layers, plan.layers, "layers")
    return Kept(
        layers=layers,
        hidden=_top(importance.hidden, plan.hidden, "hidden"),
        ffn=tuple(_top(importance.ffn[i], plan.ffn, "ffn") for i in layers),
        kv_heads=tuple(_top(importance.kv_heads[i], plan.kv_heads, "kv_heads") for i in layers),
    )


def _top(scores: Tensor, n: int, name: str) -> tuple[int, ...]:
    if n > len(scores):
        raise ValueError(f"the plan has {name} = {n}, but the model has {len(scores)}.")
    best = torch.sort(scores, descending=True, stable=True).indices[:n]
    return tuple(best.sort().values.tolist())


@torch.no_grad()
def prune_model(model: PreTrainedModel, plan: Plan, importance: Importance) -> PreTrainedModel:
    """Return a smaller model of the same class; the given one is not touched.

    The result is a plain `transformers` model: it saves, loads and generates like any other, has
    the dtype and device of the given one, and is in evaluation mode. No weight is rescaled.

    Parameters
    ----------
    model : PreTrainedModel
        Llama, Mistral, Qwen2 or Qwen3 for causal language modelling, adapters merged.
    plan : Plan
    importance : Importance
        Of this very model: measure again after each step.

    Raises
    ------
    UnsupportedModelError
        For any other model, naming the weight that is not understood.
    ValueError
        If plan and importance don't fit the model.
    """
    shape = understood_shape(model)
    sizes = {name: getattr(plan, name) for name in ("layers", "hidden", "ffn", "kv_heads")}
    narrow = shape.narrowed(**sizes)
    if narrow.heads != plan.heads:
        raise ValueError(
            f"the plan has {plan.heads} query heads for {plan.kv_heads} key-value heads, the model "
            f"{shape.heads} for {shape.kv_heads}; plan from the config of this model's teacher."
        )
    expected = {
        "layers": (shape.layers,),
        "hidden": (shape.hidden,),
        "ffn": (shape.layers, shape.ffn),
        "kv_heads": (shape.layers, shape.kv_heads),
    }
    for name, size in expected.items():
        if tuple(getattr(importance, name).shape) != size:
            raise ValueError(
                f"importance of {name} is {tuple(getattr(importance, name).shape)}, the model has "
                f"{size}; measure it on the model that is pruned."
            )
    kept = keep(importance, plan)
    student = (
        type(model)
        .from_pretrained(
            None,
            config=edited_config(model.config, narrow, kept.layers),
            state_dict=_sliced(model, shape, kept),
            dtype=model.dtype,
            attn_implementation=model.config._attn_implementation,
        )
        .to(model.device)
    )
    student.generation_config = copy.deepcopy(model.generation_config)
    student.config.name_or_path = model.config.name_or_path
    return student


def _sliced(model: PreTrainedModel, shape: Shape, kept: Kept) -> dict[str, Tensor]:
    """Cut every weight along its axes, under its name in the new model."""
    new_index = {old: new for new, old in enumerate(kept.layers)}
    slices = {}
    for name, weight in model.named_parameters():
        layer, inner, axes = locate(name)
        if layer is not None and layer not in new_index:
            continue
        new_layer = None if layer is None else new_index[layer]
        part = weight.detach()
        for dim, axis in enumerate(axes):
            index = _positions(axis, new_layer, shape, kept)
            if index is not None:
                part = part.index_select(dim, torch.tensor(index, device=part.device))
        new_name = name if layer is None else f"model.layers.{new_layer}.{inner}"
        # An uncut weight must not share its storage with the teacher's.
        slices[new_name] = part.clone() if part.data_ptr() == weight.data_ptr() else part
    return slices


def _positions(axis: str, layer: int | None, shape: Shape, kept: Kept) -> list[int] | None:
    """Positions that stay on an axis of a weight of the new layer; None for all."""
    if axis == "hidden":
        return list(kept.hidden)
    if layer is None or axis == "head_dim":
        return None
    if axis == "ffn":
        return list(kept.ffn[layer])
    # The channels of a group lie together: r query heads in a row read one key-value head.
    width = shape.sizes[axis] // shape.kv_heads
    return [g * width + channel for g in kept.kv_heads[layer] for channel in range(width)]
