"""Well-known facts, as relations from a question to its answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

__all__ = ["DOMAINS", "Relation", "relations"]

DOMAINS = ("geography", "science", "language", "culture", "arithmetic")


@dataclass(frozen=True)
class Relation:
    """Questions of one kind, whose answers serve each other as wrong options.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    name : str
    answers : dict
        Question -> right answer. Another question's answer is wrong unless it is the same text.
    near : bool
        Whether wrong options are the numbers nearest to the answer instead.
    """

    domain: str
    name: str
    answers: dict[str, str]
    near: bool = False


def relations() -> list[Relation]:
    """Return all relations, in a fixed order."""
    return [*_geography(), *_science(), *_language(), *_culture(), *_arithmetic()]


def _table(name: str) -> list[dict[str, str]]:
    file = resources.files(__package__) / "data" / f"{name}.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def _asked(name: str, question: str, key: str, answer: str) -> dict[str, str]:
    """Ask a question of every row of a table that answers it without giving it away."""
    rows = [row for row in _table(name) if row[key] and row[answer]]
    return {
        question.format(row[key]): row[answer]
        for row in rows
        if row[answer].lower() not in row[key].lower()
        and row[key].lower() not in row[answer].lower()
    }


def _geography() -> Iterator[Relation]:
    kinds = {
        "capital": ("What is the capital of {}?", "country", "capital"),
        "country": ("Of which country is {} the capital?", "capital", "country"),
        "continent": ("On which continent is {}?", "country", "continent"),
        "currency": ("What is the currency of {} called?", "country", "currency"),
    }
    for name, (question, key, answer) in kinds.items():
        yield Relation("geography", name, _asked("countries", question, key, answer))


def _science() -> Iterator[Relation]:
    kinds = {
        "element": ("Which element has the chemical symbol {}?", "symbol", "element"),
        "number": ("Which element has the atomic number {}?", "number", "element"),
    }
    for name, (question, key, answer) in kinds.items():
        rows = _table("elements")
        answers = {question.format(row[key]): row[answer] for row in rows}
        yield Relation("science", name, answers)
    question = "What kind of animal is this: {}?"
    yield Relation("science", "animal", _asked("animals", question, "animal", "class"))
    question = "What is the young of this animal called: {}?"
    yield Relation("science", "young", _asked("young", question, "animal", "young"))


def _language() -> Iterator[Relation]:
    kinds = {
        "opposite": ("What is the opposite of {}?", "opposites", "word", "opposite"),
        "past": ("What is the past tense of the verb {}?", "verbs", "verb", "past"),
        "plural": ("What is the plural of {}?", "plurals", "singular", "plural"),
        "french": ("What is the French word for {}?", "words", "english", "french"),
        "spanish": ("What is the Spanish word for {}?", "words", "english", "spanish"),
    }
    for name, (question, table, key, answer) in kinds.items():
        rows = _table(table)
        answers = {question.format(row[key]): row[answer] for row in rows}
        same = {question.format(row[key]) for row in rows if row[key] == row[answer]}
        kept = {asked: found for asked, found in answers.items() if asked not in same}
        yield Relation("language", name, kept)


def _culture() -> Iterator[Relation]:
    kinds = {
        "author": ("Who wrote {}?", "works", "work", "author"),
        "artist": ("Who painted or made {}?", "art", "work", "artist"),
        "composer": ("Who composed {}?", "music", "work", "composer"),
        "person": ("Who {}?", "people", "deed", "person"),
    }
    for name, (question, table, key, answer) in kinds.items():
        yield Relation("culture", name, _asked(table, question, key, answer))
    question = "In which year {}?"
    years = _asked("years", question, "event", "year")
    yield Relation("culture", "year", years, near=True)


def _arithmetic() -> Iterator[Relation]:
    products = {(a, b): a * b for a in range(3, 13) for b in range(a, 13)}
    yield _sums("product", "What is {} times {}?", products)
    # Steps without a common divisor spread the terms over all tens and units.
    terms = [(11 + 37 * i % 79, 12 + 53 * i % 83) for i in range(90)]
    yield _sums("sum", "What is {} plus {}?", {(a, b): a + b for a, b in terms})
    lowered = {(a + b, b): a for a, b in terms}
    yield _sums("difference", "What is {} minus {}?", lowered)
    doubled = {(2 * n,): n for n in range(12, 72)}
    yield _sums("half", "What is half of {}?", doubled)
    yield _sums("square", "What is {} squared?", {(n,): n * n for n in range(4, 26)})
    yield _sums(
        "roman", "Which number is {} in Roman numerals?", {(_roman(n),): n for n in range(11, 60)}
    )


def _sums(name: str, question: str, results: dict[tuple[int | str, ...], int]) -> Relation:
    answers = {question.format(*terms): str(result) for terms, result in results.items()}
    return Relation("arithmetic", name, answers, near=True)


def _roman(n: int) -> str:
    digits = ((50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
    written = ""
    for value, digit in digits:
        written += digit * (n // value)
        n %= value
    return written
