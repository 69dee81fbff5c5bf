"""Rows of one run are known by their name, else by what they hold, else by their order."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.pairing import paired_runs

SIZES = [100, 100, 300, 1000]
COLUMNS = ("examples", "seed")


def table(**columns):
    return pd.DataFrame({"examples": SIZES, **columns})


def codes(*frames, columns=COLUMNS):
    return [part.tolist() for part in paired_runs(frames, columns)]


def test_a_name_tells_a_run_whatever_else_differs():
    one = table(run_id=["a", "b", "c", "d"])
    other = table(run_id=["d", "b", "e", "a"])
    assert codes(one, other) == [[0, 1, 2, 3], [3, 1, 4, 0]]


def test_without_names_size_and_seed_tell_it():
    one = table(seed=[1.0, 2.0, 1.0, 1.0])
    assert codes(one, one.iloc[[1, 0, 3]]) == [[0, 1, 2, 3], [1, 0, 3]]


def test_without_a_seed_column_replicates_go_by_their_order():
    assert codes(table(), table()) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    one, other = table(), table(seed=[2.0, 1.0, 1.0, 1.0])
    assert codes(one, other) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_missing_seeds_agree_with_missing_ones():
    one = table(seed=[np.nan, np.nan, np.nan, 5.0])
    assert codes(one, one) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    other = table(seed=[5.0, np.nan, np.nan, 5.0])
    assert codes(one, other) == [[0, 1, 2, 3], [4, 0, 2, 3]]


@pytest.mark.parametrize("ids", [["a", "b", "c", None], ["a", "b", "c", "c"]])
def test_a_table_without_a_name_a_row_has_no_name_count_in_any(ids):
    one, other = table(run_id=["a", "b", "c", "d"]), table(run_id=ids)
    assert codes(one, other) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert codes(one, table()) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_missing_value_is_missing_in_any_type():
    one = table(note=pd.Series([None, "x", None, None], dtype=object))
    other = table(note=pd.Series([np.nan, "x", np.nan, pd.NA], dtype=object))
    alone = table(note=[np.nan] * 4)
    assert codes(one, other, columns=("examples", "note")) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert codes(one, alone, columns=("examples", "note")) == [[0, 1, 2, 3], [0, 4, 2, 3]]


def test_cells_keep_apart():
    one = table(note=["x|y", "x", "", ""], other=["z", "y|z", "", ""])
    first = one.drop(index=1)
    assert codes(one, first, columns=("note", "other")) == [[0, 1, 2, 3], [0, 2, 3]]
    second = one.drop(index=0)
    assert codes(first, second, columns=("note", "other")) == [[0, 1, 2], [3, 1, 2]]
