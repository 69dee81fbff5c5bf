"""How the demo on real runs is printed and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from scaling_laws.demo_rows import GENERAL, METRICS, TASK, places
from scaling_laws.show import number
from scaling_laws.show_validation import held_words
from scaling_laws.wrapping import indented, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scaling_laws.demo import Demo
    from scaling_laws.validation import Choice

__all__ = ["draw", "lines"]

_TITLES = {
    TASK: "Skill at the task",
    GENERAL: "General knowledge",
    METRICS[2]: "Distance to the base model",
}
# Columns of the labels.
_ROOM, _WIDE = 12, 22
# So few rows inside their intervals, or fewer, are no accident.
_RARE = 0.05


def lines(demo: Demo) -> Iterator[str]:
    """Yield the text of the demo."""
    yield "What pruning and distillation cost in skill: real runs of SmolLM2-135M-Instruct"
    yield from _rows(demo)
    yield from ("", "1. Laws of examples x fraction kept x format")
    for metric, choice in demo.choices.items():
        yield from _law(demo, metric, choice)
    asked = sorted({f"{at['examples']:,.0f}" for at in places(demo.students)})
    where = f"at {' or '.join(asked)} examples" if asked else ""
    if demo.choices:
        yield from ("", f"2. One new training run (90 %) {where}")
        yield from _predictions(demo)
    yield from ("", f"3. Where is half of the skill lost, {where}? Of {GENERAL} above guessing")
    for (metric, format), found in demo.halves.items():
        yield from wrapped(f"{metric}, {format}", found.answer, _WIDE)
    yield from ("", f"4. Which skill goes first, {where}?")
    for format, found in demo.gaps.items():
        yield from wrapped(format, found.answer, _ROOM)
    yield from ("", "5. What were the laws worth? The hardest runs, forecast from the others")
    for (metric, axis), held in demo.held.items():
        yield from wrapped(f"{metric}, {axis}", held_words(held), _WIDE)
    yield from ("", "6. What these rows do not fix")
    for sentence in _not_fixed(demo):
        yield from wrapped("-", sentence, 2)


def _rows(demo: Demo) -> Iterator[str]:
    yield from wrapped("task", "which of 35 events a synthetic headline reports", _ROOM)
    yield from wrapped(
        "general", "a quiz of four options, and the distance to the base model on general text "
        "(general_kl, nats a token)", _ROOM,
    )  # fmt: skip
    yield from wrapped("source", "this project's runs, experiments/README.md", _ROOM)
    frame = demo.students.frame
    said = f"{len(demo.log)} in {demo.log.source}, {len(frame)} of them fitted: distilled students"
    if len(frame):
        levels = [_levels(frame, name) for name in ("kept", "examples", "format")]
        said += (
            f" in {frame['chain_id'].nunique()} chains; kept {levels[0]}; examples {levels[1]}; "
            f"format {levels[2]}"
        )
    yield from wrapped("rows", said, _ROOM)
    yield from wrapped("not fitted", _left_out(demo), _ROOM)
    teachers = demo.log.frame[demo.log.frame["phase"] == "teacher"].drop_duplicates("format")
    known = [m for m in METRICS if m in teachers]
    scores = (
        f"{row['format']}: " + ", ".join(f"{m} {number(float(row[m]))}" for m in known)
        for row in teachers.to_dict("records")
    )
    yield from wrapped("teacher", "; ".join(scores) or "no row", _ROOM)


def _levels(frame: pd.DataFrame, name: str) -> str:
    values = sorted(frame[name].unique())
    return ", ".join(
        v if isinstance(v, str) else f"{v:,.3g}" if v < 1 else f"{v:,.0f}" for v in values
    )


def _left_out(demo: Demo) -> str:
    """Say which rows are not fitted, and why not."""
    frame = demo.log.frame
    rest = frame[~frame["run_id"].isin(demo.students.frame["run_id"])]
    count = rest["phase"].value_counts()
    why = {
        "teacher": "of the teacher, which stands in every chain",
        "pruned": "of students before they are taught",
        "distilled": "of students that differ from the grid in something else",
    }
    return "; ".join(f"{count[k]} {words}" for k, words in why.items() if k in count) or "none"


def _law(demo: Demo, metric: str, choice: Choice) -> Iterator[str]:
    """Yield what the rows say of one metric: forms, verdicts, the noise of a run."""
    yield from wrapped(metric, f"{choice.best.metric.meaning}; {choice.best.problem.n} rows", _ROOM)
    shares = choice.forecast.weights.sort_values(ascending=False)
    mixed = [f"{_form(choice, str(k))} {w:.2f}" for k, w in shares.items() if w >= 0.005]
    yield from wrapped("  forms", f"{', '.join(mixed)}, of {len(shares)} tried", _ROOM)
    for one in choice.verdicts:
        yield from wrapped(f"  {one.axis}", str(one), _ROOM)
    noise = demo.students.noise(metric, by=["format", "examples", "kept"])
    for row in noise[(noise["source"] == "seed") & noise["sd"].notna()].to_dict("records"):
        scale = " of its logarithm" if choice.best.metric.link == "log" else ""
        said = f"sd{scale} {number(float(row['sd']))} {row['sentence']}"
        yield from wrapped("  one run", said, _ROOM)


def _form(choice: Choice, label: str) -> str:
    law = choice.fits[label].law
    own = [name for name, shared in law.share.items() if not shared]
    split = f"({', '.join(own)} by {', '.join(law.by)})" if own else ""
    return " ".join(str(w) for w in (law.options.get("kind", ""), law.name, split) if w)


def _predictions(demo: Demo) -> Iterator[str]:
    table = demo.predictions
    shown = pd.DataFrame(
        {
            "format": table["format"],
            "examples": [f"{n:,.0f}" for n in table["examples"]],
            "kept": [f"{k:.2f}" for k in table["kept"]],
        }
    )
    for metric in demo.choices:
        cells = zip(*(table[f"{metric}{end}"] for end in ("", "_low", "_high")), strict=True)
        bounded = demo.choices[metric].best.metric.top is not None
        shown[metric] = ["{} [{}, {}]".format(*(_score(v, bounded) for v in c)) for c in cells]
    shown["support"] = table["support"]
    yield from indented(shown.to_string(index=False))


def _score(value: float, bounded: bool) -> str:
    """Return a score; of one between 0 and 1 the digits after the third say nothing."""
    return f"{value:.3f}" if bounded and np.isfinite(value) else number(value)


def _not_fixed(demo: Demo) -> Iterator[str]:
    """Yield what could not be answered, then what the fits warn of, each sentence once."""
    said: dict[str, list[str]] = {}
    for name, why in demo.undecided.items():
        said.setdefault(why, []).append(name)
    for metric, choice in demo.choices.items():
        for note in choice.notes:
            if note.severity == "warning" and note.code != "verdict":
                said.setdefault(note.sentence, []).append(metric)
    for sentence, names in said.items():
        yield f"{', '.join(names)}: {sentence}"
    for (metric, axis), held in demo.held.items():
        n, inside = len(held.frame), int(held.frame["covered"].sum())
        if bdtr(inside, n, held.level) < _RARE:
            yield (
                f"{metric} beyond the {axis} seen: {inside} of {n} held-out rows inside "
                f"{100 * held.level:g} % intervals; do not rely on a forecast there."
            )
    frame = demo.students.frame
    if not len(frame):
        return
    if not frame.duplicated(["format", "examples", "kept"]).any():
        yield "The noise of a run: no configuration was run with a second seed."
    largest = float(frame["kept"].max())
    if largest < 1:
        yield (
            f"The whole model: no student keeps more than {largest:.2f}; shares of a skill are of "
            "what the laws say at kept 1, beyond them."
        )


def draw(demo: Demo) -> Figure:
    """Draw the task and general knowledge against what is kept; half points with their interval."""
    from matplotlib.figure import Figure

    from scaling_laws.plot import degradation

    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    shown = [m for m in (TASK, GENERAL) if m in demo.choices] or list(demo.choices)
    asked = {at["format"]: at["examples"] for at in places(demo.students)}
    for ax, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        choice, most = demo.choices[metric], max(asked.values())
        by_data = "examples" in {a.name for a in choice.best.law.axis_list()}
        degradation(choice.forecast, ax, at={"examples": most} if by_data else None, run=False,
                    teacher=_teacher(demo, metric))  # fmt: skip
        marked = [
            _mark_half(ax, demo, metric, {"format": f, "examples": most})
            for f, n in asked.items() if n == most
        ]  # fmt: skip
        _title(ax, f"{_TITLES[metric]}, {most:,.0f} examples", any(marked))
    return figure


def _title(ax: Any, words: str, marked: bool) -> None:
    """Write a title over the legend, and say there what the marks are."""
    from matplotlib.lines import Line2D

    from scaling_laws.plot.style import GREY, legend_above

    legend = ax.get_legend()
    handles, texts = list(legend.legend_handles), [t.get_text() for t in legend.get_texts()]
    for handle, text in zip(handles, texts, strict=True):
        handle.set_label(text)
    if marked:
        handles.append(Line2D([], [], color=GREY, linewidth=3.0, label="half lost, 90 %"))
    legend_above(ax, handles, words)
    ax.get_legend().set_title(words, prop={"size": "medium"})


def _teacher(demo: Demo, metric: str) -> float | None:
    """Return the teacher's score, where it is one for all formats."""
    frame = demo.log.frame
    scores = frame.loc[frame["phase"] == "teacher", metric].dropna().unique()
    return float(scores[0]) if len(scores) == 1 else None


def _mark_half(ax: Any, demo: Demo, metric: str, at: dict[str, Any]) -> bool:
    """Mark where half of the skill is lost, in the colour of the format; return whether it is."""
    from scaling_laws.plot.curves import looks_of
    from scaling_laws.plot.parts import lines_of

    found, choice = demo.halves.get((metric, at["format"])), demo.choices[metric]
    if found is None or not found.found:
        return False
    base = choice.best
    drawn = lines_of(base, "kept", None, 1)
    looks = dict(zip((line.get("format", at["format"]) for line in drawn),
                     looks_of(drawn, base.law.by), strict=True))  # fmt: skip
    colour, v = looks[at["format"]][0], found.values
    whole = choice.forecast.predict({**at, "kept": 1.0}, None)["estimate"].iloc[0]
    half = 0.5 * ((base.metric.floor or 0.0) + float(whole))
    # A low end of 0 says that some curves never lose half: the line goes on to the edge.
    ends = max(v["low"], ax.get_xlim()[0]), v["high"]
    ax.plot(ends, (half, half), color=colour, linewidth=3.0, solid_capstyle="butt", zorder=5)
    ax.plot(v["kept"], half, "|", markersize=11, markeredgewidth=2.0, color=colour, zorder=6)
    return True
