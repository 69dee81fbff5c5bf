"""The report in a real browser: sliders, width of a phone, nothing run but its own script."""

import shutil

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.reporting.panel import scales_of
from scaling_laws.study import Noise

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium, chromedriver")

HOSTILE = "</script><img src=x onerror='document.title=1'>"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
).split()
READ = """
const card = document.getElementsByClassName("metric")[0];
return ["estimate", "low", "high", "run_low", "run_high"].map(
  (name) => Number(card.getElementsByClassName(name)[0].value));
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    source = np.random.default_rng(0)
    rows = [
        {"examples": n, "kept": k, "format": f}
        for n in (1000, 6000, 36000)
        for k in (0.2, 0.4, 1.0)
        for f in ("label", HOSTILE)
    ]
    law = sl.laws.Compressed("multiplicative", by="format")
    truth = {"e": 2.2, "a[label]": 1.0, f"a[{HOSTILE}]": 1.3, "b": 0.35, "g": 0.5}
    runs = sl.simulate(law, pd.DataFrame(rows), truth, Noise(0.01), source, metric="task_f1")
    path = tmp_path_factory.mktemp("report") / "report.html"
    return sl.report(runs, path, laws=[law], title=HOSTILE)


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


def test_sliders_agree_with_predict(made, browser):
    found = made.findings
    forecast, scales = found.first.forecast, scales_of(found)
    source = np.random.default_rng(7)
    for _ in range(50):
        level = int(source.integers(2))
        steps = source.integers(0, 241, len(scales)).tolist()
        browser.execute_script(
            """
            arguments[0].forEach((step, i) => {
              const slider = document.getElementById(`axis${i}`);
              slider.value = step;
              slider.dispatchEvent(new Event("input"));
            });
            const select = document.getElementById("factor0");
            select.value = arguments[1];
            select.dispatchEvent(new Event("change"));
            """,
            steps,
            level,
        )
        typed = browser.execute_script(
            "return arguments[0].map((_, i) => Number(document.getElementById(`value${i}`).value))",
            steps,
        )
        point = dict(zip(scales, typed, strict=True)) | {"format": found.factors["format"][level]}
        mean = forecast.predict(point, interval="mean").iloc[0]
        run = forecast.predict(point, interval="run").iloc[0]
        shown = np.array(browser.execute_script(READ))
        asked = np.array([mean["estimate"], mean["low"], mean["high"], run["low"], run["high"]])
        narrow, wide = mean["high"] - mean["low"], run["high"] - run["low"]
        assert (np.abs(shown - asked) / [narrow, narrow, narrow, wide, wide]).max() < 0.01


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
