"""The table of learning rates and epochs, on the toy."""

import json
from dataclasses import asdict

from distill.tiny import base_model, easy_headlines, tiny_config
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
