"""A level of a factor looks the same in every figure of a log, and levels are told exactly."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scaling_laws as sl
from scaling_laws.decide.result import Result, View
from scaling_laws.plot.parts import level_words
from scaling_laws.plot.style import COLOURS, MARKERS, exact_number, level_looks
from scaling_laws.study import Noise

LEVELS = ("blended", "cot", "label")


@pytest.fixture(scope="module")
def fit():
    design = pd.DataFrame(
        [(n, k, f) for f in LEVELS for n in (256, 1024, 3072) for k in (1.0, 0.6, 0.3)],
        columns=["examples", "kept", "format"],
    )
    law = sl.laws.Compressed(by="format", share={"c": False})
    truth = {"e": 2.2, "a": 0.5, "b": 0.4, "g": 0.8}
    truth |= {f"c[{level}]": 0.2 + 0.1 * i for i, level in enumerate(LEVELS)}
    runs = sl.simulate(law, design, truth, Noise(run=0.01), 0, metric="task_f1")
    return sl.fit(law, runs, "task_f1")


def colours(artists):
    return {to_hex(a.get_color()).upper() for a in artists}


def lines(ax):
    """Curves and markers, without the lines of the page: floors, teachers."""
    return [a for a in ax.lines if to_hex(a.get_color()).upper() in COLOURS]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_has_its_colour_whichever_are_drawn(fit, level):
    own = {level_looks(LEVELS)[level][0]}
    alone = {"format": level}
    fixed = {"kept": 0.6, "format": level}
    for ax in (
        sl.plot.degradation(fit, at=alone),
        sl.plot.learning_curve(fit, at=alone),
        sl.plot.plot_fit(fit, x="examples", fixed=fixed),
    ):
        assert colours(lines(ax)) == own
    left = sl.plot.blank().get_figure()
    two = sl.plot.degradation(fit, left.axes[0], at={"format": [level, "cot"]})
    assert colours(lines(two)) == own | {level_looks(LEVELS)["cot"][0]}


def test_figures_of_a_fit_agree_on_its_levels(fit):
    want = {level: look[0] for level, look in level_looks(LEVELS).items()}
    legends = [
        sl.plot.degradation(fit).get_legend(),
        fit.plot().get_legend(),
        sl.plot.residuals_against_fitted(fit).get_legend(),
    ]
    for legend in legends:
        told = zip(legend.get_texts(), legend.legend_handles, strict=True)
        found = {t.get_text(): h for t, h in told if t.get_text() in LEVELS}
        assert {k: to_hex(h.get_color()).upper() for k, h in found.items()} == want
    ax = sl.plot.forest(fit, "c")
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == list(LEVELS)
    for mark in (a for a in ax.lines if a.get_marker() == "o"):
        assert to_hex(mark.get_color()).upper() == want[names[int(mark.get_ydata()[0])]]


def test_a_forest_of_fits_looks_the_same_in_any_order(fit):
    def found(named):
        ax = sl.plot.forest(named, "b")
        names = [t.get_text() for t in ax.get_yticklabels()]
        marks = [a for a in ax.lines if a.get_marker() == "o"]
        return {names[int(a.get_ydata()[0])]: a.get_color() for a in marks}

    assert found({"one": fit, "two": fit}) == found({"two": fit, "one": fit})


@pytest.mark.parametrize("style", ["line", "points", "bars"])
def test_an_answer_colours_levels_whatever_their_order(style):
    rows = [("label", 1.0, 0.2), ("label", 2.0, 0.3), ("cot", 1.0, 0.4), ("cot", 2.0, 0.5)]
    frame = pd.DataFrame(rows, columns=["format", "x", "y"])
    view = View("x", "y", by="format", style=style)

    def found(table):
        ax = Result("which?", "one", table, view).plot()
        if style == "bars":
            return {bar.get_width(): to_hex(bar.get_facecolor()).upper() for bar in ax.patches}
        return {a.get_label(): to_hex(a.get_color()).upper() for a in ax.lines}

    want = dict(zip(("cot", "label"), COLOURS[:2], strict=True))
    bars = dict(zip(frame["y"], frame["format"].map(want), strict=True))
    assert found(frame) == (bars if style == "bars" else want)
    assert found(frame[::-1]) == found(frame)


def test_more_levels_than_colours_still_differ():
    looks = level_looks(range(len(COLOURS) * len(MARKERS)))
    assert len(set(looks.values())) == len(looks)


def test_forms_and_the_forecast_have_colours_of_their_own(fit):
    choice = sl.choose([sl.laws.Compressed(kind, by="format") for kind in
                        ("additive", "multiplicative")], fit.problem.frame, "task_f1")  # fmt: skip
    legend = choice.plot().get_legend()
    shown = [to_hex(h.get_color()).upper() for h in legend.legend_handles]
    assert len(set(shown)) == len(shown) == 3
    # The line that is drawn is that of the last level.
    assert shown[0] == level_looks(LEVELS)["label"][0]


@pytest.mark.parametrize(("value", "words"), [
    (1024, "1,024"), (3072, "3,072"), (6000, "6k"), (400_000, "400k"), (1.5e6, "1.5M"),
    (1_048_576, "1,048,576"), (64, "64"), (0.16, "0.16"), (0.12345, "0.12345"), (1e-4, "0.0001"),
    (0, "0"), (-3, "-3"),
])  # fmt: skip
def test_levels_are_told_exactly(value, words):
    assert exact_number(value) == words
    assert level_words("examples", value) == f"{words} examples"


def test_sizes_are_told_by_three_digits():
    assert level_words("params", 134_515_008) == "135M parameters"
    assert level_words("kept", 0.57297118) == "57.3 % kept"


def test_the_legend_has_the_levels_of_the_log(fit):
    ax = sl.plot.degradation(fit, at={"examples": [1024, 256], "format": "cot"})
    told = [t.get_text() for t in ax.get_legend().get_texts()]
    assert {"1,024 examples", "256 examples"} <= set(told)
    assert sl.plot.degradation(fit).get_legend().get_title().get_text() == "3,072 examples"


def test_an_answer_is_marked_in_the_colour_of_no_level_and_named_above_the_axes():
    frame = pd.DataFrame({"format": ["cot", "label"], "kept": [0.2, 0.4], "y": [0.1, 0.9]})
    view = View("kept", "y", by="format", style="points", marks={"answer": 0.3})
    ax = Result("which?", "the answer", frame, view).plot()
    mark = next(a for a in ax.lines if a.get_label() == "answer")
    assert to_hex(mark.get_color()).upper() not in colours(
        a for a in ax.lines if a.get_label() in ("cot", "label")
    )
    assert ax.get_xlabel() == "fraction of parameters kept"
    ax.get_figure().draw_without_rendering()
    legend, title = ax.get_legend().get_window_extent(), ax._left_title.get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1
    assert not legend.overlaps(title)


def test_a_hold_out_tells_its_levels_exactly():
    rows = [(n, k) for n in (64, 256, 1024) for k in (0.3, 0.6, 1.0)]
    design = pd.DataFrame(rows, columns=["examples", "kept"])
    truth = {"e": 2.2, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}
    law = sl.laws.Compressed()
    runs = sl.simulate(law, design, truth, Noise(run=0.01), 0, metric="task_f1")
    held = sl.holdout(law, runs, "task_f1", by="examples", leave=1)
    assert held.plot().get_legend().get_title().get_text() == "held out: 1,024 examples"


def test_a_front_names_numbers_without_commas(fit):
    offered = pd.DataFrame({"examples": [1024, 1024, 3072], "kept": [0.3, 0.6, 1.0]})
    offered = offered.assign(format="cot", price=[1.0, 2.0, 9.0])
    ax = sl.decide.pareto({"task_f1": fit}, offered).plot()
    named = {t.get_text() for t in ax.texts}
    assert {"1024, 0.3", "3072, 1"} <= named
