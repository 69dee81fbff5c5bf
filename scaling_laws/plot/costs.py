"""What models, trainings and lists of them cost, and how well a server's times are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.plot.rows import axes_of_rows, ends_take, name_ends, name_rows, rows_that_fit
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    MARKERS,
    axes_of,
    finish,
    legend_above,
    plain_log_axis,
    plain_number,
    room_of,
    small,
    text_of,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.cost import Budget, Calibration, ServingCost, Training

__all__ = ["plot_budget", "plot_calibration", "plot_serving", "plot_training"]

# Models that are named, letters of a name, and items that are drawn; more could not be read.
_NAMED, _LETTERS, _ITEMS = 12, 24, 30
# Ends of an axis around its values, and the least factor between them: one number does not make a
# scale.
_ROOM, _LEAST = 1.25, 4.0
# Parts of a bar are told apart without their colours too.
_HATCHES = ("", "..", "///", "", "///")
# Measured times that have a colour and a marker of their own.
_KINDS = {"latency_ms": "request", "step_ms": "step", "ttft_ms": "first token"}
_GB = 1e9


def plot_serving(found: ServingCost, ax: Any = None) -> Any:
    """Draw the latency of each model against its price, both as ranges.

    Without a price, against the parameters. Models that can't be served are counted above.
    """
    frame = found.frame[found.frame["served"]]
    if not len(frame):
        raise ValueError(
            f"plot: none of {len(found.frame)} models can be served; the column `why` of .frame "
            "says why."
        )
    ax = axes_of(ax)
    priced = bool(frame["price_low"].notna().all())
    sides = ("price_low", "price_high") if priced else ("params", "params")
    low, high = (frame[side].to_numpy(dtype=float) for side in sides)
    x, y = np.sqrt(low * high), frame["latency_ms"].to_numpy(dtype=float)
    ends = frame[["latency_ms_low", "latency_ms_high"]].to_numpy(dtype=float).T
    bars = np.stack([x - low, high - x]) if priced else None
    points = ax.errorbar(x, y, yerr=np.abs(ends - y), xerr=bars, linestyle="none", marker="o",
                         markersize=5, color=COLOURS[0], elinewidth=1.0,
                         label="estimate and range")  # fmt: skip
    names = [str(name) for name in frame.index]
    apart = _apart(ax, y, ends) and max(map(len, names)) <= _LETTERS
    beside = 0.0 if apart else ends_take(ax, names)
    _log(ax, ax.xaxis, low.min(), high.max(), beside)
    _log(ax, ax.yaxis, ends.min(), ends.max())
    if apart:
        _name_points(ax, x, y, names)
    else:
        ax.hlines(y, high, ax.get_xlim()[1], color=GREY, linewidth=0.5, linestyle=":")
        name_ends(ax, y, names)
    out = len(found.frame) - len(frame)
    words = f"{out} of {len(found.frame)} models can't be served" if out else ""
    legend_above(ax, [points], words)
    finish(ax, "dollars for a million requests" if priced else "parameters", "latency, ms")
    return ax


def _apart(ax: Any, y: Any, ends: Any) -> bool:
    """Whether names beside the points do not touch each other."""
    if len(y) > _NAMED:
        return False
    whole = np.log(max(ends.max() / ends.min() * _ROOM**2, _LEAST))
    height = 72.0 / ax.get_figure(root=True).dpi * ax.get_window_extent().height
    return bool((np.diff(np.sort(np.log(y))) * height / whole >= 1.3 * small(ax)).all())


def _name_points(ax: Any, x: Any, y: Any, names: Sequence[str]) -> None:
    low, high = ax.get_xlim()
    for i, name in enumerate(names):
        # Towards the middle there is room.
        side, away = ("right", -5) if x[i] * x[i] > low * high else ("left", 5)
        ax.annotate(text_of(name), (x[i], y[i]), xytext=(away, 5), textcoords="offset points",
                    fontsize=small(ax), ha=side, color=GREY)  # fmt: skip


def plot_budget(found: Budget, ax: Any = None) -> Any:
    """Draw the GPU-hours of each item as a range, first item on top, a cache's beneath."""
    ax = axes_of_rows(ax, min(len(found.frame), _ITEMS))
    frame = found.frame.head(min(_ITEMS, rows_that_fit(ax, 3)))
    at = np.arange(len(frame))
    hours, cache = _range(frame, "gpu_hours"), _range(frame, "cache_gpu_hours")
    cached = np.flatnonzero(cache[1] > 0)
    kinds = [_ranges(ax, at, hours, 0, "training or traces")]
    if len(cached):
        words = "teacher's cache, once for all that share it"
        kinds.append(_ranges(ax, at[cached] + 0.3, cache[:, cached], 1, words))
    more = len(found.frame) - len(frame)
    title = f"the first {len(frame)} of {len(found.frame)} items" if more else ""
    beside = name_rows(ax, at, list(frame["name"]), len(kinds) + bool(title))
    ends = np.concatenate([hours.ravel(), cache[:, cached].ravel()])
    ends = ends[ends > 0] if (ends > 0).any() else np.ones(1)
    _log(ax, ax.xaxis, ends.min(), ends.max(), beside)
    low, high = (plain_number(end, 3) for end in found.gpu_hours)
    words = f"GPU-hours, ranges; {low if low == high else f'{low} to {high}'} in all"
    finish(ax, wrapped(words, room_of(ax, beside), small(ax) + 1.0))
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    ax.grid(False, axis="y")
    legend_above(ax, kinds, title, beside)
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
            words = f"{name} {plain_number(size / _GB, 3)} GB"
            bars.append(ax.barh([0], [size / _GB], left=left, height=0.5, color=COLOURS[i],
                                hatch=_HATCHES[i], edgecolor="white", linewidth=0.5,
                                label=words))  # fmt: skip
            left += size / _GB
    whole = found.hardware.memory / _GB
    words = f"{found.hardware.name} has {plain_number(whole, 3)} GB"
    bars.append(ax.axvline(whole, color=GREY, linestyle="--", linewidth=1.0, label=words))
    beside = name_rows(ax, [0.0], [found.name], len(bars))
    ax.set_xlim(0.0, 1.08 * max(left, whole))
    words = f"memory of a GPU, GB; {plain_number(left, 3)} in all"
    finish(ax, wrapped(words, room_of(ax, beside), small(ax) + 1.0))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x", linewidth=0.5, alpha=0.4)
    legend_above(ax, bars, beside=beside)
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
    _log(ax, ax.xaxis, low, high)
    _log(ax, ax.yaxis, low, high)
    line = ax.plot(ax.get_xlim(), ax.get_ylim(), color=GREY, linewidth=0.8, zorder=0,
                   label="equal")  # fmt: skip
    finish(ax, f"measured on {found.hardware}, ms", "fitted, ms")
    legend_above(ax, [*points, *line])
    return ax


def _range(frame: pd.DataFrame, name: str) -> Any:
    """Return ends ``[2, items]``; 0 where an item has no such number."""
    columns = [f"{name}_low", f"{name}_high"]
    return frame.reindex(columns=columns).fillna(0.0).to_numpy(dtype=float).T


def _ranges(ax: Any, at: Any, ends: Any, kind: int, label: str) -> Any:
    """Draw ranges as bars, with a marker in the middle that also shows one of no width."""
    colour = COLOURS[kind]
    ax.hlines(at, *ends, color=colour, linewidth=5.0, alpha=0.4)
    (middle,) = ax.plot(np.sqrt(ends[0] * ends[1]), at, linestyle="none", marker=MARKERS[kind],
                        color=colour, markersize=4, label=label)  # fmt: skip
    return middle


def _log(ax: Any, axis: Any, low: float, high: float, beside: float = 0.0) -> None:
    room = max(_ROOM, float(np.sqrt(_LEAST * low / high)))
    low, high = low / room, high * room
    (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
    plain_log_axis(axis, low, high, beside)
    (ax.set_xlim if axis is ax.xaxis else ax.set_ylim)(low, high)
