"""Distillation losses with a weight per token, computed by chunks of tokens.

One autograd function takes the last hidden states and the output head; no tensor of
``[tokens, vocabulary]`` is ever held, and positions of weight 0 never reach the head. The three
supervision formats (label, chain of thought, blended) differ in their token weights alone.

Alignment: position ``i`` of `hidden` predicts ``targets[i]``. With a batch of ``input_ids [B, T]``
pass ``hidden[:, :-1]``, ``input_ids[:, 1:]`` and ``token_weights(...)[:, 1:]``.
"""

from distill.losses.distillation import (
    Divergence,
    Loss,
    blended_loss,
    cross_entropy,
    distillation_loss,
)
from distill.losses.teachers import (
    Teacher,
    TeacherHidden,
    TeacherLogits,
    TeacherTopK,
    top_k_logits,
)
from distill.losses.weights import BLENDED_W, token_weights

__all__ = [
    "BLENDED_W",
    "Divergence",
    "Loss",
    "Teacher",
    "TeacherHidden",
    "TeacherLogits",
    "TeacherTopK",
    "blended_loss",
    "cross_entropy",
    "distillation_loss",
    "token_weights",
    "top_k_logits",
]
