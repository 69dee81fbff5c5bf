"""Exit codes and sentences of the command."""

import json
from unittest.mock import Mock

import pytest

from distill.cli import main
from distill.config import save_config
from distill.models import load_model
from distill.tiny import base_model, easy_headlines, tiny_config

ROUND = ("--round", "hidden=16", "--round", "ffn=16")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Return a folder with an untrained model, examples and a configuration."""
    path, examples = tmp_path_factory.mktemp("ground"), easy_headlines()
    base_model(path / "base", examples)
    rows = [{"text": e.text, "label": e.label, "rationale": e.rationale} for e in examples]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "easy-headlines.jsonl").write_text(lines)
    sizes = ["data.pool=12", "data.train=12", "data.validation=8", "data.test=20"]
    few = ["prune.calibration=8", "adapt=null", "prune.kept=[.5]", "evaluate.replies=4"]
    config = tiny_config(path, [*sizes, *few, f"out={path / 'out'}"])
    save_config(config, path / "c.yaml")
    return path


def succeed(capsys, *words):
    code, out, err = stop(capsys, *words)
    assert code == 0, err
    return out


def stop(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return end.value.code, printed.out, printed.err


def test_help_names_the_commands(capsys):
    code, out, _ = stop(capsys, "--help")
    assert code == 0
    assert all(name in out for name in ("run", "prune", "traces", "evaluate", "tiny", "fetch-"))


def test_a_missing_configuration_is_one_sentence(capsys, tmp_path):
    code, _, err = stop(capsys, "run", tmp_path / "absent.yaml")
    assert code == 2
    assert err.startswith("distill: ")
    assert "absent.yaml" in err


def test_an_unknown_setting_names_the_nearest(capsys, tmp_path):
    code, _, err = stop(capsys, "tiny", "--out", tmp_path, "--set", "train.lrr=1")
    assert code == 2
    assert "lr" in err
    assert "Traceback" not in err


def test_run_writes_the_log(capsys, ground):
    out = succeed(capsys, "run", ground / "c.yaml", "--set", "train.max_steps=1")
    log = ground / "out" / "runs.jsonl"
    assert f"Log: {log}" in out
    assert [json.loads(line)["phase"] for line in log.read_text().splitlines()] == [
        "teacher", "pruned", "distilled",
    ]  # fmt: skip


@pytest.mark.parametrize("measured", [True, False])
def test_prune_writes_a_model_of_the_size_it_says(capsys, ground, tmp_path, measured):
    (tmp_path / "texts").write_text("Shares fall in Lisbon\nBoss leaves\n")
    words = ["prune", ground / "base", tmp_path / "half", "--kept", "0.5"]
    words += ["--kept-of", "nonembedding", *ROUND]
    out = succeed(capsys, *words, *(["--texts", tmp_path / "texts"] if measured else []))
    assert f"{load_model(tmp_path / 'half').num_parameters():,} parameters" in out
    code, _, err = stop(capsys, *words)
    assert (code, "exists" in err) == (2, True)
    code, _, err = stop(capsys, *words[:2], tmp_path / "b", *words[3:5], "--round", "width=3")
    assert (code, "Write hidden=64" in err) == (2, True)


def test_evaluate_prints_scores(capsys, ground, tmp_path):
    out = succeed(capsys, "evaluate", ground / "c.yaml", ground / "base", "--save", tmp_path)
    scores = json.loads(out)
    assert (scores["task_f1_n"], scores["task_unparsed_n"]) == (20, 4)
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_traces_count_every_reply(capsys, ground, tmp_path):
    file = tmp_path / "traces.jsonl"
    out = succeed(capsys, "traces", ground / "c.yaml", file, "--tokens", "4")
    counts = json.loads(out.partition(": ")[2])
    # An untrained model concludes nothing.
    assert counts["unparsed"] == 12
    assert file.read_text() == ""
    code, _, err = stop(
        capsys, "run", ground / "c.yaml", "--set", f"data.traces={file}",
        "--set", "data.label_source=teacher",
    )  # fmt: skip
    assert code == 2
    assert "traces" in err


def test_a_full_disk_is_one_sentence(capsys, ground, tmp_path, full_disk):
    full_disk("traces.replies.jsonl")
    words = ["traces", ground / "c.yaml", tmp_path / "traces.jsonl", "--tokens", "4"]
    code, _, err = stop(capsys, *words)
    assert code == 2
    assert err.startswith(f"distill: {tmp_path / 'traces.replies.jsonl'} could not be written: ")


@pytest.mark.parametrize("command", ["run", "evaluate", "traces", "prune"])
def test_the_end_of_memory_is_one_sentence(capsys, ground, tmp_path, monkeypatch, command):
    config, base = ground / "c.yaml", ground / "base"
    words = {
        "run": [config, "--set", f"out={tmp_path}"], "evaluate": [config, base],
        "traces": [config, tmp_path / "t.jsonl"],
        "prune": [base, tmp_path / "p", "--kept", ".5", *ROUND],
    }[command]  # fmt: skip
    places = {"run": "steps.load_model", "prune": "prune.prune_model"}
    place = places.get(command, "models.load_model")
    monkeypatch.setattr(f"distill.{place}", Mock(side_effect=MemoryError))
    code, _, err = stop(capsys, command, *words)
    lower = "Give --dtype bfloat16" if command == "prune" else "Lower evaluate.batch, now 64"
    assert code == 2
    assert err.startswith("distill: out of memory while ")
    assert lower in err
