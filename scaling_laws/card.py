"""The reproducibility card: what was fitted, to what, how. No field is ever blank.

The questions follow M. Li et al., "(Mis)Fitting: a survey of scaling laws", arXiv 2502.18969,
appendix (checklist): the form, the training runs, the data points, the fit; and how far to trust
it. What a log does not say is answered "not logged".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.answers import answers_of
from scaling_laws.latex import latex_escaped
from scaling_laws.show import markdown
from scaling_laws.wrapping import wrapped

if TYPE_CHECKING:
    from scaling_laws.result import Fit
    from scaling_laws.validation import Holdout

__all__ = ["Card", "Entry", "card_of"]


@dataclass(frozen=True)
class Entry:
    """One question of the card and its answer, under a heading."""

    section: str
    question: str
    answer: str


@dataclass(frozen=True)
class Card:
    """The reproducibility card of a fit: ``card["law"]`` is an answer.

    Attributes
    ----------
    entries : tuple of Entry
        In printed order.
    """

    entries: tuple[Entry, ...]

    def __getitem__(self, question: str) -> str:
        """Return the answer to a question."""
        for entry in self.entries:
            if entry.question == question:
                return entry.answer
        known = ", ".join(entry.question for entry in self.entries)
        raise KeyError(f"the card has no question {question!r}; it has {known}.")

    @property
    def answers(self) -> pd.Series[str]:
        """The answers by question."""
        return self.frame["answer"]

    @property
    def frame(self) -> pd.DataFrame:
        """A row a question: `section`, `answer`."""
        rows = [(e.question, e.section, e.answer) for e in self.entries]
        table = pd.DataFrame(rows, columns=["question", "section", "answer"], dtype=object)
        return table.set_index("question")

    def _sections(self) -> Iterator[tuple[str, list[Entry]]]:
        for name in dict.fromkeys(entry.section for entry in self.entries):
            yield name, [entry for entry in self.entries if entry.section == name]

    def __str__(self) -> str:
        lines: list[str] = []
        for section, entries in self._sections():
            lines += [section, *(x for e in entries for x in wrapped(e.question, e.answer, 19))]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        cell = "text-align:left;vertical-align:top;padding:2px 6px"
        rows: list[str] = []
        for section, entries in self._sections():
            rows.append(f'<tr><th colspan="2" style="{cell}">{escape(section)}</th></tr>')
            rows += [
                f'<tr><td style="{cell}">{escape(e.question)}</td>'
                f'<td style="{cell}">{escape(e.answer)}</td></tr>'
                for e in entries
            ]
        return f'<table style="max-width:60em">{"".join(rows)}</table>'

    def to_markdown(self) -> str:
        """Return the card as Markdown, a table a section; text from the log is escaped."""
        lines: list[str] = []
        for section, entries in self._sections():
            lines += [f"**{section}**", "", "| question | answer |", "|---|---|"]
            lines += [f"| {e.question} | {markdown(e.answer)} |" for e in entries]
            lines.append("")
        return "\n".join(lines)

    def to_latex(self) -> str:
        """Return the card as LaTeX that needs no package: a description list a section.

        Text from the log is escaped, so that none of it is a command. Characters that pdfLaTeX has
        no glyph for are printed as their code point, U+4E2D.
        """
        lines: list[str] = []
        for section, entries in self._sections():
            lines += [f"\\paragraph{{{latex_escaped(section)}}}", "\\begin{description}"]
            lines += [
                f"\\item[{latex_escaped(e.question)}] {latex_escaped(e.answer)}" for e in entries
            ]
            lines.append("\\end{description}")
        return "\n".join(lines) + "\n"


def card_of(fit: Fit, holdout: Holdout | None = None) -> Card:
    """Return the card of a fit, with the record of a hold-out where there is one.

    Raises
    ------
    ValueError
        If the hold-out judges another score.
    """
    if holdout is not None and holdout.fitted.metric.name != fit.metric.name:
        raise ValueError(
            f"card: the hold-out judges {holdout.fitted.metric.name}, the fit is of "
            f"{fit.metric.name}; pass a hold-out of {fit.metric.name}."
        )
    told = answers_of(fit, holdout)
    entries = [
        Entry(section, question, _line(answer))
        for section, answers in told.items()
        for question, answer in answers.items()
    ]
    return Card(tuple(entries))


def _line(text: str) -> str:
    """Return a text on one line, without characters that can't be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
