"""How two-step predictions are printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from scaling_laws.show import formula_of, number
from scaling_laws.wrapping import indented, note_lines, note_list, wrapped

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.twostep import Steps, TwoStep

__all__ = ["steps_html", "steps_text", "two_step_html", "two_step_text"]


def two_step_text(found: TwoStep) -> str:
    """Return both steps as text."""
    lines = [_title(found)]
    for label, words in _head(found):
        lines += wrapped(label, words)
    table = _parameters(found).to_string(index=False)
    lines += ["", *indented(table), ""]
    return "\n".join([*lines, *note_lines(found.notes)]).rstrip()


def two_step_html(found: TwoStep) -> str:
    """Return both steps as HTML."""
    rows = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in _head(found))
    table = _parameters(found).to_html(escape=True, index=False)
    head = f"<p><b>{escape(_title(found))}</b></p><table>{rows}</table>"
    return f"{head}{table}{note_list(found.notes)}"


def _title(found: TwoStep) -> str:
    return f"{found.metric.name} in two steps: {found.loss.law!r}, then {found.link.law!r}"


def _head(found: TwoStep) -> list[tuple[str, str]]:
    return [
        ("loss", f"{formula_of(found.loss)}; {found.loss.problem.n} rows"),
        ("link", f"{formula_of(found.link)}; {found.link.problem.n} rows"),
    ]


def _parameters(found: TwoStep) -> pd.DataFrame:
    frame = found.frame.reset_index()
    shown = frame[["step", "parameter"]].copy()
    shown["estimate"] = [number(v, 4) for v in frame["estimate"]]
    ends = zip(frame["low"], frame["high"], strict=True)
    shown[str(found.loss.parameters.columns.name)] = [f"{number(a)} – {number(b)}" for a, b in ends]
    return shown


def steps_text(found: Steps) -> str:
    """Return the comparison as text."""
    table = _compared(found).to_string(index=False)
    return "\n".join([_steps_title(found), *("  " + x.rstrip() for x in table.split("\n"))])


def steps_html(found: Steps) -> str:
    """Return the comparison as HTML."""
    table = _compared(found).to_html(escape=True, index=False)
    return f"<p><b>{escape(_steps_title(found))}</b></p>{table}"


def _steps_title(found: Steps) -> str:
    held = found.direct
    return f"Hold-out by {held.by}: {len(held.frame)} rows, in two steps and directly"


def _compared(found: Steps) -> pd.DataFrame:
    frame = found.frame.reset_index()
    level = 100 * found.direct.level
    shown = frame[["way"]].copy()
    if found.direct.relative:
        shown["mean |pred/obs - 1|"] = [f"{v:.2%}" for v in frame["error"]]
        shown["mean pred/obs - 1"] = [f"{v:+.2%}" for v in frame["bias"]]
    else:
        shown["mean |pred - obs|"] = [number(v) for v in frame["error"]]
        shown["mean pred - obs"] = ["+" * (v > 0) + number(v) for v in frame["bias"]]
    shown[f"inside {level:g} %"] = [f"{v:.0%}" for v in frame["coverage"]]
    shown["mean width"] = [number(v) for v in frame["width"]]
    return shown
