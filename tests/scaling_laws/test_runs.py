"""The run, the log, and what read_runs says about bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from scaling_laws.metrics import METRICS, Metric
from scaling_laws.runs import (
    SCHEMA_VERSION,
    Note,
    Run,
    RunLog,
    RunLogError,
    read_runs,
    template,
)


def codes(log: RunLog) -> list[str]:
    return [note.code for note in log.notes]


def reason(log: RunLog, at: int = 0) -> str:
    return str(log.rejected["reason"][at])


# --- Run ------------------------------------------------------------------------------------------


def test_every_field_is_described_and_optional() -> None:
    for name, field in Run.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name
    assert all({m.name, m.se, m.n} <= set(Run.model_fields) for m in METRICS.values())


def test_a_run_is_frozen_and_keeps_covariates() -> None:
    run = Run(kept="0.16", task_f1=0.7, optimiser="muon", lr=3e-4)
    assert run.kept == 0.16
    assert run.compression == pytest.approx(6.25)
    assert run.model_extra == {"optimiser": "muon", "lr": 3e-4}
    assert run.schema_version == SCHEMA_VERSION
    with pytest.raises(ValidationError, match="frozen"):
        run.kept = 0.5


def test_a_run_without_kept_has_no_compression() -> None:
    assert Run(loss=2.0).compression is None


def test_a_run_tells_every_problem() -> None:
    with pytest.raises(ValidationError, match="kept = 16.0 is not in") as caught:
        Run(kept=16.0, task_f1=71, examples=-1)
    told = str(caught.value)
    assert 'pass kept_unit="percent"' in told
    assert 'pass score_unit="percent"' in told
    assert "examples = -1 is not 0 or more" in told


def test_a_failed_run_needs_no_score() -> None:
    assert Run(status="failed", error="out of memory").task_f1 is None
    with pytest.raises(ValidationError, match="no score"):
        Run(status="ok")


def test_a_metric_of_your_own_is_checked() -> None:
    row = {"my_score": 1.2}
    context = {"metrics": [Metric("my_score", "higher", top=1.0, floor=0.0)]}
    with pytest.raises(ValidationError, match=r"my_score = 1.2 is not in \[0, 1\]"):
        Run.model_validate(row, context=context)
    assert read_runs([{"my_score": 0.9}], metrics=context["metrics"]).metrics == ("my_score",)
    assert len(read_runs([{"my_score": 0.9}])) == 0


def test_a_metric_may_not_take_a_field() -> None:
    with pytest.raises(RunLogError, match="'params'"):
        read_runs([{"loss": 1.0}], metrics=[Metric("params")])


# --- what a value may be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"kept": 16.0},
            "kept = 16.0 is not in (0, 1]; it is the fraction of parameters left. "
            'Write 0.16, or pass kept_unit="percent".',
        ),
        ({"kept": 6.25}, 'for a ratio teacher : student pass kept_unit="compression".'),
        ({"kept": 0}, "kept = 0 is not in (0, 1]; it is the fraction of parameters left."),
        ({"kept": "0,16"}, "kept = '0,16' has a comma; write 0.16 if it marks decimals"),
        ({"kept": "16%"}, "kept = '16%' has a percent sign"),
        ({"params": "7B"}, "params = '7B' has a unit; write 7e9."),
        ({"params": 0.6}, "params = 0.6 is not 1 or more"),
        ({"examples": 10.5}, "examples = 10.5 is not a whole number"),
        ({"examples": 2**60}, "is larger than 2**53"),
        ({"examples": 10**400}, "is too large for a 64-bit float"),
        ({"examples": 10**5000}, "examples = (int, too large to print) is too large"),
        ({"seed": True}, "seed = True is true or false where a number is needed"),
        ({"seed": "one"}, "seed = 'one' is not a number."),
        ({"seed": float("inf")}, "seed = inf is not finite"),
        ({"tokens": -1}, "tokens = -1 is not 0 or more; it is the number of training tokens."),
        ({"weight_bits": 0}, "weight_bits = 0 is not above 0"),
        ({"mmlu_se": -0.1}, "mmlu_se = -0.1 is not in [0, 1]"),
        ({"mmlu_n": 0}, "mmlu_n = 0 is not 1 or more"),
        ({"mmlu": 71.3}, 'Write 0.713, or pass score_unit="percent".'),
        ({"teacher": {"name": "T"}}, "teacher = {'name': 'T'} is a dict where text is needed."),
        ({"teacher": True}, "teacher = True is a bool where text is needed."),
        ({"lr": [1, 2]}, "lr = [1, 2] is a list; a cell holds one number or text."),
        ({"lr": np.inf}, "lr = inf is not finite"),
        ({"schema_version": 2}, "update scaling-laws."),
        ({"loss": None}, "The row has no score"),
        ({"loss": -0.1}, "loss = -0.1 is not 0 or more"),
    ],
)
def test_a_bad_value_is_refused_with_what_to_write(row: dict[str, Any], sentence: str) -> None:
    row = {"loss": 2.0, **row}
    log = read_runs([row, {"loss": 1.0}])
    assert sentence in reason(log)
    assert (len(log), log.rejected["row"][0]) == (1, 0)
    with pytest.raises(ValidationError) as caught:
        Run(**row)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "held"),
    [
        ("examples", 0, 0.0),
        ("kept", 1, 1.0),
        ("weight_bits", 1.58, 1.58),
        ("params", 6795600349.289497, 6795600349.289497),
        ("examples", " 6e3 ", 6000.0),
        ("task_brier", 1.9, 1.9),
        ("seed", -1, -1.0),
        ("run_id", 17, "17"),
        ("run_id", 17.0, "17"),
        ("code_version", 1.2, "1.2"),
    ],
)
def test_a_legal_value_is_kept(field: str, value: object, held: object) -> None:
    log = read_runs([{"loss": 2.0, field: value}])
    assert log.frame[field][0] == held


@pytest.mark.parametrize("word", ["", " ", "NA", "n/a", "NaN", "None", "null", "-", None, pd.NA])
def test_missing_spellings_are_missing(word: object) -> None:
    frame = read_runs([{"loss": 2.0, "kept": word, "teacher": word, "lr": word}]).frame
    assert frame[["kept", "teacher", "lr"]].isna().all(axis=None)


def test_a_refused_row_is_one_entry_with_all_its_problems() -> None:
    log = read_runs([{"kept": 16.0, "task_f1": 71.0}])
    assert len(log.rejected) == 1
    assert list(log.rejected.iloc[0][["row", "field", "value"]]) == [0, "kept", 16.0]
    assert "kept = 16.0" in reason(log)
    assert "task_f1 = 71.0" in reason(log)


# --- units and columns ----------------------------------------------------------------------------


def test_units_are_converted_exactly() -> None:
    rows = [{"kept": 16, "mmlu": 71.3, "mmlu_se": 0.5, "task_nll": 1.5, "examples": 0.3}]
    log = read_runs(rows, kept_unit="percent", score_unit="percent", units={"examples": 1e3})
    assert log.frame.iloc[0].to_dict() == {
        "kept": 0.16, "examples": 300.0, "task_nll": 1.5, "mmlu": 0.713, "mmlu_se": 0.005,
    }  # fmt: skip


def test_compression_is_one_over_kept() -> None:
    log = read_runs(
        [{"compression": 6.25, "loss": 2.0}, {"compression": 0, "loss": 2.0}],
        columns={"kept": "compression"},
        kept_unit="compression",
    )
    assert log.frame["kept"].tolist() == [0.16]
    assert "not finite" in reason(log)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kept_unit": "ratio"}, "kept_unit must be one of fraction, percent, compression"),
        ({"score_unit": "%"}, "score_unit must be one of fraction, percent"),
        ({"units": {"param": 1e9}}, "Did you mean 'params'"),
        ({"units": {"params": -1}}, "not a positive multiplier"),
        ({"units": {"kept": 0.01}, "kept_unit": "percent"}, "already has a unit"),
        ({"columns": {"tokens": "dee"}}, "has no column 'dee'. Did you mean 'deed'"),
        ({"columns": {"params": "deed"}}, "has a column 'params' already"),
        ({"columns": {"tokens": lambda f: 3.0}}, "must return 1 values, one a row"),
        ({"long": ("metric", "score")}, "has no column 'metric'"),
        ({"where": {"size": 1}}, "there is no column 'size'"),
        ({"where": [1]}, "must give 1 values, true or false"),
    ],
)
def test_options_that_do_not_fit_are_an_error(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RunLogError) as caught:
        read_runs([{"params": 1e9, "kept": 0.5, "loss": 2.0, "deed": 1}], **options)
    assert sentence in str(caught.value)


def test_columns_may_be_computed() -> None:
    frame = pd.DataFrame({"N": [1e9], "flops": [6e19], "loss": [2.0]})
    log = read_runs(frame, columns={"params": "N", "tokens": lambda f: f["flops"] / (6 * f["N"])})
    assert list(log.frame) == ["params", "tokens", "loss", "flops"]
    assert log.frame["tokens"].tolist() == [1e10]


def test_two_columns_may_change_places() -> None:
    log = read_runs(
        [{"kept": 6000, "examples": 0.5, "loss": 1.0}],
        columns={"kept": "examples", "examples": "kept"},
    )
    assert log.frame.iloc[0].to_dict() == {"kept": 0.5, "examples": 6000.0, "loss": 1.0}


# --- notes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "code", "sentence"),
    [
        ([{"loss": 1.0, "n_params": 1e9}], "column_name", "columns={'params': 'n_params'}"),
        ([{"loss": 1.0, "Examples": 10}], "column_name", "columns={'examples': 'Examples'}"),
        ([{"loss": 1.0, "D (tokens)": 1}], "column_name", "columns={'tokens': 'D (tokens)'}"),
        ([{"loss": 1.0, "Train samples": 1}], "column_name", "{'examples': 'Train samples'}"),
        ([{"loss": 1.0, "MMLU acc": 0.3}], "column_name", "columns={'mmlu': 'MMLU acc'}"),
        ([{"loss": 1.0, "macroF1": 0.3}], "column_name", "columns={'task_f1': 'macroF1'}"),
        ([{"loss": 1.0, "compression": 2}], "column_name", 'kept_unit="compression"'),
        ([{"loss": 1.0, "format": "labels"}], "spelling", "did you mean 'label'"),
        ([{"loss": 1.0, "format": "CoT"}], "spelling", "did you mean 'cot'"),
        ([{"loss": 1.0, "schedule": "one_shot"}], "spelling", "did you mean 'one-shot'"),
        ([{"loss": 1.0, "run_id": "a", "parent_id": "b"}], "parent_missing", "'b'"),
        (
            [{"loss": 1.0, "chain_id": "c", "teacher": t} for t in "AB"],
            "chain_teachers", "those of 'c' don't",
        ),
        (
            [{"loss": 1.0, "kept": k, "params": 1e9 * k, "teacher": "A"} for k in (1, 0.5)],
            "collinear_sizes", "use kept",
        ),
        ([{"loss": 1.0, "params": 7}], "params_unit", 'units={"params": 1e9}'),
        (
            [{"mmlu": s} for s in (71.0, 60.0, 0.4)],
            "unit_doubtful", "refused in 2 rows and accepted in 1",
        ),
    ],
)  # fmt: skip
def test_a_weak_log_gets_a_note(rows: list[dict[str, Any]], code: str, sentence: str) -> None:
    log = read_runs(rows)
    found = [note for note in log.notes if note.code == code]
    assert found
    assert sentence in found[0].sentence
    assert found[0].sentence in repr(log)


@pytest.mark.parametrize(
    "rows",
    [
        [{"loss": 1.0, "params": 1e9, "tokens": 1e10}],
        [{"loss": 1.0, "format": "rationale", "optimiser": "adam"}],
        [{"loss": 1.0, "run_id": "a"}, {"loss": 1.0, "run_id": "b", "parent_id": "a"}],
        [{"loss": 1.0, "kept": k, "params": p, "teacher": t}
         for k, p, t in ((1, 8e9, "A"), (0.5, 4e9, "A"), (1, 32e9, "B"))],
        [{"loss": 1.0, "kept": 0.5, "params": 4e9}],
    ],
)  # fmt: skip
def test_a_sound_log_gets_no_note(rows: list[dict[str, Any]]) -> None:
    assert codes(read_runs(rows)) == []


def test_a_near_miss_is_kept_as_written() -> None:
    assert read_runs([{"loss": 1.0, "format": "labels"}]).frame["format"].tolist() == ["labels"]


def test_a_named_index_is_not_lost_in_silence() -> None:
    frame = pd.DataFrame({"loss": [1.0]}, index=pd.Index(["a"], name="run_id"))
    assert codes(read_runs(frame)) == ["index_not_read"]


def test_a_note_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Note("code", "info", "Sentence.").code = "other"


# --- duplicates -----------------------------------------------------------------------------------


def test_a_second_use_of_a_run_id_is_refused() -> None:
    first = {"run_id": "a", "loss": 1.0}
    log = read_runs([first, {"run_id": "b", "loss": 1.0}, first, {**first, "loss": 2.0}])
    assert len(log) == 2
    assert log.rejected["row"].tolist() == [2, 3]
    assert reason(log, 0) == "run_id = 'a' was already used by row 0, an exact duplicate of it."
    assert "which differs in loss" in reason(log, 1)


def test_a_refused_row_does_not_use_up_its_run_id() -> None:
    log = read_runs([{"run_id": "a", "loss": -1.0}, {"run_id": "a", "loss": 1.0}])
    assert log.rows.tolist() == [1]


def test_rows_without_run_id_may_be_equal() -> None:
    assert len(read_runs([{"loss": 1.0}, {"loss": 1.0, "run_id": None}])) == 2


# --- the log --------------------------------------------------------------------------------------


def example() -> RunLog:
    return read_runs(
        [
            {"format": "label", "kept": 0.5, "mmlu": 0.6, "note": "x"},
            {"format": "cot", "kept": 0.16, "mmlu": 0.5},
            {"format": "cot", "kept": 16, "mmlu": 0.5},
            {"format": "cot", "kept": 0.5, "status": "failed"},
        ]
    )


def test_columns_stand_in_canonical_order_covariates_last() -> None:
    assert list(example().frame) == ["status", "kept", "format", "mmlu", "note"]
    assert example().frame["kept"].dtype == np.float64


def test_select_by_mapping_function_and_mask() -> None:
    log = example()
    assert log.select({"format": "cot", "kept": [0.16, 0.5]}).rows.tolist() == [1, 3]
    assert log.select(lambda f: f["kept"] < 0.5).rows.tolist() == [1]
    chosen = log.select(np.array([True, False, False]))
    assert chosen.rows.tolist() == [0]
    assert (chosen.left_out, chosen.accepted, len(chosen.rejected)) == (2, 1, 1)
    assert "kept 1 of 3 rows" in chosen.notes[-1].sentence
    assert chosen.frame.index.equals(pd.RangeIndex(1))


def test_where_is_a_selection() -> None:
    log = read_runs([{"loss": 1.0, "kept": 0.5}, {"loss": 2.0, "kept": 1}], where={"kept": 0.5})
    assert (len(log), log.left_out) == (1, 1)


def test_iteration_gives_runs() -> None:
    runs = list(example())
    assert runs[0] == Run(format="label", kept=0.5, mmlu=0.6, note="x")
    assert runs[2].status == "failed"
    again = read_runs(runs)
    pd.testing.assert_frame_equal(again.frame, example().frame)


def test_a_log_is_returned_as_it_is() -> None:
    log = example()
    assert read_runs(log) is log


def test_a_log_can_be_read_again_under_new_metrics() -> None:
    log = read_runs([{"loss": 1.0, "my_score": 0.5}, {"loss": 1.0, "my_score": 1.5}, {"loss": -1}])
    own = Metric("my_score", "higher", "in-domain", 0.0, 1.0, "logit")
    again = read_runs(log, metrics=[own])
    assert again.metrics == ("loss", "my_score")
    assert again.rejected["row"].tolist() == [1, 2]


def test_a_failed_run_counts_as_no_metric() -> None:
    assert example().metrics == ("mmlu",)
    assert read_runs([{"status": "failed", "mmlu": None}]).metrics == ()


def test_summaries_hold_counts_and_reasons_and_escape_html() -> None:
    log = read_runs([{"loss": 1.0, "format": "labels"}, {"loss": 2, "kept": "<b>", "run_id": "q"}])
    text, html = repr(log), log._repr_html_()
    assert "list: 1 rows accepted, 1 rejected; 1 runs with loss" in text
    assert "list row 1: kept = '<b>' is not a number." in text
    assert "&lt;b&gt;" in html
    assert "<b>'" not in html


def test_equal_reasons_are_told_once() -> None:
    log = read_runs([{"kept": 0.5}] * 40)
    assert "list row 0 and 39 more: The row has no score" in repr(log)
    assert repr(log).count("no score") == 1


def test_columns_that_may_be_scores_are_named() -> None:
    rows = [{"kept": 0.5, "val/loss": 2.0, "MMLU acc": 0.6}]
    log = read_runs(rows)
    assert "read 'val/loss' as loss and 'MMLU acc' as mmlu by columns={'loss'" in repr(log)
    mapped = read_runs(rows, columns={"loss": "val/loss", "mmlu": "MMLU acc"})
    assert mapped.metrics == ("mmlu", "loss")


def test_an_empty_source_is_an_empty_log() -> None:
    for source in ([], pd.DataFrame()):
        log = read_runs(source)
        assert (len(log), len(log.rejected), log.metrics) == (0, 0, ())
        assert list(log) == []


def test_the_frame_of_the_caller_is_not_changed() -> None:
    frame = pd.DataFrame({"kept": [16.0, 50.0], "loss": [1.0, 2.0]})
    before = frame.copy()
    log = read_runs(frame, kept_unit="percent")
    log.frame.loc[0, "loss"] = 99.0
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    "dtype", ["Int64", "Float64", "float32", "int32", "uint8", "category", "object", "string"]
)
def test_column_types_of_pandas_are_read(dtype: str) -> None:
    cells = ["3", "4"] if dtype == "string" else [3, 4]
    log = read_runs(pd.DataFrame({"layers": pd.Series(cells, dtype=dtype), "loss": [1.0, 2.0]}))
    assert log.frame["layers"].tolist() == [3.0, 4.0]
    assert log.frame["layers"].dtype == np.float64


# --- template -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 3, 7])
def test_the_template_is_read_without_a_complaint(tmp_path: Path, rows: int) -> None:
    path = template(tmp_path / "runs.csv", rows=rows)
    log = read_runs(path)
    assert (len(log), len(log.rejected)) == (rows, 0)
    header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header == list(log.schema.rules)
    assert set(header) == set(Run.model_fields)
    assert {note.code for note in log.notes} <= {"collinear_sizes"}


def test_the_template_replaces_nothing(tmp_path: Path) -> None:
    template(tmp_path / "runs.csv")
    with pytest.raises(RunLogError, match="exists"):
        template(tmp_path / "runs.csv")
    with pytest.raises(RunLogError, match=r"must end in \.csv"):
        template(tmp_path / "runs.xlsx")
