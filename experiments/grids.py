"""Grids of distillation runs: which chains to do to learn a law from them.

A recipe returns one `RunConfig` for each chain, and a chain gives a row for each size of student.
Chains are in the order in which they are begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config import Config, load_config
from distill.tiny import tiny_config

__all__ = ["RunConfig", "paper", "small", "tiny"]

LEVELS = (0.79, 0.58, 0.37, 0.16)
"""Fractions kept, beside the teacher's 1."""

_TWO_LEVELS = (0.58, 0.16)
# What the teacher answers freely for the arm that mixes in general text.
_PROMPTS = Path(__file__).with_name("general-prompts.txt")
# Tokens of a sequence without and with reasoning: of the synthetic headlines, as measured; of the
# paper's, assumed.
_LENGTHS = (41, 78)
_PAPER_LENGTHS = (40, 400)


@dataclass(frozen=True)
class RunConfig:
    """A chain with one seed, and what it runs on.

    Parameters
    ----------
    config : Config
        All that decides the results.
    gpus : int
        GPUs that share its trainings; 0 is the processor.
    lengths : (int, int)
        Tokens of a training sequence without and with reasoning, for its cost.
    """

    config: Config
    gpus: int = 0
    lengths: tuple[int, int] = _LENGTHS

    def length(self, format: str) -> int:
        """Return the tokens of a training sequence of a format."""
        return self.lengths[format != "label"]

    @property
    def name(self) -> str:
        """The chain's id in the log."""
        return f"{self.config.name}-{self.config.hash}-s{self.config.seed}"


def tiny(
    out: Path,
    *,
    examples: Sequence[int] = (8, 16, 32, 64, 128),
    formats: Sequence[str] = ("label", "blended"),
    overrides: Sequence[str] = (),
) -> list[RunConfig]:
    """Return chains of a toy that learns in seconds: every size of data in every format.

    Parameters
    ----------
    out : Path
        Output folder; the toy's model and headlines are there, or will be.
    examples : sequence of int
    formats : sequence of {"label", "cot", "blended"}
    overrides : sequence of str
        As of `load_config`.
    """
    runs = []
    for format in formats:
        for n in examples:
            cell = [
                f"name=tiny-{format}-n{n}",
                f"supervision.format={format}",
                f"data.train={n}",
                "evaluate.pruned=false",
            ]
            runs.append(RunConfig(tiny_config(out, [*cell, *overrides])))
    return runs


