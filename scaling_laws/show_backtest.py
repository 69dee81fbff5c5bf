"""How a backtest is printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, wrapped

if TYPE_CHECKING:
    from scaling_laws.backtesting import Backtest

__all__ = ["backtest_html", "backtest_text"]

# Notes printed; all of them are in `.notes`.
_MOST = 12


def backtest_text(found: Backtest) -> str:
    """Return the methods side by side as text, a block a log."""
    lines = [_title(found), *wrapped("", _columns(found), 0)]
    for log, part in found.frame.groupby(level="log", sort=False):
        lines += ["", f"  {log}, {part['scale'].iloc[0]}"]
        table = _shown(part.droplevel("log")).reset_index().to_string(index=False)
        lines += indented(table)
    lines += [line for label, words in _notes(found) for line in wrapped(label, words)]
    return "\n".join(lines)


def backtest_html(found: Backtest) -> str:
    """Return the methods side by side as HTML."""
    parts = [f"<p><b>{escape(_title(found))}</b></p><p>{escape(_columns(found))}</p>"]
    for log, part in found.frame.groupby(level="log", sort=False):
        parts.append(f"<p>{escape(str(log))}, {escape(str(part['scale'].iloc[0]))}</p>")
        parts.append(_shown(part.droplevel("log")).to_html(escape=True))
    items = "".join(f"<li>{escape(a)}: {escape(b)}</li>" for a, b in _notes(found))
    return "".join(parts) + f"<ul>{items}</ul>"


def _title(found: Backtest) -> str:
    count = len(found.curves.drop_duplicates(["log", "curve"]))
    left = f" ({len(found.failed)} could not be judged)" if len(found.failed) else ""
    curves = f"{count} curve{'s' * (count != 1)}{left}"
    levels = "the hardest level" if found.leave == 1 else f"the {found.leave} hardest levels"
    return f"Backtest over {curves}: {levels} of each hidden and forecast"


def _columns(found: Backtest) -> str:
    """Say what the columns hold."""
    return (
        f"error of the forecasts over curves; coverage of their {100 * found.level:g} % intervals "
        "and median width"
    )


def _shown(part: pd.DataFrame) -> pd.DataFrame:
    shown = part.drop(columns="scale").astype(object)
    for column in ("median", "mean", "90 %", "width"):
        shown[column] = [number(float(v)) for v in part[column]]
    shown["coverage"] = ["–" if pd.isna(v) else f"{v:.0%}" for v in part["coverage"]]
    return shown


def _notes(found: Backtest) -> list[tuple[str, str]]:
    notes = [(n.severity, n.sentence) for n in found.notes]
    more = len(notes) - _MOST
    return notes if more <= 0 else [*notes[:_MOST], ("info", f"and {more} more in `.notes`.")]
