import pandas as pd
import pytest

from distill.config import Data
from distill.data import load_data
from distill.examples import Example, drop_near_duplicates
from distill.headlines import generate
from distill.load import load_examples

HEADLINES = generate(400, rng=0)
TEXTS = [example.text for example in HEADLINES]
LABELS = [example.label for example in HEADLINES]


def write(frame, path):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


def frame(text="a", label="b", **columns):
    return pd.DataFrame({text: TEXTS, label: LABELS, **columns})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_are_detected_by_what_they_hold_and_reported(tmp_path, suffix):
    number = range(len(TEXTS))
    path = write(frame(text="c1", label="c2", c3=number), tmp_path / f"mix{suffix}")
    loaded = load_examples(path)
    assert loaded.columns == {"text": "c1", "label": "c2"}
    assert loaded.notes == (
        f"mix{suffix}: text from column 'c1'.",
        f"mix{suffix}: label from column 'c2'.",
    )
    assert [(example.text, example.label) for example in loaded.examples] == list(
        zip(TEXTS, LABELS, strict=True)
    )
    assert loaded.examples[0].id == "1"
    counts = pd.Series(LABELS).value_counts()
    assert list(counts[list(loaded.labels)]) == sorted(counts, reverse=True)
    assert set(loaded.labels) == set(LABELS)


