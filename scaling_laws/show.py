"""How a fit is printed: one summary, three twins (text, HTML, Markdown).

Numbers carry as many digits as it takes to reproduce the fit's predictions at its data within a
tenth of their standard error when they are typed in again.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scaling_laws.firstorder import covariance
from scaling_laws.halfwild import NoInterval
from scaling_laws.laws.deficits import DeficitLaw
from scaling_laws.uncertainty import quantile_pair
from scaling_laws.wrapping import WIDTH, wrapped

if TYPE_CHECKING:
    from scaling_laws.result import Fit

__all__ = [
    "Summary", "fit_html", "fit_markdown", "fit_text", "formula_of", "markdown", "number",
    "references_of", "summarise",
]  # fmt: skip

Tone = Literal["good", "warn", "bad", "plain"]

_MEANING = 44
_COLOURS = {"good": "#d5efdb", "warn": "#fff1c9", "bad": "#f9d6d5", "plain": "transparent"}
_TONES: dict[str, Tone] = {"info": "plain", "warning": "warn", "error": "bad"}


@dataclass(frozen=True)
class Line:
    """One labelled remark."""

    label: str
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Row:
    """One row of a table of quantities; all cells are text."""

    name: str
    estimate: str
    se: str
    interval: str
    meaning: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Summary:
    """What is printed of a fit, before any markup."""

    title: str
    head: tuple[Line, ...]
    interval: str
    parameters: tuple[Row, ...]
    derived: tuple[Row, ...]
    checks: tuple[Line, ...]
    notes: tuple[Line, ...]


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits; whole digits are never rounded away.

    Of a whole number nothing follows the point: 64, where 64.03 gives 64.0.

    >>> number(0.0123456), number(10772.4), number(64.0), number(8.03e9), number(float("inf"))
    ('0.0123', '10772', '64', '8.03e9', 'open')
    """
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "open"
    # A mean of logarithms gives 9999.99999999999 where 10000 is meant.
    if abs(value) < 1e6 and float(f"{value:.{max(digits, 12)}g}").is_integer():
        return f"{value + 0.0:.0f}"  # -0.0 + 0.0 is 0.0
    size = int(np.floor(np.log10(abs(value))))
    if -4 <= size < 6:
        return f"{value:.{max(digits - 1 - size, 0)}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def formula_of(fit: Fit) -> str:
    """Return the formula with the signs and the link that this metric gives it."""
    law, link = fit.law, fit.model.link
    text = law.formula_text or "user-written formula"
    if not isinstance(law, DeficitLaw):
        return f"{fit.metric.name} = {text}"
    text = _signed(text, "-" if link.sign < 0 else "+")
    if link.kind != "logit":
        return f"{fit.metric.name} = {text}"
    span = number(link.top - link.floor)
    outer = "sigmoid(eta)" if span == "1" else f"{span} sigmoid(eta)"
    floor = f"{number(link.floor)} + " if link.floor else ""
    return f"{fit.metric.name} = {floor}{outer}, eta = {text}"


def _signed(text: str, sign: str) -> str:
    """Give the terms outside brackets one sign."""
    out: list[str] = []
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        operator = c in "+-" and text[i - 1 : i] == " " and text[i + 1 : i + 2] == " "
        out.append(sign if operator and depth == 0 else c)
    return "".join(out)


def references_of(fit: Fit, digits: int) -> list[str]:
    """Return what ``u`` and ``v`` of the formula stand for."""
    law = fit.law
    if not isinstance(law, DeficitLaw):
        return []
    words: list[str] = []
    for axis in law.axis_list():
        if axis.name in law.size_axes:
            whole = "" if axis.report in (None, 1.0) else f" / {number(axis.report, digits)}"
            words.append(f"v = {axis.name}{whole}")
        elif axis.report is None:
            words.append(f"u = {axis.name} / {number(fit.model.frame.centre[axis.name], digits)}")
    return words


def digits_of(fit: Fit) -> int:
    """Return the fewest digits that reproduce the predictions at the data within .1 SE."""
    model, problem = fit.model, fit.problem
    raw = {a.name: problem.frame[a.name].to_numpy(dtype=float) for a in fit.law.axis_list()}
    kernel, _ = covariance(problem, fit.estimate)
    mean, jacobian = model.evaluate(fit.estimate.theta[None])
    se = np.sqrt(np.maximum(np.einsum("pn,pq,qn->n", jacobian[0], kernel, jacobian[0]), 0.0))
    # An exact fit has no standard error: then to six figures.
    tolerance = np.maximum(0.1 * se, 1e-6 * np.abs(mean[0]) + 1e-12)
    for digits in range(3, 16):
        centre = {k: _rounded(v, digits) for k, v in model.frame.centre.items()}
        moved = replace(model, frame=replace(model.frame, centre=centre)).at(raw, model.codes)
        typed = {k: _rounded(v, digits) for k, v in fit.values.items()}
        with np.errstate(all="ignore"):
            again = moved.residual_mean(moved.working(typed)[None])[0]
        if np.all(np.abs(again - mean[0]) <= tolerance):
            return digits
    return 16


