"""Text as LaTeX: whatever it holds, it prints, and none of it is a command."""

from __future__ import annotations

import re

__all__ = ["latex_escaped"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedblright{}",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "±": r"\ensuremath{\pm}", "×": r"\ensuremath{\times}", "÷": r"\ensuremath{\div}",
    "–": r"\textendash{}", "—": r"\textemdash{}",
    "µ": r"\ensuremath{\mu}", "²": r"\ensuremath{^2}", "…": r"\dots{}",
    "≤": r"\ensuremath{\leq}", "≥": r"\ensuremath{\geq}",
}  # fmt: skip
# Letters of Latin-1 that need another font encoding than the default.
_ABSENT = "ÐÞðþ"
# Two of these in a row would join to another glyph: a dash, or a quotation mark.
_JOINING = re.compile("([-',])(?=\\1)")


def latex_escaped(text: str) -> str:
    r"""Return a text as LaTeX that prints it, in one paragraph.

    Characters beyond Latin-1 for which pdfLaTeX has no glyph become their code point. Characters
    that can't be printed become spaces.

    >>> latex_escaped("a_b & 50% of 中")
    'a\\_b \\& 50\\% of \\texttt{U+4E2D}'
    """
    parts = _JOINING.split(text)  # every second part is a mark that another one follows
    return "".join(
        f"{part}{{}}" if at % 2 else "".join(map(_character, part)) for at, part in enumerate(parts)
    )


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if not character.isprintable():
        return " "
    if character.isascii() or ("À" <= character <= "ÿ" and character not in _ABSENT):
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"
