"""Log-probabilities that are right in their last digits where one of them is near 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["balance", "log_softmax"]


def log_softmax(logits: Tensor, top: Tensor | None = None) -> Tensor:
    """Return ``log softmax`` of logits [tokens, buckets], in their place.

    ``log q_i = d_i - log1p(sum_{j != top} exp d_j)`` with ``d = logits - logits[top]``. The sum
    leaves out the largest: added to 1, the probabilities of a confident model would be rounded
    away, and with them its loss.

    Parameters
    ----------
    logits : Tensor [tokens, buckets]
        Overwritten.
    top : Tensor [tokens, 1], integer, optional
        Places of the largest, where they are known.
    """
    top = logits.argmax(-1, keepdim=True) if top is None else top
    differences = logits.sub_(logits.gather(-1, top))
    rest = differences.exp().scatter_(-1, top, 0.0).sum(-1, keepdim=True)
    return differences.sub_(rest.log1p_())


def balance(by_logits: Tensor, top: Tensor, log_top: Tensor) -> Tensor:
    """Make derivatives by logits [tokens, buckets] sum to 0 where a model is sure, in place.

    They do, as logits that are all shifted have the same softmax. Where the first choice
    ``top [tokens, 1]`` has more than half, of ``log_top [tokens, 1]``, its derivative is a
    difference of numbers near 1, and the sum of the others knows it better.
    """
    own = by_logits.gather(-1, top)
    others = by_logits.scatter_(-1, top, 0.0).sum(-1, keepdim=True)
    return by_logits.scatter_(-1, top, torch.where(log_top > -math.log(2), -others, own))
