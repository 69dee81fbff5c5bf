"""An answer under other choices, and without single units, as figures."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scaling_laws.plot.style import COLOURS, axes_of, tidy

if TYPE_CHECKING:
    from scaling_laws.sensitivity import Ends, Influence, Sensitivity

__all__ = ["plot_influence", "plot_sensitivity"]

# Units drawn.
_MOST = 12
# Columns of a label before it is wrapped.
_LABEL = 30


def plot_sensitivity(found: Sensitivity, ax: Any = None) -> Any:
    """Draw the answer under each choice beside its interval as fitted."""
    answers = found.frame["answer"].dropna()
    return _answers(answers, float(answers.iloc[0]), found.interval, found.level, ax)


def plot_influence(found: Influence, ax: Any = None) -> Any:
    """Draw the answer without each of the units that move it most, most on top."""
    table = found.frame.head(_MOST)
    answers = pd.Series(
        table["answer"].to_numpy(dtype=float), index=[f"without {w}" for w in table["which"]]
    )
    return _answers(answers, found.answer, found.interval, found.level, ax)


def _answers(
    answers: pd.Series[float], base: float, interval: Ends | None, level: float, ax: Any
) -> Any:
    ax = axes_of(ax)
    at = np.arange(len(answers))
    if interval is not None:
        ax.axvspan(*interval, color=COLOURS[0], alpha=0.15, linewidth=0,
                   label=f"{100 * level:g} % interval as fitted")  # fmt: skip
        ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0))
    ax.axvline(base, color=COLOURS[0], linewidth=0.8)
    ax.plot(answers.to_numpy(dtype=float), at, marker="o", linestyle="none", color=COLOURS[1])
    labels = [fill(str(word).replace("$", r"\$"), _LABEL) for word in answers.index]
    ax.set_yticks(at, labels, fontsize="small")
    ax.invert_yaxis()
    ax.set_xlabel("answer")
    tidy(ax)
    return ax
