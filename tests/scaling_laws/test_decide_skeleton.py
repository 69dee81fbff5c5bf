"""Curves of many draws from a few of their points: as exact as said, or not at all."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.decide.draws import joint_of
from scaling_laws.decide.sampled import near, sampled
from scaling_laws.decide.skeleton import spanned


def counting(table):
    """Return an evaluation of a table, and how many values it was asked for."""
    asked = []

    def evaluate(points, draws):
        asked.append(len(points) * len(draws))
        return table[np.ix_(points, draws)]

    return evaluate, asked


@settings(max_examples=60, deadline=None)
@given(
    width=st.floats(0.01, 1.5),
    exponent=st.floats(0.05, 2.0),
    spread=st.floats(0.0, 0.4),
    seed=st.integers(0, 2**20),
)
def test_smooth_curves_are_found_to_what_is_promised(width, exponent, spread, seed):
    rng = np.random.default_rng(seed)
    u = rng.uniform(0.0, width, 200)
    b = exponent * np.exp(spread * rng.standard_normal(500))
    table = 1.0 / (1.0 + np.exp(np.exp(-b * u[:, None]) - rng.normal(0.5, 0.2, 500)))
    evaluate, _ = counting(table)
    found = spanned(evaluate, 200, 500)
    if found is not None:
        assert np.abs(found - table).max() <= 1e-8 * table.max()


def test_curves_of_close_points_cost_a_few_of_them():
    rng = np.random.default_rng(0)
    u, b = rng.uniform(0.0, 0.5, 256), rng.uniform(0.2, 0.6, 1000)
    evaluate, asked = counting(np.exp(-b * u[:, None]))
    assert spanned(evaluate, 256, 1000) is not None
    assert sum(asked) < 256 * 1000 / 8


@pytest.mark.parametrize("what", ["noise", "few points", "few draws", "not finite"])
def test_what_is_not_worth_it_is_left_to_be_evaluated(what):
    rng = np.random.default_rng(0)
    table = np.outer(rng.uniform(1, 2, 300), rng.uniform(1, 2, 400))
    table = {
        "noise": rng.normal(size=(300, 400)),
        "few points": table[:20],
        "few draws": table[:, :20],
        "not finite": np.where(table > 3.9, np.inf, table),
    }[what]
    assert spanned(counting(table)[0], *table.shape) is None


def test_a_draw_like_no_other_is_noticed():
    rng = np.random.default_rng(0)
    u, b = rng.uniform(0.0, 1.0, 256), rng.uniform(0.2, 0.4, 1000)
    table = np.exp(-b * u[:, None])
    table[:, 503] = np.abs(u - 0.5) * 3  # bent, and far from the others
    assert spanned(counting(table)[0], *table.shape) is None


@pytest.mark.parametrize("kind", ["additive", "rectified"])
def test_a_cell_of_candidates_has_the_curves_of_predict(kind):
    law = sl.laws.Compressed(kind)
    truth = {"e": 2.3, "a": 1.0, "b": 0.4, "c": 0.5, "g": 0.9}
    truth |= {"d": 0.5} if kind == "rectified" else {}
    design = pd.MultiIndex.from_product(
        [np.logspace(2, 6, 6).round(), [1.0, 0.79, 0.58, 0.37, 0.16]], names=["examples", "kept"]
    ).to_frame(index=False)
    fit = sl.fit(law, sl.simulate(law, design, truth, 0.01, 1, metric="task_f1").frame, "task_f1")
    rng = np.random.default_rng(2)
    offered = pd.DataFrame(
        {"examples": np.exp(rng.uniform(5, 15, 3000)), "kept": rng.uniform(0.1, 1.0, 3000)}
    )
    joint = joint_of(fit, None)
    drawn = sampled(joint, "task_f1", offered)
    for cell, _ in near(joint, offered)[::3]:
        exact = joint.values("task_f1", offered.iloc[cell], "mean")
        np.testing.assert_allclose(drawn.values(cell), exact, rtol=0, atol=1e-8)
