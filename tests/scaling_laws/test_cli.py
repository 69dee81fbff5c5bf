"""The command line: exit codes, one sentence on bad input, JSON that parses."""

import json

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import _held_plain, main


@pytest.fixture
def log(tmp_path):
    frame = pd.DataFrame({"examples": np.logspace(2, 6, 12).round()})
    runs = sl.simulate(sl.laws.Power(), frame, {"E": 1, "A": 1, "a": 0.4}, 0.005, 0)
    path = tmp_path / "runs.csv"
    runs.frame.to_csv(path, index=False)
    return path


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_fit_predict_and_plot(capsys, log, tmp_path):
    out, figure = tmp_path / "fit.json", tmp_path / "fit.png"
    code, text, _ = run(capsys, "fit", log, "--law", "power", "--out", out, "--plot", figure)
    assert code == 0
    assert "exponent of examples" in text
    assert figure.read_bytes()[:4] == b"\x89PNG"
    code, text, _ = run(capsys, "predict", out, "--at", "examples=1000,5000", "--json")
    assert code == 0
    rows = json.loads(text)["predictions"]
    want = sl.load(out).predict(examples=[1000, 5000])
    np.testing.assert_array_equal([r["estimate"] for r in rows], want["estimate"])


def test_fit_json_agrees_with_python(capsys, log):
    _, text, _ = run(capsys, "fit", log, "--law", "power", "--json")
    plain = json.loads(text)
    fit = sl.fit(sl.laws.Power(), log)
    assert plain["objective"] == fit.objective
    assert [p["estimate"] for p in plain["parameters"]] == fit.parameters["estimate"].tolist()


def test_choose_takes_every_form_of_the_axes(capsys, log):
    code, text, _ = run(capsys, "choose", log, "--json")
    assert code == 0
    plain = json.loads(text)
    # Twelve levels are enough for curves that bend.
    forms = {f["form"] for f in plain["forms"]}
    assert forms == {"Power", "Rectified", "Broken", "Bounded"}
    assert sum(f["weight"] for f in plain["forms"]) == pytest.approx(1.0)
    assert plain["verdicts"][0]["kind"] == "law"


