"""The chunked losses against plain ones, and the weights against their definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from distill.losses import (
    Loss,
    TeacherHidden,
    TeacherLogits,
    TeacherTopK,
    blended_loss,
    cross_entropy,
    distillation_loss,
    token_weights,
    top_k_logits,
)

DIVERGENCES = ("forward", "reverse", "jensen-shannon")
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def problem(dtype=torch.float64, tokens=13, hidden=8, vocab=29, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    weights = torch.rand(tokens, generator=g, dtype=torch.float64).to(dtype)
    weights[::4] = 0.0
    return {
        "hidden": normal(tokens, hidden).requires_grad_(),
        "head": normal(vocab, hidden).requires_grad_(),
        "weights": weights / weights.sum(),
        "targets": torch.randint(vocab, (tokens,), generator=g),
        "teacher": TeacherHidden(normal(tokens, hidden + 3), normal(vocab, hidden + 3)),
    }


def naive(p, alpha, divergence, temperature, clip=None):
    """Follow the definition on full ``[tokens, vocab]`` tensors, with plain autograd."""
    logits = p["hidden"] @ p["head"].T
    log_q = F.log_softmax(logits / temperature, -1)
    log_p = F.log_softmax(p["teacher"].hidden @ p["teacher"].head.T / temperature, -1)
    d = naive_divergence(log_p, log_q, divergence)
    if clip is not None:
        d = d.clamp(max=clip)
    ce = F.cross_entropy(logits, p["targets"], reduction="none")
    return (p["weights"] * (alpha * temperature**2 * d + (1 - alpha) * ce)).sum()


def naive_divergence(log_p, log_q, divergence):
    if divergence == "forward":
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    if divergence == "reverse":
        return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
    log_m = torch.log((log_p.exp() + log_q.exp()) / 2)
    return sum(
        F.kl_div(log_m, x, reduction="none", log_target=True).sum(-1) / 2 for x in (log_p, log_q)
    )


def gradients(loss, p):
    return torch.autograd.grad(loss, (p["hidden"], p["head"]))


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_the_naive_loss_and_its_gradients(dtype, divergence, alpha, temperature, chunk):
    p = problem(dtype)
    options = {"alpha": alpha, "divergence": divergence, "temperature": temperature}
    ours = distillation_loss(**p, **options, chunk=chunk).total
    plain = naive(p, **options)
    assert relative(ours, plain) < TOLERANCE[dtype]
    for mine, theirs in zip(gradients(ours, p), gradients(plain, p), strict=True):
        assert relative(mine, theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_gradcheck(divergence):
    p = problem(tokens=5, hidden=3, vocab=7)
    rest = {k: v for k, v in p.items() if k not in ("hidden", "head")}

    def total(hidden, head):
        return distillation_loss(
            hidden, head, **rest, alpha=0.4, divergence=divergence, temperature=1.7, chunk=2
        ).total

    assert torch.autograd.gradcheck(total, (p["hidden"], p["head"]))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_gradcheck_of_the_tail_bucket(divergence):
    p = problem(tokens=5, hidden=3, vocab=9)
    logits = p["teacher"].hidden @ p["teacher"].head.T
    teacher = top_k_logits(logits, 4, temperature=1.7)

    def total(hidden, head):
        return distillation_loss(
            hidden, head, p["weights"], teacher=teacher, divergence=divergence, temperature=1.7
        ).total

    assert torch.autograd.gradcheck(total, (p["hidden"], p["head"]))


def test_the_three_forms_of_a_teacher_agree():
    p = problem(vocab=29)
    logits = p["teacher"].hidden @ p["teacher"].head.T
    exact = distillation_loss(**p).total
    full = distillation_loss(**p | {"teacher": TeacherLogits(logits)}).total
    assert relative(full, exact) < 1e-12
    # With the whole vocabulary but one token in the top, the tail bucket is that token.
    almost_all = top_k_logits(logits, 28)
    assert relative(distillation_loss(**p | {"teacher": almost_all}).total, exact) < 1e-12
    lossy = [
        distillation_loss(**p | {"teacher": top_k_logits(logits, k)}).total.item()
        for k in (1, 4, 16, 28)
    ]
    # Merging buckets never raises a divergence, and the top k are nested.
    assert lossy == sorted(lossy)
    assert lossy[0] < exact.item()


def test_a_teacher_cached_at_supervised_positions_is_the_same():
    p = problem()
    rows = p["weights"].nonzero().squeeze(-1)
    cached = TeacherHidden(p["teacher"].hidden[rows], p["teacher"].head)
    full, small = (distillation_loss(**p | {"teacher": t}).total for t in (p["teacher"], cached))
    assert full.item() == small.item()


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_equal_models_have_no_divergence_and_no_gradient(divergence, temperature):
    p = problem(torch.float32)
    p["teacher"] = TeacherHidden(p["hidden"].detach(), p["head"].detach())
    loss = distillation_loss(**p, divergence=divergence, temperature=temperature)
    by_hidden, by_head = gradients(loss.total, p)
    # Jensen-Shannon takes the mean of two equal numbers through exp and log: rounding remains.
    zero = 0.0 if divergence != "jensen-shannon" else 1e-6
    assert abs(loss.total.item()) <= zero
    assert by_hidden.abs().max().item() <= 1e-6
    assert by_head.abs().max().item() <= 1e-6


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_permuting_tokens_or_vocabulary_changes_nothing(divergence):
    p = problem()
    g = torch.Generator().manual_seed(1)
    order, words = torch.randperm(13, generator=g), torch.randperm(29, generator=g)
    teacher = p["teacher"]
    moved = {
        "hidden": p["hidden"][order],
        "head": p["head"][words],
        "weights": p["weights"][order],
        "targets": words.argsort()[p["targets"][order]],
        "teacher": TeacherHidden(teacher.hidden[order], teacher.head[words]),
    }
    options = {"alpha": 0.5, "divergence": divergence, "temperature": 2.0, "chunk": 4}
    a, b = (distillation_loss(**x, **options).total for x in (p, moved))
    assert relative(a, b) < 1e-12
    for mine, theirs in zip(gradients(a, p), gradients(b, p), strict=True):
        assert relative(mine, theirs) < 1e-12


def test_tokens_of_weight_zero_never_reach_the_head():
    p = problem()
    left_out = p["weights"] == 0
    poisoned = p["hidden"].detach().masked_fill(left_out[:, None], torch.nan).requires_grad_()
    loss = distillation_loss(**p | {"hidden": poisoned}, alpha=0.5).total
    by_hidden, by_head = torch.autograd.grad(loss, (poisoned, p["head"]))
    assert loss.item() == distillation_loss(**p, alpha=0.5).total.item()
    assert torch.equal(by_hidden[left_out], torch.zeros_like(by_hidden[left_out]))
    assert torch.isfinite(by_head).all()


def test_weight_two_is_the_row_twice():
    p = problem()
    twice = torch.cat([torch.arange(13), torch.tensor([5])])
    doubled = p["weights"].clone()
    doubled[5] *= 2
    repeated = {k: p[k][twice] for k in ("hidden", "weights", "targets")}
    repeated["teacher"] = TeacherHidden(p["teacher"].hidden[twice], p["teacher"].head)
    a = distillation_loss(**p | {"weights": doubled}, alpha=0.5).total
    b = distillation_loss(**p | repeated, alpha=0.5).total
    assert relative(a, b) < 1e-12


def test_clip_bounds_each_token_and_reports_the_clipped_weight():
    p = problem()
    each = torch.stack(
        [
            distillation_loss(**p | {"weights": F.one_hot(torch.tensor(i), 13).double()}).total
            for i in range(13)
        ]
    )
    clip = each.median().item()
    loss = distillation_loss(**p, clip=clip, chunk=3)
    assert relative(loss.total, naive(p, 1.0, "forward", 1.0, clip)) < 1e-12
    torch.testing.assert_close(loss.clipped, p["weights"][each > clip].sum(), rtol=1e-12, atol=0)
    by_hidden, _ = gradients(loss.total, p)
    assert (by_hidden[each > clip] == 0).all()
    assert (by_hidden[(each < clip) & (p["weights"] > 0)].abs().sum(-1) > 0).all()


def test_parts_add_up_and_absent_parts_are_none():
    p = problem()
    loss = distillation_loss(**p, alpha=0.3, temperature=2.0)
    mixed = 0.3 * 4.0 * loss.divergence + 0.7 * loss.cross_entropy
    torch.testing.assert_close(loss.total, mixed, rtol=1e-12, atol=0)
    assert not loss.divergence.requires_grad
    assert loss.clipped is None
    ce = cross_entropy(p["hidden"], p["head"], p["weights"], p["targets"])
    assert isinstance(ce, Loss)
    assert ce.divergence is None
    torch.testing.assert_close(ce.total, naive(p, 0.0, "forward", 1.0), rtol=1e-12, atol=0)
    assert distillation_loss(**p).cross_entropy is None


def test_a_graph_that_is_kept_gives_its_gradients_again():
    """A loss that counts once hands out the gradients that it made, and must not lose them."""
    generator = torch.Generator().manual_seed(0)
    hidden, head, teacher_hidden, teacher_head = (
        torch.randn(n, 8, generator=generator) for n in (6, 11, 6, 11)
    )
    hidden.requires_grad_()
    head.requires_grad_()
    teacher = TeacherHidden(teacher_hidden, teacher_head)
    total = distillation_loss(hidden, head, torch.full((6,), 1 / 6), teacher=teacher).total
    total.backward(retain_graph=True)
    once = [x.grad.clone() for x in (hidden, head)]
    total.backward(retain_graph=True)
    (3 * total).backward()
    for x, grad in zip((hidden, head), once, strict=True):
        torch.testing.assert_close(x.grad, 5 * grad)


def test_a_frozen_head_and_no_grad():
    p = problem()
    frozen = distillation_loss(**p | {"head": p["head"].detach()}).total
    (by_hidden,) = torch.autograd.grad(frozen, (p["hidden"],))
    torch.testing.assert_close(by_hidden, gradients(distillation_loss(**p).total, p)[0])
    with torch.no_grad():
        assert not distillation_loss(**p).total.requires_grad


def test_autocast_multiplies_in_its_dtype_and_returns_gradients_in_their_own():
    p = problem(torch.float32, tokens=64, hidden=32, vocab=97)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = distillation_loss(**p, alpha=0.5).total
        plain = naive(p, 0.5, "forward", 1.0)
    assert ours.dtype == torch.float32
    # bfloat16 keeps 8 bits: logits of size sqrt(hidden) are off by up to 2**-8 of themselves.
    assert relative(ours, plain) < 2**-7
    for mine, theirs in zip(gradients(ours, p), gradients(plain, p), strict=True):
        assert mine.dtype == torch.float32
        assert relative(mine, theirs) < 2**-5


class _Largest(TorchDispatchMode):
    """Remember the largest tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, torch.Tensor):
                self.numel = max(self.numel, t.numel())
        return out


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_no_tensor_of_tokens_by_vocabulary_is_ever_held(divergence):
    tokens, hidden, vocab, chunk = 256, 8, 1000, 16
    p = problem(torch.float32, tokens, hidden, vocab)
    p["weights"] = torch.full((tokens,), 1 / tokens)
    with _Largest() as plain:
        naive(p, 0.5, divergence, 2.0).backward()
    with _Largest() as ours:
        distillation_loss(
            **p, alpha=0.5, divergence=divergence, temperature=2.0, chunk=chunk
        ).total.backward()
    assert plain.numel == tokens * vocab
    assert ours.numel == chunk * vocab


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": torch.ones(12)}, "weights"),
        ({"weights": -torch.ones(13)}, "0 or more"),
        ({"head": torch.ones(29, 9)}, "9"),
        ({"targets": None, "alpha": 0.5}, "needs targets"),
        ({"teacher": None}, "needs a teacher"),
        ({"targets": torch.full((13,), 29), "alpha": 0.5}, r"\[0, 29\)"),
        ({"teacher": TeacherLogits(torch.ones(13, 30))}, "30"),
        ({"teacher": TeacherLogits(torch.ones(12, 29))}, "12"),
        ({"teacher": top_k_logits(torch.rand(13, 29), 3, 2.0)}, "temperature 2.0"),
        ({"alpha": 1.5}, "alpha = 1.5"),
        ({"divergence": "kl"}, "jensen-shannon"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"clip": 0.0}, "clip = 0.0"),
        ({"chunk": 0}, "chunk = 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        distillation_loss(**problem() | change)


def test_top_k_must_leave_a_tail():
    with pytest.raises(ValueError, match="no tail"):
        TeacherTopK(torch.ones(2, 5), torch.arange(5).expand(2, 5), torch.ones(2), vocab=5)


# --- token weights ---


def spans(lengths, padding=0):
    """Rows of prompt (2 tokens) | reasoning | answer, packed into one row, then padding."""
    reasoning, answer, ids = [], [], []
    for i, (r, a) in enumerate(lengths):
        reasoning += [False] * 2 + [True] * r + [False] * a
        answer += [False] * (2 + r) + [True] * a
        ids += [i] * (2 + r + a)
    pad = [False] * padding
    return (
        torch.tensor(reasoning + pad),
        torch.tensor(answer + pad),
        torch.tensor(ids + [-1] * padding),
    )


def by_sequence(weights, ids, n):
    return torch.zeros(n).index_add_(0, ids.clamp(min=0), weights)


SCHEMES = st.one_of(st.sampled_from(["label", "cot", "blended"]), st.floats(0, 1))
LENGTHS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, SCHEMES, st.integers(0, 5))
def test_sequences_weigh_equally(lengths, w, extra):
    reasoning, answer, ids = spans(lengths, padding=3)
    n = len(lengths) + extra
    weights = token_weights(reasoning, answer, ids, w, n)
    # float32 weights, summed over at most 59 tokens.
    np.testing.assert_allclose(by_sequence(weights, ids, len(lengths)), 1 / n, rtol=59 * 2**-24)
    assert (weights[~(reasoning | answer)] == 0).all()


