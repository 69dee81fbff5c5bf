"""Draw headlines: label, status, second fact, wordings, frame and slots, in this order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..examples import Example
from ..task import Task
from .events import CATEGORY, IMBALANCE, LABELS, OUTRANKED, PLANNED, priors
from .frames import FRAMES, MENTION, STATUSES
from .grammar import SLOT, compared, conjugate, expand, fill
from .vague import VAGUE
from .wordings import POOLS, WORDINGS

__all__ = ["VAGUE_SHARE", "generate", "headline_splits", "headline_task", "seconds", "statuses"]

# Share of each event's headlines that are worded so that another event fits as well.
VAGUE_SHARE = 0.18

VAGUE_OF = {label: tuple(key for key in VAGUE if label in key) for label in LABELS}


def headline_task() -> Task:
    """Make the 35-event task, with an instruction of a few words and no label list."""
    return Task(name="headlines", labels=LABELS, instruction="Name the event in this headline.")


def seconds(label: str, status: str, imbalance: float = IMBALANCE) -> dict[str, float]:
    """p(second fact | label, status): as common as it is as a label, among those allowed."""
    common = priors(imbalance)
    allowed = {"same": OUTRANKED[label], "denied": PLANNED, "other": LABELS, "past": LABELS}
    possible = {second: common[second] for second in allowed[status] if second != label}
    total = sum(possible.values())
    return {second: prior / total for second, prior in possible.items()}


def statuses(label: str) -> dict[str, float]:
    """p(status | label): a label that outranks nothing has no ``same``."""
    possible = {s: p for s, p in STATUSES.items() if s != "same" or OUTRANKED[label]}
    total = sum(possible.values())
    return {status: share / total for status, share in possible.items()}


def generate(
    n: int,
    *,
    pool: str = "train",
    imbalance: float = IMBALANCE,
    rng: int | np.random.Generator = 0,
) -> list[Example]:
    """Draw ``n`` headlines with label and rationale.

    Every label is drawn with its prior probability, by systematic sampling: the count of a label
    is within one of ``n`` times its prior.

    Parameters
    ----------
    n : int
        Number of headlines.
    pool : {"train", "validation", "test"}
        Which wordings and frames to use. No wording and no frame is in two pools.
    imbalance : float
        How many times more headlines the commonest event has than the rarest.
    rng : int or numpy.random.Generator
        Seed or generator; the same seed gives the same headlines.

    Returns
    -------
    list of Example
        ``template`` names pool, status, frame and wordings.
    """
    if pool not in POOLS:
        raise ValueError(f"pool = {pool!r} is not one of {', '.join(POOLS)}.")
    if n < 1:
        raise ValueError(f"n = {n} headlines: write a number of at least 1.")
    rng = np.random.default_rng(rng)
    points = (np.arange(n) + rng.random()) / n
    edges = np.cumsum(list(priors(imbalance).values()))
    ranks = rng.permutation(np.searchsorted(edges[:-1], points, side="right"))
    return [
        _headline(LABELS[rank], pool, imbalance, rng, f"{pool}-{i}") for i, rank in enumerate(ranks)
    ]


def headline_splits(
    sizes: Mapping[str, int],
    *,
    imbalance: float = IMBALANCE,
    rng: int | np.random.Generator = 0,
) -> dict[str, list[Example]]:
    """Draw each named split from its own pool of templates.

    Parameters
    ----------
    sizes : mapping
        For example ``{"train": 4096, "validation": 512, "test": 10_000}``.
    imbalance : float
        As of `generate`.
    rng : int or numpy.random.Generator
        Seed or generator. Each split has a stream of its own: a larger train set leaves the test
        set as it is.
    """
    unknown = set(sizes) - set(POOLS)
    if unknown:
        raise ValueError(f"Splits {sorted(unknown)} are not among {', '.join(POOLS)}.")
    streams = dict(zip(POOLS, np.random.default_rng(rng).spawn(len(POOLS)), strict=True))
    return {
        pool: generate(n, pool=pool, imbalance=imbalance, rng=streams[pool])
        for pool, n in sizes.items()
    }


def _headline(
    label: str, pool: str, imbalance: float, rng: np.random.Generator, name: str
) -> Example:
    status = _draw(statuses(label), rng)
    second = None if status == "alone" else _draw(seconds(label, status, imbalance), rng)
    vague = rng.random() < VAGUE_SHARE
    key = VAGUE_OF[label][int(rng.integers(len(VAGUE_OF[label])))] if vague else None
    f = int(rng.integers(len(FRAMES[status][pool])))
    frame = FRAMES[status][pool][f]

    taken: set[str] = set()
    slots = fill(frame, rng, taken)
    facts = {"1": _wording(WORDINGS[label] if key is None else VAGUE[key], pool, rng)}
    if second is not None:
        facts["2"] = _wording(WORDINGS[second], pool, rng)
    clauses: dict[str, str] = {}
    for which, form in MENTION.findall(frame):
        pattern = conjugate(facts[which][1], form)
        clauses[which] = _render(pattern, fill(pattern, rng, taken))
    text = MENTION.sub(lambda match: clauses[match[1]], _render(frame, slots))

    source = label if key is None else " or ".join(key)
    parts = [f"{pool}/{status}.{f}", f"{source}.{facts['1'][0]}"]
    if second is not None:
        parts.append(f"{second}.{facts['2'][0]}")
    rationale = _rationale(label, status, second, vague, clauses["1"], slots)
    return Example(text, label, rationale=rationale, template="/".join(parts), id=name)


def _rationale(
    label: str,
    status: str,
    second: str | None,
    vague: bool,
    clause: str,
    slots: Mapping[str, str],
) -> str:
    """Say why: the rule for the second fact, the evidence, the label in the last clause only."""
    news = f"{CATEGORY[label]} news"
    other = "" if second is None else f"{CATEGORY[second]} news"
    relation = slots.get("rel") or slots.get("Rel", "").lower()
    rule = {
        "alone": "There is one fact only.",
        "same": f"{slots['F']} has {other} and {news}, and {news} outranks {other}.",
        "other": f"{slots.get('O')} is only a {relation}, so its {other} does not count.",
        "past": f"The {other} is old and does not count.",
        "denied": f"The {other} is denied and does not count.",
    }[status]
    doubt = ", loosely worded" if vague else ""
    numbers = compared(clause)
    size = "" if numbers is None else f" ({numbers[0]} is {numbers[1]} than {numbers[2]})"
    return f'{rule} {slots["F"]} "{clause}"{doubt}{size}, so the event is {label}.'


def _wording(
    pools: Mapping[str, tuple[str, ...]], pool: str, rng: np.random.Generator
) -> tuple[int, str]:
    """Draw a wording: its number in its pool and one of its expansions."""
    w = int(rng.integers(len(pools[pool])))
    choices = expand(pools[pool][w])
    return w, choices[int(rng.integers(len(choices)))]


def _draw(probabilities: Mapping[str, float], rng: np.random.Generator) -> str:
    u, total = rng.random(), 0.0
    for name, p in probabilities.items():
        total += p
        if u < total:
            return name
    return next(reversed(probabilities))


def _render(pattern: str, values: Mapping[str, str]) -> str:
    return SLOT.sub(lambda match: values[match[1]], pattern)
