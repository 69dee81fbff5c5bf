"""Cut models: what is dead may go, what comes out is a plain model, what is unknown is refused."""

import copy
import tempfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from distill.prune import (
    Rounding,
    UnsupportedModelError,
    keep,
    magnitude_importance,
    measure_importance,
    plan,
    plan_chain,
    plan_shape,
    prune_model,
)

COMMON = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 64,
    # Large enough that every part matters, small enough that float32 rounds by far under 1e-6.
    "initializer_range": 0.05, "pad_token_id": 0, "eos_token_id": None,
}  # fmt: skip
CONFIGS = {
    "qwen3": Qwen3Config(**COMMON, head_dim=8, tie_word_embeddings=True),
    "qwen3-window": Qwen3Config(
        **COMMON, head_dim=8, use_sliding_window=True, sliding_window=4, max_window_layers=2
    ),
    "qwen2": Qwen2Config(**COMMON, tie_word_embeddings=True),
    "qwen2-untied": Qwen2Config(**COMMON, tie_word_embeddings=False),
    "llama": LlamaConfig(**COMMON, tie_word_embeddings=True),
    "llama-biases": LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**COMMON, sliding_window=4),
    "mistral-tied": MistralConfig(**COMMON, sliding_window=4, tie_word_embeddings=True),
}
families = pytest.mark.parametrize("family", CONFIGS)
SMALLER = {"layers": 2, "hidden": 32, "ffn": 40, "kv_heads": 2}


def build(config, seed=0):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:  # norms start at 1 and biases at 0: make them tell positions apart
                weight.add_(0.2 * torch.randn_like(weight))
    return model


