import re
from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from distill.examples import drop_near_duplicates
from distill.headlines import (
    CATEGORY,
    IMBALANCE,
    LABELS,
    RANK,
    bayes_macro_f1,
    bayes_posterior,
    bayes_scores,
    generate,
    headline_splits,
    headline_task,
    priors,
)
from distill.headlines.frames import FRAMES, MENTION
from distill.headlines.generator import VAGUE_OF, VAGUE_SHARE, seconds, statuses
from distill.headlines.grammar import SLOT, VALUES, conjugate, expand, fill, inflect, mask
from distill.headlines.vague import VAGUE
from distill.headlines.wordings import POOLS, WORDINGS


@pytest.fixture(scope="module")
def splits():
    return headline_splits({"train": 4000, "validation": 1000, "test": 4000}, rng=0)


def most_probable(text):
    return LABELS[int(bayes_posterior([text])[0].argmax())]


# Taxonomy and sizes


def test_taxonomy_has_35_events_in_13_categories_72_to_1():
    assert len(LABELS) == len(set(LABELS)) == 35
    assert set(CATEGORY) == set(priors()) == set(WORDINGS) == set(LABELS)
    assert len(RANK) == 13
    assert sum(priors().values()) == pytest.approx(1, abs=1e-12)
    assert max(priors().values()) / min(priors().values()) == pytest.approx(72, rel=1e-12)
    ratios = [priors()[b] / priors()[a] for a, b in zip(LABELS, LABELS[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * 34, rel=1e-12)
    assert all(VAGUE_OF[label] for label in LABELS), "every event has ambiguous headlines"


def test_no_label_is_part_of_another_or_of_a_headline(splits):
    assert not [(a, b) for a in LABELS for b in LABELS if a != b and a in b]
    texts = " | ".join(e.text.lower() for examples in splits.values() for e in examples)
    assert not [label for label in LABELS if label in texts]


@pytest.mark.parametrize("n", [1, 37, 610, 5000])
def test_class_counts_are_within_one_of_their_share(n):
    for imbalance in (1, 12, IMBALANCE):
        labels = [example.label for example in generate(n, imbalance=imbalance, rng=3)]
        assert len(labels) == n
        for label in LABELS:
            assert abs(labels.count(label) - n * priors(imbalance)[label]) < 1


def test_the_rarest_label_cannot_be_the_commonest():
    with pytest.raises(ValueError, match="imbalance = 0.5"):
        priors(0.5)


def test_every_split_has_every_class_once_it_is_large_enough():
    n = int(np.ceil(1 / min(priors().values()))) + 1
    splits = headline_splits(dict.fromkeys(POOLS, n), rng=5)
    for examples in splits.values():
        assert {example.label for example in examples} == set(LABELS)


# Determinism and held-out templates


def test_the_seed_alone_decides_the_headlines():
    assert generate(50, rng=7) == generate(50, rng=np.random.default_rng(7))
    assert generate(50, rng=7) != generate(50, rng=8)


def test_a_larger_train_set_leaves_the_test_set_as_it_is():
    small = headline_splits({"train": 10, "test": 40}, rng=1)
    large = headline_splits({"validation": 5, "test": 40, "train": 400}, rng=1)
    assert small["test"] == large["test"]


def test_no_wording_and_no_frame_is_in_two_pools():
    def patterns(wordings):
        return {mask_of(choice) for wording in wordings for choice in expand(wording)}

    for name, pools in [*WORDINGS.items(), *VAGUE.items()]:
        a, b, c = (patterns(pools[pool]) for pool in POOLS)
        assert len(a | b | c) == len(a) + len(b) + len(c), name
    for status, pools in FRAMES.items():
        assert len(set().union(*pools.values())) == sum(map(len, pools.values())), status


def test_splits_share_no_template_and_no_near_duplicate(splits):
    seen = [{example.template for example in examples} for examples in splits.values()]
    assert len(set().union(*seen)) == sum(map(len, seen))
    found = drop_near_duplicates([e for examples in splits.values() for e in examples], 0.8)
    across = [pair for pair in found.removed if pair[0].id.split("-")[0] not in pair[1].id]
    assert found.n_removed > 0, "the check is at work within splits"
    assert across == []


# Grammar


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("raise", ("raises", "raised", "raising")),
        ("cut", ("cuts", "cut", "cutting")),
        ("clash", ("clashes", "clashed", "clashing")),
        ("supply", ("supplies", "supplied", "supplying")),
        ("agree", ("agrees", "agreed", "agreeing")),
        ("sue", ("sues", "sued", "suing")),
        ("retire", ("retires", "retired", "retiring")),
    ],
)
def test_verbs_inflect(verb, forms):
    assert tuple(inflect(verb, form) for form in ("s", "ed", "ing")) == forms
    assert inflect(verb, "to") == verb


def static_words(piece):
    return SLOT.sub("", MENTION.sub("", piece))


