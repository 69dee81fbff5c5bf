"""The report in a real browser: sliders, width of a phone, nothing run but its own script."""

import re
import shutil
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cost import Serving
from scaling_laws.reporting.panel import scales_of
from scaling_laws.reporting.program import STEPS
from scaling_laws.study import Noise

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium, chromedriver")

HOSTILE = "</script><img src=x onerror='document.title=1'>"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
).split()
SHOWN = ("estimate", "low", "high", "run_low", "run_high")
COSTS = tuple(f"{name}{end}" for name in ("latency_ms", "price") for end in ("", "_low", "_high"))
MOVE = """
arguments[0].forEach((step, i) => {
  const slider = document.getElementById(`axis${i}`);
  slider.value = step;
  slider.dispatchEvent(new Event("input"));
});
const select = document.getElementById("factor0");
select.value = arguments[1];
select.dispatchEvent(new Event("change"));
return arguments[0].map((_, i) => Number(document.getElementById(`value${i}`).value));
"""
READ = """
return [...document.querySelectorAll(arguments[0])].map((card) => arguments[1].map(
  (name) => Number(card.getElementsByClassName(name)[0].value)));
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    source = np.random.default_rng(0)
    rows = [
        {"examples": n, "kept": k, "format": f, "chain_id": f"{n} {f}"}
        for n in (1000, 6000, 36_000, 200_000)
        for k in (0.2, 0.35, 0.6, 1.0)
        for f in ("label", HOSTILE)
    ]
    law = sl.laws.Compressed("multiplicative", by="format")
    truth = {"e": 2.2, "a[label]": 1.0, f"a[{HOSTILE}]": 1.3, "b": 0.35, "g": 0.5}
    runs = sl.simulate(law, pd.DataFrame(rows), truth, Noise(chain=0.05), source, metric="task_f1")
    path = tmp_path_factory.mktemp("report") / "report.html"
    laws = [law, sl.laws.Compressed("interaction", by="format")]
    return sl.report(runs, path, laws=laws, title=HOSTILE)


@pytest.fixture(scope="module")
def browser(made, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.get(made.path.as_uri())
    yield driver
    driver.quit()


def moved(made, browser, source):
    """Move every slider and the format at random; return where that is."""
    scales, levels = scales_of(made.findings), made.findings.factors["format"]
    level = int(source.integers(len(levels)))
    steps = source.integers(0, 241, len(scales)).tolist()
    typed = browser.execute_script(MOVE, steps, level)
    return dict(zip(scales, typed, strict=True)) | {"format": levels[level]}


def worst(forecast, point, shown):
    """The largest error of what a card shows, over the interval's width."""
    mean = forecast.predict(point, interval="mean").iloc[0]
    run = forecast.predict(point, interval="run").iloc[0]
    asked = np.array([mean["estimate"], mean["low"], mean["high"], run["low"], run["high"]])
    narrow, wide = mean["high"] - mean["low"], run["high"] - run["low"]
    return (np.abs(shown - asked) / [narrow, narrow, narrow, wide, wide]).max()


# A slider's value has all its digits in the page, and exponentials of two libraries differ in the
# last: far below the promised 1 %.
AGREES = 1e-9


