"""The coverage study prints the README's summary and goes on from where it was stopped."""

import json

import pandas as pd
import pytest

from tests.benchmarks import coverage_table
from tests.benchmarks.coverage_table import CELLS, FURTHER, KINDS, Cell, kept, main, markdown

LOGS = 3


def rows_of(cell, **coverage):
    places = cell.points()["where"]
    return pd.DataFrame(
        [
            {"cell": cell.name, "where": where, "interval": kind,
             "coverage": coverage.get(kind, 0.9), "coverage_se": 0.01,
             "oracle": 1.0 + i / 100 if kind == "mean" else None, "refused": 0.0}
            for kind in KINDS if kind != "score" or cell.items
            for i, where in enumerate(places)
        ]
    )  # fmt: skip


def test_markdown_is_the_range_over_test_sets_and_places():
    few, many = (Cell("additive", n, False, 12) for n in (1_000, 10_000))
    curve = Cell("broken", 0, False, 16)
    found = [(few, rows_of(few, mean=0.885, run=0.8764)), (many, rows_of(many, mean=0.925)),
             (curve, rows_of(curve))]  # fmt: skip
    assert markdown(found).split("\n")[2:] == [
        "| additive | independent | 12 | 88.5-92.5 | 87.6-90.0 | 90.0-90.0 | 1.00-1.02 |",
        "| broken | independent | 16 | 90.0-90.0 | 90.0-90.0 | – | 1.00-1.02 |",
    ]
    assert coverage_table.outlying(found).startswith("0 of 24 figures outside")
    found[0] = (few, rows_of(few, run=0.8551))
    told = coverage_table.outlying(found)
    assert told.startswith("3 of 24 figures outside the limits: 85.5 %: additive n=1000")


@pytest.mark.parametrize("further", [False, True])
def test_every_row_of_the_summary_has_its_cells(further):
    cells = FURTHER if further else CELLS
    table = markdown([(cell, rows_of(cell)) for cell in cells]).split("\n")[2:]
    rows = {(c.truth, c.chained, c.units) for c in cells}
    assert len(table) == len(rows) == (10 if further else 16)


def test_a_study_is_gone_on_with(tmp_path, capsys, monkeypatch):
    """Rows are kept, read back as they were, and not run again unless settings differ."""
    keep = tmp_path / "cells.jsonl"
    asked = ["--logs", str(LOGS), "--jobs", "1", "--keep", str(keep), "--markdown"]
    main([*asked, "--cell", "collapse n=10000 independent units=12"])
    first = capsys.readouterr()
    assert first.out.startswith("| truth | runs | units | curve |")
    assert "| collapse | independent | 12 |" in first.out
    main([*asked, "--further", "--cell", "broken independent units=16"])
    assert "| broken | independent | 16 |" in capsys.readouterr().out
    assert len(kept(keep)) == 2

    def never(*_):
        raise AssertionError("run again")

    with monkeypatch.context() as patch:
        patch.setattr(coverage_table, "run", never)
        main([*asked, "--cell", "collapse n=10000 independent units=12"])
    again = capsys.readouterr()
    assert again.out == first.out
    assert "1 of 1 cells kept" in again.err
    # Another seed is another study; a line cut off by a stop is run again.
    with keep.open("a") as file:
        file.write('{"settings": {"cell": "coll')
    main([*asked, "--seed", "9", "--cell", "collapse n=10000 independent units=12"])
    assert "was cut off" in capsys.readouterr().err
    assert [x["settings"]["seed"] for x in kept(keep)] == [
        1 + CELLS.index(Cell("collapse", 10_000, False, 12)),
        1 + FURTHER.index(Cell("broken", 0, False, 16)),
        9 + CELLS.index(Cell("collapse", 10_000, False, 12)),
    ]
    assert all(json.loads(line) for line in keep.read_text().splitlines())


def test_a_name_that_no_cell_has_is_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--cell", "quadratic"])
    assert ended.value.code == 2
    assert "no cell has this name" in capsys.readouterr().err
