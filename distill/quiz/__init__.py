"""A built-in quiz of general knowledge: facts, questions made from them, and how a model scores."""

from .facts import DOMAINS
from .questions import Question, build_quiz
from .score import QuizResult, random_copy, take_quiz

__all__ = ["DOMAINS", "Question", "QuizResult", "build_quiz", "random_copy", "take_quiz"]
