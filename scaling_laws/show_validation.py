"""How hold-outs, choices and forecasts are printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.validation import Choice, Holdout

__all__ = [
    "choice_html", "choice_text", "forecast_html", "forecast_text", "held_rows", "held_words",
    "holdout_html", "holdout_text",
]  # fmt: skip


def holdout_text(held: Holdout) -> str:
    """Return the record of a hold-out as text."""
    lines = [_held_title(held)]
    lines += [f"  {words:<38}{value}" for words, value in held_rows(held)]
    return "\n".join(lines)


def holdout_html(held: Holdout) -> str:
    """Return the record of a hold-out as HTML."""
    rows = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in held_rows(held))
    return f"<p><b>{escape(_held_title(held))}</b></p><table>{rows}</table>"


def _held_title(held: Holdout) -> str:
    train = len(held.fitted.training_index)
    return f"Hold-out by {held.by}: {len(held.frame)} rows predicted from {train}"


def held_rows(held: Holdout) -> list[tuple[str, str]]:
    """Return what a hold-out found, as words and their value."""
    if held.relative:
        errors = [("mean |pred/obs - 1|", f"{held.are:.2%}")]
        errors += [("mean pred/obs - 1", f"{held.bias:+.2%}")]
        told = {k: f"{v:.2%}" for k, v in held.baselines.items()}
    else:
        errors = [("mean |pred - obs|", number(float(held.errors["the law"])))]
        told = {k: number(float(v)) for k, v in held.baselines.items()}
    rows = [
        *errors,
        (f"inside {100 * held.level:g} % ({held.interval})", f"{held.coverage:.0%}"),
    ]
    return rows + [(f"without a law: {k}", v) for k, v in told.items()]


def held_words(held: Holdout) -> str:
    """Return what a hold-out found in a sentence: error, record without a law, coverage."""
    best, least = str(held.baselines.idxmin()), float(held.baselines.min())
    mean = float(held.errors["the law"])
    if held.relative:
        told = f"mean |predicted / observed - 1| {mean:.1%}, without a law at best {least:.1%}"
    else:
        told = f"mean |predicted - observed| {number(mean)}, without a law at best {number(least)}"
    return f"{told} ({best}); rmse {number(held.rmse)}; {_inside(held)}"


def _inside(held: Holdout) -> str:
    """Count covered rows among those with an interval: none does not mean missed."""
    judged = held.frame["low"].notna()
    if not judged.any():
        return "too few rows for an interval"
    left = int((~judged).sum())
    return (
        f"{int(held.frame['covered'].sum())} of {int(judged.sum())} rows inside "
        f"{100 * held.level:g} % intervals{f', {left} without one' if left else ''}"
    )


def choice_text(choice: Choice) -> str:
    """Return the forms side by side as text."""
    lines = [_choice_title(choice), _frame_text(choice.frame)]
    return "\n".join([*lines, *note_lines(choice.notes)])


def choice_html(choice: Choice) -> str:
    """Return the forms side by side as HTML."""
    head = f"<p><b>{escape(_choice_title(choice))}</b></p>"
    return head + _shown(choice.frame).to_html(escape=True) + note_list(choice.notes)


def _choice_title(choice: Choice) -> str:
    forms, origins = len(choice.fits), choice.rolled.origins
    return (
        f"Choice among {forms} form{'s' * (forms != 1)} of {choice.best.metric.name}, rolled along "
        f"{choice.rolled.axis} ({origins} origin{'s' * (origins != 1)})"
    )


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    shown = frame.copy().astype(object)
    for column in ("aicc", "rolling_rmse", "weight"):
        shown[column] = [number(float(v)) for v in frame[column]]
    shown["admissible"] = ["yes" if v else "no" for v in frame["admissible"]]
    return shown


def _frame_text(frame: pd.DataFrame) -> str:
    return "\n".join(indented(_shown(frame).reset_index().to_string(index=False)))


def forecast_text(forecast: Forecast) -> str:
    """Return what a forecast is made of as text."""
    lines = [_forecast_title(forecast)]
    lines += [f"  {weight:6.3f}  {form}" for form, weight in forecast.weights.items()]
    return "\n".join([*lines, *note_lines(forecast.notes[:1])])


def forecast_html(forecast: Forecast) -> str:
    """Return what a forecast is made of as HTML."""
    rows = "".join(
        f"<tr><td>{weight:.3f}</td><td>{escape(str(form))}</td></tr>"
        for form, weight in forecast.weights.items()
    )
    head = f"<p><b>{escape(_forecast_title(forecast))}</b></p>"
    return f"{head}<table>{rows}</table>{note_list(forecast.notes[:1])}"


def _forecast_title(forecast: Forecast) -> str:
    return f"Forecast of {forecast.metric.name}, mixed from {len(forecast.fits)} forms"
