"""The 35 events: their 13 categories, which category outranks which, and how common each is."""

from __future__ import annotations

__all__ = ["CATEGORY", "LABELS", "OUTRANKED", "PLANNED", "PRIORS", "RANK"]

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

# Sizes fall by a constant factor from the first label to the last, which is 72 times rarer.
_IMBALANCE = 72.0
_SIZES = [_IMBALANCE ** (-i / (len(LABELS) - 1)) for i in range(len(LABELS))]
PRIORS = {label: size / sum(_SIZES) for label, size in zip(LABELS, _SIZES, strict=True)}

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
