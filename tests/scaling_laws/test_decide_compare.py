"""Formats, schedules and origins against each other, exchange of labels, the command."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.candidates import admissible_forms
from scaling_laws.cli import main
from tests.logs import grid

EXAMPLES = [6e3, 25e3, 1e5, 4e5]
DESIGN = grid(examples=EXAMPLES, kept=[0.79, 0.58, 0.37, 0.16], format=["cot", "label"])
TRUTH = {"e[cot]": 2.6, "e[label]": 2.5, "a[cot]": 0.5, "a[label]": 0.8, "b": 0.35, "c": 0.5,
         "g": 0.9}  # fmt: skip
LAW = sl.laws.Compressed(by="format")
SERVING = sl.cost.Serving("H100", tokens_in=200, tokens_out=4)


@pytest.fixture(scope="module")
def fit():
    log = sl.simulate(LAW, DESIGN, TRUTH, 0.005, 1, metric="task_f1")
    return sl.fit(LAW, log, "task_f1")


@pytest.fixture(scope="module")
def origins():
    design = grid(examples=EXAMPLES, params=[2e9, 4e9, 8e9, 16e9], origin=["pruned", "pretrained"])
    law = sl.laws.Compressed("multiplicative", by="origin", size="params", full=32e9)
    truth = {"e": 2.5, "a[pruned]": 0.3, "a[pretrained]": 0.5, "b": 0.35, "g": 0.4}
    return sl.fit(law, sl.simulate(law, design, truth, 0.005, 1, metric="task_f1"), "task_f1")


def test_the_better_format_leads(fit):
    found = sl.decide.compare_formats(fit, kept=0.37, examples=1e5)
    assert found.values["format"] == "cot"
    assert found.values["low"] > 0
    assert found.frame["best"].sum() == pytest.approx(1.0)
    assert found.frame["lead"].sum() == pytest.approx(0.0)


def test_both_bills_stand_beside_the_scores(fit):
    bills = {
        "cot": sl.cost.training("Qwen3-8B", 1e9, teacher="Qwen3-32B"),
        "label": sl.cost.training("Qwen3-8B", 1e8, teacher="Qwen3-32B"),
    }
    found = sl.decide.compare_formats(
        fit, kept=0.37, serving=SERVING, shape="Qwen3-32B", tokens_out={"label": 4, "cot": 300},
        bills=bills,
    )  # fmt: skip
    table = found.frame.set_index("format")
    for column in ("latency_ms", "price", "gpu_hours", "dollars"):
        assert table.loc["cot", column] > 5 * table.loc["label", column]
    with pytest.raises(ValueError, match="bills lacks 'label'"):
        sl.decide.compare_formats(fit, kept=0.37, bills={"cot": bills["cot"]})


def test_new_runs_differ_by_more_than_curves(fit):
    width = []
    for interval in ("mean", "run"):
        found = sl.decide.compare_formats(fit, kept=0.37, interval=interval).values
        width.append(found["high"] - found["low"])
    assert width[1] > 1.2 * width[0]


def test_schedules_are_compared_like_formats(fit):
    log = DESIGN.rename(columns={"format": "schedule"}).replace(
        {"cot": "iterative", "label": "one-shot"}
    )
    law = sl.laws.Compressed(by="schedule")
    truth = {
        k.replace("cot", "iterative").replace("label", "one-shot"): v for k, v in TRUTH.items()
    }
    one = sl.fit(law, sl.simulate(law, log, truth, 0.005, 1, metric="task_f1"), "task_f1")
    found = sl.decide.compare_schedules(one, kept=0.37, examples=1e5)
    assert found.values["schedule"] == "iterative"
    with pytest.raises(ValueError, match="the fit has no factor 'schedule'"):
        sl.decide.compare_schedules(fit)


def test_unknown_formats_are_named(fit):
    with pytest.raises(ValueError, match="format = 'blended' was not in the log; there are cot"):
        sl.decide.compare_formats(fit, ["cot", "blended"])
    with pytest.raises(ValueError, match="two are compared"):
        sl.decide.compare_formats(fit, ["cot"])


def test_labels_of_one_format_are_worth_fewer_of_the_other(fit):
    found = sl.decide.exchange_rate(fit, "label", "cot", kept=0.37)
    assert (found.frame["ratio"] > 1).all()
    assert found.values["ratio_low"] < found.values["ratio"] < found.values["ratio_high"]
    told = re.search(r"the rate at (\S+) is (\S+) instead of (\S+)$", found.why.run)
    assert float(told[3]) == pytest.approx(found.values["ratio"], rel=0.01)  # as printed
    assert told[2] != told[3]
    back = sl.decide.exchange_rate(fit, "cot", "label", kept=0.37)
    assert (back.frame["ratio"] < 1).all()
    with pytest.raises(ValueError, match="A and B are one curve"):
        sl.decide.exchange_rate(fit, "cot", "cot", kept=0.37)


def test_an_exchange_names_its_sides_by_what_sets_them_apart(fit):
    formats = sl.decide.exchange_rate(fit, "label", "cot", kept=0.37)
    assert formats.question == "how many examples of label have the score of cot, at kept 0.370"
    told = re.fullmatch(
        r"label takes (\S+) \[(\S+), (\S+)\] times the .* of cot at .*", formats.answer
    )
    assert float(told[2]) < float(told[1])
    assert told[3] == "open" or float(told[1]) < float(told[3])
    small, large = ({"kept": k, "format": "cot"} for k in (np.float64(0.37), 0.58))
    sizes = sl.decide.exchange_rate(fit, small, large)
    assert sizes.question.endswith("of kept 0.37 have the score of kept 0.58, at format cot")
    assert sizes.view.x_label == "examples of kept 0.58"


def test_a_pruned_student_against_models_of_its_size_and_speed(origins):
    others = ["Qwen3-8B", "Qwen3-4B"]
    size = sl.decide.compare_origins(origins, "Qwen3-32B", others, examples=1e5)
    assert np.array_equal(size.frame["params"], size.frame["student_params"])
    assert size.found
    speed = sl.decide.compare_origins(
        origins, "Qwen3-32B", others, same="latency", serving=SERVING, examples=1e5
    )
    table = speed.frame
    assert np.allclose(table["student_latency_ms"], table["other_latency_ms"], rtol=0.02)


def test_origins_say_what_is_missing(origins, fit):
    for given, sentence in (
        ({"same": "latency", "examples": 1e5}, "same='latency' needs serving="),
        ({}, "say at which examples"),
        (
            {"origins": ("pruned", "scratch"), "examples": 1e5},
            "origin 'scratch' was not in the log",
        ),
        ({"interval": "runs", "examples": 1e5}, "interval = 'runs' is none of 'run'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            sl.decide.compare_origins(origins, "Qwen3-32B", ["Qwen3-8B"], **given)
    with pytest.raises(ValueError, match="no factor 'origin'"):
        sl.decide.compare_origins(fit, "Qwen3-32B", ["Qwen3-8B"], examples=1e5)


def test_answers_draw_and_print(fit, origins):
    for found in (
        sl.decide.compare_formats(fit),
        sl.decide.exchange_rate(fit, "label", "cot", kept=0.37),
        sl.decide.compare_origins(origins, "Qwen3-32B", ["Qwen3-8B"], examples=1e5),
    ):
        found.plot()
        assert found.question.split()[0] in str(found)
        assert json.dumps(found.to_dict(), allow_nan=False)
        assert found._repr_html_().startswith("<div>")


# --- the command ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def saved(fit, tmp_path_factory):
    return str(fit.save(tmp_path_factory.mktemp("fits") / "f1.json"))


def test_the_command_answers_as_the_function_does(fit, saved, capsys, tmp_path):
    figure = tmp_path / "answer.png"
    with pytest.raises(SystemExit, match="0"):
        main([
            "decide", "smallest", saved, "--at-least", "task_f1=0.7", "--at", "kept=0.79,0.58,0.37",
            "--plot", str(figure), "--json",
        ])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    found = sl.decide.smallest(fit, at_least=0.7, kept=[0.79, 0.58, 0.37])
    assert told["values"] == found.to_dict()["values"]
    assert figure.stat().st_size > 0


ROWS = [
    {"examples": 4e5, "kept": k, "format": f, "price": p, "gpu_hours": 10 * k}
    for k, f, p in [(0.58, "label", 2.0), (0.37, "cot", 3.0), (0.37, "label", 1.0),
                    (0.16, "label", 0.5)]
]  # fmt: skip
POINT = {"examples": 4e5, "kept": 0.16, "format": "label"}
AT = [word for k, v in POINT.items() for word in ("--at", f"{k}={v}")]


def told(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["decide", *map(str, words), "--json"])
    printed = capsys.readouterr()
    assert stop.value.code == 0, printed.err
    return json.loads(printed.out)


@pytest.fixture(scope="module", params=["csv", "jsonl", "parquet"])
def table(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / f"rows.{request.param}"
    frame = pd.DataFrame(ROWS)
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    elif request.param == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def test_candidates_are_read_from_a_table(fit, saved, capsys, table):
    rows = pd.DataFrame(ROWS)
    found = sl.decide.smallest(fit, rows, at_least=0.7)
    asked = ("smallest", saved, "--candidates", table, "--at-least", "task_f1=0.7")
    assert told(capsys, *asked) == found.to_dict()
    found = sl.decide.pareto(fit, rows, costs=["price", "gpu_hours"])
    asked = ("pareto", saved, "--candidates", table, "--option", "costs=price,gpu_hours")
    assert told(capsys, *asked) == found.to_dict()
    found = sl.decide.next_runs(fit, rows, question=POINT, n=2)
    asked = ("next_runs", saved, "--candidates", table, *AT, "--option", "n=2")
    assert told(capsys, *asked) == found.to_dict()


def test_new_runs_are_read_from_a_log(fit, saved, capsys, tmp_path):
    new = pd.DataFrame(ROWS[:2]).assign(task_f1=[0.85, 0.7])
    new.to_csv(tmp_path / "new.csv", index=False)
    found = sl.decide.surprise(fit, new, question=POINT)
    answer = told(capsys, "surprise", saved, "--candidates", tmp_path / "new.csv", *AT)
    assert answer == found.to_dict()
    assert answer["values"]["p"] < 0.01


def test_the_command_prices_students_as_they_are_cut(fit, saved, capsys):
    pruning = {"kept_of": "nonembedding", "split": {"layers": 1.0, "ffn": 2.0},
               "rounding": {"ffn": 512}}  # fmt: skip
    asked = {"at_least": 0.7, "kept": [0.79, 0.37], "serving": SERVING, "shape": "Qwen3-32B"}
    words = (
        "smallest", saved, "--at-least", "task_f1=0.7", "--at", "kept=0.79,0.37", "--serving",
        "tokens_in=200", "--serving", "tokens_out=4", "--shape", "Qwen3-32B",
    )  # fmt: skip
    cut = ("kept_of=nonembedding", "split.layers=1", "split.ffn=2", "rounding.ffn=512")
    answer = told(capsys, *words, *(word for text in cut for word in ("--pruning", text)))
    assert answer == sl.decide.smallest(fit, pruning=pruning, **asked).to_dict()
    assert answer["values"]["size"] != sl.decide.smallest(fit, **asked).values["size"]


def test_the_command_chooses_forms_for_a_log(capsys, tmp_path):
    law = sl.laws.Power()
    runs = sl.simulate(law, grid(examples=np.geomspace(1e3, 3e5, 8).round()),
                       {"E": 2.0, "A": 0.8, "a": 0.4}, 0.005, 1, metric="task_f1")  # fmt: skip
    # A second score of the same runs, that is not asked about.
    frame = runs.frame.assign(quiz=0.5 + 0.5 * runs.frame["task_f1"])
    path = tmp_path / "runs.csv"
    frame.to_csv(path, index=False)
    log = sl.read_runs(path)
    chosen = sl.choose(admissible_forms(log, (), "task_f1"), log, "task_f1", rng=3).forecast
    words = ("labels_needed", path, "--at-least", "task_f1=0.8", "--seed", 3)
    assert told(capsys, *words) == sl.decide.labels_needed(chosen, at_least=0.8).to_dict()
    both = told(capsys, "marginal", path, "--metric", "task_f1", "--metric", "quiz")
    assert {"task_f1", "quiz"} <= {word for row in both["frame"] for word in row.values()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["labels_needed"], "the log has task_f1, mmlu: write --metric task_f1"),
        (["labels_needed", "--metric", "quiz"], "the log has no scores of 'quiz'"),
        (
            ["labels_needed", "--metric", "mmlu", "--by", "size"],
            "--by: the log has no column 'size'; it has examples, ",
        ),
        (["labels_needed", "more.csv"], "more.csv: one log is asked"),
    ],
)
def test_the_command_says_what_it_needs_of_a_log(capsys, tmp_path, arguments, sentence):
    rows = [{"examples": 10**k, "task_f1": 0.5 + 0.05 * k, "mmlu": 0.3} for k in range(2, 8)]
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit) as stop:
        main(["decide", arguments[0], str(tmp_path / "runs.csv"), *arguments[1:]])
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("text", ["kept,price\n0.5\n", ""])
def test_a_damaged_table_is_refused(saved, capsys, tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["decide", "pareto", saved, "--candidates", str(tmp_path / "rows.csv")])
    assert stop.value.code == 2
    assert "rows.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["smalest"], "decide 'smalest' is no question. Did you mean 'smallest'?"),
        (["half_point", "--option", "keep"], "--option 'keep': write name=value."),
        (["smallest", "--serving", "speed=3"], "--serving speed: there are hardware, tokens_in"),
        (["smallest", "--at-least", "mmlu=0.5"], "at_least names 'mmlu'"),
        (["pareto"], "needs 'candidates': --candidates FILE"),
        (["pareto", "--option", "candidates=x.csv"], "--option candidates: write --candidates"),
        (["surprise"], "needs 'runs': --candidates FILE"),
        (["half_point", "--candidates", "x.csv"], "decide half_point takes no --candidates"),
        (["half_point", "--shape", "Qwen3-8B"], "decide half_point takes no 'shape'"),
        (["half_point", "--option", "rng=1.5"], "1.5 is no whole number"),
        (["compare_formats", "--option", "bills=3"], "ask sl.decide.compare_formats in Python"),
        (["compare_formats", "--option", "formats=label"], "two"),
        (["smallest", "--pruning", "split=depth"], "give --serving and --shape too"),
        (["smallest", "--pruning", "rounding.ffn=0"], "'0' is no whole number from 1"),
        (["smallest", "--pruning", "rounding=8"], "--pruning rounding=8: write kept_of="),
        (["smallest", "--pruning", "split=depth", "--pruning", "split.ffn=1"], "drop one"),
        (["half_point", "--seed", "1"], "--seed is said of a log, and a saved fit is given"),
    ],
)
def test_the_command_says_what_to_write(saved, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stop:
        main(["decide", arguments[0], saved, *arguments[1:]])
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_exchanged_axis_is_no_point(fit):
    with pytest.raises(
        ValueError, match="examples is what is exchanged .* write at=, the examples"
    ):
        sl.decide.exchange_rate(fit, "label", "cot", examples=16000)


def test_the_front_takes_a_list_of_rows(fit):
    from_list = sl.decide.pareto(fit, ROWS, costs="price")
    from_frame = sl.decide.pareto(fit, pd.DataFrame(ROWS), costs="price")
    pd.testing.assert_frame_equal(from_list.frame, from_frame.frame)


def test_a_list_of_fits_is_told_to_be_a_mapping(fit):
    with pytest.raises(TypeError, match='list is no Fit.* write {"task_f1": fit, "mmlu": fit}'):
        sl.decide.half_point([fit, fit])