@settings(deadline=None, max_examples=60)
@given(LENGTHS)
def test_blended_at_zero_is_label(lengths):
    masks = spans(lengths)
    n = len(lengths)
    assert torch.equal(token_weights(*masks, 0.0, n), token_weights(*masks, "label", n))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 500), st.integers(1, 30))
def test_blended_at_the_share_of_the_trace_is_cot(r, a):
    masks = spans([(r, a)])
    cot = token_weights(*masks, "cot", 1)
    assert torch.equal(token_weights(*masks, r / (r + a), 1), cot)
    # cot gives every supervised token the same weight, up to the last bit.
    supervised = cot[masks[0] | masks[1]]
    np.testing.assert_allclose(supervised, 1 / (r + a), rtol=2**-23)


def test_a_span_counts_by_its_mean():
    reasoning, answer, ids = spans([(8, 2), (0, 4)])
    weights = token_weights(reasoning, answer, ids, 0.25, 2)
    assert weights[reasoning].tolist() == [0.25 / 8 / 2] * 8
    assert weights[answer].tolist() == [0.75 / 2 / 2] * 2 + [1 / 4 / 2] * 4


def test_losses_of_micro_batches_and_ranks_sum_to_the_whole():
    p = problem(tokens=32)
    reasoning, answer, ids = spans([(7, 1), (0, 3), (9, 4)])
    assert len(ids) == 30
    p = {k: v[:30] if k in ("hidden", "targets") else v for k, v in p.items()}
    p["teacher"] = TeacherHidden(p["teacher"].hidden[:30], p["teacher"].head)

    def loss(rows):
        weights = token_weights(reasoning[rows], answer[rows], ids[rows], "blended", 3).double()
        teacher = TeacherHidden(p["teacher"].hidden[rows], p["teacher"].head)
        return distillation_loss(
            p["hidden"][rows], p["head"], weights,
            targets=p["targets"][rows], teacher=teacher, alpha=0.6,
        ).total  # fmt: skip

    whole = loss(torch.arange(30))
    pieces = sum(loss((ids == i).nonzero().squeeze(-1)) for i in range(3))
    assert relative(pieces, whole) < 1e-12
    for a, b in zip(gradients(pieces, p), gradients(whole, p), strict=True):
        assert relative(a, b) < 1e-12


