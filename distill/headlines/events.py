"""The 35 events: their 13 categories, which category outranks which, and how common each is."""

from __future__ import annotations

from functools import cache

__all__ = [
    "CATEGORY",
    "IMBALANCE",
    "LABELS",
    "OUTRANKED",
    "PLANNED",
    "RANK",
    "priors",
]

# The category that a fact's news belongs to, highest priority first. When one company has two
# facts in one headline, the label is the fact of the higher category. The 13 categories are those
# of NVIDIA's financial-data developer example (AI Model Distillation for Financial Data).
_CATEGORIES = {
    "deal": ("company purchase", "unit sale", "deal talks", "deal dead"),  # mergers, acquisitions
    "regulatory": (
        "official probe",
        "state fine",
        "lawsuit faced",
        "lawsuit filed",
        "case settled",
    ),
    "approval": ("product approval", "product refusal"),
    "credit": ("credit up", "credit down"),
    "guidance": ("outlook up", "outlook down", "outlook kept"),
    "earnings": ("profit beat", "profit miss"),
    "dividend": ("payout up", "payout down", "share buyback"),
    "labour": ("job cuts", "labour strike", "pay deal"),
    "product": ("product launch", "product recall", "contract win"),
    "analyst": ("rating up", "rating down"),
    "target": ("target up", "target down"),
    "company": ("boss exit", "share issue"),  # OTHER
    "price": ("shares up", "shares down"),
}

CATEGORY = {label: name for name, labels in _CATEGORIES.items() for label in labels}
RANK = {name: rank for rank, name in enumerate(_CATEGORIES)}

# Most common first, in the spirit of the same example's label counts: prices and company news lead,
# credit ratings come last.
LABELS = (
    "shares up",
    "shares down",
    "boss exit",
    "share issue",
    "profit beat",
    "target up",
    "rating up",
    "profit miss",
    "target down",
    "rating down",
    "product launch",
    "contract win",
    "outlook up",
    "company purchase",
    "official probe",
    "outlook down",
    "unit sale",
    "lawsuit faced",
    "product recall",
    "job cuts",
    "outlook kept",
    "deal talks",
    "payout up",
    "share buyback",
    "state fine",
    "lawsuit filed",
    "deal dead",
    "case settled",
    "labour strike",
    "product approval",
    "pay deal",
    "payout down",
    "product refusal",
    "credit up",
    "credit down",
)

IMBALANCE = 72.0
"""How many times rarer the last label is than the first, as in that example."""


@cache
def priors(imbalance: float = IMBALANCE) -> dict[str, float]:
    """Return p(label): falling by a constant factor from the first label to the last.

    Parameters
    ----------
    imbalance : float
        How many times rarer the last one is, at least 1.
    """
    if not imbalance >= 1:
        raise ValueError(f"imbalance = {imbalance}: write how many times rarer, at least 1.")
    sizes = [imbalance ** (-i / (len(LABELS) - 1)) for i in range(len(LABELS))]
    return {label: size / sum(sizes) for label, size in zip(LABELS, sizes, strict=True)}


# What a company decides for itself, and so can deny that it will do.
PLANNED = (
    "boss exit",
    "share issue",
    "product launch",
    "company purchase",
    "outlook down",
    "unit sale",
    "product recall",
    "job cuts",
    "deal talks",
    "payout up",
    "share buyback",
    "lawsuit filed",
    "payout down",
)

OUTRANKED = {
    label: tuple(other for other in LABELS if RANK[CATEGORY[other]] > RANK[CATEGORY[label]])
    for label in LABELS
}
