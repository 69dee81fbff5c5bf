"""The training loop: one for adapting a teacher and teaching students, all weights or adapters.

The examples of a step, its learning rate and its random state are functions of seed and step. So
a training that goes on from a checkpoint makes the same numbers as one that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from .batches import Batch, collate, micro_batches, step_indices, steps_in_epoch
from .checkpoint import latest_checkpoint, save_checkpoint
from .config import Train, essential, hash_of
from .memory import explained
from .models import check_logits
from .progress import Progress
from .streams import Stream
from .student import Student, full_tensor, load_into, make_accelerator
from .task import Encoded

__all__ = ["Trained", "TrainingError", "learning_rate", "total_steps", "train"]


class TrainingError(RuntimeError):
    """A training can't go on; what its last checkpoint holds is safe."""


@dataclass(frozen=True)
class Trained:
    """What a training did.

    Parameters
    ----------
    steps, examples_seen, tokens : int
        Optimiser steps; sequences of the first stream, repeats counted; tokens of all streams.
    stopped_by : {"epochs", "max_steps", "validation"}
    losses : tuple of float
        Loss of each step, all streams together.
    validation : tuple of (int, float)
        Step and NLL of each measurement.
    wall_s, cpu_s : float
        Seconds of wall-clock and of processor time of this process, restarts included.
    weights : dict of str to Tensor, optional
        All weights, where the model's own are shards.
    """

    steps: int
    examples_seen: int
    tokens: int
    stopped_by: Literal["epochs", "max_steps", "validation"]
    losses: tuple[float, ...]
    validation: tuple[tuple[int, float], ...]
    wall_s: float
    cpu_s: float
    weights: dict[str, Tensor] | None = None


def total_steps(n: int, options: Train) -> int:
    """Optimiser steps for n sequences, unless validation stops earlier."""
    # 1.1 epochs of 10 steps are 11 steps, and 11.000000000000002 in binary.
    steps = math.ceil(options.epochs * steps_in_epoch(n, options.batch) - 1e-9)
    return min(steps, options.max_steps or steps)


