"""Log-likelihoods of continuations of a prompt, many continuations in one pass over the prompt.

The continuations of a prompt form a tree of tokens. Prompt and tree are laid out as one sequence in
which every token sees the prompt and its own ancestors only, so a prompt with 35 labels costs about
its own tokens and the distinct prefixes of the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .prune.tensors import FAMILIES

__all__ = ["evaluating", "log_likelihoods"]

Ids = Sequence[int]

# Attention that takes any mask; others know causal masks only.
_ANY_MASK = ("sdpa", "eager")
# Rows of logits held at once.
_ROWS = 256


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while, and gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def log_likelihoods(
    model: Any,
    prompts: Sequence[Ids],
    continuations: Sequence[Sequence[Ids]],
    *,
    batch_size: int = 16,
) -> list[Tensor]:
    """``sum_t log p(token t | prompt, tokens before t)`` of each continuation of each prompt.

    Parameters
    ----------
    model : PreTrainedModel
        For causal language modelling. Those that can be pruned are scored prompt by prompt, any
        other one continuation by continuation, which is slower.
    prompts : sequence of token ids
        Each of one token or more.
    continuations : sequence of sequences of token ids
        Those of each prompt.
    batch_size : int
        Prompts (or continuations) in a forward pass, after sorting by length.

    Returns
    -------
    list of Tensor [continuations], float64, nats
        One for each prompt, on the CPU.
    """
    if len(prompts) != len(continuations):
        raise ValueError(
            f"log_likelihoods: {len(prompts)} prompts but continuations of {len(continuations)}."
        )
    for i, (prompt, ends) in enumerate(zip(prompts, continuations, strict=True)):
        if not len(prompt) or not len(ends) or not all(len(end) for end in ends):
            raise ValueError(f"log_likelihoods: prompt {i} or a continuation of it has no token.")
    trees = _trees(continuations)
    size = max((len(p) + len(t.tokens) for p, t in zip(prompts, trees, strict=True)), default=0)
    if not _takes_trees(model, size):
        return _one_by_one(model, prompts, continuations, batch_size)
    results: list[Tensor] = [torch.empty(0)] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(trees[i].tokens))
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found = _score(model, [prompts[i] for i in batch], [trees[i] for i in batch])
            for i, values in zip(batch, found, strict=True):
                results[i] = values
    return results


@dataclass(frozen=True)
class _Tree:
    """Continuations as a tree; node 0 is the end of the prompt, node i > 0 reads ``tokens[i-1]``.

    Only tokens that something follows are nodes. `edges` are the distinct (node, next token) of
    which `paths` says which make up each continuation.
    """

    tokens: list[int]
    parents: list[int]
    edges: list[tuple[int, int]]
    paths: list[list[int]]

    @classmethod
    def of(cls, continuations: Sequence[Ids]) -> _Tree:
        tokens: list[int] = []
        parents: list[int] = []
        nodes: dict[tuple[int, int], int] = {}
        edges: dict[tuple[int, int], int] = {}
        paths = []
        for ids in continuations:
            node, path = 0, []
            for place, token in enumerate(ids):
                edge = (node, token)
                path.append(edges.setdefault(edge, len(edges)))
                if place == len(ids) - 1:
                    break
                if edge not in nodes:
                    tokens.append(token)
                    parents.append(node)
                    nodes[edge] = len(tokens)
                node = nodes[edge]
            paths.append(path)
        return cls(tokens, parents, list(edges), paths)

    def depths(self) -> list[int]:
        """Tokens from the end of the prompt to each node but 0."""
        depth = [0]
        for parent in self.parents:
            depth.append(depth[parent] + 1)
        return depth[1:]

    def sees(self) -> Tensor:
        """[nodes, nodes] bool, without node 0: each sees its ancestors and itself."""
        seen = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent:
                seen[node] |= seen[parent - 1]
        return seen


def _trees(continuations: Sequence[Sequence[Ids]]) -> list[_Tree]:
    """Make the tree of each prompt, once for prompts that share the list."""
    made: dict[int, _Tree] = {}
    for ends in continuations:
        if id(ends) not in made:
            made[id(ends)] = _Tree.of(ends)
    return [made[id(ends)] for ends in continuations]


def _takes_trees(model: Any, size: int) -> bool:
    config = model.config
    window = getattr(config, "sliding_window", None)
    return (
        config.model_type in FAMILIES
        and config._attn_implementation in _ANY_MASK
        and (window is None or size <= window)
    )


def _score(model: Any, prompts: Sequence[Ids], trees: Sequence[_Tree]) -> list[Tensor]:
    size = max(len(p) + len(t.tokens) for p, t in zip(prompts, trees, strict=True))
    ids = torch.zeros(len(prompts), size, dtype=torch.long)
    positions = torch.zeros_like(ids)
    # Padding sees itself: a row without anything to see would be NaN.
    sees = torch.eye(size, dtype=torch.bool).repeat(len(prompts), 1, 1)
    for row, (prompt, tree) in enumerate(zip(prompts, trees, strict=True)):
        a, b = len(prompt), len(prompt) + len(tree.tokens)
        ids[row, :b] = torch.tensor([*prompt, *tree.tokens])
        positions[row, :b] = torch.tensor([*range(a), *(a - 1 + d for d in tree.depths())])
        sees[row, :a, :a] = torch.ones(a, a, dtype=torch.bool).tril()
        sees[row, a:b, :a] = True
        sees[row, a:b, a:b] = tree.sees()
    mask = torch.zeros(sees.shape, dtype=model.dtype)
    mask.masked_fill_(~sees, torch.finfo(model.dtype).min)
    device = model.device
    hidden = model.get_decoder()(
        input_ids=ids.to(device),
        attention_mask=mask[:, None].to(device),
        position_ids=positions.to(device),
        use_cache=False,
    ).last_hidden_state
    states = torch.cat(
        [
            hidden[row, len(prompt) - 1 : len(prompt) + len(tree.tokens)]
            for row, (prompt, tree) in enumerate(zip(prompts, trees, strict=True))
        ]
    )
    starts = np.cumsum([0, *(len(tree.tokens) + 1 for tree in trees)])
    edges = [
        (start + node, token)
        for start, tree in zip(starts, trees, strict=False)
        for node, token in tree.edges
    ]
    found = _edge_log_p(model, states, torch.tensor(edges, device=device)).cpu().double()
    by_row = found.split([len(tree.edges) for tree in trees])
    return [
        torch.stack([values[path].sum() for path in tree.paths])
        for values, tree in zip(by_row, trees, strict=True)
    ]


def _edge_log_p(model: Any, states: Tensor, edges: Tensor) -> Tensor:
    """Log-probability of each edge (row of `states`, token after it), by chunks of rows."""
    head, (nodes, tokens) = model.get_output_embeddings(), edges.T
    found = torch.empty(len(edges), dtype=_exact(states.dtype), device=states.device)
    for start in range(0, len(states), _ROWS):
        logits = head(states[start : start + _ROWS]).to(found.dtype)
        here = (nodes >= start) & (nodes < start + _ROWS)
        rows = nodes[here] - start
        found[here] = logits[rows, tokens[here]] - logits.logsumexp(-1)[rows]
    return found


def _one_by_one(
    model: Any,
    prompts: Sequence[Ids],
    continuations: Sequence[Sequence[Ids]],
    batch_size: int,
) -> list[Tensor]:
    pairs = [(i, j) for i, ends in enumerate(continuations) for j in range(len(ends))]
    pairs.sort(key=lambda pair: len(prompts[pair[0]]) + len(continuations[pair[0]][pair[1]]))
    results = [torch.empty(len(ends), dtype=torch.float64) for ends in continuations]
    with evaluating(model):
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            rows = [[*prompts[i], *continuations[i][j]] for i, j in batch]
            ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, tokens in enumerate(rows):
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = 1
            ids = ids.to(model.device)
            logits = model(
                input_ids=ids, attention_mask=mask.to(model.device), use_cache=False
            ).logits
            for row, (i, j) in enumerate(batch):
                span = slice(len(prompts[i]) - 1, len(rows[row]) - 1)
                log_p = logits[row, span].to(_exact(logits.dtype)).log_softmax(-1)
                targets = ids[row, span.start + 1 : span.stop + 1, None]
                results[i][j] = log_p.gather(-1, targets).double().sum()
    return results


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
