"""Load and save models and tokenizers, and refuse those that would be wrong without a word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .checkpoint import write_folder
from .likelihood import evaluating
from .memory import ends_memory

__all__ = [
    "ModelError",
    "check_logits",
    "check_vocabularies",
    "folder_identity",
    "folder_samples",
    "load_model",
    "load_tokenizer",
    "no_bars",
    "read_config",
    "read_head",
    "save_model",
]

# Of each file of weights, for `folder_samples`: any layer of a model has some of them.
_BLOCKS, _BLOCK = 1024, 4096


class ModelError(ValueError):
    """A model folder is missing, incomplete, or does not go with another."""


def load_model(path: str | Path, dtype: str = "float32", device: Any = "cpu") -> Any:
    """Load a causal language model from a folder, in evaluation mode.

    Raises
    ------
    ModelError
        If there is no model, its weights are packed, pickled or can't be read, it needs Python code
        of its own, or a weight is missing, left over or of another shape than the config says:
        `transformers` would draw it at random.
    """
    path = _folder(path)
    _refuse_packed(path)
    try:
        with no_bars():
            model, info = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
    except (SafetensorError, OSError, RuntimeError) as error:
        if ends_memory(error):
            raise
        reason = _pickled(path) or error
        raise ModelError(f"{path}: the weights can't be loaded: {reason}") from error
    except ValueError as error:
        reason = _reason(path / "config.json", error)
        raise ModelError(f"{path}: the model can't be loaded: {reason}") from error
    for what, meaning in (
        ("missing_keys", "has no weights for"),
        ("mismatched_keys", "has weights of another shape than its config for"),
        ("unexpected_keys", "has weights that its config has no place for:"),
    ):
        if info.get(what):
            keys = [key if isinstance(key, str) else key[0] for key in info[what]]
            raise ModelError(
                f"{path} {meaning} {min(keys)} ({len(keys)} such). Copy the whole model folder "
                "again, or correct its config.json."
            )
    return model.to(device).eval()


def load_tokenizer(path: str | Path, model: Any = None) -> Any:
    """Load the tokenizer of a model folder.

    Parameters
    ----------
    path : path
    model : PreTrainedModel or config, optional
        Checked to have a row for each token.

    Raises
    ------
    ModelError
        If there is none, it needs Python code of its own, it has no end of sequence or adds one to
        every text, or the model has too few rows.
    """
    path = _folder(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = _reason(path / "tokenizer_config.json", error)
        raise ModelError(f"{path} has no tokenizer that can be loaded: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: the tokenizer has no eos_token, so that no answer would end.")
    if tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]:
        raise ModelError(
            f"{path}: the tokenizer ends every text with its eos_token, so that a prompt would be "
            "over before its reply. Write add_eos_token: false in tokenizer_config.json."
        )
    config = getattr(model, "config", model)
    if config is not None and max(tokenizer.get_vocab().values()) >= config.vocab_size:
        raise ModelError(
            f"{path}: the tokenizer has token {max(tokenizer.get_vocab().values())}, the model "
            f"{config.vocab_size} rows of embeddings. They belong to different models."
        )
    return tokenizer


def read_config(path: str | Path) -> Any:
    """Read the config of a model folder alone.

    Raises
    ------
    ModelError
        If there is none, or it needs Python code of its own.
    """
    path = _folder(path)
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = _reason(path / "config.json", error)
        raise ModelError(f"{path}: the config can't be read: {reason}") from error


def check_vocabularies(
    teacher: Any, student: Any, teacher_tokenizer: Any, student_tokenizer: Any
) -> None:
    """Refuse a teacher whose token probabilities would mean other tokens to the student.

    Parameters
    ----------
    teacher, student : PreTrainedConfig
    teacher_tokenizer, student_tokenizer : tokenizer

    Raises
    ------
    ModelError
        Naming a token that differs, or both sizes where one vocabulary is padded more.
    """
    mine, other = student_tokenizer.get_vocab(), teacher_tokenizer.get_vocab()
    if mine != other:
        token = min(
            (t for t in mine.keys() | other.keys() if mine.get(t) != other.get(t)),
            key=lambda t: min(mine.get(t, len(mine)), other.get(t, len(other))),
        )
        raise ModelError(
            f"teacher and student have different tokenizers: {token!r} is token {other.get(token)} "
            f"of the teacher and {mine.get(token)} of the student. Distil between models of one "
            "tokenizer, or learn from the teacher's texts: supervision.alpha=0."
        )
    if teacher.vocab_size != student.vocab_size:
        raise ModelError(
            f"the teacher's vocabulary has {teacher.vocab_size} rows, the student's "
            f"{student.vocab_size}; their tokenizer uses {max(mine.values()) + 1}, the rest is "
            "padding. Bring both to one size with model.resize_token_embeddings("
            f"{min(teacher.vocab_size, student.vocab_size)}) and save_pretrained."
        )


def check_logits(model: Any, ids: Sequence[int]) -> None:
    """Refuse a model that does more to its last hidden states than multiply them by its head.

    Losses are computed from the two, by chunks: of a model that scales, caps or shifts its logits
    they would be those of another model.

    Parameters
    ----------
    model : PreTrainedModel
    ids : sequence of int
        Tokens to try it on.

    Raises
    ------
    ModelError
    """
    with evaluating(model):
        inputs = torch.tensor([list(ids)], device=model.device)
        logits = model(input_ids=inputs, use_cache=False).logits[0]
        states = model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state[0]
        product = states @ model.get_output_embeddings().weight.T
    gap = (product.float() - logits.float()).abs().max().item()
    # In half precision both are rounded once, and a cap of 30 moves a logit of 10 by 3 %.
    roundings = 4 if torch.finfo(model.dtype).bits == 16 else 16
    limit = roundings * torch.finfo(model.dtype).eps * max(1.0, logits.abs().max().item())
    if gap > limit:  # what is no number is told by the loss
        raise ModelError(
            f"the logits of {model.config.model_type} are not hidden @ head.T (off by {gap:.3g}): "
            "it scales, caps or shifts them. No loss here is right for it, with a cache or "
            "without, so it can be neither teacher nor student; take a model of another type."
        )


def save_model(
    model: Any,
    tokenizer: Any,
    path: Path,
    *,
    dtype: str = "float32",
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Save a model with its tokenizer; the folder is whole or not there.

    Parameters
    ----------
    model : PreTrainedModel
        Brought to `dtype`.
    tokenizer : tokenizer
    path : Path
        Must not exist.
    dtype : str
    weights : mapping of str to Tensor, optional
        Whole weights where the model's own are shards.
    """
    with no_bars(), write_folder(path) as folder:
        if weights is not None:
            plain = type(model).from_pretrained(
                None, config=model.config, state_dict=dict(weights), dtype=torch.float32
            )
            plain.generation_config = model.generation_config
            model = plain
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def read_head(path: str | Path, dtype: str = "float32") -> Tensor:
    """Read the output head alone, the embedding where they are tied: [vocab, hidden]."""
    path = _folder(path)
    index = path / "model.safetensors.index.json"
    places = json.loads(index.read_text("utf-8"))["weight_map"] if index.exists() else {}
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        if places and name not in places:
            continue
        with safe_open(path / places.get(name, "model.safetensors"), framework="pt") as file:
            if name in file.keys():  # noqa: SIM118 - a file is no mapping
                return file.get_tensor(name).to(getattr(torch, dtype))
    raise ModelError(f"{path} has neither lm_head.weight nor model.embed_tokens.weight.")


