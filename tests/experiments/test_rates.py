"""The table of learning rates and epochs, on the toy."""

import json
from dataclasses import asdict

import pandas as pd
import typer
from typer.testing import CliRunner

from distill.tiny import base_model, easy_headlines, tiny_config
from experiments import rates as module
from experiments.rates import rates


def test_a_rate_that_moves_nothing_teaches_nothing_and_nothing_is_taught_twice(tmp_path):
    examples = easy_headlines()
    base_model(tmp_path / "base", examples)
    lines = "".join(f"{json.dumps(asdict(example))}\n" for example in examples)
    (tmp_path / "easy-headlines.jsonl").write_text(lines)
    config = tiny_config(tmp_path, ["supervision.format=label", "data.train=64"])
    found = rates(config, [1e-6, config.train.lr], [1, 4], kept=0.16)
    assert list(found["steps"]) == [4, 4, 16, 16]
    assert list(found["epochs"]) == [1, 1, 4, 4]
    nothing, little, still_nothing, more = found["task_nll"]
    assert max(little, more) < min(nothing, still_nothing)
    again = rates(config, [1e-6, config.train.lr], [1, 4], kept=0.16)
    assert again.equals(found)


def test_a_call_that_names_no_rates_has_lists_of_its_own(tmp_path, monkeypatch):
    asked = []

    def spend(config, learning_rates, epochs, kept):
        asked.append((list(learning_rates), list(epochs), config.data.train, kept))
        learning_rates.clear()
        epochs.clear()
        return pd.DataFrame({"lr": [1.0]})

    monkeypatch.setattr(module, "rates", spend)
    app = typer.Typer()
    app.command()(module._main)
    words = ["--out", str(tmp_path), "--teacher", str(tmp_path)]
    for more in ([], [], ["--lr", "0.001", "--lr", "0.002"]):
        assert CliRunner().invoke(app, words + more, catch_exceptions=False).exit_code == 0
    assert asked[0] == asked[1] == ([1e-4, 3e-4], [1.0, 3.0], 256, 0.58)
    assert asked[2][0] == [1e-3, 2e-3]
