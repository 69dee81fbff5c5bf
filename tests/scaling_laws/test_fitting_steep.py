"""Steep curves: found wherever they fall, and certified."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.presets import load_points
from scaling_laws.search import along_curve

L = sl.laws


def steps(seed, count):
    """Logs of 5 to 12 sizes whose score falls in one step, at or between two of them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kept = np.append(1.0, np.sort(rng.uniform(0.1, 0.97, rng.integers(4, 12)))[::-1])
        high, low, at = rng.uniform(0.5, 0.9), rng.uniform(0.0, 0.3), rng.uniform(kept[-1], 0.97)
        score = np.where(kept > at, high, low) + rng.normal(0.0, 0.005, len(kept))
        yield pd.DataFrame({"kept": kept, "task_accuracy": np.clip(score, 0.0, 1.0)})


def lowest_of_a_scan(rows, s):
    """Lowest half sum of squares of a Collapse of known steepness, by a scan over k0."""
    v, y = rows["kept"].to_numpy(), rows["task_accuracy"].to_numpy()
    # The curve changes only within a few 1/s of a run.
    near = np.log(v)[:, None] + np.linspace(-12.0, 12.0, 121) / s
    a = np.concatenate([np.linspace(np.log(0.01), np.log(3.0), 500), near.ravel()])[:, None]
    a = np.clip(a, np.log(0.01), np.log(3.0))
    r = np.exp(np.logaddexp(0.0, s * a) - np.logaddexp(0.0, s * (a - np.log(v))))
    top = np.clip((r @ y) / (r * r).sum(1), 0.0, 1.0)
    return 0.5 * float(((y - top[:, None] * r) ** 2).sum(1).min())


@pytest.mark.parametrize("s", [100.0, 300.0])
def test_a_steep_curve_is_found_wherever_it_falls_and_certified(s):
    """Between two runs the objective does not change with k0, so most starts learn nothing."""
    for rows in steps(1, 25):
        fit = sl.fit(L.Collapse(floor=0.0), rows, "task_accuracy", parameters={"s": s})
        # A minimum is below every point of a scan, but for rounding of sums of squares below 1.
        assert fit.objective <= lowest_of_a_scan(rows, s) + 1e-12
        assert fit.starts.global_optimum, fit.starts


def test_the_published_points_of_mmlu_are_fitted_by_a_step():
    """At s = 300 a k0 at .80 leaves the smallest student .21 off; one at .67 fits all five."""
    points = load_points("qwen3-8b-pruned").frame
    rows = points[points["phase"].isin(["teacher", "distilled"])].assign(phase="distilled")
    fit = sl.fit(L.Collapse(), rows, "mmlu", parameters={"s": 300.0})
    # The five scores, printed to four digits: the upper four span .0327, and the one k0 moves the
    # fifth freely.
    assert np.abs(fit.problem.y - fit.model.mean(fit.estimate.theta[None])[0]).max() < 0.0327
    assert 0.67 < fit.values["k0"] < 0.67 * np.exp(5 / 300)
    assert fit.starts.global_optimum


def test_starts_along_the_curve_divide_what_it_does_evenly():
    rows = next(steps(2, 1))
    problem = sl.fit(L.Collapse(floor=0.0), rows, "task_accuracy", parameters={"s": 300.0}).problem
    model, held = problem.model, np.array([False, False, True])
    u = (np.arange(64) + 0.5) / 64
    start = np.tile([0.7, 0.0, np.log(300.0)], (64, 1))
    placed = along_curve(model, problem.y, start, np.tile(u[:, None], 3), held)
    np.testing.assert_array_equal(placed[:, [0, 2]], start[:, [0, 2]])
    ends = start[:2].copy()
    ends[:, 1] = np.log([0.01, 3.0])
    first, last = model.mean(ends)
    # A larger k0 lowers every score, so the change so far is one difference.
    share = (first - model.mean(placed)).sum(1) / (first - last).sum()
    # Placed to half of ln(300) / 2^16; one run falls by at most s / 4 a unit of ln k0, relative to
    # its whole, and near kept = 1 two factors do.
    assert np.abs(share - u).max() < 2 * 300 / 4 * np.log(300.0) / 2**17