def tokens(rows=3, length=12, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(1, 96, (rows, length), generator=g)


@torch.no_grad()
def logits(model, ids=None):
    return model(tokens() if ids is None else ids).logits


def difference(a, b):
    return (logits(a) - logits(b)).abs().max().item()


def cut(model, importance=None, **sizes):
    importance = importance or measure_importance(model, [tokens(seed=2)])
    return prune_model(model, plan_shape(model.config, **sizes), importance)


# --- exactness ---


@families
def test_identity_changes_nothing_and_shares_nothing(family):
    model = build(CONFIGS[family])
    same = cut(model)
    assert difference(model, same) == 0.0
    theirs = {p.data_ptr() for p in model.parameters()}
    assert theirs.isdisjoint(p.data_ptr() for p in same.parameters())


@families
@pytest.mark.parametrize("score", [measure_importance, magnitude_importance])
@torch.no_grad()
def test_dead_ffn_channels_go_first_and_change_nothing(family, score):
    model = build(CONFIGS[family])
    dead = [torch.randperm(64)[:24] for _ in model.model.layers]
    for layer, channels in zip(model.model.layers, dead, strict=True):
        for linear in (layer.mlp.gate_proj, layer.mlp.up_proj):
            linear.weight[channels] = 0.0
            if linear.bias is not None:
                linear.bias[channels] = 0.0
        layer.mlp.down_proj.weight[:, channels] = 0.0
    importance = score(model, [tokens(seed=2)]) if score is measure_importance else score(model)
    kept = keep(importance, plan_shape(model.config, ffn=40))
    for channels, left in zip(dead, kept.ffn, strict=True):
        assert set(left) == set(range(64)) - set(channels.tolist())
    student = cut(model, importance, ffn=40)
    assert student.config.intermediate_size == 40
    assert difference(model, student) < 1e-6


@families
@pytest.mark.parametrize("score", [measure_importance, magnitude_importance])
@torch.no_grad()
def test_a_dead_kv_group_goes_with_its_query_heads_and_changes_nothing(family, score):
    model = build(CONFIGS[family])
    width = model.model.layers[0].self_attn.head_dim
    for index, layer in enumerate(model.model.layers):
        attention, group = layer.self_attn, (2 * index + 1) % 4
        pair = slice(2 * group * width, 2 * (group + 1) * width)
        one = slice(group * width, (group + 1) * width)
        for linear, rows in (
            (attention.q_proj, pair),
            (attention.k_proj, one),
            (attention.v_proj, one),
        ):
            linear.weight[rows] = 0.0
            if linear.bias is not None:
                linear.bias[rows] = 0.0
        attention.o_proj.weight[:, pair] = 0.0
    importance = score(model, [tokens(seed=2)]) if score is measure_importance else score(model)
    student = cut(model, importance, kv_heads=3)
    assert (student.config.num_key_value_heads, student.config.num_attention_heads) == (3, 6)
    assert student.config.head_dim == width
    assert difference(model, student) < 1e-6


@families
@torch.no_grad()
def test_a_layer_that_adds_nothing_goes_first_and_changes_nothing(family):
    model = build(CONFIGS[family])
    for linear in (model.model.layers[1].self_attn.o_proj, model.model.layers[1].mlp.down_proj):
        linear.weight.zero_()
        if linear.bias is not None:
            linear.bias.zero_()
    importance = measure_importance(model, [tokens(seed=2)])
    assert importance.layers.argmin() == 1
    assert importance.layers[1] < 1e-6
    assert difference(model, cut(model, importance, layers=3)) < 1e-6


@families
@torch.no_grad()
def test_dead_hidden_channels_change_only_the_scale_of_the_norms(family):
    model = build(CONFIGS[family])
    dead = torch.randperm(48)[:16]
    model.model.embed_tokens.weight[:, dead] = 0.0
    for layer in model.model.layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight[dead] = 0.0
            if linear.bias is not None:
                linear.bias[dead] = 0.0
    student = cut(model, hidden=32)
    # A mean of squares over 32 channels in place of 48: undone, the two agree.
    body = student.model
    for norm in (body.norm, *(n for layer in body.layers for n in
                 (layer.input_layernorm, layer.post_attention_layernorm))):  # fmt: skip
        norm.weight *= (48 / 32) ** 0.5
        norm.variance_epsilon *= 48 / 32
    assert difference(model, student) < 1e-6


# --- a plain model comes out ---


@families
def test_round_trip_through_disk_and_generation(family, tmp_path):
    model = build(CONFIGS[family])
    planned = plan_shape(model.config, **SMALLER)
    student = prune_model(model, planned, measure_importance(model, [tokens(seed=2)]))
    assert student.num_parameters() == planned.params
    assert type(student) is type(model)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert difference(student, loaded) == 0.0
    assert loaded.num_parameters() == planned.params
    written = {}
    for name, m in {"student": student, "loaded": loaded}.items():
        for cache in (True, False):
            written[name, cache] = m.generate(
                tokens(length=6), attention_mask=torch.ones(3, 6), max_new_tokens=12,
                do_sample=False, use_cache=cache,
            )  # fmt: skip
    # With stale layer indices the cache would give other tokens than no cache.
    first = written["student", True]
    assert first.shape == (3, 18)
    assert all(torch.equal(first, other) for other in written.values())


PLAIN = {
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "qwen2": (Qwen2Config, {}),
    "llama": (LlamaConfig, {}),
    "mistral": (MistralConfig, {"head_dim": 8}),
}


@settings(deadline=None, max_examples=24)
@given(
    st.sampled_from(sorted(PLAIN)),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "layers": st.integers(1, 4),
            "ffn": st.integers(1, 64),
            "kv_heads": st.integers(1, 4),
            # A multiple of 2, 4, 6 and 8 query heads, as Llama demands.
            "hidden": st.sampled_from([24, 48]),
        }
    ),
)
def test_any_plan_is_reached_and_survives_the_disk(family, tied, sizes):
    config, options = PLAIN[family]
    model = build(config(**COMMON, **options, tie_word_embeddings=tied))
    planned = plan_shape(model.config, **sizes)
    student = prune_model(model, planned, magnitude_importance(model))
    assert student.num_parameters() == planned.params
    assert {name: getattr(planned, name) for name in sizes} == sizes
    with tempfile.TemporaryDirectory() as folder:
        student.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.num_parameters() == planned.params
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert difference(student, loaded) == 0.0
    ids = tokens(rows=2, length=5)
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    assert torch.equal(student.generate(ids, **options), loaded.generate(ids, **options))


