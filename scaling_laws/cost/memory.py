"""Memory of a training: states, activations, logits, by formulas whose source is stated.

Weights and optimiser (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 3.1): AdamW in mixed
precision takes 16 bytes a trained parameter (bfloat16 weight and gradient, float32 weight and two
moments), a frozen one 2.

Activations follow the accounting of Korthikanti et al. 2022 (arXiv 2205.05198, section 4), anew for
gated feed-forward networks, grouped queries and fused attention: what the operations of a layer
keep of a token for their backward pass, 2 bytes an element. Norms keep input and output (4 hidden),
attention its queries, keys, values and output (2 heads + 2 kv_heads) head_dim, norms of queries and
keys their inputs again, the gated network its two projections, the activation and their product
(4 ffn). With checkpointing a layer keeps its input (hidden), and one layer at a time is whole.
Kernels that are not fused keep float32 copies beside: take it as a lower bound (transformers' own
layers keep 1.26 to 1.39 times as much).
"""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import Shape

__all__ = ["TrainingMemory", "activation_bytes", "adapter_params", "logit_bytes"]

STATES = 16
"""Bytes of a trained parameter."""

FROZEN = 2
"""Bytes of a parameter that only computes."""

_LOGITS = 5
"""Float32 arrays of a chunk of logits: as measured of this project's own loss at 128 to 512 tokens
and a vocabulary of 151,936."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device.

    Parameters
    ----------
    states : float
        Trained weights, their gradients and the optimiser.
    frozen : float
        Weights of a student under adapters.
    teacher : float
        Weights of the teacher, or of its output head.
    activations : float
        Of the student, at its micro-batch.
    logits : float
        Of a chunk of tokens at the output head.
    """

    states: float
    frozen: float
    teacher: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.states + self.frozen + self.teacher + self.activations + self.logits


def activation_bytes(shape: Shape, tokens: int, checkpointing: bool) -> float:
    """Return what a forward pass over a number of tokens keeps for the backward pass."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    normed = query + key if shape.qk_norm else 0
    layer = 2.0 * tokens * (4 * shape.hidden + 2 * query + 2 * key + normed + 4 * shape.ffn)
    if checkpointing:
        return 2.0 * tokens * shape.hidden * shape.layers + layer
    return layer * shape.layers


def logit_bytes(shape: Shape, chunk: int) -> float:
    """Return what the loss takes at the output head, a chunk of tokens at a time."""
    return 4.0 * _LOGITS * chunk * shape.vocab


def adapter_params(shape: Shape, rank: int) -> int:
    """Return the parameters of low-rank adapters on every matrix of the layers.

    ``rank (inputs + outputs)`` a matrix (Hu et al. 2021, arXiv 2106.09685).
    """
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (shape.hidden + query) + 2 * (shape.hidden + key)
    return shape.layers * rank * (attention + 3 * (shape.hidden + shape.ffn))
