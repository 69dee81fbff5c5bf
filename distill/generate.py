"""Write replies to many prompts at once: greedy, or sampled with a seed."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from .likelihood import evaluating

__all__ = ["Reply", "generate"]


@dataclass(frozen=True)
class Reply:
    """What a model wrote after a prompt.

    Parameters
    ----------
    ids : tuple of int
        Tokens written, with the end of the sequence if it was reached.
    finished : bool
        Whether it was; else the limit cut the reply off.
    seconds : float
        Wall time of its batch divided by the replies in it.
    """

    ids: tuple[int, ...]
    finished: bool
    seconds: float

    def text(self, tokenizer: Any) -> str:
        """Decode the reply, without special tokens."""
        return tokenizer.decode(
            list(self.ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def whole(self, tokenizer: Any, lead: str) -> str:
        """Decode it after its lead, without a last line that was cut off.

        A cut may turn one answer into another: ``Guidance cut`` into ``Guidance``.
        """
        text = lead + self.text(tokenizer)
        return text if self.finished else text.rpartition("\n")[0]


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    batch_size: int = 32,
    rng: int | np.random.Generator = 0,
    done: Callable[[list[int], list[Reply]], None] | None = None,
) -> list[Reply]:
    """Write a reply to each prompt, up to the tokenizer's end of sequence.

    The model's own generation settings (penalties, top-p) are not used: a greedy reply is the most
    likely next token at every step.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : tokenizer
        Gives the end of sequence.
    prompts : sequence of token ids
    max_new_tokens : int
    temperature : float
        0 is greedy; above 0 samples from ``softmax(logits / temperature)``.
    batch_size : int
        Prompts written to at once, after sorting by length.
    rng : int or numpy.random.Generator
        For sampling.
    done : callable, optional
        Called after each batch with the places of its prompts and their replies.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("generate: the tokenizer has no eos_token, so that no reply would end.")
    if max_new_tokens < 1 or temperature < 0 or not all(len(prompt) for prompt in prompts):
        raise ValueError(
            f"generate: max_new_tokens = {max_new_tokens} must be 1 or more, temperature = "
            f"{temperature} 0 or more, and every prompt of one token or more."
        )
    seed = int(np.random.default_rng(rng).integers(2**62))
    draw = torch.Generator(model.device).manual_seed(seed)
    replies: list[Reply] = [Reply((), False, 0.0)] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        began = time.perf_counter()
        with evaluating(model):
            written = _write(
                model, [prompts[i] for i in batch], tokenizer.eos_token_id, max_new_tokens,
                temperature, draw,
            )  # fmt: skip
        seconds = (time.perf_counter() - began) / len(batch)
        for i, ids in zip(batch, written, strict=True):
            replies[i] = Reply(tuple(ids), ids[-1] == tokenizer.eos_token_id, seconds)
        if done is not None:
            done(batch, [replies[i] for i in batch])
    return replies


def _write(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos: int,
    limit: int,
    temperature: float,
    draw: torch.Generator,
) -> list[list[int]]:
    device, width = model.device, max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    cached = {_cache_name(model): cache}
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for step in range(limit):
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
            logits_to_keep=1, **cached,
        )  # fmt: skip
        chosen = _choose(output.logits[:, -1].float(), temperature, draw)
        tokens = chosen.tolist()
        for row, token in zip(rows, tokens, strict=True):
            written[row].append(token)
        going = [place for place, token in enumerate(tokens) if token != eos]
        if not going or step == limit - 1:
            break
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        if len(going) < len(rows):
            kept = torch.tensor(going, device=device)
            cache.batch_select_indices(kept)
            ids, positions, mask = ids[kept], positions[kept], mask[kept]
            rows = [rows[place] for place in going]
    return written


def _cache_name(model: Any) -> str:
    """Return what the model calls the cache: recent releases of transformers renamed it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = inspect.signature(inner.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _choose(logits: Tensor, temperature: float, draw: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    chances = torch.softmax(logits / temperature, -1)
    return torch.multinomial(chances, 1, generator=draw).squeeze(-1)
