"""What a grid has to train and to write, priced one by one: see `experiments.bill` for the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from distill.config import Config, Prune, Replay, Train, essential, hash_of
from scaling_laws import cost

from .grids import RunConfig

__all__ = ["Chain", "priced_chains", "priced_traces"]

# Tokens of a prompt that names the labels and the form of the answer
# (`distill.traces.instruction_for`), assumed: those of 35 labels.
_TOLD = 300
# Requests that a server of the teacher has at all times; vLLM's default limit.
_BATCH = 256
_SERVERS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Chain:
    """The trainings of a chain.

    Parameters
    ----------
    name : str
    adapted : Training or None
        Of its teacher: one object for all chains that share it.
    students : tuple of Training
    """

    name: str
    adapted: cost.Training | None
    students: tuple[cost.Training, ...]

    @property
    def hours(self) -> tuple[float, float]:
        """Hours on the clock, one training after the other, its teacher and each cache once."""
        done = [t for t in (self.adapted, *self.students) if t is not None]
        caches = {t.cache_key: t for t in done if t.cache_key is not None}
        low, high = (
            sum(t.gpu_hours[end] / t.gpus for t in done)
            + sum(t.cache_gpu_hours[end] / t.gpus for t in caches.values())
            for end in (0, 1)
        )
        return low, high


def priced_traces(runs: Sequence[RunConfig], hardware: str) -> list[cost.Traces]:
    """Price what the teacher writes before the chains, on the fewest GPUs that hold the batch."""
    found: list[cost.Traces] = []
    wanted: dict[tuple[str, str], RunConfig] = {}
    for run in runs:
        config = run.config
        if config.data.traces is not None:
            key = (config.model.teacher, config.data.traces)
            if key not in wanted or config.data.pool > wanted[key].config.data.pool:
                wanted[key] = run
    for run in wanted.values():
        teacher, (prompt, whole) = _teacher(run.config), run.lengths
        asked: dict[str, Any] = {"tokens_in": prompt + _TOLD, "tokens_out": whole - prompt}
        calibration = cost.calibration()  # of the H100; a note says so where it stands for another
        servers = [
            cost.Serving(hardware, batch=_BATCH, gpus=gpus, calibration=calibration, **asked)
            for gpus in _SERVERS
        ]
        fits = [server for server in servers if server.evaluate(teacher)["served"].iloc[0]]
        name = f"traces/{run.config.data.pool}"
        found.append(
            cost.traces(teacher, run.config.data.pool, (fits or servers[-1:])[0], name=name)
        )
    return found


def priced_chains(runs: Sequence[RunConfig], hardware: str) -> list[Chain]:
    """Price the trainings of each chain, a teacher's once."""
    chains: list[Chain] = []
    adapted: dict[str, cost.Training] = {}
    for run in runs:
        config, teacher = run.config, _teacher(run.config)
        first = None
        if config.adapt is not None:
            data = {**essential(config.data), "train": None}
            key = hash_of([essential(config.model), data, essential(config.adapt)])
            if key not in adapted:
                adapted[key] = _adaptation(run, teacher, hardware, f"teacher-{key}/adapted")
            first = adapted[key]
        chains.append(Chain(run.name, first, tuple(_students(run, teacher, hardware))))
    return chains


def _adaptation(run: RunConfig, teacher: cost.Shape, hardware: str, name: str) -> cost.Training:
    adapt = run.config.adapt
    assert adapt is not None  # asked of chains that have one
    tokens = adapt.examples * sum(map(run.length, adapt.formats)) * adapt.train.epochs
    sequences = adapt.examples * len(adapt.formats) * adapt.train.epochs
    tokens += _replayed(adapt.replay, sequences / adapt.train.batch)
    options = _options(run, adapt.train, hardware, max(map(run.length, adapt.formats)))
    return cost.training(teacher, tokens, name=name, **options)


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
