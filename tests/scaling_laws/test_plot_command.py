"""The command writes every kind of figure, at the size of print, and says what it lacks."""

import json
import struct

import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.study import Noise

KINDS = {
    "degradation": ["--holdout", "kept"],
    "learning-curve": ["--at", "kept=1,0.16"],
    "contours": ["--at", "format=cot", "--target", "0.8"],
    "residuals": [],
    "parameters": [],
    "likelihood": ["--pair", "b,g"],
    "holdout": ["--holdout", "kept"],
    "divergence": ["--general", "mmlu", "--at", "format=cot"],
    "format_difference": ["--formats", "cot,label"],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    design = pd.DataFrame(
        [(n, k, f) for f in ("cot", "label") for n in (6e3, 5e4, 4e5)
         for k in (1.0, 0.79, 0.58, 0.37, 0.16)],
        columns=["examples", "kept", "format"],
    )  # fmt: skip
    law = sl.laws.Compressed(by="format")
    truth = {"e": 1.2, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}
    frame = sl.simulate(law, design, truth, Noise(run=0.01), 0, metric="task_f1").frame
    other = sl.simulate(law, design, truth, Noise(run=0.01), 1, metric="mmlu").frame
    frame = frame.assign(mmlu=other["mmlu"].to_numpy(), phase="distilled")
    teacher = {"kept": 1.0, "task_f1": 0.93, "mmlu": 0.8, "phase": "teacher"}
    out = tmp_path_factory.mktemp("log") / "runs.csv"
    pd.concat([frame, pd.DataFrame([teacher])]).to_csv(out, index=False)
    return out


def asked(path, out, *words):
    """Run the command and return its exit code."""
    options = ["--by", "format", "--metric", "task_f1", "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        main(["plot", str(path), *options, *words])
    return end.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_at_the_width_of_a_column(kind, path, tmp_path, capsys):
    out = tmp_path / "figure.png"
    assert asked(path, out, "--kind", kind, "--width", "85", *KINDS[kind]) == 0
    assert capsys.readouterr().out == f"Written: {out}\n"
    width = struct.unpack(">I", out.read_bytes()[16:20])[0]
    assert width == int(85 / 25.4 * 160)


def test_json_says_what_was_written(path, tmp_path, capsys):
    out = tmp_path / "figure.svg"
    assert asked(path, out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"kind": "degradation", "written": str(out)}
    drawn = out.read_text()
    assert "<svg" in drawn


def test_the_teacher_of_the_log_is_drawn(path, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("scaling_laws.plot.style.save_figure", lambda ax, out: kept.append(ax))
    assert asked(path, tmp_path / "none.png") == 0
    assert {t.get_text(): t.xy[1] for t in kept[0].texts} == {"teacher": 0.93}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--kind", "degradations"], "Did you mean 'degradation'?"),
        (["--kind", "divergence"], "--general"),
        (["--kind", "format_difference", "--formats", "cot"], "--formats, such as cot,label"),
        (["--width", "10"], "a figure needs 40 x 30 mm"),
        (["--level", "90"], "--level 90 is not in (0, 1)"),
        (["--at", "size=3"], "'size' is none of the other axes"),
        (["--law", "compresed"], "Did you mean 'compressed'?"),
        (["--where", "phse=distilled"], "no such column"),
        (["--option", "colour=blue"], "does not take colour"),
        (["--column", "examples"], "write name=value"),
    ],
)
def test_what_cannot_be_drawn_ends_in_one_sentence(words, sentence, path, tmp_path, capsys):
    assert asked(path, tmp_path / "figure.png", *words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "figure.png").exists()
