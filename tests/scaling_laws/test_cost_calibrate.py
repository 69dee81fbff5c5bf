"""Calibration: constants come back, intervals cover, what is open is said; readers."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling_laws import cost

TRUTH = cost.Calibration(0.8, 0.6, 5e-5, 4e-5, (0.5, 0.5), "H100")
NAMES = ("mbu", "mfu", "t0", "ts", "mfu_prefill")


def design(models=("Qwen3-0.6B", "Qwen3-8B", "Qwen3-32B"), batches=(1, 8, 64)):
    work = ((200, 100), (2000, 300))
    rows = [
        {"model": m, "batch": b, "tokens_in": i, "tokens_out": o}
        for m in models for b in batches for i, o in work
    ]  # fmt: skip
    return pd.DataFrame(rows)


def measured(frame, truth=TRUTH):
    out = []
    for row in frame.itertuples():
        scenario = cost.Serving(
            tokens_in=row.tokens_in, tokens_out=row.tokens_out, batch=row.batch,
            calibration=truth, gpus=4,
        )  # fmt: skip
        out.append(scenario.evaluate(row.model).iloc[0])
    steps = pd.DataFrame(out).reset_index(drop=True)
    return frame.assign(
        latency_ms=steps["latency_ms"].astype(float), step_ms=steps["step_ms"].astype(float),
        ttft_ms=(steps["prefill_ms"] + steps["step_ms"]).astype(float), gpus=4,
    )  # fmt: skip


ROWS = measured(design())


@pytest.mark.parametrize(
    "kinds", [["latency_ms"], ["step_ms", "ttft_ms"], ["latency_ms", "ttft_ms"]]
)
def test_exact_times_give_the_constants_back(kinds):
    found = cost.calibrate(ROWS.drop(columns={"latency_ms", "step_ms", "ttft_ms"} - set(kinds)))
    assert found.unidentified == ()
    for name in NAMES:
        truth = getattr(TRUTH, name) if name != "mfu_prefill" else 0.5
        assert found.frame.loc[name, "estimate"] == pytest.approx(truth, rel=1e-6)
    assert found.residuals["error"].abs().max() < 1e-9


def test_intervals_cover_at_their_level():
    """Nominal 90 %, 150 noisy sets of rows: 5 constants, binomial sd of each .025."""
    rng = np.random.default_rng(0)
    base = ROWS.drop(columns=["step_ms"])
    inside = np.zeros((150, len(NAMES)))
    for i in range(len(inside)):
        noisy = base.assign(
            latency_ms=base["latency_ms"] * (1 + 0.02 * rng.standard_normal(len(base))),
            ttft_ms=base["ttft_ms"] * (1 + 0.02 * rng.standard_normal(len(base))),
        )
        frame = cost.calibrate(noisy).frame
        truth = np.array([0.8, 0.6, 5e-5, 4e-5, 0.5])
        inside[i] = (frame["low"] <= truth) & (truth <= frame["high"])
    # Four standard deviations below; above only near certainty would be wrong.
    assert (inside.mean(0) > 0.80).all()
    assert (inside.mean(0) < 0.99).all()


def test_one_batch_of_one_model_does_not_fix_the_constants():
    rows = measured(design(models=["Qwen3-8B"], batches=[1]))
    found = cost.calibrate(rows.drop(columns=["step_ms"]))
    assert {"mfu", "ts"} <= set(found.unidentified)
    assert not found.frame.loc["ts", "identified"]
    assert [n.code for n in found.notes if n.severity == "error"] == ["unidentified_constants"]
    # Rows like those measured are predicted all the same; a server built on it says so.
    assert found.residuals["error"].abs().max() < 0.01
    scenario = cost.Serving(tokens_in=10, tokens_out=10, calibration=found)
    assert "unidentified_constants" in [note.code for note in scenario.notes]


def test_known_constants_close_what_is_open():
    rows = measured(design(batches=[1])).drop(columns=["step_ms"])
    found = cost.calibrate(rows, fixed={"mfu": 0.6, "ts": 4e-5})
    assert found.unidentified == ()
    assert found.mbu == pytest.approx(0.8, rel=1e-6)
    assert found.mfu == pytest.approx(0.6, rel=1e-12)
    assert found.t0 == pytest.approx(5e-5, rel=1e-6)


def test_constants_at_their_bound_have_one_sided_intervals():
    truth = cost.Calibration(0.8, 1.0, 5e-5, 4e-5, (0.5, 0.5), "H100")
    # Faster than the peak allows: the estimate stays at 1.
    rows = measured(design(), truth)[
        ["model", "batch", "tokens_in", "tokens_out", "gpus", "step_ms"]
    ]
    rng = np.random.default_rng(3)
    rows["step_ms"] *= 1 - 0.02 * (rows["batch"] == 64) + 0.003 * rng.standard_normal(len(rows))
    found = cost.calibrate(rows)
    assert found.mfu == 1.0
    low, high = found.intervals["mfu"]
    assert 0 < low < high == 1.0
    assert "at_bound" in [note.code for note in found.notes]


def test_without_prompts_the_published_range_of_prefill_stands_and_is_told():
    found = cost.calibrate(ROWS.drop(columns=["latency_ms", "ttft_ms"]))
    assert found.prefill == cost.calibration().prefill
    assert "prefill_not_measured" in [note.code for note in found.notes]


def test_first_tokens_under_load_are_left_out_and_told():
    found = cost.calibrate(ROWS)
    assert "12 ttft_ms" in next(n.sentence for n in found.notes if n.code == "ttft_not_used")
    assert (found.residuals["kind"] == "ttft_ms").sum() == 6


def test_shipped_constants_name_their_provenance():
    shipped = cost.calibration()
    assert (shipped.mbu, shipped.mfu, shipped.t0, shipped.ts) == (0.92, 1.0, 70.5e-6, 59e-6)
    assert shipped.prefill == (0.35, 0.69)
    text = " ".join(repr(shipped).split())
    for words in ("vLLM", "2.3 %", "3.6 %", "12.6 %", "no interval known", "H20"):
        assert words in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="batch"), "no column batch"),
        (lambda f: f.drop(columns=["latency_ms", "step_ms", "ttft_ms"]), "any of step_ms"),
        (lambda f: f.drop(columns="model"), "neither a column 'model'"),
        (lambda f: f.assign(step_ms=-1.0), "row 0: step_ms = -1 is not positive"),
        (lambda f: f.assign(batch=0.5), "row 0: batch = 0.5 is not 1 or more"),
        (lambda f: f.assign(step_ms=np.nan)[["model", "batch", "tokens_in", "tokens_out",
                                             "step_ms"]], "no row holds a time"),
        (lambda f: f.drop(columns=["latency_ms", "step_ms"]).assign(batch=9), "no row holds a"),
    ],
)  # fmt: skip
def test_frames_that_cannot_be_used_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        cost.calibrate(change(ROWS))


def test_unknown_models_and_constants_are_refused():
    with pytest.raises(KeyError, match="'mine' is not known"):
        cost.calibrate(ROWS.assign(model="mine"))
    shape = cost.shape("Qwen3-8B")
    rows = ROWS[ROWS["model"] == "Qwen3-8B"]
    named = cost.calibrate(rows.assign(model="mine"), shapes={"mine": shape})
    assert named.frame.equals(cost.calibrate(rows).frame)
    with pytest.raises(ValueError, match="'speed' is no constant"):
        cost.calibrate(ROWS, fixed={"speed": 1})
    with pytest.raises(ValueError, match=r"mbu = 2 is out of range"):
        cost.calibrate(ROWS, fixed={"mbu": 2})
    with pytest.raises(ValueError, match=r"mbu = 1.5 is not in \(0, 1\]"):
        cost.Calibration(1.5, 1, 0, 0, (0.5, 0.5), "H100")


# Readers

VLLM = {
    "date": "20260701-120000", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "num_prompts": 64,
    "request_rate": "inf", "max_concurrency": 8, "duration": 40.0, "completed": 64, "failed": 0,
    "total_input_tokens": 64 * 512, "total_output_tokens": 64 * 128, "request_throughput": 1.6,
    "mean_ttft_ms": 80.0, "median_ttft_ms": 79.0, "mean_tpot_ms": 30.0, "mean_itl_ms": 30.0,
}  # fmt: skip


def test_results_of_vllm_are_read(tmp_path):
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text(json.dumps(VLLM))
    many.write_text("\n".join(json.dumps(VLLM) for _ in range(2)))
    row = cost.read_vllm(one, gpus=2).iloc[0]
    assert row["model"] == "Qwen/Qwen3-8B"
    assert (row["tokens_in"], row["tokens_out"], row["gpus"]) == (512, 128, 2)
    assert row["latency_ms"] == 80 + 127 * 30
    assert row["batch"] == pytest.approx(1.6 * 3.89)
    assert len(cost.read_vllm([one, many])) == 3
    assert cost.read_vllm(one, model="mine")["model"].tolist() == ["mine"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"failed": 3}, "3 requests failed"), ({"mean_tpot_ms": None}, "no number 'mean_tpot_ms'"),
     ({"completed": 0}, "no request was completed"),
     ({"spec_decode_num_drafts": 5}, "speculative decoding")],
)  # fmt: skip
def test_results_of_vllm_that_do_not_hold_are_refused(tmp_path, change, words):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(VLLM | change))
    with pytest.raises(ValueError, match=words):
        cost.read_vllm(path)


def guidellm(version=2, errored=0):
    means = {
        "request_concurrency": 7.5, "request_latency": 3.89, "prompt_token_count": 512.0,
        "output_token_count": 128.0, "time_to_first_token_ms": 80.0,
    }  # fmt: skip
    metrics = {name: {"successful": {"mean": mean, "count": 64}} for name, mean in means.items()}
    metrics["request_totals"] = {"successful": 64, "errored": errored, "incomplete": 0, "total": 64}
    backend = {"kind": "openai_http", "model": "Qwen/Qwen3-8B"}
    benchmark = {"config": {"backend": backend}, "metrics": metrics}
    return {"metadata": {"version": version}, "benchmarks": [benchmark, benchmark]}


@pytest.mark.parametrize("version", [1, 2])
def test_reports_of_guidellm_are_read(tmp_path, version):
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(guidellm(version)))
    rows = cost.read_guidellm(path)
    assert len(rows) == 2
    row = rows.iloc[0]
    assert row["model"] == "Qwen/Qwen3-8B"
    assert (row["batch"], row["latency_ms"], row["ttft_ms"]) == (7.5, 3890, 80)


def test_other_reports_are_refused(tmp_path):
    path = tmp_path / "benchmarks.json"
    for report, words in (
        (guidellm(version=3), "metadata.version = 3 is not among"),
        (VLLM, "metadata.version = None"),
        (guidellm(errored=2), "2 requests failed"),
        ({"metadata": {"version": 2}, "benchmarks": [{}]}, "no mean of request_concurrency"),
    ):
        path.write_text(json.dumps(report))
        with pytest.raises(ValueError, match=words):
            cost.read_guidellm(path)
    path.write_text("{\n}x")
    with pytest.raises(ValueError, match="is not JSON"):
        cost.read_guidellm(path)
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        cost.read_vllm(path)


def test_read_rows_calibrate(tmp_path):
    """Files made from known constants give them back."""
    base = ROWS.drop(columns=["step_ms"])
    paths = []
    for i, row in enumerate(base.itertuples()):
        tpot = (row.latency_ms - row.ttft_ms) / (row.tokens_out - 1)
        result = VLLM | {
            "model_id": row.model, "completed": 10, "total_input_tokens": 10 * row.tokens_in,
            "total_output_tokens": 10 * row.tokens_out, "mean_ttft_ms": row.ttft_ms,
            "mean_tpot_ms": tpot, "request_throughput": row.batch / row.latency_ms * 1e3,
        }  # fmt: skip
        path = tmp_path / f"{i}.json"
        path.write_text(json.dumps(result))
        paths.append(path)
    found = cost.calibrate(cost.read_vllm(paths, gpus=4), "H100")
    assert found.mbu == pytest.approx(0.8, rel=1e-6)
    assert found.ts == pytest.approx(4e-5, rel=1e-6)
