"""How curves of classes are printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list, wrapped

if TYPE_CHECKING:
    from scaling_laws.classes import ClassFits

__all__ = ["classes_html", "classes_text"]


def classes_text(found: ClassFits) -> str:
    """Return the classes as text."""
    table = _shown(found).reset_index().to_string(index=False)
    lines = [_title(found), *wrapped(found.name, _pooled(found))]
    lines += ["", *indented(table)]
    if found.notes:
        lines += ["", *note_lines(found.notes)]
    return "\n".join(lines)


def classes_html(found: ClassFits) -> str:
    """Return the classes as HTML."""
    head = f"<p><b>{escape(_title(found))}</b></p><p>{escape(found.name)}: "
    table = _shown(found).to_html(escape=True)
    return f"{head}{escape(_pooled(found))}</p>{table}{note_list(found.notes)}"


def _title(found: ClassFits) -> str:
    largest = ", ".join(f"{a.name} {found.data[a.name].max():g}" for a in found.law.axis_list())
    return f"{found.law!r} of {len(found)} values of {found.by}, {found.metric.name} at {largest}"


def _pooled(found: ClassFits) -> str:
    pooled = found.pooled
    return (
        f"over {pooled.groups} curves: mean {number(pooled.mean)} ± {number(pooled.se, 2)}, "
        f"spread {number(pooled.spread, 2)} ({number(pooled.low, 2)} – {number(pooled.high, 2)})"
    )


def _shown(found: ClassFits) -> pd.DataFrame:
    frame = found.frame
    level = found.fits[next(iter(found.fits))].settings["level"]
    shown = pd.DataFrame(index=frame.index)
    for column in ("runs", "items", "labels"):
        if column in frame:
            shown[column] = ["–" if np.isnan(v) else f"{v:g}" for v in frame[column].astype(float)]
    shown["alone"] = [
        number(raw) + (f" ± {number(se, 2)}" if np.isfinite(se) else "")
        for raw, se in zip(frame["raw"], frame["raw_se"], strict=True)
    ]
    shown["pooled"] = [number(value) for value in frame["pooled"]]
    shown[f"{100 * level:g} %"] = _range(frame["low"], frame["high"])
    shown[found.metric.name] = [number(value) for value in frame["score"]]
    shown[f"{100 * level:g} % "] = _range(frame["score_low"], frame["score_high"])
    shown["curve"] = frame["curve"]
    return shown


def _range(low: pd.Series[float], high: pd.Series[float]) -> list[str]:
    ends = zip(low, high, strict=True)
    return ["none" if np.isnan(a + b) else f"{number(a)} – {number(b)}" for a, b in ends]
