"""The loop: what a step sees, that nothing but the examples decides it, and that it can stop."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, kl_div
from transformers import AutoModelForCausalLM

from distill import checkpoint
from distill.batches import collate, micro_batches, step_indices, steps_in_epoch
from distill.cache import build_cache
from distill.checkpoint import latest_checkpoint
from distill.config import Lora, Train
from distill.files import StorageError
from distill.losses import TeacherLogits
from distill.progress import Progress, peak_flops
from distill.streams import CachedTeacher, OnlineTeacher, Stream, text_sequence
from distill.train import TrainingError, learning_rate, total_steps, train

REPOSITORY = Path(__file__).parents[2]


def options(**changes):
    return Train(**{"lr": 0.01, "batch": 8, "epochs": 2, "micro_tokens": 64} | changes)


def copy_of(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What a step sees


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_has_every_sequence_once(n, batch, epoch):
    steps = steps_in_epoch(n, batch)
    parts = [step_indices(n, batch, epoch * steps + k, (7, 0)) for k in range(steps)]
    assert sorted(np.concatenate(parts)) == list(range(n))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_orders_differ_between_epochs_and_seeds():
    orders = [step_indices(50, 50, step, seed) for step in (0, 1) for seed in ((0, 0), (1, 0))]
    assert len({tuple(order) for order in orders}) == 4


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(30, 200), st.integers(1, 4)
)
def test_groups_share_all_sequences_evenly_within_the_limit(lengths, limit, processes):
    indices = list(range(len(lengths)))
    try:
        spread = micro_batches(lengths, indices, limit, processes)
    except ValueError:
        # One sequence a group always fits, so only a remainder can be in the way.
        assert processes > 1
        assert len(lengths) // processes == 0 or len(lengths) % processes
        return
    assert len(spread) == processes
    assert len({len(groups) for groups in spread}) == 1
    groups = [group for part in spread for group in part]
    assert all(groups)
    assert sorted(i for group in groups for i in group) == indices
    assert all(len(group) * max(lengths[i] for i in group) <= limit for group in groups)


def test_a_sequence_too_long_is_named():
    with pytest.raises(ValueError, match="sequence 1 has 9 tokens.*micro_tokens = 8"):
        micro_batches([3, 9], [0, 1], 8, 1)


def test_learning_rate_rises_then_falls_along_a_cosine():
    o = options(lr=1.0, min_lr=0.2, warmup=0.1)
    rates = [learning_rate(step, 100, o) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.6)  # half way: the mean of 1 and .2
    assert rates[99] == pytest.approx(0.2, abs=0.8 * (math.pi / 90) ** 2)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_total_steps():
    assert total_steps(17, options(epochs=2)) == 6
    assert total_steps(17, options(epochs=0.5)) == 2
    assert total_steps(80, options(epochs=1.1)) == 11
    assert total_steps(17, options(epochs=9, max_steps=4)) == 4


# What a step computes


def test_first_loss_is_the_blended_formula(toy_model, sequences):
    """Written out with full logits, sequence by sequence."""
    student, teacher, drawn = toy_model(1), toy_model(2), sequences(6)
    w, alpha, tau = 0.3, 0.7, 2.0
    terms = []
    with torch.no_grad():
        for s in drawn:
            ids = torch.tensor([s.ids])
            q, p = student(ids).logits[0, :-1], teacher(ids).logits[0, :-1]
            kl = kl_div((q / tau).log_softmax(-1), (p / tau).softmax(-1), reduction="none").sum(-1)
            each = alpha * tau**2 * kl + (1 - alpha) * cross_entropy(
                q, ids[0, 1:], reduction="none"
            )
            spans = [
                each[span.start - 1 : span.stop - 1].mean() for span in (s.reasoning, s.answer)
            ]
            terms.append(w * spans[0] + (1 - w) * spans[1])
    expected = torch.stack(terms).mean().item()
    stream = Stream(drawn, 6, w, OnlineTeacher(teacher), alpha=alpha, temperature=tau)
    done = train(student, [stream], options(batch=6, max_steps=1, micro_tokens=30))
    assert done.losses[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"micro_tokens": 14}, {"gradient_checkpointing": True}, {"chunk": 3}],
    ids=lambda changes: next(iter(changes)),
)
def test_memory_settings_do_not_change_the_training(toy_model, sequences, changes):
    def losses(**more):
        stream = Stream(sequences(20), 8, "cot", OnlineTeacher(toy_model(2)), alpha=0.5)
        return train(toy_model(1), [stream], options(**more)).losses

    # Sums in another order: a few float32 roundings a step, amplified by 6 steps of Adam.
    assert losses(**changes) == pytest.approx(losses(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler"
)
# Both are of torch's own code while it compiles.
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method`:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
)
def test_compiled_layers_train_as_others(toy_model, sequences, tmp_path):
    def trained(compile):
        stream = Stream(sequences(20), 8, "cot", OnlineTeacher(toy_model(2)), alpha=0.5)
        model = toy_model(1)
        return model, train(model, [stream], options(compile=compile))

    (plain, expected), (model, done) = trained(False), trained(True)
    assert all(layer._compiled_call_impl for layer in model.model.layers)
    # Fused sums are in another order: float32 roundings a step, amplified by 6 steps of Adam.
    assert done.losses == pytest.approx(expected.losses, rel=1e-5)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert copy_of(again).keys() == copy_of(plain).keys()
    assert same(copy_of(again), copy_of(model))


def test_a_copy_of_the_teacher_has_nothing_to_learn(toy_model, sequences):
    model = toy_model(1)
    before = copy_of(model)
    stream = Stream(sequences(8), 8, "cot", OnlineTeacher(toy_model(1)), alpha=1.0)
    done = train(model, [stream], options(lr=1e-6))
    assert max(abs(loss) for loss in done.losses) < 1e-6
    # Adam moves a weight by at most about lr a step, whatever its gradient.
    assert all(torch.allclose(w, before[n], atol=4e-6) for n, w in model.named_parameters())


def test_cached_and_online_teacher_say_the_same(toy_model, sequences, tmp_path, monkeypatch):
    monkeypatch.setattr("distill.cache.tokenizer_fingerprint", lambda tokenizer: "toy")
    teacher, drawn = toy_model(2), sequences(20)
    cache = build_cache(teacher, drawn, tmp_path / "cache", tokenizer=None)
    places = list(range(19, 3, -1))
    mine = [drawn[i] for i in places]
    head = teacher.get_output_embeddings().weight.detach()

    def losses(source):
        return train(toy_model(1), [Stream(mine, 8, "cot", source, alpha=1.0)], options()).losses

    cached = losses(CachedTeacher(cache, places, head))
    assert cached == pytest.approx(losses(OnlineTeacher(teacher)), rel=1e-5)


def test_counts(toy_model, sequences):
    task, texts = sequences(20), [text_sequence(range(k, k + 6)) for k in range(10)]
    done = train(toy_model(), [Stream(task, 8), Stream(texts, 4)], options(epochs=2))
    assert (done.steps, done.examples_seen, done.stopped_by) == (6, 40, "epochs")
    # 10 texts in batches of at most 4 are 4 + 3 + 3, twice through in 6 steps.
    assert done.tokens == 2 * sum(len(s.ids) for s in task) + 2 * 10 * 6
    assert len(done.losses) == 6


def test_replay_holds_the_model_near_what_it_was(toy_model, sequences):
    """Divergence from the base on texts that were replayed, with and without replay."""
    texts = [text_sequence(np.random.default_rng(k).integers(0, 64, 8).tolist()) for k in range(16)]

    def moved(weight):
        model, base = toy_model(1), toy_model(1)
        task = Stream(sequences(16), 8, "cot")
        replay = Stream(texts, 8, teacher=OnlineTeacher(base), alpha=1.0, weight=weight)
        train(model, [task, replay], options(epochs=5))
        ids = torch.tensor([text.ids for text in texts])
        with torch.no_grad():
            p, q = base(ids).logits.log_softmax(-1), model(ids).logits.log_softmax(-1)
        return kl_div(q, p, reduction="sum", log_target=True).item()

    assert moved(10.0) < 0.5 * moved(1e-9)


def test_bf16_keeps_float32_weights(toy_model, sequences):
    stream = Stream(sequences(16), 8, "cot")
    model = toy_model(1)
    done = train(model, [stream], options(precision="bf16", lr=1e-5))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    exact = train(toy_model(1), [stream], options(lr=1e-5)).losses
    assert done.losses != exact
    # bfloat16 has 8 bits: relative errors of 2**-9 a product, averaging out over many.
    assert done.losses == pytest.approx(exact, rel=2**-7)


def test_what_the_bar_shows():
    progress = Progress(10, 0, torch.device("cpu"), 6e9, 1, show=False)
    assert progress.values(1.23456, 5000, 2.0) == {"loss": "1.2346", "tok/s": "2,500"}
    progress.close()


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA L4", 121e12),
     ("NVIDIA L40S", 362e12), ("Quadro", None), ("", None)],
)  # fmt: skip
def test_peak_is_known_by_the_whole_name_or_not_at_all(name, peak):
    assert peak_flops(name) == peak


# Adapters


def test_adapters_train_alone_and_merge(toy_model, sequences):
    model, untouched = toy_model(1), toy_model(1)
    lora = Lora(rank=2, alpha=4, modules=("q_proj", "down_proj"))
    stream = Stream(sequences(16), 8, "cot", OnlineTeacher(toy_model(2)), alpha=1.0)
    done = train(model, [stream], options(lora=lora, epochs=20))
    # Drawn with a zero matrix, so that the first step is the base model's.
    first = train(untouched, [stream], options(max_steps=1)).losses[0]
    assert done.losses[0] == pytest.approx(first, rel=1e-6)
    assert done.losses[-1] < 0.9 * done.losses[0]
    base = copy_of(toy_model(1))
    assert dict(model.named_parameters()).keys() == base.keys()
    changed = {n for n, w in model.named_parameters() if not torch.equal(w, base[n])}
    assert changed == {n for n in base if "q_proj" in n or "down_proj" in n}
    for name in changed:
        update = dict(model.named_parameters())[name] - base[name]
        assert torch.linalg.matrix_rank(update, atol=1e-5, rtol=0) <= 2


# Stopping


def test_the_best_measured_weights_are_kept(toy_model, sequences):
    """Trained on noise, a model gets worse on other noise; the loop stops and goes back."""
    held_out = sequences(12, seed=5)
    model = toy_model(1)
    o = options(epochs=50, validate_every=2, patience=3)
    done = train(model, [Stream(sequences(16), 8, "cot")], o, validation=held_out)
    assert done.stopped_by == "validation"
    values = [nll for _, nll in done.validation]
    assert len(values) - 1 - int(np.argmin(values)) == 3
    batch = collate(held_out, range(12), "cot", 12)
    with torch.no_grad():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1]
    each = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    assert (each * batch.weights.flatten()).sum().item() == pytest.approx(min(values), rel=1e-5)


def test_validation_needs_examples(toy_model, sequences):
    with pytest.raises(ValueError, match="validate_every needs validation examples"):
        train(toy_model(), [Stream(sequences(8), 8)], options(validate_every=1))


class Interrupt(Exception):
    """Stands for anything that ends a process."""


def failing(source, at, error):
    """Return a teacher that raises at a call."""
    calls = iter(range(10**6))

    def teacher(batch):
        if next(calls) == at:
            raise error
        return source(batch)

    return teacher


@pytest.mark.parametrize(
    "changes",
    [{}, {"lora": Lora(rank=2, dropout=0.5)}, {"validate_every": 2, "patience": 9}],
    ids=["full", "dropout in adapters", "validated"],
)
def test_going_on_from_a_checkpoint_changes_no_bit(toy_model, sequences, tmp_path, changes):
    o = options(epochs=6, checkpoint_every=5, **changes)
    held_out = sequences(8, seed=4)

    def go(folder, at=10**6):
        model, online = toy_model(1), OnlineTeacher(toy_model(2))
        stream = Stream(sequences(16), 8, "cot", failing(online, at, Interrupt()), alpha=1.0)
        torch.manual_seed(int.from_bytes(os.urandom(4), "big"))  # what came before must not matter
        return model, train(model, [stream], o, validation=held_out, folder=folder)

    whole, done = go(None)
    # Passes and steps are not the same: two or more passes a step.
    with pytest.raises(Interrupt):
        go(tmp_path, at=17)
    assert 0 < latest_checkpoint(tmp_path).state["step"] < done.steps
    model, again = go(tmp_path)
    assert same(copy_of(model), copy_of(whole))
    times = ("wall_s", "cpu_s")
    a, b = ({k: v for k, v in vars(d).items() if k not in times} for d in (done, again))
    assert json.loads(json.dumps(a)) == json.loads(json.dumps(b))


def test_a_checkpoint_of_another_training_is_refused(toy_model, sequences, tmp_path):
    stream = Stream(sequences(16), 8, "cot")
    train(toy_model(1), [stream], options(checkpoint_every=1), folder=tmp_path)
    with pytest.raises(TrainingError, match="other settings, seed or examples"):
        train(toy_model(1), [stream], options(checkpoint_every=1, lr=0.5), folder=tmp_path)
    # How much memory it may take is no such setting.
    train(toy_model(1), [stream], options(checkpoint_every=1, micro_tokens=50), folder=tmp_path)


def test_a_loss_that_is_no_number_does_not_reach_the_weights(toy_model, sequences, tmp_path):
    model, online = toy_model(1), OnlineTeacher(toy_model(2))
    calls = iter(range(100))

    def poisoned(batch):
        teacher = online(batch)
        return teacher if next(calls) < 3 else TeacherLogits(
            torch.full((len(teacher.hidden), 64), torch.nan)
        )  # fmt: skip

    o = options(checkpoint_every=2, micro_tokens=200)
    with pytest.raises(TrainingError, match="loss is nan.*at step 3.*step 2 is safe"):
        train(model, [Stream(sequences(16), 8, "cot", poisoned, alpha=1.0)], o, folder=tmp_path)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
     RuntimeError("DefaultCPUAllocator: not enough memory")],
    ids=["cuda", "python", "cpu"],
)  # fmt: skip
def test_the_end_of_memory_says_what_to_lower(toy_model, sequences, error):
    teacher = failing(OnlineTeacher(toy_model(2)), 0, error)
    stream = Stream(sequences(16), 8, "cot", teacher, alpha=1.0)
    with pytest.raises(TrainingError, match="out of memory at step 0.*train.micro_tokens"):
        train(toy_model(1), [stream], options())


def test_other_errors_pass_as_they_are(toy_model, sequences):
    teacher = failing(OnlineTeacher(toy_model(2)), 0, RuntimeError("a fault"))
    with pytest.raises(RuntimeError, match="^a fault$"):
        train(toy_model(1), [Stream(sequences(8), 8, "cot", teacher, alpha=1.0)], options())


def test_a_full_disk_leaves_the_older_checkpoint(toy_model, sequences, tmp_path, monkeypatch):
    stream, o = Stream(sequences(16), 8, "cot"), options(epochs=3, checkpoint_every=2)
    whole = toy_model(1)
    train(whole, [stream], o)
    written = iter(range(100))
    save_file = checkpoint.save_file

    def full(tensors, path):
        if next(written) >= 3:  # two files a checkpoint: in the middle of the second one
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(StorageError, match="No space left on device.*MB are free"):
        train(toy_model(1), [stream], o, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    monkeypatch.setattr(checkpoint, "save_file", save_file)
    model = toy_model(1)
    train(model, [stream], o, folder=tmp_path)
    assert same(copy_of(model), copy_of(whole))


# Many processes

WORKER = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, Qwen3Config
from distill.checkpoint import latest_checkpoint
from distill.config import Train
from distill.streams import OnlineTeacher, Stream
from distill.student import make_accelerator
from distill.task import Encoded
from distill.train import train

class Stop(Exception):
    pass

def make(seed):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(Qwen3Config(**given["config"])).eval()

def teacher(batch):
    if next(calls) == given["stop"]:
        raise Stop
    return online(batch)

def go(model):
    stream = Stream(sequences, 8, "blended", teacher, alpha=.5)
    return train(model, [stream], Train(**given["options"]), validation=sequences[:9],
                 folder=folder, accelerator=accelerator, bar=False)

torch.set_num_threads(1)
given = json.loads(Path(sys.argv[1]).read_text())
sequences = [Encoded(tuple(ids), *(slice(*s) for s in spans)) for ids, spans in given["sequences"]]
online, calls, folder = OnlineTeacher(make(2)), iter(range(10**6)), Path("checkpoints")
accelerator = make_accelerator()
try:
    go(make(1))
except Stop:
    resumed = latest_checkpoint(folder).state["step"]
model = make(1)
done = go(model)
weights = done.weights or dict(model.named_parameters())
if accelerator.is_main_process:
    total = float(sum(w.detach().double().abs().sum() for w in weights.values()))
    result = {"processes": accelerator.num_processes, "losses": done.losses, "resumed": resumed,
              "validation": done.validation, "tokens": done.tokens, "weights": total,
              "sharded": done.weights is not None}
    Path(sys.argv[2]).write_text(json.dumps(result))
accelerator.end_training()
"""


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_that_stop_and_go_on_train_as_one(toy_model, sequences, tmp_path, parallel):
    """A checkpoint is taken right after a measurement; the stop is two steps later."""
    model, drawn = toy_model(1), sequences(30)
    o = options(epochs=3, micro_tokens=40, validate_every=4, checkpoint_every=4, parallel=parallel)
    stream = Stream(drawn, 8, "blended", OnlineTeacher(toy_model(2)), alpha=0.5)
    one = train(model, [stream], o, validation=drawn[:9])
    lengths = [len(d.ids) for d in drawn]
    steps = [step_indices(30, 8, step, (0, 0)) for step in range(6)]
    spans = [[[s.start, s.stop] for s in (d.prompt, d.reasoning, d.answer)] for d in drawn]
    given = {
        "config": model.config.to_dict(),
        "options": o.model_dump(),
        "sequences": [[d.ids, s] for d, s in zip(drawn, spans, strict=True)],
        "stop": sum(len(micro_batches(lengths, step, 40, 2)[0]) for step in steps),
    }
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "given.json").write_text(json.dumps(given))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "worker.py", "given.json", "result.json",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr[-6000:]
    two = json.loads((tmp_path / "result.json").read_text())
    assert (two["processes"], two["resumed"]) == (2, 4)
    assert two["sharded"] == (parallel == "fsdp")
    assert two["tokens"] == one.tokens
    assert two["losses"] == pytest.approx(one.losses, rel=1e-5)
    assert [n for _, n in two["validation"]] == pytest.approx([n for _, n in one.validation], 1e-5)
    total = float(sum(weight.detach().double().abs().sum() for weight in model.parameters()))
    assert two["weights"] == pytest.approx(total, rel=1e-5)
