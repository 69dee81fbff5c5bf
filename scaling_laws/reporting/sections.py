"""The sections of a report, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import pandas as pd

from scaling_laws.decide import Result
from scaling_laws.decide.frontier import Frontier
from scaling_laws.reporting.alone import predicted
from scaling_laws.reporting.figures import SMALL, curves, inline
from scaling_laws.reporting.findings import Findings, Outcome
from scaling_laws.reporting.markup import (
    details,
    figure,
    frame_table,
    in_words,
    notes,
    pairs,
    paragraph,
    section,
    table,
)
from scaling_laws.reporting.panel import controls, fallback
from scaling_laws.reporting.replay import PROBES, Replay
from scaling_laws.show import number, summarise
from scaling_laws.show_decide import cells
from scaling_laws.show_validation import held_rows
from scaling_laws.validation import Holdout

__all__ = ["sections"]

# Answers of more letters are told under Decisions only.
_SHORT = 160
# Rows of the log and of the refused rows that are listed; the counts are always said.
_MOST = 200
_TONES = {"law": "good"}
# Per cent of an interval that nobody sees.
_ROUNDING = 1e-6


def sections(found: Findings) -> Iterator[tuple[str, str, str]]:
    """Yield name, title and HTML of each section that has something to show."""
    for name, title, lead, parts in (
        ("short", "In short", "", _short(found)),
        ("what-if", "What if", _PANEL, _panel(found)),
        ("curves", "Degradation curves", _CURVES, _curves(found)),
        ("decisions", "Decisions", "", _decisions(found)),
        ("forms", "Forms and forecast", _FORMS, _forms(found)),
        ("hold-out", "Hold-out", _HELD, _held(found)),
        ("data", "Data", "", _data(found)),
        ("card", "Reproducibility", _CARD, _card(found)),
    ):
        shown = list(parts)
        if shown:
            yield name, title, section(name, title, lead, shown)


_PANEL = (
    "What to expect of a student. Darker: where the curve lies; lighter: where one new training "
    "run would fall."
)
_CURVES = (
    "Lines are the forecast, dashed where no run has been; dark bands are the interval of the "
    "curve, light bands, where lines are few, that of one new training run; markers are runs at "
    "exactly this place. The grey field is the range of the log."
)
_FORMS = (
    "Several formulas were fitted and mixed by what their forecasts were worth. A form is "
    "admissible if its forecasts are within two standard errors of the best."
)
_HELD = (
    "The hardest level of the log was hidden, forecast from the rest, and compared. What matters "
    "is whether this beats doing without a law, and whether observed scores fall inside the "
    "interval."
)
_CARD = "What was fitted, to what, and how: enough to do it again."


# --- in short -------------------------------------------------------------------------------------
def _short(found: Findings) -> Iterator[str]:
    lines = [row for one in found.outcomes.values() for row in _told(found, one)]
    lines += [
        (title, _answer(one), "plain" if one.found else "warn")
        for title, one in found.decisions.items()
        if len(one.answer) <= _SHORT
    ]
    lines += [(name, f"Not answered: {why}", "warn") for name, why in found.open.items()]
    refused = len(found.log.rejections)
    if refused:
        lines.append(("Rows refused", f"{refused} of the log; see Data.", "warn"))
    yield pairs(lines)


def _told(found: Findings, one: Outcome) -> Iterator[tuple[str, str, str]]:
    name = one.metric.name
    point = pd.DataFrame([dict(found.point)])
    read = predicted(one.forecast, point, found.asked.level).iloc[0]
    own = {*one.extent.factors, *(s.name for s in one.extent.scales)}
    place = _place({k: v for k, v in found.point.items() if k in own})
    ends = (
        f", one new run {number(read['run_low'])} to {number(read['run_high'])}"
        if "run_low" in read else ""
    )  # fmt: skip
    yield name, f"{number(read['estimate'])}{ends}, at {place}.", "plain"
    for verdict in one.choice.verdicts:
        if verdict.kind != "law":
            yield f"{name}, {verdict.axis}", str(verdict), "warn"
    if isinstance(one.held, Holdout):
        least = one.held.baselines.idxmin()
        best = float(one.held.baselines.min())
        mean = float(one.held.errors["the law"])
        better = mean <= best
        ours, other = (f"{v:.1%}" if one.held.relative else number(v) for v in (mean, best))
        yield (
            f"Trust in {name}",
            f"The hidden hardest level of {one.held.by} was forecast to {ours} on average; without "
            f"a law the best guess ({least}) would have missed by {other}.",
            "plain" if better else "warn",
        )


def _place(point: Mapping[str, Any]) -> str:
    words = [
        f"{in_words(k)} {v if isinstance(v, str) else number(float(v))}" for k, v in point.items()
    ]
    return ", ".join(words)


def _answer(one: Result) -> str:
    sure = one.why.probability
    said = "" if sure is None else f"probability {sure:.2f}"
    return one.answer if said in one.answer else f"{one.answer} ({said})"


# --- what if --------------------------------------------------------------------------------------
def _panel(found: Findings) -> Iterator[str]:
    said = paragraph("The sliders need JavaScript; the table below does not.", "hint")
    yield f"<noscript>{said}</noscript>"
    yield controls(found)
    if found.served is not None:
        yield paragraph(f"Latency and price: {found.served.words}.", "hint")
        yield details("What latency and price rest on", [notes(found.served.notes)])
    yield from _agreement({name: one.replay for name, one in found.outcomes.items()})
    yield details("Predictions as a table", [fallback(found)])


def _agreement(replays: Mapping[str, Replay | str]) -> Iterator[str]:
    """Yield how well the panel repeats the forecasts, and which it does not repeat, and why."""
    errors = [100 * one.error for one in replays.values() if isinstance(one, Replay)]
    if errors:
        worst = max(errors)
        most = f"at most {worst:.2g}" if worst >= _ROUNDING else f"less than {_ROUNDING:f}"
        yield paragraph(
            "The page repeats the arithmetic of the fitted forms on their draws. At "
            f"{PROBES} random places it differs from the forecast by {most} % of the interval's "
            "width.",
            "hint",
        )
    missing = [(name, f"Not here: {why}", "warn") for name, why in replays.items()
               if isinstance(why, str)]  # fmt: skip
    if missing:
        yield pairs(missing)


# --- curves ---------------------------------------------------------------------------------------
def _curves(found: Findings) -> Iterator[str]:
    shown: list[str] = []
    for i, one in enumerate(found.outcomes.values()):
        for k, axis in enumerate(one.extent.scales):
            rest = {s.name: found.point[s.name] for s in one.extent.scales if s.name != axis.name
                    and s.name in found.point}  # fmt: skip
            for scale in one.extent.scales:
                if scale.name != axis.name:
                    rest.setdefault(scale.name, scale.seen[1])
            ax = curves(one, axis, rest, found.asked.level)
            where = f", at {_place(rest)}" if rest else ""
            caption = (
                f"{one.metric.meaning or one.metric.name} against {in_words(axis.name)}{where}"
            )
            shown.append(figure(inline(ax, f"c{i}{k}"), caption))
    yield f'<div class="figures">{"".join(shown)}</div>'


# --- decisions ------------------------------------------------------------------------------------
def _decisions(found: Findings) -> Iterator[str]:
    for i, (title, one) in enumerate(found.decisions.items()):
        why = one.why
        rows = [("answer", _answer(one), "good" if one.found else "warn")]
        rows += [(label, text, "plain") for label, text in (("run that matters most", why.run),
                 ("what would change it", why.change)) if text]  # fmt: skip
        ax: Any = one.plot()
        if not isinstance(one, Frontier):  # whose title says how points are named
            ax.set_title("", loc="left")  # the answer stands beside it
        ax.get_figure(root=True).set_size_inches(*SMALL)
        words = "The first rows behind the answer"
        rest = details(words, [frame_table(cells(one.frame), words)]) if len(one.frame) else ""
        yield (
            f'<article class="decision"><div>{_heading(title)}{paragraph(one.question, "lead")}'
            f"{pairs(rows)}{notes(one.notes)}</div>"
            f"{figure(inline(ax, f'd{i}'), one.answer, shown=False)}"
            f"{rest}</article>"
        )
    if found.open:
        yield table(("asked", "why there is no answer"), found.open.items(), "Not answered")


def _heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


# --- forms ----------------------------------------------------------------------------------------
def _forms(found: Findings) -> Iterator[str]:
    for one in found.outcomes.values():
        choice = one.choice
        yield _heading(one.metric.name)
        yield paragraph(
            f"{len(choice.fits) + len(choice.failed)} forms, rolled along {choice.rolled.axis} "
            f"({choice.rolled.origins} origins)."
        )
        yield frame_table(choice.frame.reset_index(), f"Forms tried for {one.metric.name}")
        yield pairs([(v.axis, str(v), _TONES.get(v.kind, "warn")) for v in choice.verdicts])
        # Verdicts and the number of forms stand above.
        yield notes([n for n in choice.notes if n.code not in ("verdict", "forms_tried")])
        said = summarise(choice.best)
        parts = [pairs([(line.label, line.text, line.tone) for line in (*said.head, *said.checks)])]
        rows = (*said.parameters, *said.derived)
        parts.append(
            table(
                ("", "estimate", "", said.interval, "meaning"),
                [(r.name, r.estimate, r.se, r.interval, r.meaning) for r in rows],
                f"Parameters of {said.title}",
                [r.tone for r in rows],
            )
        )
        yield f"<h4>Best form</h4>{''.join(parts)}"


# --- hold-out -------------------------------------------------------------------------------------
def _held(found: Findings) -> Iterator[str]:
    for i, (name, one) in enumerate(found.outcomes.items()):
        yield _heading(name)
        held = one.held
        if isinstance(held, str):
            yield paragraph(held, "warn")
            continue
        lines = held_rows(held)
        caption = (
            f"{len(held.frame)} rows held out by {held.by}, forecast from "
            f"{len(held.fitted.training_index)}"
        )
        ax: Any = held.plot()
        ax.get_figure(root=True).set_size_inches(*SMALL)
        drawn = figure(inline(ax, f"h{i}"), f"Predicted against observed {name}")
        yield f'<div class="figures">{table(("", ""), lines, caption)}{drawn}</div>'


# --- data -----------------------------------------------------------------------------------------
def _data(found: Findings) -> Iterator[str]:
    log = found.log
    left = f", {log.left_out} left out" if log.left_out else ""
    yield paragraph(
        f"{log.source}: {log.accepted} rows accepted, {len(log.rejections)} refused{left}; "
        f"{len(log)} runs with {', '.join(log.metrics)}."
    )
    yield notes(log.notes)
    if len(log.rejected):
        shown = log.rejected.head(_MOST)
        of = f", the first {_MOST} of {len(log.rejected)}" if len(log.rejected) > _MOST else ""
        yield frame_table(shown, f"Rows refused, with the reason{of}")
    noise = log.noise()
    if len(noise):
        yield frame_table(noise, "Where the scatter of the scores comes from, before any law")
    rows = log.frame.head(_MOST).dropna(axis=1, how="all")
    of = f", the first {_MOST}" if len(log) > _MOST else ""
    yield details(f"The {len(log)} runs{of}", [frame_table(rows, "Runs of the log")])


# --- card -----------------------------------------------------------------------------------------
def _card(found: Findings) -> Iterator[str]:
    for name, one in found.outcomes.items():
        card = one.choice.best.card(one.held if isinstance(one.held, Holdout) else None)
        rows = [(e.section, e.question, e.answer) for e in card.entries]
        yield details(name, [table(("", "question", "answer"), rows, f"Card of {name}")])
