"""The command ``scaling-laws decide``: a question and saved fits in, an answer out."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling_laws.cli_inputs import points

if TYPE_CHECKING:
    from scaling_laws.cost import Serving
    from scaling_laws.result import Fit

__all__ = ["decide"]


def decide(
    question: Annotated[str, typer.Argument(help="Such as smallest, labels_needed, half_point.")],
    fits: Annotated[
        list[Path], typer.Argument(help="Fits saved by `fit --out`: one, or one a metric.")
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
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Such as confidence=0.95; repeat.")
    ] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(help="Of the server, such as hardware=H100, tokens_out=4; repeat."),
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Whole model, such as Qwen3-32B.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a figure (.png, .pdf, .svg).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Answer a question from saved fits: which student, how many labels, where it breaks."""
    ask = _question(question)
    given: dict[str, Any] = {**points(at, "--at"), **points(option, "--option")}
    for name, texts in (("at_least", at_least), ("at_most", at_most)):
        if texts:
            given[name] = points(texts, f"--{name.replace('_', '-')}")
    if serving:
        given["serving"] = _serving(serving)
    if shape is not None:
        given["shape"] = shape
    _check(ask, question, given)
    found = ask(_fitted(fits), **given)
    if plot is not None:
        from scaling_laws.plot import save_figure

        save_figure(found.plot(), plot)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else found)


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


def _check(ask: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Refuse what the question does not take, and say what it still needs."""
    parameters = inspect.signature(ask).parameters
    takes_axes = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    extra = [k for k in given if k not in parameters]
    if extra and not takes_axes:
        raise ValueError(f"decide {name} takes no {extra[0]!r}; it takes {', '.join(parameters)}.")
    missing = [
        k for k, p in list(parameters.items())[1:]
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and k not in given
    ]  # fmt: skip
    if missing:
        raise ValueError(f"decide {name} needs {missing[0]!r}: --option {missing[0]}=...")


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
