"""The one-call question: what serving these models costs, as a table that people can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from scaling_laws.readers.table import Note

from .configs import shape as shape_of
from .render import Printed, interval, quantity
from .scenario import Serving
from .shapes import Shape, Shapes
from .tables import Hardware

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ServingCost", "serving"]


@dataclass(frozen=True, repr=False)
class ServingCost(Printed):
    """What serving costs, a row a model.

    Parameters
    ----------
    serving : Serving
    frame : DataFrame
        As `Serving.evaluate` returns it, with the models' names as index.
    notes : tuple of Note
    """

    serving: Serving
    frame: pd.DataFrame
    notes: tuple[Note, ...]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the latency of each model against its price; returns the Axes.

        Raises
        ------
        ValueError
            If none can be served.
        """
        from scaling_laws.plot.costs import plot_serving

        return plot_serving(self, ax)

    def _title(self) -> str:
        s = self.serving
        work = f"batch {s.batch:g}" if s.load is None else f"{s.load:g} requests a second"
        return (
            f"Serving on {s.replicas} x {s.gpus} {s.device.name}: {s.tokens_in:g} tokens in, "
            f"{s.tokens_out:g} out, {work}"
        )

    def _table(self) -> pd.DataFrame:
        rows: list[dict[str, str]] = []
        for name, row in self.frame.head(20).iterrows():
            at = cast("dict[str, float]", row.to_dict())
            rows.append(
                {
                    "model": str(name),
                    "params": f"{row['params']:,}",
                    "latency ms": interval(at["latency_ms_low"], at["latency_ms_high"]),
                    "requests/s": interval(at["requests_per_s_low"], at["requests_per_s_high"]),
                    "used": interval(at["utilisation_low"], at["utilisation_high"]),
                    "$ per million": interval(at["price_low"], at["price_high"]),
                    "memory": quantity(at["weights_bytes"] + at["cache_bytes"], "B"),
                }
            )
        return pd.DataFrame(rows)


def serving(
    shapes: Shapes | Mapping[str, Any], hardware: str | Hardware = "H100", **options: Any
) -> ServingCost:
    """Return latency, throughput, price for a million requests and memory of models.

    Parameters
    ----------
    shapes : name, Shape, config, list or DataFrame
        Models; a frame as in `Serving.evaluate`.
    hardware : str or Hardware
    **options
        As `Serving` takes them: ``tokens_in``, ``tokens_out``, ``batch`` or ``load``, ``gpus``...

    Raises
    ------
    ValueError
        If a single model can't be served: its memory or the load says why. In a frame such rows
        are NaN and say so in ``why``.

    Examples
    --------
    >>> found = serving("Qwen3-32B", tokens_in=200, tokens_out=4)
    >>> round(float(found.frame["latency_ms"].iloc[0]))
    132
    """
    scenario = Serving(hardware, **options)
    if isinstance(shapes, pd.DataFrame):
        frame, names = scenario.evaluate(shapes), shapes.index
    else:
        one = isinstance(shapes, str | Shape | Mapping)
        listed = [shape_of(source) for source in ([shapes] if one else cast(list[Any], shapes))]
        frame = scenario.evaluate(listed)
        names = pd.Index([one.name or f"model {i}" for i, one in enumerate(listed)], name="model")
        if len(listed) == 1 and not frame["served"].iloc[0]:
            raise ValueError(f"{names[0]} can't be served: {frame['why'].iloc[0]}.")
    notes = list(scenario.notes)
    left = int((~frame["served"]).sum())
    if left:
        sentence = f"{left} of {len(frame)} models can't be served; the column `why` says why."
        notes.append(Note("not_served", "warning", sentence))
    frame.index = names
    return ServingCost(scenario, frame, tuple(notes))
