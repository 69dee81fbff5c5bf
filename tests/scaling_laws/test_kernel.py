"""The batched minimiser: optimality, independence of rows, bounds, weights, Huber's objective."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

import scaling_laws as sl
from scaling_laws.kernel import CONVERGED, STALLED, Objective, minimise
from scaling_laws.model import Link, bind

ROWS = 40


def power(rows=ROWS, seed=0, noise=0.02):
    """Return the model of a power with a floor and noisy log losses of it."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.uniform(np.log(1e2), np.log(1e6), rows))
    model = bind(sl.laws.Power(), {"examples": x}, np.zeros(rows, int), ("",), Link("log"))
    y = np.log(1.0 + 0.5 * (x / 1e4) ** -0.3) + noise * rng.standard_t(2, rows)
    return model, y


def solve(model, y, theta, **options):
    return minimise(model, y, theta, lower=model.lower, upper=model.upper, **options)


def starts(model, count, seed=0):
    """Spread starts over a box in which every row of `power` has one basin."""
    rng = np.random.default_rng(seed)
    return rng.uniform([0.2, 0.1, 0.1], [1.5, 1.5, 0.9], (count, 3))


def total(model, y, theta, objective, weights=1.0, scale=1.0):
    """Objective at ``theta [B, p]``, apart from the kernel."""
    r = (y - model.residual_mean(theta)) * scale
    rho = 0.5 * r * r
    delta = objective.delta
    if np.isfinite(delta):
        rho = np.where(np.abs(r) <= delta, rho, delta * np.abs(r) - 0.5 * delta**2)
    return (weights * rho).sum(-1)


@pytest.mark.parametrize("delta", [np.inf, 0.02, 1e-3])
def test_gradient_vanishes_at_the_optimum(delta):
    """Central differences of the objective, computed here, in units of its curvature."""
    model, y = power()
    objective = Objective(delta)
    rng = np.random.default_rng(1)
    weights, scale = rng.integers(1, 4, ROWS).astype(float), rng.uniform(0.5, 2.0, ROWS)
    found = solve(
        model, y, starts(model, 5), objective=objective, weights=weights, scale=scale, steps=200
    )
    assert (found.status == CONVERGED).all()
    best = found.theta[np.argmin(found.objective)]
    step = 1e-5 * np.eye(3)
    up, down = (total(model, y, best + s, objective, weights, scale) for s in (step, -step))
    here = total(model, y, best[None], objective, weights, scale)
    assert found.objective.min() == pytest.approx(here[0], rel=1e-12)
    # A step of 1e-5 in the best direction would win less than the curvature allows by rounding.
    assert (np.minimum(up, down) >= here * (1 - 1e-12)).all()
    slope = np.abs(up - down) / (2 * 1e-5)
    curvature = np.maximum(up + down - 2 * here, 0) / 1e-10
    assert (slope <= 1e-5 * np.sqrt(2 * here * np.maximum(curvature, 1e-12)) + 1e-8).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), delta=st.sampled_from([1e-3, 1e-2, 0.1]))
def test_huber_objective_equals_scipys(seed, delta):
    """``least_squares(loss="huber", f_scale=delta)`` minimises the same sum."""
    model, y = power(seed=seed)
    found = solve(model, y, starts(model, 4), objective=Objective(delta), steps=200)
    start = found.theta[np.argmin(found.objective)] * [1.02, 0.98, 1.02]
    peer = least_squares(
        lambda t: model.residual_mean(t[None])[0] - y,
        np.clip(start, model.lower + 1e-6, model.upper),
        jac=lambda t: model.evaluate(t[None])[1][0].T,
        bounds=(model.lower, model.upper),
        loss="huber", f_scale=delta, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14,
        max_nfev=500,
    )  # fmt: skip
    # Either may stop a little early; ours may not be the one that is worse.
    assert found.objective.min() <= peer.cost * (1 + 1e-8)
    assert found.objective.min() >= peer.cost * (1 - 1e-3)
    ours = total(model, y, found.theta, Objective(delta))
    np.testing.assert_allclose(found.objective, ours, rtol=1e-12)


