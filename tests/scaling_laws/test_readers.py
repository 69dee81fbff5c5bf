"""Each format on its own: what is read, how rows are numbered, and what can't be read at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws.runs import RunLog, RunLogError, read_runs


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def reasons(log: RunLog) -> dict[int, str]:
    return dict(zip(log.rejected["row"], log.rejected["reason"], strict=True))


# --- CSV ------------------------------------------------------------------------------------------


def test_the_sentence_names_file_line_value_and_remedy(tmp_path: Path) -> None:
    lines = ["kept,loss", *["0.5,2.0"] * 12, "16.0,2.0"]
    log = read_runs(written(tmp_path, "runs.csv", "\n".join(lines)))
    assert (
        "runs.csv row 14: kept = '16.0' is not in (0, 1]; it is the fraction of parameters left. "
        'Write 0.16, or pass kept_unit="percent".'
    ) in repr(log)


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_the_delimiter_is_found(tmp_path: Path, suffix: str, delimiter: str) -> None:
    lines = ["kept,loss,remark", '0.5,2.0,"a,b;c\td"']
    cells = [line.replace(",", delimiter, 2) for line in lines]
    log = read_runs(written(tmp_path, f"runs.{suffix}", "\n".join(cells)))
    assert log.frame.iloc[0].to_dict() == {"kept": 0.5, "loss": 2.0, "remark": "a,b;c\td"}


def test_a_quoted_header_does_not_mislead(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", '"a, b, c";loss\n1;2.0\n'))
    assert list(log.frame) == ["loss", "a, b, c"]


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    assert read_runs(written(tmp_path, "runs.csv", "loss\n2.0\n1.5\n")).rows.tolist() == [2, 3]


def test_decimal_commas_are_refused_not_guessed(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", "kept;loss\n0,5;2,0\n0.5;2.0\n"))
    assert "has a comma; write 0.5 if it marks decimals" in reasons(log)[2]
    assert len(log) == 1


def test_lines_are_counted_through_quotes_and_blanks(tmp_path: Path) -> None:
    text = 'remark,loss\r\n"two\r\nlines",2.0\r\n\r\nx,bad\r\ny,1.0\r\n'
    log = read_runs(written(tmp_path, "runs.csv", text))
    assert log.rows.tolist() == [2, 6]
    assert list(reasons(log)) == [5]


def test_ragged_lines_are_refused_by_number(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", "kept,loss\n0.5\n0.5,2.0\n0.5,2.0,9\n"))
    assert reasons(log) == {
        2: "The line has 1 fields, the header has 2.",
        4: "The line has 3 fields, the header has 2.",
    }


def test_broken_quotes_cost_their_line_only(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", 'remark,loss\n"a"b,2.0\nc,1.0\n'))
    assert "not valid CSV" in reasons(log)[2]
    assert log.rows.tolist() == [3]


def test_covariates_of_numbers_are_recognised(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", "loss,lr,name\n2.0,1e-3,7\n1.0,NA,x\n"))
    assert log.frame["lr"].dtype == np.float64
    assert log.frame["name"].tolist() == ["7", "x"]


def test_an_unnamed_column_is_named_and_noted(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", ",loss\n0,2.0\n"))
    assert list(log.frame) == ["loss", "column_1"]
    assert log.notes[0].code == "unnamed_column"


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.csv", b"\xef\xbb\xbfkept,loss\n0.5,2.0\n"))
    assert list(log.frame) == ["kept", "loss"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\n\r\n", "is empty"),
        ("teacher,loss\nMüller,2".encode("latin-1"), "byte 0xfc at offset 14 (line 2)"),
        ("kept,loss\n".encode("utf-16"), "is UTF-16 or UTF-32"),
        (b"loss,loss\n1,2\n", "the column 'loss' appears 2 times"),
        (b"loss, loss \n1,2\n", "the column 'loss' appears 2 times"),
        (b'a,loss\n1,2\nx,"3\n4,5\n', "line 3: a quotation mark is opened and never closed"),
        (b'"a"b,loss\n1,2\n', "line 1, the header, is not valid CSV"),
    ],
)
def test_a_csv_that_cannot_be_split(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(RunLogError) as caught:
        read_runs(written(tmp_path, "runs.csv", content))
    assert sentence in str(caught.value)


# --- JSONL ----------------------------------------------------------------------------------------


def test_every_bad_line_has_its_reason(tmp_path: Path) -> None:
    lines = [
        b'{"loss": 2.0}',
        b'{"loss": 2.0, "loss": 1.0}',
        b'{"loss": {"value": 2.0}}',
        b"[2.0]",
        b'{"loss": 2.0',
        b"",
        b'{"loss": 2.0, "teacher": "M\xfcller"}',
        b'{"loss": NaN}',
        b'{"loss": Infinity}',
        b'{"loss": 1' + b"0" * 5000 + b"}",
        b'{"loss": ' + b"[" * 100_000 + b"}",
        b'{"loss": 2.0, "\\ud800": 1}',
        b'{"loss": 1.0, "remark": "line\\u2028end"}',
    ]
    log = read_runs(written(tmp_path, "runs.jsonl", b"\n".join(lines) + b"\n"))
    assert log.rows.tolist() == [1, 13]
    told = reasons(log)
    assert len(log) + len(told) == 12
    for line, sentence in {
        2: "gives 'loss' more than once",
        3: "is a dict where a number is needed",
        4: "is a JSON list, not an object",
        5: "not a complete JSON object",
        7: "not UTF-8 at its byte 27",
        8: "no score",
        9: "loss = inf is not finite",
        10: "is not finite",
        11: "nested too deeply",
        12: "not valid Unicode",
    }.items():
        assert sentence in told[line]


@pytest.mark.parametrize("end", [b'{"loss": 1.0, "rem', b'{"loss": 1.0, "a": "\xc3', b"{"])
def test_a_torn_last_line_is_reported_and_ignored(tmp_path: Path, end: bytes) -> None:
    log = read_runs(written(tmp_path, "runs.jsonl", b'{"loss": 2.0}\n' + end))
    assert len(log) == 1
    assert [note.code for note in log.notes] == ["torn_line"]
    assert reasons(log) == {2: "The last line is torn: its end was never written."}


def test_a_last_line_without_its_end_mark_is_whole(tmp_path: Path) -> None:
    log = read_runs(written(tmp_path, "runs.ndjson", b'{"loss": 2.0}\n{"loss": 1.0}'))
    assert (len(log), log.notes) == (2, ())


def test_keys_may_differ_from_line_to_line(tmp_path: Path) -> None:
    text = '{"loss": 2.0}\r\n{"mmlu": 0.5, "lr": 1}\r\n'
    log = read_runs(written(tmp_path, "runs.jsonl", text))
    assert log.frame.isna().sum().to_dict() == {"mmlu": 1, "loss": 1, "lr": 1}


# --- Parquet --------------------------------------------------------------------------------------


def test_parquet_with_nulls_and_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "teacher": pd.Categorical(["T", None]),
            "params": pd.array([8_000_000_000, None], dtype="Int64"),
            "day": pd.to_datetime(["2026-01-01", None]),
            "done": [True, False],
            "mmlu": [0.5, 71.0],
        }
    )
    frame.to_parquet(tmp_path / "runs.parquet")
    log = read_runs(tmp_path / "runs.parquet")
    assert log.frame.iloc[0].to_dict() == {
        "teacher": "T", "params": 8e9, "mmlu": 0.5, "day": "2026-01-01T00:00:00", "done": True,
    }  # fmt: skip
    assert list(reasons(log)) == [1]


def test_parquet_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunLogError, match=r"runs\.parquet is not a Parquet file"):
        read_runs(written(tmp_path, "runs.parquet", b"kept,loss\n"))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunLogError, match=r"scaling-laws\[parquet\]"):
        read_runs(written(tmp_path, "runs.parquet", b""))


# --- any source -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (5, "5 is not a frame, a list of rows or the path of a file"),
        ("runs.xlsx", "must end in .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("no/such/runs.csv", "can't be read: No such file"),
        ([1, 2], "list row 0: 1 is neither a dict nor a Run"),
        ([{1: 2.0}], "the column name 1 is not text"),
        (pd.DataFrame({0: [1.0]}), "the column name 0 is not text"),
        (pd.DataFrame([[1.0, 2.0]], columns=["loss", "loss"]), "appears 2 times"),
    ],
)
def test_what_is_no_log(source: Any, sentence: str) -> None:
    with pytest.raises(RunLogError) as caught:
        read_runs(source)
    assert sentence in str(caught.value)


def test_all_sources_of_the_same_rows_agree(tmp_path: Path) -> None:
    rows = [
        {"run_id": f"r{i}", "format": "cot", "kept": k, "mmlu": m, "mmlu_n": 1000, "lr": 1e-3}
        for i, (k, m) in enumerate([(1.0, 0.7), (0.5, 0.6), (0.16, 0.3)])
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    expected = read_runs(rows).frame
    for source in (frame, *(tmp_path / f"a.{kind}" for kind in ("csv", "tsv", "parquet", "jsonl"))):
        pd.testing.assert_frame_equal(read_runs(source).frame, expected)


LINES = st.lists(
    st.one_of(
        st.text(alphabet='ab,;\t"\r\n0.5-{}[]:é\x00 ', max_size=30).map(str.encode),
        st.sampled_from([b"loss,kept", b"1.0,0.5", b'{"loss": 1.0}', b'{"loss": 1.0', b"\xff"]),
    ),
    max_size=6,
).map(b"\n".join)


@given(content=st.one_of(LINES, st.binary(max_size=60)))
@settings(max_examples=500, deadline=None)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_any_bytes_make_a_log_or_the_documented_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(content)
    try:
        log = read_runs(path)
    except RunLogError:
        return
    assert not set(log.rows) & set(log.rejected["row"])


# --- long -----------------------------------------------------------------------------------------


def test_long_rows_are_gathered_into_runs() -> None:
    rows = [
        {"run_id": "a", "kept": 1.0, "metric": "mmlu", "score": 0.7, "score_n": 1000},
        {"run_id": "b", "kept": 0.5, "metric": "mmlu", "score": 0.6, "score_n": 1000},
        {"run_id": "a", "kept": 1.0, "metric": "task_f1", "score": 0.8, "score_se": 0.01},
        {"run_id": "b", "kept": 0.5, "metric": "task_f1", "score": 80, "score_se": 0.01},
        {"run_id": "b", "kept": 0.5, "metric": "task_f1", "score": 0.75},
        {"run_id": "b", "kept": 0.5, "metric": "task_f1", "score": 0.76},
        {"run_id": "b", "kept": 0.5, "metric": "flops", "score": 0.76},
        {"run_id": "b", "kept": 0.6, "metric": "quiz", "score": 0.5},
        {"run_id": "c", "kept": 0.6, "status": "failed"},
        {"run_id": "d", "kept": 0.6, "metric": "quiz"},
    ]
    log = read_runs(rows, long=("metric", "score"))
    assert log.frame.set_index("run_id")["task_f1"].to_dict() == pytest.approx(
        {"a": 0.8, "b": 0.75, "c": np.nan}, nan_ok=True
    )
    assert log.frame["mmlu_n"].tolist()[:2] == [1000, 1000]
    assert (log.accepted, len(log.rejected), len(log)) == (5, 5, 3)
    told = reasons(log)
    assert "pass score_unit" in told[3]
    assert "second score of the run in row 4" in told[5]
    assert "metric = 'flops' is not a known metric" in told[6]
    assert "already used by row 1, which differs in kept" in told[7]
    assert "no score" in told[9]


def test_long_and_wide_agree() -> None:
    wide = [
        {"kept": k, "seed": s, "mmlu": 0.5 + s / 10, "quiz": 0.3} for k in (1, 0.5) for s in (0, 1)
    ]
    long = [
        {"kept": r["kept"], "seed": r["seed"], "name": m, "value": r[m]}
        for r in wide
        for m in ("quiz", "mmlu")
    ]
    pd.testing.assert_frame_equal(
        read_runs(long, long=("name", "value")).frame, read_runs(wide).frame
    )


def test_a_metric_in_rows_and_in_a_column_is_an_error() -> None:
    rows = [{"metric": "mmlu", "score": 0.5, "mmlu": 0.4}]
    with pytest.raises(RunLogError, match="holds mmlu as rows, and mmlu as a column too"):
        read_runs(rows, long=("metric", "score"))
