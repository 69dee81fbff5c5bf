"""Likelihoods and replies against plain computation, evaluations against their own items."""

import builtins
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

import scaling_laws as sl
from distill.evaluate import _trace, evaluate, load_evaluation, reply_tokens
from distill.examples import Example
from distill.general import GENERAL_KL, general_kl, lm_eval_scores
from distill.generate import Reply, generate
from distill.likelihood import log_likelihoods
from distill.scores import proportion
from distill.task import Task

TASK = Task("toy", ("rate up", "rate up again", "other news"), "Name the event.")
WORDS = {"rate up": "lifts", "rate up again": "relifts", "other news": "paints"}
EXAMPLES = [
    Example(f"Bank {i % 7} {word} {i}", label, f"It {word}.", id=f"e{i}")
    for i in range(12)
    for label, word in WORDS.items()
]
SIZES = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 0,
    "bos_token_id": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [TASK.target(example, "cot").text for example in EXAMPLES]
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


def build(config, dtype=torch.float32, attention="sdpa", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.to(dtype).eval()


@pytest.fixture(scope="module")
def taught(tokenizer):
    """A model that has learnt to answer in both formats."""
    torch.set_num_threads(1)
    model = build(LlamaConfig(vocab_size=len(tokenizer), **SIZES)).train()
    batches = []
    for format in ("label", "cot"):
        encoded = [TASK.encode(example, tokenizer, format) for example in EXAMPLES]
        ids = torch.zeros(len(encoded), max(len(e.ids) for e in encoded), dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for row, e in enumerate(encoded):
            ids[row, : len(e.ids)] = torch.tensor(e.ids)
            labels[row, e.prompt.stop : len(e.ids)] = ids[row, e.prompt.stop : len(e.ids)]
        batches.append({"input_ids": ids, "labels": labels})
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(120):
        model(**batches[step % 2], use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


# --- likelihoods

MODELS = {
    "llama": LlamaConfig(vocab_size=64, initializer_range=0.3, **SIZES),
    "qwen3": Qwen3Config(vocab_size=64, initializer_range=0.3, head_dim=12, **SIZES),
    # Windows shorter than the sequence, and longer.
    "qwen2-window": Qwen2Config(
        vocab_size=64, initializer_range=0.3, use_sliding_window=True, sliding_window=6,
        max_window_layers=1, **SIZES,
    ),
    "mistral": MistralConfig(vocab_size=64, initializer_range=0.3, sliding_window=200, **SIZES),
    # Not one that can be pruned: scored continuation by continuation.
    "gpt2": GPT2Config(
        vocab_size=64, n_embd=48, n_head=4, n_layer=2, initializer_range=0.3, eos_token_id=0,
        bos_token_id=0,
    ),
}  # fmt: skip


def plain_log_likelihood(model, prompt, ids):
    logits = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0]
    log_p = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return log_p[torch.arange(len(ids)), torch.tensor(ids)].sum().item()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_likelihoods_are_those_of_one_pass_a_continuation(name, attention):
    rng = np.random.default_rng(5)
    model = build(MODELS[name], torch.float64, attention)
    prompts = [rng.integers(1, 64, n).tolist() for n in (3, 11, 1, 17)]
    # Few tokens: many share beginnings, one is the beginning of another.
    ends = [rng.integers(1, 5, n).tolist() for n in rng.integers(1, 6, 15)]
    ends += [[1], [1, 2], [1, 2, 3]]
    found = log_likelihoods(model, prompts, [ends, ends, ends[:4], ends], batch_size=3)
    with torch.no_grad():
        for prompt, own, values in zip(prompts, [ends, ends, ends[:4], ends], found, strict=True):
            expected = [plain_log_likelihood(model, prompt, end) for end in own]
            assert values.tolist() == pytest.approx(expected, abs=1e-5)


def test_likelihoods_in_half_precision_stay_near():
    rng = np.random.default_rng(5)
    prompts = [rng.integers(1, 64, n).tolist() for n in (3, 11)]
    ends = [rng.integers(1, 9, 3).tolist() for _ in range(6)]
    exact = build(MODELS["llama"], torch.float32)
    half = build(MODELS["llama"], torch.bfloat16)
    a = torch.stack(log_likelihoods(exact, prompts, [ends] * 2))
    b = torch.stack(log_likelihoods(half, prompts, [ends] * 2))
    # Eight bits of mantissa on logits of a few units, three tokens each.
    assert (a - b).abs().max() < 0.5
    assert (a - b).abs().max() > 0


def test_likelihoods_refuse_empty_inputs():
    model = build(MODELS["llama"])
    with pytest.raises(ValueError, match="prompt 1 or a continuation of it has no token"):
        log_likelihoods(model, [[1], [2]], [[[1]], [[]]])


# --- replies


@pytest.mark.parametrize("name", MODELS)
def test_greedy_replies_are_those_of_transformers(name):
    rng = np.random.default_rng(2)
    model = build(MODELS[name], torch.float64)

    prompts = [rng.integers(1, 64, n).tolist() for n in (3, 9, 1, 5, 14, 2)]

    class Ends:
        eos_token_id = 99

    # A token that some replies reach: rows that end early must not disturb the others.
    Ends.eos_token_id = generate(model, Ends, prompts, max_new_tokens=9)[1].ids[-1]
    replies = generate(model, Ends, prompts, max_new_tokens=20, batch_size=4)
    assert replies[1].finished
    assert len({len(reply.ids) for reply in replies}) > 1
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor([prompt])
        alone = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False,
            eos_token_id=Ends.eos_token_id, pad_token_id=0,
        )  # fmt: skip
        assert list(reply.ids) == alone[0, len(prompt) :].tolist()
        assert reply.finished == (reply.ids[-1] == Ends.eos_token_id)


def test_sampled_replies_follow_the_seed():
    model = build(MODELS["llama"])

    class Ends:
        eos_token_id = 0

    def drawn(seed):
        options = {"max_new_tokens": 8, "temperature": 1.0, "rng": seed}
        return [reply.ids for reply in generate(model, Ends, [[1], [2, 3]], **options)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_line_that_was_cut_off_is_no_answer(tokenizer):
    ids = tuple(tokenizer(" rate up", add_special_tokens=False)["input_ids"])
    assert TASK.parse(Reply(ids, True, 0.0).whole(tokenizer, "Event:")) == "rate up"
    # It may have been going to be "rate up again".
    assert TASK.parse(Reply(ids, False, 0.0).whole(tokenizer, "Event:")) is None
    more = tuple(tokenizer(" rate up\nand", add_special_tokens=False)["input_ids"])
    assert TASK.parse(Reply(more, False, 0.0).whole(tokenizer, "Event:")) == "rate up"


# --- evaluation


@pytest.mark.parametrize("format", ["label", "cot"])
def test_a_taught_model_is_scored_on_its_own_replies(taught, tokenizer, format):
    result = evaluate(taught, tokenizer, TASK, EXAMPLES, format, batch_size=8)
    items = result.items
    assert result.scores["task_accuracy"] > 0.9
    assert result.scores["task_unparsed"] == 0
    assert result.scores["task_nll"] < 0.5
    assert result.scores["task_accuracy"] == (items["gold"] == items["predicted"]).mean()
    assert result.scores["task_f1"] == pytest.approx(
        f1_score(items["gold"], items["predicted"], average="macro")
    )
    assert result.scores["task_nll"] == pytest.approx(items["nll"].mean())
    assert result.scores["tokens_out"] == items["tokens_out"].mean()
    assert result.scores["answer_s"] > 0
    assert result.confusion.to_numpy().sum() == len(EXAMPLES)
    p = items[[f"p({label})" for label in TASK.labels]].to_numpy()
    assert p.sum(axis=1) == pytest.approx(1)
    # A taught model writes in the tokens it was taught: then the trace is that of training.
    for example, row in zip(EXAMPLES, items.itertuples(), strict=True):
        if format == "cot" and row.reply == f" {example.rationale}\nEvent: {example.label}":
            encoded = TASK.encode(example, tokenizer, "cot")
            ids, prompt = list(encoded.ids), encoded.ids[encoded.prompt]
            reply = Reply(tuple(ids[len(prompt) :]), True, 0.0)
            assert _trace(reply, TASK, tokenizer, "cot") == ids[encoded.reasoning]


@pytest.mark.parametrize("format", ["label", "blended"])
def test_label_probabilities_are_renormalised_likelihoods(taught, tokenizer, format):
    few = EXAMPLES[:4]
    result = evaluate(taught, tokenizer, TASK, few, format)
    labels = TASK.label_ids(tokenizer)
    for example, row in zip(few, result.items.to_dict("records"), strict=True):
        context = TASK.prompt_ids(example.text, tokenizer, format)
        if format == "blended":
            reasoning, marker, _ = row["reply"].partition("\nEvent:")
            context += tokenizer(reasoning + marker, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            sums = [plain_log_likelihood(taught, context, ids) for ids in labels]
        p = np.exp(sums) / np.exp(sums).sum()
        found = [row[f"p({label})"] for label in TASK.labels]
        assert found == pytest.approx(p, abs=1e-5)
        assert row["nll"] == pytest.approx(-np.log(p[TASK.labels.index(example.label)]), abs=1e-4)


def test_the_most_likely_label_is_the_answer_where_few_replies_are_written(taught, tokenizer):
    result = evaluate(taught, tokenizer, TASK, EXAMPLES, "label", replies=5)
    p = result.items[[f"p({label})" for label in TASK.labels]].to_numpy()
    assert list(result.items["predicted"]) == [TASK.labels[c] for c in p.argmax(axis=1)]
    assert result.scores["task_f1_n"] == len(EXAMPLES)
    assert result.scores["task_unparsed_n"] == 5
    assert result.items["reply"].notna().sum() == 5
    none = evaluate(taught, tokenizer, TASK, EXAMPLES, "label", replies=0)
    assert "task_unparsed" not in none.scores
    assert "tokens_out" not in none.scores
    assert none.scores["task_f1"] == result.scores["task_f1"]


@pytest.mark.parametrize("format", ["label", "cot"])
def test_an_untrained_model_is_unparsed_and_still_has_a_distribution(tokenizer, format):
    model = build(LlamaConfig(vocab_size=len(tokenizer), **SIZES))
    result = evaluate(model, tokenizer, TASK, EXAMPLES[:9], format, max_new_tokens=12)
    assert result.scores["task_unparsed"] == 1
    assert result.scores["task_f1"] == 0
    assert result.scores["task_f1_se"] > 0
    assert result.items["predicted"].isna().all()
    assert result.confusion["(unparsed)"].sum() == 9
    # Little is known: about the prior over label lengths, far from 0 and 1.
    assert 0.2 < result.scores["task_nll"] < 6


def test_the_trace_ends_at_the_first_marker_or_gets_one(tokenizer):
    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def trace(text, finished):
        end = [tokenizer.eos_token_id] if finished else []
        return _trace(Reply((*ids(text), *end), finished, 0.0), TASK, tokenizer, "cot")

    assert tokenizer.decode(trace(" Up.\nEvent: rate up\nEvent: b", True)) == " Up.\nEvent:"
    assert tokenizer.decode(trace(" It goes on", False)) == " It goes on\nEvent:"
    assert tokenizer.decode(trace("", True)) == "\nEvent:"


def test_evaluations_are_stored_by_hash_and_read_back(taught, tokenizer, tmp_path):
    result = evaluate(taught, tokenizer, TASK, EXAMPLES[:6], "label", replies=2)
    path, sha256 = result.save(tmp_path / "items")
    assert path.name == f"evaluation-{sha256[:16]}.parquet"
    again = load_evaluation(path, sha256)
    # The clock is left out, so that the same answers have the same name.
    assert again.scores == {k: v for k, v in result.scores.items() if k != "answer_s"}
    assert evaluate(taught, tokenizer, TASK, EXAMPLES[:6], "label", replies=2).save(
        tmp_path / "again"
    ) == (tmp_path / "again" / path.name, sha256)
    assert again.settings == result.settings
    pd.testing.assert_frame_equal(again.confusion, result.confusion, check_dtype=False)
    pd.testing.assert_frame_equal(again.items, result.items, check_dtype=False)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="it was altered since"):
        load_evaluation(path, sha256)


def test_scores_are_fields_of_a_run(taught, tokenizer):
    result = evaluate(taught, tokenizer, TASK, EXAMPLES[:6], "label")
    run = sl.Run.model_validate({"kept": 0.5, **result.scores})
    assert run.task_f1 == result.scores["task_f1"]
    assert run.task_unparsed_n == 6
    assert run.tokens_out == result.scores["tokens_out"]


def test_evaluate_refuses_what_it_cannot_do(taught, tokenizer):
    with pytest.raises(ValueError, match="no examples"):
        evaluate(taught, tokenizer, TASK, [], "label")
    with pytest.raises(ValueError, match="label 'x' is not a label of the task"):
        evaluate(taught, tokenizer, TASK, [Example("a", "x", id="1")], "label")
    with pytest.raises(ValueError, match="needs a reply to every example"):
        evaluate(taught, tokenizer, TASK, EXAMPLES, "cot", replies=3)


# --- general knowledge


def test_general_kl_is_zero_for_the_base_and_by_hand_for_another(taught, tokenizer):
    other = build(LlamaConfig(vocab_size=len(tokenizer), **SIZES))
    texts = ["Bank lifts rates", "It paints"]
    same = general_kl(taught, taught, tokenizer, texts)
    assert same["general_kl"] == pytest.approx(0, abs=1e-6)
    found = general_kl(other, taught, tokenizer, texts)
    expected = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            p = taught(input_ids=ids).logits[0, :-1].log_softmax(-1)
            q = other(input_ids=ids).logits[0, :-1].log_softmax(-1)
            expected.append((p.exp() * (p - q)).sum(-1).mean().item())
    assert found[GENERAL_KL.name] == pytest.approx(np.mean(expected), rel=1e-5)
    assert found[GENERAL_KL.se] == pytest.approx(np.std(expected, ddof=1) / np.sqrt(2), rel=1e-4)
    assert found[GENERAL_KL.n] == 2
    with pytest.raises(ValueError, match="text 0 has 0 tokens"):
        general_kl(other, taught, tokenizer, [""])


def test_the_harness_is_asked_for_by_the_name_of_its_extra(taught, tokenizer, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "lm_eval":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"scaling-laws\[eval\]"):
        lm_eval_scores(taught, tokenizer, ["mmlu"])


@pytest.mark.filterwarnings("ignore")  # of the harness and what it brings
def test_the_harness_reads_local_task_files(taught, tokenizer, tmp_path):
    pytest.importorskip("lm_eval")
    rows = [
        {"question": f"Event {i}", "choices": ["up", "down"], "answer": i % 2} for i in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny.yaml").write_text(
        f"""
task: tiny_quiz
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "rows.jsonl"}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    )
    options = {"include_path": tmp_path, "defaults": False}
    found = lm_eval_scores(taught, tokenizer, ["tiny_quiz"], **options)
    assert found["tiny_quiz_n"] == 8
    right = round(8 * found["tiny_quiz"])
    assert (found["tiny_quiz"], found["tiny_quiz_se"]) == proportion(right, 8)
    with pytest.raises(ValueError, match="tiny_quiz has no metric exact_match; it has acc"):
        lm_eval_scores(taught, tokenizer, ["tiny_quiz"], metric="exact_match", **options)


def test_a_reply_may_be_as_long_as_what_is_learnt(tokenizer):
    """Reasoning beyond the usual limit would be cut off before every answer."""
    long = Example("Bank", "rate up", "It lifts and lifts. " * 200)
    learnt = TASK.encode(long, tokenizer, "cot")
    written = len(learnt.ids) - learnt.prompt.stop
    assert written > 300
    assert reply_tokens(TASK, [*EXAMPLES, long], tokenizer, "blended") >= written
    assert reply_tokens(TASK, EXAMPLES, tokenizer, "cot") == 256
    longest = max(map(len, TASK.label_ids(tokenizer)))
    assert longest < reply_tokens(TASK, [long], tokenizer, "label") < longest + 10
