"""Which sequences an optimiser step sees, and how they are cut into forward passes.

A step's sequences depend on the seed alone. Processes and memory decide only how they are spread:
sorted by length, cut into as many groups for each process, padded within a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from .losses import token_weights
from .task import Encoded

__all__ = ["Batch", "batches", "collate", "micro_batches", "step_indices", "steps_in_epoch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded sequences; position ``i`` of ``weights`` and ``targets`` is about token ``i + 1``.

    Padding is on the right, where no token of a causal model sees it: a model may be run without
    ``attention_mask``, which spares it the making of a mask for every pair of tokens.

    Parameters
    ----------
    indices : tuple of int
        Positions of the sequences among those given.
    input_ids, attention_mask : Tensor [sequences, tokens]
    targets : Tensor [sequences, tokens - 1]
    weights : Tensor [sequences, tokens - 1]
        As of `distill.losses.token_weights`: they sum to sequences over sequences in the step.
    """

    indices: tuple[int, ...]
    input_ids: Tensor
    attention_mask: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())


def collate(
    sequences: Sequence[Encoded],
    indices: Sequence[int],
    w: float | str,
    n_sequences: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """Pad sequences on the right and weigh their tokens.

    Parameters
    ----------
    sequences : sequence of Encoded
    indices : sequence of int
        Which of them, in order.
    w : float or {"label", "cot", "blended"}
        Weight of the reasoning, see `token_weights`.
    n_sequences : int
        Sequences in the whole optimiser step.
    device : torch.device or str
    """
    chosen = [sequences[i] for i in indices]
    shape = (len(chosen), max(len(sequence.ids) for sequence in chosen))
    ids = torch.zeros(shape, dtype=torch.long)
    real, reasoning, answer = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    for row, sequence in enumerate(chosen):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        real[row, : len(sequence.ids)] = True
        reasoning[row, sequence.reasoning] = True
        answer[row, sequence.answer] = True
    names = torch.arange(len(chosen))[:, None].expand(shape).masked_fill(~real, -1)
    weights = token_weights(reasoning, answer, names, w, n_sequences)
    return Batch(
        tuple(int(i) for i in indices),
        ids.to(device),
        real.long().to(device),
        ids[:, 1:].to(device),
        weights[:, 1:].to(device),
    )


def batches(
    sequences: Sequence[Encoded], w: float | str, tokens: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Go once through all sequences, by length; the weights of all batches sum to 1."""
    indices = range(len(sequences))
    for group in micro_batches([len(s.ids) for s in sequences], indices, tokens, 1)[0]:
        yield collate(sequences, group, w, len(sequences), device)


def steps_in_epoch(n: int, batch: int) -> int:
    """Optimiser steps in a pass over n sequences."""
    return ceil(n / batch)


def step_indices(n: int, batch: int, step: int, seed: Sequence[int]) -> np.ndarray:
    """Return the sequences of a step, from 0: each once an epoch, in an order drawn for the epoch.

    The steps of an epoch have as many sequences as one another, give or take one, and never more
    than ``batch``.
    """
    epoch, within = divmod(step, steps_in_epoch(n, batch))
    order = np.random.default_rng([*seed, epoch]).permutation(n)
    return np.array_split(order, steps_in_epoch(n, batch))[within]


def micro_batches(
    lengths: Sequence[int], indices: Sequence[int], tokens: int, processes: int
) -> list[list[list[int]]]:
    """Spread the sequences of a step over processes and forward passes.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of every sequence.
    indices : sequence of int
        Sequences of the step.
    tokens : int
        Largest size of a padded group.
    processes : int

    Returns
    -------
    list of list of list of int
        For each process its groups. All processes have the same number of groups, as collective
        operations demand, and the k-th groups of all are of similar length.

    Raises
    ------
    ValueError
        For a sequence longer than ``tokens``, and for too few sequences for the processes.
    """
    order = sorted(indices, key=lambda i: (lengths[i], i))
    if lengths[order[-1]] > tokens:
        raise ValueError(
            f"sequence {order[-1]} has {lengths[order[-1]]} tokens, more than the micro_tokens = "
            f"{tokens} of a forward pass; raise micro_tokens."
        )
    for passes in range(1, len(order) // processes + 1):
        groups = np.array_split(order, passes * processes)
        if all(lengths[group[-1]] * len(group) <= tokens for group in groups):
            return [[group.tolist() for group in groups[r::processes]] for r in range(processes)]
    raise ValueError(
        f"{len(order)} sequences of up to {lengths[order[-1]]} tokens don't go into groups of "
        f"{tokens} tokens, as many for each of {processes} processes; raise micro_tokens or the "
        "batch, or start fewer processes."
    )
