"""What the outputs of a notebook say: kinds, words and numbers, compared as a reader would.

Pictures are compared by their presence alone: fonts differ between machines. Words must agree.
Numbers are the same on one machine. On another, sums are rounded otherwise, which moves a printed
number by a unit of its last digit; and the draws behind an interval may be others that are as good,
since a singular vector has no sign of its own. A 90 % end of 1,000 draws has a standard error of
4 % of its distance from the middle. So numbers may differ by a unit or by 5 %, whichever is more,
and what is smaller than 1e-7 is rounding itself.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from html import unescape

from nbformat import NotebookNode

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?")
_NOTHING = Decimal("1e-7")
_SIMULATED = Decimal("0.05")
_MARKUP = re.compile(r"<style.*?</style>|<!--.*?-->|<[^<>]*>", re.DOTALL)


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    """Return the kind of each output: the stream or ``error``, or the forms that it is shown in."""
    return [
        tuple(sorted(output.data)) if "data" in output else (output.get("name", "error"),)
        for output in cell.outputs
    ]


def texts(cell: NotebookNode) -> Iterator[str]:
    """Yield what can be read of each output, markup taken away."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        data = output.get("data", {})
        for form in sorted(data):
            if form == "text/html":
                yield unescape(_MARKUP.sub(" ", data[form]))
            elif form.startswith("text/"):
                yield data[form]


def changes(kept: NotebookNode, now: NotebookNode) -> list[str]:
    """Return a sentence for every output of a notebook that is not what it was."""
    found: list[str] = []
    for number, (before, after) in enumerate(zip(kept.cells, now.cells, strict=True), 1):
        if before.cell_type != "code":
            continue
        if kinds(before) != kinds(after):
            found.append(f"cell {number}: kept {kinds(before)}, now {kinds(after)}")
            continue
        for old, new in zip(texts(before), texts(after), strict=True):
            if told := difference(old, new):
                found.append(f"cell {number}: {told}")
    return found


def difference(kept: str, now: str) -> str | None:
    """Return the first place in which two texts differ, in words; None if they agree."""
    old, new = (" ".join(_NUMBER.sub(" # ", text).split()) for text in (kept, now))
    if old != new:
        at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
        at = min(len(old), len(new)) if at is None else at
        part = slice(max(at - 30, 0), at + 30)
        return f"kept {old[part]!r}, now {new[part]!r}"
    for a, b in zip(_NUMBER.findall(kept), _NUMBER.findall(now), strict=True):
        before, after = (Decimal(text.replace(",", "")) for text in (a, b))
        room = (_unit(before), _unit(after), _SIMULATED * abs(before), _NOTHING)
        if abs(before - after) > max(room):
            return f"kept {a}, now {b}"
    return None


def _unit(value: Decimal) -> Decimal:
    """Return one unit of the last printed digit."""
    return Decimal(1).scaleb(int(value.as_tuple().exponent))
