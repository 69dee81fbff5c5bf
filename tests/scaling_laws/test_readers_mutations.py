"""Bad input: every mutator against every reader; rows are refused or accepted, never lost."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling_laws.runs import RunLog, RunLogError, read_runs

Rows = list[dict[str, Any]]
Random = np.random.Generator


def make_rows(rng: Random) -> Rows:
    """Return a clean chain: the parent of each run is the run before it."""
    count = int(rng.integers(3, 9))
    return [
        {
            "run_id": f"run-{i}",
            "parent_id": f"run-{max(i - 1, 0)}",
            "teacher": "Lehrer-32B",
            "format": str(rng.choice(["label", "cot", "blended"])),
            "kept": float(rng.choice([1.0, 0.79, 0.58, 0.37, 0.16])),
            "examples": int(rng.integers(0, 400_000)),
            "seed": i,
            "task_f1": float(np.round(rng.uniform(0.03, 0.95), 4)),
            "task_f1_se": 0.005,
            "remark": "gut",
        }
        for i in range(count)
    ]


# --- mutators of rows: each returns the rows that are written ---------------------------------


def one(rng: Random, rows: Rows, field: str, *values: Any) -> Rows:
    rows[int(rng.integers(len(rows)))][field] = values[int(rng.integers(len(values)))]
    return rows


def wrong_type(rng: Random, rows: Rows) -> Rows:
    field = str(rng.choice(["kept", "examples", "task_f1"]))
    return one(rng, rows, field, "many", True, "12 px", "0x10", "1_000", b"bytes")


def percent_kept(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "kept", 16.0, 79, "58%", 6.25)


def percent_score(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "task_f1", 71.3, "71.3 %")


def decimal_comma(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, str(rng.choice(["kept", "task_f1"])), "0,16", "0,5")


def thousands(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "examples", "6,000", "6'000", "6k")


def huge_integer(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "examples", 2**60, 10**400, -(10**400), str(10**30), "9" * 5000)


def nested(rng: Random, rows: Rows) -> Rows:
    field = str(rng.choice(["kept", "teacher", "task_f1", "remark", "new"]))
    return one(rng, rows, field, {"value": 0.5}, [0.5], [[1], {"a": [2]}])


def newer_schema(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "schema_version", 2, 99)


def odd_schema(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "schema_version", 0, -1, "v1", 1.5)


def nan_in_field(rng: Random, rows: Rows) -> Rows:
    spellings = ("", "NA", "N/A", "nan", "None", "null", "-", None, float("nan"), pd.NA, " NaN ")
    return one(rng, rows, str(rng.choice(["kept", "seed", "teacher", "remark"])), *spellings)


def nan_score(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "task_f1", "", "NA", "N/A", "nan", "None", "null", "-", None)


def infinite(rng: Random, rows: Rows) -> Rows:
    field = str(rng.choice(["kept", "examples", "task_f1", "seed"]))
    return one(rng, rows, field, "inf", "-Infinity", float("inf"), 1e308 * 10, "1e999")


def negative(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, str(rng.choice(["kept", "examples", "task_f1", "task_f1_se"])), -0.5, -7)


def fractional_count(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, str(rng.choice(["examples", "seed"])), 6000.5, "0.1")


def duplicated_run(rng: Random, rows: Rows) -> Rows:
    again = dict(rows[int(rng.integers(len(rows)))])
    return [*rows, again if rng.random() < 0.5 else {**again, "seed": 77}]


def missing_parent(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "parent_id", "nobody")


def swapped_columns(rng: Random, rows: Rows) -> Rows:
    return [{**r, "kept": r["examples"] + 2, "examples": r["kept"] / 2} for r in rows]


def renamed_columns(rng: Random, rows: Rows) -> Rows:
    names = {"task_f1": "macro_f1", "kept": "compression", "examples": "dataset_size"}
    return [{names.get(name, name): value for name, value in r.items()} for r in rows]


def reordered_columns(rng: Random, rows: Rows) -> Rows:
    order = [str(name) for name in rng.permutation(list(rows[0]))]
    return [{name: r[name] for name in order} for r in rows]


def near_words(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, "format", "labels", "CoT", "Blended", "free text")


def failed_run(rng: Random, rows: Rows) -> Rows:
    at = int(rng.integers(len(rows)))
    rows[at] |= {"status": "failed", "error": "out of memory", "task_f1": None, "task_f1_se": None}
    return rows


def odd_unicode(rng: Random, rows: Rows) -> Rows:
    return one(
        rng, rows, "teacher", "ü ß €", "日本", "🙂", "a\u2028b", "a\x85b", "a\x0bb", "\x00", "a\nb"
    )


def half_surrogate(rng: Random, rows: Rows) -> Rows:
    return one(rng, rows, str(rng.choice(["teacher", "remark"])), "\ud800", "x\udfff")


def dates(rng: Random, rows: Rows) -> Rows:
    return [{**r, "day": date(2026, 1, 1 + i)} for i, r in enumerate(rows)]


def string_numbers(rng: Random, rows: Rows) -> Rows:
    return [{**r, "kept": f" {r['kept']} ", "examples": f"{r['examples']}.0"} for r in rows]


# --- mutators of bytes: what happens to a file on its way --------------------------------------


def byte_order_mark(rng: Random, content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content


def utf_16(rng: Random, content: bytes) -> bytes:
    return content.decode("latin-1").encode("utf-16")


def latin_1(rng: Random, content: bytes) -> bytes:
    return content.replace(b"gut", "günstig".encode("latin-1"))


def ragged(rng: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at = int(rng.integers(1, max(len(lines) - 1, 2)))
    lines[at] = lines[at] + b",1,2" if rng.random() < 0.5 else lines[at].rpartition(b",")[0]
    return b"\n".join(lines)


def duplicated_header(rng: Random, content: bytes) -> bytes:
    return content.replace(b"seed", b"kept")


def torn_end(rng: Random, content: bytes) -> bytes:
    last = len(content.rstrip(b"\n").rpartition(b"\n")[2])
    return content[: -1 - int(rng.integers(1, max(last, 2)))]


def blank_lines(rng: Random, content: bytes) -> bytes:
    return content.replace(b"\n", b"\n\n")


def windows_lines(rng: Random, content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def stray_quote(rng: Random, content: bytes) -> bytes:
    return content.replace(b"gut", b'"gut', 1)


def null_bytes(rng: Random, content: bytes) -> bytes:
    return content.rstrip(b"\n") + b"\x00" * 64


def flipped_bits(rng: Random, content: bytes) -> bytes:
    flipped = bytearray(content)
    for at in rng.integers(len(content), size=5):
        flipped[at] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def empty_file(rng: Random, content: bytes) -> bytes:
    return b""


class Mutator(NamedTuple):
    """A way to spoil a log, and what must come of it: refused, accepted or either."""

    apply: Callable[[Random, Any], Any]
    outcome: str
    on: str


MUTATORS = [
    *(
        Mutator(apply, outcome, "rows")
        for outcome, group in {
            "refused": (
                wrong_type, percent_kept, percent_score, decimal_comma, thousands, huge_integer,
                newer_schema, odd_schema, nan_score, infinite, negative, fractional_count,
                duplicated_run, swapped_columns, renamed_columns,
            ),
            "accepted": (
                nan_in_field, missing_parent, reordered_columns, near_words, failed_run, dates,
                string_numbers,
            ),
            "either": (nested, odd_unicode, half_surrogate),
        }.items()
        for apply in group
    ),
    *(
        Mutator(apply, "either", "bytes")
        for apply in (
            byte_order_mark, utf_16, latin_1, ragged, duplicated_header, torn_end, blank_lines,
            windows_lines, stray_quote, null_bytes, flipped_bits, empty_file,
        )
    ),
]  # fmt: skip


# --- readers: how the rows reach the library ----------------------------------------------------


def names_of(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def text_of(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**300:
        return "9" * 400
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return text.encode("utf-8", "replace").decode()


def csv_bytes(rows: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    names = names_of(rows)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row.get(n) is None else text_of(row[n]) for n in names])
    return text.getvalue().encode()


def jsonl_bytes(rows: Rows) -> bytes:
    def plain(value: Any) -> Any:
        return None if value is pd.NA else str(value)

    return b"".join(json.dumps(row, default=plain).encode() + b"\n" for row in rows)


def parquet_bytes(rows: Rows) -> bytes:
    arrays = []
    for name in names_of(rows):
        cells = [None if row.get(name) is pd.NA else row.get(name) for row in rows]
        mixed = len({type(cell) for cell in cells if cell is not None}) > 1
        try:
            arrays.append(pa.array([c if c is None or not mixed else text_of(c) for c in cells]))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):  # Arrow has no such value
            arrays.append(pa.array([None if c is None else text_of(c) for c in cells]))
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names_of(rows)), out)
    return out.getvalue()


def naive_frame(content: bytes) -> pd.DataFrame:
    """Split spoilt CSV bytes into a frame of text, as a careless script does."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    split = [line.split(",") for line in lines if line.strip()]
    width = max((len(row) for row in split), default=0)
    padded = [row + [None] * (width - len(row)) for row in split]
    cells = np.array(padded, dtype=object).reshape(len(padded), width)
    names = pd.Index(cells[0] if len(cells) else [], dtype=object)
    return pd.DataFrame(cells[1:], columns=names, dtype=object)


