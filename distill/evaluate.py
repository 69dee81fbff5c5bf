"""How well a model does its task: what it answers, how sure it is, and what an answer costs."""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .examples import Example
from .files import load_items, save_items
from .generate import Reply, generate
from .likelihood import log_likelihoods
from .scores import (
    GoldCounts,
    classification_scores,
    confusion_matrix,
    item_losses,
    proportion,
    triples,
)
from .task import Format, Task

__all__ = ["LEARNT", "Evaluation", "evaluate", "load_evaluation", "reply_tokens"]

LEARNT = 2000
"""Examples of the pool whose length says how long replies may be."""

_UNPARSED = "(unparsed)"
# Tokens beyond the longest label, so that a reply which goes on is seen to go on.
_SLACK = 4
_TRACE_TOKENS = 256


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a model on a task, and what they were made from.

    Parameters
    ----------
    scores : mapping of str to float
        Fields of a run: ``m``, ``m_se`` and ``m_n`` for ``task_f1``, ``task_accuracy``,
        ``task_nll``, ``task_brier`` and ``task_unparsed``; ``tokens_in`` and ``tokens_out`` an
        answer, and ``answer_s``, seconds of wall time an answer at that batch size (of scoring its
        labels where no reply was written).
    items : DataFrame
        A row an example, in order: ``id``, ``gold``, ``predicted`` (None if unparsed), ``nll``,
        ``brier``, ``reply``, ``finished``, ``tokens_in``, ``tokens_out``, and ``p(label)`` for
        every label.
    confusion : DataFrame
        Counts: a row a gold label, a column a predicted one, the last for unparsed answers.
    settings : mapping
        What was asked for.
    """

    scores: Mapping[str, float]
    items: pd.DataFrame = field(repr=False)
    confusion: pd.DataFrame = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, str]:
        """Write all but ``answer_s`` to one Parquet file, named by its SHA-256; return both.

        The clock apart, the same answers have the same name.
        """
        about = {
            "scores": {name: x for name, x in self.scores.items() if name != "answer_s"},
            "settings": dict(self.settings),
            "labels": list(self.confusion.index),
            "confusion": self.confusion.to_numpy().tolist(),
        }
        return save_items(self.items, folder, "evaluation", about)


def load_evaluation(path: str | os.PathLike[str], sha256: str | None = None) -> Evaluation:
    """Read what `Evaluation.save` wrote.

    Raises
    ------
    ValueError
        If the file does not have the hash that is given, or is another kind of file.
    """
    items, about = load_items(path, "evaluation", sha256)
    confusion = _confusion_frame(np.array(about["confusion"]), about["labels"])
    return Evaluation(about["scores"], items, confusion, about["settings"])


def evaluate(
    model: Any,
    tokenizer: Any,
    task: Task,
    examples: Sequence[Example],
    format: Format,
    *,
    replies: int | None = None,
    gold_counts: GoldCounts = "random",
    max_new_tokens: int | None = None,
    batch_size: int = 32,
) -> Evaluation:
    """Score a model on labelled examples, with a standard error for every score.

    A reply is written greedily to every example and read by `Task.parse`; a last line that was cut
    off is no answer. The distribution over the k labels is ``p_c = exp(l_c) / sum_j exp(l_j)``,
    where l_c is the log-likelihood of the tokens of label c (see `Task.label_ids`), given the
    prompt (format ``label``), or the prompt and the model's own greedy reasoning up to the answer
    marker (``cot``, ``blended``); the marker is added to a reply without one. NLL and Brier score
    are those of this distribution.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : tokenizer
    task : Task
    examples : sequence of Example
        Not seen in training.
    format : {"label", "cot", "blended"}
        How the model was taught to answer.
    replies : int, optional
        For the format ``label``: take the most likely label as the answer to every example, and
        write a reply to the first `replies` only, for the unparsed share and the cost of an
        answer; 0 for none. By default every answer is read from a reply.
    gold_counts : {"random", "fixed"}
        Whether the classes of the test set are a sample or were set, see `macro_f1`.
    max_new_tokens : int, optional
        Limit of a reply; by default a few more than the longest label, or 256 with reasoning.
    batch_size : int
        Examples written or scored at once.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        For no examples, a gold label that the task lacks, or `replies` with reasoning.
    """
    gold = _gold(task, examples)
    if replies is not None and replies < 0:
        raise ValueError(f"evaluate: replies = {replies}; write 0 or more, or None for all.")
    if replies is not None and format != "label":
        raise ValueError(
            f"evaluate: format {format!r} needs a reply to every example; pass fewer examples "
            "instead of replies."
        )
    prompts = [task.prompt_ids(example.text, tokenizer, format) for example in examples]
    if max_new_tokens is None:
        max_new_tokens = reply_tokens(task, (), tokenizer, format)
    written = generate(
        model, tokenizer, prompts[:replies], max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    contexts = prompts
    if format != "label":
        contexts = [
            [*prompt, *_trace(reply, task, tokenizer, format)]
            for prompt, reply in zip(prompts, written, strict=True)
        ]
    log_p, seconds = _distribution(model, tokenizer, task, contexts, batch_size)
    parsed = _parsed(task, tokenizer, format, written)
    predicted = parsed if replies is None else log_p.argmax(axis=1)

    scores = classification_scores(gold, predicted, log_p, gold_counts=gold_counts)
    scores |= _costs(prompts, written, seconds)
    if written:
        unparsed = proportion(int((parsed < 0).sum()), len(written))
        scores |= triples({"task_unparsed": unparsed}, len(written))
    settings = {
        "task": task.name,
        "format": format,
        "answers": "written" if replies is None else "most likely",
        "gold_counts": gold_counts,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
    }
    items = _items(task, examples, predicted, log_p)
    items = items.assign(
        tokens_in=list(map(len, prompts)),
        reply=_padded([reply.text(tokenizer) for reply in written], len(items)),
        finished=_padded([reply.finished for reply in written], len(items)),
        tokens_out=pd.array(_padded([len(reply.ids) for reply in written], len(items)), "Int64"),
    )
    confusion = confusion_matrix(gold, predicted, len(task.labels))
    return Evaluation(scores, items, _confusion_frame(confusion, task.labels), settings)


def reply_tokens(task: Task, learnt: Sequence[Example], tokenizer: Any, format: Format) -> int:
    """Return the tokens that a reply may have: enough for every one that is learnt.

    A student of longer reasoning than the usual limit would be cut off before its answers, and
    all of them be unparsed.

    Parameters
    ----------
    task : Task
    learnt : sequence of Example
        Of the pool.
    tokenizer : tokenizer
    format : {"label", "cot", "blended"}
    """
    if format == "label":
        return max(map(len, task.label_ids(tokenizer))) + _SLACK
    written = [task.encode(e, tokenizer, format) for e in learnt if e.rationale]
    return max([_TRACE_TOKENS, *(len(s.ids) - s.prompt.stop + _SLACK for s in written)])


def _parsed(task: Task, tokenizer: Any, format: Format, written: Sequence[Reply]) -> np.ndarray:
    """Class that each reply names, -1 for none."""
    lead = task.lead(format)
    labels = [task.parse(reply.whole(tokenizer, lead)) for reply in written]
    return np.array([-1 if label is None else task.labels.index(label) for label in labels], int)


def _gold(task: Task, examples: Sequence[Example]) -> np.ndarray:
    if not examples:
        raise ValueError("evaluate: no examples.")
    for example in examples:
        if example.label not in task.labels:
            raise ValueError(
                f"Example {example.id!r}: label {example.label!r} is not a label of the task "
                f"{task.name!r}."
            )
    return np.array([task.labels.index(example.label) for example in examples])


def _trace(reply: Reply, task: Task, tokenizer: Any, format: Format) -> list[int]:
    """Tokens of a reply up to its first answer marker, or with a marker added."""
    ids = list(reply.ids[:-1] if reply.finished else reply.ids)
    text, lead = reply.text(tokenizer), task.lead(format)
    marker = re.search(rf"^{re.escape(task.answer_marker)}", lead + text, re.MULTILINE)
    if marker is None:
        return ids + _tokens(tokenizer, f"\n{task.answer_marker}")
    reasoning = text[: marker.end() - len(lead)]
    lengths = range(1, len(ids) + 1)
    n = bisect_left(lengths, len(reasoning), key=lambda n: len(_decoded(tokenizer, ids[:n]))) + 1
    # A token may hold the end of the marker and more; then the text is tokenized as in training.
    same = _decoded(tokenizer, ids[:n]) == reasoning
    return ids[:n] if same else _tokens(tokenizer, reasoning)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return Reply(tuple(ids), False, 0.0).text(tokenizer)


def _distribution(
    model: Any, tokenizer: Any, task: Task, contexts: Sequence[Sequence[int]], batch_size: int
) -> tuple[np.ndarray, float]:
    """Return log-probabilities of the labels [n, k] and seconds an example."""
    labels = task.label_ids(tokenizer)
    began = time.perf_counter()
    rows = log_likelihoods(model, contexts, [labels] * len(contexts), batch_size=batch_size)
    seconds = (time.perf_counter() - began) / len(contexts)
    return np.stack([row.log_softmax(-1).numpy() for row in rows]), seconds


def _costs(
    prompts: Sequence[Sequence[int]], written: Sequence[Reply], seconds: float
) -> dict[str, float]:
    costs = {"tokens_in": float(np.mean([len(prompt) for prompt in prompts]))}
    if not written:
        return {**costs, "answer_s": seconds}
    return {
        **costs,
        "tokens_out": float(np.mean([len(reply.ids) for reply in written])),
        "answer_s": float(np.mean([reply.seconds for reply in written])),
    }


def _items(
    task: Task, examples: Sequence[Example], predicted: np.ndarray, log_p: np.ndarray
) -> pd.DataFrame:
    gold = _gold(task, examples)
    nll, brier = item_losses(gold, log_p)
    items = pd.DataFrame(
        {
            "id": [example.id for example in examples],
            "gold": [example.label for example in examples],
            "predicted": [None if c < 0 else task.labels[c] for c in predicted],
            "nll": nll,
            "brier": brier,
        }
    )
    columns = [f"p({label})" for label in task.labels]
    return items.join(pd.DataFrame(np.exp(log_p), columns=columns))


def _padded(values: list[Any], n: int) -> list[Any]:
    return values + [None] * (n - len(values))


def _confusion_frame(counts: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    index, columns = pd.Index(labels, name="gold"), pd.Index([*labels, _UNPARSED], name="predicted")
    return pd.DataFrame(counts, index, columns)
