"""Ask a model the quiz: an option's score is how much the question raises its likelihood."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM

from ..files import save_items
from ..likelihood import log_likelihoods
from ..scores import mean, proportion, triples
from .questions import Question

__all__ = ["QuizResult", "random_copy", "take_quiz"]

_STEM = "Question: {}\nAnswer:"
_NEUTRAL = "Answer:"
# Options of the neutral stem that share a pass: their tokens see each other's positions only.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class QuizResult:
    """Scores on the quiz and what was chosen.

    Parameters
    ----------
    scores : mapping of str to float
        ``quiz``, ``quiz_se`` and ``quiz_n``: share of right answers; likewise ``quiz_nll``, the
        negative log-probability of the right option among the four, in nats, which moves where
        the choice does not.
    items : DataFrame
        A row a question: ``id``, ``domain``, ``relation``, ``chosen``, ``gold``, ``right``,
        ``nll``.
    """

    scores: Mapping[str, float]
    items: pd.DataFrame = field(repr=False)

    def by(self, column: str = "domain") -> pd.DataFrame:
        """Share of right answers, its standard error and count by ``domain`` or ``relation``."""
        rows = {}
        for name, right in self.items.groupby(column, sort=True)["right"]:
            rows[name] = (*proportion(int(right.sum()), len(right)), len(right))
        return pd.DataFrame.from_dict(rows, orient="index", columns=["quiz", "se", "n"])

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, str]:
        """Write the items to a Parquet file named by its SHA-256; return path and hash."""
        return save_items(self.items, folder, "quiz", {"scores": dict(self.scores)})


def take_quiz(
    model: Any, tokenizer: Any, questions: Sequence[Question], *, batch_size: int = 32
) -> QuizResult:
    """Let a model choose among the options of each question.

    ``score(option) = log p(option | question) - log p(option | no question)``

    so that words that are likely anyway gain nothing (Holtzman et al. 2021, arXiv 2104.08315). The
    highest score is chosen; of equal ones the first, which is right in a quarter of the cases.
    Questions are plain text, without a chat template.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : tokenizer
    questions : sequence of Question
        From `build_quiz`.
    batch_size : int
        Questions in a forward pass.
    """
    if not questions:
        raise ValueError("take_quiz: no questions; make them with build_quiz().")
    options = {option: _option(tokenizer, option) for q in questions for option in q.options}
    prompts = [_ids(tokenizer, _STEM.format(question.text)) for question in questions]
    given = log_likelihoods(
        model, prompts, [[options[o] for o in q.options] for q in questions], batch_size=batch_size
    )
    # Sorted, so that options with common beginnings come together.
    names = sorted(options)
    groups = [names[i : i + _TOGETHER] for i in range(0, len(names), _TOGETHER)]
    neutral = log_likelihoods(
        model,
        [_ids(tokenizer, _NEUTRAL)] * len(groups),
        [[options[name] for name in group] for group in groups],
        batch_size=max(1, batch_size // 8),
    )
    without = dict(zip(names, torch.cat(neutral).tolist(), strict=True))
    scores = np.stack([row.numpy() for row in given]) - np.array(
        [[without[option] for option in q.options] for q in questions]
    )
    return _result(questions, scores)


def random_copy(model: Any, rng: int | np.random.Generator = 0) -> Any:
    """Return an untrained model of the same config, dtype and device: what knows nothing scores.

    Parameters
    ----------
    model : PreTrainedModel
    rng : int or numpy.random.Generator
        Seed or generator of the weights.
    """
    seed = int(np.random.default_rng(rng).integers(2**62))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = AutoModelForCausalLM.from_config(
            copy.deepcopy(model.config),
            dtype=model.dtype,
            attn_implementation=model.config._attn_implementation,
        )
    return untrained.to(model.device).eval()


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def _option(tokenizer: Any, option: str) -> list[int]:
    return list(tokenizer(f" {option}", add_special_tokens=False)["input_ids"])


def _result(questions: Sequence[Question], scores: np.ndarray) -> QuizResult:
    if not np.isfinite(scores).all():
        i = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise ValueError(f"Question {questions[i].id!r} has likelihoods that are not numbers.")
    gold, chosen = np.array([q.answer for q in questions]), scores.argmax(axis=1)
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    nll = -log_p[np.arange(len(gold)), gold]
    right, n = gold == chosen, len(gold)
    items = pd.DataFrame(
        {
            "id": [q.id for q in questions],
            "domain": [q.domain for q in questions],
            "relation": [q.relation for q in questions],
            "chosen": [q.options[c] for q, c in zip(questions, chosen, strict=True)],
            "gold": [q.options[q.answer] for q in questions],
            "right": right,
            "nll": nll,
        }
    )
    results = {"quiz": proportion(int(right.sum()), n), "quiz_nll": mean(nll)}
    return QuizResult(triples(results, n), items)