def small(
    out: Path,
    teacher: Path,
    *,
    examples: Sequence[int] = (64, 128, 256, 512, 1024),
    again: Sequence[tuple[str, int]] = (),
    gpus: int = 0,
    overrides: Sequence[str] = (),
) -> list[RunConfig]:
    """Return the grid that two processor cores can do: SmolLM2-135M on synthetic headlines.

    The rarest event is 12 times rarer than the commonest: at 72, this teacher sees too few of it.

    - label and blended, all numbers of examples, iterative pruning to four sizes, seed 1; at the
      middle number students are scored before they are taught as well
    - the same with seed 2 at the smallest, middle and largest number: the noise of a run
    - reasoning alone (cot) at the middle and largest number, seed 1
    - at the middle number and two sizes, labels, seed 1, each beside the one before: one-shot
      pruning; one-shot with LoRA; one-shot with random weights in place of the teacher's
    - blended at the middle number with general texts by the teacher mixed in, seed 1

    The fractions count parameters outside the embedding, which is a fifth of this model and stays;
    the hidden size is left alone, and layers and feed-forward channels are removed.

    Parameters
    ----------
    out : Path
        Output folder.
    teacher : Path
        Folder of SmolLM2-135M-Instruct, with general texts beside it (``distill fetch-smollm2``).
    examples : sequence of int
        Rising; the middle one is the centre of the grid.
    again : sequence of (format, examples)
        Further cells that get a second seed too, after all others, such as those that the findings
        propose; one that has it already stays where it is.
    gpus : int
        GPUs of a chain.
    overrides : sequence of str
        As of `load_config`.

    Raises
    ------
    ValueError
        If a cell of `again` is not in the grid.
    """
    base = {
        "out": str(out),
        "model": {
            "teacher": str(teacher), "name": "SmolLM2-135M-Instruct", "dtype": "bfloat16",
        },
        "data": {"pool": 4096, "validation": 256, "test": 2000, "imbalance": 12},
        "adapt": {
            "examples": 3072,
            "train": {
                "lr": 3e-4, "batch": 16, "precision": "bf16", "micro_tokens": 2048,
                "checkpoint_every": 64,
            },
            "replay": {"texts": 512, "tokens": 40, "batch": 6},
            "gate": {},
        },
        "prune": {
            "kept": LEVELS, "kept_of": "nonembedding", "split": {"layers": 1, "ffn": 1},
            "round": {"ffn": 64}, "calibration": 256,
        },
        "train": {"lr": 1e-4, "batch": 16, "precision": "bf16", "micro_tokens": 2048},
        "evaluate": {
            "batch": 32, "quiz": 1000, "tokens": 80, "pruned": False,
            "texts": str(teacher.with_name(f"{teacher.name}-general.txt")),
        },
    }  # fmt: skip
    # Labels are scored by likelihood on the whole test set, and a few are written out for the
    # unparsed share; where reasoning is written, half of the test set is answered.
    replies = {"label": {"replies": 200}, "cot": {"replies": 1000}, "blended": {"replies": 1000}}
    low, middle, high = examples[0], examples[len(examples) // 2], examples[-1]
    # Ends before what lies between: a sweep that is stopped early has the widest range.
    order = [low, high, middle, *(n for n in examples if n not in (low, middle, high))]
    before = {middle: [{"evaluate": {"pruned": True}}]}
    formats = ("label", "blended")
    main = [_cell(f, n, 1, "", *before.get(n, [])) for n in order for f in formats]
    seconds = [(f, n) for n in (low, high, middle) for f in formats]
    thoughts = [("cot", n) for n in (middle, high)]
    known = [*((f, n) for n in examples for f in formats), *thoughts]
    if strangers := [cell for cell in again if cell not in known]:
        raise ValueError(
            f"again: {_named(strangers)} is not in the grid; there are {_named(known)}."
        )
    cot = [_cell(f, n, 1) for f, n in thoughts]
    two = {"prune": {"kept": _TWO_LEVELS, "schedule": "one-shot"}}
    one_shot = _cell("label", middle, 1, "one-shot", two)
    lora = _cell("label", middle, 1, "one-shot-lora", two, {"train": {"lora": {}}})
    random = _cell("label", middle, 1, "random", two, {"prune": {"weights": "random"}})
    general = {"tokens": 64, "batch": 6, "prompts": str(_PROMPTS)}
    replay = _cell("blended", middle, 1, "replay", {"supervision": {"replay": general}})
    second = [_cell(f, n, 2) for f, n in seconds]
    further = [_cell(f, n, 2) for f, n in dict.fromkeys(again) if (f, n) not in seconds]
    cells = [*main, *second, *cot, one_shot, lora, random, replay, *further]
    cells = [_merged({"evaluate": replies[c["supervision"]["format"]]}, c) for c in cells]
    return _runs("small", base, cells, gpus, overrides)


def paper(
    out: Path,
    teacher: Path,
    headlines: Path,
    traces: Path,
    *,
    examples: Sequence[int] = (6250, 12_500, 25_000, 50_000, 100_000, 200_000, 400_000),
    seeds: Sequence[int] = (0, 1, 2),
    gpus: int = 8,
    overrides: Sequence[str] = (),
) -> list[RunConfig]:
    """Return the design of Ghita, Desai and Boier 2026 (arXiv 2606.24747) at full size.

    A teacher of 32 billion parameters, students of .79, .58, .37 and .16 of its total, three seeds.
    The cells, not a full factorial:

    - label, cot and blended at every number of examples, all weights, iterative pruning
    - LoRA in the three formats at the smallest, middle and largest number, iterative pruning
    - one-shot pruning with label and blended at the same three numbers, all weights

    That is 36 chains a seed, 144 students. What is not published is ours: the numbers of examples
    between the ends, learning rates, the adaptation of the teacher, and the shares of the axes.

    Parameters
    ----------
    out : Path
        Output folder.
    teacher : Path
        Folder of Qwen3-32B.
    headlines : Path
        Labelled headlines (FinHeadlineMix: one Parquet file).
    traces : Path
        The teacher's reasoning and labels for them (``distill traces``).
    examples, seeds : sequence of int
    gpus : int
        GPUs of a chain.
    overrides : sequence of str
        As of `load_config`.
    """
    training = {
        "precision": "bf16", "parallel": "fsdp", "gradient_checkpointing": True,
        "micro_tokens": 8192,
    }  # fmt: skip
    base = {
        "out": str(out),
        "model": {"teacher": str(teacher), "name": "Qwen3-32B", "dtype": "bfloat16"},
        "data": {
            "source": str(headlines), "traces": str(traces), "label_source": "teacher",
            "pool": max(examples), "validation": 2000, "test": 10_000,
        },
        "adapt": {"train": {**training, "lr": 1e-5, "batch": 64}, "replay": {}},
        "prune": {"kept": LEVELS, "calibration": 1024},
        "train": {**training, "lr": 2e-5, "batch": 64},
        "supervision": {"cache": "topk"},
        "evaluate": {"batch": 128, "replies": 2000},
    }  # fmt: skip
    three = (examples[0], examples[len(examples) // 2], examples[-1])
    formats = ("label", "cot", "blended")
    lora = {"train": {"lr": 2e-4, "parallel": "ddp", "lora": {}}}
    one_shot = {"prune": {"schedule": "one-shot"}}
    cells = []
    for seed in seeds:
        cells += [_cell(f, n, seed) for f in formats for n in examples]
        cells += [_cell(f, n, seed, "lora", lora) for f in formats for n in three]
        cells += [
            _cell(f, n, seed, "one-shot", one_shot) for f in ("label", "blended") for n in three
        ]
    return _runs("paper", base, cells, gpus, overrides, _PAPER_LENGTHS)


def _named(cells: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{format}-n{n}" for format, n in cells)


def _cell(
    format: str, examples: int, seed: int, what: str = "", *changes: dict[str, Any]
) -> dict[str, Any]:
    """Return what a chain has that others do not."""
    cell: dict[str, Any] = {
        "name": "-".join(filter(None, (format, f"n{examples}", what))),
        "seed": seed,
        "data": {"train": examples},
        "supervision": {"format": format},
    }
    for change in changes:
        cell = _merged(cell, change)
    return cell


def _runs(
    grid: str,
    base: dict[str, Any],
    cells: Iterable[dict[str, Any]],
    gpus: int,
    overrides: Sequence[str],
    lengths: tuple[int, int] = _LENGTHS,
) -> list[RunConfig]:
    runs = []
    for cell in cells:
        values = _merged(base, cell) | {"name": f"{grid}-{cell['name']}"}
        runs.append(RunConfig(load_config(values, overrides), gpus, lengths))
    return runs


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return values with changes in their sections, and sections within them."""
    merged = dict(values)
    for key, change in changes.items():
        inner = merged.get(key)
        both = isinstance(inner, dict) and isinstance(change, dict)
        merged[key] = _merged(inner, change) if both else change
    return merged
