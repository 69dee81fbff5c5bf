"""How sensitivity and influence are printed: text and HTML twins."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list

if TYPE_CHECKING:
    from scaling_laws.runs import Note
    from scaling_laws.sensitivity import Ends, Influence, Sensitivity

__all__ = ["influence_html", "influence_text", "sensitivity_html", "sensitivity_text"]

# Units printed; all of them are in `.frame`.
_MOST = 8


def sensitivity_text(found: Sensitivity) -> str:
    """Return the answers under each choice as text."""
    return _text(_sensitivity_title(found), _choices(found), found.notes)


def sensitivity_html(found: Sensitivity) -> str:
    """Return the answers under each choice as HTML."""
    return _html(_sensitivity_title(found), _choices(found), found.notes)


def influence_text(found: Influence) -> str:
    """Return the answers without the units that move it most as text."""
    return _text(_influence_title(found), _units(found), found.notes)


def influence_html(found: Influence) -> str:
    """Return the answers without the units that move it most as HTML."""
    return _html(_influence_title(found), _units(found), found.notes)


def _sensitivity_title(found: Sensitivity) -> str:
    answer = float(found.frame["answer"].iloc[0])
    return f"Answer {_answer(answer, found.interval, found.level)} under other choices"


def _influence_title(found: Influence) -> str:
    most = min(len(found.frame), _MOST)
    which = f"the {most} of {len(found.frame)} {found.kind}s that move it most, left out"
    return f"Answer {_answer(found.answer, found.interval, found.level)}; {which}"


def _answer(answer: float, interval: Ends | None, level: float) -> str:
    if interval is None:
        return number(answer, 4)
    low, high = (number(end, 4) for end in interval)
    return f"{number(answer, 4)} ({low} – {high}, {100 * level:g} %)"


def _choices(found: Sensitivity) -> pd.DataFrame:
    table = _numbers(found.frame)
    table["rows"] = [str(n) if n else "–" for n in found.frame["rows"]]
    return table[["answer", "change", "rows"]].reset_index()


def _units(found: Influence) -> pd.DataFrame:
    return _numbers(found.frame)[["which", "answer", "change"]].head(_MOST)


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.astype(object)
    table["answer"] = [number(float(v), 4) for v in frame["answer"]]
    table["change"] = [_signed(float(v)) for v in frame["change"]]
    return table


def _signed(change: float) -> str:
    if np.isnan(change):
        return "–"
    return f"{'-' if change < 0 else '+'}{number(abs(change), 2)}"


def _text(title: str, table: pd.DataFrame, notes: Sequence[Note]) -> str:
    return "\n".join([title, *indented(table.to_string(index=False)), *note_lines(notes)])


def _html(title: str, table: pd.DataFrame, notes: Sequence[Note]) -> str:
    rows = table.to_html(index=False, escape=True)
    return f"<p><b>{escape(title)}</b></p>{rows}{note_list(notes)}"
