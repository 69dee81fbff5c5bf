"""The main job on published points, without network: fit, check, hold out, predict, draw.

Two cases. F1 against examples and model size: nine points with standard errors of .02 to .05,
enough for a law with wide intervals. MMLU against the fraction kept: five points that fix where the
score is half lost, and say nothing of how steeply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.fitting import fit
from scaling_laws.laws import Collapse, Compressed
from scaling_laws.presets import POINTS, load_points
from scaling_laws.show import number
from scaling_laws.validation import Holdout, holdout
from scaling_laws.wrapping import wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scaling_laws.result import Fit

__all__ = ["Published", "run_published"]

LARGEST = 8.03e9


@dataclass(frozen=True)
class Published:
    """Everything the demo shows.

    Attributes
    ----------
    headlines : Fit
        F1 of nine tuned Llama students.
    held : Holdout
        The same law, the largest data set held out.
    distilled, pruned : Fit
        MMLU of pruned Qwen3-8B students after and before distillation.
    """

    headlines: Fit
    held: Holdout
    distilled: Fit
    pruned: Fit

    def text(self) -> str:
        """Return the demo as text."""
        return "\n".join([*_headline_lines(self), "", *_collapse_lines(self)])

    def save(self, folder: str | Path) -> list[Path]:
        """Write the text, both figures, both tables of predictions, and the fits."""
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        (out / "demo.txt").write_text(self.text() + "\n", encoding="utf-8")
        made = [out / "demo.txt", self.figure(out / "demo.png")]
        _examples_table(self.headlines).to_csv(out / "headlines.csv", index=False)
        made.append(out / "headlines.csv")
        made.append(self.headlines.save(out / "headlines.json"))
        made.append(self.distilled.save(out / "collapse.json"))
        return made

    def figure(self, path: Path) -> Path:
        """Draw both cases and save them."""
        from scaling_laws.plot import save_figure

        save_figure(self.plot().axes[0], path)
        return path

    def plot(self) -> Figure:
        """Draw both cases side by side."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11.5, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        self.headlines.plot(left, run=False)
        # The legend stands where a title would.
        left.get_legend().set_title("More labels or a larger student?", prop={"size": "medium"})
        left.set_ylim(0.3, 1.0)
        self.distilled.plot(right, run=False)
        right.set_title("Half of MMLU's skill is gone at a known size;\nhow steeply is not known",
                        loc="left", fontsize="medium")  # fmt: skip
        half = _half_point(self.distilled)
        right.axvspan(half["low"], half["high"], color="#D55E00", alpha=0.18, linewidth=0)
        right.annotate(
            f"half lost at {half['estimate']:.2f}\n({half['low']:.2f} to {half['high']:.2f})",
            (half["estimate"], 0.30), ha="left", fontsize="small", color="#D55E00",
            xytext=(6, 0), textcoords="offset points",
        )  # fmt: skip
        return figure


def run_published() -> Published:
    """Fit both cases."""
    law = Compressed("multiplicative", size="params", full=LARGEST)
    headlines = load_points("headline-f1")
    qwen = load_points("qwen3-8b-pruned")
    whole_and = {
        phase: qwen.frame[qwen.frame["phase"].isin(["teacher", phase])].assign(phase=phase)
        for phase in ("distilled", "pruned")
    }
    return Published(
        headlines=fit(law, headlines, "task_f1"),
        held=holdout(law, headlines, "task_f1", by="examples", leave=1),
        distilled=fit(Collapse(), whole_and["distilled"], "mmlu"),
        pruned=fit(Collapse(), whole_and["pruned"], "mmlu"),
    )


def _half_point(one: Fit) -> dict[str, float]:
    """Return estimate, low and high of the half-collapse point."""
    row = one.derived[["estimate", "low", "high"]].to_dict("index")["half_point"]
    return {str(k): float(v) for k, v in row.items()}


def _examples_table(fitted: Fit) -> pd.DataFrame:
    """Predictions for a new run of each size, inside and beyond the data."""
    sizes = sorted(fitted.problem.frame["params"].unique())
    points = pd.DataFrame([(p, n) for p in sizes for n in (5_000, 25_000, 100_000)],
                          columns=["params", "examples"])  # fmt: skip
    return fitted.predict(points, interval="run")


def _headline_lines(demo: Published) -> Iterator[str]:
    about = POINTS["headline-f1"]
    yield "1. How good is a student on its job? F1 against examples and parameters"
    yield from wrapped("source", about.source)
    yield from wrapped("about", about.about)
    yield ""
    yield repr(demo.headlines)
    yield ""
    yield "One new training run (90 %):"
    yield from _prediction_lines(_examples_table(demo.headlines))
    yield ""
    yield repr(demo.held)
    yield ""
    yield "What these points cannot tell:"
    for sentence in (
        "Whether labels or training steps raise F1: every run had the same number of epochs, so "
        "both grow together.",
        "Anything about pruned students: the three sizes are three pretrained models.",
        "The ceiling: with 100 evaluation items, .95 and 1.00 are two standard errors apart.",
    ):
        yield from wrapped("-", sentence, 2)


def _prediction_lines(table: pd.DataFrame) -> Iterator[str]:
    yield f"  {'parameters':>10} {'examples':>9} {'F1':>6}   {'interval':<15} support"
    for row in table.to_dict("records"):
        ends = f"{row['low']:.3f} - {row['high']:.3f}"
        yield (
            f"  {row['params'] / 1e9:>9.2f}B {row['examples']:>9,.0f} {row['estimate']:>6.3f}   "
            f"{ends:<15} {row['support']}"
        )


def _collapse_lines(demo: Published) -> Iterator[str]:
    about = POINTS["qwen3-8b-pruned"]
    yield "2. When does general knowledge collapse? MMLU against the fraction kept"
    yield from wrapped("source", about.source)
    yield from wrapped("about", about.about)
    yield ""
    yield repr(demo.distilled)
    yield ""
    for words, one in (("After", demo.distilled), ("Before", demo.pruned)):
        half = _half_point(one)
        s = one.parameters.loc["s"]
        loose = any(n.code == "not_identified" and n.sentence.startswith("s ") for n in one.notes)
        steep = (
            f"not identified, {s['low']:.3g} or more"
            if loose
            else f"{s['estimate']:.3g} ({s['low']:.3g} to {s['high']:.3g})"
        )
        yield from wrapped(
            words,
            f"distillation half of the skill above guessing is lost at "
            f"{number(half['estimate'])} kept ({number(half['low'])} to "
            f"{number(half['high'])}); steepness {steep}.",
        )
    yield ""
    yield "What these points cannot tell:"
    for sentence in (
        "How steep the collapse is: only one size lies on the slope, so any steepness above the "
        "lower end fits. Add sizes between .67 and .81.",
        "What happens below .67: the law says guessing, no point does.",
        "Run-to-run noise: one student a size.",
    ):
        yield from wrapped("-", sentence, 2)