def test_a_usual_name_settles_which_of_several_columns_is_meant(tmp_path):
    mood = ["good", "bad"] * (len(TEXTS) // 2)
    summary = [f"A longer summary of the news: {text}" for text in TEXTS]
    data = frame(text="Headline", label="category", sentiment=mood, summary=summary)
    loaded = load_examples(write(data, tmp_path / "mix.parquet"))
    assert loaded.columns == {"text": "Headline", "label": "category"}


def test_columns_that_cannot_be_told_apart_are_named(tmp_path):
    mood = ["good", "bad"] * (len(TEXTS) // 2)
    path = write(frame(text="headline", label="kind", mood=mood), tmp_path / "mix.csv")
    with pytest.raises(ValueError, match=r"\['kind', 'mood'\] all look like a label column") as e:
        load_examples(path)
    assert "its columns are 'headline', 'kind', 'mood'" in str(e.value)
    assert 'label="..."' in str(e.value)
    assert load_examples(path, label="kind").columns["label"] == "kind"


def test_a_file_without_a_fitting_column_names_those_found(tmp_path):
    data = pd.DataFrame({"price": [1.5, 2.5, 3.5], "volume": [10, 20, 30]})
    with pytest.raises(ValueError, match="no column looks like a text column; its columns are"):
        load_examples(write(data, tmp_path / "prices.parquet"))
    with pytest.raises(ValueError, match="no column 'title'; its columns are 'a', 'b'"):
        load_examples(write(frame(), tmp_path / "mix.csv"), text="title")
    with pytest.raises(ValueError, match="text and label are the same column 'a'"):
        load_examples(write(frame(), tmp_path / "mix.csv"), text="a", label="a")


def test_rationale_template_and_id_are_taken_when_there(tmp_path):
    path = write(pd.DataFrame([vars_of(example) for example in HEADLINES]), tmp_path / "h.jsonl")
    loaded = load_examples(path, text="text", label="label")
    assert loaded.examples == HEADLINES
    assert loaded.columns["rationale"] == "rationale"


def vars_of(example: Example):
    return {name: getattr(example, name) for name in Example.__dataclass_fields__}


def test_rows_without_text_or_label_are_counted(tmp_path):
    data = frame(text="headline", label="label")
    data.loc[4, "headline"] = None
    data.loc[9, "label"] = "  "
    loaded = load_examples(write(data, tmp_path / "mix.parquet"))
    assert len(loaded.examples) == len(TEXTS) - 2
    assert loaded.notes[-1] == (
        "mix.parquet: 2 of 400 rows left out, without text or label; the first is row 5."
    )
    assert loaded.examples[4].id == "6"


def test_cells_are_taken_as_they_stand(tmp_path):
    data = frame(text="headline", label="label")
    data["label"] = ["NA", "None", "007", "1.0"] * 100
    loaded = load_examples(write(data, tmp_path / "mix.csv"))
    assert set(loaded.labels) == {"NA", "None", "007", "1.0"}


def test_whole_number_labels_are_accepted(tmp_path):
    data = frame(text="headline", label="label")
    data["label"] = [3, 7] * 200
    for name in ("mix.jsonl", "mix.parquet"):
        assert set(load_examples(write(data, tmp_path / name)).labels) == {"3", "7"}


def test_flags_and_categories(tmp_path):
    data = frame(text="headline", label="b", seen=[True, False] * 200)
    data["b"] = data["b"].astype("category")
    loaded = load_examples(write(data, tmp_path / "mix.parquet"))
    assert loaded.columns == {"text": "headline", "label": "b"}
    assert set(loaded.labels) == set(LABELS)


@pytest.mark.parametrize("line", ["{not json", "[1, 2]"])
def test_a_bad_line_is_numbered(tmp_path, line):
    path = tmp_path / "mix.jsonl"
    path.write_text('{"text": "a b", "label": "c"}\n' + line + "\n")
    with pytest.raises(ValueError, match="mix.jsonl line 2 is not"):
        load_examples(path)


def test_another_file_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not '.xlsx'"):
        load_examples(tmp_path / "mix.xlsx")


def test_a_file_for_a_chain_says_what_was_taken_and_left_out(tmp_path):
    """Near-duplicates are counted by `drop_near_duplicates`, and none is in two parts."""
    twins = [f"{text}!" for text in TEXTS[:7]]
    data = pd.DataFrame({"title": [*TEXTS, *twins], "kind": [*LABELS, *LABELS[:7]]})
    path = write(data, tmp_path / "news.csv")
    found = load_data(Data(source=str(path), train=40, pool=80, validation=40, test=60))
    distinct = drop_near_duplicates(load_examples(path).examples)
    assert distinct.n_removed >= 7
    assert found.notes[:3] == (
        "news.csv: text from column 'title'.",
        "news.csv: label from column 'kind'.",
        f"{distinct.n_removed} near-duplicates were left out.",
    )
    parts = (found.pool, found.validation, found.test)
    assert [len(part) for part in parts] == [80, 40, 60]
    texts = [example.text for part in parts for example in part]
    assert set(texts) <= {example.text for example in distinct.kept}
    assert len(set(texts)) == len(texts)


def test_files_in_another_encoding_are_named_with_what_to_do(tmp_path):
    path = tmp_path / "mix.csv"
    path.write_bytes(frame().to_csv(index=False).encode() + "Société falls,x\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"mix.csv is not UTF-8: .*iconv -f WINDOWS-1252"):
        load_examples(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_mark_of_the_byte_order_is_no_part_of_a_name(tmp_path, suffix):
    path = write(frame(text="headline"), tmp_path / f"mix{suffix}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_examples(path).columns == {"text": "headline", "label": "b"}


def test_labels_that_differ_in_case_alone_and_copies_with_another_label_are_told(tmp_path):
    rows = frame(text="headline", label="category")
    rows.loc[:9, "category"] = rows["category"][20].upper()
    path = write(pd.concat([rows, rows[:1].assign(category=LABELS[-1])]), tmp_path / "mix.csv")
    (note,) = (n for n in load_examples(path).notes if "alone" in n)
    assert repr(LABELS[20]) in note
    assert repr(LABELS[20].upper()) in note
    sizes = {"pool": 100, "train": 100, "validation": 20, "test": 100}
    data = load_data(Data(source=str(path), **sizes))
    assert any("near-duplicates were left out, 1 of them with another label" in n
               for n in data.notes)  # fmt: skip


def test_templates_in_two_parts_are_told_and_kept_apart_if_asked(tmp_path):
    template = [str(i % 100) for i in range(len(TEXTS))]
    rows = frame(text="headline", label="category", template=template)
    rows["category"] = ["up" if int(t) % 2 else "down" for t in template]
    path = write(rows, tmp_path / "mix.parquet")
    sizes = {"source": str(path), "pool": 100, "train": 10, "validation": 20, "test": 60}
    plain, apart = load_data(Data(**sizes)), load_data(Data(**sizes, group="template"))

    def shared(data):
        return len({e.template for e in data.pool} & {e.template for e in data.test})

    assert shared(plain) > 10
    (note,) = (n for n in plain.notes if "of a template that the pool has too" in n)
    assert note.startswith(
        f"{sum(e.template in {p.template for p in plain.pool} for e in plain.test)} of 60"
    )
    assert "data.group: template" in note
    assert shared(apart) == 0
    assert len(apart.test) > 50
    assert not [n for n in apart.notes if "of a template that the pool has too" in n]
    with pytest.raises(ValueError, match="group is for files"):
        Data(group="template")


@pytest.mark.parametrize("every", [True, False])
def test_commas_without_quotes_shift_no_column(tmp_path, every):
    """Where every row has one cell too many, the first would be taken for the row's name."""
    rows = [f"{'Acme, Inc' if every or i == 7 else 'Acme'} rises {i},up" for i in range(20)]
    path = tmp_path / "mix.csv"
    path.write_text("\n".join(["headline,category", *rows]))
    with pytest.raises(ValueError, match=r"mix\.csv: .*needs double quotes around it"):
        load_examples(path)


def test_labels_with_accents_written_in_two_ways_are_told(tmp_path):
    rows = frame(text="headline", label="category")
    rows["category"] = ["Décès", "De\u0301ce\u0300s"] * (len(TEXTS) // 2)
    notes = load_examples(write(rows, tmp_path / "mix.csv")).notes
    assert any("the writing of accents alone" in note for note in notes)
