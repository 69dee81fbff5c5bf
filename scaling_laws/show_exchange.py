"""How an exchange rate is printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list

if TYPE_CHECKING:
    from scaling_laws.exchange import Exchange

__all__ = ["exchange_html", "exchange_text"]


def exchange_text(found: Exchange) -> str:
    """Return the rate as text."""
    table = _shown(found).to_string(index=False)
    return "\n".join([_title(found), *indented(table), *note_lines(found.notes)])


def exchange_html(found: Exchange) -> str:
    """Return the rate as HTML."""
    table = _shown(found).to_html(index=False, escape=True)
    return f"<p><b>{escape(_title(found))}</b></p>{table}{note_list(found.notes)}"


def _title(found: Exchange) -> str:
    a, b = found.names
    return f"How many {found.axis} of {a} have the score of {b} ({100 * found.level:g} % intervals)"


def _shown(found: Exchange) -> pd.DataFrame:
    a, b = found.names
    frame = found.frame
    return pd.DataFrame(
        {
            b: [number(v) for v in frame["at"]],
            "score": [number(v) for v in frame["score"]],
            a: [_size(v) for v in frame["n"]],
            "interval": _ends(frame["low"], frame["high"]),
            "ratio": [_size(v) for v in frame["ratio"]],
            "interval of it": _ends(frame["ratio_low"], frame["ratio_high"]),
            "P(never)": ["–" if np.isnan(p) else f"{p:.0%}" for p in frame["unreachable"]],
        }
    )


def _ends(low: pd.Series[float], high: pd.Series[float]) -> list[str]:
    return [
        "none" if np.isnan(a) or np.isnan(b) else f"{_size(a)} – {_size(b)}"
        for a, b in zip(low, high, strict=True)
    ]


def _size(value: float) -> str:
    return "never" if np.isinf(value) else number(value)
