"""Figures, for print at 85 or 170 mm: `blank` makes Axes of such a width, `page` a Figure.

Every function takes the result first, draws on ``ax=None`` or ``figure=None``, and returns the Axes
(or the Figure, where several Axes cannot be avoided). Nothing is shown, no ``rcParams`` change.
What a result's own ``plot()`` draws is named after it: `plot_fit`, `plot_choice`, `plot_holdout`.

>>> import scaling_laws as sl
>>> scores = {1.0: 0.75, 0.9: 0.74, 0.8: 0.7, 0.7: 0.55, 0.6: 0.37, 0.5: 0.29}
>>> runs = [{"kept": kept, "mmlu": score} for kept, score in scores.items()]
>>> ax = sl.plot.degradation(sl.fit(sl.laws.Collapse(), runs), sl.plot.blank(85))
>>> ax.get_xlabel()
'fraction of parameters kept'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "baselines": "holdouts", "holdout": "holdouts", "plot_holdout": "holdouts",
    "blank": "style", "page": "style", "save_figure": "style",
    "contours": "maps", "coverage": "coverages",
    "degradation": "curves", "learning_curve": "curves",
    "divergence": "retained", "retention": "retained", "retention_difference": "retained",
    "forest": "forests", "parameters": "forests",
    "format_difference": "differences", "likelihood": "pairs",
    "plot_choice": "fits", "plot_fit": "fits",
    "residuals": "diagnostics", "residuals_against_fitted": "diagnostics",
    "residuals_by_unit": "diagnostics", "residuals_qq": "diagnostics",
}  # fmt: skip

__all__ = [
    "baselines",
    "blank",
    "contours",
    "coverage",
    "degradation",
    "divergence",
    "forest",
    "format_difference",
    "holdout",
    "learning_curve",
    "likelihood",
    "page",
    "parameters",
    "plot_choice",
    "plot_fit",
    "plot_holdout",
    "residuals",
    "residuals_against_fitted",
    "residuals_by_unit",
    "residuals_qq",
    "retention",
    "retention_difference",
    "save_figure",
]

if TYPE_CHECKING:
    from scaling_laws.plot.coverages import coverage
    from scaling_laws.plot.curves import degradation, learning_curve
    from scaling_laws.plot.diagnostics import (
        residuals,
        residuals_against_fitted,
        residuals_by_unit,
        residuals_qq,
    )
    from scaling_laws.plot.differences import format_difference
    from scaling_laws.plot.fits import plot_choice, plot_fit
    from scaling_laws.plot.forests import forest, parameters
    from scaling_laws.plot.holdouts import baselines, holdout, plot_holdout
    from scaling_laws.plot.maps import contours
    from scaling_laws.plot.pairs import likelihood
    from scaling_laws.plot.retained import divergence, retention, retention_difference
    from scaling_laws.plot.style import blank, page, save_figure


def __getattr__(name: str) -> Any:
    """Import a figure when it is first drawn."""
    if name in _HOME:
        return getattr(import_module(f"scaling_laws.plot.{_HOME[name]}"), name)
    raise AttributeError(f"module 'scaling_laws.plot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