def test_no_slot_value_is_written_out_in_a_wording_or_frame():
    pieces = [c for p in [*WORDINGS.values(), *VAGUE.values()] for w in p.values() for c in w]
    pieces += [frame for pools in FRAMES.values() for frames in pools.values() for frame in frames]
    for choice in (choice for piece in pieces for choice in expand(piece)):
        assert mask(static_words(choice)) == static_words(choice)
    values = [value for options in VALUES.values() for value in options]
    assert len(values) == len(set(values))


def mask_of(pattern, seed=0):
    values = fill(pattern, np.random.default_rng(seed), set())
    return mask(SLOT.sub(lambda match: values[match[1]], pattern))


def test_a_pattern_does_not_depend_on_the_slots():
    for pools in [*WORDINGS.values(), *VAGUE.values()]:
        for wording in (w for pool in pools.values() for w in pool):
            for choice in expand(wording):
                assert len({mask_of(choice, seed) for seed in range(20)}) == 1, choice


def test_mask_keeps_the_order_of_two_prices_only():
    up, down = "moved to $48 from $41 by Norvey", "moved to $41 from $48 by Norvey"
    assert mask(up) == mask("moved to $90 from $89 by Penhask")
    assert mask(up) != mask(down)
    assert mask("earns $1.20 a share, not $1.05") != mask("earns $48 a share, not $41")


# The exact posterior


def every_way(pool):
    """Joint probability of pattern and label, by writing out every path of the generator."""
    joint = defaultdict(lambda: np.zeros(len(LABELS)))

    def texts(wordings, p):
        for wording in wordings:
            for choice in expand(wording):
                yield choice, p / len(wordings) / len(expand(wording))

    for i, label in enumerate(LABELS):
        firsts = list(texts(WORDINGS[label][pool], 1 - VAGUE_SHARE))
        for key in VAGUE_OF[label]:
            firsts += texts(VAGUE[key][pool], VAGUE_SHARE / len(VAGUE_OF[label]))
        for status, p_status in statuses(label).items():
            others = [("", 1.0)]
            if status != "alone":
                others = [
                    way
                    for second, p in seconds(label, status).items()
                    for way in texts(WORDINGS[second][pool], p)
                ]
            frames = FRAMES[status][pool]
            masked = {
                (frame, which, form, choice): mask_of(conjugate(choice, form))
                for frame in frames
                for which, form in MENTION.findall(frame)
                for choice, _ in (firsts if which == "1" else others)
            }
            fixed = {frame: mask_of(MENTION.sub(r"<\1\2>", frame)) for frame in frames}
            for frame, (first, p1), (other, p2) in product(frames, firsts, others):
                pattern = fixed[frame]
                for which, form in MENTION.findall(frame):
                    clause = masked[frame, which, form, first if which == "1" else other]
                    pattern = pattern.replace(f"<{which}{form}>", clause)
                joint[pattern][i] += priors()[label] * p_status / len(frames) * p1 * p2
    return joint


def test_posterior_is_the_sum_over_every_way_to_write_the_text():
    joint = every_way("validation")
    assert sum(row.sum() for row in joint.values()) == pytest.approx(1, abs=1e-9)
    texts = [example.text for example in generate(1500, pool="validation", rng=2)]
    expected = np.array([joint[mask(text)] for text in texts])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(bayes_posterior(texts), expected, rtol=1e-9, atol=1e-12)
    assert np.mean(expected.max(axis=1) < 0.999) > 0.05, "some headlines are ambiguous"


@pytest.mark.parametrize("imbalance", [1, IMBALANCE])
def test_posterior_is_calibrated_on_fresh_headlines(imbalance):
    examples = generate(12_000, pool="train", imbalance=imbalance, rng=11)
    posterior = bayes_posterior([example.text for example in examples], imbalance)
    assert posterior.sum(axis=1) == pytest.approx(np.ones(len(examples)), abs=1e-12)
    hit = posterior.argmax(axis=1) == [LABELS.index(example.label) for example in examples]
    top = posterior.max(axis=1)
    open_cases = top < 0.999
    se = np.sqrt(np.sum(top * (1 - top)))
    # Each open case is a coin with known probability; 4 standard errors of their sum.
    assert abs(hit[open_cases].sum() - top[open_cases].sum()) < 4 * se
    assert hit[~open_cases].mean() > 0.998


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("On Monday in Oslo, Tarnythe sues Kellane", None),
        ("On Monday in Oslo, Tarnythe sues Kelloway over patents", "lawsuit filed"),
        ("On Monday in Oslo, Tarnythe gets sued by Kelloway over patents", "lawsuit faced"),
        ("On Monday in Oslo, Tarnythe moves to buy from hold at Norvey", "rating up"),
        ("On Monday in Oslo, Tarnythe moves to hold from buy at Norvey", "rating down"),
        ("On Monday in Oslo, Tarnythe trades at $41 against an earlier $38", "shares up"),
        ("On Monday in Oslo, Tarnythe trades at $38 against an earlier $41", "shares down"),
        ("Tarnythe cuts 900 jobs to save money and buys Kelloway for $119m", "company purchase"),
        (
            "Tarnythe cuts 900 jobs to save money while rival Elmadune buys Kelloway for $119m",
            "job cuts",
        ),
        (
            "While rival Elmadune cuts 900 jobs to save money, Tarnythe buys Kelloway for $119m",
            "company purchase",
        ),
        (
            "Tarnythe cuts 900 jobs to save money and denies it will buy Kelloway for $119m",
            "job cuts",
        ),
        (
            "Tarnythe cuts 900 jobs to save money a year after buying Kelloway for $119m",
            "job cuts",
        ),
    ],
)
def test_roles_order_numbers_and_rules_decide_the_label(text, label):
    if label is None:
        with pytest.raises(ValueError, match="not one of the generator's headlines"):
            bayes_posterior([text])
    else:
        assert most_probable(text) == label


