"""How much each layer, channel and head matters: from activations, or from magnitudes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill.prune.tensors import (
    Shape,
    UnsupportedModelError,
    locate,
    read_shape,
    refuse_unknown,
)

__all__ = ["Importance", "magnitude_importance", "measure_importance"]


@dataclass(frozen=True, eq=False)
class Importance:
    """Scores of what may be pruned; the lowest go first, of equals the later one.

    Scores are compared within a tensor's last axis only, so their units don't matter.

    Parameters
    ----------
    layers : Tensor [layers]
    hidden : Tensor [hidden]
        One score a channel of the residual stream, shared by all layers.
    ffn : Tensor [layers, ffn]
    kv_heads : Tensor [layers, kv_heads]
        A key-value head together with its query heads.
    source : {"activation", "magnitude"}
    """

    layers: Tensor
    hidden: Tensor
    ffn: Tensor
    kv_heads: Tensor
    source: Literal["activation", "magnitude"]

    def __post_init__(self) -> None:
        """Refuse scores that can't be ordered."""
        for name in ("layers", "hidden", "ffn", "kv_heads"):
            if not torch.isfinite(getattr(self, name)).all():
                raise ValueError(
                    f"importance of {name} is not finite: the model overflows on the calibration "
                    "data, or has weights that are not numbers."
                )


@torch.no_grad()
def measure_importance(
    model: PreTrainedModel, batches: Iterable[Tensor | Mapping[str, Tensor]]
) -> Importance:
    """Measure importance on calibration data.

    - layers: block influence, the mean over tokens of ``1 - cos(input, output)`` of the layer
    - ffn: mean absolute input of ``down_proj``
    - kv_heads: mean absolute input of ``o_proj``, over the channels of the group's query heads
    - hidden: mean absolute output of the norms, summed over all norms of the residual stream

    Parameters
    ----------
    model : PreTrainedModel
        A supported causal language model; it is left as it was.
    batches : iterable of Tensor [batch, tokens] or of mappings
        Token ids, or mappings with ``input_ids`` and optionally ``attention_mask``, whose zeros are
        left out. 512 to 1024 samples of the task are usual.

    References
    ----------
    Men et al. 2024 (arXiv 2403.03853), block influence; Muralidharan et al. 2024 (arXiv
    2407.14679), activations of a small calibration set.
    """
    shape = understood_shape(model)
    sums = _Activations(shape, model.device)
    decoder = model.model
    hooks = [decoder.norm.register_forward_hook(sums.norm_hook)]
    for index, layer in enumerate(decoder.layers):
        hooks += [
            layer.register_forward_hook(partial(sums.layer_hook, index)),
            layer.input_layernorm.register_forward_hook(sums.norm_hook),
            layer.post_attention_layernorm.register_forward_hook(sums.norm_hook),
            layer.mlp.down_proj.register_forward_pre_hook(
                partial(sums.input_hook, sums.ffn[index])
            ),
            layer.self_attn.o_proj.register_forward_pre_hook(
                partial(sums.input_hook, sums.query[index])
            ),
        ]
    training = model.training
    model.eval()
    try:
        for batch in batches:
            fields = batch if isinstance(batch, Mapping) else {"input_ids": batch}
            sums.run(decoder, fields["input_ids"], fields.get("attention_mask"))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if sums.tokens == 0:
        raise ValueError("measure_importance: no calibration tokens; pass at least one batch.")
    return Importance(
        layers=sums.layers / sums.tokens,
        hidden=sums.hidden / sums.tokens,
        ffn=sums.ffn / sums.tokens,
        kv_heads=_by_group(sums.query, shape).mean(-1) / sums.tokens,
        source="activation",
    )


