"""What a training costs: FLOPs, GPU-hours, price, memory, and the teacher's cache.

``FLOPs a token = 6 N_s + attention (full) or 4 N_s + attention (LoRA), + 2 N_t of the teacher``

N are the weights that a token is multiplied with (layers and output head). Attention adds
``6 layers heads head_dim L`` a token at sequences of length L, causal, whichever weights are
trained, and a third of it to a teacher's forward pass (Chowdhery et al. 2022, arXiv 2204.02311,
appendix B, halved for the causal mask). Utilisation counts these FLOPs alone: layers computed
twice under checkpointing lower it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from scaling_laws.readers.table import Note

from .configs import shape as shape_of
from .memory import FROZEN, STATES, TrainingMemory, activation_bytes, adapter_params, logit_bytes
from .render import Printed, interval, quantity
from .shapes import Shape, counts
from .tables import Hardware, Price
from .tables import hardware as hardware_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MFU", "Range", "Training", "cache_bytes_per_token", "training"]

Range = tuple[float, float]
Size = Shape | str | float | Mapping[str, Any]
Target = Literal["online", "hidden", "logits", "topk", "none"]

MFU: Range = (0.15, 0.43)
"""Utilisation of a training's FLOPs, where none is given: .15 was reached when a 9B teacher taught
a 7B student (NVIDIA Model-Optimizer pruning guide), .43 in the pretraining of Llama 3 (Grattafiori
et al. 2024, arXiv 2407.21783, table 4)."""

_TARGETS = ("online", "hidden", "logits", "topk", "none")


@dataclass(frozen=True, repr=False)
class Training(Printed):
    """The bill of one training.

    Parameters
    ----------
    name : str
    student, teacher : Shape, int or None
        Shapes, or parameters where no shape is known.
    tokens : float
        Tokens trained on, repetitions included.
    method : {"full", "lora"}
    target : {"online", "hidden", "logits", "topk", "none"}
        Teacher run at each step, or what is cached of it; none: text alone.
    hardware : Hardware
    gpus : int
    flops : float
        Of the training, a teacher at each step included.
    cache_flops : float
        Of the teacher's one pass that fills the cache.
    cache_bytes : float
        Disk that the cache takes.
    cache_key : tuple or None
        Trainings of equal key share a cache.
    mfu : (float, float)
        Range of utilisation.
    memory : TrainingMemory or None
        None where a student's shape is not known.
    notes : tuple of Note
    """

    name: str
    student: Shape | int
    teacher: Shape | int | None
    tokens: float
    method: str
    target: str
    hardware: Hardware
    gpus: int
    flops: float
    cache_flops: float
    cache_bytes: float
    cache_key: tuple[Any, ...] | None
    mfu: Range
    memory: TrainingMemory | None
    notes: tuple[Note, ...] = ()

    @property
    def gpu_hours(self) -> Range:
        """Device hours of the training alone, over the range of utilisation."""
        return self._hours(self.flops)

    @property
    def cache_gpu_hours(self) -> Range:
        """Device hours that filling the cache takes, once for all that share it."""
        return self._hours(self.cache_flops)

    @property
    def wall_hours(self) -> Range:
        """Hours on the clock, the cache included."""
        low, high = self._hours(self.flops + self.cache_flops)
        return low / self.gpus, high / self.gpus

    @property
    def price(self) -> Range | None:
        """Dollars, the cache included: cheapest offer at the best utilisation to the opposite."""
        price = self.hardware.price
        if price is None:
            return None
        low, high = self._hours(self.flops + self.cache_flops)
        return low * price.low, high * price.high

    @property
    def fits(self) -> bool | None:
        """Whether the memory of a device is enough; None where it is not known."""
        return None if self.memory is None else self.memory.total <= self.hardware.memory

    def _hours(self, flops: float) -> Range:
        at_peak = flops / self.hardware.peak_flops / 3600
        return at_peak / self.mfu[1], at_peak / self.mfu[0]

    @property
    def frame(self) -> pd.DataFrame:
        """One row with every number."""
        nothing = float("nan")
        hours, cache, price = self.gpu_hours, self.cache_gpu_hours, self.price or (nothing, nothing)
        row: dict[str, Any] = {
            "name": self.name, "params": _params(self.student), "tokens": self.tokens,
            "method": self.method, "target": self.target, "gpus": self.gpus,
            "flops": self.flops, "cache_flops": self.cache_flops,
            "gpu_hours_low": hours[0], "gpu_hours_high": hours[1],
            "cache_gpu_hours_low": cache[0], "cache_gpu_hours_high": cache[1],
            "price_low": price[0], "price_high": price[1], "cache_bytes": self.cache_bytes,
            "memory_bytes": nothing if self.memory is None else self.memory.total,
            "fits": self.fits,
        }  # fmt: skip
        return pd.DataFrame([row])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what fills the memory of a GPU; returns the Axes.

        Raises
        ------
        ValueError
            If the student is a number of parameters.
        """
        from scaling_laws.plot.costs import plot_training

        return plot_training(self, ax)

    def _title(self) -> str:
        teacher = "" if self.teacher is None else f", teacher of {_params(self.teacher):.4g}"
        return (
            f"{self.name}: {self.method} training of {_params(self.student):.4g} parameters on "
            f"{self.tokens:.4g} tokens{teacher} ({self.target}), {self.gpus} x {self.hardware.name}"
        )

    def _lines(self) -> Sequence[tuple[str, str]]:
        at = f"at {interval(*self.mfu)} of the peak"
        lines = [("GPU-hours", f"{interval(*self.gpu_hours)}, {at}")]
        if self.cache_flops:
            words = f"{interval(*self.cache_gpu_hours)} GPU-hours once, "
            lines.append(("cache", words + quantity(self.cache_bytes, "B")))
        if self.price is not None:
            lines.append(("dollars", interval(*self.price)))
        if self.memory is not None:
            m = self.memory
            parts = (
                ("states", m.states), ("frozen weights", m.frozen), ("teacher", m.teacher),
                ("activations", m.activations), ("logits", m.logits),
            )  # fmt: skip
            named = ", ".join(f"{word} {quantity(size, 'B')}" for word, size in parts if size)
            words = f"{quantity(m.total, 'B')} of {quantity(self.hardware.memory, 'B')} ({named})"
            lines.append(("memory of a GPU", words))
        return lines


