"""Distillation losses with a weight per token, computed by chunks of tokens.

One autograd function takes the last hidden states and the output head; no tensor of
``[tokens, vocabulary]`` is ever held, and positions of weight 0 never reach the head. The three
supervision formats (label, chain of thought, blended) differ in their token weights alone.

Alignment: position ``i`` of `hidden` predicts ``targets[i]``. With a batch of ``input_ids [B, T]``
pass ``hidden[:, :-1]``, ``input_ids[:, 1:]`` and ``token_weights(...)[:, 1:]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "BLENDED_W",
    "Loss",
    "TeacherHidden",
    "TeacherLogits",
    "TeacherTopK",
    "blended_loss",
    "cross_entropy",
    "distillation_loss",
    "token_weights",
    "top_k_logits",
]

BLENDED_W = 0.5
"""Share of the reasoning span in the blended loss unless another is asked for."""

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


@dataclass(frozen=True, eq=False)
class TeacherHidden:
    """The teacher's last hidden states and its output head: exact, 2 bytes x hidden a token.

    Parameters
    ----------
    hidden : Tensor [..., hidden_t]
        After the final norm; for all positions or for the supervised ones alone, in order.
    head : Tensor [vocab, hidden_t]
        Logits are ``hidden @ head.T`` in the dtype of `head`.
    """

    hidden: Tensor
    head: Tensor

    def _buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        states = self.hidden.flatten(0, -2)[rows.to(self.hidden.device)]
        logits = states.to(self.head.device, self.head.dtype) @ self.head.T
        return torch.log_softmax(logits.to(exact).div_(temperature), -1)

    @property
    def _positions(self) -> torch.Size:
        return self.hidden.shape[:-1]

    @property
    def _vocab(self) -> int:
        return self.head.shape[0]


@dataclass(frozen=True, eq=False)
class TeacherLogits:
    """The teacher's full logits: exact, 2 bytes x vocabulary a token.

    Parameters
    ----------
    logits : Tensor [..., vocab]
        Finite; for all positions or for the supervised ones alone, in order.
    """

    logits: Tensor

    def _buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        logits = self.logits.flatten(0, -2)[rows.to(self.logits.device)]
        return torch.log_softmax(logits.to(rows.device, exact) / temperature, -1)

    @property
    def _positions(self) -> torch.Size:
        return self.logits.shape[:-1]

    @property
    def _vocab(self) -> int:
        return self.logits.shape[-1]


@dataclass(frozen=True, eq=False)
class TeacherTopK:
    """The teacher's k largest logits, and the rest of the vocabulary as one tail bucket.

    The divergence is that of ``k + 1`` buckets, never above the one over the full vocabulary.

    Parameters
    ----------
    logits : Tensor [..., k]
    indices : Tensor [..., k], integer
        Token of each logit, without repeats.
    tail : Tensor [...]
        ``logsumexp(remaining logits / temperature)``.
    vocab : int
        Size of the vocabulary, above k.
    temperature : float
        The one at which `tail` was taken; the loss must use the same.
    """

    logits: Tensor
    indices: Tensor
    tail: Tensor
    vocab: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a top that is the whole vocabulary."""
        if self.logits.shape[-1] >= self.vocab:
            raise ValueError(
                f"TeacherTopK: k = {self.logits.shape[-1]} leaves no tail in a vocabulary of "
                f"{self.vocab}; pass TeacherLogits."
            )

    def _buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        kept = rows.to(self.logits.device)
        top = self.logits.flatten(0, -2)[kept].to(rows.device, exact) / temperature
        tail = self.tail.flatten()[kept].to(rows.device, exact)
        return torch.log_softmax(torch.cat([top, tail[:, None]], -1), -1)

    def _members(self, rows: Tensor) -> Tensor:
        return self.indices.flatten(0, -2)[rows.to(self.indices.device)].to(rows.device).long()

    @property
    def _positions(self) -> torch.Size:
        return self.logits.shape[:-1]

    @property
    def _vocab(self) -> int:
        return self.vocab


Teacher = TeacherHidden | TeacherLogits | TeacherTopK


