"""Residuals, hold-outs, parameters, likelihoods and coverage are drawn as the numbers say."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scaling_laws as sl
from scaling_laws.halfwild import NoInterval
from scaling_laws.plot.style import COLOURS
from scaling_laws.presets import load_points
from scaling_laws.study import Noise
from tests.figures import LONG, NARROW, legend, readable, rows_named, title

KEPT = (1.0, 0.79, 0.58, 0.37, 0.16)
TRUTH = {"e": 2.2, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}


@pytest.fixture(scope="module")
def runs():
    design = pd.DataFrame(
        [(n, k, f, f"{f}{i}{s}") for f in ("cot", "label") for i, n in enumerate((6e3, 5e4, 4e5))
         for s in "ab" for k in KEPT],
        columns=["examples", "kept", "format", "chain_id"],
    )  # fmt: skip
    law = sl.laws.Compressed(by="format")
    return sl.simulate(law, design, TRUTH, Noise(run=0.01, chain=0.004), 0, metric="task_f1")


@pytest.fixture(scope="module")
def fit(runs):
    return sl.fit(sl.laws.Compressed(by="format"), runs, "task_f1")


@pytest.fixture(scope="module")
def held(runs):
    return sl.holdout(sl.laws.Compressed(by="format"), runs, "task_f1", by="kept", leave=1)


def drawn(ax):
    ax.get_figure(root=True).savefig(io.BytesIO(), format="png")
    return ax


def points(ax):
    lines = [line for line in ax.lines if line.get_linestyle() == "None"]
    return np.concatenate([np.column_stack(line.get_data()) for line in lines])


# --- residuals ------------------------------------------------------------------------------------
def test_every_residual_is_drawn_against_its_fitted_score(fit):
    ax = drawn(sl.plot.residuals_against_fitted(fit))
    want = fit.residuals[["mean", "z"]].to_numpy()
    assert sorted(map(tuple, points(ax))) == sorted(map(tuple, want))
    assert legend(ax) == ["cot", "label", "90 % if normal"]


def test_residuals_stand_in_the_column_of_their_chain(fit, runs):
    ax = drawn(sl.plot.residuals_by_unit(fit))
    names = [t.get_text() for t in ax.get_xticklabels()]
    chain = runs.frame["chain_id"]
    assert sorted(names) == sorted(chain.unique())
    by_chain = fit.residuals["z"].groupby(chain).apply(sorted).to_dict()
    for place, name in enumerate(names):
        z = [y for x, y in points(ax) if x == place]
        assert sorted(z) == by_chain[name]
    means = [s[0, 1] for s in ax.collections[0].get_segments()]
    np.testing.assert_allclose(means, [np.mean(by_chain[n]) for n in names])


def test_many_chains_are_counted_not_named(fit, runs):
    frame = runs.frame.assign(chain_id=runs.frame["chain_id"] + "-a-long-name")
    ax = drawn(sl.plot.residuals_by_unit(sl.fit(fit.law, frame, "task_f1")))
    assert ax.get_xlabel() == "12 chains, as in the log"


def test_qq_points_of_a_normal_sample_lie_on_the_line(fit):
    from scipy.special import ndtri

    ax = drawn(sl.plot.residuals_qq(fit))
    at = points(ax)
    n = len(fit.residuals)
    np.testing.assert_allclose(at[:, 0], ndtri((np.arange(n) + 0.5) / n))
    np.testing.assert_array_equal(at[:, 1], np.sort(fit.residuals["z"]))
    # The median of a middle order statistic lies inside its band, which is narrowest there.
    band = ax.collections[0].get_paths()[0].vertices
    width = [np.ptp(band[np.isclose(band[:, 0], x), 1]) for x in at[:, 0]]
    assert np.argmin(width[1:-1]) in range(n // 3, 2 * n // 3)


@pytest.mark.parametrize(("size", "rows"), [((170, 68), 1), ((85, 170), 3)])
def test_three_panels_stand_side_by_side_where_there_is_room(fit, size, rows):
    figure = sl.plot.residuals(fit, sl.plot.page(*size))
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes) == 3
    assert len({ax.get_position().y0 for ax in figure.axes}) == rows
    assert legend(figure) == ["cot", "label", "90 % if normal"]


# --- hold-out -------------------------------------------------------------------------------------
def test_held_out_rows_and_their_intervals(held):
    ax = drawn(sl.plot.plot_holdout(held))
    want = held.frame[["observed", "estimate"]].to_numpy()
    assert sorted(map(tuple, points(ax))) == sorted(map(tuple, want))
    ends = np.concatenate([np.array(c.get_segments())[:, :, 1] for c in ax.collections])
    assert sorted(map(tuple, ends)) == sorted(map(tuple, held.frame[["low", "high"]].to_numpy()))
    inside = int(held.frame["covered"].sum())
    assert any(f"({inside} of {len(held.frame)})" in word for word in legend(ax))


def test_law_and_baselines_are_bars_of_their_errors(held):
    ax = drawn(sl.plot.baselines(held))
    errors = [held.are, *held.baselines]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], 100 * np.array(errors))
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["the law", *held.baselines.index]
    assert [t.get_text() for t in ax.texts] == [f"{100 * e:.3g} %" for e in errors]


def test_hold_out_figure_has_both(held):
    figure = sl.plot.holdout(held)
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes) == 2
    assert len(figure.axes[1].patches) == 1 + len(held.baselines)


# --- parameters -----------------------------------------------------------------------------------
def test_a_forest_has_a_line_a_level(fit):
    ax = drawn(sl.plot.forest(fit, "c"))
    table = fit.parameters.loc[["c[cot]", "c[label]"]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cot", "label"]
    assert [line.get_xdata()[0] for line in ax.lines] == list(table["estimate"])
    ends = [s[:, 0].tolist() for c in ax.collections for s in c.get_segments()]
    np.testing.assert_allclose(ends, table[["low", "high"]].to_numpy())
    assert [to_hex(line.get_color()).upper() for line in ax.lines] == list(COLOURS[:2])


def test_a_forest_of_several_fits(fit, runs):
    other = sl.fit(sl.laws.Compressed(), runs, "task_f1")
    ax = drawn(sl.plot.forest({"by format": fit, "together": other}, "b"))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["by format", "together"]
    assert [line.get_xdata()[0] for line in ax.lines] == [fit.values["b"], other.values["b"]]


def test_a_forest_of_groups(runs):
    table = sl.fit_each(sl.laws.Compressed(), runs, metric="task_f1", by=["format"])
    ax = drawn(sl.plot.forest(table, "g"))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cot", "label"]


def test_what_levels_share_stands_once_between_them(fit):
    figure = sl.plot.parameters(fit)
    figure.savefig(io.BytesIO(), format="png")
    panels = {ax.get_xlabel().partition(":")[0]: ax for ax in figure.axes}
    assert list(panels) == ["e", "a", "b", "c", "g"]
    assert [line.get_ydata()[0] for line in panels["b"].lines] == [0.5]
    assert [line.get_ydata()[0] for line in panels["c"].lines] == [0.0, 1.0]


def test_an_open_end_is_an_arrow():
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    fit = sl.fit(law, load_points("headline-f1"), "task_f1")
    assert fit.parameters["high"]["e"] == np.inf
    ax = drawn(sl.plot.forest(fit, "e"))
    arrow = next(line for line in ax.lines if line.get_marker() == ">")
    assert arrow.get_xdata() == [ax.get_xlim()[1]]
    assert not [line for line in ax.lines if line.get_marker() == "<"]


def test_a_held_parameter_is_an_open_marker_without_a_bar():
    rows = [{"examples": n, "loss": 1 + n**-0.3} for n in (1e2, 1e3, 1e4, 1e5, 1e6)]
    fixed = sl.fit(sl.laws.Power(), rows, parameters={"a": 0.3})
    ax = drawn(sl.plot.forest(fixed, "a"))
    assert to_hex(ax.lines[0].get_markerfacecolor()) == "#ffffff"
    assert not ax.collections


def test_a_forest_says_what_its_marks_are(fit, runs):
    assert legend(readable(sl.plot.forest(fit, "c", level=0.8))) == ["estimate, 80 % interval"]
    held = sl.fit(fit.law, runs, "task_f1", parameters={"b": 0.4})
    assert legend(readable(sl.plot.parameters(held))) == [
        "estimate, 90 % interval", "without interval", "black: same for all levels",
    ]  # fmt: skip
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    open_end = sl.fit(law, load_points("headline-f1"), "task_f1")
    assert legend(readable(sl.plot.forest(open_end, "e"))) == [
        "estimate, 90 % interval", "no end there",
    ]  # fmt: skip


def test_long_names_of_fits_leave_the_data_their_room(fit, runs):
    other = sl.fit(sl.laws.Compressed(), runs, "task_f1")
    both = {LONG: fit, "together": other}
    ax = readable(sl.plot.forest(both, "c"))
    assert len(set(rows_named(ax))) == 3
    figure = readable(sl.plot.parameters(both))
    assert len(set(rows_named(figure.axes[0]))) == 3
    # Beside levels a colour is a level: a fit without them has none.
    colours = [to_hex(line.get_color()).upper() for line in ax.lines if line.get_marker() == "o"]
    assert colours[2] == "#000000"
    assert len(set(colours)) == 3


def test_thirty_fits_on_low_axes_are_named_in_part(runs):
    one = sl.fit(sl.laws.Compressed(), runs, "task_f1")
    ax = readable(sl.plot.forest({f"fit {i:02}": one for i in range(30)}, "b", sl.plot.blank()))
    assert 5 < len(rows_named(ax)) < 30


def test_large_numbers_are_written_in_thousands():
    x = np.linspace(1.0, 4.0, 12)
    line = sl.laws.from_function(lambda x, p, q: p + q * x, ["x"])
    rows = pd.DataFrame({"x": x, "y": 3e5 + 2e5 * x + 1e4 * np.sin(7.0 * x)})
    fit = sl.fit(line, rows, sl.Metric("y", link="identity"), objective="squares")
    figure = readable(sl.plot.parameters(fit))
    told = [t.get_text() for ax in figure.axes for t in ax.get_xticklabels()]
    assert told
    assert all(words.endswith("k") for words in told)


def test_a_parameter_that_is_none_is_named(fit):
    with pytest.raises(ValueError, match="'z' is no parameter of these fits"):
        sl.plot.forest(fit, "z")


# --- likelihood -----------------------------------------------------------------------------------
def edge(ax, width=1.0):
    """Outermost contour."""
    found = [c for c in ax.collections if list(c.get_linewidths()) == [width]]
    return np.concatenate([p.vertices for p in found[-1].get_paths()])


def test_the_region_of_a_straight_line_is_its_ellipse():
    """With squares and a linear law the joint region is known: (t - t0)' C^-1 (t - t0) <= 2 F."""
    from scipy.special import fdtri

    x = np.linspace(1.0, 4.0, 12)
    y = 1.0 + 0.5 * x + 0.05 * np.sin(7.0 * x)
    line = sl.laws.from_function(lambda x, p, q: p + q * x, ["x"])
    metric = sl.Metric("y", link="identity")
    fit = sl.fit(line, pd.DataFrame({"x": x, "y": y}), metric, objective="squares")
    ax = drawn(sl.plot.likelihood(fit, ("p", "q"), levels=(0.9,), draws=False))
    at = edge(ax) - [fit.values["p"], fit.values["q"]]
    design = np.column_stack([np.ones_like(x), x])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    s2 = np.sum((y - design @ beta) ** 2) / (len(x) - 2)
    inverse = design.T @ design / s2
    size = np.einsum("ij,jk,ik->i", at, inverse, at)
    # Contours are linear between points of the grid, the surface is quadratic: h^2 / 4 off where
    # neighbours lie h standard errors apart, at most .5 here, of a drop of 5.8.
    np.testing.assert_allclose(size, 2.0 * fdtri(2, len(x) - 2, 0.9), rtol=0.02)