def _rounded(value: float, digits: int) -> float:
    return float(number(value, digits)) if np.isfinite(value) else value


def summarise(fit: Fit) -> Summary:
    """Collect everything that is printed of a fit."""
    digits = digits_of(fit)
    table = fit.parameters
    return Summary(
        title=repr(fit.law),
        head=tuple(_head(fit, digits)),
        interval=str(table.columns.name),
        parameters=tuple(_parameter_rows(fit, table, digits)),
        derived=tuple(_derived_rows(fit)),
        checks=tuple(_checks(fit)),
        notes=tuple(Line(n.severity, n.sentence, _TONES.get(n.severity, "bad")) for n in fit.notes),
    )


def _head(fit: Fit, digits: int) -> Iterator[Line]:
    yield Line("formula", "; ".join([formula_of(fit), *references_of(fit, digits)]))
    metric, problem = fit.metric, fit.problem
    meaning = f" ({metric.meaning})" if metric.meaning else ""
    yield Line("metric", f"{metric.name}{meaning}, {metric.direction} is better")
    by = f", {len(fit.model.levels)} levels of {'|'.join(fit.law.by)}" if fit.law.by else ""
    source = f" from {fit.source}" if fit.source else ""
    yield Line("rows", f"{problem.n}{source}; {problem.units}{by}")
    yield Line("objective", _objective(fit))


def _objective(fit: Fit) -> str:
    asked = fit.settings["delta"]
    total = f"sum over rows {fit.objective:.6g}"
    if np.isinf(fit.delta):
        why = ""
        if fit.settings["objective"] == "huber":
            few = fit.problem.n < 20
            why = f" ({'fewer than 20 rows' if few else 'residuals at rounding level'})"
        return f"least squares{why}, {total}"
    sd = fit.estimate.sigma * float(np.median(fit.estimate.scale))
    ratio = f" = {fit.delta / sd:.3g} residual sd" if sd > 0 else ""
    how = "auto, " if asked == "auto" else ""
    return f"Huber, delta {how}{fit.delta:.3g}{ratio}, {total}"


def _parameter_rows(fit: Fit, table: pd.DataFrame, digits: int) -> Iterator[Row]:
    for name, row in table.iterrows():
        param = fit.model.param(str(name))
        low, high = float(row["low"]), float(row["high"])
        is_open = param.role == "shape" and high >= param.upper * (1 - 1e-9)
        interval = _interval(low, np.inf if is_open else high)
        se = "" if np.isnan(row["se"]) else f"± {number(float(row['se']), 2)}"
        tone: Tone = "warn" if "open" in interval else "plain"
        meaning = str(row["meaning"])
        if "; fixed" in meaning:
            interval = "fixed"
        yield Row(str(name), number(float(row["estimate"]), digits), se, interval, meaning, tone)


def _derived_rows(fit: Fit) -> Iterator[Row]:
    for name, row in fit.derived.iterrows():
        interval = _interval(float(row["low"]), float(row["high"]))
        yield Row(str(name), number(float(row["estimate"])), "", interval, str(row["meaning"]))


def _interval(low: float, high: float) -> str:
    """Print both ends with three digits, more where needed to tell them apart."""
    if np.isnan(low) or np.isnan(high):
        return "none"
    digits = 3
    while digits < 8 and high > low and number(low, digits) == number(high, digits):
        digits += 1
    return f"{number(low, digits)} – {number(high, digits)}"


def _checks(fit: Fit) -> Iterator[Line]:
    found = fit.starts
    tone: Tone = "bad" if not found.global_optimum else "good"
    if tone == "good" and 2 * found.agreeing < found.tried:
        tone = "warn"
    if not found.tried:
        tone = "plain"
    yield Line("starts", str(found), tone)
    yield Line("noise", _noise(fit))


