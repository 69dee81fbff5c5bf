"""A chain: adapt the teacher, prune it step by step, teach each student, log a row for each.

Every step is done once (see `distill.stages`); a row is written when its scores are known, or with
the error that stopped it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

import scaling_laws
from scaling_laws.metrics import METRICS, Metric
from scaling_laws.runs import Run

from .config import Config, Gate, hash_of, save_config
from .data import load_data
from .general import GENERAL_KL
from .log import Log
from .models import ModelError, read_config
from .precision import precision_note
from .prune import Plan, Rounding, plan_chain, schedule
from .stages import Stages
from .steps import Made, Steps
from .student import make_accelerator

__all__ = ["LOG", "run_chain"]

LOG = "runs.jsonl"
"""Name of the log in the output folder."""


def run_chain(
    config: Config,
    *,
    bar: bool = True,
    report: Callable[[str], None] = lambda line: None,
    accelerator: Accelerator | None = None,
) -> Path:
    """Do what a configuration says, from where an earlier attempt stopped.

    Parameters
    ----------
    config : Config
    bar : bool
        Show the progress of trainings on a terminal.
    report : callable
        Called with a line of text for each note and each finished row.
    accelerator : Accelerator, optional
        Made if left out.

    Returns
    -------
    Path
        The log: one row for the teacher, and for each student one before and one after teaching.

    Raises
    ------
    ModelError, TrainingError, OutOfMemory, StorageError, ValueError
        Whatever stops a step; a row with ``status = "failed"`` says so in the log, and the same
        call goes on from there. Among them, for a `run_id` that the log has with other scores: what
        a name of the configuration stands for is not what it was.
    """
    accelerator = accelerator or make_accelerator()
    out = Path(config.out)
    say = report if accelerator.is_main_process else lambda line: None
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / f"{config.name}-{config.hash}.yaml")
    data = load_data(config.data)
    for note in (precision_note(config, accelerator.device), *data.notes):
        if note is not None:
            say(note)
    steps = Steps(config, data, Stages(out / "stages", accelerator), bar)
    log = Log(out / LOG, accelerator, say, _metrics(config))
    chain = _Chain(config, steps, log, data.task)
    chain.run()
    return out / LOG


@dataclass(frozen=True)
class _Row:
    """A logged model: what the rows of its descendants need."""

    run_id: str
    made: Made
    sizes: Mapping[str, Any]


class _Chain:
    """One teacher and the students made from it."""

    def __init__(self, config: Config, steps: Steps, log: Log, task: Any) -> None:
        self.config, self.steps, self.log = config, steps, log
        self.chain_id = f"{config.name}-{config.hash}-s{config.seed}"
        prompt = [task.instruction, task.instruction_role, task.reason_marker, task.answer_marker]
        teacher = config.model.name or Path(config.model.teacher).name
        self.common = {
            "chain_id": self.chain_id,
            "config_hash": config.hash,
            "code_version": scaling_laws.__version__,
            "teacher": teacher,
            "base_model": teacher,
            "kept_of": config.prune.kept_of,
            "weight_bits": 32 if config.model.dtype == "float32" else 16,
            "format": config.supervision.format,
            "label_source": config.data.label_source,
            "task": task.name,
            "seed": config.seed,
            "prompt_id": hash_of(prompt),
            "machine": _machine(steps.accelerator),
        }

    def run(self) -> None:
        config, s = self.config, self.config.supervision
        with self._logged(0, "teacher"):
            made = base = self.steps.given(config.model.teacher)
            if config.adapt is not None:
                made = self.steps.adapt(base)
            teacher = self._score(0, "teacher", made, None, {"origin": config.model.origin})
            if config.adapt is not None and config.adapt.gate is not None:
                self._pass(config.adapt.gate, base, made)
        taught = {
            "method": "full" if config.train.lora is None else "lora",
            "target": "logits" if s.alpha > 0 else "text",
            "temperature": s.temperature,
        }
        if config.model.student is not None:
            with self._logged(1, "distilled", teacher):
                base = self.steps.given(config.model.student)
                about = {"origin": "pretrained", "base_model": Path(config.model.student).name}
                self._teach(1, base, teacher, teacher, {**taught, **about})
            return
        self._students(teacher, taught)

    def _pass(self, gate: Gate, base: Made, adapted: Made) -> None:
        """Refuse a teacher that students could learn little from."""
        scores, before = self.steps.score(adapted)["scores"], self.steps.quiz(base)["quiz"]
        short = []
        if scores["task_f1"] < gate.task_f1:
            short.append(
                f"its macro-F1 {scores['task_f1']:.3f} is below task_f1 = {gate.task_f1}; raise "
                "adapt.examples or adapt.train.epochs"
            )
        if scores["quiz"] < before - gate.quiz_drop:
            short.append(
                f"its quiz score {scores['quiz']:.3f} is more than quiz_drop = {gate.quiz_drop} "
                f"below the {before:.3f} of the model it was; raise adapt.replay.weight"
            )
        if short:
            raise ModelError(f"the adapted teacher does not pass adapt.gate: {'; '.join(short)}.")

    def _students(self, teacher: _Row, taught: Mapping[str, Any]) -> None:
        prune = self.config.prune
        original = read_config(teacher.made.path)
        plans = plan_chain(
            original,
            prune.kept,
            kept_of=prune.kept_of,
            split=prune.split,
            rounding=Rounding(**prune.round.model_dump()),
        )
        parent = teacher
        for i, (plan, step) in enumerate(
            zip(plans, schedule(prune.kept, prune.schedule), strict=True), start=1
        ):
            parent = teacher if step.parent == 1 else parent
            about = self._pruning(plan, plans[i - 2].kept if step.parent < 1 else 1.0)
            with self._logged(i, "pruned", parent):
                made = self.steps.prune(parent.made, plan)
                pruned = parent
                if self.config.evaluate.pruned:
                    seen = {"examples": 0, "examples_seen": 0, "tokens": 0, "steps": 0}
                    pruned = self._score(i, "pruned", made, parent, {**about, **seen})
            with self._logged(i, "distilled", pruned):
                parent = self._teach(i, made, teacher, pruned, {**taught, **about})

    def _pruning(self, plan: Plan, parent_kept: float) -> dict[str, Any]:
        return {
            "origin": "pruned" if self.config.prune.weights == "inherited" else "scratch",
            "kept": plan.kept,
            "step_kept": plan.kept / parent_kept,
            "prune_axis": plan.axis,
            "schedule": self.config.prune.schedule,
        }

    def _teach(
        self, stage: int, made: Made, teacher: _Row, parent: _Row, about: Mapping[str, Any]
    ) -> _Row:
        taught = self.steps.teach(made, teacher.made)
        return self._score(stage, "distilled", taught, parent, about, teacher)

    def _score(
        self,
        stage: int,
        phase: str,
        made: Made,
        parent: _Row | None,
        about: Mapping[str, Any],
        teacher: _Row | None = None,
    ) -> _Row:
        """Evaluate a model and write its row."""
        scored = self.steps.score(made)
        sizes, processes = scored["sizes"], self.steps.accelerator.num_processes
        run_id = f"{self.chain_id}/{stage}-{phase}"
        row = {
            **self.common,
            "run_id": run_id,
            "parent_id": None if parent is None else parent.run_id,
            "stage": stage,
            "phase": phase,
            "kept": 1.0,
            **about,
            **sizes,
            **scored["scores"],
            **{name: scored.get(name) for name in ("items", "items_sha256")},
            **made.result,
        }
        if "kept" not in about and teacher is not None:
            count = "params" if self.config.prune.kept_of == "total" else "params_nonembedding"
            row["kept"] = sizes[count] / teacher.sizes[count]
        if "wall_s" in row and torch.cuda.is_available():
            row["gpu_hours"] = row["wall_s"] / 3600 * processes
        # A row has what the schema knows; the rest is in the folders of the stages.
        known = {*Run.model_fields, *(f for m in self.log.metrics for f in (m.name, m.se, m.n))}
        self.log.add({k: v for k, v in row.items() if k in known and v is not None})
        return _Row(run_id, made, sizes)

    @contextmanager
    def _logged(self, stage: int, phase: str, parent: _Row | None = None) -> Iterator[None]:
        """Write a row for what fails, and let it fail."""
        try:
            yield
        except Exception as error:
            name = f"{self.chain_id}/{stage}-{phase}"
            row = {**self.common, "stage": stage, "phase": phase}
            if parent is not None:
                row["parent_id"] = parent.run_id
            self.log.failed(row, name, error)
            raise


def _metrics(config: Config) -> list[Metric]:
    """Scores of a chain that the schema of a run has no field for."""
    asked = config.evaluate.lm_eval
    tasks = () if asked is None else asked.tasks
    others = [
        Metric(task, "higher", "general", None, 1.0, "logit", "proportion", f"accuracy on {task}")
        for task in tasks
        if task not in METRICS
    ]
    return [GENERAL_KL, *others]


def _machine(accelerator: Accelerator) -> str:
    n = accelerator.num_processes
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{n} x {name}" if device.type == "cuda" else f"{n} x {name} CPU process"
