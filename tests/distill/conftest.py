"""Models small enough for arithmetic to be checked, and sequences to train them on."""

import errno
import json
import os
import sys
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from distill.task import Encoded
from distill.tiny import base_model, easy_headlines

VOCABULARY = 64


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def toy_model():
    """Return a function of a seed that makes a two-layer model."""

    def make(seed=0, **changes):
        sizes = {
            "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 8, "tie_word_embeddings": True, "initializer_range": 0.1,
        }  # fmt: skip
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(Qwen3Config(**sizes | changes)).eval()

    return make


@pytest.fixture
def sequences():
    """Return a function that draws sequences of prompt, reasoning (or none) and answer."""

    def draw(n, seed=0, reasoning=True):
        rng = np.random.default_rng(seed)
        drawn = []
        for _ in range(n):
            a = int(rng.integers(2, 5))
            b = a + (int(rng.integers(1, 7)) if reasoning else 0)
            c = b + int(rng.integers(1, 4))
            ids = tuple(rng.integers(0, VOCABULARY, c).tolist())
            drawn.append(Encoded(ids, slice(0, a), slice(a, b), slice(b, c)))
        return drawn

    return draw


@pytest.fixture(scope="session")
def ground(tmp_path_factory):
    """Return a folder with what `tiny_config` starts from: headlines and an untrained model."""
    path, examples = tmp_path_factory.mktemp("ground"), easy_headlines()
    base_model(path / "base", examples)
    lines = "".join(f"{json.dumps(asdict(example))}\n" for example in examples)
    (path / "easy-headlines.jsonl").write_text(lines)
    return path


@pytest.fixture
def full_disk(monkeypatch):
    """Return a function of a pattern: files so named are cut in half, for the disk is full."""
    if sys.platform != "linux":
        pytest.skip("looks at files in /proc")
    sync = os.fsync

    def fill(pattern):
        def full(handle):
            file = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if not fnmatch(file.name, pattern):
                return sync(handle)
            os.truncate(file, file.stat().st_size // 2)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)

    return fill
