"""General texts that a model writes itself, to be held near what it says about them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from .config import Replay
from .streams import text_sequence
from .task import Encoded, chat_text, has_chat, plain_ids

__all__ = ["beginnings", "prompts_identity", "written_texts"]


def beginnings(tokenizer: Any, replay: Replay, rng: np.random.Generator) -> list[list[int]]:
    """Return the tokens that each text begins with.

    Without prompts one token drawn at random, so that texts differ (Liu et al. 2023, arXiv
    2305.17888, section 2.1); else a prompt, all of them in turn, in the chat format of a tokenizer
    that has one and as a line of its own elsewhere.
    """
    if replay.prompts is None:
        words = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
        start = plain_ids(tokenizer, "", special=True)  # such as a beginning of the sequence
        return [[*start, token] for token in rng.choice(words, replay.texts).tolist()]
    asked = _read(replay.prompts)
    turns = [_prompt_ids(tokenizer, prompt) for prompt in asked]
    order = np.concatenate(
        [rng.permutation(len(turns)) for _ in range(-(-replay.texts // len(turns)))]
    )
    return [turns[i] for i in order[: replay.texts]]


def prompts_identity(replay: Replay) -> dict[str, str]:
    """Return what tells one file of prompts from another; nothing without one."""
    if replay.prompts is None:
        return {}
    content = "\n".join(_read(replay.prompts))
    return {"prompts": hashlib.sha256(content.encode()).hexdigest()}


def written_texts(result: dict[str, Any]) -> list[Encoded]:
    """Return the texts of a stage as sequences; what was given is no target."""
    given = result.get("given") or [1] * len(result["texts"])
    return [text_sequence(ids, n) for ids, n in zip(result["texts"], given, strict=True)]


def _read(path: str) -> list[str]:
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    asked = [line for line in lines if line]
    if not asked:
        raise ValueError(f"{path} holds no prompt; write one a line, or leave replay.prompts out.")
    return asked


def _prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    if not has_chat(tokenizer):
        return plain_ids(tokenizer, f"{prompt}\n", special=True)
    return plain_ids(tokenizer, chat_text(tokenizer, [("user", prompt)]))
