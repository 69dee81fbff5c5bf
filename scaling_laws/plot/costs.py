"""What models, trainings and lists of them cost, and how well a server's times are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    MARKERS,
    axes_of,
    finish,
    legend_above,
    plain_log_axis,
    plain_number,
    small,
    text_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.cost import Budget, Calibration, ServingCost, Training

__all__ = ["plot_budget", "plot_calibration", "plot_serving", "plot_training"]

# Models that are named, and items that are drawn; more could not be read.
_NAMED = 12
_ITEMS = 30
# Ends of an axis around its values.
_ROOM = 1.25
# Measured times that have a colour and a marker of their own.
_KINDS = {"latency_ms": "request", "step_ms": "step", "ttft_ms": "first token"}
_GB = 1e9


def plot_serving(found: ServingCost, ax: Any = None) -> Any:
    """Draw the latency of each model against its price, both as ranges.

    Without a price, against the parameters. Models that can't be served are counted in the title.
    """
    frame = found.frame[found.frame["served"]]
    if not len(frame):
        raise ValueError(
            f"plot: none of {len(found.frame)} models can be served; the column `why` of .frame "
            "says why."
        )
    ax = axes_of(ax)
    priced = bool(frame["price_low"].notna().all())
    names = ("price_low", "price_high") if priced else ("params", "params")
    low, high = (frame[name].to_numpy(dtype=float) for name in names)
    x, y = np.sqrt(low * high), frame["latency_ms"].to_numpy(dtype=float)
    ends = frame[["latency_ms_low", "latency_ms_high"]].to_numpy(dtype=float).T
    ax.errorbar(x, y, yerr=np.abs(ends - y), xerr=np.stack([x - low, high - x]) if priced else None,
                linestyle="none", marker="o", color=COLOURS[0], ecolor=COLOURS[0],
                elinewidth=1.0)  # fmt: skip
    for i, name in enumerate(frame.index[:_NAMED]):
        # Towards the middle there is room.
        left = x[i] * x[i] > low.min() * high.max()
        side, away = ("right", -5) if left else ("left", 5)
        ax.annotate(text_of(name), (x[i], y[i]), xytext=(away, 5), textcoords="offset points",
                    fontsize=small(ax), ha=side, color=GREY)  # fmt: skip
    _log(ax, ax.xaxis, low.min(), high.max())
    _log(ax, ax.yaxis, ends.min(), ends.max())
    out = len(found.frame) - len(frame)
    if out:
        words = f"{out} of {len(found.frame)} models can't be served"
        ax.set_title(words, loc="left", fontsize=small(ax))
    finish(ax, "dollars for a million requests" if priced else "parameters", "latency, ms")
    return ax


def plot_budget(found: Budget, ax: Any = None) -> Any:
    """Draw the GPU-hours of each item as a range, first item on top, a cache's beneath."""
    ax = axes_of(ax)
    frame = found.frame.head(_ITEMS)
    at = np.arange(len(frame))
    hours, cache = _range(frame, "gpu_hours"), _range(frame, "cache_gpu_hours")
    cached = np.flatnonzero(cache[1] > 0)
    kinds = [_ranges(ax, at, hours, COLOURS[0], "training or traces")]
    if len(cached):
        words = "teacher's cache, once for all that share it"
        kinds.append(_ranges(ax, at[cached] + 0.3, cache[:, cached], COLOURS[1], words))
    ax.set_yticks(at, [text_of(name) for name in frame["name"]])
    ax.invert_yaxis()
    ends = np.concatenate([hours.ravel(), cache[:, cached].ravel()])
    _log(ax, ax.xaxis, ends.min(), ends.max())
    low, high = (plain_number(end, 3) for end in found.gpu_hours)
    more = len(found.frame) - len(frame)
    finish(ax, f"GPU-hours; all together {low} to {high}", f"{more} more items" if more else "")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    ax.grid(False, axis="y")
    legend_above(ax, kinds)
    return ax


def plot_training(found: Training, ax: Any = None) -> Any:
    """Draw what fills the memory of a GPU, beside what it has."""
    if found.memory is None:
        raise ValueError(
            f"plot: the memory of {found.name} is not known, since its student is a number of "
            "parameters; write its Shape."
        )
    ax = axes_of(ax)
    sizes = {
        "states": found.memory.states, "frozen weights": found.memory.frozen,
        "teacher": found.memory.teacher, "activations": found.memory.activations,
        "logits": found.memory.logits,
    }  # fmt: skip
    bars: list[Any] = []
    left = 0.0
    for i, (name, size) in enumerate(sizes.items()):
        if size:
            words = f"{name} {plain_number(size / _GB, 3)}"
            bars.append(ax.barh([0], [size / _GB], left=left, height=0.5, color=COLOURS[i],
                                label=words))  # fmt: skip
            left += size / _GB
    whole = found.hardware.memory / _GB
    words = f"{found.hardware.name} has {plain_number(whole, 3)}"
    bars.append(ax.axvline(whole, color=GREY, linestyle="--", linewidth=1.0, label=words))
    ax.set_ylim(-0.6, 0.6)
    ax.set_yticks([0], [text_of(found.name)])
    ax.set_xlim(0.0, 1.08 * max(left, whole))
    finish(ax, f"memory of a GPU, GB; {plain_number(left, 3)} in all")
    legend_above(ax, bars)
    return ax


def plot_calibration(found: Calibration, ax: Any = None) -> Any:
    """Draw fitted times against the measured ones; on the line both are equal."""
    if found.residuals is None:
        raise ValueError(
            f"plot: no measured rows came with the constants for {found.hardware} "
            f"({found.source}); those of cost.calibrate have them."
        )
    ax = axes_of(ax)
    rows = found.residuals
    for i, (kind, part) in enumerate(rows.groupby("kind", sort=False)):
        ax.plot(part["measured_ms"], part["fitted_ms"], linestyle="none", marker=MARKERS[i],
                color=COLOURS[i], markersize=5, label=_KINDS.get(str(kind), str(kind)))  # fmt: skip
    points = list(ax.lines)
    ends = rows[["measured_ms", "fitted_ms"]].to_numpy(dtype=float)
    low, high = ends.min(), ends.max()
    line = ax.plot([low / _ROOM, high * _ROOM], [low / _ROOM, high * _ROOM], color=GREY,
                   linewidth=0.8, zorder=0, label="equal")  # fmt: skip
    _log(ax, ax.xaxis, low, high)
    _log(ax, ax.yaxis, low, high)
    finish(ax, f"measured on {found.hardware}, ms", "fitted, ms")
    legend_above(ax, [*points, *line])
    return ax


def _range(frame: pd.DataFrame, name: str) -> Any:
    """Return ends ``[2, items]``; 0 where an item has no such number."""
    columns = [f"{name}_low", f"{name}_high"]
    return frame.reindex(columns=columns).fillna(0.0).to_numpy(dtype=float).T


def _ranges(ax: Any, at: Any, ends: Any, colour: str, label: str) -> Any:
    """Draw ranges as bars, with a marker in the middle that also shows one of no width."""
    ax.hlines(at, *ends, color=colour, linewidth=5.0, alpha=0.4)
    (middle,) = ax.plot(np.sqrt(ends[0] * ends[1]), at, linestyle="none", marker="o",
                        color=colour, markersize=4, label=label)  # fmt: skip
    return middle


def _log(ax: Any, axis: Any, low: float, high: float) -> None:
    low, high = low / _ROOM, high * _ROOM
    (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
    plain_log_axis(axis, low, high)
    (ax.set_xlim if axis is ax.xaxis else ax.set_ylim)(low, high)
