"""What it costs to let a teacher write reasoning or answers for a student to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling_laws.readers.table import Note

from .configs import shape as shape_of
from .render import Printed, interval
from .scenario import Serving
from .shapes import Shape

__all__ = ["Traces", "traces"]

Range = tuple[float, float]


@dataclass(frozen=True, repr=False)
class Traces(Printed):
    """What it costs to let a teacher write answers.

    Parameters
    ----------
    name : str
    examples : int
    serving : Serving
    gpu_hours : (float, float)
    price : (float, float) or None
    notes : tuple of Note
    """

    name: str
    examples: int
    serving: Serving
    gpu_hours: Range
    price: Range | None
    notes: tuple[Note, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row with every number."""
        price = self.price or (float("nan"), float("nan"))
        row = {
            "name": self.name, "examples": self.examples, "tokens": self.examples
            * self.serving.tokens_out, "gpus": self.serving.gpus * self.serving.replicas,
            "gpu_hours_low": self.gpu_hours[0], "gpu_hours_high": self.gpu_hours[1],
            "price_low": price[0], "price_high": price[1],
        }  # fmt: skip
        return pd.DataFrame([row])

    def _title(self) -> str:
        return (
            f"{self.name}: {self.examples} traces of {self.serving.tokens_out:g} tokens, batch "
            f"{self.serving.batch:g} on {self.serving.device.name}"
        )

    def _lines(self) -> Sequence[tuple[str, str]]:
        lines = [("GPU-hours", interval(*self.gpu_hours))]
        return lines if self.price is None else [*lines, ("dollars", interval(*self.price))]


def traces(
    teacher: str | Shape | Mapping[str, Any],
    examples: int,
    serving: Serving,
    *,
    name: str = "traces",
) -> Traces:
    """Return what it costs to let a teacher write an answer to each example.

    Parameters
    ----------
    teacher : name, Shape or config
    examples : int
    serving : Serving
        Tokens of a prompt and of a trace, the batch that is kept full, the hardware.
    name : str

    Raises
    ------
    ValueError
        If the teacher or the batch does not fit, or the serving has a load of requests.
    """
    if examples < 1:
        raise ValueError(f"traces: examples = {examples} is not 1 or more.")
    if serving.load is not None:
        raise ValueError("traces: write batch= in the serving, not load=; traces are not awaited.")
    shape = shape_of(teacher)
    row = serving.evaluate(shape).iloc[0]
    if not row["served"]:
        raise ValueError(f"traces: {shape.name or 'the teacher'} can't write: {row['why']}.")
    devices = serving.gpus * serving.replicas
    slow, fast = float(row["requests_per_s_low"]), float(row["requests_per_s_high"])
    hours = (devices * examples / fast / 3600, devices * examples / slow / 3600)
    price = serving.device.price
    dollars = None if price is None else (hours[0] * price.low, hours[1] * price.high)
    return Traces(name, examples, serving, hours, dollars, serving.notes)