def test_the_region_holds_the_profile_interval(fit):
    """A joint region is wider than the interval of one: 2 F(2, nu) > F(1, nu) = t^2."""
    ax = drawn(sl.plot.likelihood(fit, ("b", "g")))
    for axis, name in enumerate(("b", "g")):
        profile = fit.profile(name)
        assert edge(ax)[:, axis].min() < profile.low
        assert edge(ax)[:, axis].max() > profile.high
    estimate, draws = (line for line in ax.lines if line.get_linestyle() == "None")
    assert [x[0] for x in estimate.get_data()] == [fit.values["b"], fit.values["g"]]
    x, y = draws.get_data()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    off = len(x) - np.sum((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
    told = f"draws, {off} of {len(x)} not shown" if off else "draws"
    assert legend(ax) == ["estimate", "50 % region", "90 % region", told]


def test_the_weakest_pair_is_the_default(fit):
    ax = drawn(sl.plot.likelihood(fit, draws=False))
    worst = fit.identifiability.iloc[-1].drop("singular_value").abs().nlargest(2)
    told = [words.partition(": ") for words in (ax.get_xlabel(), ax.get_ylabel())]
    assert [name for name, _, _ in told] == list(worst.index)
    # Each says what it is.
    for name, _, meaning in told:
        law = fit.law.params[name.partition("[")[0]]
        assert meaning.replace("\n", " ") == law.meaning


def test_the_widest_region_is_drawn_whole(fit):
    """Both parameters are determined: a region that ends is not cut where the search did."""
    ax = drawn(sl.plot.likelihood(fit, ("b", "g"), levels=(0.5, 0.99), draws=False))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    at = edge(ax)
    assert left < at[:, 0].min() < at[:, 0].max() < right
    assert bottom < at[:, 1].min() < at[:, 1].max() < top
    # As wide as the F quantiles say, against that of the 90 % interval of one parameter.
    wide = fit.profile("b")
    assert np.ptp(at[:, 0]) > 1.6 * (wide.high - wide.low)


def test_a_line_through_its_points_has_no_region():
    line = sl.laws.from_function(lambda x, p, q: p + q * x, ["x"])
    rows = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.1]})
    fit = sl.fit(line, rows, sl.Metric("y", link="identity"), objective="squares")
    with pytest.raises(ValueError, match=r"there is no region\. 2 rows for 2 free parameters"):
        sl.plot.likelihood(fit, ("p", "q"))


