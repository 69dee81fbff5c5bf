import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.examples import Example, drop_near_duplicates, nested_order, stratified_split
from distill.headlines import generate


def examples_of(labels, templates=None):
    templates = templates or [None] * len(labels)
    pairs = zip(labels, templates, strict=True)
    return [Example(f"t{i}", y, template=t, id=str(i)) for i, (y, t) in enumerate(pairs)]


labels = st.lists(st.sampled_from("aaaabbc"), min_size=2, max_size=60)


# Near-duplicates


def test_near_duplicates_are_removed_counted_and_shown():
    texts = [
        "Bank lifts rates by half a point on Monday in Oslo",
        "BANK lifts rates by half a point, on Monday in Oslo!",
        "Bank lifts rates by half a point on Monday in Riga",
        "Union and employer agree on pay",
    ]
    found = drop_near_duplicates([Example(text, "x") for text in texts], threshold=0.8)
    assert [example.text for example in found.kept] == [texts[0], texts[3]]
    assert found.n_removed == 2
    assert [(a.text, b.text) for a, b in found.removed] == [
        (texts[1], texts[0]),
        (texts[2], texts[0]),
    ]
    exact = drop_near_duplicates([Example(text, "x") for text in texts], threshold=1)
    assert exact.n_removed == 1


@given(
    texts=st.lists(st.text("ab ", max_size=12), max_size=12),
    threshold=st.sampled_from([0.2, 0.5, 0.6, 0.8, 1.0]),
)
def test_the_search_finds_what_comparing_all_pairs_finds(texts, threshold):
    def shingles(text):
        words = text.split()
        if len(words) <= 2:
            return {" ".join(words)}
        return {" ".join(words[i : i + 2]) for i in range(len(words) - 1)}

    kept = []
    for text in texts:
        a = shingles(text)
        if all(len(a & b) / len(a | b) < threshold for b in map(shingles, kept)):
            kept.append(text)
    found = drop_near_duplicates([Example(text, "x") for text in texts], threshold, size=2)
    assert [example.text for example in found.kept] == kept
    assert found.n_removed == len(texts) - len(kept)


def test_twenty_thousand_headlines_take_less_than_20_seconds():
    examples = generate(20_000, rng=0)
    start = time.process_time()
    drop_near_duplicates(examples, 0.8)
    assert time.process_time() - start < 20


def test_a_threshold_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"threshold = 80 is not in \(0, 1\]"):
        drop_near_duplicates([], 80)


# Splits


@given(labels=labels, seed=st.integers(0, 99))
def test_parts_share_nothing_and_follow_the_class_sizes(labels, seed):
    examples = examples_of(labels)
    n = len(labels) // 2
    split = stratified_split(examples, {"train": n, "test": len(labels) - n}, rng=seed)
    ids = [example.id for part in split.parts.values() for example in part]
    assert sorted(ids, key=int) == [example.id for example in examples]
    for name, size in {"train": n, "test": len(labels) - n}.items():
        assert len(split[name]) == size
        counts = Counter(example.label for example in split[name])
        for label, total in Counter(labels).items():
            assert abs(counts[label] - total * size / len(labels)) <= 2


def test_fractions_and_what_is_left_over():
    split = stratified_split(examples_of("ab" * 50), {"train": 0.7, "test": 0.2}, rng=0)
    assert {name: len(part) for name, part in split.parts.items()} == {"train": 70, "test": 20}
    assert split.notes == ()


def test_a_part_that_lacks_a_class_says_so():
    split = stratified_split(examples_of("a" * 20 + "b"), {"train": 0.5, "test": 0.5}, rng=0)
    assert len(split.notes) == 1
    assert split.notes[0].endswith("no example of b.")


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=4, max_size=80),
    seed=st.integers(0, 9),
)
def test_groups_are_never_shared_between_parts(rows, seed):
    examples = examples_of([y for y, _ in rows], [f"t{t}" for _, t in rows])
    sizes = {"train": 0.6, "validation": 0.2, "test": 0.2}
    if len(rows) < 10:
        sizes = {"train": 0.5, "test": 0.5}
    split = stratified_split(examples, sizes, rng=seed, group="template")
    seen = [{example.template for example in part} for part in split.parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_every_part_gets_a_template_of_each_class():
    """Three templates a class, one class in each: the smallest case where no part goes without."""
    rows = [(y, f"{y}{t}") for y in "abcd" for t in range(3) for _ in range(10)]
    examples = examples_of([y for y, _ in rows], [t for _, t in rows])
    sizes = {"train": 0.6, "validation": 0.2, "test": 0.2}
    split = stratified_split(examples, sizes, rng=0, group="template")
    for name, part in split.parts.items():
        assert {example.label for example in part} == set("abcd"), name
    assert "train: 40 examples instead of 72: its groups hold no more." in split.notes


def test_splits_depend_on_the_seed_alone():
    examples = examples_of("ab" * 50, [f"t{i % 20}" for i in range(100)])
    sizes = {"train": 60, "test": 20}
    for group in (None, "template"):
        first = stratified_split(examples, sizes, rng=3, group=group)
        assert first == stratified_split(examples, sizes, rng=3, group=group)
        assert first != stratified_split(examples, sizes, rng=4, group=group)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 0.8, "test": 0.3}, "sum to at most 1"),
        ({"train": 0.9, "test": 0.01}, "leave a part empty"),
        ({"train": 8, "test": 3}, "sum to 11, but there are 10"),
        ({"train": 8, "test": 0.1}, "all whole numbers above 0 or all fractions"),
        ({"train": 0}, "all whole numbers above 0"),
        ({}, "all whole numbers above 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        stratified_split(examples_of("ab" * 5), sizes)


def test_a_missing_group_is_refused():
    examples = examples_of("ab", ["t1", None])
    with pytest.raises(ValueError, match=r"Example 1 \('1'\) has no template"):
        stratified_split(examples, {"train": 1, "test": 1}, group="template")


# Nested subsets


@given(labels=labels, seed=st.integers(0, 99))
def test_every_beginning_of_the_nested_order_is_stratified(labels, seed):
    order = nested_order(examples_of(labels), rng=seed)
    assert sorted(order) == list(range(len(labels)))
    classes = np.array(labels)
    for n in range(1, len(labels) + 1):
        for label in set(labels):
            share = n * np.mean(classes == label)
            # A class is within one of its share at every cut of the key, and the cut that gives
            # n rows is off by at most one row for each of the other classes.
            assert abs(np.sum(classes[order[:n]] == label) - share) < 1 + len(set(labels))


def test_nested_subsets_of_headlines_follow_the_class_sizes():
    examples = generate(4096, rng=0)
    order = nested_order(examples, rng=1)
    totals = Counter(example.label for example in examples)
    for n in (128, 256, 1024):
        counts = Counter(examples[i].label for i in order[:n])
        assert all(abs(counts[y] - n * total / 4096) <= 2 for y, total in totals.items())
