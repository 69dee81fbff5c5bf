"""Intervals of the forms with more parameters: interaction, plateau, curves that bend."""

import numpy as np
import pytest

from tests.benchmarks.coverage_table import FURTHER, run

FAST, SLOW = 80, 300
# A cell of each kind that takes seconds, and the rest.
QUICK = ("interaction n=10000 independent units=12", "broken independent units=16")


def check(cell, logs):
    """Within the limits but for three binomial errors around .9, and .3 points for the draws."""
    table = run(cell, logs, seed=1)
    slack = 3 * np.sqrt(0.09 / logs) + 0.003
    low, high = cell.limits
    assert table["coverage"].between(low - slack, high + slack).all(), table
    # The median width of some hundred logs has an error of a few per cent.
    assert (table["oracle"].dropna() <= 1.4 * 1.05).all(), table
    assert table["refused"].max() <= 0.05


@pytest.mark.parametrize("name", QUICK)
def test_coverage(name):
    (cell,) = (c for c in FURTHER if c.name == name)
    check(cell, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("cell", FURTHER, ids=lambda c: c.name)
def test_coverage_of_every_form(cell):
    check(cell, SLOW)
