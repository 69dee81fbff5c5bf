"""Figures: every function takes the result first and ``ax=None``, and returns the Axes."""

from scaling_laws.plot.fits import plot_choice, plot_fit, plot_holdout
from scaling_laws.plot.style import save_figure

__all__ = ["plot_choice", "plot_fit", "plot_holdout", "save_figure"]
