"""What a grid costs before it is run: GPU-hours, memory and price of every training in it.

Trainings and the teacher's caches are counted. Pruning and evaluation are not: in small grids they
take as long as the trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from distill.config import Config, Prune, Replay, Train, essential, hash_of
from scaling_laws import cost

from .grids import RunConfig

__all__ = ["bill", "show", "trainings"]

_SUMS = ("gpu_hours_low", "gpu_hours_high", "price_low", "price_high")


def bill(runs: Sequence[RunConfig], hardware: str = "H100") -> tuple[cost.Budget, pd.DataFrame]:
    """Return the bill of a grid, and a row for each chain and each adapted teacher.

    Parameters
    ----------
    runs : sequence of RunConfig
        Those of no GPU are counted as if on one.
    hardware : str
        A device of the table of costs.
    """
    budget = cost.budget(trainings(runs, hardware))
    frame = budget.frame
    frame = frame.assign(
        run=[str(name).rpartition("/")[0] for name in frame["name"]],
        gpu_hours_low=frame["gpu_hours_low"] + frame["cache_gpu_hours_low"],
        gpu_hours_high=frame["gpu_hours_high"] + frame["cache_gpu_hours_high"],
        memory_GB=frame["memory_bytes"] / 1e9,
    )
    how = {name: "sum" for name in _SUMS} | {"gpus": "max", "memory_GB": "max"}
    return budget, frame.groupby("run", sort=False).agg(how).reset_index()


def show(runs: Sequence[RunConfig], hardware: str = "H100") -> str:
    """Return the bill as text.

    Raises
    ------
    ValueError
        If a training does not fit its GPUs; the message holds the bill too.
    """
    budget, chains = bill(runs, hardware)
    table = chains.to_string(index=False, float_format=lambda value: f"{value:.3g}")
    unlike = [note for note in budget.notes if note.code != "does_not_fit"]
    lines = [
        table,
        f"{len(runs)} chains, {len(budget.frame)} trainings on {hardware}, without pruning and "
        "evaluation",
        f"GPU-hours    {budget.gpu_hours[0]:,.3g} to {budget.gpu_hours[1]:,.3g}",
    ]
    if budget.price is not None:
        lines.append(f"dollars      {budget.price[0]:,.3g} to {budget.price[1]:,.3g}")
    lines.append(f"caches       {budget.cache_bytes / 1e9:,.3g} GB of disk")
    lines.append(f"most memory  {chains['memory_GB'].max():,.3g} GB of a GPU")
    if any(run.gpus == 0 for run in runs):
        lines.append(f"note: chains that ask for no GPU are counted as if on one {hardware}.")
    lines += [f"note: {note.sentence}" for note in unlike]
    unfit = [note.sentence for note in budget.notes if note.code == "does_not_fit"]
    if unfit:
        raise ValueError("\n".join([*lines, f"{len(unfit)} trainings do not fit:", *unfit]))
    return "\n".join(lines)


def trainings(runs: Sequence[RunConfig], hardware: str = "H100") -> list[cost.Training]:
    """Return every training of a grid, that of a teacher once."""
    found: list[cost.Training] = []
    adapted: set[str] = set()
    for run in runs:
        config, teacher = run.config, _teacher(run.config)
        if config.adapt is not None:
            adapt = config.adapt
            data = {**essential(config.data), "train": None}
            key = hash_of([essential(config.model), data, essential(adapt)])
            if key not in adapted:
                adapted.add(key)
                tokens = adapt.examples * sum(map(run.length, adapt.formats)) * adapt.train.epochs
                sequences = adapt.examples * len(adapt.formats) * adapt.train.epochs
                tokens += _replayed(adapt.replay, sequences / adapt.train.batch)
                options = _options(run, adapt.train, hardware, max(map(run.length, adapt.formats)))
                name = f"teacher-{key}/adapted"
                found.append(cost.training(teacher, tokens, name=name, **options))
        found += _students(run, teacher, hardware)
    return found


def _students(run: RunConfig, teacher: cost.Shape, hardware: str) -> list[cost.Training]:
    config, s = run.config, run.config.supervision
    length, seen = run.length(s.format), config.data.train * config.train.epochs
    tokens = seen * length + _replayed(s.replay, seen / config.train.batch)
    taught: dict[str, Any] = {}
    if s.alpha > 0:
        kind = {"none": "online", "hidden": "hidden", "topk": "topk"}[s.cache]
        taught = {
            "teacher": teacher, "target": kind, "topk": s.k,
            "unique_tokens": config.data.pool * length,
            "cache": "label" if s.format == "label" else "cot",
        }  # fmt: skip
    options = _options(run, config.train, hardware, length)
    if config.model.student is not None:
        shapes = [cost.shape(Path(config.model.student))]
    else:
        shapes = _pruned(teacher, config.prune.model_dump_json())
    return [
        cost.training(shape, tokens, name=f"{run.name}/{i}-distilled", **taught, **options)
        for i, shape in enumerate(shapes, start=1)
    ]


@lru_cache
def _pruned(teacher: cost.Shape, settings: str) -> list[cost.Shape]:
    """Return the students' shapes; many chains have the same."""
    prune = Prune.model_validate_json(settings)
    rounding = prune.round.model_dump()
    return [
        teacher.pruned(kept, kept_of=prune.kept_of, split=prune.split, rounding=rounding)
        for kept in prune.kept
    ]


def _options(run: RunConfig, train: Train, hardware: str, length: int) -> dict[str, Any]:
    """Return what a training's settings say of its cost."""
    lora = {} if train.lora is None else {"method": "lora", "rank": train.lora.rank}
    return {
        "hardware": hardware,
        "gpus": max(run.gpus, 1),
        "parallel": train.parallel,
        "length": length,
        "micro_tokens": train.micro_tokens,
        "checkpointing": train.gradient_checkpointing,
        "chunk": train.chunk,
        **lora,
    }


def _replayed(replay: Replay | None, steps: float) -> float:
    return 0.0 if replay is None else steps * replay.batch * replay.tokens


def _teacher(config: Config) -> cost.Shape:
    """Return the teacher's shape, from its folder or, before that is there, by its name."""
    folder = Path(config.model.teacher)
    return cost.shape(folder if folder.is_dir() else config.model.name or folder.name)
