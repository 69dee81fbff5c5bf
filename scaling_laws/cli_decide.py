"""The command ``scaling-laws decide``: a question and fits or a log in, an answer out."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling_laws.cli_inputs import UNIT_HELP, log_of, points, pruning_of, steps, table_in

if TYPE_CHECKING:
    from scaling_laws.cost import Serving
    from scaling_laws.forecast import Forecast
    from scaling_laws.result import Fit
    from scaling_laws.runs import RunLog

__all__ = ["decide"]

# What questions take that no name=value says, and where it is given.
_ELSEWHERE = {
    "candidates": "--candidates FILE", "runs": "--candidates FILE",
    "question": "--at, the point whose score is asked, such as --at kept=0.37",
    "at_least": "--at-least task_f1=0.8", "at_most": "--at-most loss=2.1",
    "serving": "--serving hardware=H100", "shape": "--shape Qwen3-32B",
    "pruning": "--pruning split=depth",
}  # fmt: skip
# No text says them.
_IN_PYTHON = ("bills",)
_WHOLE = ("n", "repeats", "rng")


def decide(
    question: Annotated[str, typer.Argument(help="Such as smallest, labels_needed, half_point.")],
    source: Annotated[
        list[Path],
        typer.Argument(
            help="Fits saved by `fit --out`, one or one a metric; or one log, whose forms are "
            "chosen among first."
        ),
    ],
    at_least: Annotated[
        list[str] | None, typer.Option("--at-least", help="Target, such as task_f1=0.8; repeat.")
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option("--at-most", help="Target of a loss; repeat.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Axis or factor, such as kept=0.58,0.37; repeat."),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="A row a student or run, .csv, .jsonl or .parquet: for smallest, pareto, "
            "next_runs; for surprise the new runs."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Such as confidence=0.95; repeat.")
    ] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(help="Of the server, such as hardware=H100, tokens_out=4; repeat."),
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Whole model, such as Qwen3-32B.")] = None,
    pruning: Annotated[
        list[str] | None,
        typer.Option(help="How it is cut: kept_of=, split=, rounding.ffn=128; repeat."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Of a log: score. Default: those of the targets.")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="Of a log: factor column; repeat.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Of a log: rows to use, such as format=label.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Of a log: where a field comes from.")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", help=f"Of a log: {UNIT_HELP[0].lower()}{UNIT_HELP[1:]}"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of a log: seed of draws and starts.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a figure (.png, .pdf, .svg).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Answer a question from fits or a log: which student, how many labels, where it breaks."""
    ask = _question(question)
    given = _given(ask, question, at, option, candidates)
    for name, texts in (("at_least", at_least), ("at_most", at_most)):
        if texts:
            given[name] = points(texts, f"--{name.replace('_', '-')}")
    given |= _priced(ask, serving, shape, pruning)
    _check(ask, question, given)
    of_log = {
        "metric": metric,
        "by": by,
        "where": where,
        "column": column,
        "unit": unit,
        "seed": seed,
    }
    if any(_is_fit(path) for path in source):
        unread = next((k for k, v in of_log.items() if v is not None), None)
        if unread is not None:
            raise ValueError(f"--{unread} is said of a log, and a saved fit is given; drop it.")
        fitted = _fitted(source)
    else:
        wanted = metric or [*given.get("at_least", {}), *given.get("at_most", {})]
        fitted = _forecast(_one_log(source, where, column, unit), wanted, by or (), seed or 0)
    found = ask(fitted, **given)
    if plot is not None:
        from scaling_laws.plot import save_figure

        save_figure(found.plot(), plot)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else found)


# --- the question ---------------------------------------------------------------------------------
def _questions() -> Mapping[str, Callable[..., Any]]:
    """Return the questions that ask nothing but fits and plain values."""
    from scaling_laws import decide as room

    out: dict[str, Callable[..., Any]] = {}
    for name in room.__all__:
        ask = getattr(room, name)
        if inspect.isfunction(ask) and next(iter(inspect.signature(ask).parameters)) == "fitted":
            out[name] = ask
    return out


def _question(name: str) -> Callable[..., Any]:
    known = _questions()
    word = name.replace("-", "_")
    if word not in known:
        close = get_close_matches(word, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"decide {name!r} is no question.{hint} There are {', '.join(known)}.")
    return known[word]


def _given(
    ask: Callable[..., Any],
    name: str,
    at: Sequence[str] | None,
    option: Sequence[str] | None,
    candidates: Path | None,
) -> dict[str, Any]:
    """Return the arguments that are a point, plain values or a table."""
    parameters = inspect.signature(ask).parameters
    point = points(at, "--at")
    # Where a point is asked about, it is the axes' values.
    given: dict[str, Any] = {"question": point} if point and "question" in parameters else point
    for key, value in points(option, "--option").items():
        if key in parameters and key in _ELSEWHERE:
            raise ValueError(f"--option {key}: write {_ELSEWHERE[key]}.")
        if key in parameters and key in _IN_PYTHON:
            raise ValueError(f"--option {key}: no text says it; ask sl.decide.{name} in Python.")
        given[key] = value
        if key in _WHOLE and key in parameters:
            given[key] = _whole(key, value)
        elif key in parameters and str(parameters[key].annotation).startswith("Sequence["):
            given[key] = value if isinstance(value, list) else [value]
    if candidates is not None:
        if "runs" in parameters:
            given["runs"] = candidates
        elif "candidates" in parameters:
            given["candidates"] = table_in(candidates)
        else:
            raise ValueError(f"decide {name} takes no --candidates.")
    return given


