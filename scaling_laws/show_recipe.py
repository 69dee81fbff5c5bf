"""How a recipe is printed: text and HTML twins."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.show import number
from scaling_laws.wrapping import indented, note_lines, note_list, wrapped

if TYPE_CHECKING:
    from scaling_laws.recipes import Recipe

__all__ = ["recipe_html", "recipe_text"]

_DIGITS = {"E": 4, "A": 4, "B": 4, "alpha": 3, "beta": 3, "objective": 4, "tokens_per_parameter": 3}


def recipe_text(recipe: Recipe) -> str:
    """Return the steps as text."""
    lines = [f"{recipe.title}, {recipe.fit.problem.n} points", *wrapped("", _column(recipe), 0)]
    table = _shown(recipe).reset_index().to_string(index=False)
    return "\n".join([*lines, *indented(table), *note_lines(recipe.notes)])


def recipe_html(recipe: Recipe) -> str:
    """Return the steps as HTML."""
    head = f"<p><b>{escape(recipe.title)}</b>, {recipe.fit.problem.n} points</p>"
    head += f"<p>{escape(_column(recipe))}</p>"
    return f"{head}{_shown(recipe).to_html(escape=True)}{note_list(recipe.notes)}"


def _column(recipe: Recipe) -> str:
    return f"D/N: tokens per parameter of the compute optimum at {number(recipe.flops)} FLOP"


def _shown(recipe: Recipe) -> pd.DataFrame:
    shown = recipe.frame.astype(object)
    for column, digits in _DIGITS.items():
        shown[column] = [number(float(v), digits) for v in recipe.frame[column]]
    return shown.rename(columns={"tokens_per_parameter": "D/N"})
