"""What the teacher said, in three forms: hidden states, logits, the top of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Teacher", "TeacherHidden", "TeacherLogits", "TeacherTopK", "top_k_logits"]


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

    def buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        """Return logits over a temperature, a fresh tensor [rows, buckets] of `exact`."""
        states = self.hidden.flatten(0, -2)[rows.to(self.hidden.device)]
        logits = states.to(self.head.device, self.head.dtype) @ self.head.T
        return logits.to(rows.device, exact).div_(temperature)  # rows are copies

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions it speaks about."""
        return self.hidden.shape[:-1]

    @property
    def vocab_size(self) -> int:
        """Tokens in the vocabulary."""
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

    def buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        """Return logits over a temperature, a fresh tensor [rows, buckets] of `exact`."""
        logits = self.logits.flatten(0, -2)[rows.to(self.logits.device)]
        return logits.to(rows.device, exact).div_(temperature)  # rows are copies

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions it speaks about."""
        return self.logits.shape[:-1]

    @property
    def vocab_size(self) -> int:
        """Tokens in the vocabulary."""
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

    def buckets(self, rows: Tensor, temperature: float, exact: torch.dtype) -> Tensor:
        """Return logits over a temperature, a fresh tensor [rows, buckets] of `exact`."""
        kept = rows.to(self.logits.device)
        top = self.logits.flatten(0, -2)[kept].to(rows.device, exact) / temperature
        tail = self.tail.flatten()[kept].to(rows.device, exact)
        return torch.cat([top, tail[:, None]], -1)

    def members(self, rows: Tensor) -> Tensor:
        """Return the tokens [rows, k] of all buckets but the tail."""
        return self.indices.flatten(0, -2)[rows.to(self.indices.device)].to(rows.device).long()

    @property
    def positions(self) -> torch.Size:
        """Shape of the positions it speaks about."""
        return self.logits.shape[:-1]

    @property
    def vocab_size(self) -> int:
        """Tokens in the vocabulary."""
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
