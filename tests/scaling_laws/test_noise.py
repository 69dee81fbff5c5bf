"""Noise before any law: the three sources are found, and their absence is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling_laws.metrics import Metric
from scaling_laws.runs import RunLog, RunLogError, read_runs

KEPT = (0.79, 0.58, 0.37, 0.16)


def chains(rng: np.random.Generator, count: int, seed: float, chain: float, n: int) -> pd.DataFrame:
    """Return `count` chains through four configurations, with known standard deviations."""
    mean = np.array([0.7, 0.65, 0.6, 0.4])
    score = mean + rng.normal(0, chain, (count, 1)) + rng.normal(0, seed, (count, 4))
    score = rng.binomial(n, score) / n
    return pd.DataFrame(
        {
            "chain_id": np.repeat([f"c{i}" for i in range(count)], 4),
            "seed": np.repeat(range(count), 4),
            "kept": np.tile(KEPT, count),
            "mmlu": score.ravel(),
            "mmlu_n": n,
        }
    )


def column(log: RunLog, name: str, **options: Any) -> dict[str, Any]:
    table = log.noise(**options)
    return dict(zip(table["source"], table[name], strict=True))


def test_the_three_standard_deviations_are_unbiased() -> None:
    rng = np.random.default_rng(1)
    truth = {"evaluation": 0.0, "seed": 0.02, "chain": 0.03}
    found = {source: [] for source in truth}
    mean = np.array([0.7, 0.65, 0.6, 0.4])
    for _ in range(200):
        # Enough chains that no estimated variance is cut at 0, which would bias the mean.
        noise = column(read_runs(chains(rng, 30, 0.02, 0.03, 2000)), "sd")
        for source, sd in noise.items():
            found[source].append(sd**2)
    # p(1-p) of the noisy p falls short of that of the mean p by the variance of p.
    truth["evaluation"] = float(np.sqrt((mean * (1 - mean) - 0.02**2 - 0.03**2).mean() / 2000))
    for source, sd in truth.items():
        variances = np.array(found[source])
        standard_error = variances.std(ddof=1) / np.sqrt(len(variances))
        assert abs(variances.mean() - sd**2) < 4 * standard_error, source


def test_shares_add_up_and_counts_are_told() -> None:
    log = read_runs(chains(np.random.default_rng(2), 6, 0.02, 0.03, 2000))
    assert sum(column(log, "share").values()) == pytest.approx(1)
    assert column(log, "count") == {"evaluation": 24, "seed": 20, "chain": 6}


def test_pooled_seeds_by_hand() -> None:
    cells = [(1, 0, 0.80), (1, 1, 0.82), (0.5, 0, 0.6), (0.5, 1, 0.66), (0.16, 0, 0.3)]
    rows = [{"kept": kept, "seed": seed, "task_f1": f1} for kept, seed, f1 in cells]
    log = read_runs(rows)
    assert column(log, "sd")["seed"] == pytest.approx(np.sqrt((0.0002 + 0.0018) / 2))
    assert column(log, "count")["seed"] == 2
    assert "Evaluation noise is in it" in column(log, "sentence")["seed"]
    assert np.isnan(column(log, "sd")["evaluation"])
    assert "cannot be tested" in column(log, "sentence")["chain"]


def test_a_stored_standard_error_goes_before_the_binomial_one() -> None:
    rows = [{"mmlu": 0.5, "mmlu_n": 100, "mmlu_se": se} for se in (0.01, None)]
    expected = np.sqrt((0.01**2 + 0.25 / 100) / 2)
    assert column(read_runs(rows), "sd")["evaluation"] == pytest.approx(expected)


def test_macro_f1_has_no_binomial_noise() -> None:
    log = read_runs([{"task_f1": 0.5, "task_f1_n": 100}])
    assert "cannot be tested: no row has a standard error" in column(log, "sentence")["evaluation"]


def test_a_loss_is_compared_in_logarithms() -> None:
    log = read_runs([{"params": 1e9, "loss": 2.0}, {"params": 1e9, "loss": 2.2}])
    assert column(log, "sd")["seed"] == pytest.approx(np.log(1.1) / np.sqrt(2))


def test_seeds_within_evaluation_noise_leave_nothing() -> None:
    rows = [{"kept": 0.5, "mmlu": m, "mmlu_n": 100} for m in (0.5, 0.501)]
    log = read_runs(rows)
    assert column(log, "sd")["seed"] == 0
    assert "No larger than evaluation noise" in column(log, "sentence")["seed"]


def test_one_configuration_cannot_tell_chains_from_seeds() -> None:
    rows = [{"kept": 0.5, "chain_id": f"c{i}", "quiz": q} for i, q in enumerate((0.5, 0.6, 0.4))]
    log = read_runs(rows)
    assert column(log, "sd")["seed"] == pytest.approx(0.1)
    assert np.isnan(column(log, "sd")["chain"])
    assert "cannot be tested: no chain" in column(log, "sentence")["chain"]


def test_what_moves_with_the_seed_is_no_configuration() -> None:
    rows = [
        {"run_id": f"r{s}", "seed": s, "examples": 6000, "tokens": 1e6 + s, "steps": 90 + s,
         "gpu_hours": 1 + s, "mmlu": 0.5} for s in range(3)
    ]  # fmt: skip
    assert read_runs(rows).configurations().tolist() == [0, 0, 0]
    tokens = [{"params": 1e9, "tokens": t, "loss": 2.0} for t in (1e9, 2e9)]
    assert read_runs(tokens).configurations().tolist() == [0, 1]


def test_the_columns_of_a_configuration_can_be_named() -> None:
    log = read_runs([{"kept": 0.5, "remark": str(i), "mmlu": 0.5 + i / 10} for i in range(2)])
    assert np.isnan(column(log, "sd")["seed"])
    assert column(log, "sd", by=["kept"])["seed"] == pytest.approx(0.1 / np.sqrt(2))


def test_failed_runs_are_left_out() -> None:
    rows = [{"kept": 0.5, "mmlu": 0.5}, {"kept": 0.5, "mmlu": 0.0, "status": "failed"}]
    assert np.isnan(column(read_runs(rows), "sd", by=["kept"])["seed"])


def test_every_metric_or_one() -> None:
    log = read_runs([{"mmlu": 0.5, "loss": 2.0}])
    assert log.noise()["metric"].unique().tolist() == ["mmlu", "loss"]
    assert log.noise("loss")["metric"].unique().tolist() == ["loss"]
    assert log.noise(Metric("loss"))["metric"].unique().tolist() == ["loss"]
    with pytest.raises(RunLogError, match="no score of 'quiz'; it has mmlu, loss"):
        log.noise("quiz")
    assert read_runs([]).noise().empty
