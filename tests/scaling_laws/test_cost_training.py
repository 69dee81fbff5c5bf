"""Training: FLOPs, hours, caches, memory, budgets."""

import numpy as np
import pytest

from scaling_laws import cost
from scaling_laws.cost.memory import activation_bytes, adapter_params
from scaling_laws.cost.trainings import MFU

TEACHER, STUDENT = cost.shape("Qwen3-32B"), cost.shape("Qwen3-4B")


def test_9b_to_7b_over_80b_tokens_takes_about_9000_hours_of_h100():
    """Published by the NVIDIA Model-Optimizer guide; utilisation .15."""
    bill = cost.training(7e9, 80e9, teacher=9e9, mfu=0.15)
    assert bill.gpu_hours == pytest.approx((9000, 9000), rel=0.01)
    # By hand: 80e9 tokens of 6 * 7e9 + 2 * 9e9 FLOPs.
    assert bill.flops == 80e9 * 60e9


def multiplied(shape):
    """Weights that a token is multiplied with: all but norms and the table of embeddings."""
    return (
        shape.layers
        * (
            2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
            + 3 * shape.hidden * shape.ffn
        )
        + shape.vocab * shape.hidden
    )


def test_flops_of_a_token():
    n_s, n_t = multiplied(STUDENT), multiplied(TEACHER)

    def flops(**options):
        return cost.training(STUDENT, 1.0, **options).flops

    assert flops() == 6 * n_s
    assert flops(method="lora") == 4 * n_s
    assert flops(teacher=TEACHER) == 6 * n_s + 2 * n_t
    assert flops(teacher=TEACHER, target="topk") == 6 * n_s
    # The cache of hidden states needs the teacher's output head, at supervised positions.
    head = 2 * 151936 * 5120
    assert flops(teacher=TEACHER, target="hidden", supervised=0.5) == 6 * n_s + head / 2
    # Scores and mixing, causal: 2 layers heads head_dim L forward, twice that backward.
    own, taught = 2 * 36 * 32 * 128 * 1024, 2 * 64 * 64 * 128 * 1024
    assert flops(length=1024) == 6 * n_s + 3 * own
    assert flops(length=1024, method="lora") == 4 * n_s + 3 * own
    assert flops(length=1024, teacher=TEACHER) == 6 * n_s + 3 * own + 2 * n_t + taught


def test_cache_bytes_of_a_token_and_its_one_pass():
    def bill(target, **options):
        return cost.training(STUDENT, 1e6, teacher=TEACHER, target=target, **options)

    assert bill("hidden").cache_bytes == 1e6 * 10_240
    assert bill("logits").cache_bytes == 1e6 * 303_872
    assert bill("topk").cache_bytes == 1e6 * 384
    assert bill("hidden", unique_tokens=1e5, supervised=0.1).cache_bytes == 1e4 * 10_240
    assert bill("hidden", unique_tokens=1e5).cache_flops == 1e5 * 2 * multiplied(TEACHER)
    assert bill("online").cache_flops == bill("online").cache_bytes == 0
    with pytest.raises(ValueError, match="needs the teacher's shape"):
        cost.training(STUDENT, 1e6, teacher=32e9, target="hidden")


def test_hours_and_dollars_carry_their_ranges():
    bill = cost.training(STUDENT, 1e9, teacher=TEACHER, gpus=4)
    low, high = bill.gpu_hours
    assert high / low == pytest.approx(MFU[1] / MFU[0])
    assert bill.wall_hours == (low / 4, high / 4)
    assert bill.price == pytest.approx((low * 1.99, high * 5.0))
    assert {"mfu_assumed", "price"} <= {note.code for note in bill.notes}
    given = cost.training(STUDENT, 1e9, mfu=0.3, price=2.0)
    assert given.price == pytest.approx((2 * given.gpu_hours[0],) * 2)
    assert not {"mfu_assumed", "price"} & {note.code for note in given.notes}
    assert cost.training(STUDENT, 1e9, hardware="L40S").price is None


# Memory


def test_states_take_16_bytes_a_parameter():
    memory = cost.training(STUDENT, 1e9).memory
    assert memory.states == 16 * STUDENT.params
    assert memory.frozen == memory.teacher == 0
    sharded = cost.training(STUDENT, 1e9, teacher=TEACHER, gpus=8).memory
    assert sharded.states == 2 * STUDENT.params
    assert sharded.teacher == 2 * TEACHER.params / 8
    copied = cost.training(STUDENT, 1e9, teacher=TEACHER, gpus=8, parallel="ddp").memory
    assert copied.teacher == 2 * TEACHER.params == 65_524_246_528


def test_adapters_are_small_and_the_rest_is_frozen():
    memory = cost.training(STUDENT, 1e9, method="lora", rank=8).memory
    assert memory.frozen == 2 * STUDENT.params
    assert memory.states == 16 * adapter_params(STUDENT, 8)
    assert memory.total < cost.training(STUDENT, 1e9).memory.total / 4


def test_a_cached_teacher_is_what_fits():
    online = cost.training(STUDENT, 1e9, teacher=TEACHER)
    assert online.fits is False
    assert "does_not_fit" in [note.code for note in online.notes]
    cached = cost.training(STUDENT, 1e9, teacher=TEACHER, target="hidden")
    assert cached.fits is True
    assert cost.training(4e9, 1e9).fits is None


