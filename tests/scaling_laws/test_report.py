"""The report: what its page holds, that nothing in a log can act on it, that its panel is right."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.cost import Serving, planned, shape
from scaling_laws.reporting.extent import scale_of
from scaling_laws.reporting.markup import json_text
from scaling_laws.reporting.page import page_of
from scaling_laws.study import Noise

HOSTILE = "</script><img src=x onerror=alert(1)>&'\"<!--"
FACTOR = "format"


def runs_of(seed=0):
    """Two metrics of 32 runs, a hostile level, a refused row."""
    design = pd.MultiIndex.from_product(
        [[1000, 4000, 16000, 64000], [0.16, 0.3, 0.55, 1.0], ["label", HOSTILE]],
        names=["examples", "kept", FACTOR],
    ).to_frame(index=False)
    law = sl.laws.Compressed("multiplicative", by=FACTOR)
    truth = {"e": 2.2, "a[label]": 1.0, f"a[{HOSTILE}]": 1.3, "b": 0.35, "g": 0.5}
    task = sl.simulate(law, design, truth, Noise(run=0.01), seed, metric="task_f1").frame
    truth = {"e": 1.2, "a": 0.1, "b": 0.3, "c": 0.6, "g": 0.7}
    law = sl.laws.Compressed("additive", by=FACTOR)
    quiz = sl.simulate(law, design, truth, Noise(run=0.01, items=2000), seed + 1, metric="quiz")
    both = pd.concat([task.sort_index(), quiz.frame.sort_index()[["quiz", "quiz_n"]]], axis=1)
    both["tokens_out"] = np.where(both[FACTOR] == "label", 6, 90)
    both["note"] = HOSTILE
    bad = both.iloc[[0]].assign(kept=16.0)
    return sl.read_runs(pd.concat([both, bad], ignore_index=True))


@pytest.fixture(scope="module")
def made():
    return sl.report(
        runs_of(), at_least={"task_f1": 0.75}, title=f"Report {HOSTILE}", shape="Qwen3-8B",
        serving=Serving("H100", tokens_in=400, tokens_out=50),
    )  # fmt: skip


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.scripts, self.words, self.inside = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            continue

    def handle_data(self, data):
        if self.inside and self.inside[-1] == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(made):
    return Page(made.html)


def test_sections(page):
    assert [a["id"] for a in page.all("section") if "id" in a and a["id"] != "costs"] == [
        "short", "what-if", "curves", "decisions", "forms", "hold-out", "data", "card",
    ]  # fmt: skip
    links = [a["href"] for a in page.all("a")]
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert links
    assert all(link[0] == "#" and link[1:] in ids for link in links)


def test_it_is_one_small_file_that_asks_for_nothing(made, page):
    assert len(made.html.encode()) < 2e6
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert attributes.get(name, "#")[:1] == "#" or attributes[name] == "data:,"
        assert not [name for name in attributes if name.startswith("on")]
    css = re.findall(r"url\(\s*['\"]?([^)'\"]+)", made.html)
    assert all(place.startswith("#") for place in css)
    assert "@import" not in made.html


def test_no_two_elements_share_an_id(page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_names_of_the_log_do_nothing(made, page):
    assert not page.all("img")
    assert len(page.scripts) == 2
    assert HOSTILE not in made.html
    assert json.loads(page.scripts[0])["factors"][0]["levels"] == [HOSTILE, "label"]
    assert any(HOSTILE in words for words in page.words)


@given(st.text())
def test_json_stands_in_a_script(text):
    shown = json_text({text: [text]})
    assert not set("<>&\u2028\u2029") & set(shown)
    assert json.loads(shown) == {text: [text]}


def test_only_its_own_script_may_run(made, page):
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_every_control_has_a_name(page):
    labels = {a["for"] for a in page.all("label")}
    for tag in ("input", "select"):
        for attributes in page.all(tag):
            assert attributes["id"] in labels or attributes.get("aria-label")


def test_refused_rows_with_reason(made, page):
    text = " ".join(page.words)
    assert made.findings.log.rejected["reason"][0] in text
    assert "kept = 16.0 is not in (0, 1]" in text
    assert "32 rows accepted, 1 refused" in text


def test_decisions(made):
    found = made.findings
    assert not found.open
    assert {"Smallest student", "Labels needed", "Next runs"} <= set(found.decisions)
    assert {"task_f1", "quiz"} == set(found.outcomes)


def test_front_of_scores_and_price(made, page):
    """Sizes of the log in every format, each at the price that the panel tells."""
    found = made.findings.decisions["Scores for their price"]
    frame, served = found.frame, made.findings.served
    assert {"task_f1", "quiz", "probability"} <= set(frame)
    assert frame["kept"].min() >= 0.16 - 1e-9
    for i, level in enumerate(made.findings.factors[FACTOR]):
        rows = frame[frame[FACTOR] == level]
        assert len(rows) == 24
        nodes = np.searchsorted(served.scale.values, rows["kept"] * (1 - 1e-9))
        assert np.array_equal(rows["price"], served.values["price"][i][nodes])
    assert "dollars for a million requests" in found.notes[-1].sentence
    assert "probability of being on the front" in " ".join(page.words)
    assert not page.all("image")


def test_same_log_same_page(made):
    assert page_of(made.findings, f"Report {HOSTILE}") == made.html


def test_latency_and_price_are_those_of_serving(made):
    served = made.findings.served
    assert served is not None
    row = made.findings.factors[FACTOR].index("label")
    whole = sl.cost.serving("Qwen3-8B", "H100", tokens_in=400, tokens_out=6).frame.iloc[0]
    for name in ("latency_ms", "latency_ms_low", "latency_ms_high", "price_low", "price_high"):
        assert served.values[name][row, -1] == pytest.approx(whole[name], rel=1e-12)


@pytest.fixture(scope="module")
def example():
    """The shipped log, whose `kept` counts what is not embedding, in one form."""
    runs = sl.load_example().select(
        {"phase": "distilled", "origin": "pruned", "schedule": "iterative", "method": "full",
         "format": ["label", "blended"]}
    )  # fmt: skip
    asked = {
        "metrics": ["task_f1"], "laws": [sl.laws.Compressed("interaction", by="format")],
        "at_least": {"task_f1": 0.5}, "serving": Serving("H100", tokens_in=34, tokens_out=4),
        "shape": "SmolLM2-135M",
    }  # fmt: skip
    return runs, asked


def test_shipped_log_shows_latency_and_price(example):
    runs, asked = example
    made = sl.report(runs, **asked)
    found, served = made.findings, made.findings.served
    assert "Latency and price" not in found.open
    assert served is not None
    assert not [note for note in served.notes if note.code == "other_students"]
    text = " ".join(Page(made.html).words)
    assert "Latency and price: SmolLM2-135M pruned, on 1 × 1 H100" in text
    assert json.loads(Page(made.html).scripts[0])["served"]["values"].keys() >= {
        "latency_ms", "price",
    }  # fmt: skip
    # At the node next to each student of the log it is served as that student's own sizes are,
    # but for a rounding of its layers and feed-forward network.
    students = runs.frame.drop_duplicates("kept").sort_values("kept")
    whole = sl.cost.shape("SmolLM2-135M")
    own = whole.variants(**{a: students[a].astype(int).to_numpy() for a in ("layers", "ffn")})
    label = found.factors["format"].index("label")
    length = runs.frame.loc[runs.frame["format"] == "label", "tokens_out"].median()
    bill = asked["serving"].evaluate(own.assign(tokens_out=length))
    nodes = [int(np.argmin(np.abs(served.scale.values - k))) for k in students["kept"]]
    shown = served.values["latency_ms"][label][nodes]
    assert np.abs(shown / bill["latency_ms"].to_numpy() - 1).max() <= 1 / students["layers"].min()
    assert found.decisions["Smallest student"].frame["price"].notna().all()
    assert "Scores for their price" in found.decisions


def test_what_cannot_be_served_is_an_open_question(example):
    runs, asked = example
    made = sl.report(runs, **asked, pruning={"split": "width"})
    assert made.findings.served is None
    why = made.findings.open["Latency and price"]
    assert "the least that this split and rounding leave" in why
    assert "pruning=" in why
    assert why in " ".join(Page(made.html).words)
    assert "Smallest student" in made.findings.decisions
    assert "Latency and price: planned: kept =" in repr(made)


def test_axis_ends_at_the_whole_model_and_beyond_the_data():
    kept = scale_of("kept", np.array([0.2, 0.5, 1.0]))
    examples = scale_of("examples", np.array([100.0, 1e4]))
    assert (kept.low < 0.2, kept.high) == (True, 1.0)
    assert examples.high == pytest.approx(1e5, rel=0.05)
    np.testing.assert_allclose(examples.overshoot(np.array([100.0, 1e3, 1e5])), [0, 0, 0.5])


def test_exact_losses(tmp_path):
    """A loss of one axis without any noise: intervals of no width, a page all the same."""
    rows = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(2, 8)]
    made = sl.report(rows, tmp_path / "exact.html", laws=[sl.laws.Power()])
    assert (tmp_path / "exact.html").read_text(encoding="utf-8") == made.html
    assert made.path == tmp_path / "exact.html"
    assert made.findings.first.replay.log
    assert made.findings.first.replay.error < 0.01
    assert "loss" in Page(made.html).words


def test_three_runs_have_no_interval_and_the_page_says_why():
    rows = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(2, 5)]
    made = sl.report(rows, laws=[sl.laws.Power()])
    assert made.findings.first.replay.draws == 0
    assert made.findings.open
    assert isinstance(made.findings.first.held, str)
    assert made.findings.first.held in " ".join(Page(made.html).words)
    assert "no interval" in made.html


def test_command(tmp_path, capsys):
    from scaling_laws.cli import main

    log, out = tmp_path / "runs.jsonl", tmp_path / "page.html"
    runs = runs_of()
    runs.select(runs.frame[FACTOR] == "label").to_jsonl(log)
    command = ["report", str(log), "--out", str(out), "--metric", "task_f1", "--at-least",
               "task_f1=0.7", "--shape", "Qwen3-32B", "--tokens-in", "200", "--tokens-out", "4",
               "--pruning", "split=depth", "--json"]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"] == str(out)
    assert told["metrics"] == ["task_f1"]
    smallest = told["decisions"]["Smallest student"]["values"]
    cut = planned(shape("Qwen3-32B"), smallest["kept"], split="depth")
    assert smallest["size"] == cut["params"].item()
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at-least", "task_f1"], "write name=value"),
        (["--at-least", "task_f1=high"], "'high' is no number"),
        (["--shape", "Qwen3-8B"], "--tokens-in"),
        (["--pruning", "split=depth"], "give it, --shape Qwen3-8B"),
    ],
)
def test_command_refuses(tmp_path, capsys, options, words):
    from scaling_laws.cli import main

    log = tmp_path / "runs.jsonl"
    runs_of().to_jsonl(log)
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(log), *options])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": 1.5}, "level = 1.5"),
        ({"by": "nothing"}, "'nothing' is no column"),
        ({"metrics": ["mmlu"]}, "no row has a score"),
        ({"serving": Serving("H100", tokens_in=9, tokens_out=9), "metrics": ["quiz"]}, "shape="),
    ],
)
def test_refusals(options, words):
    frame = runs_of().frame
    with pytest.raises(ValueError, match=re.escape(words)):
        sl.report(frame[frame[FACTOR] == "label"], **options)
