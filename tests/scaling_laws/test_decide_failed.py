"""Runs that gave no score are counted by whatever is asked of a log."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from tests.logs import grid

LEFT = "2 rows left out: the run failed."
DESIGN = grid(examples=[1e3, 1e4, 1e5], kept=[1.0, 0.6, 0.3], format=["cot", "label"])
NEW = grid(examples=[3e3, 3e4], kept=[0.5], format=["cot"])
POINT = {"kept": 0.6, "format": "cot"}
QUESTIONS = {
    "smallest": lambda f: sl.decide.smallest(f, at_least=0.6),
    "labels_needed": lambda f: sl.decide.labels_needed(f, at_least=0.6, **POINT),
    "marginal": lambda f: sl.decide.marginal(f, **POINT),
    "half_point": lambda f: sl.decide.half_point(f, examples=1e4, format="cot"),
    "safe_range": lambda f: sl.decide.safe_range(f, examples=1e4, format="cot"),
    "knee": lambda f: sl.decide.knee(f, examples=1e4, format="cot"),
    "compare_formats": lambda f: sl.decide.compare_formats(f, kept=0.6, examples=1e4),
    "exchange_rate": lambda f: sl.decide.exchange_rate(f, "cot", "label", kept=0.6),
    "limits": sl.decide.limits,
    "next_runs": lambda f: sl.decide.next_runs(
        f, NEW.assign(gpu_hours=1.0), question={"examples": 1e5, "kept": 0.5, "format": "cot"}
    ),
    "pareto": lambda f: sl.decide.pareto(f, NEW.assign(price=[1.0, 2.0])),
    "surprise": lambda f: sl.decide.surprise(f, NEW.assign(task_accuracy=[0.6, 0.7])),
}


@pytest.fixture(scope="module")
def runs():
    law = sl.laws.Compressed(by="format")
    truth = {"e": 2.0, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9}
    parameters = {
        f"{n}[{f}]" if law.own(n) else n: v for n, v in truth.items() for f in ("cot", "label")
    }
    log = sl.simulate(law, DESIGN, parameters, 0.01, 1, metric="task_accuracy")
    frame = pd.concat([log.frame, log.frame.iloc[:2].assign(task_accuracy=np.nan)])
    return frame.assign(status=["ok"] * len(DESIGN) + ["failed"] * 2).reset_index(drop=True)


@pytest.fixture(scope="module")
def fit(runs):
    return sl.fit(sl.laws.Compressed(by="format"), runs, "task_accuracy")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_counts_failed_runs(fit, name):
    told = [n.sentence for n in QUESTIONS[name](fit).notes]
    assert told.count(LEFT) == 1


def test_a_forecast_and_a_choice_count_them(runs):
    choice = sl.choose([sl.laws.Compressed(by="format")], runs, "task_accuracy")
    assert LEFT in [n.sentence for n in choice.notes]
    found = sl.decide.labels_needed(choice.forecast, at_least=0.6, **POINT)
    assert LEFT in [n.sentence for n in found.notes]


def test_check_counts_them(runs, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    for frame, words in (
        (runs, "2 runs failed: their rows are left out of every fit."),
        (runs.iloc[:-1], "1 run failed: its row is left out of every fit."),
        (runs[runs["status"] == "ok"], None),
    ):
        frame.to_csv(path, index=False)
        with pytest.raises(SystemExit):
            main(["check", str(path)])
        printed = capsys.readouterr().out
        assert (words in printed) if words else "failed" not in printed
