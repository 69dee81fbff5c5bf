"""The command ``scaling-laws plot``: a run log in, a figure for print out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling_laws.cli_inputs import UNIT_HELP, check_share, law_of, log_of, points

if TYPE_CHECKING:
    from scaling_laws.laws import Law
    from scaling_laws.result import Fit
    from scaling_laws.runs import RunLog
    from scaling_laws.validation import Holdout

__all__ = ["plot"]


@dataclass(frozen=True)
class _Asked:
    """What the figure is of, and how it is to look."""

    runs: RunLog
    law: Law
    metric: str | None
    general: str | None
    against: str | None
    pair: str | None
    holdout: str | None
    leave: int
    at: Mapping[str, Any]
    target: float | None
    level: float
    width: float
    height: float | None
    seed: int

    def fit(self, metric: str | None = None) -> Fit:
        """Fit the law to the metric, or to another one."""
        from scaling_laws.fitting import fit

        return fit(self.law, self.runs, metric or self.metric, rng=self.seed)

    def held(self) -> Holdout:
        """Hold out the hardest levels."""
        from scaling_laws.validation import holdout

        return holdout(
            self.law, self.runs, self.metric, by=self.holdout, leave=self.leave, level=self.level,
            rng=self.seed,
        )  # fmt: skip

    def result(self) -> Fit | Holdout:
        """Hold out where that is asked, else fit all rows."""
        return self.fit() if self.holdout is None else self.held()

    def axes(self) -> Any:
        """Return Axes of the size asked for."""
        from scaling_laws.plot import blank

        return blank(self.width, self.height)

    def figure(self, wide: float, narrow: float) -> Any:
        """Return a Figure of the width asked for, so high in mm on a page or in a column."""
        from scaling_laws.plot import page

        usual = wide if self.width > 114.0 else narrow
        return page(self.width, self.height or usual)

    def teacher(self, metric: str) -> float | None:
        """Return the mean score of the log's teacher rows, which have no place in a law."""
        frame = self.runs.frame
        if "phase" not in frame.columns:
            return None
        scores = frame.loc[frame["phase"] == "teacher", metric].dropna()
        return float(scores.mean()) if len(scores) else None


def _curve(draw: Callable[..., Any]) -> Callable[[_Asked], Any]:
    def figure(asked: _Asked) -> Any:
        from scaling_laws.plot.parts import shown_of

        found = asked.result()
        teacher = asked.teacher(shown_of(found).base.metric.name)
        return draw(found, asked.axes(), at=asked.at, level=asked.level, teacher=teacher)

    return figure


def _contours(asked: _Asked) -> Any:
    from scaling_laws.plot import contours

    return contours(
        asked.result(), asked.axes(), at=asked.at, target=asked.target, level=asked.level
    )


def _residuals(asked: _Asked) -> Any:
    from scaling_laws.plot import residuals

    return residuals(asked.fit(), asked.figure(68.0, 170.0))


def _parameters(asked: _Asked) -> Any:
    from scaling_laws.plot import page, parameters

    figure = None if asked.height is None else page(asked.width, asked.height)
    return parameters(asked.fit(), figure, level=asked.level, width=asked.width)


def _likelihood(asked: _Asked) -> Any:
    from scaling_laws.plot import likelihood

    names = None if asked.pair is None else asked.pair.split(",")
    return likelihood(asked.fit(), names, asked.axes())


def _holdout(asked: _Asked) -> Any:
    from scaling_laws.plot import holdout

    return holdout(asked.held(), asked.figure(68.0, 110.0))


def _divergence(asked: _Asked) -> Any:
    from scaling_laws.plot import divergence

    if asked.general is None:
        raise ValueError("--kind divergence: name the general score with --general, such as mmlu.")
    return divergence(asked.fit(), asked.fit(asked.general), asked.figure(76.0, 130.0),
                      at=asked.at, level=asked.level)  # fmt: skip


def _difference(asked: _Asked) -> Any:
    from scaling_laws.plot import format_difference

    first, comma, second = (asked.against or "").partition(",")
    if not comma:
        raise ValueError("--kind format_difference: name two with --formats, such as cot,label.")
    return format_difference(
        asked.fit(), first, second, asked.axes(), at=asked.at, level=asked.level
    )


def _kinds() -> dict[str, Callable[[_Asked], Any]]:
    from scaling_laws.plot import degradation, learning_curve

    return {
        "degradation": _curve(degradation), "learning_curve": _curve(learning_curve),
        "contours": _contours, "residuals": _residuals, "parameters": _parameters,
        "likelihood": _likelihood, "holdout": _holdout, "divergence": _divergence,
        "format_difference": _difference,
    }  # fmt: skip


def plot(
    log: Annotated[Path, typer.Argument(help="Run log: .csv, .tsv, .jsonl, .parquet")],
    out: Annotated[Path, typer.Option(help="The figure: .pdf, .png or .svg.")],
    kind: Annotated[
        str,
        typer.Option(
            help="degradation, learning_curve, contours, residuals, parameters, likelihood, "
            "holdout, divergence or format_difference."
        ),
    ] = "degradation",
    law: Annotated[str, typer.Option(help="A law, such as compressed, power.")] = "compressed",
    metric: Annotated[str | None, typer.Option(help="Score; not needed with only one.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="Factor column; repeat.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Of the law, such as size=params.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Other axes and factors, such as examples=6000,400000."),
    ] = None,
    general: Annotated[str | None, typer.Option(help="Second score of a divergence.")] = None,
    formats: Annotated[str | None, typer.Option(help="Two levels, such as cot,label.")] = None,
    pair: Annotated[str | None, typer.Option(help="Two parameters, such as b,g.")] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Hold out the hardest levels of this column.")
    ] = None,
    leave: Annotated[int, typer.Option(help="How many levels to hold out.")] = 1,
    target: Annotated[float | None, typer.Option(help="Score to mark in contours.")] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    width: Annotated[float, typer.Option(help="Of the figure, mm: 85 column, 170 page.")] = 170.0,
    height: Annotated[float | None, typer.Option(help="Of the figure, mm.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Rows, such as format=label.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Where a field comes from, examples=D.")
    ] = None,
    unit: Annotated[list[str] | None, typer.Option("--unit", help=UNIT_HELP)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit a law to a log and save a figure, at the size of print."""
    from scaling_laws.plot import save_figure

    kinds = _kinds()
    word = kind.replace("-", "_")
    if word not in kinds:
        close = get_close_matches(word, kinds, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"--kind {kind!r} is no figure.{hint} There are {', '.join(kinds)}.")
    check_share(level, "--level")
    if not width >= 40 or (height is not None and not height >= 30):
        raise ValueError(f"--width {width:g}, --height {height}: a figure needs 40 x 30 mm.")
    asked = _Asked(
        log_of(log, where, column, unit), law_of(law, by, option), metric, general, formats, pair,
        holdout, leave, points(at, "--at"), target, level, width, height, seed,
    )  # fmt: skip
    save_figure(kinds[word](asked), out)
    print(json.dumps({"kind": word, "written": str(out)}) if as_json else f"Written: {out}")