def test_rows_do_not_see_each_other():
    """A row alone ends exactly where it ends in a batch, whatever its neighbours do."""
    model, y = power()
    rng = np.random.default_rng(2)
    many = y + 0.02 * rng.standard_normal((30, ROWS))
    weights = rng.integers(0, 3, (30, ROWS)).astype(float)
    theta = starts(model, 30)
    free = rng.random((30, 3)) < 0.8
    free[:, 0] = True
    together = solve(model, many, theta, weights=weights, free=free, objective=Objective(0.01))
    for i in range(30):
        alone = solve(
            model, many[i], theta[i : i + 1], weights=weights[i], free=free[i],
            objective=Objective(0.01),
        )  # fmt: skip
        assert alone.objective[0] == pytest.approx(together.objective[i], rel=1e-12)
        np.testing.assert_allclose(alone.theta[0], together.theta[i], rtol=1e-7, atol=1e-9)
        assert alone.steps[0] == together.steps[i]


def test_held_coordinates_do_not_move():
    model, y = power()
    theta = starts(model, 6)
    free = np.array([True, False, True])
    found = solve(model, y, theta, free=free)
    np.testing.assert_array_equal(found.theta[:, 1], theta[:, 1])
    assert not np.isclose(found.theta[:, 0], theta[:, 0]).any()


def test_the_active_set_ends_where_the_bound_is_the_answer():
    """A floor that wants to be negative ends exactly at 0; the rest is optimal given that."""
    model, _ = power()
    x = np.exp(model.x["examples"])
    y = np.log(0.8 * x**-0.25 - 0.02)
    found = solve(model, y, starts(model, 8), steps=200)
    assert (found.theta[:, 0] == 0.0).all()
    held = solve(
        model, y, np.column_stack([np.zeros(8), starts(model, 8)[:, 1:]]),
        free=np.array([False, True, True]), steps=200,
    )  # fmt: skip
    np.testing.assert_allclose(found.objective, held.objective, rtol=1e-9)
    # The objective still falls beyond the bound, so it is the bound that stopped it.
    inside = total(model, y, found.theta[:1] + [[1e-6, 0, 0]], Objective())
    assert inside[0] > found.objective[0]


def test_a_bound_is_left_again_when_the_data_ask_for_it():
    model, y = power()
    free = solve(model, y, starts(model, 1), steps=200)
    at_bound = np.column_stack([np.zeros(4), starts(model, 4)[:, 1:]])
    found = solve(model, y, at_bound, steps=200)
    np.testing.assert_allclose(found.objective, free.objective[0], rtol=1e-9)
    assert (found.theta[:, 0] > 0).all()


def test_starts_outside_the_bounds_are_taken_inside():
    model, y = power()
    found = solve(model, y, np.array([[-5.0, 0.5, 0.3], [1.0, 0.5, 9.0]]), steps=200)
    assert (found.theta >= model.lower).all()
    assert (found.theta <= model.upper).all()
    assert found.objective[0] == pytest.approx(found.objective[1], rel=1e-9)


def test_weights_count_rows():
    model, y = power()
    times = np.random.default_rng(3).integers(0, 4, ROWS)
    examples = np.exp(model.x["examples"]) * model.frame.centre["examples"]
    again = model.at({"examples": np.repeat(examples, times)}, np.zeros(times.sum(), int))
    theta = starts(model, 3)
    one = solve(model, y, theta, weights=times.astype(float), objective=Objective(0.01))
    two = solve(again, np.repeat(y, times), theta, objective=Objective(0.01))
    np.testing.assert_allclose(one.objective, two.objective, rtol=1e-9)
    np.testing.assert_allclose(one.theta, two.theta, rtol=1e-6)


