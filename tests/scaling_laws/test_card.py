"""The card leaves no question open, prints what logs hold as text, and its hash is of the data."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.answers import data_hash
from scaling_laws.card import Card, Entry
from scaling_laws.latex import latex_escaped
from scaling_laws.presets import load_points
from scaling_laws.show import number
from tests.logs import BY_FORMAT, noisy_pretraining

QUESTIONS = {
    "Form": ["law", "variables", "factors", "parameters", "assumptions", "constraints",
             "reference point"],
    "Training runs": ["models trained", "training data", "repeated data", "hyperparameters",
                      "seeds", "compute"],
    "Data points": ["runs", "checkpoints", "excluded", "metric", "test set", "data hash"],
    "Fit": ["link and residuals", "objective", "delta", "weights", "priors", "starts", "optimiser",
            "versions"],
    "Trust": ["goodness of fit", "uncertainty", "validation", "notes"],
}  # fmt: skip

LOG = pd.DataFrame({"examples": [100, 300, 1000, 3000, 10_000, 30_000],
                    "loss": [3.1, 2.5, 2.1, 1.8, 1.65, 1.5]})  # fmt: skip
HOSTILE = r"\input{x} $a_b$ 50% #1 & ~^ <b> | [x] ``q'' -- é 中"


def mine(examples, floor, size, rate):
    return floor + size * examples**-rate


def full_log():
    """A log with every field that the card asks for."""
    truth = {
        "e[blended]": 2.0, "e[cot]": 1.8, "e[label]": 1.6, "a[blended]": 0.9, "a[cot]": 1.0,
        "a[label]": 1.1, "c[blended]": 0.3, "c[cot]": 0.3, "c[label]": 0.3, "b": 0.3, "g": 0.5,
    }  # fmt: skip
    law = sl.laws.Compressed(by="format")
    runs = sl.simulate(law, BY_FORMAT, truth, 0.004, 5, metric="task_f1").frame
    return law, runs.assign(
        teacher=HOSTILE, task=HOSTILE, method="lora", lr=1e-4, note=HOSTILE, kept_of="total",
        examples_seen=3 * runs["examples"], seed=1, gpu_hours=0.5, machine="H100", status="ok",
        chain_id=[f"c{i % 6}" for i in range(len(runs))],
    )  # fmt: skip


def grouped():
    law, runs = full_log()
    return sl.fit(law, runs, "task_f1")


def tied():
    tie = {"tie": {"coefficients": {"alpha": 1.0}}}
    bounds = {"beta": tie, "E": {"min": 1.0, "max": 3.0}}
    return sl.fit(sl.laws.Chinchilla(), noisy_pretraining(3), parameters=bounds)


FITS = {
    "plain": lambda: sl.fit(sl.laws.Power(), LOG),
    "own function": lambda: sl.fit(
        mine, LOG, parameters={"floor": (0, 2), "size": (0, 99), "rate": (0.01, 2)}
    ),
    "sigma, prior, held": lambda: sl.fit(
        sl.laws.Rectified(), LOG, sigma=0.05, prior={"a": (0.4, 0.1)}, parameters={"d": 0.0}
    ),
    "weights": lambda: sl.fit(sl.laws.Power(), LOG, weights=[1, 2, 1, 1, 1, 1]),
    "no interval": lambda: sl.fit(sl.laws.Power(), LOG[:3]),
    "collapse": lambda: sl.fit(sl.laws.Collapse(), load_points("qwen3-8b-pruned"), "mmlu"),
    "grouped": grouped,
    "tied": tied,
    "each": lambda: sl.fit_each(sl.laws.Power(), LOG.assign(group="x"), by="group")["x"],
    "transferred": lambda: sl.transfer(sl.fit(sl.laws.Power(), LOG), LOG[-2:]),
}


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_no_field_is_blank(make):
    card = make().card()
    asked = {section: list(rows.index) for section, rows in card.frame.groupby("section")}
    assert asked == QUESTIONS
    for question, answer in card.answers.items():
        assert isinstance(answer, str)
        assert answer.strip(), question
        assert not re.search(r"\b(nan|None|inf)\b", answer), question


def test_the_card_says_what_was_done():
    card = FITS["sigma, prior, held"]().card()
    assert card["parameters"] == "3 free (E, A, a); held: d"
    assert card["constraints"] == "d = 0"
    assert card["priors"] == "a 0.4 ± 0.1"
    assert "sigma given as the whole error" in card["weights"]
    card = FITS["collapse"]().card()
    assert "pruned but not yet distilled" in card["excluded"]
    assert card["test set"] == "14042 items (median)"
    assert "floor 0.25" in card["metric"]
    card = FITS["tied"]().card()
    assert card["constraints"] == "beta = 0 + 1 alpha; E from 1 to 3"
    assert "embeddings included" in card["variables"]
    with pytest.raises(KeyError, match="no question 'colour'; it has law"):
        card["colour"]


def test_where_every_parameter_is_held_nothing_is_said_to_be_fitted():
    fit = sl.fit(sl.laws.Power(), LOG, parameters={"E": 1.2, "A": 0.9, "a": 0.3})
    card = fit.card()
    assert card["parameters"] == "0 free; held: E, A, a"
    assert card["optimiser"] == "none: every parameter is held"
    assert card["starts"] == "none tried: every parameter is held, nothing was fitted"
    assert (fit.starts.agreeing, fit.starts.tried) == (0, 0)
    assert fit.starts.best == fit.objective
    assert "starts agree" not in repr(fit)


def test_the_card_counts_configurations_once_and_chains_beside_them():
    assert FITS["plain"]().card()["runs"].startswith("6 rows, 6 configurations, from ")
    seeds = pd.concat([LOG, LOG.assign(loss=LOG["loss"] + 0.01)], ignore_index=True)
    assert sl.fit(sl.laws.Power(), seeds).card()["runs"].startswith("12 rows, 6 configurations, ")
    card = FITS["grouped"]().card()
    assert card["runs"].startswith("162 rows, 162 configurations, 6 chains, from ")


def test_the_card_says_what_the_log_says():
    card = FITS["grouped"]().card()
    assert card["factors"] == "format (3 levels)"
    assert card["assumptions"] == "own for each level: e, a, c; shared: b, g"
    assert "of total parameters" in card["variables"]
    assert "method: lora" in card["models trained"]
    assert "examples 100 to 1e+06" in card["training data"]
    assert card["repeated data"] == "examples seen 3 to 3 times"
    assert card["hyperparameters"] == "lr (1 level), note (1 level)"
    assert card["seeds"] == "1 seed; at most 1 row a configuration"
    assert card["compute"] == "81 GPU-hours (gpu_hours) in these rows; on H100"
    assert card["checkpoints"].startswith("up to 27 rows a chain_id")
    bare = FITS["plain"]().card()
    for question in ("compute", "repeated data", "hyperparameters", "test set"):
        assert bare[question].startswith("not logged")


def test_the_card_tells_every_kind_of_hours_and_the_tokens():
    times = {"wall_s": [3600.0] * 5 + [np.nan], "cpu_s": [1800.0] * 6, "tokens": [1e6] * 6}
    card = sl.fit(sl.laws.Power(), LOG.assign(**times, machine=list("abcdef"))).card()
    assert card["compute"] == (
        "3 CPU-hours (cpu_s) in these rows; 5 hours of wall time (wall_s) in 5 of 6 rows; "
        "6,000,000 training tokens (tokens) in these rows; on a, b, c, d, e, f"
    )


def test_hours_of_the_shipped_log_are_those_of_the_rows_used():
    runs = sl.load_example().select({"phase": "distilled", "schedule": "iterative"})
    fit = sl.fit(sl.laws.Compressed(by="format"), runs, "task_f1")
    frame = fit.problem.frame
    answer = fit.card()["compute"]
    for name, unit, words in (("cpu_s", 3600.0, "CPU-hours"), ("wall_s", 3600.0, "hours of wall"),
                              ("tokens", 1.0, "training tokens")):  # fmt: skip
        told = next(part for part in answer.split("; ") if f"({name})" in part)
        assert words in told
        value = float(told.split()[0].replace(",", ""))
        assert value == pytest.approx(frame[name].sum() / unit, rel=0.005)


# --- validation -----------------------------------------------------------------------------------


def test_a_holdout_answers_validation():
    held = sl.holdout(sl.laws.Power(), LOG, leave=2)
    fit = sl.fit(sl.laws.Power(), LOG)
    inside = int(held.frame["covered"].sum())
    assert fit.card(held)["validation"] == (
        "2 rows held out (examples 10000 to 30000), forecast from 4 by Power(): "
        f"mean |predicted / observed - 1| {held.are:.1%}, without a law at best "
        f"{held.baselines.min():.1%} ({held.baselines.idxmin()}); rmse {number(held.rmse)}; "
        f"{inside} of 2 rows inside 90 % intervals; 3 residual degrees of freedom"
    )
    assert fit.card()["validation"].startswith("no hold-out given")
    several = sl.holdout([sl.laws.Power(), sl.laws.Rectified()], LOG, leave=1)
    told = fit.card(several)["validation"]
    assert "forecast from 5 by Forecast of loss, mixed from 2 forms: mean" in told
    assert fit.card(several).frame.drop("validation").equals(fit.card().frame.drop("validation"))
    with pytest.raises(ValueError, match="judges task_f1, the fit is of loss; pass a hold-out of"):
        fit.card(sl.holdout(sl.laws.Power(), LOG.assign(task_f1=1 / LOG["loss"]), "task_f1"))


def test_the_card_says_where_nothing_could_be_covered_and_counts_a_score_of_zero_in_points():
    thin = sl.holdout(sl.laws.Power(), LOG, leave=3)
    assert thin.coverage == 0
    fit = sl.fit(sl.laws.Power(), LOG)
    assert "; too few rows for an interval; 3" in fit.card(thin)["validation"]
    none = sl.holdout(sl.laws.Power(), LOG, leave=2)
    low = none.frame["low"].where(np.arange(2) > 0)
    part = replace(none, frame=none.frame.assign(low=low, covered=[False, True]))
    assert "1 of 1 rows inside 90 % intervals, 1 without one;" in fit.card(part)["validation"]
    nothing = none.frame.assign(observed=0.0, ratio=np.inf)
    told = fit.card(replace(none, frame=nothing))["validation"]
    assert f"mean |predicted - observed| {number(nothing['estimate'].mean())}, without" in told
    assert not re.search(r"\b(nan|inf)\b", told)


# --- text, HTML, Markdown, LaTeX ------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile():
    law, runs = full_log()
    held = sl.holdout(law, runs, "task_f1", by="kept", leave=1)
    card = sl.fit(law, runs, "task_f1").card(held)
    assert card["validation"].startswith("27 rows held out (kept 0.16), forecast from 135 by ")
    return card


def test_every_twin_holds_every_answer(hostile):
    html, text = hostile._repr_html_(), " ".join(str(hostile).split())
    assert html.count("<td") == 2 * len(hostile.entries)
    assert "<b>" not in html
    for entry in hostile.entries:
        assert entry.question in html
        assert " ".join(entry.answer.split()) in text
    assert repr(hostile) == str(hostile)


def test_markdown_is_a_table_whatever_the_log_holds(hostile):
    lines = hostile.to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(hostile.entries) + 2 * len(QUESTIONS)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "<b>" not in hostile.to_markdown()


COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|",
    r"\textquotedblright{}": '"', r"\textasciigrave{}": "`", r"\ensuremath{\pm}": "±",
    r"\ensuremath{\times}": "×", r"\ensuremath{\div}": "÷", r"\ensuremath{\mu}": "µ",
    r"\ensuremath{^2}": "²", r"\ensuremath{\leq}": "≤", r"\ensuremath{\geq}": "≥",
    r"\dots{}": "…", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%",
    r"\_": "_", "{[}": "[", "{]}": "]", "{}": "", r"\textendash{}": "–",
    r"\textemdash{}": "—",
}  # fmt: skip
TOKENS = re.compile(
    "|".join(
        [*map(re.escape, COMMANDS), r"\\texttt\{U\+[0-9A-F]{4,6}\}", r"[^\\{}$&#%_^~<>|\"`\[\]]"]
    )
)


def printed(latex):
    """Return what LaTeX prints; a strict parser, to which anything else is an error."""
    out, at = [], 0
    while at < len(latex):
        token = TOKENS.match(latex, at)
        assert token, f"not text: {latex[at : at + 20]!r}"
        word = token.group()
        assert not (word in "-'," and latex[at + 1 : at + 2] == word), "joins to another glyph"
        code = re.fullmatch(r"\\texttt\{U\+([0-9A-F]+)\}", word)
        out.append(chr(int(code[1], 16)) if code else COMMANDS.get(word, word))
        at = token.end()
    return "".join(out)


@given(text=st.one_of(st.text(), st.text(alphabet="\\{}$&#%_^~<>|\"`'-[], a±é中–", max_size=30)))
def test_latex_prints_the_text_and_runs_nothing(text):
    plain = "".join(c if c.isprintable() else " " for c in text)
    assert printed(latex_escaped(text)) == plain


def test_the_latex_card_is_lists_of_text(hostile):
    section = question = ""
    found, is_open = [], False
    for line in hostile.to_latex().splitlines():
        if heading := re.fullmatch(r"\\paragraph\{(.*)\}", line):
            section = printed(heading[1])
        elif line == r"\begin{description}":
            assert not is_open
            is_open = True
        elif line == r"\end{description}":
            assert is_open
            is_open = False
        else:
            item = re.fullmatch(r"\\item\[([^\]]*)\] (.*)", line)
            assert item, line
            assert is_open
            question = printed(item[1])
            found.append(Entry(section, question, printed(item[2])))
    assert not is_open
    assert Card(tuple(found)) == hostile


# --- the hash -------------------------------------------------------------------------------------


def test_the_hash_is_of_the_values():
    assert data_hash(LOG) == data_hash(LOG.sample(frac=1.0, random_state=1))
    assert data_hash(LOG) == data_hash(LOG.astype(float))
    assert data_hash(LOG) == data_hash(LOG[["loss", "examples"]])
    assert data_hash(LOG) != data_hash(LOG.assign(loss=np.nextafter(LOG["loss"], 9.0)))
    assert data_hash(LOG) != data_hash(LOG[:-1])
    assert data_hash(LOG) != data_hash(LOG.rename(columns={"loss": "task_nll"}))


def test_the_card_survives_saving(tmp_path):
    for name, make in FITS.items():
        fit = make()
        law = fit.law if name == "own function" else None
        again = sl.load(fit.save(tmp_path / "fit.json"), law=law)
        assert fit.card() == again.card(), name
