"""What other tools write: trainer states, harness results, exports of trackers, folders of runs.

Files in tests/fixtures were written by transformers 5.24.0 (Trainer on a one-layer Llama),
lm-evaluation-harness 0.4.13 (its dummy model on four toy tasks; `pretty_env_info` emptied), MLflow
3.17.2 (`search_runs`, as a frame and as `Run.to_dictionary`) and W&B 0.31.0 (its class
`wandb.apis.public.Run` over attributes as a server stores them; the CSV by the export recipe of its
documentation).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.runs import RunLog, RunLogError, read_runs

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def told(log: RunLog, code: str) -> str:
    return next(note.sentence for note in log.notes if note.code == code)


def dump(path: Path, found: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


# --- trainer states -------------------------------------------------------------------------------


def evaluation(step: int, loss: float, **more: Any) -> dict[str, Any]:
    return {"step": step, "epoch": step / 10, "eval_loss": loss, "eval_runtime": 1.5, **more}


def state(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    ends = {"global_step": max([0, *(e["step"] for e in entries)]), "epoch": 1.0}
    return {"log_history": list(entries), **ends, **more}


def test_a_trainer_state_is_one_run_with_its_last_and_best_evaluation():
    log = read_runs(FIXTURES / "trainer_state.json")
    row = log.frame.iloc[0]
    assert len(log) == 1
    assert row["run_id"] == "fixtures"
    assert (row["steps"], row["epoch"], row["tokens"]) == (6, 3.0, 384)
    assert row["loss"] == 3.484386444091797
    assert (row["best_step"], row["best_loss"]) == (2, 3.473268508911133)
    assert (row["mmlu"], row["eval_f1"], row["best_eval_f1"]) == (0.3, 0.5, 0.5)
    assert (row["train_loss"], row["mean_train_loss"]) == (3.4700767993927, 3.4724183479944863)
    assert row["wall_s"] == 0.1252
    assert "eval_loss -> loss" in told(log, "trainer_state")
    assert "best_... are those of step 2" in told(log, "trainer_state")
    assert "grad_norm" in told(log, "not_read")
    assert "pass columns={'task_f1': 'eval_f1'}" in told(log, "column_name")


def test_checkpoints_are_rows_of_one_cluster():
    log = read_runs(FIXTURES / "trainer_state.json", checkpoints=True)
    assert log.frame["run_id"].tolist() == ["fixtures@2", "fixtures@4", "fixtures@6"]
    assert log.frame["chain_id"].unique().tolist() == ["fixtures"]
    assert log.frame["steps"].tolist() == [2, 4, 6]
    assert log.frame["tokens"].tolist() == [128, 256, 384]
    assert log.frame["train_loss"].tolist() == [
        3.481752872467041, 3.4863228797912598, 3.4700767993927,
    ]  # fmt: skip
    assert len(set(log.configurations())) == 3


def test_checkpoints_of_several_runs_are_fitted_by_run(tmp_path):
    rng = np.random.default_rng(0)
    steps = (100 * 2 ** np.arange(6)).tolist()
    for seed in range(8):
        shift = 0.02 * rng.normal()
        entries = [evaluation(s, 1 + 5 * s**-0.5 + shift + 0.002 * rng.normal()) for s in steps]
        dump(tmp_path / f"seed{seed}" / "trainer_state.json", state(*entries))
    log = read_runs(tmp_path, checkpoints=True)
    fit = sl.fit(sl.laws.Power("steps"), log)
    assert (fit.problem.n, fit.problem.unit_kind) == (48, "chain")
    assert len(np.unique(fit.problem.unit)) == 8
    once = read_runs(tmp_path)
    assert len(once) == 8
    assert len(set(once.configurations())) == 1


def test_the_trainer_decides_which_checkpoint_is_best(tmp_path):
    entries = (evaluation(1, 2.0), evaluation(2, 1.5), evaluation(3, 1.7))
    path = dump(tmp_path / "a" / "trainer_state.json", state(*entries, best_global_step=3))
    assert read_runs(path).frame["best_step"].item() == 3
    dump(path, state(*entries))
    assert read_runs(path).frame["best_step"].item() == 2


def test_a_second_evaluation_of_a_step_is_told(tmp_path):
    again = (evaluation(5, 2.0), evaluation(5, 1.5), {"step": 5, "eval_other_loss": 9.0})
    log = read_runs(dump(tmp_path / "trainer_state.json", state(*again)))
    assert log.frame["loss"].item() == 2.0
    assert log.frame["eval_other_loss"].item() == 9.0
    assert "eval_loss at step 5" in told(log, "evaluated_again")


def test_a_state_without_evaluations_says_what_it_has(tmp_path):
    path = dump(tmp_path / "trainer_state.json", state({"step": 1, "loss": 3.0, "epoch": 1}))
    log = read_runs(path)
    assert "columns={'loss': 'train_loss'}" in told(log, "trainer_state")
    assert (len(log), len(log.rejected)) == (0, 1)
    assert read_runs(path, columns={"loss": "train_loss"}).frame["loss"].tolist() == [3.0]


def test_tokens_that_were_not_counted_are_missing(tmp_path):
    path = dump(tmp_path / "s.json", state(evaluation(1, 2.0), num_input_tokens_seen=0))
    log = read_runs(path)
    assert "tokens" not in log.frame
    assert log.frame["run_id"].tolist() == ["s"]


def test_parameters_of_a_trial_are_covariates(tmp_path):
    path = dump(tmp_path / "s.json", state(evaluation(1, 2.0), trial_params={"lr": 1e-4}))
    assert read_runs(path).frame["lr"].tolist() == [1e-4]


def test_the_trainers_own_class_writes_what_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    history = [{"step": 4, "epoch": 0.5, "loss": 2.5}, evaluation(4, 2.25)]
    made = transformers.TrainerState(
        epoch=0.5, global_step=4, max_steps=8, log_history=history, num_input_tokens_seen=512
    )
    folder = tmp_path / "mine" / "checkpoint-4"
    folder.mkdir(parents=True)
    made.save_to_json(str(folder / "trainer_state.json"))
    row = read_runs(folder / "trainer_state.json").frame.iloc[0]
    assert (row["run_id"], row["loss"], row["steps"], row["tokens"]) == ("mine", 2.25, 4, 512)


# --- lm-evaluation-harness ------------------------------------------------------------------------


def test_harness_results_are_a_row_of_triples():
    log = read_runs(FIXTURES / "lm_eval_results.json")
    row = log.frame.iloc[0]
    assert log.metrics == ("mmlu", "mmlu_pro")
    assert (row["mmlu"], row["mmlu_se"], row["mmlu_n"]) == (0.2625, 0.049799276588299426, 80)
    assert (row["mmlu_pro"], row["mmlu_pro_n"]) == (0.0, 40)
    assert (row["base_model"], row["dtype"], row["model"]) == ("org/tiny", "float32", "dummy")
    assert (row["arc_toy_acc_norm"], row["arc_toy_acc_norm_n"]) == (0.275, 40)
    assert (row["mmlu_anatomy_acc"], row["mmlu_shots"]) == (0.275, 0)
    assert "acc,none of mmlu -> mmlu" in told(log, "harness")
    assert "pretty_env_info" in told(log, "not_read")
    assert "config.device" in told(log, "not_read")


def test_any_score_of_the_harness_can_be_the_metric():
    arc = sl.Metric("arc_toy_acc", "higher", "general", 0.25, 1.0, "logit", "proportion")
    log = read_runs(FIXTURES / "lm_eval_results.json", metrics=[arc])
    assert "arc_toy_acc" in log.metrics
    variance = log.noise("arc_toy_acc")["sd"].iloc[0] ** 2
    assert variance == pytest.approx(0.07149950690165272**2)


def test_old_and_odd_results(tmp_path):
    found = {
        "results": {"mmlu": {"acc": 0.5, "acc_stderr": "N/A", "alias": "x"}, "empty": {}},
        "versions": {"mmlu": 1},
        "config": {
            "model_args": {"pretrained": "m", "x": {"a": 1}, "model": "n"},
            "model": "hf", "limit": 10, "model_num_parameters": 8_190_735_360,
        },
    }  # fmt: skip
    log = read_runs(dump(tmp_path / "old.json", found))
    row = log.frame.iloc[0]
    assert (row["mmlu"], row["params"], row["base_model"]) == (0.5, 8_190_735_360, "m")
    assert (row["model"], row["model_args.model"]) == ("hf", "n")
    assert "limit = 10" in told(log, "limited")
    assert "model_args.x" in told(log, "not_read")
    found["results"]["mmlu"] = 0.5
    with pytest.raises(RunLogError, match=r"old\.json: results\.mmlu = 0\.5 is not an object"):
        read_runs(dump(tmp_path / "old.json", found))


# --- MLflow ---------------------------------------------------------------------------------------

MLFLOW = {"loss": [1.3, 1.6, 2.1], "eval/f1": [0.54, 0.48, 0.38]}


@pytest.mark.parametrize("name", ["mlflow_runs.csv", "mlflow_runs.json"])
def test_mlflow_exports(name):
    log = read_runs(FIXTURES / name)
    ended = log.frame[log.frame["status"] == "ok"].sort_values("loss")
    assert log.frame["status"].tolist().count("failed") == 1
    for score, values in MLFLOW.items():
        np.testing.assert_allclose(ended[score], values)
    assert ended["examples"].tolist() == [10_000, 1000, 100]
    assert ended["teacher"].unique().tolist() == ["T-32B"]
    assert ended["format"].unique().tolist() == ["label"]
    assert ended["params.lr"].tolist() == [1e-3] * 3
    assert ended["lr"].tolist() == [1e-5] * 3
    assert ended["run_id"].str.len().tolist() == [32] * 3
    assert not [c for c in log.frame if "user" in c or "uri" in c]
    assert "status FINISHED -> ok" in told(log, "export")
    assert "kept whole, as the short name is taken: params.lr" in told(log, "export")
    assert "artifact_uri" in told(log, "not_read")
    assert len(set(log.configurations())) == 4


def test_a_frame_of_mlflow_and_its_json_by_column_are_the_csv(tmp_path):
    frame = pd.read_csv(FIXTURES / "mlflow_runs.csv")
    expected = read_runs(FIXTURES / "mlflow_runs.csv").frame
    pd.testing.assert_frame_equal(read_runs(frame).frame, expected)
    frame.to_json(tmp_path / "runs.json")
    pd.testing.assert_frame_equal(read_runs(tmp_path / "runs.json").frame, expected)
    frame.to_json(tmp_path / "runs.json", orient="records")
    pd.testing.assert_frame_equal(read_runs(tmp_path / "runs.json").frame, expected)


def test_the_rest_api_of_mlflow(tmp_path):
    run = {
        "info": {"run_id": "a", "status": "RUNNING", "artifact_uri": "s3://b"},
        "data": {
            "metrics": [{"key": "loss", "value": 2.0, "timestamp": 1, "step": 0}],
            "params": [{"key": "examples", "value": "100"}],
        },
    }
    log = read_runs(dump(tmp_path / "runs.json", {"runs": [run], "next_page_token": "t"}))
    row = log.frame.iloc[0]
    assert (row["run_id"], row["loss"], row["examples"]) == ("a", 2.0, 100)
    assert row["status"] == "running"
    assert "1 run had not ended" in told(log, "not_ended")


def test_names_that_the_caller_uses_stay():
    log = read_runs(FIXTURES / "mlflow_runs.csv", columns={"task_f1": "metrics.eval/f1"})
    assert log.frame["task_f1"].max() == pytest.approx(0.54)


def test_two_losses_are_told():
    row = {"run_id": "a", "status": "FINISHED", "metrics.loss": 1.0, "metrics.eval_loss": 2.0}
    log = read_runs(pd.DataFrame([row]))
    told(log, "two_losses")
    columns = {"train_loss": "loss", "loss": "eval_loss"}
    assert read_runs(pd.DataFrame([row]), columns=columns).frame["loss"].tolist() == [2.0]


# --- W&B ------------------------------------------------------------------------------------------


def test_runs_of_the_wandb_api():
    log = read_runs(FIXTURES / "wandb_runs.json")
    assert log.frame["run_id"].tolist() == ["id0", "id1", "id2", "id3"]
    assert log.frame["status"].tolist() == ["ok", "ok", "ok", "failed"]
    assert log.frame["examples"].tolist() == [100, 1000, 10_000, 10]
    assert log.frame["steps"].tolist() == [20, 40, 60, 80]
    assert log.frame["wall_s"].tolist() == [12.5, 13.5, 14.5, 15.5]
    assert log.frame["model.layers"].tolist() == [4] * 4
    assert log.frame["lr"].tolist() == [1e-4] * 4
    assert log.frame["config.lr"].tolist() == [1e-3] * 4
    assert "state -> status" in told(log, "export")
    assert "tags (a list in 4 rows)" in told(log, "not_read")


def test_the_documented_csv_of_wandb():
    log = read_runs(FIXTURES / "wandb_project.csv")
    same = read_runs(FIXTURES / "wandb_runs.json").frame
    for name in ("loss", "eval/f1", "examples", "format", "config.lr", "model.hidden"):
        assert log.frame[name].tolist() == same[name].tolist()
    assert "run_id" not in log.frame  # two runs share a name


@pytest.mark.parametrize("dot", [".", "/"])
def test_flat_names_of_wandb(dot):
    rows = [
        {"name": f"r{i}", "State": "crashed", f"config{dot}examples": "10", f"summary{dot}loss": 2}
        for i in range(2)
    ]
    log = read_runs(rows)
    assert log.frame["run_id"].tolist() == ["r0", "r1"]
    assert log.frame["status"].tolist() == ["failed"] * 2
    assert log.frame["examples"].tolist() == [10, 10]
    assert log.frame["loss"].tolist() == [2, 2]


def test_configs_as_the_server_stores_them(tmp_path):
    stored = {"config": {"lr": {"desc": None, "value": 0.5}}, "summary": '{"loss": 2.0, "a": null}'}
    log = read_runs(dump(tmp_path / "r.json", stored))
    assert log.frame[["loss", "lr"]].to_numpy().tolist() == [[2.0, 0.5]]


def test_a_history_is_a_run_or_its_checkpoints(tmp_path):
    history = pd.DataFrame(
        {
            "_step": [1, 2, 3], "_runtime": [1.0, 2.0, 3.0], "_timestamp": [5.0, 6.0, 7.0],
            "loss": [3.0, np.nan, 2.0], "mmlu": [0.3, 0.4, np.nan],
        }
    )  # fmt: skip
    history.to_csv(tmp_path / "h.csv", index=False)
    log = read_runs(tmp_path / "h.csv")
    assert log.frame[["run_id", "steps", "loss", "mmlu"]].to_numpy().tolist() == [
        ["h.csv", 3, 2.0, 0.4]
    ]
    assert "3 steps of 1 run" in told(log, "history")
    rows = read_runs(tmp_path / "h.csv", checkpoints=True).frame
    assert rows["run_id"].tolist() == ["h.csv@1", "h.csv@2", "h.csv@3"]
    assert rows["chain_id"].unique().tolist() == ["h.csv"]
    both = pd.concat([history.assign(id="a"), history.assign(id="b")])
    assert read_runs(both).frame["run_id"].tolist() == ["a", "b"]
    assert read_runs(both, checkpoints=True).frame["chain_id"].tolist() == ["a"] * 3 + ["b"] * 3


def test_a_log_of_its_own_is_left_alone():
    rows = [{"config": "a", "name": "x", "metrics.loss": 1.0, "loss": 2.0, "state": "finished"}]
    log = read_runs(rows)
    assert {"config", "name", "metrics.loss", "state"} < set(log.frame)
    assert "status" not in log.frame


# --- JSON and folders -----------------------------------------------------------------------------


def test_json_of_plain_runs(tmp_path):
    rows = [{"kept": 0.5, "loss": 2.0}, 7, {"kept": 16, "loss": 1.0}]
    log = read_runs(dump(tmp_path / "a.json", rows))
    assert log.rows.tolist() == [0]
    assert log.rejected["reason"][0] == "The entry is a JSON int, not an object."
    assert "Write 0.16" in log.rejected["reason"][1]
    assert len(read_runs(dump(tmp_path / "a.json", rows[0]))) == 1
    (tmp_path / "a.json").write_text('{"loss": 2.0}\n{"loss": 1.0}\n')
    assert read_runs(tmp_path / "a.json").rows.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a.json is not a complete JSON file: Expecting value at line 1 column 1"),
        ('{"loss": 2.0', "a.json is not a complete JSON file"),
        ("[1, 2] 3", "a.json is not a complete JSON file: Extra data"),
        ("7", "a.json holds 7; a run is an object"),
        ('{"a": 1, "a": 2}', "a.json: The file gives 'a' more than once"),
        ("[" * 100_000, "a.json: The file is nested too deeply"),
        ('{"log_history": [3], "global_step": 1}', "a.json: log_history[0] = 3 is not an object"),
        ('{"log_history": [{"loss": 1}], "global_step": 1}', "log_history[0] has no step; it has"),
        (
            '{"log_history": [{"step": "x", "eval_loss": 1}], "global_step": 1}',
            "a.json: log_history[0].step = 'x' is not a number",
        ),
    ],
)
def test_json_that_cannot_be_read(tmp_path, text, sentence):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunLogError) as caught:
        read_runs(tmp_path / "a.json")
    assert sentence in str(caught.value)


def test_a_folder_of_all_kinds(tmp_path):
    dump(tmp_path / "x" / "one.json", {"examples": 10, "loss": 2.0, "lr": 1e-3})
    dump(tmp_path / "x" / "two.json", {"examples": 20, "loss": -1, "lr": 1e-3})
    dump(tmp_path / "x" / "named.json", {"run_id": "mine", "loss": 1.0})
    dump(tmp_path / "x" / "list.json", [{"loss": 1.0}, {"loss": 1.5}])
    (tmp_path / "x" / "torn.json").write_text('{"loss": 2.')
    for step in (2, 4):
        entries = [evaluation(s, 3.0 / s) for s in range(2, step + 1, 2)]
        folder = tmp_path / "hf" / f"checkpoint-{step}"
        dump(folder / "trainer_state.json", state(*entries))
        dump(folder / "config.json", {"architectures": ["L"], "vocab_size": 7})
    dump(tmp_path / "hf" / "all_results.json", {"eval_loss": 0.75, "epoch": 1})
    shutil.copy(FIXTURES / "lm_eval_results.json", tmp_path / "eval.json")
    (tmp_path / "other.jsonl").write_text('{"loss": 1}\n')
    log = read_runs(tmp_path)
    assert log.frame["run_id"].tolist() == [
        "eval", "hf", "x/list@0", "x/list@1", "mine", "x/one",
    ]  # fmt: skip
    assert log.frame.set_index("run_id")["loss"]["hf"] == 0.75
    assert log.files[log.rows[2]] == "x/list.json row 0"
    refused = {log.files[row]: why for row, why in log.rejected[["row", "reason"]].to_numpy()}
    assert list(refused) == ["x/two.json", "x/torn.json"]
    assert "is not a complete JSON file" in refused["x/torn.json"]
    assert "x/two.json: loss = -1" in repr(log)
    assert "'hf/checkpoint-2/trainer_state.json'" in told(log, "earlier_states")
    assert "'hf/all_results.json', 'hf/checkpoint-2/config.json'" in told(log, "no_run")
    assert "'other.jsonl'" in told(log, "not_read")
    assert not set(log.rows) & set(log.rejected["row"])


def test_states_of_one_folder_are_one_run(tmp_path):
    root = tmp_path / "run"
    shutil.copytree(FIXTURES, root, ignore=lambda _, names: set(names) - {"trainer_state.json"})
    for step in (2, 6):
        dump(root / f"checkpoint-{step}" / "trainer_state.json", state(evaluation(step, 9.0)))
    log = read_runs(root)
    assert log.frame[["run_id", "loss"]].to_numpy().tolist() == [["run", 3.484386444091797]]


def test_a_score_of_ones_own_marks_a_run(tmp_path):
    dump(tmp_path / "a.json", {"acc": 0.5, "lr": 1})
    with pytest.raises(RunLogError, match=r"holds no run: 'a\.json' hold no score"):
        read_runs(tmp_path)
    assert len(read_runs(tmp_path, columns={"task_accuracy": "acc"})) == 1
    assert len(read_runs(tmp_path, columns={"task_accuracy": lambda f: f["acc"]})) == 1
    assert len(read_runs(tmp_path, metrics=[sl.Metric("acc")])) == 1


def test_folders_without_runs(tmp_path):
    with pytest.raises(RunLogError, match=r"there is no \.json file below it"):
        read_runs(tmp_path)
    (tmp_path / "a.csv").write_text("loss\n1\n")
    with pytest.raises(RunLogError, match=r"read by name: 'a\.csv'"):
        read_runs(tmp_path)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(RunLogError, match=r"b\.json is not a complete JSON file"):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", [path.name for path in sorted(FIXTURES.glob("*_*.*"))])
def test_check_takes_each(name, capsys):
    from scaling_laws.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["check", str(FIXTURES / name), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["accepted"] >= 1


def test_check_takes_a_folder(tmp_path, capsys):
    from scaling_laws.cli import main

    dump(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(SystemExit) as stop:
        main(["check", str(tmp_path)])
    assert stop.value.code == 0
    assert "1 rows accepted" in capsys.readouterr().out
