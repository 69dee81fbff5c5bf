"""Probabilities that are right in their last digits where one of them is near 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["balance", "softmax"]


def softmax(
    logits: Tensor, top: Tensor | None = None, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``log softmax`` of logits [tokens, buckets], in their place, its exp and first choice.

    ``log q_i = d_i - log1p(sum_{j != top} exp d_j)`` with ``d = logits - logits[top]``. The sum
    leaves out the largest: added to 1, the probabilities of a confident model would be rounded
    away, and with them its loss. That of ``torch.log_softmax`` rounds away the many small ones of
    a large vocabulary too, as it keeps few partial sums.

    Parameters
    ----------
    logits : Tensor [tokens, buckets]
        Overwritten.
    top : Tensor [tokens, 1], integer, optional
        Places of the largest, where they are known.
    out : Tensor [tokens, buckets], optional
        Takes the probabilities. Memory that is touched for the first time costs more than the exp.
    """
    if top is None:
        largest, top = logits.max(-1, keepdim=True)
    else:
        largest = logits.gather(-1, top)
    differences = logits.sub_(largest)
    q = torch.exp(differences, out=out)
    rest = q.scatter_(-1, top, 0.0).sum(-1, keepdim=True)
    q.scatter_(-1, top, 1.0).div_(rest + 1)
    return differences.sub_(rest.log1p_()), q, top


def balance(by_logits: Tensor, top: Tensor, log_top: Tensor) -> Tensor:
    """Make derivatives by logits [tokens, buckets] sum to 0 where a model is sure, in place.

    They do, as logits that are all shifted have the same softmax. Where the first choice
    ``top [tokens, 1]`` has more than half, of ``log_top [tokens, 1]``, its derivative is a
    difference of numbers near 1, and the sum of the others knows it better.
    """
    own = by_logits.gather(-1, top)
    others = by_logits.scatter_(-1, top, 0.0).sum(-1, keepdim=True)
    return by_logits.scatter_(-1, top, torch.where(log_top > -math.log(2), -others, own))
