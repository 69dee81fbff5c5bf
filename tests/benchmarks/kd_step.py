"""What a training step costs beside a plain PyTorch loop that does the same.

    python -m tests.benchmarks.kd_step
    python -m tests.benchmarks.kd_step --model FOLDER --precision bf16 --steps 4

Both loops learn the same batches from the same teacher with the same loss function, in turns in
one process with one thread. The plain loop finds its batches and the teacher's hidden states ready
in memory; ours draws the batch, pads it and reads the teacher's cache within the step. Seconds are
of processor time, which other programs hardly change.
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

import distill.cache
from distill.batches import collate, micro_batches, step_indices
from distill.cache import build_cache
from distill.config import Train
from distill.losses import distillation_loss
from distill.models import load_model
from distill.streams import CachedTeacher, Stream
from distill.student import make_accelerator
from distill.task import Encoded
from distill.train import _Training

ALLOWED = 1.05


def student_and_teacher(folder):
    """Return two copies of a saved model, or two small ones of 6 million weights."""
    if folder is not None:
        model = load_model(folder)
        return model, copy.deepcopy(model)
    config = Qwen3Config(
        vocab_size=8192, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(AutoModelForCausalLM.from_config(config).eval())
    return models[0], models[1]


def draw(n, vocabulary):
    """Draw sequences with the lengths of headlines, rationales and labels."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(n):
        a = int(rng.integers(18, 32))
        b = a + int(rng.integers(12, 28))
        c = b + int(rng.integers(2, 5))
        ids = tuple(rng.integers(0, vocabulary, c).tolist())
        drawn.append(Encoded(ids, slice(0, a), slice(a, b), slice(b, c)))
    return drawn


class Plain:
    """The loop that one would write by hand."""

    def __init__(self, model, sequences, teacher, options):
        self.model, self.options = model.float().train(), options
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=options.lr, betas=(options.beta1, options.beta2),
            weight_decay=0, fused=True,
        )  # fmt: skip
        lengths = [len(s.ids) for s in sequences]
        self.ready = []
        for step in range(options.max_steps):
            chosen = step_indices(len(lengths), options.batch, step, (0, 0))
            groups = micro_batches(lengths, chosen, options.micro_tokens, 1)[0]
            batches = [collate(sequences, group, "cot", len(chosen)) for group in groups]
            self.ready.append([(batch, teacher(batch)) for batch in batches])

    def step(self, number):
        total = 0.0
        for batch, teacher in self.ready[number]:
            bf16 = self.options.precision == "bf16"
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                # Padding is on the right: causal attention needs no mask, here as in ours.
                states = self.model.model(
                    input_ids=batch.input_ids, use_cache=False
                ).last_hidden_state
                loss = distillation_loss(
                    states[:, :-1], self.model.lm_head.weight, batch.weights,
                    targets=batch.targets, teacher=teacher, alpha=1.0,
                ).total  # fmt: skip
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total


def timed(function, *args):
    """Return seconds of processor and of wall time, and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function(*args)
    return time.process_time() - cpu, time.perf_counter() - wall, result


def compare(a):
    """Run both loops in turns; return a row of seconds for each step after the first."""
    torch.set_num_threads(1)
    student, teacher = student_and_teacher(a.model)
    sequences = draw(a.batch * (a.steps + 1), student.config.vocab_size)
    options = Train(
        batch=a.batch, max_steps=a.steps + 1, precision=a.precision,
        micro_tokens=a.micro_tokens, warmup=0, min_lr=1,
    )  # fmt: skip
    # The sequences are numbers; no tokenizer made them.
    distill.cache.tokenizer_fingerprint = lambda tokenizer: "none"
    with tempfile.TemporaryDirectory() as folder:
        cache = build_cache(teacher, sequences, Path(folder) / "cache", tokenizer=None)
        head = teacher.get_output_embeddings().weight.detach()
        cached = CachedTeacher(cache, range(len(sequences)), head)
        plain = Plain(copy.deepcopy(student), sequences, cached, options)
        stream = Stream(sequences, a.batch, "cot", cached, alpha=1.0)
        ours = _Training(student, [stream], options, 0, (), None, make_accelerator())
        ours.student.module.train()
        rows = []
        for number in range(a.steps + 1):
            one = timed(ours._step), timed(plain.step, number)
            print(f"{number:>4} ours {one[0][0]:8.3f} plain {one[1][0]:8.3f} "
                  f"loss {ours.losses[-1]:.6f} {one[1][2]:.6f}", flush=True)  # fmt: skip
            rows.append([*one[0][:2], *one[1][:2]])
    return rows[1:]


def main():
    """Print the steps, then the ratio of the medians and of single pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of a saved model; small ones if left out")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-tokens", type=int, default=4096)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    rows = compare(parser.parse_args())
    for name, ours, plain in (("processor", 0, 2), ("wall clock", 1, 3)):
        ratio = statistics.median(row[ours] / row[plain] for row in rows)
        seconds = [statistics.median(row[i] for row in rows) for i in (ours, plain)]
        print(f"{name}: {seconds[0]:.3f} s a step, plain PyTorch {seconds[1]:.3f} s; median ratio "
              f"{ratio:.3f} (at most {ALLOWED} is allowed)")  # fmt: skip


if __name__ == "__main__":
    main()
