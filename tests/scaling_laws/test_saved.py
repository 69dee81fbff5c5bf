"""Saved fits reload bit-identically; anything else is refused with a sentence."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.study import Noise

ACCURACY = sl.Metric("task_accuracy", "higher", "in-domain", 1 / 35, 1.0, "logit", "proportion")


def chained():
    levels = (1e4, 1e5, 1e6)
    design = pd.DataFrame(
        [
            (levels[c % 3], k, f"c{c}", f)
            for c in range(9)
            for k in (0.79, 0.58, 0.37)
            for f in ("label", "cot")
        ],
        columns=["examples", "kept", "chain_id", "format"],
    )
    law = sl.laws.Compressed(by="format")
    log = sl.simulate(
        law,
        design,
        {"e": 2.3, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9},
        Noise(chain=0.02, items=10_000),
        1,
        metric=ACCURACY,
    )
    return sl.fit(law, log, ACCURACY, rng=11), {
        "examples": [5e4, 5e6],
        "kept": 0.4,
        "format": "cot",
    }


def losses():
    frame = pd.DataFrame({"examples": np.logspace(2, 6, 24).round()})
    log = sl.simulate(sl.laws.Rectified(), frame, {"E": 1, "A": 1, "a": 0.5, "d": 0.3}, 0.02, 2)
    fit = sl.fit(sl.laws.Rectified(), log, prior={"a": (0.5, 0.2)}, weights=np.arange(1, 25))
    return fit, {"examples": [1e3, 1e8]}


def tied():
    frame = pd.DataFrame(
        {"params": np.tile(np.logspace(7, 10, 5), 5), "tokens": np.repeat(np.logspace(8, 11, 5), 5)}
    )
    truth = {"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.34, "beta": 0.34}
    log = sl.simulate(sl.laws.Chinchilla(), frame, truth, 0.01, 3)
    tie = {"tie": {"coefficients": {"alpha": 1.0}}}
    fit = sl.fit(sl.laws.Chinchilla(), log, parameters={"beta": tie, "E": 1.7})
    return fit, {"params": 7e10, "tokens": 1e12}


@pytest.mark.parametrize("make", [chained, losses, tied])
def test_round_trip_is_bit_identical(make, tmp_path):
    fit, point = make()
    again = sl.load(fit.save(tmp_path / "fit.json"))
    for interval in ("mean", "run"):
        pd.testing.assert_frame_equal(
            fit.predict(**point, interval=interval),
            again.predict(**point, interval=interval),
            check_exact=True,
        )
    pd.testing.assert_frame_equal(fit.parameters, again.parameters, check_exact=True)
    pd.testing.assert_frame_equal(fit.residuals, again.residuals, check_exact=True)
    assert str(fit.starts) == str(again.starts)
    assert [n.sentence for n in fit.notes] == [n.sentence for n in again.notes]
    assert fit.card() == again.card()


def mine(examples, floor, size, rate):
    return floor + size * examples**-rate


def test_user_laws_are_given_again(tmp_path):
    log = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(1, 8)]
    bounds = {"floor": (0, 2), "size": (0, 10), "rate": (0.01, 2)}
    fit = sl.fit(mine, log, parameters=bounds)
    path = fit.save(tmp_path / "own.json")
    with pytest.raises(ValueError, match="your own law 'mine': pass law="):
        sl.load(path)
    with pytest.raises(ValueError, match="law= is Power"):
        sl.load(path, law=sl.laws.Power())
    again = sl.load(path, law=fit.law)
    assert again.values == fit.values


def test_a_function_is_given_again_as_it_was_fitted(tmp_path):
    log = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(1, 8)]
    bounds = {"floor": (0, 2), "size": (0, 10), "rate": (0.01, 2)}
    path = sl.fit(mine, log, parameters=bounds).save(tmp_path / "own.json")
    fit, again = sl.load(path, law=mine), sl.load(path, law=sl.fit(mine, log).law)
    assert fit.values == again.values
    pd.testing.assert_frame_equal(
        fit.predict(examples=1e8), again.predict(examples=1e8), check_exact=True
    )


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (sl.laws.Power, r"law = Power is a class; write Power\(...\)"),
        (3, "law = 3 is neither a Law nor a function"),
        (lambda examples, floor: floor, "law= has no argument size, rate"),
    ],
)
def test_what_is_no_law_is_told(law, message, tmp_path):
    log = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(1, 8)]
    bounds = {"floor": (0, 2), "size": (0, 10), "rate": (0.01, 2)}
    path = sl.fit(mine, log, parameters=bounds).save(tmp_path / "own.json")
    with pytest.raises(ValueError, match=message):
        sl.load(path, law=law)


def test_a_law_on_another_scale_is_refused(tmp_path):
    """A function alone does not say on which scale a parameter was fitted."""
    from scaling_laws.laws.base import from_function

    log = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(1, 8)]
    rate = sl.Param("rate", lower=0.01, upper=2, scale="log")
    law = from_function(mine, ["examples"], {"floor": (0, 2), "size": (0, 10), "rate": rate})
    fit = sl.fit(law, log)
    path = fit.save(tmp_path / "own.json")
    assert sl.load(path, law=law).values == fit.values
    with pytest.raises(ValueError, match="scales linear, linear, log; those of law= are linear"):
        sl.load(path, law=mine)


@pytest.fixture
def saved(tmp_path):
    fit, _ = losses()
    return fit.save(tmp_path / "fit.json")


def rewrite(path, change):
    """Change the payload and make the hash agree, as one who forges a file would."""
    whole = json.loads(path.read_text())
    change(whole)
    text = json.dumps(whole["fit"], ensure_ascii=False)
    whole["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(whole))
    return path


def test_truncated(saved):
    saved.write_text(saved.read_text()[:-200])
    with pytest.raises(ValueError, match="not a whole JSON file"):
        sl.load(saved)


def test_foreign(tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    with pytest.raises(ValueError, match="no saved fit"):
        sl.load(other)
    other.write_text("[1, 2]")
    with pytest.raises(ValueError, match="no saved fit"):
        sl.load(other)
    other.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(ValueError, match="not a whole JSON file"):
        sl.load(other)


def test_changed(saved):
    saved.write_text(saved.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match="hash does not agree"):
        sl.load(saved)


def test_newer_version(saved):
    with pytest.raises(ValueError, match="has version 99; this library reads 1"):
        sl.load(rewrite(saved, lambda w: w.update(version=99)))


@pytest.mark.parametrize("rule", [
    {"expr": "__import__('os').system('true')", "value": None, "fixed": False, "lower": None,
     "upper": None, "tie": None},
    {"value": "2*b", "fixed": True, "lower": None, "upper": None, "tie": None},
    {"value": None, "fixed": False, "lower": None, "upper": None,
     "tie": {"constant": "1+1", "coefficients": {}}},
])  # fmt: skip
def test_expressions_are_refused(saved, rule):
    def change(whole):
        whole["fit"]["constraints"]["rules"]["a"] = rule

    with pytest.raises(ValueError, match="holds an expression"):
        sl.load(rewrite(saved, change))


def test_missing_parts_and_unknown_laws(saved):
    with pytest.raises(ValueError, match="there is no law 'Axis'"):
        sl.load(rewrite(saved, lambda w: w["fit"]["law"].update(name="Axis")))
    with pytest.raises(ValueError, match="not a saved fit of this version"):
        sl.load(
            rewrite(
                saved,
                lambda w: (
                    w["fit"]["law"].update(name="Rectified"),
                    w["fit"]["estimate"].pop("theta"),
                ),
            )
        )


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_text()
    fit = sl.load(saved)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        fit.save(saved)
    assert saved.read_text() == before
    assert [p.name for p in saved.parent.iterdir()] == ["fit.json"]
