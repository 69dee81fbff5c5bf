"""What commands read from their arguments: ``name=value`` pairs, a log, a table, a law."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.laws import Law
    from scaling_laws.runs import RunLog

__all__ = [
    "UNIT_HELP", "check_share", "in_shell", "law_of", "log_of", "number_of", "number_or_word",
    "pairs", "points", "pruning_of", "steps", "table_in",
]  # fmt: skip

UNIT_HELP = "Unit of a field: kept=percent, score=percent, params=1e9."
"""Of the option ``--unit``, which every command that reads a log has."""

# What the library tells a program to write, and what that is in a shell.
_WRITTEN = (
    (re.compile(r"columns=(\{'[^{}]*'\}|\{\"[^{}]*\"\})"), "--column"),
    (re.compile(r"units=(\{[^{}.]*: [^{}]*\})"), "--unit"),
)
_WORDS = (
    ("columns={...}", "--column FIELD=COLUMN"),
    ("(Options such as units are those of sl.read_runs, whose .rejected lists them all.)",
     "(scaling-laws check lists them.)"),
)  # fmt: skip


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


def number_of(text: str, what: str) -> float:
    """Return the number that an option was given.

    Raises
    ------
    ValueError
        For a text that is none.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is no number.") from None


def check_share(value: float, what: str) -> None:
    """Refuse a level outside (0, 1)."""
    if not 0 < value < 1:
        instead = f" Write {value / 100:g} for {value:g} %." if 1 < value < 100 else ""
        raise ValueError(f"{what} {value:g} is not in (0, 1).{instead}")


def in_shell(sentence: str) -> str:
    """Return a sentence of the library with the options of the command for its arguments.

    >>> print(in_shell("if it is loss, pass columns={'loss': 'val loss'}."))
    if it is loss, pass --column 'loss=val loss'.
    >>> print(in_shell('Write 0.734, or pass score_unit="percent".'))
    Write 0.734, or pass --unit score=percent.
    """
    for pattern, option in _WRITTEN:
        sentence = pattern.sub(lambda found, name=option: _options(found, name), sentence)
    for words, instead in _WORDS:
        sentence = sentence.replace(words, instead)
    sentence = re.sub(r'\b(kept|score)_unit="(\w+)"', r"--unit \1=\2", sentence)
    return re.sub(r"\bmetric=(?=[ ,.])", "--metric", sentence)


def _options(found: re.Match[str], option: str) -> str:
    """Return a mapping that is written out as options, ``--column a=b``."""
    try:
        given = ast.literal_eval(found[1])
    except (ValueError, SyntaxError):  # a name with a quote in it
        return found[0]
    values = {k: f"{v:g}" if isinstance(v, float) else v for k, v in given.items()}
    return " ".join(f"{option} {shlex.quote(f'{k}={v}')}" for k, v in values.items())


def _units(given: Sequence[str] | None) -> dict[str, Any]:
    """Return what ``--unit`` says, as arguments of `read_runs`."""
    out: dict[str, Any] = {}
    for name, text in pairs(given, "--unit").items():
        if name in ("kept", "score"):
            out[f"{name}_unit"] = text
        else:
            out.setdefault("units", {})[name] = number_of(text, f"--unit {name}")
    return out


def log_of(
    path: Path,
    where: Sequence[str] | None,
    column: Sequence[str] | None,
    unit: Sequence[str] | None = None,
) -> RunLog:
    """Read a log, and the rows of it that ``--where`` chooses.

    Raises
    ------
    ValueError
        For a column that the log does not have, or a unit that is none.
    """
    from scaling_laws.runs import read_runs

    runs = read_runs(path, columns=pairs(column, "--column") or None, **_units(unit))
    chosen: dict[str, Any] = {}
    for name, text in pairs(where, "--where").items():
        if name not in runs.frame.columns:
            raise ValueError(
                f"--where {name}: the log has no such column; it has "
                f"{', '.join(runs.frame.columns)}."
            )
        # In the column's own type.
        numbers = runs.frame[name].dtype.kind in "fiu"
        chosen[name] = number_of(text, f"--where {name}") if numbers else text
    return runs.select(chosen) if chosen else runs


def table_in(path: Path) -> pd.DataFrame:
    """Read a table that need not be a log: a row a candidate, no score asked for.

    Raises
    ------
    ValueError
        For a file that can't be split into cells, a row that can't, or a cell that holds no value.
    """
    import pandas as pd

    from scaling_laws.readers import read_table
    from scaling_laws.readers.rules import parse_covariate

    table = read_table(path)
    if table.rejected:
        first = table.rejected[0]
        raise ValueError(f"{path}, row {first.row}: {first.reason}")
    columns: dict[str, Any] = {}
    for name, cells in table.columns.items():
        parsed = parse_covariate(cells, table.typed)
        if parsed.problems:
            at, problem = next(iter(parsed.problems.items()))
            raise ValueError(f"{path}, row {table.rows[at]}: {name} = {cells[at]!r} {problem}")
        columns[name] = parsed.values
    return pd.DataFrame(columns)


def pruning_of(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Return how students are cut, of texts such as ``split=depth`` and ``rounding.ffn=128``.

    Raises
    ------
    ValueError
        For an unknown name or axis, or a number that none can be cut by.
    """
    from scaling_laws.cost.shapes import AXES

    out: dict[str, Any] = {}
    for name, text in pairs(given, "--pruning").items():
        whole, dot, axis = name.partition(".")
        if name in ("kept_of", "split"):
            out[name] = text
            continue
        if whole not in ("split", "rounding") or not dot or axis not in AXES:
            raise ValueError(
                f"--pruning {name}={text}: write kept_of=nonembedding, split=depth, or of "
                f"{', '.join(AXES)} shares and multiples, split.ffn=2 and rounding.ffn=128."
            )
        value = number_or_word(text)
        if isinstance(value, str) or not value > 0 or (whole == "rounding" and value % 1):
            kind = "whole number from 1" if whole == "rounding" else "number above 0"
            raise ValueError(f"--pruning {name}={text}: {text!r} is no {kind}.")
        if isinstance(out.setdefault(whole, {}), str):
            raise ValueError(f"--pruning {name}={text}: split={out[whole]} is given too; drop one.")
        out[whole][axis] = int(value) if whole == "rounding" else value
    return out or None


@contextmanager
def steps() -> Generator[Callable[[str], None]]:
    """Show each step on stderr where someone watches."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc} {elapsed}", leave=False, disable=None) as bar:

        def tell(words: str) -> None:
            bar.set_description_str(words)

        yield tell


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