def long_rows(rows: Rows) -> Rows:
    """Return the rows with their metric and score as cells."""
    named = {"task_f1": "score", "macro_f1": "score", "task_f1_se": "score_se"}
    return [
        {"metric": "task_f1" if "task_f1" in row else "macro_f1"}
        | {named.get(name, name): value for name, value in row.items()}
        for row in rows
    ]


class Sent(NamedTuple):
    """What read_runs is given, and the number of rows in it where that can be known."""

    source: Any
    rows_in: int | None
    options: dict[str, Any]


def send(reader: str, mutator: Mutator, rng: Random, folder: Any) -> Sent:
    rows = make_rows(rng)
    if mutator.on == "rows":
        rows = mutator.apply(rng, rows)
    shape, _, kind = reader.rpartition(" ")
    options = {"long": ("metric", "score")} if shape == "long" else {}
    rows = long_rows(rows) if shape == "long" else rows
    spoil = (lambda c: mutator.apply(rng, c)) if mutator.on == "bytes" else (lambda c: c)
    if kind in ("frame", "records"):
        if mutator.on == "rows":
            names = names_of(rows)
            frame = pd.DataFrame(
                {n: pd.Series([r.get(n) for r in rows], dtype=object) for n in names}
            )
            # Some versions of pandas can't hold what those two write.
            if rng.random() < 0.5 and mutator.apply not in (half_surrogate, huge_integer):
                frame = frame.infer_objects()
            return Sent(frame if kind == "frame" else rows, len(rows), options)
        frame = naive_frame(spoil(csv_bytes(rows)))
        return Sent(frame if kind == "frame" else records_of(frame), len(frame), options)
    content = {
        "csv": lambda: csv_bytes(rows),
        "semicolon.csv": lambda: csv_bytes(rows, ";"),
        "tsv": lambda: csv_bytes(rows, "\t"),
        "jsonl": lambda: jsonl_bytes(rows),
        "parquet": lambda: parquet_bytes(rows),
    }[kind]()
    content = spoil(content)
    path = folder / f"log.{kind}"
    path.write_bytes(content)
    if mutator.on == "rows":
        return Sent(path, len(rows), options)
    return Sent(path, None if kind == "parquet" else lines_of(content, kind), options)


