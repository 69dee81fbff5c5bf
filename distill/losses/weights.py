"""How much each token counts: the three supervision formats are nothing else."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["BLENDED_W", "token_weights"]

BLENDED_W = 0.5
"""Share of the reasoning span in the blended loss unless another is asked for."""


def token_weights(
    reasoning_mask: Tensor,
    answer_mask: Tensor,
    sequence_ids: Tensor,
    w: float | Literal["label", "cot", "blended"],
    n_sequences: int,
) -> Tensor:
    r"""Weights under which every sequence counts the same, whatever its length.

    A reasoning token of a sequence with spans R and A gets ``w / |R| / n_sequences``, an answer
    token ``(1 - w) / |A| / n_sequences``, any other token 0. ``label`` is ``w = 0``, ``cot``
    is ``w = |R| / (|R| + |A|)`` for each sequence (all its tokens alike), ``blended`` is
    ``w = BLENDED_W``. A sequence without reasoning has ``w = 0``.

    The weights of a sequence sum to ``1 / n_sequences``, so the losses of all micro-batches and
    ranks *sum* to the mean over sequences. Where a wrapper averages gradients over ranks (DDP,
    FSDP) or divides by the accumulation steps (accelerate), multiply the loss by that number.

    Parameters
    ----------
    reasoning_mask, answer_mask : Tensor [...], bool
        Tokens of the reasoning and of the answer; disjoint.
    sequence_ids : Tensor [...], integer
        Sequence of each token (several may share a row); negative for padding.
    w : float in [0, 1] or {"label", "cot", "blended"}
    n_sequences : int
        Sequences in the whole optimiser step: all micro-batches, all ranks.

    Returns
    -------
    Tensor [...], float32

    Raises
    ------
    ValueError
        If the shapes differ, the spans overlap or lie in padding, a sequence has no answer token,
        `w` is not known, or more sequences are present than `n_sequences`.

    Notes
    -----
    The paper names a blended loss and gives no formula; this one is ours.
    """
    if not reasoning_mask.shape == answer_mask.shape == sequence_ids.shape:
        raise ValueError(
            f"token_weights: shapes differ: reasoning_mask {tuple(reasoning_mask.shape)}, "
            f"answer_mask {tuple(answer_mask.shape)}, sequence_ids {tuple(sequence_ids.shape)}."
        )
    for name, mask in (("reasoning_mask", reasoning_mask), ("answer_mask", answer_mask)):
        if mask.dtype != torch.bool:
            raise ValueError(f"token_weights: {name} has dtype {mask.dtype}; pass torch.bool.")
    if (reasoning_mask & answer_mask).any():
        raise ValueError("token_weights: a token is in both reasoning_mask and answer_mask.")
    real = sequence_ids >= 0
    if ((reasoning_mask | answer_mask) & ~real).any():
        raise ValueError("token_weights: a supervised token has a negative sequence id (padding).")

    names, slots = sequence_ids[real].unique(return_inverse=True)
    if len(names) > n_sequences:
        raise ValueError(
            f"token_weights: {len(names)} sequences are here but n_sequences = {n_sequences}; "
            "it counts the sequences of the whole optimiser step."
        )
    lengths = torch.zeros(2, len(names), dtype=torch.float64, device=slots.device)
    spans = torch.stack([reasoning_mask[real], answer_mask[real]])
    lengths.index_add_(1, slots, spans.double())
    reasoning, answer = lengths
    if (answer == 0).any():
        raise ValueError(
            f"token_weights: sequences {names[answer == 0].tolist()} have no answer token; drop "
            "them before training, or mark the tokens to learn as the answer."
        )
    share = torch.where(reasoning > 0, _reasoning_share(w, reasoning, answer), 0.0)
    each = torch.stack([share / reasoning.clamp(min=1), (1 - share) / answer]) / n_sequences
    weights = torch.zeros(sequence_ids.shape, dtype=torch.float32, device=slots.device)
    weights[real] = torch.where(spans, each[:, slots], 0.0).sum(0).float()
    return weights


def _reasoning_share(w: float | str, reasoning: Tensor, answer: Tensor) -> Tensor:
    if w == "cot":
        return reasoning / (reasoning + answer)
    share = {"label": 0.0, "blended": BLENDED_W}.get(w, w) if isinstance(w, str) else w
    if isinstance(share, str) or not 0 <= share <= 1:
        raise ValueError(
            f"token_weights: w = {w!r}; write a number in [0, 1], 'label', 'cot' or 'blended'."
        )
    return torch.full_like(reasoning, share)
