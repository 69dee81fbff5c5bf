"""The command ``scaling-laws report``: a run log in, one HTML file out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from scaling_laws.cli_inputs import UNIT_HELP, log_of, number_of, pairs, pruning_of, steps

__all__ = ["report"]


def report(
    log: Annotated[Path, typer.Argument(help="Run log: .csv, .tsv, .jsonl, .parquet")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    metric: Annotated[
        list[str] | None, typer.Option(help="Score; repeat. Default: the task's and a general one.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Factor column; repeat. Default: all that set runs apart."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Rows to use, such as method=full.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Where a field comes from, examples=D.")
    ] = None,
    unit: Annotated[list[str] | None, typer.Option("--unit", help=UNIT_HELP)] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(help="Target of a score, task_f1=0.8; repeat.")
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option(help="Target of a loss, loss=2.1; repeat.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="With which targets are to be met.")] = 0.9,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    shape: Annotated[
        str | None, typer.Option(help="The whole model, Qwen3-8B: adds latency and price.")
    ] = None,
    pruning: Annotated[
        list[str] | None,
        typer.Option(help="How it is cut: kept_of=, split=, rounding.ffn=128; repeat."),
    ] = None,
    hardware: Annotated[str, typer.Option(help="That serves it.")] = "H100",
    tokens_in: Annotated[float | None, typer.Option(help="Tokens of a prompt.")] = None,
    tokens_out: Annotated[float | None, typer.Option(help="Tokens of an answer.")] = None,
    load: Annotated[float | None, typer.Option(help="Requests a second.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of draws and starts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write one HTML file: data, forecast, hold-out, curves, decisions, what-if panel, card."""
    from scaling_laws.cost import Serving
    from scaling_laws.reporting import report as make

    serving = None
    if shape is not None:
        if tokens_in is None or tokens_out is None:
            raise ValueError("--shape needs --tokens-in and --tokens-out, the work of a request.")
        serving = Serving(hardware, tokens_in=tokens_in, tokens_out=tokens_out, load=load)
    elif pruning:
        raise ValueError("--pruning says how a model is cut: give it, --shape Qwen3-8B.")
    runs = log_of(log, where, column, unit)
    with steps() as tell:
        made = make(
            runs, out, metrics=metric, by=by, at_least=_numbers(at_least, "--at-least"),
            at_most=_numbers(at_most, "--at-most"), confidence=confidence, level=level,
            serving=serving, shape=shape, pruning=pruning_of(pruning), title=title, rng=seed,
            progress=tell,
        )  # fmt: skip
    found = made.findings
    if as_json:
        answers = {title: one.to_dict() for title, one in found.decisions.items()}
        written = {"written": str(out), "metrics": list(found.outcomes)}
        print(json.dumps({**written, "decisions": answers, "not_answered": dict(found.open)}))
    else:
        print(made)


def _numbers(given: Sequence[str] | None, what: str) -> dict[str, float] | None:
    return {k: number_of(v, f"{what} {k}") for k, v in pairs(given, what).items()} or None
