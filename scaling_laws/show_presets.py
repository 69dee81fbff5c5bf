"""How published laws are printed: text and HTML twins."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list, wrapped

if TYPE_CHECKING:
    from scaling_laws.presets.catalogue import Presets
    from scaling_laws.presets.crossing import Crossover
    from scaling_laws.presets.preset import Preset

__all__ = [
    "catalogue_html", "catalogue_text", "crossover_html", "crossover_text", "preset_html",
    "preset_text",
]  # fmt: skip


def preset_text(preset: Preset) -> str:
    """Return a preset as text."""
    lines = [_title(preset)]
    for label, words in _head(preset):
        lines += wrapped(label, words)
    lines += ["", *_table_lines(_constants(preset)), ""]
    return "\n".join([*lines, *note_lines(preset.notes)]).rstrip()


def preset_html(preset: Preset) -> str:
    """Return a preset as HTML."""
    rows = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(words)}</td></tr>"
        for label, words in _head(preset)
    )
    table = _constants(preset).to_html(escape=True)
    head = f"<p><b>{escape(_title(preset))}</b></p><table>{rows}</table>"
    return f"{head}{table}{note_list(preset.notes)}"


def _title(preset: Preset) -> str:
    mark = f" ({_mark(preset, ' constants')})" if preset.unverified else ""
    return f"{preset.name}{mark}"


def _mark(preset: Preset, every: str = "") -> str:
    """Say which constants are unverified: all of them, or their names."""
    some = len(preset.unverified) < len(preset.symbols)
    return f"UNVERIFIED{' ' + ', '.join(preset.unverified) if some else every}"


def _head(preset: Preset) -> Iterator[tuple[str, str]]:
    yield "law", repr(preset.law)
    yield "formula", f"{preset.metric} = {preset.law.formula_text} [{preset.unit}]"
    yield "source", f"{preset.source}, arXiv {preset.arxiv}, {preset.where}"
    for name, span in preset.axes.items():
        scale = f", in units of {span.scale:g}" if span.scale != 1 else ""
        yield "axis", f"{name}: {span.unit}{scale}; fitted on {span}"
    yield "rounding", preset.rounding
    if preset.missing:
        yield "missing", f"{', '.join(preset.missing)}: not published here"


def _constants(preset: Preset) -> pd.DataFrame:
    shown = pd.DataFrame(index=list(preset.symbols))
    shown["value"] = [s.text for s in preset.symbols.values()]
    if any(s.has_error for s in preset.symbols.values()):
        shown["se"] = [number(s.se or np.nan) for s in preset.symbols.values()]
        levels = {s.level for s in preset.symbols.values() if s.low is not None}
        name = f"{100 * max(levels):g} % interval" if len(levels) == 1 else "interval"
        shown[name] = [
            f"{s.low:g} – {s.high:g}" if s.low is not None else "–" for s in preset.symbols.values()
        ]
    if preset.unverified:
        shown["verified"] = ["no" if name in preset.unverified else "yes" for name in shown.index]
    shown["unit"] = [s.unit for s in preset.symbols.values()]
    return shown


def catalogue_text(found: Presets) -> str:
    """Return the list of presets as text."""
    return "\n".join([f"{len(found)} published laws", *_table_lines(_listed(found))])


def catalogue_html(found: Presets) -> str:
    """Return the list of presets as HTML."""
    title = f"<p><b>{len(found)} published laws</b></p>"
    return title + _listed(found).to_html(escape=True)


def _listed(found: Presets) -> pd.DataFrame:
    rows = [
        (p.law.name, p.arxiv, "published" if p.has_errors else "", _remark(p))
        for p in found.values()
    ]
    return pd.DataFrame(rows, columns=["law", "arxiv", "errors", "remark"], index=list(found))


def _remark(preset: Preset) -> str:
    words = [_mark(preset)] if preset.unverified else []
    return ", ".join(words + ["incomplete"] * bool(preset.missing))


def crossover_text(found: Crossover) -> str:
    """Return a crossover as text."""
    lines = [_crossing(found)]
    for label, words in _crossing_head(found):
        lines += wrapped(label, words)
    lines += ["", *_table_lines(_crossing_table(found)), ""]
    return "\n".join([*lines, *note_lines(found.notes)])


def crossover_html(found: Crossover) -> str:
    """Return a crossover as HTML."""
    rows = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(words)}</td></tr>"
        for label, words in _crossing_head(found)
    )
    table = _crossing_table(found).to_html(escape=True, index=False)
    head = f"<p><b>{escape(_crossing(found))}</b></p><table>{rows}</table>"
    return f"{head}{table}{note_list(found.notes)}"


def _crossing(found: Crossover) -> str:
    return f"{found.first.name} and {found.second.name}: break even at examples = H params^g"


def _crossing_head(found: Crossover) -> Iterator[tuple[str, str]]:
    for name, value, ends in (("H", found.H, found.H_range), ("g", found.g, found.g_range)):
        low, high = (number(v) if np.isfinite(v) else "unbounded" for v in ends)
        yield name, f"{number(value, 5)}; rounding alone permits {low} to {high}"
    if found.printed is not None:
        h, g = found.printed
        yield "printed", f"H {h:g}, g {g:g}, from constants that the paper did not round"


def _crossing_table(found: Crossover) -> pd.DataFrame:
    frame = found.frame
    return pd.DataFrame({c: [number(v) for v in frame[c]] for c in frame})


def _table_lines(table: pd.DataFrame) -> list[str]:
    text = table.reset_index().rename(columns={"index": ""}).to_string(index=False, justify="left")
    return indented(text)