def _noise(fit: Fit) -> str:
    """Run-to-run standard deviation, with its interval where there are draws.

    Where errors are counted by chain or cluster, both are those of a new one: the estimate that
    weighs the rows takes them as independent, and a few chains say less than their rows.
    """
    problem = fit.problem
    if problem.absolute:
        return "given as sigma; no run-to-run noise estimated"
    scale = f"log {fit.metric.name}" if fit.model.link.kind == "log" else fit.metric.name
    sd, ends = float(np.sqrt(fit.estimate.run_variance)), ""
    try:
        drawn = np.sqrt(np.maximum(fit.draws.run_variance, 0.0))
        low, high = quantile_pair(drawn[None], float(fit.settings["level"]))
        ends = f" ({_interval(float(low[0]), float(high[0]))})"
        rule = fit.draws.pooling
        if rule is not None and rule.unit != "run":
            sd = float(np.median(drawn))
    except NoInterval:
        ends = ""
    what = "beyond evaluation noise" if problem.known else "evaluation noise included, not known"
    return f"run-to-run sd of {scale} {number(sd)}{ends}, {what}"


# --- text -----------------------------------------------------------------------------------------
def fit_text(fit: Fit) -> str:
    """Return the summary as plain text of at most about 100 columns."""
    s = summarise(fit)
    lines = [s.title]
    for item in s.head:
        lines += _labelled(item)
    lines += ["", *_table(s.parameters, s.interval)]
    if s.derived:
        lines += ["", *_table(s.derived, s.interval)]
    lines.append("")
    for item in s.checks:
        lines += _labelled(item)
    for item in s.notes:
        lines += _labelled(item)
    return "\n".join(line.rstrip() for line in lines)


def _labelled(item: Line) -> list[str]:
    return wrapped(item.label, item.text)


def _table(rows: Sequence[Row], interval: str) -> list[str]:
    """Aligned columns; the meaning is wrapped under itself."""
    head = Row("", "estimate", "", interval, "meaning")
    cells = [(r.name, r.estimate, r.se, r.interval) for r in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    left = 2 + sum(widths) + 2 * 4
    room = max(WIDTH - left, _MEANING)
    lines: list[str] = []
    for row, cell in zip((head, *rows), cells, strict=True):
        start = "  " + "  ".join(
            f"{c:>{w}}" if i == 1 else f"{c:<{w}}"
            for i, (c, w) in enumerate(zip(cell, widths, strict=True))
        )
        words = textwrap.wrap(row.meaning, room, break_on_hyphens=False) or [""]
        lines.append(f"{start}  {words[0]}")
        lines += [" " * left + more for more in words[1:]]
    return lines


# --- HTML -----------------------------------------------------------------------------------------
def fit_html(fit: Fit) -> str:
    """Return the summary as a self-contained HTML fragment; every string is escaped."""
    s = summarise(fit)
    parts = [
        '<div style="font-family:sans-serif;max-width:60em">',
        f"<p><b>{escape(s.title)}</b></p>",
        _html_lines(s.head),
        _html_table((*s.parameters, *s.derived), s.interval),
        _html_lines(s.checks),
        _html_lines(s.notes),
        "</div>",
    ]
    return "\n".join(p for p in parts if p)


def _style(tone: Tone) -> str:
    ink = "" if tone == "plain" else ";color:#222"
    return f"background:{_COLOURS[tone]}{ink};padding:2px 6px;text-align:left;vertical-align:top"


def _html_lines(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    rows = "".join(
        f'<tr><th style="{_style("plain")}">{escape(item.label)}</th>'
        f'<td style="{_style(item.tone)}">{escape(item.text)}</td></tr>'
        for item in lines
    )
    return f"<table>{rows}</table>"


def _html_table(rows: Sequence[Row], interval: str) -> str:
    heads = "".join(
        f'<th style="{_style("plain")}">{escape(h)}</th>'
        for h in ("", "estimate", "", interval, "meaning")
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_style(row.tone)}">{escape(cell)}</td>'
            for cell in (row.name, row.estimate, row.se, row.interval, row.meaning)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


# --- Markdown -------------------------------------------------------------------------------------
def fit_markdown(fit: Fit) -> str:
    """Return the summary as Markdown."""
    s = summarise(fit)
    lines = [f"**{markdown(s.title)}**", ""]
    lines += [f"- {item.label}: {markdown(item.text)}" for item in s.head]
    lines += [
        "",
        f"| | estimate | ± | {markdown(s.interval)} | meaning |",
        "|---|---:|---|---|---|",
    ]
    lines += [
        f"| {markdown(r.name)} | {r.estimate} | {r.se.removeprefix('± ')} | {r.interval} | "
        f"{markdown(r.meaning)} |"
        for r in (*s.parameters, *s.derived)
    ]
    lines.append("")
    lines += [f"- {item.label}: {markdown(item.text)}" for item in (*s.checks, *s.notes)]
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    """Escape what Markdown or HTML would act on."""
    plain = escape(text, quote=False)
    return re.sub(r"([\\`*_|\[\]~])", r"\\\1", plain)
