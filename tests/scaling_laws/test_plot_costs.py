"""Figures of costs hold the numbers of their results, on the caller's Axes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws import cost

MODELS = ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-32B"]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def segments(collection):
    """Ends ``[segments, (low, high)]`` of horizontal lines."""
    return np.array([line[:, 0] for line in collection.get_segments()])


def drawn(ax):
    assert isinstance(ax, Axes)
    ax.get_figure().canvas.draw()
    return ax


def test_latency_against_price():
    found = cost.serving(MODELS, tokens_in=2000, tokens_out=50)
    ax = drawn(found.plot())
    frame = found.frame
    points, prices, latencies = ax.containers[0]
    assert np.allclose(points.get_xdata(), np.sqrt(frame["price_low"] * frame["price_high"]))
    assert np.allclose(points.get_ydata(), frame["latency_ms"])
    assert len(prices) == 0  # no caps
    across, upright = latencies
    assert np.allclose(segments(across), frame[["price_low", "price_high"]])
    heights = np.array([line[:, 1] for line in upright.get_segments()])
    assert np.allclose(heights, frame[["latency_ms_low", "latency_ms_high"]])
    assert [text.get_text() for text in ax.texts] == MODELS
    assert ax.get_xlabel() == "dollars for a million requests"
    assert ax.get_ylabel() == "latency, ms"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_models_that_cannot_be_served_are_counted():
    found = cost.serving(MODELS, tokens_in=2000, tokens_out=50, batch=64)
    assert list(found.frame["served"]) == [True, True, False]
    ax = drawn(found.plot())
    # Above the legend: a title of the axes would lie under it.
    assert ax.get_legend().get_title().get_text() == "1 of 3 models can't be served"
    assert not ax.get_title(loc="left")
    assert [text.get_text() for text in ax.texts] == MODELS[:2]
    none = cost.serving(MODELS[1:], tokens_in=2000, tokens_out=50, batch=1e6)
    with pytest.raises(ValueError, match="none of 2 models can be served"):
        none.plot()


def test_hours_of_a_budget():
    one = cost.training("Qwen3-0.6B", 1e9, name="plain $", mfu=0.3)
    two = cost.training("Qwen3-0.6B", 1e9, teacher="Qwen3-8B", target="topk", name="cached")
    written = cost.traces("Qwen3-8B", 1000, cost.Serving(tokens_in=200, tokens_out=100, batch=16))
    found = cost.budget([one, two, written])
    ax = drawn(found.plot())
    hours, cache = (segments(c) for c in ax.collections)
    assert np.allclose(hours, found.frame[["gpu_hours_low", "gpu_hours_high"]])
    assert np.allclose(cache, [two.cache_gpu_hours])
    assert [t.get_text() for t in ax.get_yticklabels()] == [r"plain \$", "cached", "traces"]
    assert ax.yaxis_inverted()
    assert legend(ax) == ["training or traces", "teacher's cache, once for all that share it"]
    low, high = found.gpu_hours
    assert ax.get_xlabel() == f"GPU-hours, ranges; {low:.3g} to {high:.3g} in all"
    # Told apart without colours too.
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    # A single utilisation has a range of no width; its marker shows it.
    assert ax.lines[0].get_xdata()[0] == pytest.approx(one.gpu_hours[0])
    # What shares a cache does not pay for it again.
    again = cost.budget([two, two]).plot()
    assert len(again.collections[1].get_segments()) == 1


def test_memory_of_a_training():
    found = cost.training("Qwen3-0.6B", 1e9, teacher="Qwen3-8B", name="student")
    axes = Figure().subplots(1, 2)
    ax = found.plot(axes[1])
    assert ax is axes[1]
    memory = found.memory
    widths = [bar.get_width() for bars in ax.containers for bar in bars]
    parts = [memory.states, memory.teacher, memory.activations, memory.logits]
    assert np.allclose(np.array(widths) * 1e9, parts)
    last = ax.containers[-1][0]
    assert last.get_x() + last.get_width() == pytest.approx(memory.total / 1e9)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(found.hardware.memory / 1e9)
    assert [words.split()[0] for words in legend(ax)] == [
        "states", "teacher", "activations", "logits", "H100",
    ]  # fmt: skip
    assert ax.get_xlabel().startswith("memory of a GPU, GB")
    with pytest.raises(ValueError, match="write its Shape"):
        cost.training(6e8, 1e9).plot()


def test_fitted_times_against_measured_ones():
    truth = cost.Calibration(0.8, 0.6, 5e-5, 4e-5, (0.5, 0.5), "H100")

    def times(model, **work):
        return cost.Serving(calibration=truth, **work).latency(model)["latency_ms"]

    rows = [
        {"model": m, "batch": b, "tokens_in": i, "tokens_out": o, "latency_ms": t}
        for m in MODELS for b in (1, 8) for i, o in ((200, 100), (2000, 300))
        for t in times(m, tokens_in=i, tokens_out=o, batch=b)
    ]  # fmt: skip
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal(len(rows)))
    table = pd.DataFrame(rows)
    found = cost.calibrate(table.assign(latency_ms=table["latency_ms"] * noise))
    ax = drawn(found.plot())
    points, equal = ax.lines
    assert np.allclose(points.get_xdata(), found.residuals["measured_ms"])
    assert np.allclose(points.get_ydata(), found.residuals["fitted_ms"])
    assert np.array_equal(equal.get_xdata(), equal.get_ydata())
    one = drawn(replace(found, residuals=found.residuals.head(1)).plot())
    # From corner to corner, however few the rows.
    assert tuple(one.lines[1].get_xdata()) == one.get_xlim() == one.get_ylim()
    assert legend(ax) == ["request", "equal"]
    assert ax.get_xlabel() == "measured on H100, ms"
    with pytest.raises(ValueError, match="no measured rows"):
        cost.calibration().plot()
