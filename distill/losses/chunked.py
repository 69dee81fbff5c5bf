"""One pass over chunks of tokens: the loss, and its gradients made on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from distill.losses.softmax import balance, log_softmax
from distill.losses.teachers import Teacher, TeacherTopK

__all__ = ["ChunkedLoss", "Options"]

# A divergence of bucket log-probabilities [tokens, buckets]: its value [tokens], and its derivative
# by log q, up to a multiple of q: that part vanishes in the derivative by the logits. All overwrite
# log_p, to hold fewer tensors of this size.

# Least log-probability that a term is weighted by: what it leaves out is below 1e-32.
_FLOOR = -80.0


def _kl(log_p: Tensor, log_q: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``sum_i p_i (r_i + exp(-r_i) - 1)`` with ``r = log(p / q)``, p, and r in `out`.

    That is ``sum_i p_i r_i``, as p and q both sum to 1, but no term is below 0: where p and q are
    near each other, nothing is left to cancel.
    """
    p = log_p.clamp_(min=_FLOOR).exp()
    r = torch.sub(log_p, log_q, out=out)
    return r.neg().expm1_().add_(r).mul_(p).sum(-1), p, r


def _forward_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    value, p, _ = _kl(log_p, log_q, out=log_p)
    return value, p.neg_()


def _reverse_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    value, q, r = _kl(log_q, log_p, out=log_p)
    return value, r.mul_(q)


def _jensen_shannon(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    log_m = torch.logaddexp(log_p, log_q).sub_(math.log(2))
    # log(q / m) less log 2: near 0, not near log 2, where p has nothing.
    by_log_q = logsigmoid(log_q.sub(log_p))
    of_p = _kl(log_p, log_m, out=log_p)[0]
    of_q, q, _ = _kl(log_q, log_m, out=log_p)
    return of_q.add_(of_p).div_(2), by_log_q.mul_(q).div_(2)


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


def _by_logits(log_p: Tensor, log_q: Tensor, top: Tensor, divergence: str) -> tuple[Tensor, Tensor]:
    """Return a divergence [tokens], and its derivative by the logits of q."""
    value, by_log_q = _DIVERGENCES[divergence](log_p, log_q)
    total = by_log_q.sum(-1, keepdim=True)
    by_logits = by_log_q.sub_(log_q.exp().mul_(total))
    return value, balance(by_logits, top, log_q.gather(-1, top))


def _divergence(
    log_q: Tensor, top: Tensor, teacher: Teacher, rows: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """Return the divergence [tokens], and its derivative by ``logits / T`` [tokens, vocab]."""
    log_p = teacher.buckets(rows, options.temperature, log_q.dtype)
    if not isinstance(teacher, TeacherTopK):
        return _by_logits(log_p, log_q, top, options.divergence)
    members = teacher.members(rows)
    tail = log_q.scatter(-1, members, -torch.inf).logsumexp(-1, keepdim=True)
    buckets = log_softmax(torch.cat([log_q.gather(-1, members), tail], -1))
    top = buckets.argmax(-1, keepdim=True)
    value, by_bucket = _by_logits(log_p, buckets, top, options.divergence)
    # Inside the tail a change is shared in proportion to q.
    by_logits = log_q.sub_(tail).exp_().mul_(by_bucket[:, -1:])
    return value, by_logits.scatter_(-1, members, by_bucket[:, :-1])


def _chunk_loss(
    logits: Tensor, targets: Tensor | None, teacher: Teacher | None, rows: Tensor, o: Options
) -> tuple[Tensor, Tensor]:
    """Return divergence, cross-entropy and clipped [3, tokens], and dL/dlogits [tokens, vocab]."""
    parts = logits.new_zeros(3, len(logits))
    gradient, top = None, logits.argmax(-1, keepdim=True)
    if o.alpha < 1 and targets is not None:
        log_q = log_softmax(logits.clone() if o.alpha > 0 else logits, top)
        at_target = targets.long()[:, None]
        parts[1] = -log_q.gather(-1, at_target).squeeze(-1)
        largest = log_q.gather(-1, top)
        gradient = log_q.exp_()
        gradient.scatter_add_(-1, at_target, gradient.new_full(at_target.shape, -1.0))
        gradient = balance(gradient, top, largest).mul_(1 - o.alpha)
    if o.alpha > 0 and teacher is not None:
        log_q = log_softmax(logits.div_(o.temperature), top)
        value, by_logits = _divergence(log_q, top, teacher, rows, o)
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
        """Scale the gradients that the forward pass made; a loss that counts once needs no copy."""
        saved = ctx.saved_tensors
        if by_total.item() != 1.0:
            saved = [None if g is None else g * by_total.to(g.dtype) for g in saved]
        return *saved, *(None,) * 6
