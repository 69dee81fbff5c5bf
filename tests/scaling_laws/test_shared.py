"""A model that several chains share counts once, whoever counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.misfit import lack_of_fit
from scaling_laws.shared import repeats, shared_models

REAL = Path(__file__).resolve().parents[2] / "experiments/results/smollm2-135m.jsonl"
LAW = sl.laws.Plateau()
KEPT = (0.79, 0.58, 0.37, 0.16)


def chains(count=6, teacher=True, run=0.02):
    """Chains of one teacher, a seed each; with it, every chain logs the teacher's row."""
    rng = np.random.default_rng(3)
    rows = []
    for seed in range(count):
        name = f"c{seed}"
        if teacher or seed == 0:
            rows.append({"run_id": f"{name}/0", "chain_id": name if teacher else None, "stage": 0,
                         "phase": "teacher", "seed": seed, "kept": 1.0, "examples": 5000,
                         "wall_s": 2174.0369811559995, "mmlu": 0.7012})  # fmt: skip
        for stage, (kept, mean) in enumerate(zip(KEPT, (0.68, 0.64, 0.55, 0.38), strict=True), 1):
            rows.append({"run_id": f"{name}/{stage}", "chain_id": name, "stage": stage,
                         "phase": "distilled", "seed": seed, "kept": kept, "examples": 500,
                         "wall_s": rng.uniform(9, 11),
                         "mmlu": mean + run * rng.standard_normal()})  # fmt: skip
    return pd.DataFrame(rows).assign(teacher="T", format="label", mmlu_n=4000)


def test_noise_counts_a_shared_teacher_once():
    log = sl.read_runs(chains())
    alone = sl.read_runs(chains(teacher=False))
    found, want = (one.noise("mmlu").set_index("source") for one in (log, alone))
    assert found.loc["seed", "count"] == want.loc["seed", "count"] == 20
    assert found.loc["seed", "sd"] == want.loc["seed", "sd"]
    assert found.loc["evaluation", "count"] == 25
    assert "5 more repeat a model that chains share" in found.loc["evaluation", "sentence"]
    assert [n.code for n in log.notes if "5 rows repeat a model" in n.sentence] == ["shared_model"]
    assert "shared_model" not in [n.code for n in alone.notes]


def test_a_fit_counts_a_shared_teacher_once_and_says_so():
    whole, alone = (sl.fit(LAW, chains(teacher=t), "mmlu") for t in (True, False))
    assert whole.problem.n == alone.problem.n == 25
    assert whole.values == alone.values
    assert whole.parameters.equals(alone.parameters)
    pure, want = (lack_of_fit(one.problem, one.estimate) for one in (whole, alone))
    assert pure == want
    told = {n.code: n.sentence for n in whole.notes}
    assert told["shared_model"].startswith("5 rows left out: they repeat a model that several")
    assert "shared_model" not in {n.code for n in alone.notes}
    assert whole.problem.units == "6 chains and 1 row of none"
    assert "; 6 chains and 1 row of none" in repr(whole)
    assert "6 chains and 1 row of none, from" in whole.card()["runs"]


def test_the_measured_teacher_is_no_seed_of_itself():
    log = sl.read_runs(REAL)
    again = repeats(shared_models(log.frame))
    assert set(log.frame["phase"][again]) == {"teacher"}
    rows = log.frame[(log.frame["phase"] == "teacher") & log.frame["task_f1"].notna()]
    told = rows.groupby(["format", "task_nll"])["task_f1"].first()
    assert again.sum() == len(rows) - len(told)
    # One adaptation was done twice, to other bits: it scatters by less than the evaluation does.
    (twice,) = (f1 for _, f1 in told.groupby("format") if len(f1) > 1)
    beyond = twice.var() - (rows["task_f1_se"][rows["format"] == "label"].unique() ** 2).mean()
    sd = log.select({"phase": "teacher"}).noise("task_f1").set_index("source").loc["seed", "sd"]
    assert sd == pytest.approx(np.sqrt(max(beyond, 0.0)), abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "shared"),
    [
        ({}, True),
        ({"phase": "pruned", "examples": 0}, True),
        ({"phase": "distilled"}, False),  # chains teach their own students
        ({"wall_s": None}, False),  # trained twice from two seeds, and as good by chance
        ({"wall_s": None, "seed": 1}, True),
        ({"wall_s": None, "examples": None}, True),  # as it was given, never trained
        ({"wall_s": [2174.03, 2142.31]}, False),
        ({"wall_s": [2174.03, 2142.31], "task_nll": 0.2898533375}, True),  # done again, to the bit
        ({"wall_s": [2174.03, 2142.31], "task_nll": 0.29}, False),  # typed: equal by rounding
        ({"wall_s": None, "task_nll": [0.2898533375, 0.2898533376]}, False),
        ({"mmlu_n": [4000, 2000]}, False),
        ({"mmlu": [0.7012, 0.7013]}, False),
        ({"format": ["label", "cot"]}, False),
        ({"teacher": ["T", "U"]}, False),
        ({"chain_id": "c0"}, False),  # one chain shares nothing
        ({"chain_id": [None, "c1"]}, True),
    ],
)
def test_which_rows_are_one_model(changed, shared):
    rows = chains(2).query("kept == 1").reset_index(drop=True).assign(**changed)
    codes = shared_models(sl.read_runs(rows).frame)
    assert (codes[0] == codes[1] >= 0) == shared
    assert repeats(codes).tolist() == [False, shared]


def test_a_log_without_phases_or_chains_shares_nothing():
    for left in ("phase", "chain_id"):
        assert (shared_models(chains().drop(columns=left)) == -1).all()


def test_no_repeat_of_a_held_out_model_is_trained_on():
    held = sl.holdout(LAW, chains(), "mmlu", by="examples", leave=1)
    assert held.frame["observed"].tolist() == [0.7012]
    assert 0.7012 not in held.fitted.problem.score


def test_an_update_with_another_chain_of_the_teacher_counts_it_once():
    whole = chains()
    first = sl.fit(LAW, whole[whole["seed"] < 5], "mmlu")
    found = sl.update(first, whole[whole["seed"] == 5])
    want = sl.fit(LAW, whole, "mmlu")
    assert found.problem.n == want.problem.n == 25
    assert found.values == want.values
    assert found.problem.units == want.problem.units
