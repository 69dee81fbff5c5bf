"""What is trained of a model in half precision is trained in float32."""

from types import SimpleNamespace

import pytest
import torch

from distill import student
from distill.config import Lora, Train
from distill.streams import Stream
from distill.student import Student, make_accelerator
from distill.train import train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_entry_of_an_adapter_moves(toy_model, sequences, monkeypatch, precision):
    options = Train(lr=1e-4, batch=8, epochs=3, precision=precision, lora=Lora(rank=2))
    trained, finish = {}, Student.finish

    def seen(self):
        trained.update({n: w.detach().clone() for n, w in self.parameters.items()})
        return finish(self)

    monkeypatch.setattr(Student, "finish", seen)
    first = toy_model(1).bfloat16()
    torch.manual_seed(0)
    drawn = Student(first, options, make_accelerator()).parameters
    model = toy_model(1).bfloat16()
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    train(model, [Stream(sequences(32), 8, "cot")], options, bar=False)
    assert {w.dtype for w in trained.values()} == {torch.float32}
    moved = [(trained[n] != w).float().mean().item() for n, w in drawn.items() if "lora_A" in n]
    assert min(moved) > 0.99
    assert {w.dtype for w in model.parameters()} == {torch.bfloat16}
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    frozen = [n for n in after if "norm" in n or "embed" in n]
    assert all(torch.equal(after[n], before[n]) for n in frozen)


def test_layers_that_become_shards_are_widened_one_by_one(toy_model, monkeypatch):
    """All of a 32B model in float32 are 131 GB, its bfloat16 weights and one layer 68 GB."""
    model, wide = toy_model(1, num_hidden_layers=3).bfloat16(), []

    def shard(module, mp_policy):
        wide.append([layer.mlp.up_proj.weight.dtype for layer in model.model.layers])
        return module

    monkeypatch.setattr(student, "fully_shard", shard)
    two = SimpleNamespace(num_processes=2)
    Student(model, Train(parallel="fsdp", precision="bf16"), two)
    low, high = torch.bfloat16, torch.float32
    assert wide == [[high, low, low], [high, high, low], *[[high] * 3] * 2]
    assert {w.dtype for w in model.parameters()} == {high}
    assert model.lm_head.weight is model.model.embed_tokens.weight
