"""The run: the one declaration of its fields, from which every rule is derived."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, cast, get_args

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, create_model, model_validator
from pydantic.fields import FieldInfo

from ..metrics import METRICS, Metric, get_metric
from .rules import EXACT, Rule
from .table import RunLogError

__all__ = ["SCHEMA_VERSION", "Run", "Schema", "schema_of", "score_fields"]

SCHEMA_VERSION = 1
"""Version of the schema that this release writes, and the newest that it reads."""


def _text(meaning: str, *words: str) -> Any:
    """Declare a text; `words` are its canonical spellings, not a closed set."""
    return Field(None, description=meaning, json_schema_extra={"words": list(words)})


def _number(meaning: str, option: str = "", **bounds: float) -> Any:
    """Declare a number within bounds (gt, ge, lt, le)."""
    extra = {"option": option} if option else None
    return Field(None, description=meaning, json_schema_extra=cast(Any, extra), **cast(Any, bounds))


def score_fields(metric: Metric) -> dict[str, tuple[Any, FieldInfo]]:
    """Return the triple of a metric as pydantic fields: score, standard error, test items."""
    low = min(0.0, metric.floor or 0.0)
    option = "score_unit" if metric.top == 1 else ""
    bounds = {} if metric.link == "identity" else {"ge": low}
    bounds |= {} if metric.top is None else {"le": metric.top}
    width = {} if metric.top is None else {"le": metric.top - low}
    meaning = metric.meaning or metric.name
    return {
        metric.name: (float | None, _number(meaning, option, **bounds)),
        metric.se: (
            float | None,
            _number(f"standard error of {metric.name}", option, ge=0, **width),
        ),
        metric.n: (int | None, _number(f"test items behind {metric.name}", ge=1)),
    }


_Scores = create_model(
    "_Scores",
    __config__=ConfigDict(frozen=True, extra="allow", defer_build=True),
    **cast(Any, {name: f for m in METRICS.values() for name, f in score_fields(m).items()}),
)


class Run(_Scores):
    """One training run, or one stage of a chain: a row of the run log.

    Every field is optional, but a row needs the finite score of one metric unless its `status` is
    ``failed``. For each metric ``m`` there are three fields: ``m``, its standard error ``m_se``
    and the number of test items ``m_n``. Unknown fields with one number or text are kept as
    covariates (`model_extra`). Cells are parsed as `read_runs` parses them: ``"1e9"`` is a
    number, and ``""``, ``NA``, ``NaN`` and ``null`` are missing.

    Metrics of your own go into the validation context:
    ``Run.model_validate(row, context={"metrics": [sl.Metric("my_score", ...)]})``.

    Raises
    ------
    pydantic.ValidationError
        Naming each bad field, its value and what to write instead.

    Examples
    --------
    >>> run = Run(teacher="T-32B", kept=0.16, format="label", examples=6000, task_f1=0.71)
    >>> run.compression
    6.25
    """

    schema_version: int = Field(
        SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION, description="version of this schema"
    )

    run_id: str | None = _text("name of the run, unique in its log")
    chain_id: str | None = _text("one pruning and distillation lineage from the teacher, one seed")
    parent_id: str | None = _text("run_id of the run that this one started from")
    stage: int | None = _number("position in the chain; 0 is the teacher", ge=0)
    phase: str | None = _text("what the row describes", "teacher", "pruned", "distilled")
    config_hash: str | None = _text("hash of the configuration")
    code_version: str | None = _text("version of the code that ran")
    status: str | None = _text("how the run ended; absent means ok", "ok", "failed")
    error: str | None = _text("why the run failed")

    teacher: str | None = _text("name of the teacher")
    base_model: str | None = _text("model that the student was made from")
    origin: str | None = _text("where the student came from", "pruned", "pretrained", "scratch")
    params: float | None = _number("the number of parameters, embeddings included", ge=1)
    params_nonembedding: float | None = _number("the number of parameters outside embeddings", ge=1)
    kept: float | None = _number("the fraction of parameters left", "kept_unit", gt=0, le=1)
    kept_of: str | None = _text("which parameters kept counts", "total", "nonembedding")
    layers: int | None = _number("the number of layers", ge=1)
    hidden: int | None = _number("the hidden size", ge=1)
    ffn: int | None = _number("the feed-forward size", ge=1)
    kv_heads: int | None = _number("the number of key-value heads", ge=1)
    weight_bits: float | None = _number("bits a weight, such as 16, 8 or 4", gt=0)

    prune_axis: str | None = _text("what was pruned", "depth", "width", "both")
    schedule: str | None = _text("how the size was reached", "iterative", "one-shot")
    step_kept: float | None = _number(
        "the fraction of the previous stage's parameters left", "kept_unit", gt=0, le=1
    )

    format: str | None = _text("what the student is trained to write", "label", "cot", "blended")
    method: str | None = _text("which weights are trained", "full", "lora")
    target: str | None = _text("what the student imitates", "logits", "text")
    label_source: str | None = _text("who labelled the examples", "gold", "teacher")
    temperature: float | None = _number("the distillation temperature", ge=0)

    task: str | None = _text("name of the task")
    examples: int | None = _number("the number of unique labelled examples; 0 is zero-shot", ge=0)
    examples_seen: int | None = _number("the number of examples seen, repeats counted", ge=0)
    tokens: float | None = _number("the number of training tokens", ge=0)
    steps: int | None = _number("the number of optimiser steps", ge=0)
    stopped_by: str | None = _text("what ended the training")
    seed: int | None = _number("the random seed")
    prompt_id: str | None = _text("name of the prompt")

    gpu_hours: float | None = _number("GPU-hours spent", ge=0)
    wall_s: float | None = _number("seconds of wall-clock time", ge=0)
    cpu_s: float | None = _number("seconds of processor time", ge=0)
    machine: str | None = _text("the hardware that ran it")
    tokens_in: float | None = _number("prompt tokens an answer", ge=0)
    tokens_out: float | None = _number("written tokens an answer", ge=0)
    answer_s: float | None = _number("seconds of wall-clock time an answer", ge=0)
    items: str | None = _text("file of the answers to each test item and their confusion matrix")
    items_sha256: str | None = _text("SHA-256 of that file")

    @property
    def compression(self) -> float | None:
        """``1 / kept``."""
        return None if self.kept is None else 1 / self.kept

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show the fields that have a value."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: object, info: ValidationInfo) -> object:
        """Check a row exactly as `read_runs` does."""
        from .check import check_row  # it needs the rules that are derived from this class

        if not isinstance(data, Mapping):
            return data
        context = cast(Mapping[str, Any], info.context or {})
        schema = schema_of(context.get("metrics") or ())
        return check_row(cast(Mapping[str, object], data), schema)


@dataclass(frozen=True, eq=False)
class Schema:
    """The rules of all fields in canonical order, and the metrics they score.

    Parameters
    ----------
    rules : mapping of str to Rule
        A rule a field; other columns are covariates.
    metrics : mapping of str to Metric
        The metrics, by name.
    """

    rules: Mapping[str, Rule]
    metrics: Mapping[str, Metric]


def schema_of(metrics: Iterable[str | Metric] | None = ()) -> Schema:
    """Return the schema with the user's metrics added to the known ones.

    Raises
    ------
    RunLogError
        For a metric that bears the name of a field.
    KeyError
        For the name of a metric that is not known.
    """
    return _schema(tuple(get_metric(m) for m in metrics or ()))


@lru_cache(maxsize=32)
def _schema(own: tuple[Metric, ...]) -> Schema:
    inherited = _Scores.model_fields
    rules = {
        n: _rule(n, f.annotation, f) for n, f in Run.model_fields.items() if n not in inherited
    }
    for metric in own:
        if taken := {metric.name, metric.se, metric.n} & set(rules):
            raise RunLogError(
                f"metric {metric.name!r} would take the column {min(taken)!r}, which is a field of "
                "the run; give the metric another name."
            )
    metrics = {**METRICS, **{metric.name: metric for metric in own}}
    for metric in metrics.values():
        for name, (annotation, info) in score_fields(metric).items():
            rules[name] = _rule(name, annotation, info)
    return Schema(rules, metrics)


def _rule(name: str, annotation: Any, info: FieldInfo) -> Rule:
    """Derive the rule of a field from its declaration."""
    extra = cast(dict[str, Any], info.json_schema_extra or {})
    types = set(get_args(annotation)) if isinstance(annotation, UnionType) else {annotation}
    meaning = info.description or name
    if str in types:
        return Rule(name, "text", meaning=meaning, words=tuple(extra.get("words", ())))
    bounds: dict[str, float] = {}
    for constraint in info.metadata:
        for bound in ("gt", "ge", "le"):
            if hasattr(constraint, bound):
                bounds[bound] = float(getattr(constraint, bound))
    largest = EXACT if int in types else sys.float_info.max
    low = bounds.get("ge", -largest)
    if "gt" in bounds:
        low = float(np.nextafter(bounds["gt"], np.inf))
    return Rule(
        name,
        "count" if int in types else "number",
        low,
        bounds.get("le", largest),
        _span(bounds),
        meaning,
        extra.get("option", ""),
    )


def _span(bounds: Mapping[str, float]) -> str:
    if "le" not in bounds:
        return f"above {bounds['gt']:g}" if "gt" in bounds else f"{bounds.get('ge', 0):g} or more"
    left = f"({bounds['gt']:g}" if "gt" in bounds else f"[{bounds.get('ge', 0):g}"
    return f"in {left}, {bounds['le']:g}]"
