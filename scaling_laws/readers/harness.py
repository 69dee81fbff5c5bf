"""Read the results of lm-evaluation-harness: a file is one model's row.

Facts of the format: ``results`` holds a task's scores under ``metric,filter``, their standard
errors under ``metric_stderr,filter``; ``n-samples`` counts the items of tasks but not of groups,
whose members are in ``group_subtasks``. Releases before 0.4 wrote no filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from .frame import from_records
from .table import Note, RunLogError, Table, show

__all__ = ["is_harness", "read_harness"]

# The score of the published protocol, for the scores that the schema knows.
_PROTOCOL = {"mmlu": ("acc", ("none",)), "mmlu_pro": ("exact_match", ("custom-extract",))}
# Of `config` and of the file; settings of the evaluation are covariates.
_SETTINGS = ("model", "limit", "model_dtype", "model_revision", "model_sha")
_CONFIG = ("model_args", "model_num_parameters")
_USED = {"results", "groups", "group_subtasks", "n-samples", "n-shot", "config", "model_name"}
_NO_SCORE = ("alias", "name", "sample_len", "sample_count")


def is_harness(found: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a result file of the harness."""
    marks = ("n-samples", "n-shot", "versions", "configs", "lm_eval_version")
    return isinstance(found.get("results"), Mapping) and any(mark in found for mark in marks)


def read_harness(found: Mapping[str, Any], source: str, run: str) -> Table:
    """Return one row: the model, its arguments as covariates, and a triple for each score.

    `mmlu` is the accuracy of the group, `mmlu_pro` its extracted exact match. Any other score is
    ``{task}_{metric}``, with the filter behind it unless that is "none"; ``_se`` and ``_n`` behind
    that are its standard error and number of items, as a `Metric` of that name expects.

    Raises
    ------
    RunLogError
        For results that are not scores by task.
    """
    config = _mapping(found, "config")
    row, told, left = _model(found, config)
    row = {"run_id": run, **row}
    measured: set[str] = set()
    for task, scores in cast(Mapping[str, Any], found["results"]).items():
        if not isinstance(scores, Mapping):
            raise RunLogError(f"{source}: results.{task} = {show(scores)} is not an object.")
        items = _items(found, task, frozenset())
        named = dict(_scores(task, cast(Mapping[str, Any], scores)))
        for name, (value, error, key) in named.items():
            triple = {name: value, f"{name}_se": error, f"{name}_n": items}
            row |= {field: cell for field, cell in triple.items() if cell is not None}
            measured |= set(triple)
            if name == task:
                told.append(f"{key} of {task} -> {name}")
        if named and (shots := _mapping(found, "n-shot").get(task)) is not None:
            row[f"{task}_shots"] = shots
    what = f"; {', '.join(told)}" if told else ""
    sentence = f"{source}: read as results of lm-evaluation-harness{what}."
    notes = [Note("harness", "info", sentence)]
    left += [name for name in found if name not in _USED]
    left += [f"config.{name}" for name in config if name not in (*_SETTINGS, *_CONFIG)]
    if left:
        notes.append(Note("not_read", "info", f"{source}: not read: {', '.join(left)}."))
    if row.get("limit") is not None:
        sentence = f"{source}: limit = {show(row['limit'])}: tasks were cut off, as their n says."
        notes.append(Note("limited", "warning", sentence))
    table = from_records([(0, row)], source, notes=notes)
    return replace(table, measured=frozenset(measured), typed=False)


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _model(
    found: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return what is said of the model, what was renamed, and which arguments are no cells."""
    row = {name: config[name] for name in _SETTINGS if config.get(name) is not None}
    told: list[str] = []
    arguments = _arguments(config.get("model_args"))
    if "pretrained" in arguments:
        row["base_model"] = arguments.pop("pretrained")
        told.append("pretrained -> base_model")
    elif isinstance(found.get("model_name"), str):
        row["base_model"] = found["model_name"]
        told.append("model_name -> base_model")
    if config.get("model_num_parameters") is not None:
        row["params"] = config["model_num_parameters"]
        told.append("model_num_parameters -> params")
    left = [f"model_args.{n}" for n, v in arguments.items() if isinstance(v, (Mapping, list))]
    for name, value in arguments.items():
        if f"model_args.{name}" not in left:
            row[f"model_args.{name}" if name in row else name] = value
    return row, told, left


def _arguments(given: object) -> dict[str, Any]:
    """Return ``model_args``: an object, or text such as ``pretrained=org/model,dtype=float16``."""
    if isinstance(given, Mapping):
        return dict(cast(Mapping[str, Any], given))
    if not isinstance(given, str):
        return {}
    pairs = (part.partition("=") for part in given.split(",") if part.strip())
    return {name.strip(): value.strip() if equals else True for name, equals, value in pairs}


def _scores(task: str, scores: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any, str]]]:
    """Yield name -> (score, standard error, key) of every score of a task."""
    protocol, filters = _PROTOCOL.get(task, ("", ()))
    for key, value in scores.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith("_stderr") or key in _NO_SCORE:
            continue
        filtered = filtered or "none"
        error = scores.get(key.replace(metric, f"{metric}_stderr", 1))
        tail = "" if filtered == "none" else f"_{filtered}"
        ours = metric == protocol and filtered in filters
        yield (task if ours else f"{task}_{metric}{tail}"), (value, error, key)


def _items(found: Mapping[str, Any], task: str, seen: frozenset[str]) -> Any:
    """Return the number of items of a task, or the sum over the members of a group."""
    counted = _mapping(found, "n-samples").get(task)
    if isinstance(counted, Mapping):
        return cast(Mapping[str, Any], counted).get("effective")
    members = _mapping(found, "group_subtasks").get(task)
    if not isinstance(members, list) or task in seen:
        return None
    parts = [_items(found, str(m), seen | {task}) for m in cast(list[Any], members)]
    return sum(parts) if parts and all(isinstance(p, int) for p in parts) else None
