"""The whole pipeline from scratch on one core: a toy teacher, pruned four times, three formats.

Made for tests and for a first look. What the models do is real and small: eight kinds of headlines
about one fact each, a model of a fifth of a million weights. Seed and sizes are pinned, for such a
model learns its task all at once or not yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from .config import Config, load_config
from .examples import Example
from .files import write_text
from .headlines import LABELS, generate
from .models import save_model
from .run import run_chain
from .task import Format

__all__ = ["FORMATS", "base_model", "easy_headlines", "run_tiny", "tiny_config", "toy_tokenizer"]

FORMATS: tuple[Format, ...] = ("label", "cot", "blended")
_KINDS = 8
_DRAWN, _USED = 9000, 1400
_VOCABULARY = 1024
_FILE = "easy-headlines.jsonl"


def run_tiny(
    out: str | Path,
    *,
    formats: Sequence[Format] = FORMATS,
    overrides: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Make a teacher, prune it step by step, and teach the students in each format.

    Parameters
    ----------
    out : path
        Folder for all of it; what an interrupted call left there is used.
    formats : sequence of {"label", "cot", "blended"}
        A chain for each; they share the teacher and the first pruning.
    overrides : sequence of str
        As of `load_config`.
    report : callable
        Called with a line of text for each finished row.

    Returns
    -------
    Path
        The log of all chains.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with _one_thread():
        examples = easy_headlines()
        _write_examples(out / _FILE, examples)
        if not (out / "base").exists():
            base_model(out / "base", examples)
        for format in formats:
            config = tiny_config(out, [f"supervision.format={format}", *overrides])
            log = run_chain(config, bar=False, report=report)
    return log


def tiny_config(out: Path, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of one chain."""
    values = {
        "name": "tiny",
        "out": str(out),
        "model": {"teacher": str(out / "base"), "name": "toy-0.2M", "origin": "scratch"},
        "data": {
            "source": str(out / _FILE),
            "instruction": "Name the event.",
            "train": 160,
            "pool": 800,
            "validation": 64,
            "test": 300,
        },
        "adapt": {
            "examples": 800,
            "train": {"lr": 0.01, "epochs": 2, "batch": 16, "beta2": 0.99},
        },
        "prune": {
            "kept_of": "nonembedding",
            "round": {"hidden": 16, "ffn": 16},
            "calibration": 128,
        },
        "train": {"lr": 0.004, "epochs": 2, "batch": 16, "beta2": 0.99, "checkpoint_every": 50},
        "evaluate": {"batch": 64, "replies": 150, "tokens": 64, "quiz": 0},
    }
    return load_config(values, overrides)


def easy_headlines() -> list[Example]:
    """Draw headlines of the commonest events that state one fact in clear words."""
    kinds = LABELS[:_KINDS]
    drawn = [e for e in generate(_DRAWN, rng=0) if e.label in kinds and _plain(e)]
    if len(drawn) < _USED:
        raise ValueError(f"{len(drawn)} of {_DRAWN} headlines are easy, {_USED} are wanted.")
    return drawn[:_USED]


def _plain(example: Example) -> bool:
    """Whether the name of its template says: one fact, of one event."""
    _, status, wording = (example.template or "").split("/", 2)
    return status.startswith("alone.") and " or " not in wording


def toy_tokenizer(texts: Iterator[str] | Sequence[str], size: int = _VOCABULARY) -> Any:
    """Learn byte-pair tokens from texts; any text survives encoding and decoding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def base_model(path: Path, examples: Sequence[Example], seed: int = 0) -> None:
    """Save an untrained three-layer model with a tokenizer of its own."""
    texts = (f"{e.text}\nReason: {e.rationale}\nEvent: {e.label}" for e in examples)
    tokenizer = toy_tokenizer(texts)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    save_model(model, tokenizer, path)


def _write_examples(path: Path, examples: Sequence[Example]) -> None:
    lines = [json.dumps(asdict(example)) for example in examples]
    write_text(path, "".join(f"{line}\n" for line in lines))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: more only wait for each other in a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
