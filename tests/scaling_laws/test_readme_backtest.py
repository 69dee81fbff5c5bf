"""The README's backtest tables are what their command prints, to the last printed digit."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.benchmarks import backtest_table

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COLUMNS = {"curves": "curves", "median": "median", "mean": "mean",
           "inside 90 % intervals": "coverage"}  # fmt: skip
NUMBER = re.compile(r"\d+")


def cells(line):
    return [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]


def printed_table():
    """Rows of the table below the heading: family, way, and the printed words by column."""
    section = README.split("## What would each way to forecast have been worth?")[1]
    lines = [line for line in section.split("\n## ")[0].split("\n") if line.startswith("|")]
    head, family, rows = cells(lines[0]), "", []
    for line in lines[2:]:
        values = cells(line)
        family = values[0] or family
        words = {COLUMNS[h]: v for h, v in zip(head[2:], values[2:], strict=True)}
        rows.append({"family": family, "way": values[1], **words})
    return rows


def differs(printed, value):
    """Whether a number, printed as these words, is another than the value rounded to its digits."""
    share = printed.endswith("%")
    words = printed.removesuffix("%").strip()
    decimals = len(words.partition(".")[2])
    value = 100 * value if share else value
    # Half a unit of the last digit, and the rounding of that half itself.
    return abs(float(words) - value) > 0.5 * 10.0**-decimals * (1 + 1e-9)


def row_of(frame, family, way):
    """The backtest's row that a line of the README speaks of."""
    (log,) = (name for name in frame.index.unique("log") if family.startswith(name))
    part = frame.loc[log]
    (method,) = (name for name in part.index if name.lower() == way.lower())
    return part.loc[method]


def wrong_in(rows, frame):
    return [
        f"{row['family']}, {row['way']}, {name}: printed {row[name]}, is {value:.6g}"
        for row in rows
        for name in COLUMNS.values()
        if name in row
        and differs(row[name], value := float(row_of(frame, row["family"], row["way"])[name]))
    ]


def test_a_wrong_digit_is_found():
    """What the comparison can see, on two rows of its own."""
    frame = pd.DataFrame(
        {"curves": [90, 90], "median": [0.05284, 0.1465], "mean": [0.084249, 0.1], "coverage": [
            0.5551, 0.5]},
        index=pd.MultiIndex.from_tuples([("loss", "always Power"), ("loss", "Forecast")],
                                        names=["log", "method"]),
    )  # fmt: skip
    right = {"family": "loss (someone)", "way": "always power", "curves": "90", "median": ".0528",
             "mean": ".0842", "coverage": "56 %"}  # fmt: skip
    assert wrong_in([right], frame) == []
    for change in ({"median": ".0529"}, {"mean": ".0843"}, {"coverage": "55 %"}, {"curves": "89"}):
        assert len(wrong_in([right | change], frame)) == 1
    # A row printed with fewer digits is compared at those.
    assert not differs(".147", 0.1465001)
    assert differs(".147", 0.1464)


def test_the_readme_table_is_read_whole():
    rows = printed_table()
    assert len({row["family"] for row in rows}) == 3
    assert len(rows) == 15
    assert all(set(COLUMNS.values()) < set(row) for row in rows)


@pytest.mark.slow
def test_readme_prints_what_the_command_finds(data_folder, monkeypatch):
    monkeypatch.setenv("SCALING_LAWS_DATA", str(data_folder))
    found = backtest_table.table(progress=False)
    print(found)
    rows, frame = printed_table(), found.frame
    assert len(rows) == len(frame)
    wrong = wrong_in(rows, frame)
    # The same figures in prose: the line of the comparison with others, and what is left out.
    line = next(x for x in README.split("\n") if x.endswith("finetune_table` |"))
    count, figures, _ = cells(line)
    assert NUMBER.findall(count) == [f"{frame.loc['fine-tuning loss', 'curves'].max():g}"]
    assert len(parts := figures.split(";")) == 3
    for part in parts:
        way, median, mean = re.fullmatch(r"(\D+) (\.\d+), (\.\d+)", part.strip()).groups()
        prose = {"family": "fine-tuning loss", "way": way, "median": median, "mean": mean}
        wrong += wrong_in([prose], frame)
    assert wrong == []
    (left,) = re.findall(r"^(\d+) few-shot curves with one or two levels", README, re.MULTILINE)
    assert int(left) == len(found.failed)