def test_check_counts_every_row(capsys, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("kept,mmlu,mmlu_n\n1,0.7,100\n16,0.5,100\n0.5,0.6,100\n")
    code, text, _ = run(capsys, "check", path, "--json")
    plain = json.loads(text)
    assert code == 0
    assert plain["accepted"] == 2
    assert "Write 0.16" in plain["rejected"][0]["reason"]
    code, text, _ = run(capsys, "check", path)
    assert "Noise before any law" in text


def test_demo_writes_what_it_says(capsys, tmp_path):
    code, text, _ = run(capsys, "demo", "--out", tmp_path / "out", "--json")
    assert code == 0
    for path in json.loads(text)["written"]:
        with open(path, "rb") as file:
            assert file.read(1)


def test_a_holdout_in_json_has_no_infinite_share():
    """A collapsed student scores 0: its error is in points of the score."""
    kept = [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    scores = [0.85, 0.8, 0.71, 0.6, 0.43, 0.25, 0.05, 0.0]
    rows = [{"kept": k, "task_f1": s} for k, s in zip(kept, scores, strict=True)]
    held = sl.holdout(sl.laws.Collapse(), rows, "task_f1", by="kept", leave=2)
    plain = json.loads(json.dumps(_held_plain(held), allow_nan=False))
    assert plain["scale"] == "points"
    off = (held.frame["estimate"] - held.frame["observed"]).abs().mean()
    assert plain["error"] == pytest.approx(off)
    seen = np.mean(scores[:6]) - np.mean(scores[6:])
    assert plain["baselines"]["mean"] == pytest.approx(seen)
    lone = sl.holdout(sl.laws.Collapse(), rows[:-1], "task_f1", by="kept", leave=1)
    plain = _held_plain(lone)
    assert (plain["scale"], plain["error"]) == ("relative", pytest.approx(lone.are))


@pytest.mark.parametrize(("words", "sentence"), [
    (["fit", "absent.csv"], "absent.csv can't be read"),
    (["fit", "{log}", "--law", "powr"], "Did you mean 'power'?"),
    (["fit", "{log}", "--metric", "f1"], "metric 'f1' is not known"),
    (["fit", "{log}", "--law", "power", "--option", "colour=red"], "does not take colour"),
    (["fit", "{log}", "--law", "power", "--option", "red"], "write name=value"),
    (["fit", "{log}", "--where", "format=label"], "no such column"),
    (["fit", "{log}"], "needs the column 'kept'"),
    (["fit", "{log}", "--law", "power", "--delta", "much"], "--delta: 'much' is no number."),
    (["predict", "{log}"], "not a whole JSON file"),
    (["choose", "{log}", "--law", "chinchilla"], "no form can be fitted"),
])  # fmt: skip
def test_bad_input_is_one_sentence(capsys, log, words, sentence):
    code, out, err = run(capsys, *(w.format(log=log) for w in words))
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err


def test_version_and_unknown_option(capsys):
    assert run(capsys, "--version")[1].strip() == sl.__version__
    assert run(capsys, "demo", "--bogus")[0] == 2


@pytest.mark.parametrize("words", [["choose"], ["choose", "--law", "power"], ["fit"]])
@pytest.mark.parametrize(
    ("by", "near"),
    [("size", []), ("formt", ["format"])],
)
def test_a_factor_that_is_no_column_says_which_there_are(capsys, tmp_path, words, by, near):
    rows = [(10**k, 2.0 + 10 ** (-0.3 * k), f) for k in range(2, 8) for f in ("cot", "label")]
    frame = pd.DataFrame(rows, columns=["examples", "loss", "format"])
    path = tmp_path / "runs.csv"
    frame.to_csv(path, index=False)
    names = sl.read_runs(path).frame.columns
    told = ", ".join([*near, *(n for n in names if n not in near)])
    code, _, error = run(capsys, words[0], path, "--by", by, *words[1:])
    assert code == 2
    assert error == (
        f"scaling-laws: --by: the log has no column {by!r}; it has {told}. Write --by format, "
        "or leave --by out: a law takes examples without it.\n"
    )


@pytest.fixture
def percents(tmp_path):
    """A log as people keep it: names of their own, scores and sizes in per cent."""
    path = tmp_path / "mine.csv"
    rows = [f"{n},{p},{round(90 - 300 * n**-0.4, 1)}" for n in (1e3, 4e3, 2e4) for p in (100, 37)]
    path.write_text("\n".join(["train samples,kept,macroF1", *rows]))
    return path


def test_units_are_said_in_the_shell(capsys, percents):
    columns = ("--column", "examples=train samples", "--column", "task_f1=macroF1")
    code, text, _ = run(capsys, "check", percents, *columns)
    assert code == 0
    assert "Write 1, or pass --unit kept=percent." in text
    assert "or pass --unit score=percent." in text
    units = ("--unit", "kept=percent", "--unit", "score=percent")
    _, text, _ = run(capsys, "check", percents, *columns, *units)
    assert text.startswith("mine.csv: 6 rows accepted, 0 rejected")
    code, _, wrong = run(capsys, "check", percents, *columns, "--unit", "examples=thousand")
    assert code == 2
    assert "--unit examples: 'thousand' is no number" in wrong
    code, _, wrong = run(capsys, "check", percents, *columns, "--unit", "kept=promille")
    assert code == 2
    assert "kept_unit must be one of fraction, percent, compression" in wrong


def test_remedies_are_those_of_the_shell(capsys, percents):
    code, _, wrong = run(capsys, "fit", percents, "--law", "power")
    assert code == 2
    assert "read 'macroF1' as task_f1 by --column task_f1=macroF1" in wrong
    assert "columns=" not in wrong
    assert "sl.read_runs" not in wrong
    _, text, _ = run(capsys, "check", percents)
    assert "if it is examples, pass --column 'examples=train samples'." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "LOG", "--law", "power", "--where", "examples=many"],
         "--where examples: 'many' is no number."),
        (["predict", "none.json", "--level", "95"], "not in (0, 1). Write 0.95 for 95 %."),
        (["predict", "none.json"], "none.json can't be read or written: No such file"),
        (["cost", "none.toml"], "none.toml can't be read or written: No such file"),
    ],
)  # fmt: skip
def test_what_is_no_number_or_file_is_told(capsys, log, words, message):
    code, _, wrong = run(capsys, *(log if w == "LOG" else w for w in words))
    assert code == 2
    assert message in wrong
    assert "Errno" not in wrong


def test_a_saved_fit_is_no_log(capsys, log, tmp_path):
    out = tmp_path / "fit.json"
    run(capsys, "fit", log, "--law", "power", "--out", out)
    code, _, wrong = run(capsys, "plot", out, "--out", tmp_path / "x.png")
    assert code == 2
    assert "fit.json is a saved fit, not a log of runs" in wrong