def test_the_higher_category_wins_when_both_facts_count(splits):
    both = [e for e in splits["train"] if e.template.startswith("train/same")]
    assert len(both) > 100
    for example in both:
        second = example.template.split("/")[3].split(".")[0]
        assert RANK[CATEGORY[example.label]] < RANK[CATEGORY[second]]


# The best score, and what words alone reach


def test_bayes_scores_of_certain_and_uniform_posteriors():
    certain = bayes_scores(np.eye(4))
    assert certain == {"task_f1": 1, "task_accuracy": 1, "task_nll": 0, "task_brier": 0}
    uniform = bayes_scores(np.full((8, 4), 0.25))
    assert uniform["task_nll"] == pytest.approx(np.log(4))
    assert uniform["task_brier"] == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(20))
def test_best_macro_f1_lies_between_most_probable_labels_and_all_predictions(seed):
    posterior = np.random.default_rng(seed).dirichlet(np.full(3, 0.5), size=6)
    expected = posterior.sum(axis=0)

    def macro_f1(predictions):
        hits = np.bincount(predictions, posterior[np.arange(6), predictions], minlength=3)
        return np.mean(2 * hits / (np.bincount(predictions, minlength=3) + expected))

    best = bayes_scores(posterior)["task_f1"]
    everything = max(macro_f1(np.array(p)) for p in product(range(3), repeat=6))
    assert macro_f1(posterior.argmax(axis=1)) - 1e-12 <= best <= everything + 1e-12


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("imbalance", [12, IMBALANCE])
def test_best_macro_f1_is_in_the_promised_range(pool, imbalance):
    assert 0.85 <= bayes_macro_f1(8000, rng=1, pool=pool, imbalance=imbalance) <= 0.95


@pytest.mark.parametrize("imbalance", [12, IMBALANCE])
def test_bag_of_words_falls_short_of_the_best_score(imbalance, capsys):
    """Words don't tell the facts of a headline apart; the clause that counts is nearly enough."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    text_features = pytest.importorskip("sklearn.feature_extraction.text")
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    splits = headline_splits({"train": 4000, "test": 4000}, imbalance=imbalance, rng=0)
    truth = [example.label for example in splits["test"]]
    texts = [example.text for example in splits["test"]]
    best = bayes_scores(bayes_posterior(texts, imbalance))["task_f1"]

    def score(text_of, ngrams):
        features = text_features.CountVectorizer(ngram_range=ngrams)
        model = linear_model.LogisticRegression(C=10, max_iter=1000)
        model.fit(
            features.fit_transform(map(text_of, splits["train"])),
            [example.label for example in splits["train"]],
        )
        predicted = model.predict(features.transform(map(text_of, splits["test"])))
        return f1_score(truth, predicted, average="macro", labels=LABELS, zero_division=0)

    words = score(lambda example: example.text, (1, 1))
    pairs = score(lambda example: example.text, (1, 2))
    clause = score(lambda example: re.search(r'"([^"]*)"', example.rationale)[1], (1, 1))
    with capsys.disabled():
        print(f"\nmacro-F1: best {best:.3f}, words {words:.3f}, pairs {pairs:.3f}, ", end="")
        print(f"words of the clause that counts {clause:.3f}")
    assert words <= 0.85 * best
    assert pairs <= 0.85 * best
    assert clause > words


# Rationales


def test_rationales_cite_evidence_and_name_the_label_last(splits):
    for example in splits["train"] + splits["test"]:
        before, last = example.rationale.rsplit(", so the event is ", 1)
        assert last == f"{example.label}."
        assert example.label not in before
        assert re.search(r'"([^"]*)"', before)[1] in example.text
        assert 15 <= len(example.rationale.split()) <= 40


def test_headlines_are_short(splits):
    lengths = [len(example.text.split()) for examples in splits.values() for example in examples]
    assert min(lengths) >= 6
    assert max(lengths) <= 30
    assert 10 <= np.mean(lengths) <= 25


def test_the_task_reads_back_what_the_rationale_argues_for(splits):
    task = headline_task()
    for example in splits["validation"][:100]:
        assert task.parse(task.target(example, "cot").text) == example.label


# What is refused


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="pool = 'dev' is not one of train, validation, test"):
        generate(10, pool="dev")
    with pytest.raises(ValueError, match="at least 1"):
        generate(0)
    with pytest.raises(ValueError, match=r"\['dev'\] are not among"):
        headline_splits({"dev": 10})