@torch.no_grad()
def magnitude_importance(model: PreTrainedModel) -> Importance:
    """Score by the Euclidean norm of the weights that would go; needs no data.

    A fallback for when there is no data at all. A large layer may change nothing, and a few small
    channels may carry the largest activations, so that this can be worse than chance.
    """
    shape = understood_shape(model)
    squares = _zeros(shape, model.device)
    for name, weight in model.named_parameters():
        layer, _, axes = locate(name)
        for dim, axis in enumerate(axes):
            if axis in squares:
                # The last axis is added so that a vector too has one to sum over.
                others = [*(d for d in range(weight.ndim) if d != dim), weight.ndim]
                norm = torch.linalg.vector_norm(weight[..., None], dim=others, dtype=torch.float32)
                sums = squares[axis] if axis == "hidden" else squares[axis][layer]
                sums += norm.double().square()
        if layer is not None:
            squares["layers"][layer] += weight.float().square().sum().double()
    heads = _by_group(squares["query"], shape).sum(-1) + _by_group(squares["key"], shape).sum(-1)
    return Importance(
        layers=squares["layers"].sqrt(),
        hidden=squares["hidden"].sqrt(),
        ffn=squares["ffn"].sqrt(),
        kv_heads=heads.sqrt(),
        source="magnitude",
    )


def understood_shape(model: PreTrainedModel) -> Shape:
    """Return the sizes of a model after checking that every weight is understood and uniform.

    Raises
    ------
    UnsupportedModelError
        Naming the first weight that is unknown, not a floating-point number, or of another size
        than the config says, or saying that the tie between embedding and head is not the config's.
    """
    refuse_unknown(model.config, (name for name, _ in model.named_parameters()))
    shape = read_shape(model.config)
    for name, weight in model.named_parameters():
        _, _, axes = locate(name)
        expected = tuple(shape.sizes[axis] for axis in axes)
        if tuple(weight.shape) != expected or not weight.is_floating_point():
            raise UnsupportedModelError(
                f"{name} is {tuple(weight.shape)} of {weight.dtype}; the config says {expected} of "
                "floating-point numbers. Quantised models and layers of different widths can't be "
                "pruned."
            )
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if tied != model.config.tie_word_embeddings:
        raise UnsupportedModelError(
            f"lm_head.weight and model.embed_tokens.weight are {'' if tied else 'not '}one tensor, "
            f"but the config has tie_word_embeddings = {model.config.tie_word_embeddings}."
        )
    return shape


def _by_group(by_channel: Tensor, shape: Shape) -> Tensor:
    """Split the channels of all heads by key-value head: [layers, kv_heads, channels]."""
    return by_channel.unflatten(-1, (shape.kv_heads, -1))


def _zeros(shape: Shape, device: torch.device) -> dict[str, Tensor]:
    """One sum an axis, float64."""
    sizes = shape.sizes
    zeros = {
        axis: torch.zeros(shape.layers, sizes[axis], dtype=torch.float64, device=device)
        for axis in ("ffn", "query", "key")
    }
    zeros["hidden"] = torch.zeros(shape.hidden, dtype=torch.float64, device=device)
    zeros["layers"] = torch.zeros(shape.layers, dtype=torch.float64, device=device)
    return zeros


class _Activations:
    """Sums over the tokens that pass, filled by hooks."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.tokens = 0
        self.real: Tensor | None = None
        zeros = _zeros(shape, device)
        self.layers, self.hidden = zeros["layers"], zeros["hidden"]
        self.ffn, self.query = zeros["ffn"], zeros["query"]

    def run(self, decoder: nn.Module, input_ids: Tensor, mask: Tensor | None) -> None:
        device = self.hidden.device
        mask = torch.ones_like(input_ids) if mask is None else mask
        self.real = mask.to(device).bool()
        self.tokens += int(self.real.sum())
        decoder(input_ids=input_ids.to(device), attention_mask=mask.to(device), use_cache=False)

    def layer_hook(self, index: int, _module: nn.Module, args: tuple, output: Tensor) -> None:
        before, after = args[0][self.real].float(), output[self.real].float()
        self.layers[index] += (1 - torch.cosine_similarity(before, after, dim=-1)).double().sum()

    def norm_hook(self, _module: nn.Module, _args: tuple, output: Tensor) -> None:
        self._add(self.hidden, output)

    def input_hook(self, sums: Tensor, _module: nn.Module, args: tuple) -> None:
        self._add(sums, args[0])

    def _add(self, sums: Tensor, states: Tensor) -> None:
        sums += states[self.real].abs().sum(0, dtype=torch.float32).double()