@families
def test_embeddings_stay_as_they_were_tied_or_not(family, tmp_path):
    model = build(CONFIGS[family])
    student = cut(model, **SMALLER)
    student.save_pretrained(tmp_path)
    for m in (student, AutoModelForCausalLM.from_pretrained(tmp_path)):
        tied = m.lm_head.weight is m.model.embed_tokens.weight
        assert tied == model.config.tie_word_embeddings == m.config.tie_word_embeddings


def test_settings_by_layer_follow_the_layers_that_stay():
    model = build(CONFIGS["qwen3-window"])
    importance = measure_importance(model, [tokens(seed=2)])
    importance.layers.copy_(torch.tensor([3.0, 0.0, 1.0, 2.0]))
    student = cut(model, importance, layers=3)
    assert student.config.layer_types == ["full_attention", *["sliding_attention"] * 2]
    assert student.config.max_window_layers == 1
    assert [layer.self_attn.layer_idx for layer in student.model.layers] == [0, 1, 2]
    kept = [0, 2, 3]
    for new, old in enumerate(kept):
        a, b = student.model.layers[new], model.model.layers[old]
        assert torch.equal(a.self_attn.q_proj.weight, b.self_attn.q_proj.weight)


def test_dtype_and_generation_config_are_kept_and_the_model_is_not_touched():
    model = build(CONFIGS["qwen3"]).to(torch.bfloat16).train()
    model.generation_config.temperature = 0.6
    before = {k: v.clone() for k, v in model.state_dict().items()}
    student = cut(model, **SMALLER)
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}
    assert student.generation_config.temperature == 0.6
    assert not student.training
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_iterative_steps_reach_the_plans_of_the_chain():
    model = build(CONFIGS["llama-biases"])
    plans = plan_chain(model.config, split="both", rounding=Rounding(hidden=8, ffn=8))
    for planned in plans:
        model = prune_model(model, planned, measure_importance(model, [tokens(seed=2)]))
        assert model.num_parameters() == planned.params
        assert torch.isfinite(logits(model)).all()


