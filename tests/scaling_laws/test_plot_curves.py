"""Curves and maps draw the predictions, the runs that lie on them, and what was not seen."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scaling_laws as sl
from scaling_laws.plot.style import COLOURS
from scaling_laws.study import Noise
from tests.figures import LONG, NARROW, readable

KEPT = (1.0, 0.79, 0.58, 0.37, 0.16)
SIZES = (6e3, 3e4, 1e5, 4e5)
TRUTH = {"e": 2.2, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}


def log(levels=("cot", "label"), rng=0):
    design = pd.DataFrame(
        [(n, k, f) for f in levels for n in SIZES for k in KEPT],
        columns=["examples", "kept", "format"],
    )
    law = sl.laws.Compressed(by="format")
    return sl.simulate(law, design, TRUTH, Noise(run=0.01), rng, metric="task_f1")


@pytest.fixture(scope="module")
def runs():
    return log()


@pytest.fixture(scope="module")
def fit(runs):
    return sl.fit(sl.laws.Compressed(by="format"), runs, "task_f1")


@pytest.fixture(scope="module")
def held(runs):
    return sl.holdout(sl.laws.Compressed(by="format"), runs, "task_f1", by="kept", leave=1)


def drawn(ax):
    ax.get_figure(root=True).savefig(io.BytesIO(), format="png")
    return ax


def curves(ax):
    return [line for line in ax.lines if line.get_linewidth() == 1.6]


def markers(ax):
    return [line for line in ax.lines if line.get_linestyle() == "None"]


def words(ax):
    legend = ax.get_legend()
    title = [legend.get_title().get_text()]
    return [w for w in title + [t.get_text() for t in legend.get_texts()] if w]


def margin(ax):
    return {t.get_text(): t.xy[1] for t in ax.texts}


def test_degradation_draws_the_predictions_where_the_data_are(fit):
    ax = drawn(sl.plot.degradation(fit))
    assert len(curves(ax)) == 2
    for line, level in zip(curves(ax), ("cot", "label"), strict=True):
        x, y = line.get_data()
        want = fit.predict(kept=x, examples=4e5, format=level, interval=None)["estimate"]
        np.testing.assert_array_equal(y, want)
        assert x.min() >= 0.16 * (1 - 1e-9)
        assert x.max() <= 1.0


def test_degradation_draws_the_runs_of_the_largest_data_only(fit):
    ax = drawn(sl.plot.degradation(fit))
    points = np.concatenate([np.column_stack(line.get_data()) for line in markers(ax)])
    frame = fit.problem.frame
    want = frame.loc[frame["examples"] == 4e5, ["kept", "task_f1"]].to_numpy()
    assert sorted(map(tuple, points)) == sorted(map(tuple, want))
    assert "400k examples" in words(ax)


def test_colour_is_the_format_and_line_style_the_examples(fit):
    ax = drawn(sl.plot.degradation(fit, at={"examples": [6e3, 4e5]}))
    assert [to_hex(line.get_color()).upper() for line in curves(ax)] == [
        COLOURS[0], COLOURS[0], COLOURS[1], COLOURS[1],
    ]  # fmt: skip
    styles = [line.get_linestyle() for line in curves(ax)]
    assert styles[0] == styles[2]
    assert styles[0] != styles[1]
    assert {"cot", "label", "6k examples", "400k examples"} <= set(words(ax))


def test_the_range_seen_is_shaded(fit):
    ax = drawn(sl.plot.degradation(fit))
    assert (ax.patches[0].get_x(), ax.patches[0].get_width()) == pytest.approx((0.16, 0.84))


def test_bands_are_the_intervals(fit):
    ax = drawn(sl.plot.degradation(fit, at={"format": "cot"}))
    run, mean = (c.get_paths()[0].vertices for c in ax.collections if c.get_alpha() in (0.12, 0.25))
    at = curves(ax)[0].get_xdata()
    want = fit.predict(kept=at, examples=4e5, format="cot")
    for end in ("low", "high"):
        found = np.column_stack([at, want[end]])
        assert {tuple(p) for p in found} <= {tuple(p) for p in mean}
    assert run[:, 1].min() < mean[:, 1].min()
    assert run[:, 1].max() > mean[:, 1].max()
    assert {"90 % of the curve", "90 % of a new run"} <= set(words(ax))


def test_many_lines_are_drawn_without_bands_of_runs(fit):
    ax = drawn(sl.plot.degradation(fit, at={"examples": list(SIZES)}))
    assert len(curves(ax)) == 8
    assert len(ax.collections) == 8
    assert "90 % of a new run" not in words(ax)


def test_held_out_rows_are_open_and_outside_the_shade(held):
    ax = drawn(sl.plot.degradation(held))
    open_ = [line for line in markers(ax) if to_hex(line.get_markerfacecolor()) == "#ffffff"]
    points = np.concatenate([np.column_stack(line.get_data()) for line in open_])
    rows = held.frame[held.frame["examples"] == 4e5]
    assert sorted(map(tuple, points)) == sorted(map(tuple, rows[["kept", "observed"]].to_numpy()))
    assert ax.patches[0].get_x() == pytest.approx(0.37)
    assert {"seen", "held out"} <= set(words(ax))


def test_floor_and_teacher_are_named_beside_the_axes():
    frame = pd.DataFrame({"kept": [1, 0.9, 0.8, 0.7, 0.6, 0.5],
                          "mmlu": [0.75, 0.74, 0.7, 0.55, 0.37, 0.29]})  # fmt: skip
    fit = sl.fit(sl.laws.Collapse(), frame, "mmlu")
    assert margin(drawn(sl.plot.degradation(fit))) == {"floor": 0.25, "teacher": 0.75}
    assert margin(drawn(sl.plot.degradation(fit, teacher=0.8)))["teacher"] == 0.8


def test_an_unpruned_student_is_no_teacher(fit):
    assert not margin(drawn(sl.plot.degradation(fit)))


def test_learning_curves_of_the_ends_of_the_sizes(fit):
    ax = drawn(sl.plot.learning_curve(fit))
    assert len(curves(ax)) == 4
    assert {"cot", "label", "100 % kept", "16 % kept"} <= set(words(ax))
    assert ax.get_xlabel() == "labelled examples"
    assert all(line.get_xdata().max() <= 4e5 * (1 + 1e-9) for line in curves(ax))


def test_without_a_factor_colour_is_the_other_axis(runs):
    one = sl.fit(sl.laws.Compressed(), runs, "task_f1", where={"format": "cot"})
    ax = drawn(sl.plot.learning_curve(one, at={"kept": [1.0, 0.16]}))
    assert [to_hex(line.get_color()).upper() for line in curves(ax)] == list(COLOURS[:2])
    assert len({line.get_linestyle() for line in curves(ax)}) == 1


def test_wide_losses_get_a_plain_log_axis():
    rows = [{"examples": n, "loss": 0.1 + 50 * n**-0.4} for n in np.geomspace(1e2, 1e7, 8).round()]
    ax = drawn(sl.plot.learning_curve(sl.fit(sl.laws.Power(), rows)))
    assert ax.get_yscale() == "log"
    assert not [t for t in ax.get_yticklabels() if "$" in t.get_text()]


@pytest.mark.parametrize("width", [85, 170])
def test_legend_lies_over_the_axes_and_labels_apart(fit, width):
    ax = drawn(sl.plot.degradation(fit, sl.plot.blank(width), at={"examples": [6e3, 4e5]}))
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1
    figure = ax.get_figure().bbox
    box = ax.get_legend().get_window_extent()
    assert box.x1 <= figure.x1
    assert box.y1 <= figure.y1 + 1
    labels = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    assert all(a.x1 < b.x0 for a, b in zip(labels, labels[1:], strict=False))


def test_only_what_the_law_has_can_be_asked(fit):
    with pytest.raises(ValueError, match="'size' is none of the other axes"):
        sl.plot.degradation(fit, at={"size": 3})
    with pytest.raises(ValueError, match="no run has format = none"):
        sl.plot.degradation(fit, at={"format": "none"})
    with pytest.raises(ValueError, match="'tokens' is none of the law's axes"):
        sl.plot.learning_curve(fit, x="tokens")
    rows = [{"examples": n, "loss": 1 + n**-0.3} for n in (1e2, 1e3, 1e4, 1e5)]
    flat = sl.fit(sl.laws.Power(), rows)
    with pytest.raises(ValueError, match="of no size"):
        sl.plot.degradation(flat)
    with pytest.raises(ValueError, match="examples alone"):
        sl.plot.contours(flat)


def test_contours_mark_runs_and_target(fit, held):
    ax = drawn(sl.plot.contours(fit, at={"format": "cot"}, target=0.8))
    points = np.column_stack(markers(ax)[0].get_data())
    assert len(points) == len(SIZES) * len(KEPT)
    assert ax.get_xlabel() == "labelled examples"
    assert ax.get_ylabel() == "fraction of parameters kept"
    told = {"cot", "runs seen", "pale: beyond them", "0.8 reached", "90 % interval"}
    assert told == set(words(ax))
    reached = [c for c in ax.collections if c.get_linewidths()[:1] == [1.6]][0]
    at = np.concatenate([p.vertices for p in reached.get_paths() if len(p.vertices)])
    score = fit.predict(examples=at[:, 0], kept=at[:, 1], format="cot", interval=None)["estimate"]
    # Linear interpolation between points of the grid.
    np.testing.assert_allclose(score, 0.8, atol=0.004)
    ax = drawn(sl.plot.contours(held, at={"format": "cot"}))
    assert len(markers(ax)[1].get_xdata()) == len(SIZES)


def test_a_target_stands_out_in_grey_and_says_where_it_is_not(fit):
    ax = drawn(sl.plot.contours(fit, at={"format": "cot"}, target=0.8))
    reached = [c for c in ax.collections if c.get_linewidths()[:1] in ([1.6], [1.0])]
    edged = [c for c in reached if c.get_path_effects()]
    assert len(edged) == 3
    ax = drawn(sl.plot.contours(fit, at={"format": "cot"}, target=0.999999))
    assert "0.999999: nowhere" in words(ax)


def test_no_colour_stands_for_scores_above_the_highest():
    """Scores of about 0 to nearly 1: round steps of .15 would end at 1.05."""
    rows = [(n, k) for n in SIZES for k in (1.0, 0.5, 0.2, 0.1)]
    design = pd.DataFrame(rows, columns=["examples", "kept"])
    law, truth = sl.laws.Compressed(), {"e": 3.6, "a": 0.3, "b": 0.4, "c": 0.5, "g": 1.1}
    fit = sl.fit(law, sl.simulate(law, design, truth, 0.005, 0, metric="task_f1"), "task_f1")
    filled = sl.plot.contours(fit).collections[0]
    assert filled.filled
    assert filled.levels[0] < 0.1
    assert filled.levels[-1] == fit.metric.top == 1.0


def test_contours_of_a_long_name_keep_their_room(runs):
    frame = runs.frame.assign(format=runs.frame["format"].map({"cot": LONG, "label": "label"}))
    fit = sl.fit(sl.laws.Compressed(by="format"), frame, "task_f1")
    readable(sl.plot.contours(fit, sl.plot.blank(*NARROW), at={"format": LONG}))


def test_contours_need_one_format(fit):
    with pytest.raises(ValueError, match=r"2 combinations of format; choose one with at="):
        sl.plot.contours(fit)


def test_figures_leave_the_callers_axes_alone(fit):
    left, right = Figure().subplots(1, 2)
    assert sl.plot.degradation(fit, right) is right
    assert not left.lines
