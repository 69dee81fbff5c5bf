"""The quiz: questions that can't be answered from their form, and a scorer that uses knowledge."""

import os
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import scaling_laws as sl
from distill.files import load_items
from distill.models import load_model, load_tokenizer
from distill.quiz import DOMAINS, Question, build_quiz, random_copy, take_quiz
from distill.quiz.facts import relations
from distill.quiz.score import _NEUTRAL, _STEM


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes as tokens."""
    alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


@pytest.fixture(scope="module")
def model(tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        eos_token_id=0, bos_token_id=None, initializer_range=0.1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


def test_there_are_enough_questions_in_every_domain():
    quiz = build_quiz()
    assert len(quiz) >= 1500
    per_domain = Counter(q.domain for q in quiz)
    assert set(per_domain) == set(DOMAINS)
    assert len(DOMAINS) >= 5
    assert min(per_domain.values()) >= 250
    assert len({q.id for q in quiz}) == len({q.text for q in quiz}) == len(quiz)


def test_every_question_has_one_right_answer_among_four_of_its_kind():
    facts = {r.name: r for r in relations()}
    for q in build_quiz():
        relation = facts[q.relation]
        gold = q.options[q.answer]
        assert relation.answers[q.text] == gold
        assert len(set(q.options)) == 4
        wrong = [option for option in q.options if option != gold]
        if relation.near:
            assert {len(option) for option in q.options} == {len(gold)}
        else:
            assert set(wrong) <= set(relation.answers.values())


def test_gold_is_in_every_place_equally_often():
    for n in (None, 1500, 1501):
        places = Counter(q.answer for q in build_quiz(n))
        assert max(places.values()) - min(places.values()) <= 1


def test_the_form_of_the_options_does_not_give_gold_away():
    # Rules that know nothing: first, longest, shortest option, first in the alphabet. Ties count
    # as the share they would win by guessing.
    quiz = build_quiz()
    for rule in (len, lambda option: -len(option), lambda option: option):
        hits = 0.0
        for q in quiz:
            best = max(rule(option) for option in q.options)
            chosen = [i for i, option in enumerate(q.options) if rule(option) == best]
            hits += (q.answer in chosen) / len(chosen)
        # Binomial error of guessing is sqrt(.25 * .75 / n), .009; a rule may win three errors more.
        assert hits / len(quiz) < 0.25 + 3 * np.sqrt(0.25 * 0.75 / len(quiz))


def test_domains_share_a_smaller_quiz_equally():
    per_domain = Counter(q.domain for q in build_quiz(1000))
    assert set(per_domain.values()) == {200}
    assert {q.domain for q in build_quiz(50, domains=["science"])} == {"science"}


def test_the_quiz_follows_its_seed():
    assert build_quiz(200) == build_quiz(200)
    assert build_quiz(200) != build_quiz(200, rng=1)


def test_build_quiz_refuses_what_there_is_not():
    with pytest.raises(ValueError, match=r"n = 99999 is not in \[1, \d+\]"):
        build_quiz(99999)
    with pytest.raises(ValueError, match=r"domains \['sport'\]; write some of"):
        build_quiz(domains=["sport"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("What is the capital of France?", "Paris"),
        ("Of which country is Nairobi the capital?", "Kenya"),
        ("Which element has the chemical symbol Fe?", "iron"),
        ("Which element has the atomic number 79?", "gold"),
        ("What is the past tense of the verb go?", "went"),
        ("Who wrote War and Peace?", "Leo Tolstoy"),
        ("In which year did the French Revolution begin?", "1789"),
        ("What is 12 times 12?", "144"),
        ("Which number is XXIX in Roman numerals?", "29"),
    ],
)
def test_facts_are_facts(text, answer):
    assert {q.text: q.options[q.answer] for q in build_quiz()}[text] == answer


def test_sums_are_right():
    signs = {"times": "*", "plus": "+", "minus": "-"}
    checked = 0
    for q in build_quiz(domains=["arithmetic"]):
        for word, sign in signs.items():
            if f" {word} " in q.text:
                a, b = q.text.removeprefix("What is ").removesuffix("?").split(f" {word} ")
                results = {"*": int(a) * int(b), "+": int(a) + int(b), "-": int(a) - int(b)}
                assert q.options[q.answer] == str(results[sign])
                checked += 1
    assert checked > 200


def test_scores_are_log_likelihoods_with_and_without_the_question(model, tokenizer):
    quiz = build_quiz(12)
    result = take_quiz(model, tokenizer, quiz, batch_size=5)

    def log_p(prompt, option):
        a = tokenizer(prompt)["input_ids"]
        b = tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([a + b])).logits[0, len(a) - 1 : -1]
        return logits.log_softmax(-1)[torch.arange(len(b)), torch.tensor(b)].sum().item()

    for q, row in zip(quiz, result.items.to_dict("records"), strict=True):
        scores = [log_p(_STEM.format(q.text), o) - log_p(_NEUTRAL, o) for o in q.options]
        assert row["chosen"] == q.options[int(np.argmax(scores))]
        p = np.exp(scores) / np.exp(scores).sum()
        assert row["nll"] == pytest.approx(-np.log(p[q.answer]), abs=1e-4)
    right = result.items["right"]
    assert result.scores["quiz"] == right.mean()
    assert result.scores["quiz_n"] == 12
    assert (result.items["chosen"] == result.items["gold"]).equals(right)


def test_a_model_that_learnt_an_answer_chooses_it(model, tokenizer):
    question = Question(
        "x", "science", "x", "Which is it?", ("north", "south", "eastw", "westw"), 2
    )
    learner = random_copy(model, 3)
    ids = tokenizer(_STEM.format(question.text) + " eastw")["input_ids"]
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    for _ in range(15):
        inputs = torch.tensor([ids])
        learner(input_ids=inputs, labels=inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert take_quiz(learner, tokenizer, [question]).scores["quiz"] == 1


def test_a_random_copy_scores_the_floor(model, tokenizer):
    quiz = build_quiz(400)
    result = take_quiz(random_copy(model), tokenizer, quiz)
    # Four standard errors of guessing.
    assert abs(result.scores["quiz"] - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


@pytest.mark.slow
def test_a_random_copy_of_the_real_teacher_scores_the_floor(capsys):
    """``DISTILL_TEACHER=work/smollm2-135m python -m pytest -m slow tests/distill/test_quiz.py``."""
    folder = os.environ.get("DISTILL_TEACHER")
    if not folder:
        pytest.skip("DISTILL_TEACHER names no folder of a model")
    real = load_model(folder)
    words, quiz = load_tokenizer(folder, real), build_quiz(1000)
    found = {
        "as it is": take_quiz(real, words, quiz).scores,
        "random copy": take_quiz(random_copy(real), words, quiz).scores,
    }
    with capsys.disabled():
        for name, scores in found.items():
            print(f"\n{name}: quiz {scores['quiz']:.3f} (se {scores['quiz_se']:.3f})", end="")
    assert abs(found["random copy"]["quiz"] - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 1000)
    assert found["as it is"]["quiz"] > 0.25 + 4 * found["as it is"]["quiz_se"]


def test_a_random_copy_is_new_and_follows_its_seed(model):
    state = torch.random.get_rng_state()
    first, same, other = random_copy(model, 1), random_copy(model, 1), random_copy(model, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [m.model.layers[0].mlp.up_proj.weight for m in (model, first, same, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])


def test_results_are_grouped_and_stored(model, tokenizer, tmp_path):
    result = take_quiz(model, tokenizer, build_quiz(25))
    table = result.by()
    assert list(table.index) == sorted(DOMAINS)
    assert table["n"].sum() == 25
    assert result.by("relation")["n"].sum() == 25
    path, sha256 = result.save(tmp_path)
    items, about = load_items(path, "quiz", sha256)
    pd.testing.assert_frame_equal(items, result.items, check_dtype=False)
    assert about["scores"] == result.scores
    with pytest.raises(ValueError, match="is of the kind 'quiz', not 'evaluation'"):
        load_items(path, "evaluation")
    run = sl.Run.model_validate({"kept": 0.5, **result.scores})
    assert run.quiz == result.scores["quiz"]


def test_an_empty_quiz_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="no questions"):
        take_quiz(model, tokenizer, [])
