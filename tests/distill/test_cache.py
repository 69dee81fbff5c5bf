"""The teacher's cache: exact, whole, resumable, and nobody else's."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, Qwen3Config

import distill.cache
from distill.cache import (
    CacheError,
    build_cache,
    fingerprint,
    model_fingerprint,
    open_cache,
    tokenizer_fingerprint,
)
from distill.losses import TeacherHidden, distillation_loss
from distill.task import Encoded

VOCAB = 96
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "initializer_range": 0.2, "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": None,
}  # fmt: skip


class Vocabulary:
    def __init__(self, size=VOCAB):
        self.size = size

    def get_vocab(self):
        return {f"t{i}": i for i in range(self.size)}


TOKENIZER = Vocabulary()


def build(config=None, dtype=torch.float64, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES) if config is None else config)
    return model.to(dtype).eval()


@pytest.fixture(scope="module")
def teacher():
    return build()


def sequence(rng):
    n = int(rng.integers(4, 20))
    a = int(rng.integers(1, n - 1))
    b = int(rng.integers(a, n))
    return Encoded(tuple(rng.integers(0, VOCAB, n).tolist()), slice(0, a), slice(a, b), slice(b, n))


RNG = np.random.default_rng(0)
SEQUENCES = [sequence(RNG) for _ in range(17)]


def made(teacher, path, **options):
    return build_cache(
        teacher, SEQUENCES, path, tokenizer=TOKENIZER, batch_size=3, shard_size=5, **options
    )


def opened(path, teacher, *, tokenizer=TOKENIZER, sequences=SEQUENCES):
    return open_cache(path, teacher=teacher, tokenizer=tokenizer, sequences=sequences)


@pytest.fixture(scope="module")
def hidden_cache(teacher, tmp_path_factory):
    torch.set_num_threads(1)
    return made(teacher, tmp_path_factory.mktemp("hidden"))


@pytest.fixture(scope="module")
def topk_cache(teacher, tmp_path_factory):
    torch.set_num_threads(1)
    return made(teacher, tmp_path_factory.mktemp("topk"), kind="topk", k=8, temperature=2.0)


def plain_logits(teacher, s):
    """Logits of the positions that predict what follows the prompt, one sequence at a time."""
    with torch.no_grad():
        logits = teacher(input_ids=torch.tensor([s.ids]), use_cache=False).logits[0]
    return logits[s.prompt.stop - 1 : len(s.ids) - 1]


@given(st.lists(st.integers(0, len(SEQUENCES) - 1), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_rows_are_the_supervised_positions_in_order(teacher, hidden_cache, topk_cache, indices):
    expected = torch.cat([plain_logits(teacher, SEQUENCES[i]) for i in indices])
    head = teacher.get_output_embeddings().weight.detach()
    hidden = hidden_cache.rows(indices)["hidden"]
    assert hidden.dtype == torch.float64
    assert (hidden @ head.T - expected).abs().max() < 1e-10
    rows = topk_cache.rows(indices)
    top = expected.topk(8)
    assert (rows["logits"] - top.values).abs().max() < 1e-10
    assert torch.equal(rows["indices"].long(), top.indices)
    total = torch.cat([rows["logits"] / 2, rows["tail"][:, None]], -1).logsumexp(-1)
    assert (total - (expected / 2).logsumexp(-1)).abs().max() < 1e-5


def test_losses_take_the_cache_as_a_teacher(teacher, hidden_cache, topk_cache):
    indices = [4, 0, 16]
    head = teacher.get_output_embeddings().weight.detach()
    expected = torch.cat([plain_logits(teacher, SEQUENCES[i]) for i in indices])
    student = torch.randn(len(expected), 48, dtype=torch.float64)
    weights = torch.rand(len(expected), dtype=torch.float64) + 0.1

    def kl(teacher, **options):
        return distillation_loss(student, head, weights, teacher=teacher, **options).total.item()

    log_p, log_q = expected.log_softmax(-1), (student @ head.T).log_softmax(-1)
    by_hand = (weights * (log_p.exp() * (log_p - log_q)).sum(-1)).sum().item()
    assert kl(hidden_cache.teacher(indices, head)) == pytest.approx(by_hand, rel=1e-9)
    # Pooling the tail can only lower a divergence.
    full = kl(hidden_cache.teacher(indices, head), temperature=2.0)
    assert 0 < kl(topk_cache.teacher(indices), temperature=2.0) < full
    assert isinstance(hidden_cache.teacher([1], head), TeacherHidden)


def test_half_precision_stays_half_precision(tmp_path):
    model = build(dtype=torch.bfloat16)
    cache = build_cache(model, SEQUENCES[:3], tmp_path, tokenizer=TOKENIZER)
    assert cache.rows([0])["hidden"].dtype == torch.bfloat16
    assert cache.manifest["dtype"] == "bfloat16"


def test_the_manifest_says_whose_it_is(teacher, hidden_cache):
    manifest = json.loads((hidden_cache.path / "manifest.json").read_text())
    assert manifest["teacher"] == model_fingerprint(teacher)
    assert manifest["tokenizer"] == tokenizer_fingerprint(TOKENIZER)
    assert manifest["sequences"] == len(SEQUENCES) == len(hidden_cache)
    assert manifest["positions"] == sum(len(s.ids) - s.prompt.stop for s in SEQUENCES)
    assert manifest["format"] == "cot"
    assert len(manifest["shards"]) == 4
    assert {shard["file"] for shard in manifest["shards"]} == {
        file.name for file in hidden_cache.path.glob("*.safetensors")
    }


# --- whose it is


def test_a_saved_and_loaded_teacher_is_the_same(teacher, hidden_cache, tmp_path):
    teacher.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert fingerprint(again, TOKENIZER) == fingerprint(teacher, TOKENIZER)
    assert len(opened(hidden_cache.path, again)) == len(SEQUENCES)
    assert len(opened(hidden_cache.path, model_fingerprint(teacher))) == len(SEQUENCES)


def test_another_teacher_is_refused(teacher, hidden_cache):
    for other in (
        build(seed=1),
        build(dtype=torch.float32),
        build(LlamaConfig(**SIZES, rms_norm_eps=1e-5)),
    ):
        with pytest.raises(CacheError, match="holds a cache of another teacher"):
            opened(hidden_cache.path, other)
    trained = build()
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(trained.parameters(), lr=1e-6)
    trained(input_ids=torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward()
    optimizer.step()
    with pytest.raises(CacheError, match="holds a cache of another teacher"):
        opened(hidden_cache.path, trained)


def test_another_tokenizer_is_refused(teacher, hidden_cache):
    with pytest.raises(CacheError, match="another tokenizer: its vocabulary differs"):
        opened(hidden_cache.path, teacher, tokenizer=Vocabulary(VOCAB + 1))


def test_other_sequences_are_refused(teacher, hidden_cache):
    moved = SEQUENCES[0]
    moved = Encoded(moved.ids, moved.prompt, slice(moved.prompt.stop, len(moved.ids) - 1),
                    slice(len(moved.ids) - 1, len(moved.ids)))  # fmt: skip
    for other in (SEQUENCES[:-1], SEQUENCES[::-1], [moved, *SEQUENCES[1:]]):
        with pytest.raises(CacheError, match="other sequences, or the same in another order"):
            opened(hidden_cache.path, teacher, sequences=other)


def test_another_kind_in_the_same_folder_is_refused(teacher, hidden_cache):
    with pytest.raises(CacheError, match="kind = 'hidden' instead of 'topk'"):
        made(teacher, hidden_cache.path, kind="topk")


# --- damage


@pytest.fixture
def damaged(teacher, tmp_path):
    made(teacher, tmp_path / "cache")
    return tmp_path / "cache"


def test_a_truncated_shard_is_refused(teacher, damaged):
    file = damaged / "shard-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CacheError, match=r"shard-00001.safetensors has \d+ bytes instead of \d+"):
        opened(damaged, teacher)


def test_an_altered_shard_is_refused(teacher, damaged):
    file = damaged / "shard-00002.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(CacheError, match="shard-00002.safetensors does not have the checksum"):
        opened(damaged, teacher)


def test_a_missing_shard_and_a_broken_manifest_are_refused(teacher, damaged):
    (damaged / "shard-00000.safetensors").unlink()
    with pytest.raises(CacheError, match="shard-00000.safetensors is missing"):
        opened(damaged, teacher)
    (damaged / "manifest.json").write_text('{"version": 1')
    with pytest.raises(CacheError, match="is not JSON"):
        opened(damaged, teacher)
    (damaged / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(CacheError, match="has version 99, this release reads 1"):
        opened(damaged, teacher)


def test_a_folder_without_a_cache_is_refused(teacher, tmp_path):
    with pytest.raises(CacheError, match="holds no cache; make it with build_cache"):
        opened(tmp_path, teacher)


# --- interruption


def test_an_interrupted_cache_goes_on_after_its_last_whole_shard(teacher, tmp_path, monkeypatch):
    def stop(done, total):
        assert total == len(SEQUENCES)
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(teacher, tmp_path, progress=stop)
    with pytest.raises(CacheError, match="holds an unfinished cache; call build_cache with the"):
        opened(tmp_path, teacher)
    passes = []
    plain = distill.cache._shard
    monkeypatch.setattr(
        distill.cache, "_shard", lambda *args: passes.append(len(args[1])) or plain(*args)
    )
    cache = made(teacher, tmp_path)
    assert passes == [5, 2]
    whole = made(teacher, tmp_path / "whole")
    every = range(len(SEQUENCES))
    assert torch.equal(cache.rows(every)["hidden"], whole.rows(every)["hidden"])
    assert not list(tmp_path.glob("*.tmp"))


def test_an_interrupted_cache_of_another_teacher_is_not_continued(teacher, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(teacher, tmp_path, progress=stop)
    with pytest.raises(CacheError, match="another teacher"):
        made(build(seed=1), tmp_path)


def test_a_finished_cache_is_not_computed_again(teacher, damaged, monkeypatch):
    def never(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(distill.cache, "_shard", never)
    assert len(made(teacher, damaged)) == len(SEQUENCES)


# --- what can't be cached


def test_models_whose_logits_are_not_a_product_are_refused(tmp_path):
    capped = Gemma2Config(**SIZES, head_dim=12, final_logit_softcapping=5.0)
    with pytest.raises(CacheError, match="the logits of gemma2 are not hidden @ head.T"):
        made(build(capped), tmp_path / "a")
    others = (Qwen3Config(**SIZES, head_dim=12), GPT2Config(
        vocab_size=VOCAB, n_embd=48, n_head=4, n_layer=2, bos_token_id=0, eos_token_id=0
    ))  # fmt: skip
    for number, config in enumerate(others):
        assert len(made(build(config), tmp_path / str(number))) == len(SEQUENCES)


def test_wrong_calls_say_what_to_write(teacher, hidden_cache, tmp_path):
    head = teacher.get_output_embeddings().weight
    with pytest.raises(ValueError, match="no sequences"):
        build_cache(teacher, [], tmp_path, tokenizer=TOKENIZER)
    with pytest.raises(ValueError, match="kind = 'logits' is not 'hidden' or 'topk'"):
        made(teacher, tmp_path, kind="logits")
    empty = [Encoded((1, 2), slice(0, 2), slice(2, 2), slice(2, 2))]
    with pytest.raises(ValueError, match="Sequence 0 has a prompt of 2 of 2 tokens"):
        build_cache(teacher, empty, tmp_path, tokenizer=TOKENIZER)
    with pytest.raises(ValueError, match="needs the teacher's output head"):
        hidden_cache.teacher([0])
    with pytest.raises(
        CacheError, match=r"head has shape \(96, 47\), the teacher's has \(96, 48\)"
    ):
        hidden_cache.teacher([0], head[:, :-1])
    with pytest.raises(IndexError, match=r"sequence 17 is not in \[0, 17\)"):
        hidden_cache.rows([17])
    with pytest.raises(ValueError, match="no indices"):
        hidden_cache.rows([])
