"""Names, ticks and legends of figures of many, of one, and of badly named things can be read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scaling_laws as sl
from scaling_laws import cost
from scaling_laws.backtesting import Backtest
from scaling_laws.exchange import exchange_rate
from scaling_laws.plot.rows import shortened
from scaling_laws.plot.style import COLOURS
from tests.figures import LONG, NARROW, box_of, legend, readable, rows_named, title


# --- names ----------------------------------------------------------------------------------------
def test_a_shortened_name_keeps_both_ends():
    assert shortened("short", 5) == "short"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("abcdefghij", 5, tail=0.0) == "abcd…"
    assert shortened("abcdefghij", 5, tail=1.0) == "…ghij"


# --- costs ----------------------------------------------------------------------------------------
def students(count, name="run"):
    return [
        cost.training("Qwen3-0.6B", 10.0 ** (7 + i / 10), teacher="Qwen3-8B", target="topk",
                      name=f"{name} {i}") for i in range(count)
    ]  # fmt: skip


def test_a_budget_of_many_is_as_high_as_it_needs():
    ax = readable(cost.budget(students(40, LONG)).plot())
    assert len(ax.collections[0].get_segments()) == 30
    assert len(rows_named(ax)) == len(set(rows_named(ax))) == 30
    assert title(ax) == "the first 30 of 40 items"


def test_a_low_figure_has_the_items_that_it_can_name():
    ax = readable(cost.budget(students(40, LONG)).plot(sl.plot.blank(*NARROW)))
    drawn = len(ax.collections[0].get_segments())
    assert 5 < drawn < 30
    assert len(set(rows_named(ax))) == drawn
    assert title(ax) == f"the first {drawn} of 40 items"


def test_a_budget_of_one_item_has_a_scale():
    one = cost.training("Qwen3-0.6B", 1e9, mfu=0.3)
    ax = readable(cost.budget([one]).plot(sl.plot.blank(*NARROW)))
    assert len(ax.get_xticks()) > 2
    # A range of no width is one number.
    assert ax.get_xlabel() == f"GPU-hours, ranges; {one.gpu_hours[0]:.3g} in all"


def test_a_long_name_leaves_room_for_what_fills_a_gpu():
    found = cost.training("Qwen3-32B", 1e9, teacher="Qwen3-8B", name=LONG)
    ax = readable(found.plot(sl.plot.blank(*NARROW)))
    assert all(words.endswith("GB") for words in legend(ax))
    bars = [bar for bars in ax.containers for bar in bars]
    # Neighbours are told apart without colour.
    assert all(a.get_hatch() != b.get_hatch() for a, b in zip(bars[:2], bars[1:], strict=False))


@pytest.mark.parametrize("size", [NARROW, (163.0, 107.0)])
def test_models_of_like_size_are_named_beside_the_axes(size):
    shape = cost.shape("Qwen3-4B")
    models = [replace(shape, name=f"pruned {shape.name}, depth {shape.layers - i} of 36",
                      layers=shape.layers - i) for i in range(12)]  # fmt: skip
    found = cost.serving(models, tokens_in=2000, tokens_out=50)
    ax = readable(found.plot(sl.plot.blank(*size)))
    names = [t.get_text() for t in ax.texts]
    assert len(set(names)) == 12
    edge = ax.get_window_extent().x1
    assert all(box_of(t).x0 >= edge for t in ax.texts)
    heights = [box_of(t).y0 for t in ax.texts]
    # As the deepest is the slowest, it stands on top.
    assert heights == sorted(heights, reverse=True)


# --- backtest -------------------------------------------------------------------------------------
def backtest(logs=("losses",), methods=("AICc", "Forecast"), error=0.02, inside=9):
    rows = [
        {"log": log, "curve": f"c{i}", "form": "Power", "method": method, "axis": "examples",
         "error": error * (1 + i), "scale": "RMSE", "rows": 10, "interval": "run",
         "judged": 10 if inside else 0, "inside": inside, "width": 0.1}
        for log in logs for method in methods for i in range(4)
    ]  # fmt: skip
    failed = pd.DataFrame(columns=["log", "curve", "rows", "reason"])
    return Backtest(pd.DataFrame(rows), failed, 3, 0.9)


def test_a_backtest_says_what_its_marks_are():
    ax = readable(backtest().plot(sl.plot.blank(*NARROW)))
    words = title(ax).replace("\n", " ")
    assert words.startswith("over curves: median (marker), mean (|), 10 to 90 % (line)")
    assert words.endswith("share inside the 90 % intervals")
    assert [t.get_text() for t in ax.texts] == ["90 % inside"] * 2


def test_a_backtest_with_long_names_keeps_its_room():
    methods = [f"always {form} {LONG}" for form in ("Power", "Rectified", "Collapse")]
    ax = readable(backtest([LONG], methods).plot(sl.plot.blank(*NARROW)))
    assert len(set(rows_named(ax))) == 3


def test_errors_of_nothing_are_drawn_at_the_edge():
    ax = readable(backtest(error=0.0).plot(sl.plot.blank(*NARROW)))
    assert ax.lines[-1].get_xdata()[0] == ax.get_xlim()[0]


def test_a_backtest_without_intervals_says_nothing_of_them():
    ax = readable(backtest(inside=0).plot(sl.plot.blank(*NARROW)))
    assert "inside" not in title(ax)
    assert not [t for t in ax.texts if t.get_text()]


def test_no_two_of_many_logs_look_the_same():
    ax = readable(backtest([f"log {i}" for i in range(10)]).plot())
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in ax.lines
             if line.get_marker() != "|"}  # fmt: skip
    assert len(looks) == 10


# --- classes --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def classes():
    """Thirty classes of few items: some say nothing alone, one says far too much."""
    rng = np.random.default_rng(0)
    x = np.array([100, 300, 1000, 3000, 10_000, 30_000, 100_000])
    rows = []
    for c in range(30):
        limit, exponent = rng.normal(2.2, 0.5), rng.normal(0.35, 0.08)
        n = int(np.exp(rng.uniform(np.log(6), np.log(400))))
        p = 1 / (1 + np.exp(-(limit - (x / 3162) ** -exponent)))
        rows += [{"run_id": f"r{a}", "examples": a, "class": f"c{c:02}", "score": k / n, "n": n}
                 for a, k in zip(x, rng.binomial(n, p), strict=True)]  # fmt: skip
    return sl.fit_classes(sl.laws.Power(), pd.DataFrame(rows), rng=0)


def test_every_exponent_is_drawn_or_pointed_at(classes):
    ax = readable(classes.plot())
    raw = classes.frame["raw"]
    low, high = ax.get_xlim()
    assert (raw > high).any()
    assert raw.isna().sum() == 0
    at = {">": high, "<": low}
    drawn = []
    for line in ax.lines:
        x = np.atleast_1d(line.get_xdata())
        if line.get_marker() in at:
            assert (x == at[line.get_marker()]).all()
        if line.get_marker() in ("s", ">", "<"):
            drawn += np.atleast_1d(line.get_ydata()).round(2).tolist()
    assert len(drawn) == len(set(drawn)) == len(raw)
    told = legend(ax)
    assert {"alone, ± se", "alone, beyond", "pooled, 90 %", "mean over classes", "± spread"} <= set(
        told
    )


def test_on_low_axes_some_classes_are_named(classes):
    ax = readable(classes.plot(sl.plot.blank(*NARROW)))
    every = -(-30 // len(rows_named(ax)))
    assert title(ax) == f"one class in {every} is named"
    assert every > 1


def test_names_at_the_ends_of_curves_are_apart(classes):
    ax = readable(classes.plot_curves(sl.plot.blank(*NARROW)))
    named = len(ax.texts)
    count = len(classes.fits)
    assert 5 < named < count
    assert title(ax) == f"{named} of {count} classes named; paler: fewer test items"
    assert ax.get_xlabel() == "labelled examples"
    # A name has the colour of its curve, by the line that leads to it.
    last = {to_hex(line.get_color()) for line in ax.lines}
    assert {to_hex(t.arrow_patch.get_edgecolor()) for t in ax.texts} <= last


# --- recipes --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def recipe():
    n, d = (a.ravel() for a in np.meshgrid(np.logspace(8, 10, 6), np.logspace(9, 12, 6)))
    loss = 1.7 + 400 * n**-0.34 + 2000 * d**-0.36
    noise = np.exp(0.003 * np.random.default_rng(0).normal(size=len(n)))
    return sl.recipes.besiroglu(pd.DataFrame({"params": n, "tokens": d, "loss": loss * noise}))


@pytest.mark.parametrize("size", [NARROW, (163.0, 107.0)])
def test_steps_of_a_recipe_are_named_whole(recipe, size):
    ax = readable(recipe.plot(sl.plot.blank(*size)))
    assert [w.replace("\n", " ") for w in rows_named(ax)] == list(recipe.frame.index)
    assert ax.get_xlabel().replace("\n", " ").endswith("at 5.76e23 FLOP")


def test_a_step_without_an_optimum_says_so(recipe):
    ratio = recipe.frame["tokens_per_parameter"].copy()
    ratio.iloc[1] = np.nan
    part = replace(recipe, frame=recipe.frame.assign(tokens_per_parameter=ratio))
    words = [t.get_text() for t in readable(part.plot(sl.plot.blank(*NARROW))).texts]
    assert words.count("no optimum") == 1
    assert len(words) == len(ratio)
    none = replace(recipe, frame=recipe.frame.assign(tokens_per_parameter=np.nan))
    words = [t.get_text() for t in readable(none.plot()).texts]
    assert words == ["no optimum"] * len(ratio)


# --- exchanges ------------------------------------------------------------------------------------
SIZES = np.logspace(2, 6, 8).round()


def exchange(at, names=("plain", "good"), limits=(0.8, 1.2), seeds=2):
    law = sl.laws.Power(by="method")
    design = pd.DataFrame([(n, m, s) for n in SIZES for m in names for s in range(seeds)],
                          columns=["examples", "method", "seed"])  # fmt: skip
    truth = {f"E[{names[1]}]": limits[0], f"E[{names[0]}]": limits[1], "A": 0.5, "a": 0.4}
    fit = sl.fit(law, sl.simulate(law, design, truth, 0.003, 0))
    return exchange_rate(fit, at, {"method": names[0]}, {"method": names[1]})


def test_what_is_never_reached_is_marked_at_the_upper_edge():
    found = exchange(SIZES)
    ax = readable(found.plot(sl.plot.blank(*NARROW)))
    mark = next(line for line in ax.lines if line.get_label() == "never reached")
    never = found.frame["at"][np.isinf(found.frame["ratio"])]
    assert len(never) > 1
    np.testing.assert_array_equal(np.sort(mark.get_xdata()), np.sort(never))
    assert (mark.get_ydata() == ax.get_ylim()[1]).all()
    assert {"estimate", "never reached", "90 % interval", "one for one"} <= set(legend(ax))
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def test_an_exchange_of_one_size_shows_its_interval():
    found = exchange([1e3])
    ax = readable(found.plot(sl.plot.blank(*NARROW)))
    bar = next(c for c in ax.collections if hasattr(c, "get_segments"))
    row = found.frame.iloc[0]
    np.testing.assert_allclose(bar.get_segments()[0][:, 1], [row["ratio_low"], row["ratio_high"]])
    assert len(ax.get_xticks()) > 1


def test_an_exchange_that_is_never_reached_shows_that_alone():
    ax = readable(exchange([1e6]).plot(sl.plot.blank(*NARROW)))
    assert legend(ax) == ["never reached", "one for one"]


def test_estimates_beyond_the_runs_are_open():
    found = exchange([1e3, 1e5, 1e7], limits=(1.0, 0.99))
    assert list(found.frame["support"]) == ["inside", "inside", "outside"]
    ax = readable(found.plot(sl.plot.blank(*NARROW)))
    mark = next(line for line in ax.lines if line.get_label() == "beyond the runs of plain")
    assert to_hex(mark.get_markerfacecolor()) == "#ffffff"
    assert mark.get_xdata() == [1e7]


def test_long_names_are_exchanged_too():
    names = (f"{LONG} one", f"{LONG} two")
    ax = readable(exchange(SIZES, names).plot(sl.plot.blank(*NARROW)))
    assert ax.get_xlabel().startswith("examples of a name")
    assert COLOURS[0] in {to_hex(line.get_color()).upper() for line in ax.lines}
