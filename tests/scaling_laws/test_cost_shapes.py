"""Shapes: exact counts, configs that are understood or refused, pruning, quantisation."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling_laws import cost
from scaling_laws.cost.shapes import AXES, SIZES, columns, counts

# Published checkpoints: total and non-embedding parameters.
QWEN3 = {
    "Qwen3-0.6B": (596049920, 440467456),
    "Qwen3-1.7B": (1720574976, 1409410048),
    "Qwen3-4B": (4022468096, 3633511936),
    "Qwen3-8B": (8190735360, 6946075648),
    "Qwen3-14B": (14768307200, 13212482560),
    "Qwen3-32B": (32762123264, 31206298624),
}
OTHERS = {
    "Llama-3.2-1B": 1235814400,
    "Llama-3.2-3B": 3212749824,
    "Llama-3.1-8B": 8030261248,
    "Llama-3.1-70B": 70553706496,
    "SmolLM2-135M": 134515008,
}
CONFIG = {
    "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 96,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
    "tie_word_embeddings": True, "architectures": ["Qwen3ForCausalLM"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), QWEN3.items())
def test_qwen3_counts_are_exact(name, expected):
    shape = cost.shape(name)
    assert (shape.params, shape.params_nonembedding) == expected


@pytest.mark.parametrize(("name", "expected"), OTHERS.items())
def test_other_counts_are_exact(name, expected):
    assert cost.shape(name).params == expected


def test_names_are_found_with_organisation_and_suffix():
    assert cost.shape("meta-llama/Meta-Llama-3.1-8B-Instruct") == cost.shape("llama-3.1-8b")
    with pytest.raises(KeyError, match="'GPT-5' is not known; there are Qwen3-0.6B"):
        cost.shape("GPT-5")


# Against transformers


def draw_config(data, family, tied):
    from transformers import AutoConfig

    heads, group = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    width = data.draw(st.sampled_from([8, 16]))
    options = {
        "hidden_size": heads * group * data.draw(st.sampled_from([4, 8, 24])),
        "num_hidden_layers": data.draw(st.integers(1, 3)),
        "intermediate_size": data.draw(st.integers(1, 65)),
        "num_attention_heads": heads * group,
        "num_key_value_heads": heads,
        "vocab_size": data.draw(st.integers(2, 99)),
        "tie_word_embeddings": tied,
    }
    if family != "qwen2":
        options["head_dim"] = width
    if family in ("llama", "qwen3"):
        options["attention_bias"] = data.draw(st.booleans())
    if family == "llama":
        options["mlp_bias"] = data.draw(st.booleans())
    return AutoConfig.for_model(family, pad_token_id=None, **options)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama", "mistral"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_counts_equal_those_of_a_model_without_storage(family, tied, data):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = draw_config(data, family, tied)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    outer = sum(n for name, n in sizes.items() if "embed_tokens" in name or "lm_head" in name)
    # As written to a file, where what equals the class's default may be left out.
    shape = cost.shape(json.loads(config.to_json_string(use_diff=True)))
    assert shape.params == sum(sizes.values())
    assert shape.params_nonembedding == sum(sizes.values()) - outer


# Configs


def test_a_config_is_read_from_mapping_file_and_folder(tmp_path):
    shape = cost.shape(CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert cost.shape(tmp_path) == cost.shape(str(tmp_path / "config.json")) == shape
    assert shape.tied
    assert shape.qk_norm


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gemma3"}, "model_type = 'gemma3' is not understood; there are llama"),
        ({"num_experts": 8}, "num_experts = 8 is not understood"),
        ({"moe_intermediate_size": 8}, "moe_intermediate_size = 8 is not understood"),
        ({"per_layer_config": {"0": {}}}, "per_layer_config"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "another head"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu'"),
        ({"hidden_size": "64"}, "hidden_size = '64' is not a whole number"),
        ({"head_dim": None}, "head_dim = None"),
        ({"num_key_value_heads": None}, "num_key_value_heads = None"),
        ({"num_key_value_heads": 3}, "heads = 4 is not a multiple of kv_heads = 3"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "method 'bitsandbytes'"),
        ({"quantization_config": {"quant_method": "awq", "bits": "4"}}, "bits = '4'"),
        (
            {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["a"]}},
            "treats some matrices apart",
        ),
    ],
)
def test_what_is_not_understood_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        cost.shape(CONFIG | change)


def test_quantised_configs_are_read():
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": None}
    shape = cost.shape(CONFIG | {"quantization_config": awq})
    assert (shape.weight_bits, shape.group, shape.head_bits) == (4, 128, 16)
    fp8 = {"quant_method": "fp8", "modules_to_not_convert": ["lm_head"]}
    assert cost.shape(CONFIG | {"quantization_config": fp8}).weight_bits == 8


def test_files_that_are_no_config_say_so(tmp_path):
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match="is not JSON"):
        cost.shape(tmp_path)
    with pytest.raises(ValueError, match="is not there"):
        cost.shape("missing/config.json")


# Bytes


def test_bytes_of_weights():
    shape = cost.shape("Qwen3-32B")
    assert shape.weight_bytes == 2 * shape.params
    found, matrices = counts(shape.quantised(4, group=128)), counts(shape).matrices[0]
    # Four bits, and a scale of 16 and a zero point of 4 bits for each 128 weights.
    assert found.matrix_bytes[0] == matrices * (4 + 20 / 128) / 8
    assert found.embedding_bytes[0] == 2 * 2 * 151936 * 5120
    assert shape.quantised(4).weight_bytes < shape.quantised(8).weight_bytes < shape.weight_bytes
    assert shape.quantised(4).params == shape.params


# Pruning


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [({"layers": 48}, 0.762), ({"layers": 32}, 0.524), ({"ffn": 12800}, 0.616),
     ({"layers": 32, "ffn": 12800, "kv_heads": 4}, 0.286),
     ({"layers": 24, "hidden": 3584, "ffn": 10240, "kv_heads": 4}, 0.138)],
)  # fmt: skip
def test_pruned_sizes_of_qwen3_32b(sizes, kept):
    shape = cost.shape("Qwen3-32B")
    small = shape.pruned(**sizes)
    assert round(small.params / shape.params, 3) == kept
    assert small.heads == small.kv_heads * 8


def test_pruning_refuses_what_it_cannot_do():
    shape = cost.shape("Qwen3-8B")
    with pytest.raises(ValueError, match="either kept, or sizes"):
        shape.pruned()
    with pytest.raises(ValueError, match=r"layers = 40 is not in \[1, 36\]"):
        shape.pruned(layers=40)
    with pytest.raises(ValueError, match="'vocab' is not pruned"):
        shape.pruned(vocab=10)


@pytest.mark.parametrize("split", ["both", "depth", "width", {"ffn": 1.0, "layers": 0.5}])
@pytest.mark.parametrize("kept_of", ["total", "nonembedding"])
def test_plans_meet_their_targets(split, kept_of):
    shape = cost.shape("Qwen3-32B")
    plans = cost.planned(shape, np.linspace(0.4, 1, 25), split=split, kept_of=kept_of)
    # The coarsest step is a key-value group: an eighth of the attention's quarter of the weights.
    assert (plans["kept"] - plans["kept_target"]).abs().max() < 0.03
    assert plans["params"].is_monotonic_increasing
    whole = shape.params if kept_of == "total" else shape.params_nonembedding
    found = counts(plans)
    reached = (found.params if kept_of == "total" else found.nonembedding) / whole
    np.testing.assert_allclose(plans["kept"], reached, rtol=1e-15)
    assert plans.iloc[-1][list(AXES)].tolist() == [64, 5120, 25600, 8]


def test_plans_of_llama_keep_hidden_divisible_by_heads():
    plans = cost.planned(cost.shape("SmolLM2-135M"), [0.9, 0.7, 0.5], rounding={"hidden": 64})
    assert (plans["hidden"] % plans["heads"] == 0).all()
    assert (plans["heads"] == 3 * plans["kv_heads"]).all()


def test_plans_go_through_given_students():
    """Each of them is met exactly, and all between have every size between theirs."""
    shape = cost.shape("Qwen3-32B")
    students = pd.DataFrame(
        {"layers": [52, 40, 18], "ffn": [22016, 15360, 9728], "hidden": [5120, 4096, 3072]}
    )
    exact = counts(shape.variants(**{a: students[a] for a in students})).params
    plans = cost.planned(shape, exact / shape.params, split=students)
    pd.testing.assert_frame_equal(plans[list(students)], students, check_dtype=False)
    assert (plans["kv_heads"] == shape.kv_heads).all()
    between = cost.planned(shape, np.geomspace(0.1, 1, 40), split=students)
    for axis in ("layers", "ffn", "hidden"):
        assert between[axis].is_monotonic_increasing
    # Multiples common to what was given: 512 for the feed-forward network, 1024 for the hidden.
    assert (between["ffn"] % 512 == 0).all()
    assert (between["kept"] - between["kept_target"]).abs().max() < 0.06
    # Behind the last the shares go on: layers as a fixed power of the ffn, but for half a step.
    behind = cost.planned(shape, (exact[-1] / shape.params) ** 2, split=students).iloc[0]
    power = np.log(18 / 64) / np.log(9728 / 25600)
    ends = [64 * ((behind["ffn"] + step) / 25600) ** power for step in (-256, 256)]
    assert behind["ffn"] < 9728
    assert ends[0] - 0.5 <= behind["layers"] <= ends[1] + 0.5


@pytest.mark.parametrize(
    ("students", "words"),
    [
        ({"layers": [40, 20], "ffn": [5120, 10240]}, "ffn grows where they get smaller"),
        ({"layers": [64]}, "none is smaller than the model"),
        ({"vocab": [100]}, "none is smaller than the model"),
        ({"layers": [70]}, r"layers = 70 is not in \[1, 64\]"),
    ],
)
def test_students_on_no_path_are_refused(students, words):
    with pytest.raises(ValueError, match=words):
        cost.planned(cost.shape("Qwen3-32B"), 0.5, split=pd.DataFrame(students))


def test_plans_refuse_impossible_targets():
    shape = cost.shape("Qwen3-32B")
    with pytest.raises(ValueError, match=r"kept = 16 is not in \(0, 1\]"):
        cost.planned(shape, [16])
    least = shape.pruned(layers=1).params / shape.params
    with pytest.raises(ValueError, match=f"kept = 0.01 is below {least:.3g}"):
        cost.planned(shape, 0.01, split="depth")
    with pytest.raises(ValueError, match="write one of depth, width, both"):
        cost.planned(shape, 0.5, split="all")
    with pytest.raises(ValueError, match="can't be rounded to multiples of 512"):
        cost.planned(cost.shape(CONFIG), 0.5)


# Many at once


def test_frames_and_lists_agree_with_single_shapes():
    shape = cost.shape("Llama-3.1-8B")
    listed = [shape.pruned(layers=k).quantised(8) for k in (8, 16, 24)]
    frame = shape.variants(layers=[8, 16, 24], weight_bits=8)
    for one, many in ((listed, frame), (listed, frame[[*SIZES, "weight_bits"]])):
        for name, values in columns(one).items():
            np.testing.assert_array_equal(values, columns(many)[name])
    assert counts(frame).params.tolist() == [one.params for one in listed]


def test_bad_frames_are_refused():
    frame = cost.shape("Qwen3-8B").variants(layers=[10, 20])
    with pytest.raises(ValueError, match="no column 'ffn'"):
        columns(frame.drop(columns="ffn"))
    with pytest.raises(ValueError, match=r"layers = 0.5 \(row 1\)"):
        columns(frame.assign(layers=[1.0, 0.5]))
    with pytest.raises(ValueError, match=r"layers = nan \(row 1\)"):
        columns(frame.assign(layers=[1.0, np.nan]))
    with pytest.raises(ValueError, match="lengths"):
        cost.shape("Qwen3-8B").variants(layers=[10, 20], ffn=[512, 1024, 1536])
    assert isinstance(frame, pd.DataFrame)


def test_a_number_of_parameters_is_no_shape():
    with pytest.raises(TypeError, match=r"shape: 8000000000\.0 is no name, path, config or Shape"):
        cost.shape(8e9)