def records_of(frame: pd.DataFrame) -> Rows:
    names = list(frame.columns)
    return [dict(zip(names, row, strict=True)) for row in frame.to_numpy(dtype=object)]


def lines_of(content: bytes, kind: str) -> int | None:
    """Return the number of rows in a file, counted without the library; None behind a quote."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if kind == "jsonl":
        return sum(bool(line.strip()) for line in content.split(b"\n"))
    return None if b'"' in content else sum(map(bool, re.split(b"[\r\n]", content))) - 1


READERS = [
    "frame", "records", "csv", "semicolon.csv", "tsv", "jsonl", "parquet",
    "long frame", "long csv", "long jsonl", "long parquet",
]  # fmt: skip


def check_log(log: RunLog, sent: Sent) -> None:
    """Assert what must hold of every log."""
    frame, rejected = log.frame, log.rejected
    if sent.rows_in is not None:
        assert log.accepted + len(rejected) == sent.rows_in
    assert frame.index.equals(pd.RangeIndex(len(log)))
    assert len(log.rows) == len(log)
    assert not set(log.rows) & set(rejected["row"])
    assert rejected["row"].is_unique
    assert rejected["reason"].str.len().gt(10).all()
    for name, low, high in (("kept", 1e-300, 1), ("task_f1", 0, 1), ("examples", 0, 2**53)):
        if name in frame:
            assert frame[name].dtype == np.float64
            assert frame[name].dropna().between(low, high).all()
    if "run_id" in frame:
        assert frame["run_id"].dropna().is_unique
    assert log.source in repr(log)
    assert log.source in log._repr_html_()
    assert all(len(note.sentence) > 10 for note in log.notes)


def check_round_trip(log: RunLog, folder: Any) -> None:
    """Assert that a log written and read again is the same, nothing refused."""
    path = folder / "again.jsonl"
    log.to_jsonl(path)
    again = read_runs(path)
    assert len(again.rejected) == 0
    assert len(again) == len(log)
    held = [name for name in log.frame if log.frame[name].notna().any()]
    if held:
        pd.testing.assert_frame_equal(again.frame[held], log.frame[held], check_dtype=False)


def survive(
    reader: str, mutator: Mutator, rng: Random, folder: Any, *, write_again: bool = True
) -> str:
    """Read one spoilt log; return what came of it."""
    sent = send(reader, mutator, rng, folder)
    try:
        log = read_runs(sent.source, **sent.options)
    except RunLogError:
        return "unreadable"
    check_log(log, sent)
    if write_again:
        check_round_trip(log, folder)
    return "refused" if len(log.rejected) else "accepted"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mutator", MUTATORS, ids=lambda m: m.apply.__name__)
def test_no_row_is_lost_and_no_error_escapes(mutator: Mutator, reader: str, tmp_path: Any) -> None:
    rng = np.random.default_rng(sum(map(ord, mutator.apply.__name__ + reader)))
    for _ in range(3):
        outcome = survive(reader, mutator, rng, tmp_path)
        if mutator.outcome != "either":
            assert outcome == mutator.outcome


@pytest.mark.slow
def test_ten_thousand_spoilt_logs(tmp_path: Any) -> None:
    rng = np.random.default_rng(20260624)
    pairs = [(mutator, reader) for mutator in MUTATORS for reader in READERS]
    came_of_it = {"refused": 0, "accepted": 0, "unreadable": 0}
    for i in range(10_000):
        mutator, reader = pairs[i % len(pairs)]
        outcome = survive(reader, mutator, rng, tmp_path, write_again=i % 7 == 0)
        came_of_it[outcome] += 1
        assert mutator.outcome in (outcome, "either"), (mutator, reader, i)
    assert sum(came_of_it.values()) == 10_000
    assert min(came_of_it.values()) > 500
