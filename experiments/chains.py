"""Chains as jobs of a sweep: the command, the rows that it will log, the stages that it will do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distill.config import Config, Data, hash_of, save_config
from distill.data import Dataset, load_data
from distill.models import read_config
from distill.prune import Rounding, plan_chain, schedule
from distill.stages import Stage, Stages
from distill.steps import Made, Steps

from .grids import RunConfig
from .jobs import Job

__all__ = ["job_of", "rows_of", "stages_of"]


def job_of(run: RunConfig, folder: Path) -> Job:
    """Return the job that does a chain, its settings saved in a folder."""
    config, settings = run.config, folder / f"{run.name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, settings)
    command = [sys.executable, "-m", "distill", "run", str(settings)]
    if run.gpus > 1:
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={run.gpus}"]
        command[2:3] = [*launch, "-m", "distill"]
    stages = Path(config.out).absolute() / "stages"
    return Job(
        name=run.name,
        command=tuple(command),
        gpus=run.gpus,
        makes=tuple(str(stages / key / "done.json") for key in stages_of(config)),
        rows=tuple(rows_of(run)),
        about={
            "chain_id": run.name,
            "config_hash": config.hash,
            "format": config.supervision.format,
            "examples": config.data.train,
            "seed": config.seed,
        },
        size=_size(run),
    )


def rows_of(run: RunConfig) -> list[str]:
    """Return the run ids that a chain logs, in order."""
    config, names = run.config, ["0-teacher"]
    if config.model.student is not None:
        names.append("1-distilled")
    else:
        phases = ("pruned", "distilled") if config.evaluate.pruned else ("distilled",)
        numbers = range(1, len(config.prune.kept) + 1)
        names += [f"{i}-{phase}" for i in numbers for phase in phases]
    return [f"{run.name}/{name}" for name in names]


def stages_of(config: Config) -> list[str]:
    """Return the names of the stages that a chain does, in order, without doing them."""
    names = _Names()
    steps = Steps(config, _data(config.data.model_dump_json()), names, bar=False)
    teacher = steps.given(config.model.teacher)
    if config.adapt is not None:
        teacher = steps.adapt(teacher)
    steps.score(teacher)
    if config.model.student is not None:
        steps.score(steps.teach(steps.given(config.model.student), teacher))
        return names.keys
    prune, parent = config.prune, teacher
    plans = plan_chain(
        read_config(config.model.teacher),
        prune.kept,
        kept_of=prune.kept_of,
        split=prune.split,
        rounding=Rounding(**prune.round.model_dump()),
    )
    for plan, step in zip(plans, schedule(prune.kept, prune.schedule), strict=True):
        pruned = steps.prune(teacher if step.parent == 1 else parent, plan)
        if config.evaluate.pruned:
            steps.score(pruned)
        parent: Made = steps.teach(pruned, teacher)
        steps.score(parent)
    return names.keys


def _size(run: RunConfig) -> float:
    """Return the tokens that a chain's students are trained and scored on, the former thrice."""
    config = run.config
    students = len(config.prune.kept) if config.model.student is None else 1
    trained = 3 * config.data.train * config.train.epochs
    scored = config.data.test * (1 + config.evaluate.pruned)
    return students * (trained + scored) * run.length(config.supervision.format)


class _Names(Stages):
    """Stages that are named and not done."""

    def __init__(self) -> None:
        self.folder = Path()
        self.accelerator: Any = SimpleNamespace(device="cpu")
        self.keys: list[str] = []

    def same(self, name: str, mark: str) -> bool:
        """Return True: nothing is looked for, and nothing remembered."""
        return True

    def run(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        together: bool = False,
    ) -> Stage:
        key = f"{kind}-{hash_of(inputs)}"
        if key not in self.keys:
            self.keys.append(key)
        return Stage(key, self.folder / key, {})


@lru_cache(maxsize=1)
def _whole(settings: str) -> Dataset:
    """Return a dataset; chains that differ in the number of examples share it."""
    return load_data(Data.model_validate_json(settings))


def _data(settings: str) -> Dataset:
    data = Data.model_validate_json(settings)
    return _whole(data.model_copy(update={"train": 1}).model_dump_json())
