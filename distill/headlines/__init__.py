"""Synthetic financial headlines with a known best score.

35 events, 72 times more of the commonest than of the rarest unless asked otherwise. Who does what
to whom, which fact outranks which, what is denied, old or another company's news, and which of two
numbers is larger decide the label; some headlines are truly ambiguous, with known probabilities.
"""

from .events import CATEGORY, IMBALANCE, LABELS, RANK, priors
from .generator import generate, headline_splits, headline_task
from .posterior import bayes_macro_f1, bayes_posterior, bayes_scores

__all__ = [
    "CATEGORY",
    "IMBALANCE",
    "LABELS",
    "RANK",
    "bayes_macro_f1",
    "bayes_posterior",
    "bayes_scores",
    "generate",
    "headline_splits",
    "headline_task",
    "priors",
]