# peft 0.21 asks transformers for a name that 5.24 has deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@families
def test_a_merged_adapter_prunes_again(family, tmp_path):
    student = cut(build(CONFIGS[family]), **SMALLER)
    adapted = get_peft_model(student, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    with pytest.raises(UnsupportedModelError, match=r"base_model.*merge_and_unload"):
        cut(adapted, magnitude_importance(build(student.config)))
    merged = adapted.merge_and_unload()
    again = cut(merged, layers=1, ffn=24)
    again.save_pretrained(tmp_path)
    assert difference(again, AutoModelForCausalLM.from_pretrained(tmp_path)) == 0.0
    assert difference(merged, cut(merged)) == 0.0


# --- importance ---


def test_importance_is_deterministic_and_ignores_padding():
    model = build(CONFIGS["qwen3"])
    ids = tokens(rows=2, length=9)
    padded = torch.cat([ids, torch.zeros(2, 4, dtype=ids.dtype)], 1)
    mask = (torch.arange(13) < 9).expand(2, 13).long()
    plain, again = (measure_importance(model, [ids[:1], ids[1:]]) for _ in range(2))
    masked = measure_importance(model, [{"input_ids": padded, "attention_mask": mask}])
    for name in ("layers", "hidden", "ffn", "kv_heads"):
        assert torch.equal(getattr(plain, name), getattr(again, name))
        torch.testing.assert_close(
            getattr(masked, name), getattr(plain, name), rtol=1e-5, atol=1e-7
        )


def test_importance_is_what_it_says():
    model = build(CONFIGS["llama"])
    ids = tokens(rows=1)
    seen = {}
    last = model.model.layers[2]
    handles = [
        last.mlp.down_proj.register_forward_pre_hook(lambda m, a: seen.update(ffn=a[0])),
        last.self_attn.o_proj.register_forward_pre_hook(lambda m, a: seen.update(heads=a[0])),
    ]
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    importance = measure_importance(model, [ids])
    cosine = torch.cosine_similarity(states[2], states[3], dim=-1)
    close = {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(importance.layers[2], (1 - cosine).mean().double(), **close)
    torch.testing.assert_close(importance.ffn[2], seen["ffn"][0].abs().mean(0).double(), **close)
    groups = seen["heads"][0].abs().mean(0).view(4, -1).mean(-1).double()
    torch.testing.assert_close(importance.kv_heads[2], groups, **close)


def test_of_equal_scores_the_earlier_stays():
    model = build(CONFIGS["llama"])
    importance = magnitude_importance(model)
    importance.hidden.fill_(1.0)
    assert keep(importance, plan_shape(model.config, hidden=32)).hidden == tuple(range(32))


def test_calibration_data_that_says_nothing_is_refused():
    model = build(CONFIGS["llama"])
    with pytest.raises(ValueError, match="no calibration tokens"):
        measure_importance(model, [])
    torch.nn.init.constant_(model.model.layers[0].mlp.down_proj.weight, torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        measure_importance(model, [tokens()])


# --- refusals ---


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (Gemma3TextConfig(**COMMON, head_dim=8), "pre_feedforward_layernorm"),
        (MixtralConfig(**COMMON), "mlp.gate.weight"),
        (Qwen3MoeConfig(**COMMON, moe_intermediate_size=16, num_experts=4), "mlp.experts"),
    ],
)
@pytest.mark.parametrize("score", [magnitude_importance, lambda m: measure_importance(m, [])])
def test_other_models_are_refused_naming_the_weight(config, named, score):
    with pytest.raises(UnsupportedModelError, match=named):
        score(AutoModelForCausalLM.from_config(config))


def test_prune_model_itself_refuses():
    model = build(CONFIGS["llama"])
    planned, importance = plan_shape(model.config, ffn=40), magnitude_importance(model)
    other = AutoModelForCausalLM.from_config(MixtralConfig(**COMMON))
    with pytest.raises(UnsupportedModelError, match="mixtral"):
        prune_model(other, planned, importance)
    short = cut(model, layers=3)
    with pytest.raises(ValueError, match="importance of layers"):
        prune_model(short, plan_shape(model.config, layers=2), importance)
    wide = LlamaConfig(**{**COMMON, "num_attention_heads": 16})
    with pytest.raises(ValueError, match="query heads"):
        prune_model(model, plan_shape(wide), importance)
    small = cut(model, ffn=40)
    with pytest.raises(ValueError, match="ffn = 64"):
        prune_model(small, plan_shape(model.config), magnitude_importance(small))


def test_heads_of_other_tasks_are_refused():
    config = copy.deepcopy(CONFIGS["llama"])
    with pytest.raises(UnsupportedModelError, match="score.weight"):
        magnitude_importance(AutoModelForSequenceClassification.from_config(config))


def test_weights_that_are_not_as_the_config_says_are_refused():
    model = build(CONFIGS["llama"])
    planned, importance = plan_shape(model.config), magnitude_importance(model)
    untied = copy.deepcopy(model)
    untied.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with pytest.raises(UnsupportedModelError, match="not one tensor"):
        prune_model(untied, planned, importance)
    narrow = copy.deepcopy(model)
    gate = narrow.model.layers[1].mlp.gate_proj
    gate.weight = torch.nn.Parameter(gate.weight.detach()[:40])
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.mlp\.gate_proj.weight is \(40"):
        prune_model(narrow, planned, importance)
    coded = copy.deepcopy(model)
    gate = coded.model.layers[0].mlp.gate_proj
    gate.weight = torch.nn.Parameter(gate.weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModelError, match="int8"):
        prune_model(coded, planned, importance)


def test_a_planned_student_keeps_what_was_asked():
    model = build(CONFIGS["qwen2"])
    planned = plan(model.config, 0.5, kept_of="nonembedding", rounding=Rounding(hidden=8, ffn=8))
    student = cut(
        model, **{a: getattr(planned, a) for a in ("layers", "hidden", "ffn", "kv_heads")}
    )
    embedding = student.get_input_embeddings().weight.numel()
    left = student.num_parameters() - embedding
    whole = model.num_parameters() - model.get_input_embeddings().weight.numel()
    assert left / whole == planned.kept_nonembedding
