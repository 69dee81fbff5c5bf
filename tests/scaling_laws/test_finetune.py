"""Ninety published fine-tuning curves: the Forecast is good in the middle and in the tail."""

import pytest

from tests.benchmarks import backtest_table, finetune_table


@pytest.mark.slow
def test_forecast_holds_median_and_mean(data_folder, monkeypatch):
    monkeypatch.setenv("SCALING_LAWS_DATA", str(data_folder))
    found = finetune_table.table()
    print(found)
    table = found.frame.loc["fine-tuning loss"]
    assert (table["curves"] == 90).all()
    assert table.loc["Forecast", "median"] <= 0.0245
    assert table.loc["Forecast", "mean"] <= table.loc["always Rectified", "mean"]
    assert table.loc["Forecast", "mean"] < table.loc["rolling origin", "mean"]
    # The figures of the README, to their last printed digit.
    for method, median, mean in (
        ("Forecast", 0.0229, 0.0351),
        ("always Rectified", 0.0271, 0.0361),
        ("always Power", 0.0528, 0.0842),
    ):
        assert table.loc[method, "median"] == pytest.approx(median, abs=1e-4)
        assert table.loc[method, "mean"] == pytest.approx(mean, abs=1e-4)


def test_published_envelope_and_few_shot_curves_are_read(data_folder, monkeypatch):
    """A row or a reason for every curve; the envelope is no run but the best of its bin."""
    monkeypatch.setenv("SCALING_LAWS_DATA", str(data_folder))
    best = backtest_table.envelope().frame
    assert best.groupby("curve")["top_1"].max().eq(0.768).all()
    few = backtest_table.fewshot()
    assert few["curve"].nunique() == 44
    assert few["task_accuracy"].between(0, 1).all()
