"""Traces from a model, a file and an API: one way of reading, every reply accounted for."""

import json

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import distill.traces
from distill.examples import Example
from distill.generate import Reply
from distill.load import load_examples
from distill.task import Task
from distill.traces import collect_traces, instruction_for, read_traces, write_traces

TASK = Task("toy", ("up", "down", "other"), "Name the event.")
EXAMPLES = [
    Example("Bank lifts rates", "up", id="a"),
    Example("Bank cuts rates", "down", id="b"),
    Example("Bank paints door", "other", id="c"),
]
RIGHT = "Reason: Rates rise.\nEvent: up"


def test_every_reply_is_accounted_for():
    examples = [*EXAMPLES, Example("Bank opens", "other", id="d"), Example("x", "other", id="e")]
    replies = [RIGHT, "Reason: Hm.\nEvent: up", "Reason: no idea", "Event: other", None]
    kept = collect_traces(TASK, examples, replies)
    assert kept.counts == {
        "kept": 2, "wrong": 0, "unparsed": 1, "no reasoning": 1, "no reply": 1, "kept_wrong": 1,
    }  # fmt: skip
    assert list(kept.frame["outcome"]) == ["kept", "kept", "unparsed", "no reasoning", "no reply"]
    assert list(kept.frame["id"]) == ["a", "b", "c", "d", "e"]
    dropped = collect_traces(TASK, examples, replies, wrong="drop")
    assert dropped.counts["kept"] == dropped.counts["wrong"] == 1
    assert dropped.counts["kept_wrong"] == 0
    assert dropped.examples == [Example("Bank lifts rates", "up", "Rates rise.", id="a")]


def test_a_kept_wrong_answer_is_the_label_of_its_trace():
    kept = collect_traces(TASK, EXAMPLES[1:2], ["Reason: Hm.\nEvent: up"])
    assert kept.examples[0].label == "up"
    assert kept.examples[0].rationale == "Hm."
    assert kept.frame["gold"][0] == "down"


def test_without_gold_labels_nothing_is_wrong():
    unlabelled = [Example("Bank lifts rates", "", id="a")]
    kept = collect_traces(TASK, unlabelled, [RIGHT], wrong="drop")
    assert kept.counts["kept"] == 1
    assert kept.counts["kept_wrong"] == 0
    assert kept.examples[0].label == "up"


@pytest.mark.parametrize(
    ("reply", "rationale"),
    [
        (RIGHT, "Rates rise."),
        ("Rates rise.\nEvent: up", "Rates rise."),
        ("<think>\nRates rise.\n</think>\n\nEvent: up", "Rates rise."),
        ("<think>Rates rise.</think>\nReason: short.\nEvent: up", "Rates rise."),
        # What the teacher weighs while it thinks is no answer.
        ("<think>Down?\nEvent: down\nNo.</think>\nEvent: up", "Down?\n Event: down\nNo."),
        ("Reason: First.\nSecond.\nEvent: up", "First.\nSecond."),
    ],
)
def test_reasoning_is_read_from_any_form_and_can_be_learnt(reply, rationale):
    found = collect_traces(TASK, EXAMPLES[:1], [reply]).examples[0]
    assert found.rationale == rationale
    assert TASK.parse(TASK.target(found, "cot").text) == "up"


def test_traces_are_saved_for_the_loader(tmp_path):
    traces = collect_traces(TASK, EXAMPLES, [RIGHT, "Reason: r\nEvent: down", None])
    sha256 = traces.save(tmp_path / "traces.jsonl")
    assert len(sha256) == 64
    assert load_examples(tmp_path / "traces.jsonl", "text", "label").examples == traces.examples


def test_collect_traces_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="3 examples but 1 replies"):
        collect_traces(TASK, EXAMPLES, [RIGHT])
    with pytest.raises(ValueError, match="wrong = 'fix' is not 'keep' or 'drop'"):
        collect_traces(TASK, EXAMPLES[:1], [RIGHT], wrong="fix")
    with pytest.raises(ValueError, match=r"Labels \['sideways'\] are not labels of the task"):
        collect_traces(TASK, [Example("t", "sideways")], [RIGHT])


# --- files


