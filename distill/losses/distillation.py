"""The losses that training calls: their formula, their arguments, what they refuse."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from distill.losses.chunked import ChunkedLoss, Options
from distill.losses.teachers import Teacher, TeacherTopK
from distill.losses.weights import BLENDED_W, token_weights

__all__ = ["Divergence", "Loss", "blended_loss", "cross_entropy", "distillation_loss"]

Divergence = Literal["forward", "reverse", "jensen-shannon"]


class Loss(NamedTuple):
    """A loss and its weighted parts, 0-dimensional; only `total` carries gradients.

    Attributes
    ----------
    total : Tensor
        ``sum_i weights[i] * (alpha * temperature**2 * divergence_i + (1 - alpha) * ce_i)``.
    divergence : Tensor or None
        ``sum_i weights[i] * divergence_i``, nats, after clipping, without ``temperature**2``;
        None for ``alpha = 0``.
    cross_entropy : Tensor or None
        ``sum_i weights[i] * ce_i``, nats; None for ``alpha = 1``.
    clipped : Tensor or None
        ``sum_i weights[i] * [divergence_i > clip]``; None without a clip.
    """

    total: Tensor
    divergence: Tensor | None
    cross_entropy: Tensor | None
    clipped: Tensor | None


def distillation_loss(
    hidden: Tensor,
    head: Tensor,
    weights: Tensor,
    *,
    targets: Tensor | None = None,
    teacher: Teacher | None = None,
    alpha: float = 1.0,
    divergence: Divergence = "forward",
    temperature: float = 1.0,
    clip: float | None = None,
    chunk: int = 256,
) -> Loss:
    r"""Weighted sum over tokens of a divergence from the teacher and a cross-entropy.

    ``L = sum_i weights[i] * (alpha * T**2 * min(D_i, clip) + (1 - alpha) * CE_i)``

    with ``p = softmax(teacher logits / T)``, ``q = softmax(student logits / T)`` and

    - ``forward``: ``D = sum_v p log(p / q)``
    - ``reverse``: ``D = sum_v q log(q / p)``
    - ``jensen-shannon``: ``D = KL(p || m) / 2 + KL(q || m) / 2``, ``m = (p + q) / 2``
    - ``CE = -log softmax(student logits)[target]``, at temperature 1

    Gradients are computed in the forward pass, chunk by chunk; about six buffers of
    ``[chunk, vocab]`` in float32 are held, and a float32 gradient of the head if it is trained.
    Losses and softmaxes are float32 (float64 for float64 inputs); products are in the dtype of
    `hidden`, or that of an active autocast.

    Parameters
    ----------
    hidden : Tensor [..., hidden]
        The student's last hidden states, after the final norm.
    head : Tensor [vocab, hidden]
        The student's output head; frozen if it needs no gradient.
    weights : Tensor [...]
        Weight of each token, see `token_weights`; 0 leaves the token out. No gradient flows to it.
    targets : Tensor [...], integer, optional
        Token that each position should predict; needed for ``alpha < 1``.
    teacher : TeacherHidden, TeacherLogits or TeacherTopK, optional
        Needed for ``alpha > 0``.
    alpha : float in [0, 1]
        Share of the divergence.
    divergence : {"forward", "reverse", "jensen-shannon"}
    temperature : float
        T above 0. The factor ``T**2`` keeps gradients comparable across temperatures (Hinton,
        Vinyals and Dean 2015, arXiv 1503.02531, section 2).
    clip : float, optional
        Largest divergence of one token, nats. A token above it has no gradient from the
        divergence, so choose it above what most tokens have, and watch ``Loss.clipped``.
    chunk : int
        Tokens projected at once: memory against speed.

    Raises
    ------
    ValueError
        For shapes, vocabularies or options that don't fit together; the message names both sides.
    """
    options = Options(float(alpha), divergence, float(temperature), clip, chunk)
    rows = weights.flatten().nonzero().squeeze(-1)
    _check(hidden, head, weights, targets, teacher, options, rows)
    dense = teacher is None or teacher.positions == weights.shape
    total, parts = ChunkedLoss.apply(
        hidden.flatten(0, -2)[rows],
        head,
        weights.flatten()[rows],
        None if targets is None else targets.flatten()[rows],
        teacher,
        rows if dense else torch.arange(len(rows), device=rows.device),
        options,
        torch.is_grad_enabled(),
    )
    return Loss(
        total,
        parts[0] if options.alpha > 0 else None,
        parts[1] if options.alpha < 1 else None,
        parts[2] if clip is not None and options.alpha > 0 else None,
    )


def cross_entropy(
    hidden: Tensor, head: Tensor, weights: Tensor, targets: Tensor, *, chunk: int = 256
) -> Loss:
    """``sum_i weights[i] * -log softmax(hidden_i @ head.T)[targets_i]``, by chunks of tokens.

    Shapes as in `distillation_loss`, of which it is the case ``alpha = 0``.
    """
    return distillation_loss(hidden, head, weights, targets=targets, alpha=0.0, chunk=chunk)


def blended_loss(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    reasoning_mask: Tensor,
    answer_mask: Tensor,
    sequence_ids: Tensor,
    n_sequences: int,
    *,
    w: float = BLENDED_W,
    teacher: Teacher | None = None,
    alpha: float = 1.0,
    divergence: Divergence = "forward",
    temperature: float = 1.0,
    clip: float | None = None,
    chunk: int = 256,
) -> Loss:
    """Average the loss within the reasoning and within the answer, then mix the two spans.

    ``L = w * mean_R[a * T**2 * D + (1 - a) * CE] + (1 - w) * mean_A[same]``, averaged over
    sequences: a long trace does not swamp a label of one token.

    Masks and `sequence_ids` are aligned with `targets` (the token predicted, not the one read).
    For the rest see `token_weights` and `distillation_loss`, of which this is the composition.

    Notes
    -----
    The paper names a blended loss and gives no formula; this one is ours.
    """
    weights = token_weights(reasoning_mask, answer_mask, sequence_ids, w, n_sequences)
    return distillation_loss(
        hidden, head, weights, targets=targets, teacher=teacher, alpha=alpha,
        divergence=divergence, temperature=temperature, clip=clip, chunk=chunk,
    )  # fmt: skip


def _check(
    hidden: Tensor,
    head: Tensor,
    weights: Tensor,
    targets: Tensor | None,
    teacher: Teacher | None,
    options: Options,
    rows: Tensor,
) -> None:
    """Refuse what does not fit together, before anything is computed."""

    def refuse(text: str) -> None:
        raise ValueError(f"distillation_loss: {text}")

    positions, vocab = tuple(weights.shape), head.shape[0]
    if tuple(hidden.shape[:-1]) != positions:
        refuse(f"hidden has positions {tuple(hidden.shape[:-1])} but weights {positions}.")
    if hidden.shape[-1] != head.shape[-1]:
        refuse(f"hidden is {hidden.shape[-1]} wide but head {head.shape[-1]}.")
    supervised = weights.flatten()[rows]
    if not (torch.isfinite(supervised) & (supervised > 0)).all():
        refuse("weights must be finite and 0 or more.")
    if options.alpha < 1:
        if targets is None:
            refuse(f"alpha = {options.alpha} needs targets; pass them, or alpha=1.")
        elif tuple(targets.shape) != positions:
            refuse(f"targets have positions {tuple(targets.shape)} but weights {positions}.")
        elif not ((targets.flatten()[rows] >= 0) & (targets.flatten()[rows] < vocab)).all():
            refuse(f"a supervised target is outside the vocabulary [0, {vocab}).")
    if options.alpha > 0:
        if teacher is None:
            refuse(f"alpha = {options.alpha} needs a teacher; pass one, or alpha=0.")
        elif teacher.vocab_size != vocab:
            refuse(f"the teacher has a vocabulary of {teacher.vocab_size}, the student of {vocab}.")
        elif tuple(teacher.positions) not in (positions, (len(rows),)):
            refuse(
                f"the teacher has positions {tuple(teacher.positions)}; give all {positions}, "
                f"or the {len(rows)} of positive weight in order."
            )
        elif isinstance(teacher, TeacherTopK) and teacher.temperature != options.temperature:
            refuse(
                f"the teacher's tail was taken at temperature {teacher.temperature}, the loss "
                f"asks for {options.temperature}; make the cache at that temperature."
            )
