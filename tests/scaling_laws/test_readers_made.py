"""Files that other tools write here and now, read back; each test skips without its tool.

The files in tests/fixtures show what the tools wrote once; these show what they write today. None
needs a network. ``pip install mlflow-skinny wandb lm-eval`` brings all three.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from scaling_laws.runs import read_runs

# The tools warn of their own ways.
pytestmark = pytest.mark.filterwarnings("ignore")

LOSSES = {100: 2.5, 1000: 2.0, 10_000: 1.75}


# --- MLflow ---------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow over a store in a folder, with three runs that ended and one that failed."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the one that needs no database
    module = pytest.importorskip("mlflow")
    before = module.get_tracking_uri()
    module.set_tracking_uri((tmp_path / "store").as_uri())
    module.set_experiment("students")
    for examples, loss in [*LOSSES.items(), (10, None)]:
        run = module.start_run(run_name=f"n{examples}")
        module.log_params({"examples": examples, "format": "label", "lr": 1e-4})
        module.set_tag("teacher", "T-32B")
        for step in (1, 2) if loss else ():
            module.log_metrics({"loss": loss + 2 - step, "eval/f1": 1 / loss}, step=step)
        module.end_run("FINISHED" if loss else "FAILED")
        assert run.info.run_id
    yield module
    module.set_tracking_uri(before)


def is_that_of_mlflow(log):
    ended = log.frame[log.frame["status"] == "ok"].sort_values("examples")
    assert len(log) == 4
    assert log.frame["run_id"].str.len().tolist() == [32] * 4
    assert ended["examples"].tolist() == list(LOSSES)
    assert ended["loss"].tolist() == list(LOSSES.values())  # the last step of each
    assert ended["eval/f1"].tolist() == pytest.approx([1 / v for v in LOSSES.values()])
    assert ended["lr"].tolist() == [1e-4] * 3
    assert set(log.frame["format"]) == {"label"}
    assert set(log.frame["teacher"]) == {"T-32B"}
    assert log.frame.loc[log.frame["status"] != "ok", "examples"].tolist() == [10]
    assert not [c for c in log.frame if "user" in c or "uri" in c]
    assert len(set(log.configurations())) == 4


def test_what_search_runs_of_mlflow_finds(mlflow, tmp_path):
    frame = mlflow.search_runs()
    frame.to_csv(tmp_path / "runs.csv", index=False)
    is_that_of_mlflow(read_runs(tmp_path / "runs.csv"))
    is_that_of_mlflow(read_runs(frame))


def test_runs_of_mlflow_as_objects(mlflow, tmp_path):
    runs = mlflow.search_runs(output_format="list")
    (tmp_path / "runs.json").write_text(json.dumps([run.to_dictionary() for run in runs]))
    is_that_of_mlflow(read_runs(tmp_path / "runs.json"))


# --- W&B ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wandb_runs(tmp_path_factory):
    """Runs that were logged without a server, as the public API shows them once it has them."""
    wandb = pytest.importorskip("wandb")
    from wandb.apis.public import Run

    folder = str(tmp_path_factory.mktemp("wandb"))
    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, x_disable_stats=True,
        x_disable_machine_info=True,
    )  # fmt: skip
    runs: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DIR", folder)
        for examples, loss in LOSSES.items():
            config = {"examples": examples, "format": "label", "lr": 1e-3, "model": {"layers": 4}}
            run = wandb.init(
                project="students", name=f"n{examples}", config=config, mode="offline", dir=folder,
                settings=quiet,
            )  # fmt: skip
            run.log({"loss": loss + 1, "lr": 1e-4})
            run.log({"loss": loss, "lr": 1e-5, "eval/f1": 1 / loss})
            # The server keeps both as JSON, each setting under "value".
            kept = {name: {"desc": None, "value": value} for name, value in run.config.items()}
            stored = {
                "id": "of-the-server", "name": run.id, "displayName": run.name,
                "state": "finished", "tags": list(run.tags or ()), "config": json.dumps(kept),
                "summaryMetrics": json.dumps(dict(run.summary)),
            }  # fmt: skip
            run.finish()
            runs.append(Run(None, "someone", "students", run.id, stored))
    wandb.teardown()
    return runs


def is_that_of_wandb(log):
    rows = log.frame.sort_values("examples")
    assert rows["examples"].tolist() == list(LOSSES)
    assert rows["loss"].tolist() == list(LOSSES.values())
    assert rows["eval/f1"].tolist() == pytest.approx([1 / v for v in LOSSES.values()])
    assert (rows["lr"].tolist(), rows["config.lr"].tolist()) == ([1e-5] * 3, [1e-3] * 3)
    assert rows["model.layers"].tolist() == [4] * 3
    assert rows["steps"].tolist() == [1] * 3  # the second step: W&B counts from 0
    assert (rows["wall_s"] > 0).all()
    assert set(rows["format"]) == {"label"}
    assert not [c for c in rows if "_timestamp" in c or "_wandb" in c]


def test_runs_of_wandb_as_objects(wandb_runs, tmp_path):
    rows = [
        {
            "id": run.id, "name": run.name, "state": run.state, "config": run.config,
            "summary": run.summary._json_dict,
        }
        for run in wandb_runs
    ]  # fmt: skip
    (tmp_path / "runs.json").write_text(json.dumps(rows))
    log = read_runs(tmp_path / "runs.json")
    is_that_of_wandb(log)
    assert log.frame["run_id"].tolist() == [run.id for run in wandb_runs]
    assert log.frame["status"].tolist() == ["ok"] * 3


def test_the_documented_csv_of_wandb(wandb_runs, tmp_path):
    """The recipe of its documentation: summary, config and name of each run, to_csv."""
    config = [{k: v for k, v in r.config.items() if not k.startswith("_")} for r in wandb_runs]
    frame = pd.DataFrame(
        {
            "summary": [run.summary._json_dict for run in wandb_runs],
            "config": config,
            "name": [run.name for run in wandb_runs],
        }
    )
    frame.to_csv(tmp_path / "project.csv")
    log = read_runs(tmp_path / "project.csv")
    is_that_of_wandb(log)
    assert log.frame["run_id"].tolist() == ["n100", "n1000", "n10000"]


# --- lm-evaluation-harness ------------------------------------------------------------------------

# Of so many guesses some are right and some wrong, but for a case in a million.
ITEMS = {"anatomy": 20, "astronomy": 30}
TASK = {
    "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\nAnswer:", "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """The harness's dummy model on two subjects and their group; its results and its file."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.dummy import DummyLM
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("harness")
    (folder / "tasks").mkdir()
    group = {
        "group": "mmlu", "task": [f"mmlu_{subject}" for subject in ITEMS],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }  # fmt: skip
    (folder / "tasks" / "mmlu.yaml").write_text(json.dumps(group))  # JSON is YAML
    for subject, n in ITEMS.items():
        rows = [json.dumps({"question": f"{subject} {i}?", "answer": i % 4}) for i in range(n)]
        (folder / f"{subject}.jsonl").write_text("\n".join(rows))
        given = {
            "data_files": {"test": str(folder / f"{subject}.jsonl")},
            "cache_dir": str(folder / "cache"),
        }
        task = {**TASK, "task": f"mmlu_{subject}", "dataset_kwargs": given}
        (folder / "tasks" / f"mmlu_{subject}.yaml").write_text(json.dumps(task))
    tracker = EvaluationTracker(output_path=str(folder / "out"))
    with pytest.MonkeyPatch.context() as patch:
        # Only its names are logged, and it would be fetched.
        patch.setattr(DummyLM, "tokenizer", None, raising=False)
        found = lm_eval.simple_evaluate(
            model="dummy", model_args="pretrained=org/tiny,dtype=float32", tasks=["mmlu"],
            task_manager=TaskManager(include_path=str(folder / "tasks"), include_defaults=False),
            num_fewshot=0, bootstrap_iters=10, evaluation_tracker=tracker,
        )  # fmt: skip
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    return samples, next((folder / "out").rglob("results_*.json"))


