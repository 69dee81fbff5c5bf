"""Intervals of the forms with more parameters: interaction, plateau, curves that bend.

The fast part judges the share of hits over all places and kinds of interval of a log, counted as
if they were one: places of a log hit and miss together, so this errs on the side of passing. Of
intervals that cover what they claim a limit fails one set of logs in two hundred; over all cells it
fails, at a coverage of .80, more than nine sets in ten.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import scaling_laws as sl
from tests.benchmarks.coverage_table import CELLS, FURTHER, TRUTHS, run

SLOW = 300
# Logs of the cells that take least: six parameters of two axes, a curve that bends, three of one.
QUICK = {
    "interaction n=10000 independent units=12": 80,
    "broken independent units=16": 50,
    "collapse n=10000 independent units=12": 140,
}
DRAWS = 199
# What ends between the draws of ranks .05 (B - 1) + 1 and .95 (B - 1) + 1 claim of B + 1 gaps.
CLAIMED = 1 - 2 * (0.05 * (DRAWS - 1) + 1) / (DRAWS + 1)
RARE, POWER = 0.005, 0.9


def least(logs):
    """Hits that a coverage as claimed falls short of in one set of two hundred at most."""
    return int(binom.ppf(RARE, logs, CLAIMED))


@pytest.fixture(scope="module")
def quick():
    """Coverage of every quick cell."""
    found = {}
    for cell in (c for c in (*CELLS, *FURTHER) if c.name in QUICK):
        law, truth = TRUTHS[cell.truth]
        found[cell.name] = sl.coverage(
            law, cell.design(), truth, cell.noise(), cell.points(), metric=cell.metric,
            n=QUICK[cell.name], draws=DRAWS, rng=1,
        )  # fmt: skip
    return found


def test_the_fast_limits_tell_80_from_90_per_cent():
    logs = sum(QUICK.values())
    assert binom.cdf(least(logs) - 1, logs, CLAIMED) <= RARE
    assert binom.cdf(least(logs) - 1, logs, 0.8) >= POWER


@pytest.mark.parametrize("name", QUICK)
def test_coverage(quick, name):
    table, logs = quick[name], QUICK[name]
    assert table["coverage"].mean() >= least(logs) / logs, table
    assert table["coverage"].mean() <= 0.96 + 3 * np.sqrt(0.96 * 0.04 / logs), table
    # The median width of some hundred logs has an error of a few per cent.
    assert (table["oracle"].dropna() <= 1.4 * 1.05).all(), table
    assert table["refused"].max() <= 0.05


def test_coverage_over_all_cells(quick):
    logs = sum(QUICK.values())
    hits = sum(QUICK[name] * table["coverage"].mean() for name, table in quick.items())
    assert hits >= least(logs), pd.concat(quick)


@pytest.mark.slow
@pytest.mark.parametrize("cell", FURTHER, ids=lambda c: c.name)
def test_coverage_of_every_form(cell):
    """Within the limits but for three binomial errors around .9, and .3 points for the draws."""
    table = run(cell, SLOW, seed=1)
    slack = 3 * np.sqrt(0.09 / SLOW) + 0.003
    low, high = cell.limits
    assert table["coverage"].between(low - slack, high + slack).all(), table
    assert (table["oracle"].dropna() <= 1.4 * 1.05).all(), table
    assert table["refused"].max() <= 0.05