def test_sliders_agree_with_predict(made, browser):
    """Two forms share the draws; deep in a chain errors are inherited."""
    parts = made.findings.first.replay.parts
    assert all(len(part.noise) and part.stages.size for part in parts)
    assert len(parts) == 2
    source = np.random.default_rng(7)
    for _ in range(50):
        point = moved(made, browser, source)
        (shown,) = browser.execute_script(READ, ".metric", SHOWN)
        assert worst(made.findings.first.forecast, point, np.array(shown)) < AGREES


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The shipped runs: two metrics of two forms each, latency and price."""
    runs = sl.load_example().select({"phase": "distilled", "format": ["label", "blended"]})
    laws = [sl.laws.Compressed(kind, by="format") for kind in ("multiplicative", "interaction")]
    path = tmp_path_factory.mktemp("report") / "served.html"
    return sl.report(
        runs, path, laws=laws, metrics=["task_f1", "quiz"], shape="SmolLM2-135M",
        serving=Serving("H100", tokens_in=34, tokens_out=4),
    )  # fmt: skip


def test_the_page_computes_as_numpy_does(browser):
    script = (files("scaling_laws.reporting") / "panel.js").read_text(encoding="utf-8")
    told = re.search(r"const OPERATIONS = (\{.*?\n  \});", script, re.DOTALL)
    assert told is not None
    source = np.random.default_rng(9)
    cases, asked = [], []
    for name, function in STEPS.items():
        inputs = 3 if name == "where" else function.nin
        # Positive where a root or logarithm is taken of them.
        low = 0.1 if name in ("sqrt", "power") or name.startswith("log") else -3.0
        rows = source.uniform(low, 3.0, (20, inputs))
        if name.startswith("logical") or name in ("where", "equal", "not_equal", "sign"):
            rows[::2, 0] = 0.0
            rows[::4, -1] = 0.0
        cases += [[name, *row] for row in rows.tolist()]
        asked += [float(function(*row)) for row in rows.tolist()]
    shown = browser.execute_script(
        f"const known = {told.group(1)};"
        "return arguments[0].map(([name, ...of]) => known[name](...of));",
        cases,
    )
    np.testing.assert_allclose(shown, asked, rtol=1e-14, atol=1e-15)


def test_a_phone_needs_no_sideways_scrolling(browser):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_keys_move_a_slider(browser):
    slider = browser.find_element("id", "axis0")
    before = browser.find_element("id", "value0").get_property("value")
    slider.send_keys(webdriver.Keys.ARROW_LEFT * 5)
    assert float(browser.find_element("id", "value0").get_property("value")) < float(before)


def test_typed_values_are_kept_in_range(browser):
    box = browser.find_element("id", "value0")
    box.clear()
    box.send_keys("1e12", webdriver.Keys.TAB)
    assert box.get_property("value") == f"{float(box.get_attribute('max')):.0f}"


def test_names_of_the_log_did_nothing(browser):
    assert browser.title == f"{HOSTILE}"
    assert browser.execute_script("return document.images.length") == 0
    asked = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert not [name for name in browser.execute_script(asked) if not name.startswith("data:")]
    assert not browser.get_log("browser")


def test_without_a_script_all_but_the_panel_is_there(made, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(made.path.as_uri())
    assert not browser.find_element("id", "panel").is_displayed()
    assert browser.find_element("css selector", "#curves figure svg").is_displayed()
    table = browser.find_element("css selector", "#what-if table")
    assert not table.is_displayed()
    summary = browser.find_element("xpath", "//summary[.='Predictions as a table']")
    summary.send_keys(webdriver.Keys.ENTER)
    assert table.is_displayed()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_sliders_agree_on_the_shipped_log_with_its_costs(served, browser):
    browser.get(served.path.as_uri())
    found, source = served.findings, np.random.default_rng(8)
    assert found.served is not None
    scale, levels = found.served.scale, found.factors["format"]
    for _ in range(50):
        point = moved(served, browser, source)
        cards = browser.execute_script(READ, ".metric", SHOWN)
        for one, shown in zip(found.outcomes.values(), cards, strict=True):
            assert len(one.replay.parts) == 2
            assert worst(one.forecast, point, np.array(shown)) < AGREES
        (costs,) = browser.execute_script(READ, "#costs", COSTS)
        row = levels.index(point["format"]) if found.served.factor else 0
        share = np.log(point["kept"] / scale.low) / np.log(scale.high / scale.low)
        node = round(float(share) * (scale.nodes - 1))
        assert costs == [found.served.values[name][row, node] for name in COSTS]
