"""What only a GPU can show; ``python -m pytest -m gpu`` runs them, and without one they skip."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from distill.config import Train
from distill.losses import TeacherHidden, distillation_loss
from distill.progress import Progress
from distill.streams import OnlineTeacher, Stream
from distill.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
GIB = 2**30


def drawn(tokens, hidden, vocab, device, dtype):
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(device, dtype)

    teacher = TeacherHidden(normal(tokens, hidden), normal(vocab, hidden) / hidden**0.5)
    return {
        "hidden": normal(tokens, hidden).requires_grad_(),
        "head": (normal(vocab, hidden) / hidden**0.5).requires_grad_(),
        "weights": torch.full((tokens,), 1 / tokens, device=device),
        "targets": torch.randint(vocab, (tokens,), generator=g).to(device),
        "teacher": teacher,
    }


def relative(a, b):
    return ((a.cpu().double() - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jensen-shannon"])
def test_the_loss_equals_that_of_the_processor_in_double_precision(divergence):
    results = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        p = drawn(300, 64, 1000, device, dtype)
        p["weights"] = p["weights"].to(dtype)
        total = distillation_loss(**p, alpha=0.6, divergence=divergence, chunk=128).total
        results.append((total, *torch.autograd.grad(total, (p["hidden"], p["head"]))))
    for ours, exact in zip(*results, strict=True):
        assert relative(ours, exact.detach()) < 1e-5


def test_a_large_vocabulary_takes_little_memory():
    p = drawn(2048, 1024, 151_936, "cuda", torch.bfloat16)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    total = distillation_loss(**p, alpha=1.0).total
    torch.autograd.grad(total, (p["hidden"], p["head"]))
    extra = torch.cuda.max_memory_allocated() - before
    # The gradient of the head itself is part of it.
    assert extra <= 1.4 * GIB
    assert torch.isfinite(total)


def trained(toy_model, sequences, options, device):
    # A process knows one kind of device until this is taken back.
    AcceleratorState._reset_state(reset_partial_state=True)
    teacher = OnlineTeacher(toy_model(1).to(device))
    stream = Stream(sequences(32), 8, "blended", teacher, alpha=0.5)
    accelerator = Accelerator(cpu=device == "cpu")
    try:
        return train(toy_model(2), [stream], options, accelerator=accelerator, bar=False)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_learns_as_on_the_processor(toy_model, sequences, precision):
    options = Train(lr=0.01, batch=8, epochs=4, micro_tokens=64, precision=precision)
    losses = trained(toy_model, sequences, options, "cuda").losses
    assert losses[-1] < 0.9 * losses[0]
    expected = trained(toy_model, sequences, options, "cpu").losses
    # Rounding grows with the steps; the first losses know little of it. bfloat16 has 8 bits.
    tolerance = 1e-4 if precision == "fp32" else 2**-7
    assert losses[:4] == pytest.approx(expected[:4], rel=tolerance)


def test_the_bar_shows_memory():
    device = torch.device("cuda")
    nn.Linear(1024, 1024, device=device)
    bar = Progress(10, 0, device, 6e6, 1, show=False)
    shown = bar.values(1.0, tokens=1000, seconds=0.5)
    bar.close()
    assert float(shown["GiB"]) >= 0.0
    assert shown["tok/s"] == "2,000"
