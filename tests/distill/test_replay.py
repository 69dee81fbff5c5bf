"""Texts that a model writes itself: how they begin, and what of them is learnt."""

import numpy as np
import pytest

from distill.config import Replay
from distill.models import load_tokenizer
from distill.replay import beginnings, prompts_identity, written_texts

PROMPTS = ["Explain rain.", "Write a poem.", "What is a map?"]


@pytest.fixture
def tokenizer(ground):
    return load_tokenizer(ground / "base")


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(["", *PROMPTS, ""]))
    return Replay(texts=8, tokens=6, prompts=str(path))


def test_without_prompts_a_text_begins_with_a_word_at_random(tokenizer):
    first = beginnings(tokenizer, Replay(texts=50), np.random.default_rng(0))
    assert len(first) == 50
    assert {len(ids) for ids in first} == {1}
    assert len({ids[0] for ids in first}) > 25
    assert not {ids[0] for ids in first} & set(tokenizer.all_special_ids)


def test_prompts_are_asked_in_turn(tokenizer, asked):
    first = beginnings(tokenizer, asked, np.random.default_rng(0))
    read = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in first]
    assert len(read) == 8
    assert sorted(set(read)) == sorted(PROMPTS)
    assert all(read.count(prompt) >= 2 for prompt in PROMPTS)


def test_a_tokenizer_with_a_chat_format_asks_in_it(tokenizer, asked):
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}<reply>{% endif %}"
    )
    (first, *_) = beginnings(tokenizer, asked, np.random.default_rng(0))
    read = tokenizer.decode(first)
    assert read.startswith("<user>")
    assert read.endswith("<reply>")


def test_other_prompts_are_other_texts_and_the_place_of_the_file_is_not(tmp_path, asked):
    same = tmp_path / "elsewhere" / "prompts.txt"
    same.parent.mkdir()
    same.write_text("\n".join(PROMPTS))
    other = tmp_path / "other.txt"
    other.write_text("\n".join(PROMPTS[:2]))
    found = [prompts_identity(Replay(prompts=p)) for p in (asked.prompts, str(same), str(other))]
    assert found[0] == found[1] != found[2]
    assert prompts_identity(Replay()) == {}


def test_a_prompt_is_no_target():
    (text,) = written_texts({"texts": [[5, 6, 7, 8]], "given": [3]})
    assert text.answer == slice(3, 4)
    (old,) = written_texts({"texts": [[5, 6, 7, 8]]})
    assert old.answer == slice(1, 4)


def test_a_file_without_prompts_is_refused(tokenizer, tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="holds no prompt"):
        beginnings(tokenizer, Replay(prompts=str(path)), np.random.default_rng(0))


def test_a_text_begins_as_the_tokenizer_begins_one(tokenizer, monkeypatch):
    """A model that was trained with a beginning of the sequence writes little without it."""
    plain = type(tokenizer).__call__

    def begun(self, text, *, add_special_tokens=True):
        ids = plain(self, text, add_special_tokens=False)["input_ids"]
        return {"input_ids": [0, *ids] if add_special_tokens else ids}

    without = beginnings(tokenizer, Replay(texts=50), np.random.default_rng(0))
    monkeypatch.setattr(type(tokenizer), "__call__", begun)
    first = beginnings(tokenizer, Replay(texts=50), np.random.default_rng(0))
    assert first == [[0, *ids] for ids in without]