def training(
    student: Size,
    tokens: float,
    *,
    teacher: Size | None = None,
    method: Literal["full", "lora"] = "full",
    target: Target | None = None,
    supervised: float = 1.0,
    unique_tokens: float | None = None,
    cache: str = "",
    topk: int = 64,
    length: int | None = None,
    hardware: str | Hardware = "H100",
    gpus: int = 1,
    parallel: Literal["fsdp", "ddp"] = "fsdp",
    mfu: float | Range = MFU,
    rank: int = 16,
    micro_tokens: int = 4096,
    checkpointing: bool = True,
    chunk: int = 256,
    price: Price | float | Range | None = None,
    name: str | None = None,
) -> Training:
    """Return what a training costs, before it is run.

    Parameters
    ----------
    student, teacher : name, Shape, config, or number of parameters
        With a number alone attention and memory are not counted.
    tokens : float
        Tokens trained on, repetitions included.
    method : {"full", "lora"}
        All weights, or adapters of `rank` on all matrices of the layers.
    target : {"online", "hidden", "logits", "topk", "none"}, optional
        How the teacher takes part: run at each step, or one pass that caches its last hidden
        states, its logits or the largest `topk` of them; online if there is a teacher, else none.
    supervised : float in (0, 1]
        Fraction of the tokens that have a target; the others are cached by none.
    unique_tokens : float, optional
        Tokens without repetitions, which the cache holds; `tokens`, if left out.
    cache : str
        Name of the data that are cached, such as the format; trainings on the same data share it.
    length : int, optional
        Tokens of a sequence, for the FLOPs of attention; without it they are not counted.
    hardware, gpus
        Device and number of them.
    parallel : {"fsdp", "ddp"}
        Whether weights and optimiser are divided over the devices, or copied.
    mfu : float or pair
        Utilisation; see `MFU` for the range that stands for it.
    micro_tokens : int
        Tokens in a forward pass of one device.
    checkpointing : bool
        Whether layers are computed twice to save memory.
    chunk : int
        Tokens projected through the output head at once.
    price : Price, number or pair, optional
        Dollars an hour of a device.
    name : str, optional

    Raises
    ------
    ValueError
        For a setting out of range, or a target that needs a teacher without one.
    """
    pupil, master = _size(student), None if teacher is None else _size(teacher)
    target = target or ("none" if master is None else "online")
    _check(tokens, method, target, master, supervised, gpus, parallel)
    range_ = _range(mfu)
    device = hardware_of(hardware).priced(price)
    unique = tokens if unique_tokens is None else unique_tokens
    per_token = (6 if method == "full" else 4) * _multiplied(pupil) + 3 * _attention(pupil, length)
    cache_flops = cache_bytes = 0.0
    key: tuple[Any, ...] | None = None
    if master is not None and target != "none":
        forward = 2 * _multiplied(master) + _attention(master, length)
        if target == "online":
            per_token += forward
        else:
            cache_flops = forward * unique
            cache_bytes = unique * supervised * cache_bytes_per_token(master, target, topk)
            key = (master, target, topk, cache, unique)
            if target == "hidden" and isinstance(master, Shape):
                per_token += 2 * supervised * master.vocab * master.hidden
    given = {"rank": rank, "micro_tokens": micro_tokens, "chunk": chunk}
    for setting, value in given.items():
        if value < 1:
            raise ValueError(f"training: {setting} = {value} is not 1 or more.")
    memory = None
    if isinstance(pupil, Shape):
        shards = gpus if parallel == "fsdp" else 1
        memory = _memory(
            pupil, master, method, target, shards, rank, micro_tokens, checkpointing, chunk
        )
    title = name or (pupil.name if isinstance(pupil, Shape) else "") or "training"
    return Training(
        name=title,
        student=pupil, teacher=master, tokens=float(tokens), method=method, target=target,
        hardware=device, gpus=gpus, flops=per_token * tokens, cache_flops=cache_flops,
        cache_bytes=cache_bytes, cache_key=key, mfu=range_, memory=memory,
        notes=tuple(_notes(title, pupil, memory, device, length, mfu is MFU)),
    )  # fmt: skip


