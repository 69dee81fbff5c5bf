"""What determines a run: the whole configuration, YAML in and out, overrides, a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from .config_sections import (
    Adapt,
    Data,
    Evaluate,
    Gate,
    LmEval,
    Lora,
    Model,
    Prune,
    Replay,
    RoundTo,
    Section,
    Supervision,
    Train,
    essential,
    execution,
)
from .files import write_text

__all__ = [
    "Adapt",
    "Config",
    "ConfigError",
    "Data",
    "Evaluate",
    "Gate",
    "LmEval",
    "Lora",
    "Model",
    "Prune",
    "Replay",
    "RoundTo",
    "Supervision",
    "Train",
    "essential",
    "hash_of",
    "load_config",
    "save_config",
]


class ConfigError(ValueError):
    """A setting is unknown, missing or out of range."""


class Config(Section):
    """A chain: one teacher, and the students made from it with one seed."""

    name: str = Field("headlines", pattern=r"^[\w.-]+$", description="begins the names of runs")
    seed: int = Field(0, ge=0, description="subset of the examples, their order, all that is drawn")
    out: str = execution("runs", description="folder of models, checkpoints and the log runs.jsonl")
    model: Model = Field(description="which models take part: model.teacher at least")
    data: Data = Field(Data(), description="labelled texts")
    adapt: Adapt | None = Field(None, description="train the teacher on the task first")
    prune: Prune = Field(Prune(), description="sizes of the students")
    supervision: Supervision = Field(Supervision(), description="what students learn")
    train: Train = Field(Train(), description="training of the students")
    evaluate: Evaluate = Field(Evaluate(), description="scores")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.adapt is not None and self.adapt.gate is not None and self.evaluate.quiz == 0:
            raise ValueError("adapt.gate compares quiz scores; evaluate.quiz = 0 asks none")
        taken = {"prune.calibration": self.prune.calibration}
        if self.adapt is not None:
            taken["adapt.examples"] = self.adapt.examples
        for name, n in taken.items():
            if n > self.data.pool:
                raise ValueError(f"{name} = {n} is more than data.pool = {self.data.pool}")
        return self

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of all that decides the results but the seed."""
        return hash_of({k: v for k, v in essential(self).items() if k != "seed"})


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value, the order of keys apart: its first twelve hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_config(
    source: str | Path | Mapping[str, Any] | Config, overrides: Sequence[str] = ()
) -> Config:
    """Read a configuration and change single settings.

    Parameters
    ----------
    source : path, mapping or Config
        A YAML file, or its content.
    overrides : sequence of str
        ``a.b=c``, with c in YAML: ``train.lr=3e-4``, ``prune.kept=[.5, .25]``.

    Raises
    ------
    ConfigError
        Naming every bad key and value, with the nearest key for one that is not known.
    """
    where = "config"
    if isinstance(source, Config):
        values = source.model_dump(mode="json")
    elif isinstance(source, Mapping):
        values = json.loads(json.dumps(source))
    else:
        where = str(source)
        values = _read(Path(source))
    for override in overrides:
        _set(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item, values) for item in error.errors()]
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from None


def save_config(config: Config, path: str | Path) -> None:
    """Write every setting as YAML; `load_config` returns an equal configuration."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(Path(path), text)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {values!r}; write settings as `key: value` lines.")
    return values


def _set(values: dict[str, Any], override: str) -> None:
    name, sign, text = override.partition("=")
    if not sign or not name.strip():
        raise ConfigError(f"--set {override}: write a.b=c, such as train.lr=3e-4.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {text!r} is not YAML: {error}") from error
    *parents, last = name.strip().split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}  # the section was left out; a key that is none is refused later
        values = values[parent]
    values[last] = value


def _explain(error: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Say which setting is wrong, what it is and what it may be."""
    path = [str(part) for part in error["loc"]]
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = _keys(path[:-1])
        near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
        prefix = "".join(f"{part}." for part in path[:-1])
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}."
        return f"{name} is not a setting; {hint}"
    if error["type"] == "missing":
        return f"{name} is missing; write {_field(path).description}."
    text = error["msg"].removeprefix("Value error, ")
    shown = f"{name} = {error['input']!r}: " if path and not _is_section(error["input"]) else ""
    shown = shown or (f"{name}: " if path else "")
    described = _field(path)
    meaning = f" ({described.description})" if described is not None else ""
    return f"{shown}{text[0].lower()}{text[1:]}{meaning}."


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping | Section)


def _section(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation such as ``Lora | None`` stands for."""
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, Section):
            return option
    return None


def _keys(path: Sequence[str]) -> list[str]:
    section: type[Section] | None = Config
    for part in path:
        section = _section(section.model_fields[part].annotation)
    return list(section.model_fields)


def _field(path: Sequence[str]) -> Any:
    section: type[Section] | None = Config
    field = None
    for part in path:
        if section is None or part not in section.model_fields:
            return field  # an element of a list, or a branch of a union
        field = section.model_fields[part]
        section = _section(field.annotation)
    return field
