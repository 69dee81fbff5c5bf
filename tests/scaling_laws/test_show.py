"""What a fit prints: pinned in golden files, typed back, escaped.

``UPDATE_GOLDEN=1 python -m pytest tests/scaling_laws/test_show.py`` rewrites the golden files; read
the difference before it is committed.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scaling_laws as sl
from scaling_laws.presets import load_points
from scaling_laws.show import digits_of, formula_of, number
from scaling_laws.study import Noise

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def headlines():
    law = sl.laws.Compressed("multiplicative", size="params", full=8.03e9)
    return sl.fit(law, load_points("headline-f1"), "task_f1")


def collapse():
    frame = load_points("qwen3-8b-pruned").frame
    return sl.fit(sl.laws.Collapse(), frame[frame["phase"] != "pruned"], "mmlu")


def steep():
    """A collapse with sizes on its slope: where it is and how steep are both fixed."""
    kept = pd.DataFrame({"kept": np.linspace(0.2, 1.0, 9).round(2)})
    truth = {"acc1": 0.75, "k0": 0.55, "s": 6.0}
    log = sl.simulate(sl.laws.Collapse(), kept, truth, Noise(run=0.004), 2, metric="mmlu")
    return sl.fit(sl.laws.Collapse(), log, "mmlu")


def constrained():
    """A floor that ends at its bound, an exponent held, a prior."""
    x = np.logspace(3, 6, 10).round()
    # The last losses lie below a pure power: the floor wants to be negative.
    loss = (2.0 * x**-0.5 - 6e-5) * np.exp(0.01 * np.sin(np.arange(10.0)))
    return sl.fit(sl.laws.Rectified(), pd.DataFrame({"examples": x, "loss": loss}),
                  parameters={"d": 0.0}, prior={"a": (0.5, 0.1)})  # fmt: skip


def refused():
    """As many rows as parameters, no known noise: no interval."""
    return sl.fit(sl.laws.Power(), [{"examples": x, "loss": y}
                                    for x, y in ((1e3, 3.0), (1e4, 2.0), (1e5, 1.5))])  # fmt: skip


def by_format(levels=("label", "cot")):
    design = pd.DataFrame([(n, k, f) for n in (6e3, 2e4, 8e4, 4e5) for k in (0.79, 0.58, 0.37, 0.16)
                           for f in levels], columns=["examples", "kept", "format"])  # fmt: skip
    truth = {"e": 2.0, "a": 0.5, "b": 0.4, "c": 0.3, "g": 0.8}
    law = sl.laws.Compressed(by="format")
    log = sl.simulate(law, design, truth, Noise(run=0.01), 1, metric="task_f1")
    return sl.fit(law, log, "task_f1")


FITS = {f.__name__: f for f in (headlines, collapse, steep, constrained, refused, by_format)}
# Of the published points no interval is pinned: an open end lies where a draw's refit stops.
PINNED = ("steep", "constrained", "refused", "by_format")


@pytest.fixture(scope="module", params=FITS)
def fit(request):
    made = FITS[request.param]()
    return request.param, made


def without_rounding_noise(text: str) -> str:
    """How many starts agree, and to which last digit, differs between processors."""
    return re.sub(r"\d+ of 64 starts agree, spread \S+", "N of 64 starts agree, spread S", text)


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PINNED)
def test_text(name):
    check_golden(f"fit_{name}.txt", without_rounding_noise(repr(FITS[name]())))


def test_html():
    check_golden("fit_steep.html", without_rounding_noise(steep()._repr_html_()))


def test_markdown():
    check_golden("fit_steep.md", without_rounding_noise(steep().to_markdown().rstrip()))


def test_tables_are_closed(fit):
    html = fit[1]._repr_html_()
    assert html.count("<table>") == html.count("</table>") >= 3
    assert html.count("<tr>") == html.count("</tr>")


def test_lines_are_short_and_end_in_text(fit):
    for line in repr(fit[1]).split("\n"):
        assert len(line) <= 100
        assert line == line.rstrip()


def table_of(fit):
    """Parameters as printed."""
    found = re.findall(r"^  (\S+) +(-?[\d.e+-]+)  ", repr(fit), flags=re.MULTILINE)
    return {k: float(v) for k, v in found if k in fit.model.names}


def test_printed_numbers_reproduce_the_predictions():
    """Chinchilla's amplitudes lie at one parameter and one token: errors correlate at .999."""
    design = pd.DataFrame({"params": np.repeat(np.logspace(7.5, 10, 8), 8),
                           "tokens": np.tile(np.logspace(9, 12, 8), 8)})  # fmt: skip
    truth = {"E": 1.82, "A": 480.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
    fit = sl.fit(sl.laws.Chinchilla(), sl.simulate(sl.laws.Chinchilla(), design, truth, 0.005, 0))
    typed = table_of(fit)
    assert set(typed) == set(truth)
    n, d = fit.problem.frame["params"].to_numpy(), fit.problem.frame["tokens"].to_numpy()
    again = typed["E"] + typed["A"] * n ** -typed["alpha"] + typed["B"] * d ** -typed["beta"]
    _, jacobian = fit.model.evaluate(fit.estimate.theta[None])
    # The standard error of the curve, from the printed covariance by the delta method.
    gradient = np.stack([np.ones_like(n), n ** -typed["alpha"], d ** -typed["beta"],
                         -typed["A"] * np.log(n) * n ** -typed["alpha"],
                         -typed["B"] * np.log(d) * d ** -typed["beta"]])  # fmt: skip
    order = ["E", "A", "B", "alpha", "beta"]
    matrix = fit.covariance().loc[order, order]
    se = np.sqrt(np.einsum("pn,pq,qn->n", gradient, matrix.to_numpy(), gradient))
    assert np.all(np.abs(again - fit.predict(interval=None).sort_index()["estimate"]) <= 0.1 * se)
    assert 3 < digits_of(fit) < 8


def test_at_a_bound_there_is_no_standard_error():
    row = next(r for r in repr(constrained()).split("\n") if r.startswith("  E "))
    assert "±" not in row
    assert re.search(r" 0 – [1-9]", row)


def test_held_parameters_say_so():
    row = next(r for r in repr(constrained()).split("\n") if r.startswith("  d "))
    assert "fixed" in row
    assert "±" not in row


def test_no_interval_says_why():
    text = repr(refused())
    assert "none" in text
    assert re.search(r"warning +No interval: 3 rows for 3 free parameters", text)


def test_formula_has_the_signs_of_the_metric():
    assert formula_of(headlines()) == "task_f1 = sigmoid(eta), eta = e - a u^-b v^-g"
    assert formula_of(refused()) == "loss = E + A u^-a"
    assert "- c (v^-g - 1)" in formula_of(by_format())


def test_hostile_level_names_are_escaped():
    evil = "<script>alert('x')</script>|a_b*"
    made = by_format((evil, "label"))
    html = made._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    markdown = made.to_markdown()
    assert "<script>" not in markdown
    rows = [line for line in markdown.split("\n") if line.startswith("| e\\[")]
    assert len(rows) == 2
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 6  # five cells
    assert evil in repr(made)


def test_tones_follow_the_certificate():
    good, warn, bad = "#d5efdb", "#fff1c9", "#f9d6d5"
    html = collapse()._repr_html_()
    assert good in html
    assert warn in html  # few degrees of freedom
    assert bad not in html


@given(st.floats(1e-30, 1e30), st.integers(3, 15), st.sampled_from([-1.0, 1.0]))
def test_number_keeps_its_digits(size, digits, sign):
    value = sign * size
    assert abs(float(number(value, digits)) - value) <= 0.5000001 * 10.0 ** (1 - digits) * size


def test_whole_numbers_print_whole():
    whole = [64.0, -3.0, 0.0, -0.0, 1.0, 9999.99999999999, 999999.0]
    assert [number(v) for v in whole] == ["64", "-3", "0", "0", "1", "10000", "999999"]
    # What is measured keeps the digits that it was measured to.
    assert [number(v) for v in (64.03, 0.9996, 1e-9, 1e6)] == ["64.0", "1.000", "1.00e-9", "1.00e6"]


@pytest.mark.parametrize("seed", range(4))
def test_the_noise_of_few_chains_is_that_of_a_new_chain(seed):
    """Taken as independent, the rows of a chain say less noise than a new chain has."""
    rng = np.random.default_rng(seed)
    kept = np.array([0.79, 0.58, 0.37, 0.16])
    rows = [
        {"chain_id": f"c{i}", "kept": k, "examples": n, "mmlu": 0.25 + 0.5 * k * n**0.02 + error}
        for i, n in enumerate((250, 500, 1000, 2000, 4000, 8000))
        for error in [rng.normal(0, 0.05)]
        for k in kept
    ]
    fit = sl.fit(sl.laws.Collapse(), pd.DataFrame(rows), "mmlu")
    assert fit.draws.pooling.unit == "chain"
    found = re.search(r"sd of mmlu (\S+) \((\S+) – (\S+)\)", str(fit))
    sd, low, high = map(float, found.groups())
    assert low < sd < high
    drawn = np.sqrt(fit.draws.run_variance)
    assert sd == pytest.approx(np.median(drawn), rel=0.005)  # three digits are printed
    assert sd > 1.1 * np.sqrt(fit.estimate.run_variance)
