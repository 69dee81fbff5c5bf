"""The command ``python -m experiments.findings LOG [--out DIR]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .sections import METRICS, sections
from .show import write

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error that a user can mend is a message and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, prog_name="experiments.findings")
    except (ValueError, OSError) as error:
        print(f"findings: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command()
def findings(
    log: Annotated[Path, typer.Argument(help="Run log.")],
    out: Annotated[Path | None, typer.Option(help="Folder for text, tables and figures.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help=f"Metric with a law; {', '.join(METRICS)} if none.")
    ] = None,
) -> None:
    """Say what a log of distillation runs says: noise, laws, hold-outs, the paper's findings."""
    found = sections(log, metric or METRICS, _tell)
    print("\n\n\n".join(map(str, found)))
    if out is not None:
        written = write(found, out)
        print(f"\n\n{len(written)} files in {out}.")


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
