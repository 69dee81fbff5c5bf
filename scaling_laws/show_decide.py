"""How the answer to a question is printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list, wrapped

if TYPE_CHECKING:
    from scaling_laws.decide.result import Result

__all__ = ["cells", "result_html", "result_text"]

# Rows of the table that are printed; all are in `frame`.
_MOST = 12


def result_text(found: Result) -> str:
    """Return the answer as text of at most about 100 columns."""
    lines = wrapped("question", found.question)
    for label, text in _head(found):
        lines += wrapped(label, text)
    table = cells(found.frame)
    if len(table):
        lines += ["", *indented(table.to_string(index=False))]
    if len(found.frame) > _MOST:
        lines.append(f"  ... and {len(found.frame) - _MOST} more rows in .frame")
    if found.notes:
        lines.append("")
    return "\n".join([*lines, *note_lines(found.notes)])


def result_html(found: Result) -> str:
    """Return the answer as a self-contained HTML fragment; every string is escaped."""
    head = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for label, text in (("question", found.question), *_head(found))
    )
    table = cells(found.frame).to_html(index=False, escape=True) if len(found.frame) else ""
    return f"<div><table>{head}</table>{table}{note_list(found.notes)}</div>"


def _head(found: Result) -> list[tuple[str, str]]:
    why = found.why
    sure = "" if why.probability is None else f" (probability {why.probability:.2f})"
    lines = [("answer", found.answer + sure)]
    if why.run:
        lines.append(("run", why.run))
    if why.change:
        lines.append(("change", why.change))
    return lines


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows as text."""
    return pd.DataFrame({str(c): [_cell(v) for v in frame[c]] for c in frame}).head(_MOST)


def _cell(value: Any) -> str:
    single: Any = value.item() if hasattr(value, "item") else value
    if isinstance(single, bool):
        return "yes" if single else "no"
    if isinstance(single, int):
        return str(single) if abs(single) < 10**6 else number(float(single))
    if isinstance(single, float):
        return number(single)
    return "–" if single is None else str(single)