def top_k_logits(logits: Tensor, k: int, temperature: float = 1.0) -> TeacherTopK:
    """Keep the k largest logits and the mass of the rest, for a small cache.

    Parameters
    ----------
    logits : Tensor [..., vocab]
    k : int
        In ``[1, vocab)``.
    temperature : float
        The one the loss will use: the tail's mass at another can't be recovered.
    """
    top = logits.topk(k, dim=-1)
    rest = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    tail = rest.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
    return TeacherTopK(top.values, top.indices, tail, logits.shape[-1], temperature)


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
    `hidden` and `head`, or that of an active autocast.

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
    options = _Options(float(alpha), divergence, float(temperature), clip, chunk)
    rows = weights.flatten().nonzero().squeeze(-1)
    _check(hidden, head, weights, targets, teacher, options, rows)
    dense = teacher is None or teacher._positions == weights.shape
    total, parts = _ChunkedLoss.apply(
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


@dataclass(frozen=True)
class _Options:
    alpha: float
    divergence: str
    temperature: float
    clip: float | None
    chunk: int

    def __post_init__(self) -> None:
        """Refuse values out of range, with the ones allowed."""
        wrong = {
            "alpha": not 0 <= self.alpha <= 1,
            "divergence": self.divergence not in _DIVERGENCES,
            "temperature": not self.temperature > 0,
            "clip": self.clip is not None and not self.clip > 0,
            "chunk": self.chunk < 1,
        }
        allowed = {
            "alpha": "a number in [0, 1]",
            "divergence": f"one of {', '.join(_DIVERGENCES)}",
            "temperature": "a number above 0",
            "clip": "a number above 0, or None",
            "chunk": "an integer of 1 or more",
        }
        for name in (name for name, bad in wrong.items() if bad):
            raise ValueError(
                f"distillation_loss: {name} = {getattr(self, name)!r}; write {allowed[name]}."
            )


def _check(
    hidden: Tensor,
    head: Tensor,
    weights: Tensor,
    targets: Tensor | None,
    teacher: Teacher | None,
    options: _Options,
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
        elif teacher._vocab != vocab:
            refuse(f"the teacher has a vocabulary of {teacher._vocab}, the student of {vocab}.")
        elif tuple(teacher._positions) not in (positions, (len(rows),)):
            refuse(
                f"the teacher has positions {tuple(teacher._positions)}; give all {positions}, "
                f"or the {len(rows)} of positive weight in order."
            )
        elif isinstance(teacher, TeacherTopK) and teacher.temperature != options.temperature:
            refuse(
                f"the teacher's tail was taken at temperature {teacher.temperature}, the loss "
                f"asks for {options.temperature}; make the cache at that temperature."
            )


# A divergence of bucket log-probabilities [tokens, buckets]: its value [tokens], and its derivative
# by log q, up to a multiple of q: that part vanishes in the derivative by the logits.


def _forward_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    p = log_p.exp()
    return log_p.sub(log_q).mul_(p).sum(-1), p.neg_()


def _reverse_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    terms = log_q.sub(log_p).mul_(log_q.exp())
    return terms.sum(-1), terms


def _jensen_shannon(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    log_m = torch.logaddexp(log_p, log_q).sub_(math.log(2))
    terms = log_q.sub(log_m).mul_(log_q.exp())
    value = terms.sum(-1).add_(log_p.sub(log_m).mul_(log_p.exp()).sum(-1))
    return value.div_(2), terms.div_(2)


_DIVERGENCES = {
    "forward": _forward_kl,
    "reverse": _reverse_kl,
    "jensen-shannon": _jensen_shannon,
}


def _divergence(
    log_q: Tensor, teacher: Teacher, rows: Tensor, options: _Options
) -> tuple[Tensor, Tensor]:
    """Return the divergence [tokens], and its derivative by ``logits / T`` [tokens, vocab]."""
    log_p = teacher._buckets(rows, options.temperature, log_q.dtype)
    if not isinstance(teacher, TeacherTopK):
        value, by_log_q = _DIVERGENCES[options.divergence](log_p, log_q)
        total = by_log_q.sum(-1, keepdim=True)
        return value, by_log_q.sub_(log_p.copy_(log_q).exp_().mul_(total))
    members = teacher._members(rows)
    tail = log_q.scatter(-1, members, -torch.inf).logsumexp(-1, keepdim=True)
    buckets = torch.cat([log_q.gather(-1, members), tail], -1)
    value, by_bucket = _DIVERGENCES[options.divergence](log_p, buckets)
    # Inside the tail a change is shared in proportion to q.
    by_log_q = log_q.sub(tail).exp_().mul_(by_bucket[:, -1:])
    by_log_q.scatter_(-1, members, by_bucket[:, :-1])
    return value, by_log_q.sub_(log_q.exp().mul_(by_bucket.sum(-1, keepdim=True)))


def _chunk_loss(
    logits: Tensor, targets: Tensor | None, teacher: Teacher | None, rows: Tensor, o: _Options
) -> tuple[Tensor, Tensor]:
    """Return divergence, cross-entropy and clipped [3, tokens], and dL/dlogits [tokens, vocab]."""
    parts = logits.new_zeros(3, len(logits))
    gradient = None
    if o.alpha < 1 and targets is not None:
        log_q = torch.log_softmax(logits, -1)
        at_target = targets.long()[:, None]
        parts[1] = -log_q.gather(-1, at_target).squeeze(-1)
        gradient = log_q.exp_()
        gradient.scatter_add_(-1, at_target, gradient.new_full(at_target.shape, -1.0))
        gradient.mul_(1 - o.alpha)
    if o.alpha > 0 and teacher is not None:
        log_q = torch.log_softmax(logits.div_(o.temperature), -1)
        del logits  # a buffer of [tokens, vocab]
        value, by_logits = _divergence(log_q, teacher, rows, o)
        if o.clip is not None:
            above = value > o.clip
            parts[2] = above
            value.clamp_(max=o.clip)
            by_logits.masked_fill_(above[:, None], 0.0)
        parts[0] = value
        by_logits.mul_(o.alpha * o.temperature)  # T**2 of the loss, 1 / T of the softmax
        gradient = by_logits if gradient is None else gradient.add_(by_logits)
    assert gradient is not None  # one of the two parts is always asked for
    return parts, gradient


class _ChunkedLoss(torch.autograd.Function):
    """The loss of `distillation_loss` on supervised rows, with gradients made on the way."""

    @staticmethod
    def forward(ctx, hidden, head, weights, targets, teacher, rows, o, with_grad):
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        exact = torch.promote_types(hidden.dtype, torch.float32)
        states, matrix, weights = hidden.to(dtype), head.to(dtype), weights.to(exact)
        wants_hidden, wants_head = (with_grad and needed for needed in ctx.needs_input_grad[:2])
        by_hidden = torch.empty_like(hidden) if wants_hidden else None
        by_head = torch.zeros_like(head, dtype=exact) if wants_head else None
        sums = weights.new_zeros(3)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(states), o.chunk):
                part = slice(start, start + o.chunk)
                parts, by_logits = _chunk_loss(
                    (states[part] @ matrix.T).to(exact),
                    None if targets is None else targets[part],
                    teacher,
                    rows[part],
                    o,
                )
                sums += parts @ weights[part]
                by_logits = by_logits.mul_(weights[part, None]).to(dtype)
                if by_hidden is not None:
                    by_hidden[part] = by_logits @ matrix
                if by_head is not None and dtype == exact:
                    by_head.addmm_(by_logits.T, states[part])  # without a second [vocab, hidden]
                elif by_head is not None:
                    by_head += by_logits.T @ states[part]
        # Summed over chunks in float32, kept in the dtype of the head.
        ctx.save_for_backward(by_hidden, None if by_head is None else by_head.to(head.dtype))
        ctx.mark_non_differentiable(sums)
        total = o.alpha * o.temperature**2 * sums[0] + (1 - o.alpha) * sums[1]
        return total, sums

    @staticmethod
    @once_differentiable
    def backward(ctx, by_total, _):
        saved = ctx.saved_tensors
        return *(None if g is None else g * by_total.to(g.dtype) for g in saved), *(None,) * 6
