"""The demo on published points: points as published, its answers, its files."""

import io
import json

import numpy as np
import pytest
from scipy.stats import chi2
from scipy.stats import f as ratios

import scaling_laws as sl
from scaling_laws.demo_published import run_published
from scaling_laws.presets import POINTS, load_points


@pytest.fixture(scope="module")
def demo():
    return run_published()


def test_points_are_the_published_ones():
    f1 = load_points("headline-f1").frame.set_index(["params", "examples"])["task_f1"].unstack()
    assert f1.to_numpy().tolist() == [[0.54, 0.78, 0.90], [0.85, 0.89, 0.95], [0.84, 0.94, 0.95]]
    mmlu = load_points("qwen3-8b-pruned").frame.pivot(index="kept", columns="phase", values="mmlu")
    assert mmlu["distilled"].dropna().tolist() == [0.4620, 0.7302, 0.7166, 0.7421]
    assert mmlu["pruned"].dropna().tolist() == [0.2351, 0.5084, 0.7038, 0.7396]
    assert mmlu.loc[1.0, "teacher"] == 0.7493


def test_scores_before_tuning_stand_beside_those_after():
    untuned, tuned = (load_points(f"headline-f1{s}").frame for s in ("-untuned", ""))
    table = untuned.set_index(["params", "beside_examples"])["task_f1"].unstack()
    assert table.to_numpy().tolist() == [
        [0.362, 0.34, 0.317], [0.590, 0.67, 0.634], [0.650, 0.74, 0.72],
    ]  # fmt: skip
    assert (untuned["examples"] == 0).all()
    runs = ["base_model", "params"]
    at = untuned[[*runs, "beside_examples"]].rename(columns={"beside_examples": "examples"})
    assert at.astype({"examples": float}).equals(tuned[[*runs, "examples"]])
    # Each model is better at the job once it is tuned, whatever the size of its data.
    assert (tuned["task_f1"] > untuned["task_f1"]).all()


def test_labels_of_the_headlines_are_counted():
    counts = POINTS["headline-labels"].frame.set_index("label")["headlines"]
    assert counts.to_dict() == {
        "OTHER": 51866, "Stock price movement": 50609, "Earnings": 18247, "Price Targets": 18029,
        "Analyst Rating": 17075, "Products-Services": 11310, "Guidance": 8579,
        "Mergers and Acquisitions": 8433, "Regulatory": 8262, "Labour Issues": 3539,
        "Dividends": 2772, "Product Approval": 1556, "Credit Ratings": 721,
    }  # fmt: skip
    assert counts.sum() == 200_998
    assert round(counts.max() / counts.min()) == 72


def test_arithmetic_comes_back_with_distillation():
    frame = load_points("qwen3-8b-gsm8k").frame
    assert (frame["tokens"] / 1e9).tolist() == [0, 1.6, 1.9]
    assert frame["gsm8k"].tolist() == [0.0114, 0.4761, 0.7453]
    assert frame["kept"].tolist() == [0.812] * 3
    assert frame["phase"].tolist() == ["pruned", "distilled", "distilled"]


@pytest.mark.parametrize("name", POINTS)
def test_every_table_reads_clean_and_names_its_source(name):
    points = POINTS[name]
    assert points.source
    assert points.about
    assert points.frame.notna().all(axis=None)
    if not points.runs:
        with pytest.raises(ValueError, match="are no runs; POINTS"):
            load_points(name)
        return
    log = load_points(name)
    assert not len(log.rejected)
    assert len(log) == len(points.frame)
    assert set(m.name for m in points.metrics) <= set(log.metrics)


def test_unknown_points():
    with pytest.raises(KeyError, match="there are headline-f1"):
        load_points("absent")


@pytest.mark.parametrize("name", ["headline-f1", "headline-f1-untuned"])
def test_standard_errors_are_binomial_for_100_items(name):
    frame = load_points(name).frame
    p = frame["task_f1"]
    # Typed with four decimals.
    np.testing.assert_allclose(frame["task_f1_se"], np.sqrt(p * (1 - p) / 100), atol=5.1e-5)


@pytest.mark.parametrize(("phase", "half"), [("distilled", 0.68), ("pruned", 0.81)])
def test_half_points(demo, phase, half):
    """Independent of the law: MMLU crosses halfway between two published sizes."""
    row = getattr(demo, phase).derived.loc["half_point"]
    assert row["estimate"] == pytest.approx(half, abs=0.005)
    assert row["low"] < half < row["high"]


def test_steepness_is_not_identified(demo):
    row = demo.distilled.parameters.loc["s"]
    assert row["high"] > 5 * row["low"]
    assert np.isnan(row["se"])
    words = f"steepness not identified, {row['low']:.3g} or more"
    assert words in " ".join(demo.text().split())


def test_any_steepness_above_about_twelve_fits(demo):
    """The least squares at each steepness, the middle of the collapse free: no fit of the library.

    The likelihood draws the line at 12.6, for many runs; exact for two degrees of freedom it lies
    lower. The end that is told must lie between the two.
    """
    points = demo.distilled.problem.frame
    kept, skill = points["kept"].to_numpy(), points["mmlu"].to_numpy() - 0.25
    middle = np.log(np.linspace(0.5, 0.9, 4001)[:, None])

    def misfit(s):
        log_shape = np.logaddexp(0, s * middle) - np.logaddexp(0, s * (middle - np.log(kept)))
        shape = np.exp(log_shape)
        whole = shape @ skill / (shape**2).sum(axis=1)
        return ((skill - whole[:, None] * shape) ** 2).sum(axis=1).min()

    steep = np.geomspace(2, 1000, 400)
    misfits = np.array([misfit(s) for s in steep])
    excess = misfits / misfits.min()
    fits = steep[len(kept) * np.log(excess) <= chi2.ppf(0.95, 1)]
    assert fits[0] == pytest.approx(12, abs=1)
    assert fits[-1] == steep[-1]
    exact = steep[(len(kept) - 3) * (excess - 1) <= ratios.ppf(0.9, 1, len(kept) - 3)]
    assert exact[0] < demo.distilled.parameters.loc["s", "low"] < fits[0]


def test_more_labels_and_parameters_help(demo):
    points = {"params": [1.236e9, 8.03e9], "examples": 10_000}
    small, large = demo.headlines.predict(points, interval=None)["estimate"]
    assert small < large
    assert demo.headlines.problem.n == 9
    assert len(demo.held.frame) == 3


def test_text_says_what_the_points_cannot_tell(demo):
    text = demo.text()
    words = " ".join(text.split())
    assert words.count("What these points cannot tell:") == 2
    assert "labels or training steps" in words
    assert "binomial size for 100 items" in words
    assert "half of the skill above guessing is lost at 0.681 kept" in words
    assert max(map(len, text.split("\n"))) <= 100


def test_it_is_repeatable(demo):
    assert run_published().text() == demo.text()


def test_no_title_lies_under_a_legend(demo):
    figure = demo.plot()
    figure.savefig(io.BytesIO(), format="png")
    for ax in figure.axes:
        title = ax.get_title(loc="left")
        legend = ax.get_legend()
        assert title or legend.get_title().get_text()
        assert not (title and legend)


def test_files(demo, tmp_path):
    written = demo.save(tmp_path / "out")
    assert {p.name for p in written} == {p.name for p in (tmp_path / "out").iterdir()}
    for path in written:
        assert path.stat().st_size > 200
    figure = tmp_path / "out" / "demo.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sl.load(tmp_path / "out" / "headlines.json").values == demo.headlines.values
    assert json.loads((tmp_path / "out" / "collapse.json").read_text())["format"]
