"""The command ``scaling-laws cost``: a file of questions in, bills out."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from scaling_laws.cost import Shape

__all__ = ["cost"]

_EXAMPLE = """hardware = "H100"

[[serving]]
model = "Qwen3-32B"
kept = [0.37, 0.16]
tokens_in = 200
tokens_out = 4

[[training]]
student = "Qwen3-32B"
kept = [0.16]
teacher = "Qwen3-32B"
target = "hidden"
tokens = 1e8
gpus = 2

[[traces]]
teacher = "Qwen3-32B"
examples = 50000
tokens_in = 200
tokens_out = 400
batch = 16
"""


class _Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Device(_Section):
    name: str
    peak_flops: float
    bandwidth: float
    memory: float


class _Constants(_Section):
    mbu: float
    mfu: float
    t0: float
    ts: float
    prefill: tuple[float, float]
    hardware: str
    source: str = "given"


class _Work(_Section):
    tokens_in: float
    tokens_out: float
    batch: float = 1.0
    replicas: int = 1
    gpus: int = 1
    weight_bits: int | None = None
    kv_bits: int = 16
    max_batch: int | None = None
    memory_share: float = 0.9


class _Serving(_Work):
    model: str
    kept: list[float] | None = None
    kept_of: Literal["total", "nonembedding"] = "total"
    load: float | None = None


class _Traces(_Work):
    teacher: str
    examples: int
    name: str = "traces"


class _Training(_Section):
    student: str | float
    tokens: float
    kept: list[float] | None = None
    kept_of: Literal["total", "nonembedding"] = "total"
    teacher: str | float | None = None
    method: Literal["full", "lora"] = "full"
    target: Literal["online", "hidden", "logits", "topk", "none"] | None = None
    supervised: float = 1.0
    unique_tokens: float | None = None
    cache: str = ""
    topk: int = 64
    length: int | None = None
    gpus: int = 1
    parallel: Literal["fsdp", "ddp"] = "fsdp"
    mfu: float | tuple[float, float] | None = None
    rank: int = 16
    micro_tokens: int = 4096
    checkpointing: bool = True
    chunk: int = 256
    name: str | None = None


class _Questions(_Section):
    hardware: str | _Device = "H100"
    price: float | tuple[float, float] | None = None
    calibration: _Constants | None = None
    serving: list[_Serving] = Field(default_factory=list[_Serving])
    training: list[_Training] = Field(default_factory=list[_Training])
    traces: list[_Traces] = Field(default_factory=list[_Traces])


def cost(
    config: Annotated[
        Path | None, typer.Argument(help="Questions: .toml, .json or .yaml.", metavar="CONFIG")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a file to start from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what training and serving would cost: hours, dollars, latency, memory."""
    if example:
        print(_EXAMPLE, end="")
        return
    if config is None:
        raise ValueError("name a file of questions; --example prints one.")
    from scaling_laws.cost.render import together

    found = _answers(_questions(config))
    if not found:
        raise ValueError(f"{config} asks nothing; write [[serving]], [[training]] or [[traces]].")
    answers = [one for listed in found.values() for one in listed]
    if as_json:
        print(json.dumps({k: [_plain(one) for one in v] for k, v in found.items()}))
        return
    print(together(answers))


def _plain(answer: Any) -> dict[str, Any]:
    """JSON without NaN or infinity: both become null."""
    rows: list[dict[str, Any]] = json.loads(answer.frame.reset_index().to_json(orient="records"))
    notes = [{"code": n.code, "severity": n.severity, "sentence": n.sentence} for n in answer.notes]
    return {"rows": rows, "notes": notes}


def _questions(path: Path) -> _Questions:
    content = _content(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no questions by name; --example prints some.")
    if "model_type" in content or "architectures" in content:
        raise ValueError(
            f'{path} is the config.json of a model, and asks nothing; write model = "{path}" under '
            "[[serving]] in a file of questions, such as --example prints."
        )
    try:
        return _Questions.model_validate(content)
    except ValidationError as error:
        told = [f"{path}: {_fault(dict(item))}" for item in error.errors()]
        raise ValueError("\n".join(told)) from None


def _fault(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{place} is missing."
    if error["type"] == "extra_forbidden":
        known = [name for section in _sections() for name in section.model_fields]
        close = get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{place} is not a setting.{hint}"
    return f"{place} = {error['input']!r}: {error['msg']}."


def _sections() -> Sequence[type[_Section]]:
    return (_Questions, _Serving, _Training, _Traces, _Constants, _Device)


def _content(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}.") from None
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}.") from None
    if path.suffix in (".yaml", ".yml"):
        try:
            yaml = import_module("yaml")
        except ImportError:
            raise ValueError(
                f"{path}: YAML needs PyYAML, which is not installed; write TOML or JSON."
            ) from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from None
    raise ValueError(f"{path}: write questions as .toml, .json or .yaml.")


def _answers(questions: _Questions) -> dict[str, list[Any]]:
    from scaling_laws.cost import (
        Calibration,
        Hardware,
        Serving,
        budget,
        hardware,
        serving,
        traces,
        training,
    )

    given = questions.hardware
    device = hardware(given) if isinstance(given, str) else Hardware(**given.model_dump())
    constants = questions.calibration
    shared: dict[str, Any] = {
        "price": questions.price,
        "calibration": None if constants is None else Calibration(**constants.model_dump()),
    }
    out: dict[str, list[Any]] = {"serving": [], "training": [], "budget": []}
    for asked in questions.serving:
        options = asked.model_dump(exclude={"model", "kept", "kept_of"})
        shapes = _students(asked.model, asked.kept, asked.kept_of)
        out["serving"].append(serving(shapes, device, **options, **shared))
    bills: list[Any] = []
    for asked in questions.training:
        options = asked.model_dump(exclude={"student", "kept", "kept_of"}, exclude_none=True)
        tokens = options.pop("tokens")
        students: Sequence[Any] = [asked.student]
        if isinstance(asked.student, str):
            students = _students(asked.student, asked.kept, asked.kept_of)
        elif asked.kept is not None:
            raise ValueError("training: kept needs a student's shape, not a number of parameters.")
        for student in students:
            bills.append(
                training(student, tokens, hardware=device, price=questions.price, **options)
            )
    for asked in questions.traces:
        options = asked.model_dump(exclude={"teacher", "examples", "name"})
        server = Serving(device, **options, **shared)
        bills.append(traces(asked.teacher, asked.examples, server, name=asked.name))
    out["training"] = bills
    if len(bills) > 1:
        out["budget"].append(budget(bills))
    return {kind: answers for kind, answers in out.items() if answers}


def _students(
    model: str, kept: Sequence[float] | None, kept_of: Literal["total", "nonembedding"]
) -> list[Shape]:
    from scaling_laws.cost import shape

    whole = shape(model)
    return [whole] if kept is None else [whole.pruned(k, kept_of=kept_of) for k in kept]
