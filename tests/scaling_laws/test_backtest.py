"""A backtest judges every way to forecast on every curve, and says what it could not judge."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws import cli
from scaling_laws.study import Noise

FORMS = (sl.laws.Power(), sl.laws.Rectified())
METHODS = ["always Power", "always Rectified", "AICc", "rolling origin", "Forecast"]


def curve(seed, sizes=12, **columns):
    x = np.logspace(2, 6, sizes).round()
    law = sl.laws.Rectified()
    truth = {"E": 1.0, "A": 0.8, "a": 0.5, "d": 0.5}
    log = sl.simulate(law, pd.DataFrame({"examples": x}), truth, 0.01, seed)
    return log.frame.assign(**columns)


@pytest.fixture(scope="module")
def log():
    """Four curves that can be judged, one too short, one with one level."""
    parts = [curve(i, task=task, model=model) for i, (task, model) in
             enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")])]  # fmt: skip
    return pd.concat([*parts, curve(8, 3, task="c", model="x"), curve(9, 12, task="c", model="y")
                      .head(1)], ignore_index=True)  # fmt: skip


@pytest.fixture(scope="module")
def found(log):
    return sl.backtest(FORMS, log, by=["task", "model"], progress=False)


def test_every_method_on_every_curve(found):
    assert found.frame.loc["DataFrame"].index.tolist() == METHODS
    assert (found.frame["curves"] == 4).all()
    assert len(found.curves) == 4 * len(METHODS)
    assert (found.curves["rows"] == 3).all()
    assert (found.curves["scale"] == "log-RMSE").all()


def test_short_curves_are_listed_with_the_reason(found):
    assert found.failed["curve"].tolist() == ["c, x", "c, y"]
    assert found.failed["rows"].tolist() == [3, 1]
    # Three levels are too few to leave three; a lone row fits no form.
    assert "3 levels" in found.failed["reason"][0] or "3 usable" in found.failed["reason"][0]
    notes = [n.sentence for n in found.notes if n.code == "curve_failed"]
    assert any("c, x" in s for s in notes)
    assert any("c, y" in s for s in notes)


def test_numbers_are_those_of_holdout(log, found):
    """One curve by hand: `holdout` of each form and of the Forecast, and the choices between."""
    one = log[(log["task"] == "b") & (log["model"] == "x")].reset_index(drop=True)
    rows = found.curves[found.curves["curve"] == "b, x"].set_index("method")
    held = {"always Power": FORMS[0], "always Rectified": FORMS[1], "Forecast": FORMS}
    for method, law in held.items():
        by_hand = sl.holdout(law, one, leave=3)
        assert rows.loc[method, "error"] == pytest.approx(by_hand.log_rmse, rel=1e-12)
        assert rows.loc[method, "inside"] == by_hand.frame["covered"].sum()
        width = np.log(by_hand.frame["high"] / by_hand.frame["low"]).median()
        assert rows.loc[method, "width"] == pytest.approx(width, rel=1e-12)
    table = sl.choose(FORMS, one.nsmallest(9, "examples"), "loss").frame
    for method, column in (("AICc", "aicc"), ("rolling origin", "rolling_rmse")):
        best = table[column].idxmin()
        assert rows.loc[method, "form"] == best
        assert rows.loc[method, "error"] == rows.loc[f"always {best}", "error"]


def test_frame_sums_up_the_curves(found):
    part = found.curves[found.curves["method"] == "Forecast"]
    row = found.frame.loc[("DataFrame", "Forecast")]
    assert row["median"] == part["error"].median()
    # Sums of the same numbers in another order.
    assert row["mean"] == pytest.approx(part["error"].mean(), rel=1e-14)
    assert row["coverage"] == part["inside"].sum() / 12


def test_held_out_losses_never_reach_a_forecast(log):
    changed = log.copy()
    changed.loc[changed["examples"] > 1e5, "loss"] *= 3.0
    both = [sl.backtest(FORMS, c[c["task"] == "a"], by="model", progress=False).curves
            for c in (log, changed)]  # fmt: skip
    for column in ("form", "width"):
        assert both[0][column].tolist() == pytest.approx(both[1][column].tolist())


@pytest.mark.parametrize("kind", ["mapping", "sequence", "paths", "rows"])
def test_logs_come_in_every_shape(kind, tmp_path):
    one, two = curve(1), curve(2)
    if kind == "mapping":
        logs, names = {"one": one, "two": two}, ["one", "two"]
    elif kind == "sequence":
        logs, names = [one, sl.read_runs(two)], ["DataFrame", "DataFrame #2"]
    elif kind == "paths":
        one.to_csv(tmp_path / "one.csv", index=False)
        logs, names = [tmp_path / "one.csv", one], ["one.csv", "DataFrame"]
    else:
        logs, names = one.to_dict("records"), None
    found = sl.backtest(FORMS[:1], logs, progress=False)
    got = list(dict.fromkeys(found.curves["log"]))
    assert len(got) == 1 if names is None else got == names


def test_scores_are_judged_on_their_own_scale_and_evaluation():
    kept = pd.DataFrame({"kept": np.linspace(1.0, 0.2, 9)})
    truth = {"acc1": 0.75, "k0": 0.5, "s": 5.0}
    noise = Noise(run=0.005, items=5000)
    log = sl.simulate(sl.laws.Collapse(), kept, truth, noise, 1, metric="mmlu")
    found = sl.backtest(None, log, progress=False)
    assert set(found.curves["axis"]) == {"kept"}
    assert set(found.curves["scale"]) == {"RMSE"}
    assert set(found.curves["interval"]) == {"score"}
    assert {"always Collapse", "always Plateau"} <= set(found.curves["method"])
    held = sl.holdout(sl.laws.Collapse(), log, "mmlu", leave=3)
    row = found.curves.set_index("method").loc["always Collapse"]
    assert row["error"] == pytest.approx(held.rmse, rel=1e-12)


def test_curves_without_interval_count_in_the_error_alone():
    """Three rows for three parameters: no interval, and a note says so."""
    found = sl.backtest(FORMS[:1], curve(3, 6), progress=False)
    assert (found.curves["judged"] == 0).all()
    assert found.frame["coverage"].isna().all()
    codes = {n.code for n in found.notes}
    assert "no_interval" in codes
    assert "–" in repr(found)
    assert repr(found).startswith(
        "Backtest over 1 curve: the 3 hardest levels of each hidden and forecast"
    )


def test_one_level_is_one_level():
    found = sl.backtest(FORMS[:1], curve(3), leave=1, progress=False)
    assert repr(found).startswith(
        "Backtest over 1 curve: the hardest level of each hidden and forecast"
    )


def test_methods_judged_on_fewer_curves_are_told():
    both = pd.concat([curve(1, 12, task="long"), curve(2, 7, task="short")], ignore_index=True)
    found = sl.backtest(FORMS, both, by="task", progress=False)
    fewer = [n.sentence for n in found.notes if n.code == "fewer_curves"]
    assert any("1 of 2 curves" in s for s in fewer)


def test_impossible_requests_are_sentences(log):
    with pytest.raises(ValueError, match="no column 'family'"):
        sl.backtest(FORMS, log, by="family")
    with pytest.raises(ValueError, match="no curve could be judged"):
        sl.backtest(FORMS, log[log["task"] == "c"], by="model", progress=False)
    with pytest.raises(ValueError, match="no curve could be judged; the first: there are no logs"):
        sl.backtest(FORMS, [], progress=False)


def test_text_and_html_twins(found):
    text, html = repr(found), found._repr_html_()
    title = "4 curves (2 could not be judged): the 3 hardest levels of each hidden and forecast"
    for word in (*METHODS, title, "c, y"):
        assert word in text.replace("\n            ", " ")
        assert word in html
    assert max(len(line) for line in text.splitlines()) <= 100


def test_plot_has_a_line_a_method(found):
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == METHODS
    assert ax.get_xscale() == "log"


def test_command_prints_the_same_table(log, tmp_path, capsys):
    path = tmp_path / "log.csv"
    log.rename(columns={"examples": "D"}).to_csv(path, index=False)
    common = ["backtest", str(path), "--by", "task", "--by", "model", "--column", "examples=D",
              "--law", "power", "--law", "rectified"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        cli.main([*common, "--json", "--plot", str(tmp_path / "a.png")])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    expected = sl.backtest(FORMS, path, by=("task", "model"), columns={"examples": "D"},
                           progress=False)  # fmt: skip
    assert [m["method"] for m in shown["methods"]] == METHODS
    assert [m["median"] for m in shown["methods"]] == expected.frame["median"].tolist()
    assert len(shown["failed"]) == 2
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_progress_is_silent_where_nobody_watches(tmp_path):
    curve(1).to_csv(tmp_path / "log.csv", index=False)
    code = "import sys; from scaling_laws.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "backtest", str(tmp_path / "log.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "Forecast" in done.stdout
