"""The card leaves no question open and its hash is of the data."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.card import data_hash
from scaling_laws.presets import load_points

QUESTIONS = {
    "law", "variables", "factors", "parameters", "reference point", "runs", "excluded", "metric",
    "test set", "link and residuals", "objective", "delta", "weights", "priors", "starts",
    "optimiser", "uncertainty", "validation", "notes", "data hash", "versions",
}  # fmt: skip

LOG = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10_000, 30_000],
                    "loss": [3.1, 2.5, 2.1, 1.8, 1.65, 1.5]})  # fmt: skip


def mine(examples, floor, size, rate):
    return floor + size * examples**-rate


FITS = {
    "plain": lambda: sl.fit(sl.laws.Power(), LOG),
    "own function": lambda: sl.fit(
        mine, LOG, parameters={"floor": (0, 2), "size": (0, 99), "rate": (0.01, 2)}
    ),
    "sigma, prior, held": lambda: sl.fit(
        sl.laws.Rectified(), LOG, sigma=0.05, prior={"a": (0.4, 0.1)}, parameters={"d": 0.0}
    ),
    "weights": lambda: sl.fit(sl.laws.Power(), LOG, weights=[1, 2, 1, 1, 1, 1]),
    "no interval": lambda: sl.fit(sl.laws.Power(), LOG[:3]),
    "collapse": lambda: sl.fit(sl.laws.Collapse(), load_points("qwen3-8b-pruned"), "mmlu"),
}


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_no_field_is_blank(make):
    card = make().card()
    assert set(card.index) == QUESTIONS
    for question, answer in card.items():
        assert isinstance(answer, str)
        assert answer.strip(), question
        assert "nan" not in answer.lower(), question


def test_the_card_says_what_was_done():
    card = FITS["sigma, prior, held"]().card()
    assert "held: d" in card["parameters"]
    assert card["priors"] == "a 0.4 ± 0.1"
    assert "sigma given as the whole error" in card["weights"]
    card = FITS["collapse"]().card()
    assert "pruned but not yet distilled" in card["excluded"]
    assert card["test set"] == "14042 items (median)"
    assert "floor 0.25" in card["metric"]


def test_the_hash_is_of_the_values():
    assert data_hash(LOG) == data_hash(LOG.sample(frac=1.0, random_state=1))
    assert data_hash(LOG) == data_hash(LOG.astype(float))
    assert data_hash(LOG) == data_hash(LOG[["loss", "examples"]])
    assert data_hash(LOG) != data_hash(LOG.assign(loss=np.nextafter(LOG["loss"], 9.0)))
    assert data_hash(LOG) != data_hash(LOG[:-1])
    assert data_hash(LOG) != data_hash(LOG.rename(columns={"loss": "task_nll"}))


def test_the_hash_survives_saving(tmp_path):
    for name, make in FITS.items():
        fit = make()
        law = fit.law if name == "own function" else None
        again = sl.load(fit.save(tmp_path / "fit.json"), law=law)
        pd.testing.assert_series_equal(fit.card(), again.card())