def test_adapter_parameters_equal_those_of_peft():
    pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, vocab_size=50,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    matrices = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, target_modules=matrices), model)
    trained = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert adapter_params(cost.shape(config.to_dict()), 3) == trained


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_activations_are_a_close_lower_bound(family):
    """What transformers' own layers keep: float32 copies in norms beside, nothing missing."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        family, hidden_size=128, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=4, head_dim=16, intermediate_size=384, vocab_size=64, pad_token_id=None,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model = model.to(torch.bfloat16).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # The result is held: what it keeps is what is measured.
        result = model.model(input_ids=torch.zeros(1, 256, dtype=torch.long))
    found = sum(size for size, _ in kept.values())
    bound = activation_bytes(cost.shape(config.to_dict()), 256, checkpointing=False)
    assert bound <= found <= 1.6 * bound
    assert result is not None


def test_checkpointing_saves_memory_and_fewer_tokens_too():
    whole = activation_bytes(STUDENT, 4096, checkpointing=False)
    saved = activation_bytes(STUDENT, 4096, checkpointing=True)
    assert saved < whole / 10
    assert activation_bytes(STUDENT, 2048, checkpointing=True) == saved / 2


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tokens": 0}, "tokens = 0"), ({"method": "qlora"}, "'full' or 'lora'"),
     ({"target": "online"}, "needs a teacher"), ({"target": "some", "teacher": TEACHER}, "'some'"),
     ({"supervised": 0}, "supervised = 0"), ({"gpus": 0}, "gpus = 0"), ({"mfu": 15}, "mfu = 15"),
     ({"mfu": (0.4, 0.2)}, "no range"), ({"rank": 0}, "rank = 0"), ({"parallel": "tp"}, "'fsdp'"),
     ({"student": -1}, "-1 is no number")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        cost.training(**{"student": STUDENT, "tokens": 1e9} | options)


# Traces and budgets


def test_traces_take_what_the_server_takes():
    serving = cost.Serving(tokens_in=200, tokens_out=400, batch=16, gpus=2)
    bill = cost.traces(TEACHER, 10_000, serving)
    row = serving.evaluate(TEACHER).iloc[0]
    assert bill.gpu_hours[1] == pytest.approx(2 * 10_000 / row["requests_per_s_low"] / 3600)
    assert bill.price[0] == pytest.approx(1.99 * bill.gpu_hours[0])
    with pytest.raises(ValueError, match="batch= in the serving"):
        cost.traces(TEACHER, 10, cost.Serving(tokens_in=9, tokens_out=9, load=1))
    with pytest.raises(ValueError, match="can't write: a batch of 5000"):
        cost.traces(TEACHER, 10, cost.Serving(tokens_in=9, tokens_out=9, batch=5000))
    with pytest.raises(ValueError, match="examples = 0"):
        cost.traces(TEACHER, 0, serving)


def test_a_budget_fills_a_shared_cache_once():
    options = {"teacher": TEACHER, "target": "hidden", "mfu": 0.3, "price": 2.0}
    label = [cost.training(STUDENT, 1e8, cache="label", **options) for _ in range(3)]
    other = cost.training(STUDENT, 1e8, cache="cot", **options)
    alone, one = cost.budget([label[0]]), label[0]
    total = cost.budget([*label, other])
    hours, cache = one.gpu_hours[0], one.cache_gpu_hours[0]
    assert alone.gpu_hours[0] == pytest.approx(hours + cache)
    assert total.gpu_hours[0] == pytest.approx(4 * hours + 2 * cache)
    assert total.price[0] == pytest.approx(2 * total.gpu_hours[0])
    assert total.cache_bytes == 2 * one.cache_bytes
    assert (total.frame["cache_gpu_hours_low"] > 0).tolist() == [True, False, False, True]
    assert total.frame["price_low"].sum() == pytest.approx(total.price[0])


def test_a_budget_adds_traces_and_says_what_does_not_fit():
    serving = cost.Serving(tokens_in=200, tokens_out=400, batch=16)
    big = cost.training("Qwen3-14B", 1e8, name="big")
    items = [big, cost.traces(TEACHER, 1000, serving)]
    total = cost.budget(items)
    assert total.gpu_hours[0] == pytest.approx(sum(item.gpu_hours[0] for item in items))
    assert any(n.sentence.startswith("big: ") for n in total.notes if n.code == "does_not_fit")
    assert "GPU-hours" in repr(total)
    assert "big" in total._repr_html_()
    unpriced = cost.budget([cost.training(STUDENT, 1e8, hardware="L40S")])
    assert unpriced.price is None
    with pytest.raises(ValueError, match="nothing to add up"):
        cost.budget([])


def test_one_row_frames_hold_every_number():
    bill = cost.training(STUDENT, 1e9, teacher=TEACHER, target="hidden")
    row = bill.frame.iloc[0]
    assert row["gpu_hours_low"] == bill.gpu_hours[0]
    assert row["memory_bytes"] == bill.memory.total
    assert np.isfinite(row["price_high"])
    assert "of the peak" in repr(bill)
    assert "memory of a GPU" in bill._repr_html_()