def folder_identity(path: str | Path) -> str:
    """Name the content of a model folder: config, tokenizer, and size and ends of weight files."""
    path, digest = _folder(path), hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.suffix not in (".json", ".safetensors", ".jinja"):
            continue
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 20))
            stream.seek(max(file.stat().st_size - (1 << 20), 0))
            digest.update(stream.read())
    return digest.hexdigest()[:16]


def folder_samples(path: str | Path) -> str:
    """Name the weights of a model folder by blocks from all over its files."""
    digest = hashlib.sha256()
    for file in sorted(_folder(path).glob("*.safetensors")):
        last = max(file.stat().st_size - _BLOCK, 0)
        with file.open("rb") as stream:
            for i in range(_BLOCKS):
                stream.seek(last * i // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()[:16]


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep the loading and writing of many small models off the screen."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _refuse_packed(path: Path) -> None:
    packed = json.loads((path / "config.json").read_text("utf-8")).get("quantization_config")
    if packed is None:
        return
    method = packed.get("quant_method", "unknown") if isinstance(packed, dict) else packed
    raise ModelError(
        f"{path}: config.json has a quantization_config ({method}): its weights are packed and can "
        "be neither pruned nor trained. Take the model's unpacked weights; or unpack these: load "
        "them with transformers and the package of that method, call model.dequantize() (for fp8 "
        "load with FineGrainedFP8Config(dequantize=True)), and save model and tokenizer with "
        "save_pretrained to a new folder."
    )


def _reason(file: Path, error: Exception) -> str:
    """Say why a folder can't be loaded; `transformers` would have its code allowed."""
    if not file.exists() or "auto_map" not in json.loads(file.read_text("utf-8")):
        return str(error)
    return (
        f"it comes with Python code of its own (auto_map in {file.name}), which is never run. Take "
        "the model as transformers knows it without that code; a newer release of transformers may "
        "know it."
    )


def _pickled(path: Path) -> str | None:
    found = sorted(path.glob("*.bin"))
    if not found or list(path.glob("*.safetensors")):
        return None
    return (
        f"they are pickled ({found[0].name}), and a pickle can run any code. Where you trust it, "
        "load the model with transformers and write it with save_pretrained to a new folder."
    )


def _folder(path: str | Path) -> Path:
    path = Path(path)
    if not (path / "config.json").exists():
        raise ModelError(
            f"{path} holds no model: it has no config.json. Name a folder that save_pretrained "
            "wrote; nothing is downloaded."
        )
    return path
