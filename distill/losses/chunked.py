"""One pass over chunks of tokens: the loss, and its gradients made on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.losses.softmax import balance, softmax
from distill.losses.teachers import Teacher, TeacherTopK

__all__ = ["ChunkedLoss", "Options"]

# A divergence of bucket log-probabilities and probabilities, each [tokens, buckets]: its value
# [tokens], and its derivative by the logits of q. All four are overwritten, to hold fewer tensors
# of this size and to touch no new memory.

# Least log-probability that a term is weighted by: what it leaves out is below 1e-32.
_FLOOR = -80.0
# The terms of sum p log(p / q) cancel to its value, with an error of about 8 eps: log p and log q
# are near 8, and rounded. Up to this value that is more than 1e-5 of it in float32.
_CANCELS = 8 * torch.finfo(torch.float32).eps / 1e-5


def _kl(r: Tensor, p: Tensor, spare: Tensor) -> Tensor:
    """Return ``sum_i p_i r_i`` of ``r = log(p / q)``; `spare`, of their shape, is overwritten.

    Small ones as ``sum_i p_i (r_i + exp(-r_i) - 1)``: the same, as p and q both sum to 1, but no
    term is below 0, and nothing is left to cancel.
    """
    value = torch.mul(p, r, out=spare).sum(-1)
    small = (value < _CANCELS).nonzero().squeeze(-1)
    if len(small) == 0:
        return value
    # Of most rows no copy is worth its time; the longer form is right for the others as well.
    rows = slice(None) if 2 * len(small) > len(value) else small
    r, p = r[rows], p[rows].clamp_(min=math.exp(_FLOOR))
    terms = torch.neg(r, out=spare[: len(r)]).expm1_().add_(r).mul_(p)
    value[rows] = terms.sum(-1)
    return value


def _forward_kl(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    r = log_p.clamp_(min=_FLOOR).sub_(log_q)
    return _kl(r, p, spare=log_q), q.sub_(p)


def _reverse_kl(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    r = log_q.clamp_(min=_FLOOR).sub_(log_p)
    value = _kl(r, q, spare=log_p)
    return value, r.sub_(value[:, None]).mul_(q)


def _jensen_shannon(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    for log, x in ((log_p, p), (log_q, q)):
        log.clamp_(min=_FLOOR)
        x.clamp_(min=math.exp(_FLOOR))
    log_m = torch.add(p, q).div_(2).log_()
    r, r_q = log_p.sub_(log_m), log_q.sub_(log_m)
    spare = log_m
    value = _kl(r, p, spare).add_(_kl(r_q, q, spare)).div_(2)
    # log(q / m) less log 2: near 0, not near log 2, where p has nothing.
    by_log_q = torch.div(p, q, out=p).log1p_().neg_()
    total = torch.mul(by_log_q, q, out=spare).sum(-1, keepdim=True)
    return value, by_log_q.sub_(total).mul_(q).div_(2)


_DIVERGENCES = {
    "forward": _forward_kl,
    "reverse": _reverse_kl,
    "jensen-shannon": _jensen_shannon,
}


@dataclass(frozen=True)
class Options:
    """Settings of `distillation_loss`, checked."""

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


def _by_logits(
    p: Tensor, spare: Tensor | None, log_q: Tensor, q: Tensor, top: Tensor, divergence: str
) -> tuple[Tensor, Tensor]:
    """Return a divergence from logits of p [tokens], and its derivative by the logits of q."""
    log_p, p, _ = softmax(p, out=spare)
    log_top = log_q.gather(-1, top)
    value, by_logits = _DIVERGENCES[divergence](log_p, p, log_q, q)
    return value, balance(by_logits, top, log_top)


def _divergence(
    logits: Tensor, top: Tensor | None, spare: list[Tensor], teacher: Teacher, rows: Tensor,
    o: Options,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the divergence [tokens], and its derivative by the logits over T [tokens, vocab]."""
    of_teacher = teacher.buckets(rows, o.temperature, logits.dtype)
    log_q, q, top = softmax(logits, top, out=spare[0])
    if not isinstance(teacher, TeacherTopK):
        return _by_logits(of_teacher, spare[1], log_q, q, top, o.divergence)
    members = teacher.members(rows)
    tail = q.copy_(log_q).scatter_(-1, members, -torch.inf).logsumexp(-1, keepdim=True)
    buckets = softmax(torch.cat([log_q.gather(-1, members), tail], -1))
    value, by_bucket = _by_logits(of_teacher, None, *buckets, o.divergence)
    # Inside the tail a change is shared in proportion to q.
    by_logits = log_q.sub_(tail).exp_().mul_(by_bucket[:, -1:])
    return value, by_logits.scatter_(-1, members, by_bucket[:, :-1])


