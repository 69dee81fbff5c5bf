"""Notes on noise and on the form: how often they come when they should, and when they should not."""

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.chains import chain_rotation
from scaling_laws.study import Noise

COLLAPSE, CURVE = sl.laws.Collapse(), {"acc1": 0.75, "k0": 0.5, "s": 6.0}
KEPT = np.linspace(0.9, 0.2, 8).round(1)
CHAINS = pd.DataFrame([(k, f"c{c}") for c in range(12) for k in KEPT], columns=["kept", "chain_id"])
LOGS = 40


def most(rate, logs=LOGS):
    """Three binomial standard errors above a rate."""
    return rate + 3 * np.sqrt(rate * (1 - rate) / logs)


def codes(fit):
    return {n.code for n in fit.notes}


# --- noise that changes ---------------------------------------------------------------------------


def chained(seed, growth=1.0):
    """Each stage adds an error, `growth` times that of the stage before, to all later ones."""
    exact = sl.simulate(COLLAPSE, CHAINS, CURVE, 0.0, metric="mmlu").frame
    sd = 0.003 * growth ** np.arange(8)
    error = (sd * np.random.default_rng(seed).standard_normal((12, 8))).cumsum(axis=1)
    return exact.assign(mmlu=exact["mmlu"] + error.ravel())


def uneven(rows):
    return "uneven_noise" in codes(sl.fit(COLLAPSE, rows, "mmlu"))


def test_errors_that_add_up_along_a_chain_are_no_uneven_noise():
    """Their scatter grows along the chain as the weights of the chain say."""
    told = np.mean([uneven(chained(seed)) for seed in range(LOGS)])
    assert told <= most(0.05)
    nameless = [uneven(chained(seed).drop(columns="chain_id")) for seed in range(10)]
    assert np.mean(nameless) > 0.5


def test_stages_whose_own_errors_grow_are():
    # From .003 to .03 within a chain.
    assert np.mean([uneven(chained(seed, 10 ** (1 / 7))) for seed in range(10)]) > 0.5


def test_small_test_sets_are_no_uneven_noise():
    """Binomial noise changes with the score, and the fit weighs rows by it."""
    rows = CHAINS.drop(columns="chain_id")

    def log(seed):
        return sl.simulate(COLLAPSE, rows, CURVE, Noise(items=200), seed, metric="mmlu")

    assert np.mean([uneven(log(seed)) for seed in range(LOGS)]) <= most(0.05)


def test_innovations_are_independent_and_stay_with_their_rows():
    rng = np.random.default_rng(0)
    unit = np.array([0, 1, 0, 1, 0, 0, 1])
    # Two rows of one place are two students of one parent.
    positions = np.array([3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    variance, rho, s2 = rng.uniform(0.1, 1.0, 7), 0.75, 0.5
    chains = chain_rotation(unit, rho, positions, variance)
    same = unit[:, None] == unit
    shared = rho * np.minimum(positions[:, None], positions) + (1 - rho) * np.eye(7)
    sigma = np.diag(variance) + s2 * shared * same
    w = np.stack([chains.innovations(e, s2) for e in np.eye(7)], axis=1)
    np.testing.assert_allclose(w @ sigma @ w.T, np.eye(7), atol=1e-12)
    later = positions > positions[:, None]
    assert np.all(w[later | ~same] == 0)
    assert np.all(np.diag(w) > 0)
