import pytest

from distill.examples import Example
from distill.task import Task, chat_text
from distill.tiny import toy_tokenizer

TASK = Task(name="toy", labels=("rate up", "rate down", "other"), instruction="Name the event.")
EXAMPLE = Example("Bank lifts rates", "rate up", rationale="Rates go up.", id="e1")


class Words:
    """A tokenizer of words and the spaces before them; `chat_template` is optional."""

    eos_token_id = 0

    def __init__(self, chat_template=None):
        self.chat_template = chat_template
        self.vocabulary = ["<eos>", "<bos>"]

    def __call__(self, text, add_special_tokens=True):
        pieces = []
        for word in text.replace("\n", " \n").split(" "):
            pieces.append(word if not pieces else " " + word)
        for piece in pieces:
            if piece and piece not in self.vocabulary:
                self.vocabulary.append(piece)
        ids = [self.vocabulary.index(piece) for piece in pieces if piece]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}

    def decode(self, ids):
        return "".join(self.vocabulary[i] for i in ids).replace(" \n", "\n")

    def apply_chat_template(self, turns, *, tokenize, add_generation_prompt, **options):
        assert not tokenize
        assert add_generation_prompt
        assert options == {"enable_thinking": False}
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns) + "<assistant>"


def test_prompt_without_a_chat_template_is_plain_text():
    assert TASK.prompt("Bank lifts rates", Words()) == "Name the event.\nBank lifts rates\n"
    assert TASK.prompt("Bank", Words(), "label") == "Name the event.\nBank\nEvent:"
    assert TASK.prompt("Bank", Words(), "blended") == "Name the event.\nBank\nReason:"


def test_prompt_uses_the_chat_template_and_the_role_of_the_instruction():
    chat = Words(chat_template="...")
    assert TASK.prompt("Bank", chat) == "<system>Name the event.<user>Bank<assistant>"
    as_user = Task("toy", ("a", "b"), "Name the event.", instruction_role="user")
    assert as_user.prompt("Bank", chat, "cot") == "<user>Name the event.\nBank<assistant>Reason:"


def test_target_of_a_label_is_the_answer_alone():
    target = TASK.target(EXAMPLE, "label")
    assert target.text == "Event: rate up"
    assert target.lead == "Event:"
    assert target.reasoning is None
    assert target.text[slice(*target.answer)] == " rate up"


@pytest.mark.parametrize("format", ["cot", "blended"])
def test_target_with_reasoning_has_two_spans_that_cover_all_but_the_lead(format):
    target = TASK.target(EXAMPLE, format)
    assert target.text == "Reason: Rates go up.\nEvent: rate up"
    assert target.text[slice(*target.reasoning)] == " Rates go up.\nEvent:"
    assert target.text[slice(*target.answer)] == " rate up"
    assert target.lead + " Rates go up.\nEvent:" + " rate up" == target.text


@pytest.mark.parametrize("format", ["label", "cot", "blended"])
@pytest.mark.parametrize("chat", [None, "..."])
def test_encoded_spans_cover_the_sequence_and_decode_to_prompt_and_target(format, chat):
    tokenizer = Words(chat)
    encoded = TASK.encode(EXAMPLE, tokenizer, format)
    target = TASK.target(EXAMPLE, format)
    assert encoded.prompt.start == 0
    assert encoded.prompt.stop == encoded.reasoning.start
    assert encoded.reasoning.stop == encoded.answer.start
    assert encoded.answer.stop == len(encoded.ids)
    prompt = tokenizer.decode(encoded.ids[encoded.prompt]).removeprefix("<bos>")
    assert prompt == TASK.prompt(EXAMPLE.text, tokenizer, format)
    assert (encoded.ids[0] == 1) == (chat is None), "the template writes its own first token"
    reply = tokenizer.decode(encoded.ids[encoded.prompt.stop :])
    assert target.lead + reply == target.text + "<eos>"
    assert (encoded.reasoning.start == encoded.reasoning.stop) == (format == "label")
    *answer, eos = encoded.ids[encoded.answer]
    assert answer == TASK.label_ids(tokenizer)[TASK.labels.index(EXAMPLE.label)]
    assert eos == tokenizer.eos_token_id


