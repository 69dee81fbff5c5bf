"""Multiple-choice questions made from facts: like options, gold in every place equally often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .facts import DOMAINS, Relation, relations

__all__ = ["OPTIONS", "Question", "build_quiz"]

OPTIONS = 4
# Wrong options are drawn among this many answers of nearest length.
_POOL = 12


@dataclass(frozen=True)
class Question:
    """One question with its options.

    Parameters
    ----------
    id : str
        Domain, relation and number.
    domain, relation : str
    text : str
    options : tuple of str
        Four different ones of one kind and similar length.
    answer : int
        Place of the right one.
    """

    id: str
    domain: str
    relation: str
    text: str
    options: tuple[str, ...]
    answer: int


def build_quiz(
    n: int | None = None,
    *,
    domains: Sequence[str] = DOMAINS,
    rng: int | np.random.Generator = 0,
) -> list[Question]:
    """Make general-knowledge questions from geography, science, language, culture and arithmetic.

    Wrong options are right answers to other questions of the same kind, drawn among the twelve of
    nearest length; for numbers, they are near the right one and have as many digits.

    Parameters
    ----------
    n : int, optional
        How many, as equally over the domains as they allow; all by default.
    domains : sequence of str
    rng : int or numpy.random.Generator
        Seed or generator; the same seed gives the same questions in the same order.

    Raises
    ------
    ValueError
        For more questions than there are, or an unknown domain.
    """
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown or not domains:
        raise ValueError(f"build_quiz: domains {list(domains)}; write some of {list(DOMAINS)}.")
    rng = np.random.default_rng(rng)
    made = [_ask(relation, rng) for relation in relations() if relation.domain in domains]
    questions = [question for part in made for question in part]
    if n is not None:
        questions = _chosen(questions, n, rng)
    order = rng.permutation(len(questions))
    places = rng.permutation(np.arange(len(questions)) % OPTIONS)
    return [_placed(questions[i], int(place)) for i, place in zip(order, places, strict=True)]


def _ask(relation: Relation, rng: np.random.Generator) -> list[Question]:
    """Make the questions of a relation, gold first."""
    answers = sorted(set(relation.answers.values()))
    questions = []
    for number, (text, gold) in enumerate(relation.answers.items(), start=1):
        if relation.near:
            pool = _numbers(int(gold))
        else:
            others = [answer for answer in answers if answer != gold]
            # Ties in length are broken at random, not by the alphabet.
            ties = rng.permutation(len(others))
            by_length = np.lexsort((ties, [abs(len(other) - len(gold)) for other in others]))
            pool = [others[i] for i in by_length[:_POOL]]
        wrong = rng.choice(len(pool), OPTIONS - 1, replace=False)
        options = (gold, *(pool[i] for i in wrong))
        name = f"{relation.domain}/{relation.name}/{number}"
        questions.append(Question(name, relation.domain, relation.name, text, options, 0))
    return questions


def _numbers(gold: int) -> list[str]:
    """Numbers near the right one, with as many digits."""
    steps = (-20, -11, -10, -9, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 9, 10, 11, 20)
    return [str(gold + s) for s in steps if gold + s > 0 and len(str(gold + s)) == len(str(gold))]


def _chosen(questions: list[Question], n: int, rng: np.random.Generator) -> list[Question]:
    if not 0 < n <= len(questions):
        raise ValueError(f"build_quiz: n = {n} is not in [1, {len(questions)}], all there are.")
    order = [questions[i] for i in rng.permutation(len(questions))]
    # The i-th question of each domain before the next of any.
    seen: Counter[str] = Counter()
    turns = []
    for question in order:
        turns.append(seen[question.domain])
        seen[question.domain] += 1
    return [order[i] for i in np.argsort(turns, kind="stable")[:n]]


def _placed(question: Question, place: int) -> Question:
    gold, *wrong = question.options
    options = (*wrong[:place], gold, *wrong[place:])
    return Question(question.id, question.domain, question.relation, question.text, options, place)
