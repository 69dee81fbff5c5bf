"""What a model still knows beyond its task: distance to its base model, and public benchmarks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scaling_laws.metrics import METRICS

from .likelihood import evaluating
from .losses import TeacherHidden, distillation_loss
from .models import check_logits
from .scores import mean, proportion, triples

__all__ = ["GENERAL_KL", "general_kl", "lm_eval_scores"]

GENERAL_KL = METRICS["general_kl"]
"""Metric of `general_kl`, in nats a token."""

# Shares of right answers, in the order in which they are looked for.
_SHARES = ("acc", "exact_match", "acc_norm")


def general_kl(
    model: Any,
    base: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_tokens: int = 512,
) -> dict[str, float]:
    """Measure how far a model has moved from its base model on text that neither was trained on.

    ``mean over texts of mean over tokens of KL(base || model)``, from the second token on.

    Parameters
    ----------
    model, base : PreTrainedModel
        With the same vocabulary.
    tokenizer : tokenizer
    texts : sequence of str
        General text, held out; each counts the same whatever its length.
    max_tokens : int
        Longer texts are cut to it.

    Returns
    -------
    dict
        ``general_kl`` in nats a token, ``general_kl_se`` over texts and ``general_kl_n``.

    Raises
    ------
    ValueError
        For a text of less than two tokens, or other vocabularies.
    """
    if not texts:
        raise ValueError("general_kl: no texts.")
    found = []
    with evaluating(model), evaluating(base):
        for i, text in enumerate(texts):
            ids = tokenizer(text)["input_ids"][:max_tokens]
            if len(ids) < 2:
                raise ValueError(f"general_kl: text {i} has {len(ids)} tokens; it needs two.")
            if i == 0:
                check_logits(model, ids)
                check_logits(base, ids)
            head = model.get_output_embeddings().weight
            states = _states(model, ids)
            weights = torch.full((len(ids) - 1,), 1 / (len(ids) - 1), device=states.device)
            teacher = TeacherHidden(_states(base, ids), base.get_output_embeddings().weight)
            loss = distillation_loss(states, head, weights, teacher=teacher)
            found.append(loss.total.item())
    return triples({"general_kl": mean(np.array(found))}, len(found))


def _states(model: Any, ids: Sequence[int]) -> Tensor:
    """Last hidden states [tokens - 1, hidden] of all tokens that predict another."""
    inputs = torch.tensor([ids], device=model.device)
    return model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state[0, :-1]


def lm_eval_scores(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    include_path: str | os.PathLike[str] | None = None,
    defaults: bool | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, float]:
    """Score tasks of the Language Model Evaluation Harness, such as ``mmlu`` and ``mmlu_pro``.

    Needs the extra ``scaling-laws[eval]``. Without a network, copy the harness's task files
    (``lm_eval/tasks/mmlu/default``, ``lm_eval/tasks/mmlu_pro``) into a folder, let each read files
    of yours, and pass the folder as `include_path`; its tasks are taken before the harness's::

        dataset_path: json          # in the template that all subjects include
        dataset_name: null          # in place of the subject's name
        dataset_kwargs:             # in the file of a subject; the paths are absolute
          data_files: {test: /data/mmlu/anatomy-test.jsonl, dev: /data/mmlu/anatomy-dev.jsonl}

    A line of MMLU is ``{"question": ..., "choices": [four texts], "answer": 0 to 3}``; one of
    MMLU-Pro ``{"question": ..., "options": [up to ten texts], "answer": "A" to "J",
    "cot_content": ..., "category": ...}``, with the splits ``test`` and ``validation``.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : tokenizer
    tasks : sequence of str
        Names of tasks or groups.
    include_path : path, optional
        Folder of your own task files.
    defaults : bool, optional
        Whether the harness looks at its own tasks too, which takes seconds; by default it does
        where a task is not in `include_path`.
    metric : str, optional
        A share of right answers; by default the first of ``acc``, ``exact_match``, ``acc_norm``
        that the task has.
    num_fewshot, limit : int, optional
        As in the harness: examples in the prompt, and items a task at most.
    batch_size : int

    Returns
    -------
    dict
        ``t``, ``t_se`` (binomial) and ``t_n`` for every task t.

    Raises
    ------
    ImportError
        Without the extra, naming it.
    ValueError
        For a task without such a metric, naming those it has.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ImportError(
            'lm_eval_scores needs the harness: pip install "scaling-laws[eval]".'
        ) from error
    own = None if include_path is None else os.fspath(include_path)
    manager = TaskManager(include_path=own, include_defaults=bool(defaults))
    if defaults is None and not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=own)
    with evaluating(model):
        results = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=list(tasks),
            task_manager=manager,
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=0,
            log_samples=False,
        )
    row: dict[str, float] = {}
    for task in tasks:
        score, n = _share(results, task, metric), _items(results, task)
        row |= triples({task: (score, proportion(round(score * n), n)[1])}, n)
    return row


def _share(results: Mapping[str, Any], task: str, metric: str | None) -> float:
    """Score of a task; keys of the harness are ``metric,filter``."""
    found = {**results["results"].get(task, {}), **results.get("groups", {}).get(task, {})}
    for name in _SHARES if metric is None else (metric,):
        for key, value in found.items():
            if key.split(",")[0] == name:
                if not 0 <= value <= 1:
                    raise ValueError(f"{task}: {key} = {value} is not a share of right answers.")
                return float(value)
    known = sorted(key.split(",")[0] for key in found if "," in key and "_stderr" not in key)
    wanted = metric or " or ".join(_SHARES)
    raise ValueError(f"{task} has no metric {wanted}; it has {', '.join(known) or 'none'}.")


def _items(results: Mapping[str, Any], task: str) -> int:
    """Items of a task, or of all tasks of a group."""
    parts = results.get("group_subtasks", {}).get(task)
    if parts:
        return sum(_items(results, part) for part in parts)
    return int(results["n-samples"][task]["effective"])