def test_labels_are_scored_with_the_end_of_the_sequence_where_one_begins_another():
    tokenizer = Words()
    apart = Task("apart", ("rate up", "rate down"), "Name it.").label_ids(tokenizer)
    assert all(ids[-1] != tokenizer.eos_token_id for ids in apart)
    nested = Task("nested", ("rate", "rate down"), "Name it.").label_ids(tokenizer)
    assert all(ids[-1] == tokenizer.eos_token_id for ids in nested)


def test_cot_and_blended_differ_in_their_loss_only():
    tokenizer = Words()
    assert TASK.encode(EXAMPLE, tokenizer, "cot") == TASK.encode(EXAMPLE, tokenizer, "blended")


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Event: rate up", "rate up"),
        ("Event:  rate up \n", "rate up"),
        ("Reason: Rates fall.\nEvent: rate down", "rate down"),
        ("Reason: x\nEvent: rate down\nEvent: rate down", "rate down"),
        ("rate up", None),
        ("Event:", None),
        ("Event: rate", None),
        ("Event: rate up.", None),
        ("Event: Rate Up", None),
        ("Event: rate up or rate down", None),
        ("Event: rate up\nEvent: rate down", None),
        ("Reason: the Event: rate up", None),
        ("Event:\nrate up", None),
        ("", None),
    ],
)
def test_an_answer_counts_only_when_it_is_exactly_a_label(reply, label):
    assert TASK.parse(reply) == label


@pytest.mark.parametrize("format", ["label", "cot", "blended"])
@pytest.mark.parametrize("label", TASK.labels)
def test_every_target_parses_to_its_label(label, format):
    example = Example("text", label, rationale="Some reasons.")
    assert TASK.parse(TASK.target(example, format).text) == label


def test_requests_that_cannot_be_met_say_what_is_missing():
    with pytest.raises(ValueError, match="'e2' has no rationale, which format 'cot' needs"):
        TASK.target(Example("x", "other", id="e2"), "cot")
    with pytest.raises(ValueError, match="'e3': label 'rates' is not a label of the task 'toy'"):
        TASK.target(Example("x", "rates", id="e3"), "label")
    with pytest.raises(ValueError, match="format = 'text' is not one of label, cot, blended"):
        TASK.lead("text")


@pytest.mark.parametrize("labels", [("a", "a"), ("a", " b"), ("a", ""), ("a", "b\nc"), ("a",)])
def test_labels_that_cannot_be_read_back_are_refused(labels):
    with pytest.raises(ValueError, match="two or more distinct single lines"):
        Task(name="toy", labels=labels, instruction="Name the event.")


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match="instruction_role = 'assistant'"):
        Task("toy", ("a", "b"), "Name it.", instruction_role="assistant")


def test_reasoning_with_a_line_like_an_answer_still_parses_to_its_label():
    example = Example("text", "other", rationale="It looks so.\nEvent: rate up\nBut no.")
    text = TASK.target(example, "cot").text
    assert text == "Reason: It looks so.\n Event: rate up\nBut no.\nEvent: other"
    assert TASK.parse(text) == "other"


@pytest.mark.parametrize("named", [False, True])
def test_a_template_that_writes_the_date_asks_the_same_every_day(named):
    tokenizer = toy_tokenizer(["Bank lifts rates"])
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ '\\n' }}"
        "{{ date_string if date_string is defined else strftime_now('%d %B %Y, %H:%M:%S.%f') }}"
    )
    tokenizer.chat_template = {"default": template} if named else template
    expected = "<system>Name the event.<user>Bank\n26 Jul 2024Event:"
    assert TASK.prompt("Bank", tokenizer, "label") == expected
    tokenizer.chat_template = "\n  {% for m in messages %}{{ m.content }}|{% endfor %}"
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    tokenizer.chat_template += "{% if false %}{{ strftime_now('%d') }}{% endif %}"
    assert chat_text(tokenizer, [("user", "x")]) == plain


@pytest.mark.parametrize(
    "system", ["{{ raise_exception('roles must alternate') }}", "{# says nothing #}"]
)
def test_a_template_without_a_system_turn_has_the_instruction_in_the_users(system):
    tokenizer = toy_tokenizer(["Bank lifts rates"])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}" + system
        + "{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"
    )  # fmt: skip
    assert TASK.prompt("Bank", tokenizer, "cot") == "<user>Name the event.\nBankReason:"
