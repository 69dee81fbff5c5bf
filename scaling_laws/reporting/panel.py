"""The what-if panel: its data as JSON, its controls as HTML, and a table for who has no script."""

from __future__ import annotations

import base64
from html import escape
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.reporting.alone import predicted
from scaling_laws.reporting.extent import Scale
from scaling_laws.reporting.findings import Findings, Outcome
from scaling_laws.reporting.markup import in_words, table
from scaling_laws.reporting.program import Program
from scaling_laws.reporting.replay import Part, Replay
from scaling_laws.reporting.served import Served
from scaling_laws.show import number

__all__ = ["controls", "fallback", "payload", "scales_of"]

# Levels of an axis in the table, and its rows at most.
_LEVELS = 4
_ROWS = 48
_STEPS = 240
_NO_RUNS = "no run has these levels"


def scales_of(found: Findings) -> dict[str, Scale]:
    """Return the axes of all metrics, each as wide as every metric allows."""
    out: dict[str, Scale] = {}
    for one in found.outcomes.values():
        for scale in one.extent.scales:
            old = out.get(scale.name, scale)
            low, high = max(old.low, scale.low), min(old.high, scale.high)
            out[scale.name] = Scale(scale.name, low, high, scale.nodes, scale.seen)
    return out


def payload(found: Findings) -> dict[str, Any]:
    """Return what `panel.js` reads."""
    scales = scales_of(found)
    axes, factors = list(scales), list(found.factors)
    return {
        "axes": [{"name": s.name, "low": s.low, "high": s.high} for s in scales.values()],
        "factors": [{"name": n, "levels": list(v)} for n, v in found.factors.items()],
        "metrics": [
            _metric(name, one.replay, axes, factors)
            for name, one in found.outcomes.items()
            if isinstance(one.replay, Replay)
        ],
        "served": None if found.served is None else _served(found.served, axes, factors),
    }


def _metric(name: str, one: Replay, axes: list[str], factors: list[str]) -> dict[str, Any]:
    extent = one.extent
    own = [s.name for s in extent.scales]
    return {
        "name": name,
        "axes": [_scale(s, axes) for s in extent.scales],
        "factors": [factors.index(n) for n in extent.factors],
        "parts": [_part(part, own) for part in one.parts],
        "draws": one.draws,
        "support": base64.b64encode(extent.support.tobytes()).decode(),
        "log": one.log,
        "bounds": one.bounds,
        "level": one.level,
        "growth": one.growth,
    }


def _part(part: Part, axes: list[str]) -> dict[str, Any]:
    return {
        **_program(part.program, axes),
        "table": _packed(part.table),
        "rows": part.rows.tolist(),
        "weight": part.weight,
        "admissible": part.admissible,
        "noise": _packed(part.noise),
        "kept": axes.index("kept") if part.stages.size else None,
        "stages": _packed(part.stages),
    }


def _program(program: Program, axes: list[str]) -> dict[str, Any]:
    return {
        "inputs": [axes.index(n) for n in program.axes],
        "constants": _packed(program.constants),
        "steps": [[step.name, *step.of] for step in program.steps],
        "fixed": program.fixed,
        "result": program.result,
    }


def _scale(scale: Scale, axes: list[str]) -> dict[str, Any]:
    return {
        "at": axes.index(scale.name), "low": scale.low, "high": scale.high, "nodes": scale.nodes,
        "seen": scale.seen,
    }  # fmt: skip


def _served(served: Served, axes: list[str], factors: list[str]) -> dict[str, Any]:
    return {
        **_scale(served.scale, axes),
        "factor": None if served.factor is None else factors.index(served.factor),
        "values": {name: _packed(x) for name, x in served.values.items()},
    }


