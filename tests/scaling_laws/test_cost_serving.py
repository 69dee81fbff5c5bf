"""Serving: golden latencies, signs of derivatives, loads, memory, prices."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws import cost
from scaling_laws.cost.shapes import counts

LARGE = cost.shape("Qwen3-32B")


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


# Golden numbers


def test_a_32b_answering_with_four_tokens_takes_about_130_ms():
    row = only(cost.serving("Qwen3-32B", tokens_in=200, tokens_out=4).frame)
    # By hand, with mbu .92, t0 70.5 us, ts 59 us: the weights without the embedding are read in
    # 20.8 ms a step, layers take 4.5 ms.
    read = 2 * (32762123264 - 151936 * 5120) / (3.35e12 * 0.92)
    step = read + 64 * 70.5e-6 + 59e-6
    assert row["step_ms"] == pytest.approx(1e3 * step, rel=0.005)
    assert row["latency_ms"] == pytest.approx(130, rel=0.03)
    assert row["latency_ms_low"] < row["latency_ms"] < row["latency_ms_high"] < 145


def test_a_5b_writing_300_tokens_takes_1_1_to_2_2_s():
    """Of whatever depth: 13 to 56 layers cut from a 32B model."""
    rng = np.random.default_rng(0)
    cut = LARGE.variants(
        layers=rng.integers(13, 57, 20_000), ffn=512 * rng.integers(1, 51, 20_000),
        hidden=256 * rng.integers(4, 21, 20_000), kv_heads=rng.integers(1, 9, 20_000),
    )  # fmt: skip
    near = cut[(np.abs(counts(cut).params / 5e9 - 1) < 0.02)]
    assert set(range(13, 57)) <= set(near["layers"])
    latency = cost.Serving(tokens_in=200, tokens_out=300).latency(near)
    assert (latency["latency_ms_low"] > 1100).all()
    assert (latency["latency_ms_high"] < 2200).all()
    planned = cost.serving(LARGE.pruned(0.16), tokens_in=200, tokens_out=300).frame
    assert 1100 < planned["latency_ms"].iloc[0] < 2200


def test_the_formulas_as_written():
    """One row against the formulas, term by term, everything away from its default."""
    constants = cost.Calibration(0.7, 0.6, 5e-5, 4e-5, (0.4, 0.5), "mine", mfu_prefill=0.45)
    device = cost.Hardware("mine", 3e14, 2e12, 80e9, cost.Price(2, 3))
    shape = cost.shape("Qwen3-8B").quantised(8)
    row = only(
        cost.Serving(
            device, tokens_in=1000, tokens_out=50, batch=8, gpus=2, kv_bits=8,
            calibration=constants, replicas=3,
        ).evaluate(shape)
    )  # fmt: skip
    matrices = 36 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 12288)
    vectors = 4096 + 36 * (2 * 4096 + 2 * 128)
    head = 151936 * 4096
    kv = 2 * 36 * 8 * 128
    read = matrices + 2 * vectors + 2 * head
    step = (read + 8 * 1025 * kv) / (2 * 2e12 * 0.7) + 8 * 2 * (matrices + head) / (2 * 3e14 * 0.6)
    step += 36 * 5e-5 + 8 * 4e-5
    prompt = 2 * matrices * 1000 + 2 * 1000**2 * 36 * 32 * 128
    prefill = prompt / (2 * 3e14 * 0.45) + 36 * 5e-5
    latency = 8 * prefill + 50 * step
    assert row["step_ms"] == pytest.approx(1e3 * step, rel=1e-12)
    assert row["prefill_ms"] == pytest.approx(1e3 * prefill, rel=1e-12)
    assert row["latency_ms"] == pytest.approx(1e3 * latency, rel=1e-12)
    assert row["requests_per_s"] == pytest.approx(3 * 8 / latency, rel=1e-12)
    # Dollars: six devices for the seconds that a million requests take.
    assert row["price_low"] == pytest.approx(6 * 2 / 3600 * 1e6 / row["requests_per_s_high"])
    assert row["price_high"] == pytest.approx(6 * 3 / 3600 * 1e6 / row["requests_per_s_low"])
    assert row["weights_bytes"] == pytest.approx((read + 2 * head) / 2)
    assert row["cache_bytes"] == pytest.approx(8 * 1050 * kv / 2)


# Signs

CHANGES = {
    "layers": 1, "ffn": 1, "tokens_in": 1, "tokens_out": 1, "batch": 1, "kv_heads": 1,
    "bandwidth": -1, "peak_flops": -1, "mbu": -1, "mfu": -1, "t0": 1, "ts": 1, "prefill": -1,
    "weight_bits": 1, "kv_bits": 1, "gpus": -1,
}  # fmt: skip
BASE = {
    "layers": 20, "ffn": 5120, "kv_heads": 4, "tokens_in": 300, "tokens_out": 40, "batch": 4,
    "bandwidth": 2e12, "peak_flops": 3e14, "mbu": 0.5, "mfu": 0.4, "t0": 5e-5, "ts": 5e-5,
    "prefill": 0.3, "weight_bits": 8, "kv_bits": 8, "gpus": 1,
}  # fmt: skip


def latency(values):
    device = cost.Hardware("x", values["peak_flops"], values["bandwidth"], 80e9)
    prefill = (values["prefill"], values["prefill"])
    constants = cost.Calibration(
        values["mbu"], values["mfu"], values["t0"], values["ts"], prefill, "x"
    )
    scenario = cost.Serving(
        device, tokens_in=values["tokens_in"], tokens_out=values["tokens_out"],
        batch=values["batch"], kv_bits=values["kv_bits"], gpus=values["gpus"],
        calibration=constants,
    )  # fmt: skip
    sizes = {axis: values[axis] for axis in ("layers", "ffn", "kv_heads")}
    shape = LARGE.pruned(**sizes).quantised(values["weight_bits"])
    return float(only(scenario.latency(shape))["latency_ms"])


@pytest.mark.parametrize(("name", "sign"), CHANGES.items())
def test_latency_moves_the_right_way(name, sign):
    whole = isinstance(BASE[name], int)
    more = BASE | {name: BASE[name] + 1 if whole else BASE[name] * 1.1}
    assert np.sign(latency(more) - latency(BASE)) == sign


@given(
    batch=st.floats(1, 100), tokens_out=st.floats(1, 1000), tokens_in=st.floats(1, 4000),
    layers=st.integers(1, 64),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_load_is_served_by_the_batch_whose_throughput_it_is(batch, tokens_out, tokens_in, layers):
    shape = LARGE.pruned(layers=layers)
    constants = cost.Calibration(0.9, 0.8, 5e-5, 5e-5, (0.5, 0.5), "H100")
    work = {"tokens_in": tokens_in, "tokens_out": tokens_out, "calibration": constants}
    full = only(cost.Serving(**work, batch=batch).evaluate(shape))
    if not full["served"]:
        assert batch > full["max_batch"]
        return
    loaded = only(cost.Serving(**work, load=full["requests_per_s"]).evaluate(shape))
    # 1 - load * slope loses digits where nearly all time goes to what grows with the batch.
    assert loaded["batch"] == pytest.approx(batch, rel=1e-6)
    assert loaded["latency_ms"] == pytest.approx(full["latency_ms"], rel=1e-6)
    assert 0 < loaded["utilisation"] <= 1 + 1e-9


def test_more_load_costs_less_a_request_and_takes_longer():
    loads = np.linspace(0.1, 20, 40)
    frame = cost.shape("Qwen3-8B").variants(layers=np.full(40, 36)).assign(load=loads)
    rows = cost.Serving(tokens_in=200, tokens_out=300).evaluate(frame)
    assert rows["served"].all()
    assert rows["latency_ms"].is_monotonic_increasing
    assert rows["price_high"].is_monotonic_decreasing
    np.testing.assert_allclose(rows["price_low"], 1.99 / 3600 * 1e6 / loads)
    assert (rows["utilisation_high"] < 1).all()


# Refusals


def test_a_load_that_cannot_be_served_is_refused_with_the_replicas_that_could():
    work = {"tokens_in": 200, "tokens_out": 300}
    words = r"can't be served: a load of 100 .* above the .* 1 replica.*; (\d+) replicas could"
    with pytest.raises(ValueError, match=words) as told:
        cost.serving("Qwen3-8B", load=100, **work)
    enough = int(str(told.value).split("; ")[1].split()[0])
    assert cost.serving("Qwen3-8B", load=100, replicas=enough, **work).frame["served"].all()
    with pytest.raises(ValueError, match="can't be served"):
        cost.serving("Qwen3-8B", load=100, replicas=enough - 1, **work)


def test_a_model_that_does_not_fit_is_refused_and_fits_with_fewer_bits_or_more_devices():
    work = {"tokens_in": 200, "tokens_out": 300}
    with pytest.raises(ValueError, match="weights of 141 GB .* do not fit the 72 GB"):
        cost.serving("Llama-3.1-70B", **work)
    assert cost.serving("Llama-3.1-70B", weight_bits=4, **work).frame["served"].all()
    assert cost.serving("Llama-3.1-70B", gpus=4, **work).frame["served"].all()
    with pytest.raises(ValueError, match="a batch of 500 is above the"):
        cost.serving("Qwen3-32B", batch=500, **work)


def test_in_a_frame_the_unserved_are_told_and_not_dropped():
    models = [cost.shape("Qwen3-8B"), cost.shape("Llama-3.1-70B")]
    found = cost.serving(models, tokens_in=200, tokens_out=10)
    assert found.frame["served"].tolist() == [True, False]
    assert np.isnan(found.frame.loc["Llama-3.1-70B", "latency_ms"])
    assert "do not fit" in found.frame.loc["Llama-3.1-70B", "why"]
    assert [note.code for note in found.notes][-1] == "not_served"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tokens_in": 0}, "tokens_in = 0 is not 1 or more"), ({"batch": 0.5}, "batch = 0.5"),
     ({"load": -1}, "load = -1 is not positive"), ({"memory_share": 2}, "memory_share = 2"),
     ({"tokens_out": float("nan")}, "tokens_out = nan"), ({"price": (3, 1)}, "is no range"),
     ({"price": (1, 2, 3)}, "a number of dollars")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        cost.Serving(**{"tokens_in": 10, "tokens_out": 10} | options)


# Tables


def test_hardware_brings_its_source_and_a_dated_price():
    device = cost.hardware("h100")
    assert (device.peak_flops, device.bandwidth) == (989e12, 3.35e12)
    assert "data sheet" in device.source
    assert (device.price.low, device.price.high, device.price.date) == (1.99, 5.0, "2026-05")
    assert cost.hardware("L40S").price is None
    table = cost.hardware_table()
    assert table.loc["H100", ["peak_flops", "bandwidth"]].tolist() == [989e12, 3.35e12]
    for columns, rows in (
        (["source", "edition", "date"], table),
        (["price_source", "price_date"], table[table["price_low"].notna()]),
    ):
        assert len(rows)
        assert rows[columns].map(lambda word: isinstance(word, str) and bool(word)).all(axis=None)
    for dates in (table["date"], table["price_date"].dropna()):
        assert dates.str.fullmatch(r"20\d\d-[01]\d").all()
    assert pd.isna(table.loc["L40S", "price_low"])
    with pytest.raises(KeyError, match="'TPU' is not in the table"):
        cost.hardware("TPU")
    with pytest.raises(ValueError, match="bandwidth = 0 is not positive"):
        cost.Hardware("x", 1e12, 0, 1e9)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", None), ("NVIDIA H200 NVL", None),
     ("NVIDIA A100-PCIE-40GB", 312e12), ("NVIDIA A100 80GB PCIe", 312e12),
     ("NVIDIA B200", 2250e12), ("NVIDIA L40S", 362e12), ("NVIDIA L40", None), ("", None)],
)  # fmt: skip
def test_peaks_by_the_names_of_drivers(name, peak):
    assert cost.peak_flops(name) == peak


def test_only_measured_hardware_has_constants_and_moving_them_is_told():
    with pytest.raises(KeyError, match="no calibration is shipped for 'A100', only for H100"):
        cost.Serving("A100", tokens_in=10, tokens_out=10)
    moved = cost.Serving("A100", tokens_in=10, tokens_out=10, calibration=cost.calibration())
    assert "other_hardware" in [note.code for note in moved.notes]
    with pytest.raises(KeyError, match="'B200/vLLM' is not shipped"):
        cost.calibration("B200/vLLM")


def test_an_unpriced_device_gives_no_price():
    device = cost.Hardware("mine", 1e14, 1e12, 48e9)
    scenario = cost.Serving(device, tokens_in=9, tokens_out=9, calibration=cost.calibration())
    prices = scenario.price_per_million("Qwen3-8B")
    assert prices.isna().all(axis=None)
    priced = replace(scenario, price=2.0)
    assert (priced.price_per_million("Qwen3-8B") > 0).all(axis=None)


# Size and shape of answers


def test_a_hundred_thousand_candidates_in_under_a_second_of_processor_time():
    rng = np.random.default_rng(0)
    n = 100_000
    frame = LARGE.variants(
        layers=rng.integers(1, 65, n), ffn=512 * rng.integers(1, 51, n),
        hidden=256 * rng.integers(1, 21, n), kv_heads=rng.integers(1, 9, n),
    )  # fmt: skip
    frame["tokens_out"] = rng.integers(1, 500, n)
    frame.index = pd.RangeIndex(7, 7 + n)
    scenario = cost.Serving(tokens_in=200, tokens_out=1, load=20)
    scenario.evaluate(frame.head(10))
    start = time.process_time()
    rows = scenario.evaluate(frame)
    assert time.process_time() - start < 1.0
    assert rows.index.equals(frame.index)
    pick = rng.integers(0, n, 5)
    for i in pick:
        one = scenario.evaluate(frame.iloc[[i]]).iloc[0]
        np.testing.assert_array_equal(one["latency_ms"], rows.iloc[i]["latency_ms"])
    assert rows["served"].any()
    assert (rows["why"] == "").sum() == rows["served"].sum()


def test_columns_of_a_frame_stand_for_the_scenario():
    frame = cost.shape("Qwen3-8B").variants(layers=[36, 36], weight_bits=[16, 8])
    frame = frame.assign(tokens_out=[4, 300])
    rows = cost.Serving(tokens_in=200, tokens_out=1).evaluate(frame)
    for bits, out, (_, row) in zip((16, 8), (4, 300), rows.iterrows(), strict=True):
        alone = cost.Serving(tokens_in=200, tokens_out=out, weight_bits=bits)
        assert row["latency_ms"] == only(alone.evaluate("Qwen3-8B"))["latency_ms"]
    with pytest.raises(ValueError, match="tokens_out = 0 is not 1 or more"):
        cost.Serving(tokens_in=200, tokens_out=1).evaluate(frame.assign(tokens_out=0))


def test_text_and_html_say_the_same():
    found = cost.serving(["Qwen3-32B", "Qwen3-8B"], tokens_in=200, tokens_out=4)
    text, html = repr(found), found._repr_html_()
    for words in ("Qwen3-8B", "124 to 142", "mercatus-ai", "2026-05", "52 % at worst"):
        assert words in " ".join(text.split())
        assert words in html
    odd = replace(cost.shape("Qwen3-8B"), name="<script>")
    assert "<script" not in cost.serving(odd, tokens_in=9, tokens_out=9)._repr_html_()


@pytest.mark.parametrize(
    ("given", "lacking"),
    [({}, "tokens_in=, the tokens of the prompt"),
     ({"tokens_in": 9}, "tokens_out=, the tokens of the answer")],
)  # fmt: skip
def test_the_work_of_a_request_is_asked_for(given, lacking):
    with pytest.raises(ValueError, match=f"is not 1 or more; write {lacking}"):
        cost.serving("Qwen3-8B", **given)