def test_without_draws_the_legend_has_none(fit, runs):
    alone = sl.fit(fit.law, runs, "task_f1")
    # What `draws_or_reason` keeps of a log that supports none.
    vars(alone)["draws_or_reason"] = NoInterval("Add runs.")
    ax = drawn(sl.plot.likelihood(alone, ("b", "g")))
    assert legend(ax)[-1] == "90 % region"


def test_a_parameter_without_a_profile_is_passed_over(fit, runs, monkeypatch):
    worst = fit.identifiability.iloc[-1].drop("singular_value").abs().nlargest(3).index
    whole = type(fit).profile

    def profile(self, name):
        if name == worst[0]:
            raise ValueError("it has no profile")
        return whole(self, name)

    monkeypatch.setattr(type(fit), "profile", profile)
    ax = drawn(sl.plot.likelihood(fit, draws=False))
    told = [words.partition(": ")[0] for words in (ax.get_xlabel(), ax.get_ylabel())]
    assert told == list(worst[1:])
    with pytest.raises(ValueError, match=f"{re.escape(worst[0])} have no profile"):
        sl.plot.likelihood(fit, (worst[0], worst[1]))


def test_a_pair_is_two_free_parameters(fit, runs):
    with pytest.raises(ValueError, match="no two of the free parameters"):
        sl.plot.likelihood(fit, ("b", "b"))
    with pytest.raises(ValueError, match="no two of the free parameters"):
        sl.plot.likelihood(fit, ("b", "nothing"))
    held = sl.fit(fit.law, runs, "task_f1", parameters={"b": 0.4})
    with pytest.raises(ValueError, match="no two of the free parameters"):
        sl.plot.likelihood(held, ("b", "g"))


