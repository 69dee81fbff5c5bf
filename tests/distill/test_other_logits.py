"""Models whose logits are more than hidden states times the head are refused, wherever they are."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig, Qwen3Config

from distill.batches import collate
from distill.config import Train
from distill.general import general_kl
from distill.models import ModelError, check_logits
from distill.streams import OnlineTeacher, Stream
from distill.train import train

VOCAB = 64
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 0,
    "bos_token_id": None, "initializer_range": 0.2,
}  # fmt: skip
SAID = "are not hidden @ head.T .* neither teacher nor student"


def build(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def scaled():
    return build(GraniteConfig(**SIZES, logits_scaling=8.0))


@pytest.fixture(scope="module")
def plain():
    return build(Qwen3Config(**SIZES, head_dim=8))


def test_a_student_is_refused(scaled, sequences):
    with pytest.raises(ModelError, match=f"of granite {SAID}"):
        train(scaled, [Stream(sequences(8), 8)], Train())


def test_a_teacher_that_is_run_on_each_batch_is_refused(scaled, plain, sequences):
    batch = collate(sequences(4), range(4), "cot", 4)
    with pytest.raises(ModelError, match=SAID):
        OnlineTeacher(scaled)(batch)
    assert OnlineTeacher(plain)(batch).hidden.shape == (int((batch.weights > 0).sum()), 32)


@pytest.mark.parametrize("which", ["model", "base"])
def test_the_divergence_of_such_a_model_is_refused(scaled, plain, which):
    def tokenizer(text):
        return {"input_ids": [3, 1, 4, 1, 5]}

    models = {"model": plain, "base": plain, which: scaled}
    with pytest.raises(ModelError, match=SAID):
        general_kl(**models, tokenizer=tokenizer, texts=["a", "b"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cap_is_seen_in_half_precision_and_plain_logits_pass(dtype, plain):
    # As in Gemma 2: at logits of about 10, a cap of 30 moves the largest by a thirtieth.
    capped = build(Gemma2Config(**SIZES | {"initializer_range": 0.33}, head_dim=8,
                                final_logit_softcapping=30.0)).to(dtype)  # fmt: skip
    with torch.no_grad():
        assert 5 < capped(torch.arange(VOCAB)[None]).logits.abs().max() < 15
    with pytest.raises(ModelError, match="of gemma2"):
        check_logits(capped, range(VOCAB))
    check_logits(build(plain.config).to(dtype), range(VOCAB))
