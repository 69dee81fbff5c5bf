"""Ninety published fine-tuning curves: the Forecast is good in the middle and in the tail."""

import pytest

from tests.benchmarks import finetune_table


@pytest.mark.slow
def test_forecast_holds_median_and_mean(data_folder, monkeypatch):
    monkeypatch.setenv("SCALING_LAWS_DATA", str(data_folder))
    table, covered = finetune_table.table()
    print(table.round(4).to_string(), covered)
    assert table.loc["Forecast", "median"] <= 0.0245
    assert table.loc["Forecast", "mean"] <= table.loc["always rectified", "mean"]
    assert table.loc["Forecast", "mean"] < table.loc["rolling origin", "mean"]