# --- coverage -------------------------------------------------------------------------------------
def table(level, inside, logs=200):
    se = [np.sqrt(c * (1 - c) / logs) for c in inside]
    return pd.DataFrame({"examples": [1e3, 1e4], "interval": "mean", "coverage": inside,
                         "coverage_se": se, "refused": 0.02})  # fmt: skip


def test_coverage_is_the_mean_over_points_and_their_range():
    tables = {0.9: table(0.9, [0.86, 0.92]), 0.5: table(0.5, [0.46, 0.5])}
    ax = drawn(sl.plot.coverage(tables))
    curve = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(curve.get_data(), [[0.5, 0.9], [0.48, 0.89]])
    bars = next(c for c in ax.collections if hasattr(c, "get_segments"))
    np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[0.46, 0.5], [0.86, 0.92]])
    assert legend(ax) == ["the curve", "as claimed", "noise, 90 %"]
    assert title(ax) == "mean and range over points; refused: 2 % of logs"


def test_the_band_is_the_noise_of_the_simulation():
    ax = drawn(sl.plot.coverage({0.9: table(0.9, [0.88, 0.92], logs=100)}))
    band = ax.collections[0].get_paths()[0].vertices
    at = 0.95
    near = band[np.abs(band[:, 0] - at) < 0.002]
    want = 2 * 1.645 * np.sqrt(at * (1 - at) / 100)
    # Above, the band is cut at certain coverage.
    np.testing.assert_allclose(at - near[:, 1].min(), want / 2, rtol=0.1)


