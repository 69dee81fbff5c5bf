"""Exact parameter counts, and plans that meet their target as nearly as their steps allow."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from distill.prune import (
    KEPT,
    Rounding,
    UnsupportedModelError,
    plan,
    plan_chain,
    plan_shape,
    schedule,
)
from distill.prune.tensors import edited_config, read_shape


def qwen3(hidden, ffn, layers, heads, tied, **more):
    return Qwen3Config(
        hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=8, head_dim=128, vocab_size=151_936,
        tie_word_embeddings=tied, **more,
    )  # fmt: skip


QWEN3 = {
    "0.6B": (qwen3(1024, 3072, 28, 16, True), 596_049_920, 440_467_456),
    "1.7B": (qwen3(2048, 6144, 28, 16, True), 1_720_574_976, 1_409_410_048),
    "4B": (qwen3(2560, 9728, 36, 32, True), 4_022_468_096, 3_633_511_936),
    "8B": (qwen3(4096, 12288, 36, 32, False), 8_190_735_360, 6_946_075_648),
    "14B": (qwen3(5120, 17408, 40, 40, False), 14_768_307_200, 13_212_482_560),
    "32B": (qwen3(5120, 25600, 64, 64, False), 32_762_123_264, 31_206_298_624),
}
TEACHER = QWEN3["32B"][0]

SMALL = {
    "qwen3": Qwen3Config(
        vocab_size=1000, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=16, num_key_value_heads=4, head_dim=64, tie_word_embeddings=True,
    ),
    "qwen2": Qwen2Config(
        vocab_size=1000, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "llama": LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    ),
    "llama-biases": LlamaConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=1024, num_hidden_layers=12,
        num_attention_heads=8, num_key_value_heads=8, attention_bias=True, mlp_bias=True,
    ),
    "mistral": MistralConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=1536, num_hidden_layers=16,
        num_attention_heads=8, num_key_value_heads=4,
    ),
}  # fmt: skip
FINE = Rounding(hidden=64, ffn=64)


@pytest.mark.parametrize("size", QWEN3)
def test_counts_of_the_published_models(size):
    config, total, nonembedding = QWEN3[size]
    whole = plan_shape(config)
    assert (whole.params, whole.params_nonembedding) == (total, nonembedding)
    assert (whole.kept_total, whole.kept_nonembedding) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ({"layers": 48}, 0.762),
        ({"layers": 32}, 0.524),
        ({"ffn": 12_800}, 0.616),
        ({"layers": 48, "ffn": 12_800}, 0.474),
        ({"layers": 32, "ffn": 12_800, "kv_heads": 4}, 0.286),
        ({"layers": 24, "hidden": 3584, "ffn": 10_240, "kv_heads": 4}, 0.138),
    ],
)
def test_fractions_of_the_32b(sizes, kept):
    reached = plan_shape(TEACHER, **sizes)
    assert round(reached.kept_total, 3) == kept
    assert reached.heads == 8 * reached.kv_heads


@pytest.mark.parametrize("family", SMALL)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_counts_equal_those_of_a_model(family, data):
    config = SMALL[family]
    asked = {
        "layers": data.draw(st.integers(1, config.num_hidden_layers)),
        "ffn": data.draw(st.integers(1, config.intermediate_size)),
        "kv_heads": data.draw(st.sampled_from([1, config.num_key_value_heads])),
    }
    heads = asked["kv_heads"] * config.num_attention_heads // config.num_key_value_heads
    asked["hidden"] = heads * data.draw(st.integers(1, config.hidden_size // heads))
    planned = plan_shape(config, **asked)
    shape = read_shape(config).narrowed(**asked)
    built = edited_config(config, shape, range(planned.layers))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(built)
    embeddings = {p for m in (model.model.embed_tokens, model.lm_head) for p in m.parameters()}
    assert planned.params == model.num_parameters()
    inner = planned.params - sum(p.numel() for p in embeddings)
    assert planned.params_nonembedding == inner


SPLITS = st.one_of(
    st.sampled_from(["depth", "width", "both"]),
    st.dictionaries(
        st.sampled_from(["layers", "hidden", "ffn", "kv_heads"]), st.floats(0.1, 3), min_size=1
    ),
)


NAMED = {"depth": ("layers",), "width": ("hidden", "ffn", "kv_heads")}
NAMED["both"] = NAMED["depth"] + NAMED["width"]


def neighbours(config, reached, split, rounding):
    """Every legal plan one rounding step away on one axis of the split."""
    axes = NAMED.get(split, ()) if isinstance(split, str) else tuple(split)
    whole = plan_shape(config)
    here = {a: getattr(reached, a) for a in ("layers", "hidden", "ffn", "kv_heads")}
    for axis in axes:
        step, full = getattr(rounding, axis), getattr(whole, axis)
        grid = sorted({*range(step, full + 1, step), full})
        at = grid.index(here[axis])
        for size in grid[max(at - 1, 0) : at + 2]:
            try:
                yield plan_shape(config, **{**here, axis: size})
            except ValueError:
                assert config.model_type == "llama"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([*SMALL, "32B"]),
    st.floats(0.02, 1.0),
    st.sampled_from(["total", "nonembedding"]),
    SPLITS,
)
def test_plans_come_as_near_as_their_steps_allow(name, target, kept_of, split):
    config, rounding = (TEACHER, Rounding()) if name == "32B" else (SMALL[name], FINE)
    whole = plan_shape(config)
    counted = "params" if kept_of == "total" else "params_nonembedding"
    goal = target * getattr(whole, counted)
    axes = NAMED[split] if isinstance(split, str) else split
    floor = {axis: getattr(rounding, axis) for axis in axes}
    if config.model_type == "llama" and "hidden" in axes:
        kv_heads = floor.get("kv_heads", whole.kv_heads)
        floor["hidden"] = math.lcm(floor["hidden"], kv_heads * whole.heads // whole.kv_heads)
    smallest = plan_shape(config, **floor)
    assume(goal >= getattr(smallest, counted))
    reached = plan(config, target, kept_of=kept_of, split=split, rounding=rounding)
    error = getattr(reached, counted) - goal
    assert reached.kept == getattr(reached, counted) / getattr(whole, counted)
    assert (reached.target, reached.kept_of) == (target, kept_of)
    others = [getattr(p, counted) for p in neighbours(config, reached, split, rounding)]
    assert min(abs(other - goal) for other in others) >= abs(error)
    # Within half of the smallest step towards the target, where there is one.
    steps = [abs(o - goal - error) for o in others if (o - goal - error) * error < 0]
    assert not steps or abs(error) <= min(steps) / 2
    untouched = set(NAMED["both"]) - set(NAMED[split] if isinstance(split, str) else split)
    assert all(getattr(reached, a) == getattr(whole, a) for a in untouched)


@pytest.mark.parametrize("split", ["depth", "width", "both"])
@pytest.mark.parametrize("kept_of", ["total", "nonembedding"])
def test_the_chain_of_the_paper(split, kept_of):
    plans = plan_chain(TEACHER, split=split, kept_of=kept_of)
    assert [p.target for p in plans] == list(KEPT)
    for planned in plans:
        # Half a layer of the 32B is .0074 of its parameters; width has finer steps.
        assert planned.kept == pytest.approx(planned.target, abs=0.0078)
        assert planned.axis == split
        assert planned.kv_heads >= 1
        assert planned.heads == 8 * planned.kv_heads
        assert planned.hidden % 256 == planned.ffn % 512 == 0
    for larger, smaller in pairwise(plans):
        for axis in ("layers", "hidden", "ffn", "kv_heads"):
            assert getattr(smaller, axis) <= getattr(larger, axis)


def test_small_llama_by_nonembedding_parameters_with_hidden_left_alone():
    split = {"layers": 1.0, "ffn": 1.0}
    last = plan_chain(
        SMALL["llama"], split=split, kept_of="nonembedding", rounding=Rounding(ffn=128)
    )[-1]
    assert last.hidden == 576
    assert last.kept_nonembedding == pytest.approx(0.16, abs=0.01)
    # A .16 of the whole is less than its embedding.
    assert last.kept_total == pytest.approx(0.337, abs=0.01)


def test_keeping_everything_is_the_identity():
    whole = plan(TEACHER, 1.0)
    assert (whole.layers, whole.hidden, whole.ffn, whole.kv_heads) == (64, 5120, 25600, 8)


def test_kv_heads_in_multiples_for_tensor_parallelism():
    reached = plan(TEACHER, 0.4, split="width", rounding=Rounding(kv_heads=4))
    assert reached.kv_heads in (4, 8)


def test_steps_of_the_schedules():
    iterative = schedule()
    assert [round(s.step_kept, 3) for s in iterative] == [0.790, 0.734, 0.638, 0.432]
    assert [s.parent for s in iterative] == [1.0, 0.79, 0.58, 0.37]
    oneshot = schedule(mode="one-shot")
    assert [(s.kept, s.step_kept) for s in oneshot] == [(k, k) for k in KEPT]


@pytest.mark.parametrize("kept", [(), (1.0, 0.5), (0.5, 0.5), (0.3, 0.5), (0.5, 0.0)])
def test_schedules_must_fall(kept):
    with pytest.raises(ValueError, match="strictly"):
        schedule(kept)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: schedule(mode="gradual"), "'gradual'"),
        (lambda: plan(TEACHER, 16.0), r"16.0 is not in \(0, 1\]"),
        (lambda: plan(TEACHER, 0.5, kept_of="all"), "'all'"),
        (lambda: plan(TEACHER, 0.5, split="heads"), "'heads'"),
        (lambda: plan(TEACHER, 0.5, split={"experts": 1.0}), "experts"),
        (lambda: plan(TEACHER, 0.5, split={"ffn": 0.0}), "positive"),
        (lambda: plan(TEACHER, 0.05, split="depth"), "at least"),
        (lambda: plan(SMALL["qwen3"], 0.5, rounding=Rounding(hidden=1024)), "hidden = 576"),
        (lambda: plan(TEACHER, 0.5, within=plan_shape(TEACHER, layers=20)), "is left"),
        (lambda: plan_shape(TEACHER, kv_heads=0), "kv_heads = 0"),
        (lambda: plan_shape(TEACHER, layers=65), "layers = 65"),
        (lambda: plan_shape(SMALL["llama"], hidden=512), "multiple of heads = 9"),
        (lambda: Rounding(ffn=0), "ffn = 0"),
    ],
)
def test_impossible_requests_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


TINY = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Gemma3TextConfig(**TINY, head_dim=16), "pre_feedforward_layernorm"),
        (MixtralConfig(**TINY), "mlp.gate.weight"),
        (Qwen3MoeConfig(**TINY, moe_intermediate_size=16, num_experts=4), "mlp.experts"),
        (GemmaConfig(**TINY, head_dim=16), "arithmetic"),
        (
            LlamaConfig(**TINY, per_layer_config={1: {"intermediate_size": 16}}),
            "per_layer_config",
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_name(config, said):
    with pytest.raises(UnsupportedModelError, match=said):
        plan(config, 0.5)