def learning_rate(step: int, total: int, options: Train) -> float:
    """Rise in a straight line over the warm-up, then fall along a cosine to ``min_lr * lr``."""
    warmup = math.ceil(options.warmup * total)
    if step < warmup:
        return options.lr * (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    share = options.min_lr + (1 - options.min_lr) * (1 + math.cos(math.pi * progress)) / 2
    return options.lr * share


def train(
    model: Any,
    streams: Sequence[Stream],
    options: Train,
    *,
    seed: int = 0,
    validation: Sequence[Encoded] = (),
    folder: Path | None = None,
    accelerator: Accelerator | None = None,
    bar: bool = True,
) -> Trained:
    """Train a model in place, from its last checkpoint if there is one.

    Parameters
    ----------
    model : PreTrainedModel
        Ends in evaluation mode, adapters merged. With ``validate_every`` its weights are those of
        the lowest validation NLL. Its dtype is float32 after training all weights.
    streams : sequence of Stream
        The first is the task; others are mixed into each step.
    options : Train
        ``batch`` is that of the first stream.
    seed : int
    validation : sequence of Encoded
        For ``validate_every``: their NLL, weighted as the first stream is.
    folder : Path, optional
        Holds checkpoints, if any shall be written.
    accelerator : Accelerator, optional
        Made if left out.
    bar : bool
        Show progress on a terminal.

    Raises
    ------
    TrainingError
        For a loss or gradient that is not finite, before it reaches the weights, and where memory
        ends.
    StorageError
        If a checkpoint can't be written.
    """
    training = _Training(
        model, streams, options, seed, validation, folder, accelerator or make_accelerator()
    )
    return training.run(bar)


class _Training:
    """State of a training between steps."""

    def __init__(
        self,
        model: Any,
        streams: Sequence[Stream],
        options: Train,
        seed: int,
        validation: Sequence[Encoded],
        folder: Path | None,
        accelerator: Accelerator,
    ) -> None:
        if options.validate_every is not None and not validation:
            raise ValueError("train: validate_every needs validation examples; pass some.")
        self.streams, self.options, self.seed, self.validation = streams, options, seed, validation
        self.folder, self.accelerator = folder, accelerator
        self.total = total_steps(len(streams[0].sequences), options)
        self.lengths = [[len(s.ids) for s in stream.sequences] for stream in streams]
        self._refuse_too_long(model)
        self._refuse_too_few()
        check_logits(model, streams[0].sequences[0].ids)
        torch.manual_seed(seed)  # adapters are drawn
        self.student = Student(model, options, accelerator)
        self.optimiser = _optimiser(self.student.parameters, options)
        self.step, self.examples_seen, self.tokens = 0, 0, 0
        self.losses: list[float] = []
        self.measured: list[tuple[int, float]] = []
        self.best: dict[str, Tensor] | None = None
        self.wall_s, self.cpu_s = 0.0, 0.0
        self.identity = hash_of([essential(options), seed, *map(sum, self.lengths)])
        self._resume()

    def run(self, bar: bool) -> Trained:
        done = Progress(
            self.total,
            self.step,
            self.accelerator.device,
            (6 if self.options.lora is None else 4) * self.student.model.num_parameters(),
            self.accelerator.num_processes,
            bar and self.accelerator.is_main_process,
        )
        clocks = time.perf_counter() - self.wall_s, time.process_time() - self.cpu_s
        self.student.module.train()
        try:
            while self.step < self.total and not self._patience_ended():
                before = time.perf_counter(), self.tokens
                with explained(self._memory_ended):
                    self._step()
                    self._measure()
                now = time.perf_counter()
                done.step(self.losses[-1], self.tokens - before[1], now - before[0])
                self.wall_s, self.cpu_s = now - clocks[0], time.process_time() - clocks[1]
                if self.step % self.options.checkpoint_every == 0:
                    self._save()
        finally:
            done.close()
        if self.best is not None:
            self.student.load(self.best)
        return Trained(
            self.step, self.examples_seen, self.tokens, self._reason(), tuple(self.losses),
            tuple(self.measured), self.wall_s, self.cpu_s, self.student.finish(),
        )  # fmt: skip

    def _refuse_too_long(self, model: Any) -> None:
        """Refuse now what a later step could not do: its sequences are drawn when it comes."""
        measured = [] if self.options.validate_every is None else self.validation
        longest = max(max(map(max, self.lengths)), max((len(s.ids) for s in measured), default=0))
        if longest > self.options.micro_tokens:
            raise ValueError(
                f"train: a sequence has {longest} tokens, more than the train.micro_tokens = "
                f"{self.options.micro_tokens} of a forward pass; raise it to {longest} or more "
                "(results do not depend on it)."
            )
        known = getattr(model.config, "max_position_embeddings", None)
        if known is not None and longest > known:
            raise ValueError(
                f"train: a sequence has {longest} tokens, and the model was made for {known} "
                "(max_position_embeddings): what it says beyond them is noise. Leave long texts "
                "out, or take another model."
            )

    def _refuse_too_few(self) -> None:
        """Refuse now a step without a sequence for each process, such as an epoch's last."""
        processes, sizes = self.accelerator.num_processes, []
        for number, lengths in enumerate(self.lengths):
            batch = self.streams[number].batch if number else self.options.batch
            sizes.append(len(lengths) // steps_in_epoch(len(lengths), batch))
        if self.options.validate_every is not None:
            sizes.append(len(self.validation))
        if min(sizes) < processes:
            raise ValueError(
                f"train: a step, or the validation, has {min(sizes)} sequences for {processes} "
                "processes; raise train.batch (or that of replay, or data.validation), or start "
                "fewer processes."
            )

    def _step(self) -> None:
        rate = learning_rate(self.step, self.total, self.options)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        rank = self.accelerator.process_index
        drawn = np.random.SeedSequence([self.seed, self.step, rank]).generate_state(1)[0]
        torch.manual_seed(int(drawn))
        passes = list(self._passes())
        total = torch.zeros((), device=self.accelerator.device)
        for i, (stream, batch) in enumerate(passes):
            teacher = stream.teacher(batch) if stream.alpha > 0 and stream.teacher else None
            with self.student.synchronise(i == len(passes) - 1):
                loss = self.student.loss(batch, teacher, **stream.loss_options).total
                # Gradients are averaged over processes; the loss is a sum over them.
                share = loss * stream.weight
                self.accelerator.backward(share * self.accelerator.num_processes)
            total += share.detach()
        parameters = self.student.parameters.values()
        norm = full_tensor(torch.nn.utils.clip_grad_norm_(parameters, self.options.clip))
        loss = self.accelerator.reduce(total, "sum").item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss is {loss} and its gradient's norm {norm.item()} at step {self.step}, "
                f"with a learning rate of {rate:.3g}. The weights were not touched by it. Lower "
                f"train.lr or train.clip, or look at the examples of that step. {self._safe()}"
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.losses.append(loss)
        self.step += 1

    def _passes(self) -> Iterator[tuple[Stream, Batch]]:
        """Batches of this process in this step, stream after stream; count what all have."""
        accelerator, limit = self.accelerator, self.options.micro_tokens
        for number, (stream, lengths) in enumerate(zip(self.streams, self.lengths, strict=True)):
            batch = stream.batch if number else self.options.batch
            indices = step_indices(len(lengths), batch, self.step, (self.seed, number))
            groups = micro_batches(lengths, indices, limit, accelerator.num_processes)
            for group in groups[accelerator.process_index]:
                sequences = stream.sequences
                yield stream, collate(sequences, group, stream.w, len(indices), accelerator.device)
            self.tokens += sum(lengths[i] for i in indices)
            self.examples_seen += 0 if number else len(indices)

    @torch.no_grad()
    def _measure(self) -> None:
        """Measure the validation NLL when it is due, and keep the best weights."""
        every = self.options.validate_every
        if every is None or (self.step % every and self.step < self.total):
            return
        accelerator, n = self.accelerator, len(self.validation)
        lengths = [len(s.ids) for s in self.validation]
        groups = micro_batches(
            lengths, range(n), self.options.micro_tokens, accelerator.num_processes
        )
        self.student.module.eval()
        total = torch.zeros((), device=accelerator.device)
        for group in groups[accelerator.process_index]:
            batch = collate(self.validation, group, self.streams[0].w, n, accelerator.device)
            total += self.student.loss(batch, None, alpha=0.0).total
        self.student.module.train()
        self.student.reshard()
        nll = accelerator.reduce(total, "sum").item()
        if not math.isfinite(nll):
            raise TrainingError(
                f"the validation NLL is {nll} at step {self.step}: of no weights could it be said "
                f"that they are the best. Lower train.lr, or look at those examples. {self._safe()}"
            )
        if all(nll < other for _, other in self.measured):
            self.best = self.student.state()
        self.measured.append((self.step, nll))

    def _patience_ended(self) -> bool:
        if self.options.patience is None or not self.measured:
            return False
        values = [nll for _, nll in self.measured]
        return len(values) - 1 - int(np.argmin(values)) >= self.options.patience

    def _reason(self) -> Literal["epochs", "max_steps", "validation"]:
        if self.step < self.total:
            return "validation"
        return "max_steps" if self.total == self.options.max_steps else "epochs"

    def _save(self) -> None:
        """Write a checkpoint; all processes gather, the first one writes."""
        if self.folder is None:
            return
        tensors = {"weights": self.student.state(), "optimiser": {}}
        for name, weight in self.student.parameters.items():
            for key, value in self.optimiser.state[weight].items():
                tensors["optimiser"][f"{name}/{key}"] = full_tensor(value)
        if self.best is not None:
            tensors["best"] = self.best
        state = {"identity": self.identity} | {name: getattr(self, name) for name in _SAVED}
        if self.accelerator.is_main_process:
            save_checkpoint(self.folder, state, tensors)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        checkpoint = None if self.folder is None else latest_checkpoint(self.folder)
        if checkpoint is None:
            return
        if checkpoint.state["identity"] != self.identity:
            raise TrainingError(
                f"{checkpoint.path} is the checkpoint of a training with other settings, seed or "
                "examples. Delete it to start anew, or use another folder."
            )
        self.student.load(checkpoint.tensors("weights"))
        moments = checkpoint.tensors("optimiser")
        for name, weight in self.student.parameters.items():
            self.optimiser.state[weight] = {"step": moments[f"{name}/step"].to(weight.device)}
            for key in ("exp_avg", "exp_avg_sq"):
                value = torch.zeros_like(weight, memory_format=torch.preserve_format)
                load_into(value, moments[f"{name}/{key}"])
                self.optimiser.state[weight][key] = value
        if checkpoint.has("best"):
            self.best = checkpoint.tensors("best")
        for name in _SAVED:
            setattr(self, name, checkpoint.state[name])

    def _memory_ended(self) -> TrainingError:
        return TrainingError(
            f"out of memory at step {self.step}, with forward passes of up to "
            f"{self.options.micro_tokens} tokens. Lower train.micro_tokens (results do not "
            "depend on it), or set train.gradient_checkpointing=true, train.precision=bf16 or "
            f"train.lora. {self._safe()}"
        )

    def _safe(self) -> str:
        checkpoint = None if self.folder is None else latest_checkpoint(self.folder)
        if checkpoint is None:
            return "There is no checkpoint yet."
        return f"The checkpoint of step {checkpoint.state['step']} is safe."


_SAVED = ("step", "examples_seen", "tokens", "losses", "measured", "wall_s", "cpu_s")


def _optimiser(parameters: dict[str, torch.nn.Parameter], options: Train) -> torch.optim.AdamW:
    matrices = [weight for weight in parameters.values() if weight.ndim > 1]
    vectors = [weight for weight in parameters.values() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        fused=True,  # goes once over the weights: a fifth of the time on a CPU
    )