def test_coverage_of_simulated_logs():
    design = pd.DataFrame({"examples": [1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5]})
    at = pd.DataFrame({"examples": [1e3, 2e5]})
    truth = {"E": 1.0, "A": 1.0, "a": 0.4}
    tables = {level: sl.coverage(sl.laws.Power(), design, truth, 0.03, at, n=4, draws=99,
                                 level=level) for level in (0.5, 0.9)}  # fmt: skip
    ax = drawn(sl.plot.coverage(tables))
    assert legend(ax)[:3] == ["the curve", "a new run", "as claimed"]


def test_kinds_of_interval_stand_beside_each_other_at_what_they_claim():
    kinds = {level: pd.concat([table(level, [level, level]).assign(interval=kind)
                               for kind in ("mean", "run", "score")], ignore_index=True)
             for level in (0.5, 0.9)}  # fmt: skip
    ax = readable(sl.plot.coverage(kinds, sl.plot.blank(*NARROW)))
    marks = [line for line in ax.lines if line.get_linestyle() == "None"]
    boxes = [ax.transData.transform([(line.get_xdata()[0], 0.5)])[0, 0] for line in marks]
    # Centres are at least a marker's width apart.
    width = marks[0].get_markersize() * ax.get_figure().dpi / 72.0
    assert (np.diff(boxes) > 0.8 * width).all()
    claims = ax.collections[-1].get_segments()
    assert [s[0, 1] for s in claims] == [0.5, 0.9]
    for i, segment in enumerate(claims):
        xs = [line.get_xdata()[i] for line in marks]
        assert segment[0, 0] < min(xs) < max(xs) < segment[1, 0]


def test_where_all_logs_are_refused_coverage_says_so():
    none = table(0.9, [np.nan, np.nan]).assign(refused=1.0)
    ax = readable(sl.plot.coverage({0.9: none}, sl.plot.blank(*NARROW)))
    assert title(ax).endswith("refused: 100 % of logs")
    assert "noise, 90 %" not in legend(ax)


def test_coverage_needs_levels():
    with pytest.raises(ValueError, match=r"levels \[90\]"):
        sl.plot.coverage({90: table(0.9, [0.9, 0.9])})
    with pytest.raises(ValueError, match=r"levels \[\]"):
        sl.plot.coverage({})


def test_parts_of_a_figure_are_drawn_on(fit, held):
    left, right = Figure(figsize=(12, 4), layout="constrained").subfigures(1, 2)
    assert sl.plot.residuals(fit, left) is left
    assert sl.plot.holdout(held, right) is right
    assert (len(left.axes), len(right.axes)) == (3, 2)
    left.get_figure(root=True).savefig(io.BytesIO(), format="png")
