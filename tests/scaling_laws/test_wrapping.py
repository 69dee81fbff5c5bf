"""Labelled sentences on lines: one width and one indent, whoever prints them."""

from hypothesis import given
from hypothesis import strategies as st

from scaling_laws.cost import render
from scaling_laws.runs import Note
from scaling_laws.show import Line, _labelled
from scaling_laws.wrapping import WIDTH, indented, note_lines, note_list, wrapped

WORDS = st.lists(st.text("abc-/.", min_size=1, max_size=120), min_size=1, max_size=40)


@given(WORDS, st.integers(2, 20))
def test_no_word_is_lost_or_broken_and_only_whole_words_overrun(words, room):
    lines = wrapped("x", " ".join(words), room)
    assert lines[0].startswith("  x")
    assert all(line.startswith(" " * (room + 2)) for line in lines[1:])
    text = [line[room + 2 :] for line in lines]
    assert " ".join(text).split() == words
    assert all(len(line) <= WIDTH or " " not in t for line, t in zip(lines, text, strict=True))


def test_fits_and_costs_break_a_sentence_alike():
    assert render.wrapped is wrapped
    long = "word " * 60
    assert _labelled(Line("rows", long)) == wrapped("rows", long)


def test_notes_are_sentences_and_an_escaped_list():
    notes = (Note("a", "info", "x < y."), Note("b", "warning", "word " * 40))
    assert note_lines(notes) == [*wrapped("info", "x < y."), *wrapped("warning", "word " * 40)]
    page = note_list(notes)
    assert page.startswith("<ul><li>info: x &lt; y.</li><li>warning: word ")
    assert page.endswith("</li></ul>")
    assert note_list(()) == ""


def test_a_table_is_indented_and_ends_without_spaces():
    assert indented("a  b  \n1  2") == ["  a  b", "  1  2"]
