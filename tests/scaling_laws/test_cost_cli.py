"""The command cost, and what the package leaves unloaded."""

import doctest
import json
import subprocess
import sys
from importlib import import_module

import pytest

from scaling_laws.cli import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


@pytest.fixture
def questions(capsys, tmp_path):
    code, out, _ = run(capsys, "cost", "--example")
    assert code == 0
    path = tmp_path / "questions.toml"
    path.write_text(out)
    return path


def test_the_example_is_answered(capsys, questions):
    code, out, err = run(capsys, "cost", questions)
    assert (code, err) == (0, "")
    for words in ("Serving on 1 x 1 H100", "Qwen3-32B at 0.160", "traces", "Budget of 2 items"):
        assert words in out
    # Notes that several answers share are said once.
    assert out.count("mercatus-ai") == 1


def test_json_has_the_same_numbers(capsys, questions):
    from scaling_laws import cost

    code, out, _ = run(capsys, "cost", questions, "--json")
    found = json.loads(out)
    assert code == 0
    rows = found["serving"][0]["rows"]
    shape = cost.shape("Qwen3-32B").pruned(0.16)
    expected = cost.serving(shape, tokens_in=200, tokens_out=4).frame["latency_ms"].iloc[0]
    assert rows[1]["latency_ms"] == pytest.approx(expected, rel=1e-9)
    assert len(found["training"]) == 2
    assert found["budget"][0]["notes"]


def test_other_formats_own_hardware_and_constants(capsys, tmp_path):
    asked = {
        "hardware": {"name": "mine", "peak_flops": 1e14, "bandwidth": 1e12, "memory": 48e9},
        "price": [1, 2],
        "calibration": {"mbu": 0.8, "mfu": 0.9, "t0": 5e-5, "ts": 5e-5, "prefill": [0.3, 0.4],
                        "hardware": "mine"},
        "serving": [{"model": "Qwen3-8B", "tokens_in": 100, "tokens_out": 10, "load": 2}],
        "training": [{"student": 4e9, "tokens": 1e9}],
    }  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps(asked))
    code, out, _ = run(capsys, "cost", tmp_path / "q.json")
    assert code == 0
    assert "mine" in out
    pytest.importorskip("yaml")
    # JSON is YAML.
    (tmp_path / "q.yaml").write_text(json.dumps(asked))
    assert run(capsys, "cost", tmp_path / "q.yaml")[1] == out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[serving]]\nmodel = 'Qwen3-8B'\ntoken_out = 1\ntokens_in = 1", "serving.0.token_out is "
         "not a setting. Did you mean 'tokens_out'?"),
        ("[[serving]]\nmodel = 'Qwen3-8B'\ntokens_in = 1", "serving.0.tokens_out is missing"),
        ("[[serving]]\nmodel = 'Qwen9'\ntokens_in = 1\ntokens_out = 1", "'Qwen9' is not known"),
        ("[[training]]\nstudent = 'Qwen3-8B'\ntokens = 'many'", "training.0.tokens = 'many'"),
        ("[[training]]\nstudent = 1e9\ntokens = 1e9\nkept = [0.5]", "kept needs a student's shape"),
        ("hardware = 'H100'", "asks nothing"),
        ("x = ", "is not TOML"),
    ],
)  # fmt: skip
def test_bad_questions_are_one_message(capsys, tmp_path, text, words):
    (tmp_path / "q.toml").write_text(text)
    code, _, err = run(capsys, "cost", tmp_path / "q.toml")
    assert code == 2
    assert words in err


def test_the_config_of_a_model_is_no_file_of_questions(capsys, tmp_path):
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    code, _, err = run(capsys, "cost", path)
    assert code == 2
    assert err.count("\n") == 1
    assert "is the config.json of a model, and asks nothing" in err
    # Named where a model is asked about, it says what it lacks.
    asked = {"serving": [{"model": str(path), "tokens_in": 9, "tokens_out": 9}]}
    (tmp_path / "q.json").write_text(json.dumps(asked))
    err = run(capsys, "cost", tmp_path / "q.json")[2]
    assert err.count("\n") == 1
    assert "num_attention_heads = None" in err
    (tmp_path / "q.json").write_text("[]")
    assert "holds no questions by name" in run(capsys, "cost", tmp_path / "q.json")[2]


def test_files_of_another_kind_and_none_are_refused(capsys, tmp_path):
    (tmp_path / "q.txt").write_text("")
    assert "write questions as .toml" in run(capsys, "cost", tmp_path / "q.txt")[2]
    assert "--example" in run(capsys, "cost")[2]


@pytest.mark.parametrize("module", ["", ".render", ".serving_costs", ".shapes"])
def test_examples_in_docstrings_hold(module):
    failed, tried = doctest.testmod(import_module(f"scaling_laws.cost{module}"))
    assert (failed, tried > 0) == (0, True)


def test_costs_load_no_statistics_and_no_torch():
    code = (
        "import sys; from scaling_laws import cost; "
        "cost.serving('Qwen3-8B', tokens_in=9, tokens_out=9); cost.training('Qwen3-8B', 1e6); "
        "print([m for m in ('torch', 'scipy', 'lmfit', 'matplotlib', 'scaling_laws.laws', "
        "'scaling_laws.kernel', 'scaling_laws.runs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
