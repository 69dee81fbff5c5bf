"""The chunked losses in float32 against their definition in float64, searched over all of it."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import TeacherHidden, distillation_loss, token_weights, top_k_logits
from tests.distill.test_losses import (
    DIVERGENCES,
    gradients,
    naive,
    naive_divergence,
    relative,
)


@st.composite
def batches(draw):
    """Rows of prompt | reasoning (or none) | answer | padding, and numbers for them.

    Logits have a standard deviation up to 4, and there are three sequences, four channels and four
    tokens at least: of larger logits, or where a single token or product of two happens to cancel,
    the products in float32 themselves are further off than the limit.
    """
    n, length, hidden = draw(st.integers(3, 6)), draw(st.integers(2, 20)), draw(st.integers(4, 40))
    # Small vocabularies are where a model is surest.
    vocab = draw(st.one_of(st.integers(4, 8), st.integers(4, 300)))
    ids = torch.full((n, length), -1)
    reasoning, answer = torch.zeros(2, n, length, dtype=torch.bool)
    for i in range(n):
        end = draw(st.integers(2, length))
        first = draw(st.integers(1, end - 1))
        last = draw(st.integers(first, end - 1))
        ids[i, :end] = i
        reasoning[i, first:last] = True
        answer[i, last:end] = True
    w = draw(st.one_of(st.sampled_from(["label", "cot", "blended"]), st.floats(0, 1)))
    weights = token_weights(reasoning, answer, ids, w, n + draw(st.integers(0, 2)))[:, 1:]
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=g)

    def head(width):
        return normal(vocab, width, scale=draw(st.floats(0.25, 4)) / width**0.5)

    return {
        "hidden": normal(n, length - 1, hidden),
        "head": head(hidden),
        "weights": weights,
        "targets": torch.randint(vocab, (n, length - 1), generator=g),
        "teacher": TeacherHidden(normal(n, length - 1, hidden + 1), head(hidden + 1)),
    }


OPTIONS = st.fixed_dictionaries(
    {
        "alpha": st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
        "divergence": st.sampled_from(DIVERGENCES),
        "temperature": st.floats(0.5, 8),
    }
)


def assert_float32_is_float64(p, options, chunk, reference):
    """Value and both gradients, relative to the largest entry of each."""
    p = p | {k: p[k].clone().requires_grad_() for k in ("hidden", "head")}
    exact = {k: v.double() for k, v in p.items() if k not in ("targets", "teacher")}
    exact |= {k: exact[k].detach().requires_grad_() for k in ("hidden", "head")}
    ours = distillation_loss(**p, **options, chunk=chunk).total
    theirs = reference(exact)
    assert ours.dtype == torch.float32
    assert relative(ours, theirs) < 1e-5
    for mine, plain in zip(gradients(ours, p), gradients(theirs, exact), strict=True):
        assert relative(mine, plain) < 1e-5


@settings(deadline=None, max_examples=200, derandomize=True)
@given(batches(), OPTIONS, st.integers(1, 64))
def test_float32_equals_the_definition_in_float64(p, options, chunk):
    teacher = TeacherHidden(p["teacher"].hidden.double(), p["teacher"].head.double())

    def reference(exact):
        flat = {k: exact[k].flatten(0, 1) for k in ("hidden", "weights")}
        flat |= {"head": exact["head"], "targets": p["targets"].flatten()}
        flat["teacher"] = TeacherHidden(teacher.hidden.flatten(0, 1), teacher.head)
        return naive(flat, **options)

    assert_float32_is_float64(p, options, chunk, reference)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(batches(), OPTIONS, st.integers(1, 64), st.data())
def test_float32_equals_the_definition_in_float64_with_a_tail(p, options, chunk, data):
    logits = p["teacher"].hidden @ p["teacher"].head.T
    temperature, vocab = options["temperature"], logits.shape[-1]
    kept = top_k_logits(logits, data.draw(st.integers(1, vocab - 1)), temperature)

    def buckets(log_p):
        rest = log_p.scatter(-1, kept.indices, -torch.inf).logsumexp(-1, keepdim=True)
        return torch.cat([log_p.gather(-1, kept.indices), rest], -1)

    def reference(exact):
        student = F.log_softmax(exact["hidden"] @ exact["head"].T / temperature, -1)
        teacher = F.log_softmax(logits.double() / temperature, -1)
        d = naive_divergence(buckets(teacher), buckets(student), options["divergence"])
        return temperature**2 * (exact["weights"] * d).sum()

    options = options | {"alpha": 1.0}
    assert_float32_is_float64(p | {"teacher": kept}, options, chunk, reference)
