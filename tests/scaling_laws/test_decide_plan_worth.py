"""Proposed runs against uniform and random grids at equal GPU-hours; figures of plans."""

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.decide import next_runs, pareto
from scaling_laws.plot import save_figure
from tests.benchmarks.next_runs import ALL, ASKED, METRIC, NOISE, STARTS, TRUTHS, Cell, ratios
from tests.logs import grid


def test_proposed_runs_tell_more_than_both_grids():
    """Median over all truths and three starting logs, of few simulated logs each."""
    found = ratios([Cell(truth, start) for truth in TRUTHS for start in STARTS], logs=4)
    assert found["to uniform"].median() < 1.0
    assert found["to random"].median() < 1.0
    assert (found["proposed hours"] <= found["uniform hours"] + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("reach", [False, True])
def test_proposed_runs_over_all_truths(reach):
    cells = [Cell(truth, start, reach) for truth in TRUTHS for start in STARTS]
    found = ratios(cells, logs=40)
    assert found["to uniform"].median() < 1.0
    assert found["to random"].median() < 1.0


@pytest.fixture(scope="module")
def fit():
    law, truth = TRUTHS["additive"]
    design = grid(examples=[3000, 12000, 50000], kept=[1.0, 0.79, 0.58, 0.37])
    return sl.fit(law, sl.simulate(law, design, truth, NOISE, 0, metric=METRIC), METRIC)


def test_figure_of_next_runs(fit, tmp_path):
    found = next_runs(fit, ALL, question=ASKED, n=3)
    ax = found.plot()
    assert {t.get_text() for t in ax.texts} == {"1", "2", "3"}
    assert ax.get_xscale() == "log"
    save_figure(ax, tmp_path / "next.png")


def test_figure_of_a_front(fit, tmp_path):
    offered = ALL.assign(price=np.where(ALL["kept"] > 0.5, 3.0, 1.0) * ALL["kept"])
    found = pareto(fit, offered)
    ax = found.plot()
    drawn = ax.collections[-1].get_offsets()
    assert len(drawn) == len(offered)
    assert 1 <= len(ax.texts) <= 6
    save_figure(ax, tmp_path / "front.png")