def _whole(name: str, value: Any) -> int:
    if not (isinstance(value, float) and value.is_integer()):
        raise ValueError(f"--option {name}={value}: {value!r} is no whole number.")
    return int(value)


def _check(ask: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Refuse what the question does not take, and say what it still needs."""
    parameters = inspect.signature(ask).parameters
    takes_axes = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    extra = [k for k in given if k not in parameters]
    if extra and (not takes_axes or extra[0] in _ELSEWHERE):
        takes = [k for k in list(parameters)[1:] if k not in _IN_PYTHON]
        raise ValueError(f"decide {name} takes no {extra[0]!r}; it takes {', '.join(takes)}.")
    missing = [
        k for k, p in list(parameters.items())[1:]
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and k not in given
    ]  # fmt: skip
    if missing:
        how = _ELSEWHERE.get(missing[0], f"--option {missing[0]}=...")
        raise ValueError(f"decide {name} needs {missing[0]!r}: {how}.")


# --- students at a price --------------------------------------------------------------------------
def _priced(
    ask: Callable[..., Any],
    serving: Sequence[str] | None,
    shape: str | None,
    pruning: Sequence[str] | None,
) -> dict[str, Any]:
    """Return what prices students: a server, the whole model, and how it is cut."""
    out: dict[str, Any] = {}
    if serving:
        out["serving"] = _serving(serving)
    if shape is not None:
        out["shape"] = shape
    if pruning:
        out["pruning"] = pruning_of(pruning)
        if "shape" in inspect.signature(ask).parameters and not (serving and shape):
            raise ValueError(
                "--pruning says how a model is cut that is served: give --serving and --shape too."
            )
    return out


def _serving(texts: Sequence[str]) -> Serving:
    from scaling_laws.cost import Serving

    given = points(texts, "--serving")
    hardware = given.pop("hardware", "H100")
    known = [k for k in inspect.signature(Serving).parameters if k != "hardware"]
    for name in given:
        if name not in known:
            raise ValueError(f"--serving {name}: there are hardware, {', '.join(known)}.")
    whole = ("replicas", "gpus", "weight_bits", "kv_bits", "max_batch")
    given |= {k: int(given[k]) for k in whole if k in given}
    return Serving(hardware, **given)


# --- fits or a log --------------------------------------------------------------------------------
def _is_fit(path: Path) -> bool:
    """Return whether a file is a fit, whole or not; other JSON is the log of some tool."""
    if path.suffix.lower() != ".json" or path.is_dir():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return True
    return isinstance(content, dict) and "format" in content and "fit" in content


def _one_log(
    paths: Sequence[Path],
    where: Sequence[str] | None,
    column: Sequence[str] | None,
    unit: Sequence[str] | None,
) -> RunLog:
    if len(paths) > 1:
        raise ValueError(f"{paths[1]}: one log is asked; write the runs in one file or folder.")
    return log_of(paths[0], where, column, unit)


def _forecast(
    runs: RunLog, metrics: Sequence[str], by: Sequence[str], seed: int
) -> Forecast | dict[str, Forecast]:
    """Choose among every form of the log's axes, for each metric."""
    from scaling_laws.candidates import admissible_forms, check_factors
    from scaling_laws.validation import choose

    check_factors(runs, by, "--by")
    wanted = list(dict.fromkeys(metrics)) or list(runs.metrics)
    if not metrics and len(wanted) > 1:
        raise ValueError(
            f"the log has {', '.join(wanted)}: write --metric {wanted[0]}, or several times."
        )
    found: dict[str, Forecast] = {}
    with steps() as tell:
        for name in wanted:
            if name not in runs.metrics:
                raise ValueError(
                    f"the log has no scores of {name!r}; it has {', '.join(runs.metrics)}."
                )
            tell(f"choosing for {name}")
            forms = admissible_forms(runs, by, name)
            found[name] = choose(forms, runs, name, rng=seed).forecast
    return found if len(found) > 1 else next(iter(found.values()))


def _fitted(paths: Sequence[Path]) -> Fit | dict[str, Fit]:
    from scaling_laws.saved import load

    fits = [load(path) for path in paths]
    if len(fits) == 1:
        return fits[0]
    names = [one.metric.name for one in fits]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise ValueError(f"two of the fits are of {twice[0]}; give one a metric.")
    return dict(zip(names, fits, strict=True))