def cache_bytes_per_token(teacher: Shape | int, target: str, topk: int = 64) -> float:
    """Return what a cache holds of a token: ``2 hidden``, ``2 vocab`` or ``6 topk`` bytes.

    Hidden states and logits in bfloat16; each of the largest logits with its place in 32 bits.

    Raises
    ------
    ValueError
        If the size depends on a shape that is not known.
    """
    if target == "topk":
        return 6.0 * topk
    if not isinstance(teacher, Shape):
        raise ValueError(
            f"training: the cache of target {target!r} needs the teacher's shape; a number of "
            "parameters does not say how wide it is."
        )
    return 2.0 * (teacher.hidden if target == "hidden" else teacher.vocab)


def _size(given: Size) -> Shape | int:
    if isinstance(given, int | float):
        if not 0 < given < float("inf"):
            raise ValueError(f"training: {given} is no number of parameters.")
        return int(given)
    return shape_of(given)


def _params(size: Shape | int) -> int:
    return size.params if isinstance(size, Shape) else size


def _multiplied(size: Shape | int) -> float:
    return float(counts(size).multiplied[0]) if isinstance(size, Shape) else float(size)


def _attention(size: Shape | int, length: int | None) -> float:
    """FLOPs of scores and mixing of a token's forward pass, causal."""
    if length is None or not isinstance(size, Shape):
        return 0.0
    return 2.0 * size.layers * size.heads * size.head_dim * length


def _range(mfu: float | Range) -> Range:
    low, high = (mfu, mfu) if isinstance(mfu, int | float) else mfu
    if not 0 < low <= high <= 1:
        raise ValueError(f"training: mfu = {mfu} is no range in (0, 1]; write (low, high).")
    return float(low), float(high)


def _check(
    tokens: float, method: str, target: str, teacher: Shape | int | None, supervised: float,
    gpus: int, parallel: str,
) -> None:  # fmt: skip
    if not 0 < tokens < float("inf"):
        raise ValueError(f"training: tokens = {tokens} is not positive.")
    if method not in ("full", "lora"):
        raise ValueError(f"training: method = {method!r}; write 'full' or 'lora'.")
    if parallel not in ("fsdp", "ddp"):
        raise ValueError(f"training: parallel = {parallel!r}; write 'fsdp' or 'ddp'.")
    if target not in _TARGETS:
        raise ValueError(f"training: target = {target!r}; write one of {', '.join(_TARGETS)}.")
    if target != "none" and teacher is None:
        raise ValueError(f"training: target = {target!r} needs a teacher; name one.")
    if not 0 < supervised <= 1:
        raise ValueError(f"training: supervised = {supervised} is not in (0, 1].")
    if gpus < 1:
        raise ValueError(f"training: gpus = {gpus} is not 1 or more.")


def _memory(
    student: Shape, teacher: Shape | int | None, method: str, target: str, shards: int, rank: int,
    micro_tokens: int, checkpointing: bool, chunk: int,
) -> TrainingMemory:  # fmt: skip
    trained = student.params if method == "full" else adapter_params(student, rank)
    frozen = 0 if method == "full" else student.params
    taught = 0.0
    if target == "online" and teacher is not None:
        taught = float(teacher.weight_bytes if isinstance(teacher, Shape) else FROZEN * teacher)
    elif target == "hidden" and isinstance(teacher, Shape):
        taught = float(counts(teacher).head_bytes[0])
    return TrainingMemory(
        states=STATES * trained / shards,
        frozen=FROZEN * frozen / shards,
        teacher=taught / shards,
        activations=activation_bytes(student, micro_tokens, checkpointing),
        logits=logit_bytes(student, chunk),
    )


def _notes(
    name: str, student: Shape | int, memory: TrainingMemory | None, device: Hardware,
    length: int | None, default_mfu: bool,
) -> list[Note]:  # fmt: skip
    notes: list[Note] = []
    if default_mfu:
        sentence = (
            "The utilisation is not known before a run: .15 (a 9B teacher and a 7B student) to .43 "
            "(pretraining of Llama 3) is what others reached. Pass mfu= from a run of your own."
        )
        notes.append(Note("mfu_assumed", "info", sentence))
    if length is None:
        sentence = "Attention between tokens is not counted; pass length=."
        notes.append(Note("attention_not_counted", "info", sentence))
    if not isinstance(student, Shape):
        sentence = "Memory needs the student's shape; a number of parameters was given."
        notes.append(Note("no_shape", "info", sentence))
    if memory is not None and memory.total > device.memory:
        sentence = (
            f"{name}: {quantity(memory.total, 'B')} are needed on a device of "
            f"{quantity(device.memory, 'B')}: use more gpus, adapters, a cached teacher or fewer "
            "micro_tokens."
        )
        notes.append(Note("does_not_fit", "error", sentence))
    return [*notes, *device.price_notes]
