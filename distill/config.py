"""What determines a run: every setting with its meaning, YAML in and out, overrides, a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .losses import BLENDED_W, Divergence
from .prune import KEPT, Rounding
from .task import Format

__all__ = [
    "Adapt",
    "Config",
    "ConfigError",
    "Data",
    "Evaluate",
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


Axis = Literal["layers", "hidden", "ffn", "kv_heads"]
Share = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """A setting is unknown, missing or out of range."""


class _Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _execution(default: Any, **options: Any) -> Any:
    """Declare a setting that decides time and memory, and no result beyond rounding."""
    return Field(default, json_schema_extra={"execution": True}, **options)


def _path(default: Any = ..., **options: Any) -> Any:
    """Declare the path of a file or folder: its last part decides results, not where it lies."""
    return Field(default, json_schema_extra={"path": True}, **options)


def essential(section: BaseModel) -> dict[str, Any]:
    """Return the settings that decide results, as JSON has them.

    Those that are None are left out, so that an option that comes later changes no hash.
    """
    values = section.model_dump(mode="json", exclude_none=True)
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        kind = extra if isinstance(extra, dict) else {}
        if kind.get("execution"):
            values.pop(name, None)
        elif kind.get("path") and name in values:
            values[name] = Path(values[name]).name
        elif isinstance(inner := getattr(section, name), _Section):
            values[name] = essential(inner)
    return values


class Model(_Section):
    """Which models take part."""

    teacher: str = _path(description="folder of the teacher: a saved transformers model")
    name: str | None = Field(None, description="teacher's name in the log; the folder's, if none")
    origin: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="where the teacher came from"
    )
    student: str | None = _path(
        None, description="folder of a pretrained student to teach in place of pruned ones"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="numbers in which models are loaded, measured and evaluated"
    )


class Data(_Section):
    """Labelled texts; train, validation and test share none."""

    source: str = _path(
        "headlines", description="'headlines' (synthetic), or a .csv, .parquet or .jsonl file"
    )
    text: str | None = Field(None, description="column of the texts, where a file leaves doubt")
    label: str | None = Field(None, description="column of the labels, where a file leaves doubt")
    instruction: str = Field(
        "Name the event in this headline.", description="what the prompt of a file's task asks"
    )
    traces: str | None = _path(
        None, description="file of the teacher's reasoning and labels, in place of the pool's own"
    )
    label_source: Literal["gold", "teacher"] = Field(
        "gold", description="who labelled the examples of the pool"
    )
    train: int = Field(1024, ge=1, description="examples that students learn from")
    pool: int = Field(
        4096,
        ge=1,
        description="examples that they are taken from: of one seed and pool, smaller sets are "
        "parts of larger ones",
    )
    validation: int = Field(256, ge=1, description="examples for early stopping")
    test: int = Field(2000, ge=1, description="examples for the scores")
    seed: int = Field(0, ge=0, description="seed of pool, validation and test; not of the subset")

    @model_validator(mode="after")
    def _enough(self) -> Data:
        if self.train > self.pool:
            raise ValueError(f"train = {self.train} is more than pool = {self.pool}")
        if self.traces is not None and self.label_source == "gold":
            raise ValueError("the labels of traces are the teacher's; write label_source: teacher")
        return self


class Lora(_Section):
    """Low-rank adapters beside frozen weights, merged in the end (Hu et al. 2021, 2106.09685)."""

    rank: int = Field(16, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the update")
    modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="names of the matrices that get an update",
    )


class Train(_Section):
    """One training: optimiser (AdamW), length, batches, precision."""

    lr: float = Field(1e-4, gt=0, description="largest learning rate")
    min_lr: float = Field(0.1, ge=0, le=1, description="fraction of lr at the end of the cosine")
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of steps with rising lr")
    weight_decay: float = Field(0.0, ge=0, description="decay of matrices; vectors have none")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's memory of gradients")
    beta2: float = Field(0.95, ge=0, lt=1, description="AdamW's memory of squared gradients")
    epochs: float = Field(1.0, gt=0, description="passes over the examples")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps at most")
    batch: int = Field(16, ge=1, description="sequences in an optimiser step, over all processes")
    micro_tokens: int = _execution(
        4096, ge=1, description="tokens in a forward pass, padding included; sets memory, not math"
    )
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: products in bfloat16, with weights and optimiser in float32"
    )
    gradient_checkpointing: bool = _execution(
        False, description="compute layers twice to save memory"
    )
    compile: bool = _execution(False, description="compile the layers with torch.compile")
    parallel: Literal["ddp", "fsdp"] = _execution(
        "ddp", description="under torchrun: copies of the model, or shards of it (FSDP2)"
    )
    chunk: int = _execution(
        256, ge=1, description="tokens projected through the output head at once"
    )
    validate_every: int | None = Field(
        None, ge=1, description="steps between measurements of the validation NLL"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many measurements without a better one"
    )
    checkpoint_every: int = _execution(100, ge=1, description="steps between checkpoints")
    lora: Lora | None = Field(None, description="train adapters in place of all weights")

    @model_validator(mode="after")
    def _fits(self) -> Train:
        if self.patience is not None and self.validate_every is None:
            raise ValueError("patience needs validate_every, the steps between measurements")
        if self.lora is not None and self.parallel == "fsdp":
            raise ValueError("adapters are not sharded; write parallel: ddp, or lora: null")
        return self


class Replay(_Section):
    """General text that a model wrote freely, learnt beside the task.

    A teacher's adaptation replays what the unadapted model wrote, students what the teacher writes.
    """

    texts: int = Field(512, ge=1, description="texts that are written")
    tokens: int = Field(64, ge=2, description="tokens of a text at most")
    batch: int = Field(16, ge=1, description="texts in an optimiser step")
    weight: float = Field(1.0, gt=0, description="weight of their KL beside the task's loss")


class Adapt(_Section):
    """Training of the teacher on the task before any pruning."""

    examples: int = Field(3000, ge=1, description="examples; first of the pool, as for students")
    formats: tuple[Literal["label", "cot"], ...] = Field(
        ("label", "cot"), min_length=1, description="formats in which each example is learnt"
    )
    seed: int = Field(0, ge=0, description="its own: chains of all seeds share the teacher")
    train: Train = Field(Train(), description="its training")
    replay: Replay | None = Field(None, description="keep general knowledge by self-replay")


class RoundTo(_Section):
    """Multiples that pruned sizes are rounded to."""

    layers: int = Field(Rounding().layers, ge=1, description="multiple for layers")
    hidden: int = Field(Rounding().hidden, ge=1, description="multiple for the hidden size")
    ffn: int = Field(Rounding().ffn, ge=1, description="multiple for the feed-forward size")
    kv_heads: int = Field(Rounding().kv_heads, ge=1, description="multiple for key-value heads")


class Prune(_Section):
    """Sizes of the students, and how they are reached."""

    kept: tuple[float, ...] = Field(
        KEPT, min_length=1, description="fractions of the teacher that students keep, falling"
    )
    kept_of: Literal["total", "nonembedding"] = Field(
        "total", description="whether the fractions count embedding and output head"
    )
    schedule: Literal["iterative", "one-shot"] = Field(
        "iterative", description="each student from the one before, or each from the teacher"
    )
    split: Literal["depth", "width", "both"] | dict[Axis, Share] = Field(
        "both", description="what is pruned: a name, or shares by axis"
    )
    round: RoundTo = Field(RoundTo(), description="multiples of the sizes")
    importance: Literal["activation", "magnitude"] = Field(
        "activation", description="what decides which parts stay"
    )
    calibration: int = Field(512, ge=1, description="prompts that activations are measured on")
    weights: Literal["inherited", "random"] = Field(
        "inherited",
        description="random: a control that has the shape of a pruned student and none of its "
        "weights",
    )

    @field_validator("kept")
    @classmethod
    def _falling(cls, kept: tuple[float, ...]) -> tuple[float, ...]:
        bounds = (1.0, *kept, 0.0)
        if any(a <= b for a, b in zip(bounds[:-1], bounds[1:], strict=True)):
            raise ValueError(f"{kept} do not fall strictly from below 1 to above 0")
        return kept

    @model_validator(mode="after")
    def _fits(self) -> Prune:
        if self.weights == "random" and self.schedule == "iterative":
            raise ValueError("random weights have no parent; write schedule: one-shot")
        return self


class Supervision(_Section):
    """What students learn from the teacher."""

    format: Format = Field("label", description="what a student learns to write")
    alpha: float = Field(
        1.0, ge=0, le=1, description="share of the divergence; the rest is the text's NLL"
    )
    divergence: Divergence = Field("forward", description="divergence from the teacher")
    temperature: float = Field(1.0, gt=0, description="distillation temperature")
    clip: float | None = Field(None, gt=0, description="largest divergence of a token, nats")
    w: float = Field(
        BLENDED_W, gt=0, lt=1, description="share of the reasoning in the format blended"
    )
    cache: Literal["none", "hidden", "topk"] = Field(
        "hidden", description="what is kept of the teacher, once for all students; none: run it"
    )
    k: int = Field(64, ge=1, description="logits kept for a token by the cache topk")
    replay: Replay | None = Field(
        None, description="mix in general texts by the teacher, to keep or regain knowledge"
    )


class Evaluate(_Section):
    """Scores of each model."""

    batch: int = _execution(32, ge=1, description="sequences in a forward pass")
    replies: int | None = Field(
        None,
        ge=1,
        description="replies written, all if none; the format label answers the other examples by "
        "likelihood, the others leave them out",
    )
    tokens: int | None = Field(None, ge=1, description="tokens of a written reply at most")
    quiz: int | None = Field(
        None, ge=0, description="questions of the built-in general-knowledge quiz; all, if none"
    )
    texts: str | None = _path(
        None,
        description="file of general texts, one a line, for the divergence from the base model",
    )
    pruned: bool = Field(True, description="score students before they are taught as well")


class Config(_Section):
    """A chain: one teacher, and the students made from it with one seed."""

    name: str = Field("headlines", pattern=r"^[\w.-]+$", description="begins the names of runs")
    seed: int = Field(0, ge=0, description="subset of the examples, their order, all that is drawn")
    out: str = _execution(
        "runs", description="folder of models, checkpoints and the log runs.jsonl"
    )
    model: Model = Field(description="which models take part: model.teacher at least")
    data: Data = Field(Data(), description="labelled texts")
    adapt: Adapt | None = Field(None, description="train the teacher on the task first")
    prune: Prune = Field(Prune(), description="sizes of the students")
    supervision: Supervision = Field(Supervision(), description="what students learn")
    train: Train = Field(Train(), description="training of the students")
    evaluate: Evaluate = Field(Evaluate(), description="scores")

    @model_validator(mode="after")
    def _fits(self) -> Config:
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
    Path(path).write_text(text, encoding="utf-8")


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
    return isinstance(value, Mapping | _Section)


def _section(annotation: Any) -> type[_Section] | None:
    """Return the section that an annotation such as ``Lora | None`` stands for."""
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, _Section):
            return option
    return None


def _keys(path: Sequence[str]) -> list[str]:
    section: type[_Section] | None = Config
    for part in path:
        section = _section(section.model_fields[part].annotation)
    return list(section.model_fields)


def _field(path: Sequence[str]) -> Any:
    section: type[_Section] | None = Config
    field = None
    for part in path:
        if section is None or part not in section.model_fields:
            return field  # an element of a list, or a branch of a union
        field = section.model_fields[part]
        section = _section(field.annotation)
    return field
