"""What commands read from their arguments: ``name=value`` pairs, a log, a law."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling_laws.laws import Law
    from scaling_laws.runs import RunLog

__all__ = ["law_of", "log_of", "number_or_word", "pairs", "points"]


def pairs(given: Sequence[str] | None, what: str) -> dict[str, str]:
    """Return ``name=value`` texts as a dict.

    Raises
    ------
    ValueError
        For a text without a name or an equals sign.
    """
    out: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"{what} {text!r}: write name=value.")
        out[name] = value
    return out


def points(given: Sequence[str] | None, what: str) -> dict[str, Any]:
    """Return ``name=value`` texts with numbers where they are some, and lists at commas."""
    out: dict[str, Any] = {}
    for name, text in pairs(given, what).items():
        values = [number_or_word(part) for part in text.split(",")]
        out[name] = values if len(values) > 1 else values[0]
    return out


def number_or_word(text: str) -> Any:
    """Return a number where the text is one."""
    try:
        return float(text)
    except ValueError:
        return text


def log_of(path: Path, where: Sequence[str] | None, column: Sequence[str] | None) -> RunLog:
    """Read a log, and the rows of it that ``--where`` chooses.

    Raises
    ------
    ValueError
        For a column that the log does not have.
    """
    from scaling_laws.runs import read_runs

    runs = read_runs(path, columns=pairs(column, "--column") or None)
    chosen: dict[str, Any] = {}
    for name, text in pairs(where, "--where").items():
        if name not in runs.frame.columns:
            raise ValueError(
                f"--where {name}: the log has no such column; it has "
                f"{', '.join(runs.frame.columns)}."
            )
        # In the column's own type.
        chosen[name] = float(text) if runs.frame[name].dtype.kind in "fiu" else text
    return runs.select(chosen) if chosen else runs


def law_of(name: str, by: Sequence[str] | None, option: Sequence[str] | None) -> Law:
    """Return a law by its name, in whatever case.

    Raises
    ------
    ValueError
        For a name that is no law's, or an option that it does not take.
    """
    from scaling_laws import laws

    known = {k.lower(): getattr(laws, k) for k in laws.__all__ if k[0].isupper()}
    known = {k: v for k, v in known.items() if k not in ("axis", "law", "param")}
    if name.lower() not in known:
        close = get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"--law {name!r} is not known.{hint} There are {', '.join(known)}.")
    options = {k: number_or_word(v) for k, v in pairs(option, "--option").items()}
    try:
        return known[name.lower()](by=tuple(by or ()), **options)
    except TypeError:
        raise ValueError(f"--option: {name} does not take {' or '.join(options)}.") from None
