"""Figures of a report, as SVG that stands in the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.plot.parts import level_of
from scaling_laws.plot.style import (
    axes_of,
    legend_above,
    level_looks,
    plain_log_axis,
    text_of,
    tidy,
)
from scaling_laws.reporting.alone import predicted
from scaling_laws.reporting.extent import Scale
from scaling_laws.reporting.findings import Outcome
from scaling_laws.reporting.markup import in_words

__all__ = ["SMALL", "curves", "inline"]

# Inches: text of the usual size can be read in half of the page's width.
SMALL = (5.2, 3.5)
_POINTS = 80
# With more lines the intervals of a new run would hide each other.
_MOST_RUN_BANDS = 4
_TAG = re.compile(r"<[^<>]+>")
_ID = re.compile(r'(\bid="|url\(#|href="#)')


def inline(ax: Any, name: str) -> str:
    """Return the figure that holds the Axes as an SVG element; its ids begin with `name`.

    Text stays text. What matplotlib would load or say about itself is left out.
    """
    import matplotlib

    drawing: Any = matplotlib  # its stubs are partial
    out = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with (
        drawing.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}),
        warnings.catch_warnings(),
    ):
        # Browsers have glyphs that the font of the layout lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = ax.get_figure(root=True)
        figure.patch.set_alpha(0.0)
        figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Its one rule would hold for the whole page; `page.css` says it of figures.
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    return _TAG.sub(lambda tag: _ID.sub(rf"\g<1>{name}-", tag.group()), text)


def curves(one: Outcome, axis: Scale, point: Mapping[str, Any], level: float) -> Any:
    """Draw the forecast along an axis, one line for levels that have runs, at a point else.

    Dark: the interval of the curve; light: that of one new run, with few lines. Markers are runs of
    the log at this very point.
    """
    ax = axes_of(None)
    ax.get_figure(root=True).set_size_inches(*SMALL)
    known = one.extent.combinations
    differing = [name for name in one.extent.factors if known[name].nunique() > 1]
    looks = level_looks(one.choice.best.model.levels)
    xs = np.clip(np.geomspace(axis.low, axis.high, _POINTS), axis.low, axis.high)
    frame = one.choice.best.problem.frame
    fixed = {k: v for k, v in point.items() if k != axis.name and k not in known}
    for _, levels in known.iterrows():
        own = {str(name): str(level) for name, level in levels.items()}
        colour, marker = looks[level_of(own, list(own))]
        lines = pd.DataFrame({axis.name: xs, **fixed, **own})
        read = predicted(one.forecast, lines, level)
        if "low" in read:
            if len(known) <= _MOST_RUN_BANDS:
                ax.fill_between(
                    xs, read["run_low"], read["run_high"], color=colour, alpha=0.1, lw=0
                )
            ax.fill_between(xs, read["low"], read["high"], color=colour, alpha=0.25, lw=0)
        inside = (xs >= axis.seen[0]) & (xs <= axis.seen[1])
        ax.plot(xs, read["estimate"], color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
        ax.plot(xs[inside], read["estimate"][inside], color=colour, linewidth=1.8)
        here = np.ones(len(frame), bool)
        for name, value in {**fixed, **own}.items():
            same = frame[name].astype(str) == value if isinstance(value, str) else np.isclose(
                frame[name].to_numpy(dtype=float), value)  # fmt: skip
            here &= np.asarray(same, bool)
        ax.plot(frame[axis.name][here], frame[one.metric.name][here], linestyle="none",
                marker=marker, color=colour, markeredgecolor="white", markeredgewidth=0.6,
                label=text_of(", ".join(own[n] for n in differing)) or "runs")  # fmt: skip
    ax.axvspan(*axis.seen, color="#000000", alpha=0.04, linewidth=0, zorder=0)
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis, axis.low, axis.high)
    ax.set_xlim(axis.low, axis.high)
    ax.set_xlabel(text_of(in_words(axis.name)))
    ax.set_ylabel(text_of(one.metric.meaning or one.metric.name))
    height = legend_above(ax, ax.get_legend_handles_labels()[0], ", ".join(differing))
    # A long legend takes nothing from the axes.
    ax.get_figure(root=True).set_size_inches(SMALL[0], SMALL[1] + height / 72.0)
    tidy(ax)
    return ax
