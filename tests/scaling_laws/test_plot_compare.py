"""Retention and formats are compared in joint draws, and drawn where both have data."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scaling_laws as sl
from scaling_laws.decide.draws import joint_of
from scaling_laws.plot.style import COLOURS
from scaling_laws.study import Noise

KEPT = (1.0, 0.79, 0.58, 0.37, 0.16)
SIZES = (6e3, 5e4, 4e5)


def both(noise=0.01):
    """Task score that pruning hurts little, general score that it hurts much."""
    design = pd.DataFrame(
        [(n, k, f) for f in ("cot", "label") for n in SIZES for k in KEPT],
        columns=["examples", "kept", "format"],
    )
    law = sl.laws.Compressed(by="format")
    task = {"e[cot]": 2.4, "e[label]": 2.2, "a": 0.5, "b": 0.4, "c": 0.2, "g": 0.8}
    general = {"e": 1.0, "a": 0.1, "b": 0.3, "c[cot]": 0.2, "c[label]": 0.35, "g": 1.5}
    frame = sl.simulate(law, design, task, Noise(run=noise), 1, metric="task_f1").frame
    other = sl.simulate(law, design, general, Noise(run=noise), 2, metric="mmlu").frame
    return frame.assign(mmlu=other["mmlu"].to_numpy())


@pytest.fixture(scope="module")
def fits():
    log = both()
    return {m: sl.fit(sl.laws.Compressed(by="format"), log, m) for m in ("task_f1", "mmlu")}


def drawn(ax):
    ax.get_figure(root=True).savefig(io.BytesIO(), format="png")
    return ax


def curves(ax, width):
    return [
        line for line in ax.lines if line.get_linewidth() == width and len(line.get_xdata()) > 9
    ]


def holds(band, x, end):
    """Whether a band goes through all these points."""
    return all(
        np.isclose(band[np.isclose(band[:, 0], a), 1], b, rtol=0, atol=1e-12).any()
        for a, b in zip(x, end, strict=True)
    )


def words(ax):
    legend = ax.get_legend()
    return [legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())]


def retained(fit, kept, **at):
    floor = fit.metric.floor
    score = fit.predict(kept=kept, interval=None, **at)["estimate"].to_numpy() - floor
    whole = fit.predict(kept=1.0, interval=None, **at)["estimate"].iloc[0] - floor
    return score / whole


def test_retention_is_the_share_above_the_floor(fits):
    ax = drawn(sl.plot.retention(fits, at={"format": "cot"}))
    for line, fit in zip(curves(ax, 1.5), fits.values(), strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(y, retained(fit, x, examples=4e5, format="cot"))
    assert [to_hex(line.get_color()).upper() for line in curves(ax, 1.5)] == list(COLOURS[:2])
    assert words(ax)[:3] == ["cot, 400k examples", "macro-F1 on the task", "MMLU accuracy"]


def test_the_whole_model_retains_everything(fits):
    ax = drawn(sl.plot.retention(fits["mmlu"], at={"format": "cot"}))
    x, y = curves(ax, 1.5)[0].get_data()
    assert x[-1] == pytest.approx(1.0)
    assert y[-1] == pytest.approx(1.0)
    band = ax.collections[0].get_paths()[0].vertices
    ends = band[np.isclose(band[:, 0], 1.0), 1]
    np.testing.assert_allclose(ends, 1.0)  # both ends: the same draw above and below the line


def test_markers_are_runs_over_the_fitted_whole(fits):
    ax = drawn(sl.plot.retention(fits["mmlu"], at={"format": "label"}))
    points = next(line for line in ax.lines if line.get_linestyle() == "None")
    fit = fits["mmlu"]
    frame = fit.problem.frame.query("format == 'label' and examples == 4e5")
    whole = fit.predict(kept=1.0, examples=4e5, format="label", interval=None)["estimate"].iloc[0]
    want = (frame["mmlu"] - 0.25) / (whole - 0.25)
    np.testing.assert_allclose(points.get_ydata(), want)


def test_several_formats_colour_the_format_and_style_the_metric(fits):
    ax = drawn(sl.plot.retention(fits))
    lines = curves(ax, 1.5)
    colours = [to_hex(line.get_color()).upper() for line in lines]
    assert colours == [COLOURS[0], COLOURS[1], COLOURS[0], COLOURS[1]]
    styles = [line.get_linestyle() for line in lines]
    assert styles[0] == styles[1] != styles[2] == styles[3]
    assert {"cot", "label", "macro-F1 on the task", "MMLU accuracy"} <= set(words(ax))


def test_the_difference_and_its_interval_are_those_of_joint_draws(fits):
    ax = drawn(sl.plot.retention_difference(fits["task_f1"], fits["mmlu"], at={"format": "label"}))
    x, y = curves(ax, 0.8)[0].get_data()
    at = {"examples": 4e5, "format": "label"}
    np.testing.assert_allclose(
        y, retained(fits["task_f1"], x, **at) - retained(fits["mmlu"], x, **at)
    )
    joint = joint_of(fits)
    points = pd.DataFrame({"kept": np.append(x, 1.0), **at})
    share = []
    for name, floor in (("task_f1", 0.0), ("mmlu", 0.25)):
        values = joint.values(name, points) - floor
        share.append(values[:-1] / values[-1])
    ends = np.quantile(share[0] - share[1], [0.05, 0.95], axis=1)
    band = ax.collections[0].get_paths()[0].vertices
    for end in ends:
        assert holds(band, x, end)


def test_the_largest_difference_is_marked_where_the_data_are(fits):
    ax = drawn(sl.plot.retention_difference(fits["task_f1"], fits["mmlu"], at={"format": "label"}))
    mark = next(line for line in ax.lines if line.get_linestyle() == "None")
    x, y = curves(ax, 0.8)[0].get_data()
    seen = (x >= 0.16) & (x <= 1.0)
    assert mark.get_ydata()[0] == y[seen].max()
    assert mark.get_xdata()[0] == x[seen][y[seen].argmax()]
    assert f"largest at {mark.get_xdata()[0]:.2f}" in words(ax)


def test_equal_scores_have_no_divergence():
    log = both()
    same = log.assign(mmlu=0.25 + 0.75 * log["task_f1"])
    one, other = (sl.fit(sl.laws.Compressed(), same, m, where={"format": "cot"})
                  for m in ("task_f1", "mmlu"))  # fmt: skip
    ax = drawn(sl.plot.retention_difference(one, other))
    assert np.abs(curves(ax, 0.8)[0].get_ydata()).max() < 0.01
    assert "not told from 0" in words(ax)
    assert not [line for line in ax.lines if line.get_linestyle() == "None"]


def test_a_law_of_the_size_alone_stands_beside_one_of_the_data_too(fits):
    alone = sl.fit(sl.laws.Collapse(), both(), "mmlu")
    at = {"format": "label", "examples": [6e3, 4e5]}
    ax = drawn(sl.plot.retention({"task_f1": fits["task_f1"], "mmlu": alone}, at=at))
    assert sum(line.get_linestyle() == "-" for line in curves(ax, 1.5)) == 3
    ax = drawn(sl.plot.retention_difference(fits["task_f1"], alone, at=at))
    assert len(curves(ax, 0.8)) == 2
    with pytest.raises(ValueError, match="'tokens' is none of the other axes"):
        sl.plot.retention({"task_f1": fits["task_f1"], "mmlu": alone}, at={"tokens": 1e6})


@pytest.mark.parametrize(("size", "rows"), [((170, 76), 1), ((85, 130), 2)])
def test_divergence_has_both_panels(fits, size, rows):
    figure = sl.plot.divergence(fits["task_f1"], fits["mmlu"], sl.plot.page(*size))
    figure.savefig(io.BytesIO(), format="png")
    assert [ax.get_ylabel() for ax in figure.axes] == ["retention", "difference in retention"]
    assert len({ax.get_position().y0 for ax in figure.axes}) == rows


def test_divergence_says_what_it_cannot_do(fits):
    with pytest.raises(ValueError, match="both are fits of mmlu"):
        sl.plot.divergence(fits["mmlu"], fits["mmlu"])
    rows = [{"examples": n, "loss": 1 + n**-0.3} for n in (1e2, 1e3, 1e4, 1e5)]
    with pytest.raises(ValueError, match="it needs kept"):
        sl.plot.retention(sl.fit(sl.laws.Power(), rows))
    losses = both().assign(task_nll=lambda f: 2.0 - f["task_f1"])
    loss = sl.fit(sl.laws.Compressed(by="format"), losses, "task_nll")
    with pytest.raises(ValueError, match=r"task_nll has no floor"):
        sl.plot.retention(loss)
    ax = drawn(sl.plot.retention(loss, floors={"task_nll": 3.0}, at={"format": "cot"}))
    assert curves(ax, 1.5)[0].get_ydata()[-1] == pytest.approx(1.0)


def test_without_intervals_the_curves_are_drawn():
    rows = [{"kept": k, "mmlu": s} for k, s in ((1.0, 0.75), (0.8, 0.7), (0.6, 0.4), (0.5, 0.3))]
    fit = sl.fit(sl.laws.Collapse(), rows, "mmlu")
    ax = drawn(sl.plot.retention(fit))
    assert len(curves(ax, 1.5)) == 1


# --- formats --------------------------------------------------------------------------------------
def test_format_difference_is_paired(fits):
    fit = fits["task_f1"]
    ax = drawn(sl.plot.format_difference(fit, "cot", "label"))
    x, y = curves(ax, 0.8)[0].get_data()
    points = [pd.DataFrame({"kept": x, "examples": 4e5, "format": f}) for f in ("cot", "label")]
    one, other = (fit.predict(p, interval=None)["estimate"].to_numpy() for p in points)
    np.testing.assert_array_equal(y, one - other)
    draws = fit.draws_at(points[0]) - fit.draws_at(points[1])
    ends = np.quantile(draws, [0.05, 0.95], axis=1)
    band = next(c for c in ax.collections if c.get_alpha() == 0.25).get_paths()[0].vertices
    for end in ends:
        assert holds(band, x, end)


def test_markers_are_differences_of_observed_means(fits):
    ax = drawn(sl.plot.format_difference(fits["task_f1"], "cot", "label"))
    mark = next(line for line in ax.lines if line.get_linestyle() == "None")
    frame = fits["task_f1"].problem.frame.query("examples == 4e5")
    wide = frame.pivot_table(index="kept", columns="format", values="task_f1")
    np.testing.assert_allclose(mark.get_xdata(), wide.index)
    np.testing.assert_allclose(mark.get_ydata(), wide["cot"] - wide["label"])


def test_order_turns_the_difference_round(fits):
    axes = [drawn(sl.plot.format_difference(fits["mmlu"], *pair))
            for pair in (("cot", "label"), ("label", "cot"))]  # fmt: skip
    one, other = (curves(ax, 0.8)[0].get_ydata() for ax in axes)
    np.testing.assert_array_equal(one, -other)
    assert axes[1].get_ylabel() == "MMLU accuracy:\nlabel minus cot"


def test_lines_are_thick_where_the_interval_excludes_zero(fits):
    ax = drawn(sl.plot.format_difference(fits["mmlu"], "cot", "label", run=False))
    thick = curves(ax, 1.8)[0].get_ydata()
    band = ax.collections[0].get_paths()[0].vertices
    x = curves(ax, 0.8)[0].get_xdata()
    sure = [not (ends.min() <= 0 <= ends.max())
            for ends in (band[np.isclose(band[:, 0], a), 1] for a in x)]  # fmt: skip
    np.testing.assert_array_equal(np.isfinite(thick), sure)
    assert any(sure)
    assert not all(sure)


def test_along_the_examples_at_several_sizes(fits):
    ax = drawn(sl.plot.format_difference(fits["mmlu"], "cot", "label", x="examples",
                                         at={"kept": [0.16, 0.58]}))  # fmt: skip
    assert len(curves(ax, 0.8)) == 2
    assert words(ax)[1:3] == ["16 % kept", "58 % kept"]
    assert ax.get_xlabel() == "labelled examples"


def test_levels_and_factors_that_are_none_are_named(fits):
    with pytest.raises(ValueError, match=r"format = 'none' is not in the fitted log"):
        sl.plot.format_difference(fits["mmlu"], "cot", "none")
    with pytest.raises(ValueError, match="'method' is no factor of the law; it has format"):
        sl.plot.format_difference(fits["mmlu"], "cot", "label", by="method")
    with pytest.raises(ValueError, match="'tokens' is none of the law's axes"):
        sl.plot.format_difference(fits["mmlu"], "cot", "label", x="tokens")
