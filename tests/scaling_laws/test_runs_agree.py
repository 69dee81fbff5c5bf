"""One home for the rules: Run and read_runs accept and refuse the same rows."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scaling_laws.runs import Run, read_runs

NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(-5, 5),
    st.floats(-0.5, 1.5),
    st.sampled_from([0, 1, 2**53, 2**53 + 2, 10**400, 5e-324, 1e308, -0.0, True, np.float32(0.1)]),
    st.sampled_from([np.int64(3), np.bool_(True), Decimal("0.5"), Decimal("sNaN"), Fraction(1, 2)]),
)
TEXTS = st.one_of(
    st.text(max_size=5),
    NUMBERS.map(str),
    st.sampled_from(["label", "ok", "failed", "NA", "-", " 0.5 ", "1e3", "0,5", "5%", "7B", "1_0"]),
)
OTHERS = st.sampled_from([None, pd.NA, pd.NaT, [], {}, [0.5], {"a": 1}, date(2026, 1, 1), 1j, b"x"])
VALUES = st.one_of(NUMBERS, TEXTS, OTHERS)
NAMES = st.sampled_from([*Run.model_fields, "lr", "remark"])
ROWS = st.dictionaries(NAMES, VALUES, max_size=6).flatmap(
    lambda row: st.one_of(
        st.just(row), st.floats(-0.1, 1.1).map(lambda score: {**row, "task_f1": score})
    )
)


def accepted(row: dict[str, Any]) -> Run | None:
    try:
        return Run(**row)
    except ValidationError:
        return None


@given(ROWS)
@settings(max_examples=600, deadline=None)
def test_a_run_and_a_log_of_one_row_agree(row: dict[str, Any]) -> None:
    run, log = accepted(row), read_runs([row])
    assert len(log) + len(log.rejected) == 1
    assert (run is not None) == (len(log) == 1)
    if run is not None:
        assert next(iter(log)) == run


@given(st.lists(ROWS, min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_row_is_judged_alike_in_company(rows: list[dict[str, Any]]) -> None:
    rows = [{k: v for k, v in row.items() if k != "run_id"} for row in rows]
    log = read_runs(rows)
    assert log.rows.tolist() == [at for at, row in enumerate(rows) if accepted(row) is not None]


@given(
    st.lists(
        st.tuples(st.floats(-0.5, 1.5), st.floats(-10, 10).map(round), st.floats(0, 1)), min_size=1
    )
)
@settings(max_examples=200, deadline=None)
def test_columns_of_numbers_are_judged_as_their_rows(cells: list[tuple[float, int, float]]) -> None:
    frame = pd.DataFrame(cells, columns=["kept", "examples", "task_f1"])
    records = [dict(zip(frame.columns, row, strict=True)) for row in cells]
    log = read_runs(frame)
    assert log.rows.tolist() == [at for at, row in enumerate(records) if accepted(row) is not None]
    assert log.rejected["reason"].tolist() == read_runs(records).rejected["reason"].tolist()
