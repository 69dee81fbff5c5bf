"""The command ``scaling-laws`` and those of its commands that need no file of their own.

Bad input ends with exit code 2 and one sentence on stderr; ``--json`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scaling_laws.cli_cost import cost
from scaling_laws.cli_decide import decide
from scaling_laws.cli_inputs import (
    UNIT_HELP,
    check_share,
    in_shell,
    law_of,
    log_of,
    number_of,
    points,
)
from scaling_laws.cli_plot import plot
from scaling_laws.cli_report import report

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Scaling laws of task-specific distillation: fit, predict, validate.",
)  # fmt: skip
app.command()(cost)
app.command()(report)
app.command()(plot)
app.command()(decide)

Log = Annotated[Path, typer.Argument(help="Run log: .csv, .tsv, .jsonl, .parquet")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
LawName = Annotated[str, typer.Option("--law", help="A law, such as compressed, power, collapse.")]
MetricName = Annotated[str | None, typer.Option(help="Score to fit; not needed with only one.")]
Option = Annotated[
    list[str] | None, typer.Option("--option", help="Option of the law, such as size=params.")
]
By = Annotated[list[str] | None, typer.Option(help="Factor column; repeat for several.")]
Where = Annotated[list[str] | None, typer.Option(help="Rows to use, such as format=label.")]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="Where a field comes from, examples=D.")
]
Unit = Annotated[list[str] | None, typer.Option("--unit", help=UNIT_HELP)]
Seed = Annotated[int, typer.Option(help="Seed of draws and starts.")]

# A spinner only where a person would start to wonder.
_PATIENCE_S = 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors of input become one sentence and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="scaling-laws")
    except (ValueError, KeyError, OSError) as error:
        print(f"scaling-laws: {in_shell(_sentence(error))}", file=sys.stderr)
        raise SystemExit(2) from None


def _sentence(error: Exception) -> str:
    """Return what an error says, without the quotes of a key and the number of the system's."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} can't be read or written: {error.strerror}."
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


@contextmanager
def _waiting(words: str) -> Generator[None]:
    """Say on stderr that work goes on, from two seconds on, where someone watches."""
    done = threading.Event()

    def spin() -> None:
        if done.wait(_PATIENCE_S):
            return
        from tqdm import tqdm

        bar_format = "{desc} {elapsed}"
        with tqdm(desc=words, bar_format=bar_format, leave=False, disable=None) as bar:
            while not done.wait(0.2):
                bar.refresh()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _version(asked: bool) -> None:
    if asked:
        from scaling_laws.version import VERSION

        print(VERSION)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Scaling laws of task-specific distillation."""


def _show(result: Any, as_json: bool, plain: Callable[[], Any]) -> None:
    print(json.dumps(_clean(plain()), ensure_ascii=False) if as_json else result)


def _clean(value: Any) -> Any:
    """JSON without NaN or infinity: both become null."""
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in cast(Sequence[Any], value)]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value.item() if hasattr(value, "item") else value


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records = frame.reset_index().to_dict("records")
    return [{str(k): v for k, v in row.items()} for row in records]


def _notes(notes: Sequence[Any]) -> list[dict[str, str]]:
    return [{"code": n.code, "severity": n.severity, "sentence": n.sentence} for n in notes]


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Write text, figures, tables and fits here.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Published points in place of the real runs.")
    ] = False,
    template: Annotated[
        Path | None, typer.Option(help="Write an empty table of a whole design here (.csv).")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="A filled table, or any run log.")] = None,
    as_json: Json = False,
) -> None:
    """Do the main job on real runs, on published points, or on your table.

    The runs come with the library: laws of examples x kept x format of a task and of general
    knowledge, predictions, half points, which skill goes first, hold-outs.
    """
    if published and not (template is None and log is None):
        raise ValueError("--published shows points that come with the library; leave out --log.")
    if template is not None or log is not None:
        _demo_table(template, log, out, as_json)
        return
    run = _published_demo if published else _runs_demo
    with _waiting("fitting"):
        shown, plain = run()
        text = shown.text()
        written: list[Path] = [] if out is None else shown.save(out)
    _show(text, as_json, lambda: {**plain(), "written": [str(p) for p in written]})
    if written and not as_json:
        print("\nWritten: " + ", ".join(str(p) for p in written))


def _runs_demo() -> tuple[Any, Callable[[], dict[str, Any]]]:
    from scaling_laws.demo import run_demo

    shown = run_demo()
    return shown, lambda: {
        "rows": len(shown.log), "fitted": len(shown.students),
        "fits": {k: _fit_plain(c.best) for k, c in shown.choices.items()},
        "weights": {k: dict(c.forecast.weights) for k, c in shown.choices.items()},
        "predictions": shown.predictions.to_dict("records"),
        "half_points": {" ".join(k): r.to_dict() for k, r in shown.halves.items()},
        "divergence": {k: r.to_dict() for k, r in shown.gaps.items()},
        "holdout": {" ".join(k): _held_plain(h) for k, h in shown.held.items()},
        "undecided": dict(shown.undecided),
    }  # fmt: skip


def _published_demo() -> tuple[Any, Callable[[], dict[str, Any]]]:
    from scaling_laws.demo_published import run_published

    shown = run_published()
    return shown, lambda: {
        "headlines": _fit_plain(shown.headlines), "distilled": _fit_plain(shown.distilled),
        "pruned": _fit_plain(shown.pruned), "holdout": _held_plain(shown.held),
    }  # fmt: skip


def _held_plain(held: Any) -> dict[str, Any]:
    """Return errors by the hold-out's own rule: a share, or points where a score of 0 was seen."""
    return {
        "error": float(held.errors["the law"]), "scale": "relative" if held.relative else "points",
        "coverage": held.coverage, "baselines": dict(held.baselines),
    }  # fmt: skip


