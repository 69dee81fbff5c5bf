"""What a training learns from: sequences, who teaches them, and with which loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .batches import Batch
from .cache import Cache
from .losses import Divergence, Teacher, TeacherHidden
from .models import check_logits
from .task import Encoded

__all__ = ["CachedTeacher", "OnlineTeacher", "Stream", "text_sequence"]


@dataclass(frozen=True, eq=False)
class Stream:
    """One source of sequences in a training; the first one's length is that of an epoch.

    ``weight * mean over its sequences of the step of (alpha * T**2 * divergence + (1 - alpha) *
    NLL)``, as in `distill.losses.distillation_loss`.

    Parameters
    ----------
    sequences : sequence of Encoded
    batch : int
        Sequences in an optimiser step.
    w : float or {"label", "cot", "blended"}
        Weight of the reasoning, see `distill.losses.token_weights`.
    teacher : callable, optional
        Gives the teacher of a `Batch`; needed for ``alpha > 0``.
    alpha, divergence, temperature, clip
        Of the loss.
    weight : float
        Of this stream beside others.
    """

    sequences: Sequence[Encoded]
    batch: int
    w: float | str = "label"
    teacher: Callable[[Batch], Teacher] | None = None
    alpha: float = 0.0
    divergence: Divergence = "forward"
    temperature: float = 1.0
    clip: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an empty stream, and a divergence from nobody."""
        if not self.sequences:
            raise ValueError("Stream: no sequences.")
        if self.alpha > 0 and self.teacher is None:
            raise ValueError(f"Stream: alpha = {self.alpha} needs a teacher; pass one, or alpha=0.")

    @property
    def loss_options(self) -> dict[str, Any]:
        """Keyword arguments of `distill.losses.distillation_loss`."""
        names = ("alpha", "divergence", "temperature", "clip")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class OnlineTeacher:
    """A model that is run on each batch."""

    model: Any
    _tried: list[bool] = field(default_factory=list, init=False, repr=False)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherHidden:
        """Return its hidden states at the supervised positions, in order."""
        if not self._tried:
            check_logits(self.model, batch.input_ids[0][batch.attention_mask[0] > 0].tolist())
            self._tried.append(True)
        states = self.model.get_decoder()(
            input_ids=batch.input_ids, use_cache=False
        ).last_hidden_state[:, :-1]
        head = self.model.get_output_embeddings().weight
        return TeacherHidden(states[batch.weights > 0], head.detach())


@dataclass(frozen=True, eq=False)
class CachedTeacher:
    """A cache of sequences among which are the stream's.

    Parameters
    ----------
    cache : Cache
    places : sequence of int
        Where in the cache each sequence of the stream is.
    head : Tensor [vocab, hidden], optional
        The teacher's output head, for a cache of hidden states.
    """

    cache: Cache
    places: Sequence[int]
    head: Tensor | None = None

    def __call__(self, batch: Batch) -> Teacher:
        """Return what the cache has for the batch."""
        return self.cache.teacher([self.places[i] for i in batch.indices], self.head)


def text_sequence(ids: Sequence[int], given: int = 1) -> Encoded:
    """Make a sequence of which every token after the first `given` is supervised."""
    if len(ids) <= given:
        raise ValueError(
            f"a text of {len(ids)} tokens of which {given} are given has nothing to predict; it "
            f"needs {given + 1}."
        )
    return Encoded(tuple(ids), slice(0, given), slice(given, given), slice(given, len(ids)))