def write_rows(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_files_of_replies_are_matched_by_id(tmp_path, suffix):
    rows = [{"id": "c", "reply": "Reason: r\nEvent: other"}, {"id": "a", "reply": RIGHT}]
    traces = read_traces(write_rows(tmp_path / f"t{suffix}", rows), TASK, EXAMPLES)
    assert [e.id for e in traces.examples] == ["a", "c"]
    assert traces.counts["no reply"] == 1


def test_files_of_reasons_and_labels_are_matched_by_text(tmp_path):
    rows = [{"text": "Bank lifts rates", "rationale": "Rates rise.", "label": "up"},
            {"text": "Bank cuts rates", "rationale": "r", "label": "sideways"}]  # fmt: skip
    path = write_rows(tmp_path / "t.csv", rows)
    traces = read_traces(path, TASK, EXAMPLES)
    assert traces.examples == [Example("Bank lifts rates", "up", "Rates rise.", id="a")]
    assert traces.counts["unparsed"] == 1
    alone = read_traces(path, TASK)
    assert [(e.text, e.label) for e in alone.examples] == [("Bank lifts rates", "up")]
    assert alone.frame["gold"].isna().all()


def completion(name, message):
    body = {"choices": [{"message": message}]}
    return {"custom_id": name, "response": {"status_code": 200, "body": body}}


def test_batches_of_chat_completions_are_read(tmp_path):
    rows = [
        completion("a", {"role": "assistant", "content": RIGHT}),
        completion("b", {"content": "Event: down", "reasoning_content": "Cuts."}),
        {"custom_id": "c", "response": {"status_code": 500, "body": {"error": "overloaded"}}},
    ]
    traces = read_traces(write_rows(tmp_path / "batch.jsonl", rows), TASK, EXAMPLES)
    assert [(e.id, e.rationale) for e in traces.examples] == [("a", "Rates rise."), ("b", "Cuts.")]
    assert traces.counts["no reply"] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "z", "reply": RIGHT}], r"row 1 belongs to no example: {'id': 'z'}"),
        ([{"id": "a", "reply": RIGHT}] * 2, "row 2 repeats an example"),
        (
            [{"id": "a", "text": EXAMPLES[1].text, "reply": RIGHT}],
            "row 1 has the id 'a' of one example and the text of another: 'Bank cuts rates'",
        ),
        ([{"id": "a", "rationale": "r"}], r"row 1 has \['id', 'rationale'\]; it needs reply, or"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_traces(write_rows(tmp_path / "t.jsonl", rows), TASK, EXAMPLES)


def test_rows_without_text_need_examples(tmp_path):
    path = write_rows(tmp_path / "t.jsonl", [{"id": "a", "reply": RIGHT}])
    with pytest.raises(ValueError, match=r"t.jsonl row 1 has no text; add a column text"):
        read_traces(path, TASK)


# --- a model


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes as tokens."""
    alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


@pytest.fixture(scope="module")
def teacher(tokenizer):
    """A model that has learnt three traces by heart."""
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    said = [("up", "It rises."), ("up", "It falls."), ("other", "It is a door.")]
    encoded = [
        TASK.encode(Example(e.text, label, why), tokenizer, "cot")
        for e, (label, why) in zip(EXAMPLES, said, strict=True)
    ]
    ids = torch.zeros(len(encoded), max(len(e.ids) for e in encoded), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, e in enumerate(encoded):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        labels[row, e.prompt.stop : len(e.ids)] = ids[row, e.prompt.stop : len(e.ids)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(100):
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_a_teacher_writes_traces(teacher, tokenizer):
    progress = []
    traces = write_traces(
        teacher, tokenizer, TASK, EXAMPLES, max_new_tokens=60, batch_size=2,
        progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert [(e.id, e.label, e.rationale) for e in traces.examples] == [
        ("a", "up", "It rises."), ("b", "up", "It falls."), ("c", "other", "It is a door."),
    ]  # fmt: skip
    assert traces.counts["kept_wrong"] == 1
    assert progress == [(2, 3), (3, 3)]
    right = write_traces(teacher, tokenizer, TASK, EXAMPLES, max_new_tokens=60, wrong="drop")
    assert [e.id for e in right.examples] == ["a", "c"]
    short = write_traces(teacher, tokenizer, TASK, EXAMPLES, max_new_tokens=12)
    assert short.counts["unparsed"] == 3


def test_interrupted_traces_go_on_where_they_stopped(teacher, tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "replies.jsonl"
    options = {"path": path, "max_new_tokens": 60, "batch_size": 1}

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_traces(teacher, tokenizer, TASK, EXAMPLES, progress=stop, **options)
    with path.open("a") as file:
        file.write('{"key": "torn')
    written = []
    plain = distill.traces.generate

    def counted(model, tokenizer, prompts, **kwargs):
        written.append(len(prompts))
        return plain(model, tokenizer, prompts, **kwargs)

    monkeypatch.setattr(distill.traces, "generate", counted)
    again = write_traces(teacher, tokenizer, TASK, EXAMPLES, **options)
    assert written == [1]
    assert [e.rationale for e in again.examples] == ["It rises.", "It falls.", "It is a door."]
    more = [*EXAMPLES, EXAMPLES[0]]
    assert write_traces(teacher, tokenizer, TASK, more, **options).counts["kept"] == 4
    assert written == [1, 0]
    with pytest.raises(ValueError, match="replies of another teacher or under other settings"):
        write_traces(teacher, tokenizer, TASK, EXAMPLES, **{**options, "max_new_tokens": 61})


def test_an_instruction_for_a_teacher_not_trained_on_the_task(teacher, tokenizer, monkeypatch):
    asked = []

    def answered(model, tokenizer, prompts, *, done, **kwargs):
        asked.extend(tokenizer.decode(prompt) for prompt in prompts)
        ids = tuple(tokenizer(" r\nEvent: up", add_special_tokens=False)["input_ids"])
        done(list(range(len(prompts))), [Reply(ids, True, 0.0)] * len(prompts))

    monkeypatch.setattr(distill.traces, "generate", answered)
    instruction = instruction_for(TASK)
    traces = write_traces(teacher, tokenizer, TASK, EXAMPLES[:1], instruction=instruction)
    assert asked == [f"{instruction}\nBank lifts rates\nReason:"]
    assert traces.examples[0].rationale == "r"
    assert all(f"- {label}" in instruction for label in TASK.labels)


def test_replies_with_other_ends_of_lines_are_read_again(teacher, tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "replies.jsonl"
    said = "Reason: one\u2028two\x85three.\nEvent: up"

    def reply(model, tokenizer, prompts, *, done, **options):
        monkeypatch.setattr(Reply, "whole", lambda self, tokenizer, lead: said)
        done(list(range(len(prompts))), [Reply((), True, 0.0)] * len(prompts))

    monkeypatch.setattr(distill.traces, "generate", reply)
    first = write_traces(teacher, tokenizer, TASK, EXAMPLES, path=path)
    monkeypatch.setattr(distill.traces, "generate", lambda *a, **k: None)
    again = write_traces(teacher, tokenizer, TASK, EXAMPLES, path=path)
    assert again.examples == first.examples
    assert again.examples[0].rationale == "one\u2028two\x85three."


def test_thinking_whose_opening_the_template_wrote_is_no_answer():
    """The first answer is a thought; without its tag the reply would have two and be none."""
    reply = "It may be\nEvent: up\nor not.\n</think>\n\nEvent: down"
    (example,) = collect_traces(TASK, EXAMPLES[1:2], [reply]).examples
    assert (example.label, example.rationale) == ("down", "It may be\n Event: up\nor not.")


def test_rows_of_examples_that_are_known_and_not_wanted_are_passed_over(tmp_path):
    """Such as those of the whole file, of which a part is the pool."""
    copy = Example(EXAMPLES[0].text, "down", id="copy")
    others = [copy, Example("Bank opens", "other", id="d")]
    by_id = [{"id": name, "text": e.text, "reply": RIGHT}
             for name, e in [("copy", copy), ("d", others[1]), ("a", EXAMPLES[0])]]  # fmt: skip
    by_text = [{"text": row["text"], "reply": row["reply"]} for row in by_id]
    for rows in (by_id, by_text, by_id[::-1]):
        path = write_rows(tmp_path / "t.jsonl", rows)
        traces = read_traces(path, TASK, EXAMPLES, others=others)
        assert [(e.id, e.label) for e in traces.examples] == [("a", "up")]
        assert (traces.passed, traces.counts["no reply"]) == (2, 2)
    with pytest.raises(ValueError, match="row 2 belongs to no example"):
        read_traces(write_rows(tmp_path / "t.jsonl", by_id), TASK, EXAMPLES, others=others[:1])