def _demo_table(template: Path | None, log: Path | None, out: Path | None, as_json: bool) -> None:
    from scaling_laws.demo_table import run_table, write_design

    if template is not None:
        written = write_design(template)
        _show(f"Written: {written}", as_json, lambda: {"written": [str(written)]})
    if log is None:
        return
    with _waiting("fitting"):
        shown = run_table(log)
        text = shown.text()
        made = [] if out is None else shown.save(out)
    _show(text, as_json, lambda: {
        "fits": {k: _fit_plain(f) for k, f in shown.fits.items()},
        "collapses": {k: _fit_plain(f) for k, f in shown.collapses.items()},
        "holdout": {k: _held_plain(h) for k, h in shown.held.items()},
        "failed": dict(shown.failed), "written": [str(p) for p in made],
    })  # fmt: skip


def _fit_plain(fit: Any) -> dict[str, Any]:
    return {
        "law": repr(fit.law), "metric": fit.metric.name, "rows": fit.problem.n,
        "objective": fit.objective, "delta": fit.delta,
        "parameters": _records(fit.parameters.rename_axis(index="parameter")),
        "derived": _records(fit.derived.rename_axis(index="quantity")),
        "starts": {"agreeing": fit.starts.agreeing, "tried": fit.starts.tried,
                   "spread": fit.starts.spread},
        "notes": _notes(fit.notes),
    }  # fmt: skip


def _lost(runs: Any) -> list[Any]:
    """Count the runs that failed: their rows are accepted, and no law is fitted to them."""
    from scaling_laws.runs import Note

    if "status" not in runs.frame or not (count := int((runs.frame["status"] == "failed").sum())):
        return []
    words = "1 run failed: its row is" if count == 1 else f"{count} runs failed: their rows are"
    return [Note("failed_runs", "info", f"{words} left out of every fit.")]


@app.command()
def check(log: Log, column: Column = None, unit: Unit = None, as_json: Json = False) -> None:
    """Read a log: rows accepted and rejected with reasons, notes, noise before any law."""
    runs = log_of(log, None, column, unit)
    noise, lost = runs.noise(), _lost(runs)
    lines = [
        in_shell(repr(runs)).replace("in .rejected", "by --json"),
        *(f"  {n.severity}: {n.sentence}" for n in lost),
    ]
    if len(noise):
        lines += ["", "Noise before any law:", noise.to_string()]
    _show("\n".join(lines), as_json, lambda: {
        "accepted": runs.accepted, "rejected": _records(runs.rejected),
        "metrics": list(runs.metrics), "notes": _notes([*runs.notes, *lost]),
        "noise": _records(noise),
    })  # fmt: skip


