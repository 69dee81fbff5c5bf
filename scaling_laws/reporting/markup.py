"""HTML of a report's parts: everything that comes from a log passes through `escape`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd

from scaling_laws.runs import Note
from scaling_laws.show import number

__all__ = [
    "details", "figure", "frame_table", "in_words", "json_text", "notes", "pairs", "paragraph",
    "section", "table",
]  # fmt: skip

_WORDS = {"kept": "fraction kept", "params": "parameters", "examples": "labelled examples"}
_TONES = {"info": "plain", "warning": "warn", "error": "bad"}


def json_text(value: Any) -> str:
    """Return JSON that can stand in a script element whatever it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def section(name: str, title: str, lead: str, parts: Iterable[str]) -> str:
    """Return a section; `lead` is plain text under its heading."""
    said = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{name}"><h2>{escape(title)}</h2>{said}\n{body}\n</section>'


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    shown = f' class="{kind}"' if kind else ""
    return f"<p{shown}>{escape(text)}</p>"


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    tones: Sequence[str] = (),
) -> str:
    """Return a table that scrolls in its own box; numbers are set right."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body: list[str] = []
    for i, row in enumerate(rows):
        tone = f' class="{tones[i]}"' if i < len(tones) else ""
        body.append(f"<tr{tone}>{''.join(_cell(value) for value in row)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def frame_table(frame: pd.DataFrame, caption: str) -> str:
    """Return a frame as a table."""
    return table([str(c) for c in frame.columns], frame.itertuples(index=False), caption)


def _cell(value: Any) -> str:
    single: Any = value.item() if hasattr(value, "item") else value
    if isinstance(single, bool):
        return f"<td>{'yes' if single else 'no'}</td>"
    if isinstance(single, int):
        return f'<td class="n">{single}</td>'
    if isinstance(single, float):
        return f'<td class="n">{escape(number(single))}</td>'
    return f"<td>{escape('–' if single is None or single is pd.NA else str(single))}</td>"


def pairs(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return label, text and tone as a list of definitions."""
    items = "".join(
        f'<div class="{escape(tone)}"><dt>{escape(label)}</dt><dd>{escape(text)}</dd></div>'
        for label, text, tone in rows
    )
    return f"<dl>{items}</dl>"


def notes(found: Sequence[Note]) -> str:
    """Return notes, each once, the gravest first."""
    order = {"error": 0, "warning": 1, "info": 2}
    once = sorted(dict.fromkeys(found), key=lambda n: order.get(n.severity, 0))
    if not once:
        return ""
    items = "".join(
        f'<li class="{_TONES.get(n.severity, "bad")}"><b>{escape(n.severity)}</b> '
        f"{escape(n.sentence)}</li>"
        for n in once
    )
    return f'<ul class="notes">{items}</ul>'


def figure(svg: str, caption: str, shown: bool = True) -> str:
    """Return a drawing with its caption; readers who see none hear the caption."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if shown else ""
    return f'<figure><div role="img" aria-label="{escape(caption)}">{svg}</div>{below}</figure>'


def details(summary: str, parts: Iterable[str]) -> str:
    """Return parts that open on demand, without a script."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def in_words(axis: str) -> str:
    """Return the words for an axis."""
    return _WORDS.get(axis, axis)
