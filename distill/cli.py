"""The command ``distill``: run a configuration, or the toy pipeline.

Bad input and whatever stops a step end with exit code 2 and one sentence on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Prune a teacher step by step, teach each student, log every result.",
)  # fmt: skip

Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting, such as train.lr=1e-4.")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors of input become one sentence and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="distill")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"distill: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="Settings as YAML.")], override: Set = None
) -> None:
    """Adapt the teacher, prune and teach each student; goes on from where it stopped."""
    from .config import load_config
    from .run import run_chain

    log = run_chain(load_config(config, override or ()), report=print)
    print(f"Log: {log}")


@app.command()
def tiny(
    out: Annotated[Path, typer.Option(help="Folder for models, stages and the log.")],
    override: Set = None,
) -> None:
    """Do all of it from scratch with toy models: three formats, four sizes, one log."""
    from .tiny import run_tiny

    print(f"Log: {run_tiny(out, overrides=override or (), report=print)}")
