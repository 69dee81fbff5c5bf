"""Model folders that would be wrong without a word are refused."""

import io
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from distill.models import (
    ModelError,
    check_vocabularies,
    folder_identity,
    folder_samples,
    load_model,
    load_tokenizer,
    read_config,
    read_head,
    save_model,
)
from distill.tiny import toy_tokenizer

TEXTS = ["Shares up", "shares down", "Reason: it is", "Event: boss exit"]


@pytest.fixture
def saved(toy_model, tmp_path):
    def save(name="model", size=300, **changes):
        tokenizer = toy_tokenizer(TEXTS, size)
        changes = {"vocab_size": 320, "eos_token_id": 1} | changes
        save_model(toy_model(1, **changes), tokenizer, tmp_path / name)
        return tmp_path / name

    return save


def test_what_is_saved_is_loaded(saved, toy_model):
    path = saved()
    model, ids = load_model(path), torch.tensor([[3, 5, 7]])
    expected = toy_model(1, vocab_size=320, eos_token_id=1)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected(ids).logits)
    assert load_tokenizer(path, model).decode([*load_tokenizer(path)(" up  Ä\n")["input_ids"]]) == (
        " up  Ä\n"
    )


@pytest.mark.parametrize("tied", [True, False])
def test_head_alone(saved, tied):
    path = saved(tie_word_embeddings=tied)
    head = load_model(path).get_output_embeddings().weight.detach()
    assert torch.equal(read_head(path), head)
    assert read_head(path, "bfloat16").dtype == torch.bfloat16


def edit(path, change):
    file = path / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_missing_weights(saved):
    path = saved()
    edit(path, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ModelError, match=r"no weights for model.layers.1.mlp.up_proj.weight"):
        load_model(path)


def test_weights_left_over(saved):
    path = saved()
    edit(path, lambda weights: weights.update({"model.layers.0.extra.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"no place for: model.layers.0.extra.weight"):
        load_model(path)


def test_weights_of_another_shape(saved):
    path = saved()
    edit(path, lambda weights: weights.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(
        ModelError, match=r"another shape than its config for model.norm.weight \(1 such\)"
    ):
        load_model(path)


def test_truncated_weights(saved):
    path = saved()
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(path)


EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")
from transformers import Qwen3Config, Qwen3ForCausalLM
class EvilConfig(Qwen3Config):
    model_type = {kind!r}
class EvilModel(Qwen3ForCausalLM):
    config_class = EvilConfig
"""


@pytest.fixture
def evil(saved, tmp_path, monkeypatch):
    """Return a function that gives a folder code of its own; the terminal says yes to all."""

    def make(kind):
        path = saved()
        config = json.loads((path / "config.json").read_text())
        classes = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}
        config |= {"model_type": kind, "auto_map": classes}
        (path / "config.json").write_text(json.dumps(config))
        (path / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "ran"), kind=kind))
        return path

    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    yield make
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("load", [load_model, read_config])
def test_code_of_a_folder_is_not_run(evil, load):
    path = evil("evil")
    said = rf"^{path}.*Python code of its own \(auto_map in config.json\), which is never run.*Take"
    with pytest.raises(ModelError, match=said):
        load(path)


def test_a_model_that_transformers_knows_needs_no_code_of_its_folder(evil):
    path = evil("qwen3")
    assert type(load_model(path)).__module__.startswith("transformers.")
    assert type(read_config(path)).__module__.startswith("transformers.")
    assert load_tokenizer(path).eos_token == "<eos>"


def test_code_of_a_tokenizer_is_not_run(evil):
    path = evil("evil")
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="no tokenizer that can be .*auto_map in tokenizer_config"):
        load_tokenizer(path)


def test_pickled_weights(saved):
    path = saved()
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=rf"^{path}.*pickled \(pytorch_model.bin\).*save_pretrained"
    ):
        load_model(path)


@pytest.mark.parametrize("method", ["bitsandbytes", "fp8"])
def test_packed_weights(saved, method):
    path = saved()
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"\({method}\).*unpack.*save_pretrained to a new folder"):
        load_model(path)


def test_no_weights_and_no_model(saved, tmp_path):
    path = saved()
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(path)
    with pytest.raises(ModelError, match=r"no config\.json.*nothing is downloaded"):
        load_model(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model("Qwen/Qwen3-32B")


def test_tokenizer_of_another_model(saved):
    path = saved(vocab_size=100)
    with pytest.raises(ModelError, match="token 2.., the model 100 rows"):
        load_tokenizer(path, load_model(path))


def test_tokenizer_without_an_end(saved):
    path = saved()
    settings = json.loads((path / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="no eos_token"):
        load_tokenizer(path)


def test_vocabularies_must_be_one(saved):
    paths = [saved("a"), saved("b", vocab_size=336), saved("c", size=290)]
    models = [load_model(path) for path in paths]
    words = [AutoTokenizer.from_pretrained(path) for path in paths]
    check_vocabularies(models[0].config, models[0].config, words[0], words[0])
    with pytest.raises(ModelError, match=r"teacher's vocabulary has 336 rows, the student's 320"):
        check_vocabularies(models[1].config, models[0].config, words[1], words[0])
    other = toy_tokenizer(["xyz zyx " * 9, "zyx xyz"], 300)
    with pytest.raises(ModelError, match="different tokenizers: '.*' is token"):
        check_vocabularies(models[0].config, models[0].config, words[0], other)


def test_identity_follows_the_content(saved):
    path = saved()
    before = folder_identity(path)
    assert folder_identity(path) == before
    edit(path, lambda weights: weights["model.norm.weight"].add_(1))
    assert folder_identity(path) != before


@pytest.mark.parametrize("tied", [True, False])
def test_head_of_a_model_in_several_files(saved, tied):
    path = saved(tie_word_embeddings=tied)
    model = load_model(path)
    (path / "model.safetensors").unlink()
    model.save_pretrained(path, max_shard_size="20KB")
    assert len(list(path.glob("*.safetensors"))) > 1
    assert torch.equal(read_head(path), model.get_output_embeddings().weight)


def test_weights_in_the_middle_of_a_file_are_seen(saved):
    """An adapter on some modules leaves both ends of a file as they were."""
    path = saved(hidden_size=256, intermediate_size=512, vocab_size=2048)
    before = folder_identity(path), folder_samples(path)
    assert (path / "model.safetensors").stat().st_size > 4 << 20
    edit(path, lambda weights: weights["model.layers.0.mlp.up_proj.weight"].add_(1e-3))
    assert folder_identity(path) == before[0]
    assert folder_samples(path) != before[1]


def test_a_tokenizer_that_ends_every_text_is_refused(saved):
    path = saved()
    file = path / "tokenizer.json"
    settings = json.loads(file.read_text())
    eos = {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}
    text, end = (
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<eos>", "type_id": 0}},
    )
    settings["post_processor"] = {
        "type": "TemplateProcessing", "single": [text, end], "pair": [text, end],
        "special_tokens": {"<eos>": eos},
    }  # fmt: skip
    file.write_text(json.dumps(settings))
    with pytest.raises(
        ModelError, match="ends every text with its eos_token.*add_eos_token: false"
    ):
        load_tokenizer(path)