def _chunk_loss(
    logits: Tensor, spare: list[Tensor], targets: Tensor | None, teacher: Teacher | None,
    rows: Tensor, weights: Tensor, o: Options,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return divergence, cross-entropy and clipped [3, tokens], and the weighted dL/dlogits.

    `logits` and `spare` are overwritten: one more [tokens, vocab], or two where a teacher speaks.
    """
    parts = logits.new_zeros(3, len(logits))
    gradient = top = None
    if o.alpha < 1 and targets is not None:
        logits, q, top = softmax(logits, out=spare[0] if o.alpha == 0 else None)
        at_target = targets.long()[:, None]
        parts[1] = -logits.gather(-1, at_target).squeeze(-1)
        q.scatter_add_(-1, at_target, q.new_full(at_target.shape, -1.0))
        gradient = balance(q, top, logits.gather(-1, top))
        gradient.mul_((1 - o.alpha) * weights[:, None])
    if o.alpha > 0 and teacher is not None:
        # Log-probabilities have the softmax of their logits at every temperature.
        logits.div_(o.temperature)
        value, by_logits = _divergence(logits, top, spare, teacher, rows, o)
        scale = o.alpha * o.temperature * weights  # T**2 of the loss, 1 / T of the softmax
        if o.clip is not None:
            above = value > o.clip
            parts[2] = above
            value.clamp_(max=o.clip)
            scale = scale.masked_fill(above, 0.0)
        parts[0] = value
        if gradient is None:
            gradient = by_logits.mul_(scale[:, None])
        else:
            gradient.addcmul_(by_logits, scale[:, None])
    assert gradient is not None  # one of the two parts is always asked for
    return parts, gradient


class ChunkedLoss(torch.autograd.Function):
    """The loss of `distillation_loss` on supervised rows, with gradients made on the way."""

    @staticmethod
    def forward(ctx, hidden, head, weights, targets, teacher, rows, o, with_grad):
        """Return the total and the sums of divergence, cross-entropy and clipped [3].

        `hidden [tokens, hidden]`, `weights` and `targets` are of supervised tokens; `rows [tokens]`
        are their positions in what the teacher holds.
        """
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        exact = torch.promote_types(hidden.dtype, torch.float32)
        states, matrix, weights = hidden.to(dtype), head.to(dtype), weights.to(exact)
        wants_hidden, wants_head = (with_grad and needed for needed in ctx.needs_input_grad[:2])
        by_hidden = torch.empty_like(hidden) if wants_hidden else None
        by_head = torch.zeros_like(head, dtype=exact) if wants_head else None
        sums = weights.new_zeros(3)
        shape, kinds = (min(o.chunk, len(states)), len(matrix)), 3 if o.alpha > 0 else 2
        # Kept over all chunks: memory that is touched for the first time is slow.
        logits, *spare = (weights.new_empty(shape) for _ in range(kinds))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(states), o.chunk):
                part = slice(start, start + o.chunk)
                n = len(states[part])
                if dtype == exact:
                    torch.mm(states[part], matrix.T, out=logits[:n])
                else:
                    logits[:n] = states[part] @ matrix.T
                parts, by_logits = _chunk_loss(
                    logits[:n],
                    [x[:n] for x in spare],
                    None if targets is None else targets[part],
                    teacher,
                    rows[part],
                    weights[part],
                    o,
                )
                sums += parts @ weights[part]
                by_logits = by_logits.to(dtype)
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
        """Scale the gradients that the forward pass made; a loss that counts once needs no copy."""
        saved = ctx.saved_tensors
        if by_total.item() != 1.0:
            saved = [None if g is None else g * by_total.to(g.dtype) for g in saved]
        return *saved, *(None,) * 6
