"""Fronts against pairs of points one by one; draws at many points against those of a few."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.decide import frontier, fronts, pareto
from scaling_laws.decide import sampled as module
from scaling_laws.decide.draws import joint_of
from scaling_laws.decide.sampled import Tails, near, sampled
from scaling_laws.show import number
from scaling_laws.study import Noise
from scaling_laws.uncertainty import quantile_pair
from tests.logs import grid

LAW = sl.laws.Compressed("additive", by="format")
LOG = grid(examples=[3000, 12000, 50000, 200000], kept=[1.0, 0.58, 0.37],
           format=["cot", "label"])  # fmt: skip
TASK = {"e[cot]": 2.5, "e[label]": 2.2, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
NOISE = Noise(run=0.015, items=2000)


@pytest.fixture(scope="module")
def fits():
    """Two scores, one of which knows nothing of the examples."""
    task = sl.simulate(LAW, LOG, TASK, NOISE, 0, metric="task_accuracy").frame.sort_index()
    collapse = sl.laws.Collapse()
    truth = {"acc1": 0.7, "k0": 0.4, "s": 6.0}
    both = task.assign(mmlu=sl.simulate(collapse, LOG, truth, 0.02, 1, metric="mmlu").frame["mmlu"])
    return {
        "task_accuracy": sl.fit(LAW, both, "task_accuracy"),
        "mmlu": sl.fit(collapse, both, "mmlu"),
    }


def not_beaten(bad):
    """Of points ``[objectives, n]``, pair by pair."""
    as_good = (bad[:, :, None] <= bad[:, None, :]).all(0)
    better = (bad[:, :, None] < bad[:, None, :]).any(0)
    return ~(as_good & better).any(0)


def share(values, costs):
    """Share of draws in which each point is not beaten, ``values [metrics, n, draws]``."""
    points = [np.concatenate([costs, -drawn]) for drawn in np.moveaxis(values, 2, 0)]
    return np.mean([not_beaten(bad) for bad in points], axis=0)


# --- one front ------------------------------------------------------------------------------------
@settings(max_examples=150, deadline=None)
@given(
    objectives=st.integers(1, 5), n=st.integers(1, 70), levels=st.sampled_from([2, 5, 10**6]),
    leaf=st.sampled_from([1, 3, 24]), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_a_front_is_what_no_point_beats(objectives, n, levels, leaf, seed):
    bad = np.random.default_rng(seed).integers(0, levels, (objectives, n)).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fronts, "_LEAF", leaf)
        assert np.array_equal(fronts.unbeaten(bad), not_beaten(bad))


def test_a_rival_costs_no_more_and_scores_higher():
    rng = np.random.default_rng(0)
    scores, costs = rng.random((2, 800)), rng.integers(0, 9, (2, 800)).astype(float)
    front = fronts.unbeaten(np.concatenate([costs, -scores]))
    rival = fronts.rivals(scores, costs, front)
    met = rival < 800
    assert met.sum() > 400
    assert not met[front].any()
    assert front[rival[met]].all()
    assert (costs[:, rival[met]] <= costs[:, met]).all()
    assert (scores[:, rival[met]] > scores[:, met]).all()


# --- of each draw ---------------------------------------------------------------------------------
@st.composite
def offers(draw):
    """Candidates with levels in common, beyond the log too, and costs that tie."""
    n, rng = draw(st.integers(1, 40)), np.random.default_rng(draw(st.integers(0, 10**6)))
    few = draw(st.booleans())
    frame = pd.DataFrame({
        "examples": rng.choice([3e3, 5e4, 9e5], n) if few else rng.uniform(1e3, 1e6, n),
        "kept": rng.choice([0.2, 0.37, 1.0], n) if few else rng.uniform(0.1, 1.0, n),
        "format": rng.choice(["cot", "label"], n),
    })  # fmt: skip
    frame["price"] = rng.integers(1, 5, n) if few else frame["kept"] * rng.uniform(1, 1.2, n)
    frame["latency"] = rng.integers(1, 4, n)
    return frame.sample(frac=1.0, random_state=0)


@settings(max_examples=12, deadline=None)
@given(offered=offers(), costs=st.sampled_from([["price"], ["price", "latency"]]),
       names=st.sampled_from([["mmlu"], ["task_accuracy"], ["task_accuracy", "mmlu"]]),
       level=st.sampled_from([0.2, 0.9]))  # fmt: skip
def test_probabilities_and_ends_are_exactly_those_of_all_draws(fits, offered, costs, names, level):
    """Whatever is sorted, cut, or left to a rival."""
    asked = {name: fits[name] for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "_CHUNK", 4)
        patch.setattr(module, "_CELL", 8)
        patch.setattr(fronts, "_LEAF", 3)
        found = pareto(asked, offered, costs=costs, level=level)
    joint = joint_of(asked)
    values = [joint.values(name, offered) for name in names]
    frame = found.frame.loc[offered.index]
    expected = share(np.stack(values), offered[costs].to_numpy().T)
    assert np.array_equal(frame["probability"], expected)
    for name, drawn in zip(names, values, strict=True):
        low, high = quantile_pair(drawn, level)
        assert np.array_equal(frame[f"{name}_low"], low)
        assert np.array_equal(frame[f"{name}_high"], high)


def test_of_more_survivors_than_can_be_held_every_other_draw_is_asked(fits, monkeypatch):
    offered = LOG.assign(price=LOG["kept"] + LOG["examples"] / 1e6)
    monkeypatch.setattr(frontier, "_CHUNK", 4)
    monkeypatch.setattr(fronts, "_HELD", 300 * 2 * len(offered))
    found = pareto(fits, offered)
    draws = found.values["draws"]
    assert 100 <= draws <= 500
    assert f"{draws} of 1000" in next(n.sentence for n in found.notes if n.code == "fewer_draws")
    joint = joint_of(fits)
    some = slice(None, None, 1000 // draws)
    values = np.stack([joint.values(name, offered)[:, some] for name in joint.names])
    expected = share(values, offered[["price"]].to_numpy().T)
    assert np.array_equal(found.frame["probability"].loc[offered.index], expected)


def test_a_front_says_how_far_beyond_the_log_each_candidate_lies(fits):
    """Whatever index the candidates have."""
    offered = grid(examples=[1500, 50000, 1.6e6], kept=[1.0, 0.2], format=["cot", "label"])
    offered = offered.assign(price=offered["kept"]).set_axis([5, 5, 3] * 4)
    found = pareto(fits, offered)
    examples = np.log(found.frame["examples"] / 200000) / np.log(200000 / 3000)
    fewer = np.log(3000 / found.frame["examples"]) / np.log(200000 / 3000)
    smaller = np.log(0.37 / found.frame["kept"]) / np.log(1 / 0.37)
    distance = np.maximum.reduce([examples, fewer, smaller, 0 * smaller])
    assert np.allclose(found.frame["distance"], distance)
    assert ((found.frame["support"] == "outside") == (distance > 0)).all()
    (note,) = (n for n in found.notes if n.code == "outside")
    assert note.sentence.startswith(f"{(distance > 0).sum()} of 12 candidates lie beyond the log")
    assert f"kept 0.200, format {'cot'}, lies {distance.max():.2g} of its" in note.sentence
    assert not any(n.code == "outside" for n in pareto(fits, LOG.assign(price=1.0)).notes)


def test_the_run_that_matters_to_a_front_moves_the_least_decided_candidate(fits):
    found = pareto(fits, LOG.assign(price=LOG["kept"]))
    doubtful = found.frame.iloc[int((found.frame["probability"] - 0.5).abs().argmin())]
    point = {name: doubtful[name] for name in ("examples", "kept", "format")}
    most = fits["task_accuracy"].influence(point).frame
    first = most.iloc[most["change"].abs().argmax()]
    assert first["which"] in found.why.run
    assert found.why.run.endswith(
        f"is {number(first['answer'])} instead of {number(first['answer'] - first['change'])}"
    )


def test_figure_of_a_front(fits):
    """A line joins the likely ones only where no third quantity orders them."""
    offered = LOG.assign(price=LOG["kept"] + LOG["examples"] / 1e6)
    for names in (["task_accuracy"], ["task_accuracy", "mmlu"]):
        found = pareto({name: fits[name] for name in names}, offered)
        ax = found.plot()
        likely = found.frame[found.frame["probability"] >= 0.5].sort_values("price")
        lines = [line.get_xydata() for line in ax.lines]
        assert len(lines) == (len(names) == 1)
        for line in lines:
            assert np.array_equal(line, likely[["price", "task_accuracy"]])
        shades = ax.collections[-1].get_array()
        assert np.array_equal(shades, np.sort(found.frame["probability"]))
        words = {text.get_text() for text in ax.texts}
        assert any(word.startswith("200k, ") for word in words)
        assert ax.get_title(loc="left").startswith("named by examples, kept")


# --- draws at many points -------------------------------------------------------------------------
def test_draws_at_many_points_are_those_of_a_few(fits):
    joint = joint_of(fits)
    points = pd.concat([LOG, LOG.iloc[:5], LOG.assign(kept=0.2)], ignore_index=True)
    for name, distinct in (("task_accuracy", 32), ("mmlu", 4)):
        many = sampled(joint, name, points)
        assert many.place.max() + 1 == distinct
        for rows in (np.arange(len(points)), np.array([40, 3, 24, 3])):
            assert np.array_equal(many.values(rows), joint.values(name, points.iloc[rows]))


def test_draws_of_a_forecast_beyond_its_log():
    law = sl.laws.Power()
    curve = grid(examples=[300, 1000, 3000, 10000, 30000], seed=[0, 1, 2])
    truth = {"E": 0.1, "A": 0.4, "a": 0.3}
    log = sl.simulate(law, curve, truth, 0.01, 0, metric="task_accuracy")
    forecast = sl.choose([law, sl.laws.Rectified()], log, "task_accuracy").forecast
    joint = joint_of(forecast)
    points = grid(examples=[500, 20000, 1e6, 1e8])
    many = sampled(joint, "task_accuracy", points)
    assert (many.width > 0).any()
    rows = np.array([3, 1, 2, 0])
    expected = joint.values("task_accuracy", points)[rows]
    assert np.array_equal(many.values(rows), expected)


def test_near_points_stand_together(fits):
    joint = joint_of(fits)
    rng = np.random.default_rng(0)
    points = pd.DataFrame({
        "examples": np.exp(rng.uniform(5, 12, 4000)), "kept": rng.uniform(0.1, 1, 4000),
        "format": rng.choice(["cot", "label"], 4000),
    })  # fmt: skip
    cells = near(joint, points)
    assert sorted(np.concatenate([cell for cell, _ in cells])) == list(range(4000))
    # Of each format three parts of either axis.
    assert len(cells) == 2 * 3 * 3
    for cell, corners in cells:
        inside = points.iloc[cell]
        assert inside["format"].nunique() == 1
        for axis in ("examples", "kept"):
            assert np.ptp(points[axis].rank(pct=True).iloc[cell]) <= 1 / 3
        assert 1 <= len(corners) <= 4
        # A corner is the point that is largest in both, or largest in one and smallest in another.
        ranks = points[["examples", "kept"]].rank().iloc[cell]
        outer = {(ranks @ [a, b]).idxmax() for a in (-1, 1) for b in (-1, 1)}
        assert set(corners) == outer


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), level=st.sampled_from([0.05, 0.5, 0.9, 0.999]),
       alike=st.sampled_from([0.0, 0.1, 3.0]), strange=st.booleans())  # fmt: skip
def test_ends_are_exact_whether_or_not_rows_are_alike(seed, level, alike, strange):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(200) + alike * rng.standard_normal((9, 200))
    rows = rows.round(1) if strange else rows
    if strange:
        rows[rng.random(rows.shape) < 0.02] = np.inf
    tails = Tails(level, 200)
    tails.expect(rows[:2])
    for part in (rows[:5], rows[5:]):
        for mine, given_ in zip(tails.ends(part), quantile_pair(part, level), strict=True):
            assert np.array_equal(mine, given_)
