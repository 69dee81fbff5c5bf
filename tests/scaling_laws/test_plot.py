"""Figures hold what the results say, on the caller's Axes, and leave matplotlib as it was."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scaling_laws as sl
from scaling_laws.plot import plot_fit, save_figure
from scaling_laws.plot.style import plain_log_axis
from scaling_laws.presets import load_points
from scaling_laws.study import Noise


@pytest.fixture(scope="module")
def sizes():
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    return sl.fit(law, load_points("headline-f1"), "task_f1")


@pytest.fixture(scope="module")
def collapse():
    frame = load_points("qwen3-8b-pruned").frame
    return sl.fit(sl.laws.Collapse(), frame[frame["phase"] != "pruned"], "mmlu")


def formats(levels=("blended", "label"), kept=(0.79, 0.58, 0.37, 0.16)):
    design = pd.DataFrame([(n, k, f) for n in (6e3, 2e4, 8e4, 4e5) for k in kept for f in levels],
                          columns=["examples", "kept", "format"])  # fmt: skip
    truth = {"e": 2.0, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}
    law = sl.laws.Compressed(by="format")
    return sl.simulate(law, design, truth, Noise(run=0.01), 1, metric="task_f1")


def drawn(ax):
    """Render, so that labels and layout are put to use."""
    ax.figure.canvas.draw()
    return ax


def markers(ax):
    return [line for line in ax.lines if line.get_marker() not in ("", "None", None)]


def test_curves_are_the_predictions(sizes):
    ax = drawn(plot_fit(sizes))
    curves = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(curves) == 3
    for line, params in zip(curves, (8.03e9, 3.213e9, 1.236e9), strict=True):
        x, y = line.get_data()
        want = sizes.predict(params=params, examples=x, interval=None)["estimate"]
        np.testing.assert_array_equal(y, want)


def test_every_run_is_a_marker_with_its_error(sizes):
    ax = drawn(plot_fit(sizes))
    frame = sizes.problem.frame
    points = np.concatenate([np.column_stack(line.get_data()) for line in markers(ax)])
    want = frame[["examples", "task_f1"]].to_numpy()
    assert sorted(map(tuple, points)) == sorted(map(tuple, want))
    assert len({line.get_marker() for line in markers(ax)}) == 3  # colour is not the only sign
    assert len({to_hex(line.get_color()) for line in markers(ax)}) == 3


def test_the_solid_line_ends_where_the_data_end(sizes):
    ax = drawn(plot_fit(sizes))
    solid = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 9]
    assert len(solid) == 3
    for line in solid:
        assert line.get_xdata().min() >= 5_000
        assert line.get_xdata().max() <= 25_000
    low, high = ax.get_xlim()
    assert low < 5_000
    assert high > 25_000


def test_mean_band_lies_inside_the_run_band(sizes):
    ax = drawn(plot_fit(sizes))
    bands = [c.get_paths()[0].vertices for c in ax.collections if c.get_alpha() in (0.10, 0.22)]
    assert len(bands) == 6
    for run, mean in zip(bands[::2], bands[1::2], strict=True):
        assert np.ptp(run[:, 1]) >= np.ptp(mean[:, 1])


def test_floor_and_whole_model_are_marked(collapse):
    ax = drawn(plot_fit(collapse))
    heights = [line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1]
    assert 0.25 in heights
    assert 0.7493 in heights
    assert ax.get_xlim()[1] <= 1.0  # nobody keeps more than everything


def test_the_callers_axes_are_used_and_returned(sizes):
    axes = Figure().subplots(1, 2)
    assert sizes.plot(axes[1]) is axes[1]
    assert not axes[0].lines


def test_nothing_global_changes():
    code = (
        "import matplotlib as mpl, sys, scaling_laws as sl\n"
        "before = list(dict.items(mpl.rcParams))\n"  # asking for the backend would load pyplot
        "log = [{'examples': 10**k, 'loss': 1 + 10**(-.3*k) + .01*(k % 2)} for k in range(1, 8)]\n"
        "sl.fit(sl.laws.Power(), log).plot().figure.canvas.draw()\n"
        "assert before == list(dict.items(mpl.rcParams))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_colour_is_the_format_and_marker_the_size():
    fit = sl.fit(sl.laws.Compressed(by="format"), formats(), "task_f1")
    ax = drawn(fit.plot())
    found = {line.get_label(): (to_hex(line.get_color()), line.get_marker())
             for line in markers(ax)}  # fmt: skip
    assert len(found) == 8
    for label, (colour, _) in found.items():
        assert (colour == found["79 % kept, label"][0]) == label.endswith(", label")
    assert len({marker for _, marker in found.values()}) == 4


def test_at_most_five_lines_of_an_axis():
    levels = tuple(np.linspace(0.2, 0.9, 12).round(3))
    log = formats(("label",), levels)
    ax = drawn(sl.fit(sl.laws.Compressed(), log, "task_f1").plot())
    labels = [line.get_label() for line in markers(ax)]
    assert len(labels) == 5
    assert "20 % kept" in labels
    assert "90 % kept" in labels


def test_hostile_names_are_drawn_as_they_are():
    names = (r"$\frac{$", "<b>&")
    fit = sl.fit(sl.laws.Compressed(by="format"), formats(names), "task_f1")
    drawn(fit.plot())


def test_log_axes_have_plain_labels(sizes):
    ax = drawn(plot_fit(sizes))
    words = [t.get_text() for t in ax.get_xticklabels()]
    assert words == ["5k", "10k", "20k"]


@pytest.mark.parametrize(("low", "high"), [(0.16, 1.0), (6e3, 4e5), (1e6, 1e12), (3, 4)])
def test_a_log_axis_has_a_readable_number_of_ticks(low, high):
    ax = Figure().add_subplot()
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    plain_log_axis(ax.xaxis, low, high)
    drawn(ax)
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert 2 <= len(labels) <= 10
    assert not [w for w in labels if "e" in w or "$" in w]


def test_a_fit_without_interval_is_drawn():
    rows = [{"examples": x, "loss": y} for x, y in ((1e3, 3.0), (1e4, 2.0), (1e5, 1.5))]
    ax = drawn(sl.fit(sl.laws.Power(), rows).plot())
    assert len(markers(ax)[0].get_xdata()) == 3


def test_choice_draws_every_form():
    forms = [sl.laws.Compressed(k) for k in ("additive", "multiplicative")]
    choice = sl.choose(forms, formats(("label",)), "task_f1")
    ax = drawn(choice.plot())
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    for form in choice.fits:
        assert any(label.startswith(form) for label in labels)


def test_holdout_draws_every_held_out_row():
    held = sl.holdout(sl.laws.Compressed(), formats(("label",)), "task_f1", leave=1)
    ax = drawn(held.plot())
    count = sum(len(line.get_xdata()) for line in markers(ax))
    assert count == len(held.frame)


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_figures_are_written(sizes, tmp_path, suffix, begin):
    path = tmp_path / f"fit{suffix}"
    save_figure(plot_fit(sizes, run=False), path)
    assert path.read_bytes().startswith(begin)