def test_a_prior_is_a_row_more():
    """``(theta - c) / sd`` squared and halved; with nothing else it is its own optimum."""
    model, y = power()
    centre, inverse = np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.0, 1e4])
    found = solve(model, y, starts(model, 3), objective=Objective(prior=(centre, inverse)))
    np.testing.assert_allclose(found.theta[:, 2], 0.5, atol=1e-6)
    weak = solve(model, y, starts(model, 3), objective=Objective(prior=(centre, inverse * 1e-9)))
    none = solve(model, y, starts(model, 3))
    np.testing.assert_allclose(weak.objective, none.objective, rtol=1e-6)
    theta = found.theta[:1]
    expected = total(model, y, theta, Objective())[0] + 0.5 * (1e4 * (theta[0, 2] - 0.5)) ** 2
    assert found.objective[0] == pytest.approx(expected, rel=1e-12)


def test_running_out_of_steps_is_told():
    model, y = power()
    few = solve(model, y, starts(model, 5), steps=2)
    assert (few.status == STALLED).all()
    assert (few.steps == 2).all()
    enough = solve(model, y, starts(model, 5), steps=200)
    assert (enough.status == CONVERGED).all()
    assert (enough.objective <= few.objective).all()


def test_a_start_where_the_curve_does_not_exist_leaves_the_others_alone():
    """A negative mean has no logarithm: that row stalls at infinity, the others converge."""
    model, y = power()

    class Shifted:
        def evaluate(self, theta, rows=None):
            mean, jacobian = model.evaluate(theta, rows)
            bad = theta[:, 2] > 2.5
            mean[bad] = np.nan
            return mean, jacobian

    theta = np.concatenate([starts(model, 2), [[1.0, 0.5, 2.9]]])
    found = minimise(Shifted(), y, theta, lower=model.lower, upper=model.upper, steps=200)
    assert found.status[2] == STALLED
    assert found.objective[2] == np.inf
    assert (found.status[:2] == CONVERGED).all()


class Valley:
    """Rosenbrock's: residuals ``10 (b - a^2)`` and ``1 - a``, a curved valley to (1, 1)."""

    def evaluate(self, theta, rows=None):
        a, b = theta.T
        mean = np.stack([10 * (b - a * a), 1 - a], axis=1)
        zero, one = np.zeros_like(a), np.ones_like(a)
        slopes = [[-20 * a, -one], [10 * one, zero]]
        return mean, np.stack([np.stack(row, axis=-1) for row in slopes], axis=1)


@pytest.mark.parametrize("bend_after", [0, 5, 1000])
def test_a_curved_valley_is_followed_to_its_end(bend_after):
    theta = np.array([[-1.2, 1.0], [3.0, -2.0], [-4.0, 9.0]])
    unbounded = np.full(2, np.inf)
    found = minimise(
        Valley(), np.zeros(2), theta, lower=-unbounded, upper=unbounded, steps=300,
        bend_after=bend_after,
    )  # fmt: skip
    np.testing.assert_allclose(found.theta, 1.0, atol=1e-7)
    assert (found.status == CONVERGED).all()


class Magnetism:
    """``a (b + x)^(-1 / c)`` far from its pole: all three parameters nearly do the same."""

    x = np.linspace(7.0, 12.0, 40)
    truth = np.array([-2500.0, 46.0, 0.93])

    def evaluate(self, theta, rows=None):
        a, b, c = theta.T[..., None]
        log = np.log(b + self.x)
        mean = a * np.exp(-log / c)
        return mean, np.stack([mean / a, -mean / (c * (b + self.x)), mean * log / c**2], axis=1)


def test_bending_saves_most_steps_in_a_curved_valley():
    curve, unbounded = Magnetism(), np.full(3, np.inf)
    y, _ = curve.evaluate(curve.truth[None])
    steps = []
    for bend_after in (0, 100_000):
        found = minimise(
            curve, y, np.array([[-1500.0, 45.0, 0.85]]), lower=-unbounded, upper=unbounded,
            steps=5000, bend_after=bend_after,
        )  # fmt: skip
        assert found.objective[0] < 1e-12
        steps.append(int(found.steps[0]))
    assert steps[0] < steps[1] / 2