@app.command()
def fit(
    log: Log,
    law: LawName = "compressed",
    metric: MetricName = None,
    by: By = None,
    option: Option = None,
    where: Where = None,
    column: Column = None,
    unit: Unit = None,
    delta: Annotated[str, typer.Option(help="auto, or Huber's corner as a number.")] = "auto",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Save the fit as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a figure (.png, .pdf, .svg).")] = None,
    as_json: Json = False,
) -> None:
    """Fit one law: parameters with intervals, certificate, notes."""
    from scaling_laws.candidates import check_factors
    from scaling_laws.fitting import fit as fit_law

    runs = log_of(log, where, column, unit)
    check_factors(runs, by or (), "--by")
    with _waiting("fitting"):
        found = fit_law(
            law_of(law, by, option), runs, metric,
            delta="auto" if delta == "auto" else number_of(delta, "--delta"), rng=seed,
        )  # fmt: skip
        text = repr(found)
    if out is not None:
        found.save(out)
    if plot is not None:
        from scaling_laws.plot import save_figure

        save_figure(found.plot(), plot)
    _show(text, as_json, lambda: _fit_plain(found))


@app.command()
def choose(
    log: Log,
    law: Annotated[list[str] | None, typer.Option(help="Candidate; repeat for several.")] = None,
    metric: MetricName = None,
    by: By = None,
    where: Where = None,
    column: Column = None,
    unit: Unit = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit several laws, forecast each level from easier ones, and weigh them."""
    from scaling_laws.candidates import admissible_forms, check_factors
    from scaling_laws.validation import choose as choose_among

    runs = log_of(log, where, column, unit)
    check_factors(runs, by or (), "--by")
    named = [law_of(name, by, None) for name in law or ()]
    candidates = named or admissible_forms(runs, by or (), metric)
    with _waiting("choosing"):
        found = choose_among(candidates, runs, metric, rng=seed)
        text = repr(found)
    _show(text, as_json, lambda: {
        "forms": _records(found.frame), "failed": dict(found.failed),
        "verdicts": [{"axis": v.axis, "kind": v.kind, "sentence": v.sentence}
                     for v in found.verdicts],
        "notes": _notes(found.notes),
    })  # fmt: skip


@app.command()
def backtest(
    logs: Annotated[list[Path], typer.Argument(help="Run logs: .csv, .tsv, .jsonl, .parquet")],
    law: Annotated[
        list[str] | None,
        typer.Option(help="Candidate; repeat for several. Default: what the axes admit."),
    ] = None,
    metric: MetricName = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column that splits a log in curves; repeat.")
    ] = None,
    axis: Annotated[str | None, typer.Option(help="Column that says what is hard.")] = None,
    leave: Annotated[int, typer.Option(help="Hardest levels held out of each curve.")] = 3,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    where: Where = None,
    column: Column = None,
    unit: Unit = None,
    seed: Seed = 0,
    plot: Annotated[Path | None, typer.Option(help="Save a figure (.png, .pdf, .svg).")] = None,
    as_json: Json = False,
) -> None:
    """Forecast the held-out hardest levels of every curve in each way there is."""
    from scaling_laws.backtesting import backtest as backtest_laws

    candidates = [law_of(name, None, None) for name in law] if law else None
    read = [log_of(log, where, column, unit) for log in logs]
    found = backtest_laws(
        candidates, read, metric, by=tuple(by or ()), axis=axis, leave=leave, level=level, rng=seed
    )
    if plot is not None:
        from scaling_laws.plot import save_figure

        save_figure(found.plot(), plot)
    _show(found, as_json, lambda: {
        "methods": _records(found.frame), "curves": _records(found.curves),
        "failed": _records(found.failed), "notes": _notes(found.notes),
    })  # fmt: skip


@app.command()
def predict(
    fit: Annotated[Path, typer.Argument(help="A fit saved by `fit --out`.")],
    at: Annotated[
        list[str] | None, typer.Option("--at", help="Point, such as examples=50000; repeat.")
    ] = None,
    interval: Annotated[str, typer.Option(help="mean, run or score.")] = "mean",
    level: Annotated[float, typer.Option(help="Of the interval.")] = 0.9,
    as_json: Json = False,
) -> None:
    """Predict from a saved fit; a value may be a list, as in examples=1000,10000."""
    from scaling_laws.saved import load

    check_share(level, "--level")
    found = load(fit)
    table = found.predict(points(at, "--at"), interval=interval, level=level)  # pyright: ignore[reportArgumentType]
    _show(table.to_string(index=False), as_json, lambda: {"predictions": table.to_dict("records")})
