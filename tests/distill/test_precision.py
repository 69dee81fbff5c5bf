"""What is said where bfloat16 is slow."""

import pytest
import torch

from distill import precision
from distill.precision import bf16_settings, bf16_slowdown, precision_note
from distill.tiny import tiny_config

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path):
    plain = tiny_config(tmp_path)
    taught = plain.train.model_copy(update={"precision": "bf16"})
    return plain, plain.model_copy(update={"train": taught})


def test_settings_that_ask_for_bfloat16_are_named(config):
    plain, asks = config
    assert bf16_settings(plain) == []
    assert bf16_settings(asks) == ["train.precision"]


def test_a_slow_processor_is_told_of_with_what_to_write(config, monkeypatch):
    monkeypatch.setattr(precision, "bf16_slowdown", lambda device: 63.0)
    plain, asks = config
    assert precision_note(plain, CPU) is None
    said = precision_note(asks, CPU)
    assert "63 times slower" in said
    assert "train.precision asks for them" in said
    assert precision_note(asks, torch.device("cuda")) is None


def test_a_processor_that_can_is_not(config, monkeypatch):
    monkeypatch.setattr(precision, "bf16_slowdown", lambda device: 0.6)
    assert precision_note(config[1], CPU) is None


def test_the_slowdown_is_measured():
    """Within a factor that no timer's noise makes: both take microseconds to milliseconds."""
    assert 0.01 < bf16_slowdown(CPU) < 1e4
