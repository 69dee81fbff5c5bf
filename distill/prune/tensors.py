"""What each weight of a supported model is: the axes it has and the sizes of those axes.

One table serves the parameter count, the importance and the surgery, and whatever is not in it is
refused: a weight that nobody understands would be cut at the wrong place without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

__all__ = ["FAMILIES", "Shape", "UnsupportedModelError", "edited_config", "read_shape"]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose arithmetic is known to survive pruning; others may share names and differ."""

_OUTER = {
    "model.embed_tokens.weight": ("vocab", "hidden"),
    "model.norm.weight": ("hidden",),
    "lm_head.weight": ("vocab", "hidden"),
}
_EMBEDDING = ("model.embed_tokens.weight", "lm_head.weight")
_LAYER = {
    "input_layernorm.weight": ("hidden",),
    "post_attention_layernorm.weight": ("hidden",),
    "self_attn.q_proj.weight": ("query", "hidden"),
    "self_attn.k_proj.weight": ("key", "hidden"),
    "self_attn.v_proj.weight": ("key", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "query"),
    "self_attn.q_proj.bias": ("query",),
    "self_attn.k_proj.bias": ("key",),
    "self_attn.v_proj.bias": ("key",),
    "self_attn.o_proj.bias": ("hidden",),
    "self_attn.q_norm.weight": ("head_dim",),
    "self_attn.k_norm.weight": ("head_dim",),
    "mlp.gate_proj.weight": ("ffn", "hidden"),
    "mlp.up_proj.weight": ("ffn", "hidden"),
    "mlp.down_proj.weight": ("hidden", "ffn"),
    "mlp.gate_proj.bias": ("ffn",),
    "mlp.up_proj.bias": ("ffn",),
    "mlp.down_proj.bias": ("hidden",),
}
_LAYER_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)")


class UnsupportedModelError(ValueError):
    """The model has a weight or a setting that pruning does not understand."""


@dataclass(frozen=True)
class Shape:
    """Sizes that fix the number of parameters of a supported model.

    Parameters
    ----------
    layers, hidden, ffn, kv_heads, heads, head_dim, vocab : int
        Decoder layers; width of the residual stream; width of the feed-forward network; key-value
        heads; query heads; dimension of a head; tokens in the vocabulary.
    """

    layers: int
    hidden: int
    ffn: int
    kv_heads: int
    heads: int
    head_dim: int
    vocab: int

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size of each axis that a weight may have."""
        return {
            "hidden": self.hidden,
            "ffn": self.ffn,
            "query": self.heads * self.head_dim,
            "key": self.kv_heads * self.head_dim,
            "head_dim": self.head_dim,
            "vocab": self.vocab,
        }

    def narrowed(self, **sizes: int) -> Shape:
        """Return the shape with other sizes; query heads follow their key-value heads."""
        kv_heads = sizes.get("kv_heads", self.kv_heads)
        return replace(self, **sizes, heads=kv_heads * self.heads // self.kv_heads)


@dataclass(frozen=True)
class ParameterTable:
    """Which weights a model has, apart from their sizes; counts parameters of any `Shape`."""

    outer: tuple[str, ...]
    layer: tuple[str, ...]

    @classmethod
    def of(cls, config: PreTrainedConfig) -> ParameterTable:
        """Read the table off a one-layer model without storage."""
        shape = read_shape(config)
        with torch.device("meta"):
            tiny = AutoModelForCausalLM.from_config(edited_config(config, shape, [0]))
        names = [name for name, _ in tiny.named_parameters()]
        layer = tuple(found[2] for name in names if (found := _LAYER_NAME.fullmatch(name)))
        return cls(tuple(name for name in names if name in _OUTER), layer)

    def count(self, shape: Shape) -> int:
        """Parameters in all; tied embeddings count once."""
        return self._sum(self.outer, _OUTER, shape) + shape.layers * self._sum(
            self.layer, _LAYER, shape
        )

    def count_nonembedding(self, shape: Shape) -> int:
        """Parameters without the embedding and the output head."""
        embedding = [name for name in self.outer if name in _EMBEDDING]
        return self.count(shape) - self._sum(embedding, _OUTER, shape)

    @staticmethod
    def _sum(names: Iterable[str], axes: Mapping[str, tuple[str, ...]], shape: Shape) -> int:
        total, sizes = 0, shape.sizes
        for name in names:
            product = 1
            for axis in axes[name]:
                product *= sizes[axis]
            total += product
        return total


def locate(name: str) -> tuple[int | None, str, tuple[str, ...]] | None:
    """Return layer (None outside), name within it and axes of a weight; None if it is not known."""
    if name in _OUTER:
        return None, name, _OUTER[name]
    found = _LAYER_NAME.fullmatch(name)
    if found and found[2] in _LAYER:
        return int(found[1]), found[2], _LAYER[found[2]]
    return None


def read_shape(config: PreTrainedConfig) -> Shape:
    """Read the sizes of a supported model from its config.

    Raises
    ------
    UnsupportedModelError
        For another model type, naming the first weight that is not understood if there is one, and
        for layers that differ from one another.
    """
    if config.model_type not in FAMILIES:
        with torch.device("meta"):
            names = [n for n, _ in AutoModelForCausalLM.from_config(config).named_parameters()]
        refuse_unknown(config, names)
    if getattr(config, "is_heterogeneous", False):
        raise UnsupportedModelError(
            f"{config.model_type}: per_layer_config gives layers different settings; only uniform "
            "models can be pruned."
        )
    heads = config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        kv_heads=config.num_key_value_heads,
        heads=heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocab=config.vocab_size,
    )


def refuse_unknown(config: PreTrainedConfig, names: Iterable[str]) -> None:
    """Raise for a weight that is not in the table, and for a model type that is not known."""
    unknown = [name for name in names if locate(name) is None]
    if not unknown and config.model_type in FAMILIES:
        return
    known = ", ".join(FAMILIES)
    if unknown:
        raise UnsupportedModelError(
            f"{config.model_type}: the weight {unknown[0]!r} is not understood (one of "
            f"{len(unknown)} such). Models that can be pruned: {known}, with adapters merged "
            "(`merge_and_unload`)."
        )
    raise UnsupportedModelError(
        f"{config.model_type}: its weights bear known names, but its arithmetic is not known to be "
        f"the same. Models that can be pruned: {known}."
    )


def edited_config(
    config: PreTrainedConfig, shape: Shape, kept_layers: Sequence[int]
) -> PreTrainedConfig:
    """Return a new config of that shape, whose layers are `kept_layers` of the old one, in order.

    `head_dim` is written out: left to ``hidden / heads`` it would change. Settings by layer follow
    the layers that are kept.
    """
    changes: dict[str, Any] = {
        "num_hidden_layers": len(kept_layers),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_key_value_heads": shape.kv_heads,
        "num_attention_heads": shape.heads,
        "head_dim": shape.head_dim,
    }
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        changes["layer_types"] = [layer_types[i] for i in kept_layers]
    window = getattr(config, "max_window_layers", None)
    if window is not None:
        # The first `window` layers see everything, the rest a sliding window.
        changes["max_window_layers"] = sum(i < window for i in kept_layers)
    return type(config)(**{**config.to_dict(), **changes})
