"""How far labels are looked for, and which run moves the number of them."""

import re

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.decide.labels import _sizes
from scaling_laws.show import number
from tests.logs import grid

SIZES = grid(examples=np.geomspace(6e3, 4e5, 12).round())


def test_sizes_looked_at_are_as_far_beyond_the_log_as_it_is_wide():
    """And of a narrow log ten times as far; under one example nobody has."""
    assert _sizes(1e3, 1e5, None)[[0, -1]] == pytest.approx([10.0, 1e7])
    assert _sizes(64, 128, None)[[0, -1]] == pytest.approx([6.4, 1280])
    assert _sizes(10, 1e4, None)[[0, -1]] == pytest.approx([1, 1e7])
    assert _sizes(0.2, 0.8, None)[[0, -1]] == pytest.approx([0.02, 8.0])
    assert _sizes(1e3, 1e5, 2e3)[[0, -1]] == pytest.approx([10.0, 2e3])


def test_what_moves_few_labels_is_said_of_a_size_of_the_log():
    """A target beneath the curve everywhere: no run moves the size where it is met."""
    log = sl.simulate(
        sl.laws.Power(), SIZES, {"E": 2.0, "A": 0.02, "a": 0.3}, 0.002, 1, metric="task_accuracy"
    )
    level = sl.fit(sl.laws.Power(), log, "task_accuracy")
    first, last = SIZES["examples"].min(), SIZES["examples"].max()
    found = sl.decide.labels_needed(level, at_least=0.1)
    few = f"{number(first**2 / last)} examples or fewer"
    assert found.answer == few
    assert found.why.change == f"at even odds {few} would do"
    told = re.fullmatch(
        r"without the configuration .* task_accuracy at (\S+) examples is (\S+) instead of (\S+)",
        found.why.run,
    )
    assert told[1] == number(first)
    score = level.predict(examples=first, interval=None)["estimate"].iloc[0]
    assert float(told[3]) == pytest.approx(score, abs=10.0 ** -(len(told[3]) - 2))


def test_the_top_of_what_falls_is_at_a_size_of_the_log():
    """Below the log a falling curve is higher still, and no run says so."""
    design = grid(examples=[100.0, 1e3, 1e4, 1e5], kept=[1.0, 0.6, 0.3])
    truth = {"e": 1.0, "a": 0.4, "b": 0.3, "c": 0.5, "g": 0.9}
    law = sl.laws.Forgetting()
    log = sl.simulate(law, design, truth, 0.005, 1, metric="quiz")
    fit = sl.fit(law, log, "quiz")
    found = sl.decide.labels_needed(fit, at_least=0.95, kept=0.6)
    assert not found.found
    assert found.values["distance"] == 0
    top = fit.predict(examples=100.0, kept=0.6, interval=None)["estimate"].iloc[0]
    assert found.values["top_quiz"][0] == pytest.approx(top, abs=0.02)
