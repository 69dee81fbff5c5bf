"""What commands read from their arguments: ``name=value`` pairs, a log, a table, a law."""

from __future__ import annotations

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
    "law_of", "log_of", "number_or_word", "pairs", "points", "pruning_of", "steps", "table_in",
]  # fmt: skip


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
