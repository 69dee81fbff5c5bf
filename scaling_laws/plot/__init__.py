"""Figures: every function takes the result first and ``ax=None``, and returns the Axes."""

from scaling_laws.plot.fits import plot_choice, plot_fit, plot_holdout

__all__ = ["plot_choice", "plot_fit", "plot_holdout"]
