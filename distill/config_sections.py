"""The sections of a configuration: every setting with its meaning, default and range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .headlines import IMBALANCE
from .losses import BLENDED_W, Divergence
from .prune import KEPT, Rounding
from .task import Format

__all__ = [
    "Adapt",
    "Data",
    "Evaluate",
    "Gate",
    "LmEval",
    "Lora",
    "Model",
    "Prune",
    "Replay",
    "RoundTo",
    "Section",
    "Supervision",
    "Train",
    "essential",
    "execution",
]

Axis = Literal["layers", "hidden", "ffn", "kv_heads"]
Share = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def execution(default: Any, **options: Any) -> Any:
    """Declare a setting that decides time, memory or what is done, and no score beyond rounding."""
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
        elif isinstance(inner := getattr(section, name), Section):
            values[name] = essential(inner)
    return values


class Model(Section):
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


class Data(Section):
    """Labelled texts; train, validation and test share none."""

    source: str = _path(
        "headlines", description="'headlines' (synthetic), or a .csv, .parquet or .jsonl file"
    )
    text: str | None = Field(None, description="column of the texts, where a file leaves doubt")
    label: str | None = Field(None, description="column of the labels, where a file leaves doubt")
    group: Literal["template"] | None = Field(
        None,
        description="template: texts of one template (a column of the file) stay in one part; "
        "none: each goes by itself",
    )
    instruction: str = Field(
        "Name the event in this headline.", description="what the prompt of a file's task asks"
    )
    imbalance: float = Field(
        IMBALANCE,
        ge=1,
        description="how many times more the commonest synthetic event has than the rarest",
    )
    traces: str | None = _path(
        None, description="file of the teacher's reasoning and labels, in place of the pool's own"
    )
    wrong: Literal["keep", "drop"] | None = Field(
        None,
        description="drop: leave out traces whose answer is not the gold label; keep them, if none",
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
        if self.group is not None and self.source == "headlines":
            raise ValueError("group is for files; synthetic headlines share no template anyway")
        if self.wrong is not None and self.traces is None:
            raise ValueError(f"wrong = {self.wrong} is about traces; name their file in traces")
        return self


class Lora(Section):
    """Low-rank adapters beside frozen weights, merged in the end (Hu et al. 2021, 2106.09685)."""

    rank: int = Field(16, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the update")
    modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="names of the matrices that get an update",
    )


class Train(Section):
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
    micro_tokens: int = execution(
        4096, ge=1, description="tokens in a forward pass, padding included; sets memory, not math"
    )
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: products in bfloat16, with weights and optimiser in float32"
    )
    gradient_checkpointing: bool = execution(
        False, description="compute layers twice to save memory"
    )
    compile: bool = execution(False, description="compile the layers with torch.compile")
    parallel: Literal["ddp", "fsdp"] = execution(
        "ddp", description="under torchrun: copies of the model, or shards of it (FSDP2)"
    )
    chunk: int = execution(
        256, ge=1, description="tokens projected through the output head at once"
    )
    validate_every: int | None = Field(
        None, ge=1, description="steps between measurements of the validation NLL"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many measurements without a better one"
    )
    checkpoint_every: int = execution(100, ge=1, description="steps between checkpoints")
    lora: Lora | None = Field(None, description="train adapters in place of all weights")

    @model_validator(mode="after")
    def _fits(self) -> Train:
        if self.patience is not None and self.validate_every is None:
            raise ValueError("patience needs validate_every, the steps between measurements")
        if self.lora is not None and self.parallel == "fsdp":
            raise ValueError("adapters are not sharded; write parallel: ddp, or lora: null")
        return self


class Replay(Section):
    """General text that a model wrote freely, learnt beside the task.

    A teacher's adaptation replays what the unadapted model wrote, students what the teacher writes.
    """

    texts: int = Field(512, ge=1, description="texts that are written")
    tokens: int = Field(64, ge=2, description="tokens of a text at most")
    batch: int = Field(16, ge=1, description="texts in an optimiser step")
    weight: float = Field(1.0, gt=0, description="weight of their KL beside the task's loss")
    prompts: str | None = _path(
        None, description="file of general prompts to answer, one a line; none: a random first word"
    )


class Gate(Section):
    """What an adapted teacher must reach before any student is made."""

    task_f1: float = Field(0.85, ge=0, le=1, description="macro-F1 at least")
    quiz_drop: float = Field(
        0.05, ge=0, le=1, description="quiz at most this much below the unadapted model's"
    )


class Adapt(Section):
    """Training of the teacher on the task before any pruning."""

    examples: int = Field(3000, ge=1, description="examples; first of the pool, as for students")
    formats: tuple[Literal["label", "cot"], ...] = Field(
        ("label", "cot"), min_length=1, description="formats in which each example is learnt"
    )
    seed: int = Field(0, ge=0, description="its own: chains of all seeds share the teacher")
    train: Train = Field(Train(), description="its training")
    replay: Replay | None = Field(None, description="keep general knowledge by self-replay")
    gate: Gate | None = execution(None, description="stop here unless the teacher is good enough")


class RoundTo(Section):
    """Multiples that pruned sizes are rounded to."""

    layers: int = Field(Rounding().layers, ge=1, description="multiple for layers")
    hidden: int = Field(Rounding().hidden, ge=1, description="multiple for the hidden size")
    ffn: int = Field(Rounding().ffn, ge=1, description="multiple for the feed-forward size")
    kv_heads: int = Field(Rounding().kv_heads, ge=1, description="multiple for key-value heads")


class Prune(Section):
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


class Supervision(Section):
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


class LmEval(Section):
    """Public benchmarks by the Language Model Evaluation Harness; needs the extra ``eval``."""

    tasks: tuple[str, ...] = Field(
        min_length=1, description="names of tasks or groups, such as mmlu and mmlu_pro"
    )
    include_path: str | None = _path(
        None, description="folder of task files and their data, taken before the harness's own"
    )
    num_fewshot: int | None = Field(
        None, ge=0, description="examples in the prompt; the task's own number, if none"
    )
    limit: int | None = Field(None, ge=1, description="items of a task at most")


class Evaluate(Section):
    """Scores of each model."""

    batch: int = execution(32, ge=1, description="sequences in a forward pass")
    replies: int | None = Field(
        None,
        ge=1,
        description="replies written, all if none; the format label answers the other examples by "
        "likelihood, the others leave them out",
    )
    tokens: int | None = Field(
        None, ge=1, description="tokens of a written reply at most; none: as learnt"
    )
    quiz: int | None = Field(
        None, ge=0, description="questions of the built-in general-knowledge quiz; all, if none"
    )
    texts: str | None = _path(
        None,
        description="file of general texts, one a line, for the divergence from the base model",
    )
    lm_eval: LmEval | None = Field(None, description="public benchmarks to score as well")
    pruned: bool = execution(True, description="score students before they are taught as well")