def test_blended_loss_is_its_formula():
    r, a, w, alpha, temperature = 7, 2, 0.3, 0.6, 2.0
    reasoning, answer, ids = spans([(r, a)])
    p = problem(tokens=len(ids))
    ours = blended_loss(
        p["hidden"], p["head"], p["targets"], reasoning, answer, ids, 1,
        w=w, teacher=p["teacher"], alpha=alpha, temperature=temperature,
    ).total  # fmt: skip
    mean_r, mean_a = (
        naive(p | {"weights": mask.double() / mask.sum()}, alpha, "forward", temperature)
        for mask in (reasoning, answer)
    )
    # The weights are float32.
    assert relative(ours, w * mean_r + (1 - w) * mean_a) < 2**-23


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((*spans([(3, 1)]), "both", 1), "'both'"),
        ((*spans([(3, 1)]), 1.5, 1), "1.5"),
        ((*spans([(3, 1), (2, 2)]), "cot", 1), "2 sequences"),
        ((*spans([(3, 1), (2, 0)]), "cot", 2), r"\[1\] have no answer"),
        ((torch.ones(2, dtype=torch.bool),) * 2 + (torch.zeros(2).long(), "cot", 1), "both"),
        ((torch.ones(2), torch.ones(2), torch.zeros(2).long(), "cot", 1), "torch.bool"),
        ((torch.zeros(3).bool(), torch.ones(2).bool(), torch.zeros(2).long(), "cot", 1), "shapes"),
        (
            (torch.zeros(2).bool(), torch.ones(2).bool(), torch.tensor([0, -1]), "cot", 1),
            "padding",
        ),
    ],
)
def test_wrong_spans_are_refused(args, said):
    with pytest.raises(ValueError, match=said):
        token_weights(*args)
