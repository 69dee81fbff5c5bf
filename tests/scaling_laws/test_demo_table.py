"""The empty table of a design, and the demo on a filled one."""

import json

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.demo_table import run_table, write_design
from scaling_laws.presets import load_points
from tests.logs import grid


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """F1 of two seeds of three, MMLU of one format; the rest of the table stays empty."""
    path = write_design(tmp_path_factory.mktemp("design") / "runs.csv", "T-32B")
    table = pd.read_csv(path)
    rng = np.random.default_rng(0)
    u, kept = table["examples"] / 5e4, table["kept"]
    eta = 1.6 + table["format"].map({"label": 0.0, "cot": 0.2, "blended": 0.3})
    eta -= 0.5 * u**-0.35 + 0.25 * (kept**-0.8 - 1)
    noise = 0.006 * rng.standard_normal((2, len(table)))
    table["task_f1"] = (1 / (1 + np.exp(-eta)) + noise[0]).round(4)
    table["task_f1_se"] = 0.004
    skill = (1 + 0.45**6) / (1 + (0.45 / kept) ** 6) * (0.5 - 0.06 * u**-0.3)
    table["mmlu"] = (0.25 + skill + noise[1]).round(4)
    table["mmlu_n"] = 14042
    table.loc[table["format"] != "blended", "mmlu"] = np.nan
    table.loc[table["seed"] == 2, ["task_f1", "mmlu"]] = np.nan
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def shown(filled):
    return run_table(filled)


def test_the_design_has_a_row_a_run(tmp_path):
    table = pd.read_csv(write_design(tmp_path / "design.csv", "T-32B"))
    assert len(table) == 5 * 7 * 3 * 3
    assert not table.duplicated("run_id").any()
    assert sorted(table["kept"].unique()) == [0.16, 0.37, 0.58, 0.79, 1.0]
    assert table["examples"].min() == 6_000
    assert table["examples"].max() == 400_000
    assert set(table["format"]) == {"label", "cot", "blended"}
    assert set(table["seed"]) == {0, 1, 2}
    assert set(table["method"]) == {"full"}
    assert set(table["schedule"]) == {"iterative"}
    assert (table.groupby("chain_id")["kept"].count() == 5).all()
    assert table["task_f1"].isna().all()
    with pytest.raises(ValueError, match="exists; name a new file"):
        write_design(tmp_path / "design.csv")
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        write_design(tmp_path / "design.xlsx")


def test_every_column_is_a_field_of_a_run(tmp_path):
    table = pd.read_csv(write_design(tmp_path / "design.csv"))
    assert not [c for c in table if c not in sl.Run.model_fields]


def test_a_filled_table_is_fitted_by_metric(shown):
    assert list(shown.fits) == ["task_f1", "mmlu"]
    assert not shown.failed
    f1 = shown.fits["task_f1"]
    assert f1.problem.n == 210
    assert f1.problem.unit_kind == "chain"
    assert f1.law.by == ("format",)
    assert shown.fits["mmlu"].law.by == ()
    for name, truth in {"b": 0.35, "g": 0.8}.items():
        row = f1.parameters.loc[name]
        assert abs(row["estimate"] - truth) < 4 * row["se"]
    assert set(shown.held) == {"task_f1", "mmlu"}
    assert shown.collapses["mmlu"].derived.loc["half_point", "estimate"] == pytest.approx(
        0.45, abs=0.02
    )


def test_its_text_says_what_was_left_out_and_predicts_each_format(shown):
    text = shown.text()
    assert "210 rows accepted, 105 rejected" in text
    assert "The row has no score" in text
    for words in ("Hold-out by examples", "800,000", "outside", "against the fraction kept"):
        assert words in text
    assert text.count("0.16  800,000") == 4


def test_an_empty_table_says_so(capsys, tmp_path):
    code, out, _ = run(capsys, "demo", "--template", tmp_path / "empty.csv")
    assert code == 0
    assert "empty.csv" in out
    code, _, error = run(capsys, "demo", "--log", tmp_path / "empty.csv")
    assert code == 2
    assert "no row can be used" in error


def test_a_table_too_thin_for_a_law_lists_the_reason(tmp_path):
    path = write_design(tmp_path / "runs.csv")
    table = pd.read_csv(path).head(2)
    table.assign(task_f1=[0.8, 0.79]).to_csv(path, index=False)
    shown = run_table(path)
    assert not shown.fits
    assert "2 usable rows for 3 free parameters" in shown.failed["task_f1, fit"]
    assert "task_f1, fit" in shown.text()


def test_command_writes_text_and_fits_and_json_parses(capsys, filled, tmp_path):
    out = tmp_path / "out"
    code, text, _ = run(capsys, "demo", "--log", filled, "--out", out, "--json")
    assert code == 0
    found = json.loads(text)
    assert set(found["fits"]) == {"task_f1", "mmlu"}
    assert found["holdout"]["task_f1"]["error"] < 0.05
    assert sl.load(out / "task_f1.json").problem.n == 210
    assert (out / "demo.txt").read_text().startswith("runs.csv: 210 rows accepted")


def test_each_method_and_schedule_has_its_own_curve(filled, tmp_path):
    """LoRA loses a tenth of the score: of one curve for both that were noise."""
    table = pd.read_csv(filled).dropna(subset="task_f1")
    table = table[(table["format"] == "label") & (table["seed"] == 0)].drop(columns=["mmlu"])
    lora = table.assign(method="lora", task_f1=0.9 * table["task_f1"])
    for name in ("run_id", "chain_id"):
        lora[name] = lora[name] + "-lora"
    pd.concat([table, lora]).to_csv(tmp_path / "runs.csv", index=False)
    shown = run_table(tmp_path / "runs.csv")
    fit = shown.fits["task_f1"]
    assert fit.law.by == ("method",)
    at = {"method": ["full", "lora"], "kept": 0.37, "examples": 50_000}
    full, lora = fit.predict(at, interval=None)["estimate"]
    assert lora / full == pytest.approx(0.9, abs=0.01)
    assert "unused_factor" not in {n.code for n in fit.notes}
    assert shown.text().count("0.16  800,000") == 2


def test_models_of_several_sizes_are_asked_at_the_smallest(tmp_path):
    load_points("headline-f1").to_jsonl(tmp_path / "runs.jsonl")
    text = run_table(tmp_path / "runs.jsonl").text()
    assert "Compressed(size='params', full=8030000000.0)" in text
    assert "1.236e+09   50,000" in text


def test_two_teachers_are_two_curves(tmp_path):
    design = grid(teacher=["A", "B"], kept=[1.0, 0.5, 0.25], examples=[1e3, 1e4, 1e5])
    size = design["teacher"].map({"A": 8e9, "B": 1e9})
    score = 0.9 - 0.2 * (design["examples"] / 1e4) ** -0.3 - 0.02 / design["kept"]
    design = design.assign(params=size * design["kept"], task_f1=score)
    design.to_csv(tmp_path / "a.csv", index=False)
    assert run_table(tmp_path / "a.csv").fits["task_f1"].law.by == ("teacher",)
