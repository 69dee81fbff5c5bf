"""The exact p(label | text) of generated headlines, and the best scores it leaves possible.

    p(label | text) ~ p(label) * sum over all ways to write the text of p(way | label)

A way is a status, a second fact, two wordings and a frame. Slots are drawn alike for every label
(see `grammar.mask`), so they cancel. The pool is taken as known: no two pools share a frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from .events import IMBALANCE, LABELS, priors
from .frames import FRAMES, MENTION
from .generator import VAGUE_OF, VAGUE_SHARE, generate, seconds, statuses
from .grammar import SLOT, conjugate, expand, fill, mask
from .vague import VAGUE
from .wordings import WORDINGS

__all__ = ["bayes_macro_f1", "bayes_posterior", "bayes_scores"]

_INDEX = {label: i for i, label in enumerate(LABELS)}


def bayes_posterior(texts: Sequence[str], imbalance: float = IMBALANCE) -> np.ndarray:
    """Probability of every label given each text: ``[n, 35]``, columns in the order of `LABELS`.

    Parameters
    ----------
    texts : sequence of str
    imbalance : float
        That they were generated with, see `generate`.

    Raises
    ------
    ValueError
        For a text that the generator cannot write.
    """
    rows = np.array([_joint(mask(text), imbalance) for text in texts]).reshape(-1, len(LABELS))
    totals = rows.sum(axis=1)
    if not totals.all():
        i = int(np.argmin(totals))
        raise ValueError(f"Text {i} is not one of the generator's headlines: {texts[i]!r}.")
    return rows / totals[:, None]


def bayes_scores(posterior: np.ndarray) -> dict[str, float]:
    """Compute the expected scores of the best possible predictions under a posterior.

    The predictions for ``task_f1`` maximise the expected macro-F1 of the whole set, those for the
    other scores are the most probable label and the posterior itself. Brier is the sum over
    classes of squared errors, from 0 to 2.

    Parameters
    ----------
    posterior : array ``[n, k]``
        Rows sum to one.
    """
    logs = np.log(posterior, out=np.zeros_like(posterior), where=posterior > 0)
    return {
        "task_f1": _best_macro_f1(posterior),
        "task_accuracy": float(posterior.max(axis=1).mean()),
        "task_nll": float(-(posterior * logs).sum(axis=1).mean()),
        "task_brier": float(1 - (posterior**2).sum(axis=1).mean()),
    }


def bayes_macro_f1(
    n: int,
    rng: int | np.random.Generator = 0,
    *,
    pool: str = "test",
    imbalance: float = IMBALANCE,
) -> float:
    """Macro-F1 of the best possible classifier, over ``n`` freshly drawn headlines."""
    drawn = generate(n, pool=pool, imbalance=imbalance, rng=rng)
    return bayes_scores(bayes_posterior([e.text for e in drawn], imbalance))["task_f1"]


def _best_macro_f1(posterior: np.ndarray) -> float:
    """Maximise mean_k 2 TP_k / (predicted_k + expected_k) over all predictions.

    At the maximum, predicting k instead of l does not pay for any row: k maximises the gradient
    (2 p_k - F_k) / (predicted_k + expected_k). This is iterated from the most probable labels.
    """
    n, k = posterior.shape
    expected = posterior.sum(axis=0)
    predictions = posterior.argmax(axis=1)
    best = 0.0
    while True:
        hits = np.bincount(predictions, posterior[np.arange(n), predictions], minlength=k)
        size = np.bincount(predictions, minlength=k) + expected
        f1 = np.divide(2 * hits, size, out=np.zeros(k), where=size > 0)
        if f1.mean() <= best + 1e-12:
            return best
        best = float(f1.mean())
        gain = np.divide(
            2 * posterior - f1, size, out=np.full((n, k), -np.inf), where=(size > 0)[None, :]
        )
        predictions = gain.argmax(axis=1)


def _joint(pattern: str, imbalance: float) -> np.ndarray:
    """p(label, pattern) up to a constant: summed over pools, frames and ways to cut the text."""
    joint = np.zeros(len(LABELS))
    for pool, status, share, pieces, mentions in _frames():
        for found in _cuts(pattern, pieces):
            clauses = dict(zip((which for which, _ in mentions), found, strict=True))
            forms = dict(mentions)
            firsts = _clauses(pool, forms["1"], True).get(clauses["1"], {})
            if not firsts:
                continue
            if status == "alone":
                others = None
            else:
                others = _clauses(pool, forms["2"], False).get(clauses["2"], {})
            for label, p in firsts.items():
                joint[_INDEX[label]] += (
                    priors(imbalance)[label]
                    * statuses(label).get(status, 0.0)
                    * share
                    * p
                    * _second(label, status, others, imbalance)
                )
    return joint


def _second(label: str, status: str, others: dict[str, float] | None, imbalance: float) -> float:
    """p(second clause | label, status); 1 where there is none."""
    if others is None:
        return 1.0
    common = _seconds(label, status, imbalance)
    return sum(common.get(second, 0.0) * p for second, p in others.items())


_seconds = cache(seconds)


def _cuts(pattern: str, pieces: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every way to read the pattern as ``pieces`` with one clause in each gap between them."""
    first, *middle, last = pieces
    if not (pattern.startswith(first) and pattern.endswith(last)):
        return
    inner = pattern[len(first) : len(pattern) - len(last)]
    if not middle:
        yield (inner,)
        return
    (between,) = middle
    at = inner.find(between)
    while at >= 0:
        yield inner[:at], inner[at + len(between) :]
        at = inner.find(between, at + 1)


@cache
def _frames() -> tuple[tuple[str, str, float, tuple[str, ...], tuple[tuple[str, str], ...]], ...]:
    """Pool, status, share, text pieces and (fact, form) of every frame."""
    found = []
    for status, pools in FRAMES.items():
        for pool, frames in pools.items():
            for frame in frames:
                pieces = tuple(_pattern(piece) for piece in MENTION.split(frame)[::3])
                mentions = tuple(MENTION.findall(frame))
                found.append((pool, status, 1 / len(frames), pieces, mentions))
    return tuple(found)


@cache
def _clauses(pool: str, form: str, main: bool) -> dict[str, dict[str, float]]:
    """p(clause pattern | label) as ``{pattern: {label: p}}``; vague ones only for the main fact."""
    table: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(label: str, wordings: tuple[str, ...], share: float) -> None:
        for wording in wordings:
            choices = expand(wording)
            for choice in choices:
                pattern = _pattern(conjugate(choice, form))
                table[pattern][label] += share / len(wordings) / len(choices)

    for label in LABELS:
        add(label, WORDINGS[label][pool], 1 - VAGUE_SHARE if main else 1.0)
        for key in VAGUE_OF[label] if main else ():
            add(label, VAGUE[key][pool], VAGUE_SHARE / len(VAGUE_OF[label]))
    return table


def _pattern(piece: str) -> str:
    """Make the pattern of a frame's piece or a clause: fill its slots with anything, then mask."""
    values = fill(piece, np.random.default_rng(0), set())
    return mask(SLOT.sub(lambda match: values[match[1]], piece))