def test_results_that_the_harness_saved(harness):
    samples, path = harness
    log = read_runs(path)
    row = log.frame.iloc[0]
    right = {s: sum(a["acc"] for a in samples[f"mmlu_{s}"]) for s in ITEMS}
    n = sum(ITEMS.values())
    assert (len(log), log.metrics) == (1, ("mmlu",))
    assert (row["mmlu"], row["mmlu_n"]) == (pytest.approx(sum(right.values()) / n), n)
    assert row["mmlu_se"] > 0
    spread = sum(right[s] * (1 - right[s] / items) for s, items in ITEMS.items())
    assert row["mmlu_se"] == pytest.approx((spread / (n - len(ITEMS)) / n) ** 0.5)
    for subject, items in ITEMS.items():
        share = right[subject] / items
        assert row[f"mmlu_{subject}_acc"] == pytest.approx(share)
        assert row[f"mmlu_{subject}_acc_n"] == items
        # Of a share, over items less one, as the harness counts.
        error = (share * (1 - share) / (items - 1)) ** 0.5
        assert row[f"mmlu_{subject}_acc_se"] == pytest.approx(error)
    assert (row["model"], row["base_model"], row["dtype"]) == ("dummy", "org/tiny", "float32")
    assert row["run_id"] == path.stem