def _packed(values: NDArray[np.float64]) -> str:
    """Return numbers as little-endian doubles in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


def controls(found: Findings) -> str:
    """Return the panel: hidden until its script runs, so that nothing dead is shown."""
    frame = found.first.choice.best.problem.frame
    parts: list[str] = []
    for i, scale in enumerate(scales_of(found).values()):
        seen = np.unique(frame[scale.name].to_numpy(dtype=float)) if scale.name in frame else [1.0]
        middle = float(seen[len(seen) // 2])
        parts.append(_slider(i, scale, float(np.clip(middle, scale.low, scale.high))))
    parts += [_choice(i, name, found) for i, name in enumerate(found.factors)]
    level = found.asked.level
    cards = [_card(one, level) for one in found.outcomes.values() if isinstance(one.replay, Replay)]
    if found.served is not None:
        cards.append(_costs())
    return (
        f'<form id="panel" hidden><div class="controls">{"".join(parts)}</div>'
        f'<p id="where" class="where" role="status"></p>'
        f'<div class="cards">{"".join(cards)}</div></form>'
    )


def _slider(i: int, scale: Scale, start: float) -> str:
    name = escape(in_words(scale.name))
    seen = f"{number(scale.seen[0])} to {number(scale.seen[1])} in the log"
    return (
        f'<div class="control"><label for="axis{i}">{name}</label>'
        f'<input type="number" id="value{i}" value="{_short(start)}" min="{scale.low:g}" '
        f'max="{scale.high:g}" step="any" aria-label="{name}, typed">'
        f'<input type="range" id="axis{i}" min="0" max="{_STEPS}" step="1">'
        f'<span class="hint">{escape(seen)}</span></div>'
    )


def _short(value: float) -> str:
    """Return a number as it is typed: whole, or of three digits."""
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"


def _choice(i: int, name: str, found: Findings) -> str:
    levels = found.factors[name]
    options = "".join(
        f'<option value="{k}"{" selected" if level == found.point.get(name) else ""}>'
        f"{escape(level)}</option>"
        for k, level in enumerate(levels)
    )
    return (
        f'<div class="control"><label for="factor{i}">{escape(name)}</label>'
        f'<select id="factor{i}">{options}</select></div>'
    )


def _card(one: Outcome, level: float) -> str:
    metric = one.metric
    meaning = escape(metric.meaning or metric.name)
    charts = "".join(
        f'<figure class="chart"><svg viewBox="0 0 300 110" data-axis="{k}" role="img" '
        f'aria-label="{meaning} against {escape(in_words(s.name))}"></svg>'
        f"<figcaption>against {escape(in_words(s.name))}</figcaption></figure>"
        for k, s in enumerate(one.extent.scales)
    )
    share = f"{100 * level:g} %"
    return (
        f'<section class="card metric" aria-label="{meaning}"><h3>{meaning}</h3>'
        f'<p class="big"><data class="estimate"></data></p>'
        f'<p class="range"><span class="key mean"></span>the curve, {share}: '
        f'<span class="nowrap"><data class="low"></data> to <data class="high"></data></span></p>'
        f'<p class="range"><span class="key run"></span>one new run, {share}: '
        f'<span class="nowrap"><data class="run_low"></data> to <data class="run_high"></data>'
        f"</span></p>{charts}</section>"
    )


def _costs() -> str:
    def line(title: str, name: str, unit: str) -> str:
        return (
            f'<h3>{title}</h3><p class="big"><data class="{name}"></data> <small>{unit}</small></p>'
            f'<p class="range">from <data class="{name}_low"></data> to '
            f'<data class="{name}_high"></data></p>'
        )

    return (
        f'<section class="card" id="costs" aria-label="latency and price">'
        f"{line('Latency', 'latency_ms', 'ms a request')}"
        f"{line('Price', 'price', '$ a million requests')}</section>"
    )


def fallback(found: Findings) -> str:
    """Return predictions of one new run at levels of the log as a table."""
    scales = scales_of(found)
    frame = found.first.choice.best.problem.frame
    words = pd.DataFrame(list(product(*found.factors.values())), columns=list(found.factors))
    extents = [one.extent for one in found.outcomes.values()]
    words = words.iloc[np.flatnonzero(np.any([e.has_runs(words) for e in extents], axis=0))]
    levels: dict[str, list[Any]] = {}
    for name, scale in scales.items():
        seen = np.unique(frame[name].to_numpy(dtype=float)) if name in frame else scale.seen
        seen = np.clip(seen, scale.low, scale.high)
        at = np.unique(np.linspace(0, len(seen) - 1, min(_LEVELS, len(seen))).round().astype(int))
        levels[name] = [float(seen[i]) for i in at]
    places = pd.DataFrame(list(product(*levels.values())), columns=list(levels))
    points = words.merge(places, how="cross")
    heads = [str(name) for name in points.columns]
    columns: list[list[Any]] = [points[name].tolist() for name in heads]
    for one in found.outcomes.values():
        heads += [one.metric.name, f"{one.metric.name}: one new run"]
        columns += _read(one, points, found.asked.level)
    rows = list(zip(*columns, strict=True))[:_ROWS]
    shown = f"first {_ROWS} of {len(points)}" if len(points) > _ROWS else f"{len(points)}"
    return table(heads, rows, f"Predictions at levels of the log ({shown} combinations)")


def _read(one: Outcome, points: pd.DataFrame, level: float) -> list[list[str]]:
    """Return estimates, and intervals of one new run, as words."""
    known = one.extent.has_runs(points)
    read = predicted(one.forecast, points[known], level)
    told = np.full((2, len(points)), _NO_RUNS, dtype=object)
    told[0, known] = [number(v) for v in read["estimate"]]
    told[1, known] = (
        [f"{number(a)} – {number(b)}" for a, b in zip(read["run_low"], read["run_high"],
                                                      strict=True)]
        if "run_low" in read else "no interval"
    )  # fmt: skip
    return told.tolist()
