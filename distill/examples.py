"""Labelled texts: near-duplicates, splits without leakage, nested subsets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

__all__ = [
    "Deduplicated",
    "Example",
    "Split",
    "drop_near_duplicates",
    "nested_order",
    "stratified_split",
]


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text.

    Parameters
    ----------
    text, label : str
    rationale : str or None
        Reasoning that leads to the label, for the formats ``cot`` and ``blended``.
    template : str or None
        What the text was written from; a split by template keeps each in one part.
    id : str
        Name in messages and caches.
    """

    text: str
    label: str
    rationale: str | None = None
    template: str | None = None
    id: str = ""


@dataclass(frozen=True)
class Deduplicated:
    """Examples without near-duplicates, and what was taken out.

    ``removed`` pairs each example taken out with the kept one that it repeats.
    """

    kept: list[Example]
    removed: list[tuple[Example, Example]]

    @property
    def n_removed(self) -> int:
        """How many examples were taken out."""
        return len(self.removed)


def drop_near_duplicates(
    examples: Sequence[Example], threshold: float = 0.8, *, size: int = 3
) -> Deduplicated:
    """Keep the first of every group of nearly equal texts.

    ``J(a, b) = |a & b| / |a | b|`` over the sets of ``size`` consecutive words, without case and
    punctuation. An example is taken out when J with an earlier kept one is at least ``threshold``.
    The search is exact: two sets with J >= t share a member among the ``|a| - ceil(t |a|) + 1``
    rarest of each (prefix filter; Chaudhuri, Ganti, Kaushik 2006).

    Parameters
    ----------
    examples : sequence of Example
    threshold : float
        In (0, 1]; 1 removes texts with equal sets only.
    size : int
        Words in a shingle.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold = {threshold} is not in (0, 1]; it is a Jaccard similarity.")
    sets = [_shingles(example.text, size) for example in examples]
    counts = Counter(shingle for shingles in sets for shingle in shingles)
    by_prefix: dict[str, list[int]] = defaultdict(list)
    kept: list[Example] = []
    removed: list[tuple[Example, Example]] = []
    for i, shingles in enumerate(sets):
        rare_first = sorted(shingles, key=lambda shingle: (counts[shingle], shingle))
        prefix = rare_first[: len(shingles) - ceil(threshold * len(shingles) - 1e-9) + 1]
        candidates = sorted({j for shingle in prefix for j in by_prefix[shingle]})
        twin = next((j for j in candidates if _jaccard(shingles, sets[j]) >= threshold), None)
        if twin is not None:
            removed.append((examples[i], examples[twin]))
            continue
        kept.append(examples[i])
        for shingle in prefix:
            by_prefix[shingle].append(i)
    return Deduplicated(kept, removed)


def _shingles(text: str, size: int) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    if len(words) <= size:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + size]) for i in range(len(words) - size + 1))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@dataclass(frozen=True)
class Split:
    """Named parts of a data set, and notes on what they lack."""

    parts: dict[str, list[Example]]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> list[Example]:
        """Examples of one part."""
        return self.parts[name]


def stratified_split(
    examples: Sequence[Example],
    sizes: Mapping[str, int | float],
    rng: int | np.random.Generator = 0,
    *,
    group: str | None = None,
) -> Split:
    """Split so that every part has the classes in the proportions of the whole.

    Parameters
    ----------
    examples : sequence of Example
        Without near-duplicates (see `drop_near_duplicates`), or the parts leak.
    sizes : mapping
        Part name -> number of examples, or fraction of all (then all are below 1). What is left
        over is in no part.
    rng : int or numpy.random.Generator
        Seed or generator.
    group : str, optional
        A field of `Example`, such as ``template``: examples that share its value stay together.
        Groups go, largest first, to the part whose classes are furthest from complete; parts
        above their size are thinned, so a size is a maximum there.

    Returns
    -------
    Split
        Notes name the classes that a part lacks.
    """
    rng = np.random.default_rng(rng)
    wanted = _wanted(sizes, len(examples))
    classes, y = np.unique([example.label for example in examples], return_inverse=True)
    if group is None:
        # Any stretch of an interleaved order has the proportions of the whole.
        order = _interleaved(y, rng)
        stops = np.cumsum(list(wanted.values()))
        rows_of = dict(zip(wanted, np.split(order, stops)[:-1], strict=True))
    else:
        rows_of = _assign_groups(_groups(examples, group), y, wanted, rng)
    parts, notes = {}, []
    for name, n in wanted.items():
        rows = rows_of[name]
        rows = rows[_interleaved(y[rows], rng)][:n]
        parts[name] = [examples[i] for i in rows]
        missing = sorted(set(classes) - set(classes[y[rows]]))
        if missing:
            notes.append(f"{name}: no example of {', '.join(missing)}.")
        if len(rows) < n:
            notes.append(f"{name}: {len(rows)} examples instead of {n}: its groups hold no more.")
    return Split(parts, tuple(notes))


def nested_order(examples: Sequence[Example], rng: int | np.random.Generator = 0) -> np.ndarray:
    """Row numbers in an order whose first n rows are a stratified subset, for every n.

    So the 128 examples of one run are among the 256 of the next. The count of a class among the
    first n differs from its share by an example or two, whatever n is.
    """
    y = np.unique([example.label for example in examples], return_inverse=True)[1]
    return _interleaved(y, np.random.default_rng(rng))


def _interleaved(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each class and spread it evenly over the whole order."""
    key = np.empty(len(y))
    for k in np.unique(y):
        rows = np.flatnonzero(y == k)
        key[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(key, kind="stable")


def _wanted(sizes: Mapping[str, int | float], n: int) -> dict[str, int]:
    """Whole numbers of examples from sizes or fractions."""
    values = list(sizes.values())
    if values and all(isinstance(value, float) for value in values):
        if min(values) <= 0 or sum(values) > 1 + 1e-9:
            raise ValueError(f"Fractions {dict(sizes)} must be positive and sum to at most 1.")
        stops = np.rint(np.cumsum(values) * n).astype(int)
        counts = np.diff(stops, prepend=0).tolist()
        if min(counts) == 0:
            raise ValueError(f"Fractions {dict(sizes)} of {n} examples leave a part empty.")
        return dict(zip(sizes, counts, strict=True))
    if not values or not all(isinstance(value, int) and value > 0 for value in values):
        raise ValueError(f"Sizes {dict(sizes)} must be all whole numbers above 0 or all fractions.")
    if sum(values) > n:
        raise ValueError(f"Sizes {dict(sizes)} sum to {sum(values)}, but there are {n} examples.")
    return {name: int(value) for name, value in sizes.items()}


def _groups(examples: Sequence[Example], field: str) -> np.ndarray:
    """Give each example the number of its group."""
    values = [getattr(example, field) for example in examples]
    if None in values:
        i = values.index(None)
        raise ValueError(
            f"Example {i} ({examples[i].id!r}) has no {field}. Give every example one, or split "
            "with group=None."
        )
    return np.unique(values, return_inverse=True)[1]


def _assign_groups(
    groups: np.ndarray, y: np.ndarray, wanted: Mapping[str, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Give whole groups to parts, each to the part whose classes are furthest from complete."""
    sizes = np.zeros((groups.max() + 1, y.max() + 1))
    np.add.at(sizes, (groups, y), 1)
    totals = sizes.sum(axis=0)
    parts = np.array(list(wanted.values()))
    goal = parts[:, None] * totals / len(y)
    have = np.zeros_like(goal)
    part_of = np.full(len(sizes), -1)
    shuffled = rng.permutation(len(sizes))
    for g in shuffled[np.argsort(-sizes[shuffled].sum(axis=1), kind="stable")]:
        # Counting a class by its share keeps a rare class from being settled by the common ones.
        lack = (1 - have / goal) @ (sizes[g] / totals)
        p = max(range(len(parts)), key=lambda p: (round(lack[p], 12), parts[p]))
        if lack[p] > 0:
            part_of[g] = p
            have[p] += sizes[g]
    return {name: np.flatnonzero(part_of[groups] == p) for p, name in enumerate(wanted)}
