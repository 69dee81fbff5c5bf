"""Measured rows for `calibrate`, from the result files of serving benchmarks.

Read are the JSON of ``vllm bench serve --save-result`` (also of its forerunner
``benchmark_serving.py``), as vLLM writes it in 2026, and the reports of GuideLLM of schema versions
1 and 2 (releases .5 to .8).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

__all__ = ["read_guidellm", "read_vllm"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_VLLM = (
    "completed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "mean_ttft_ms", "mean_tpot_ms",
)  # fmt: skip
_GUIDELLM = (
    "request_concurrency", "request_latency", "prompt_token_count", "output_token_count",
    "time_to_first_token_ms",
)  # fmt: skip
_VERSIONS = (1, 2)


def read_vllm(paths: Paths, *, model: str | None = None, gpus: int = 1) -> pd.DataFrame:
    """Read results of ``vllm bench serve``, one a file or one a line (``--append-result``).

    Parameters
    ----------
    paths : path or list of paths
    model : str, optional
        Name for `calibrate`; that in the file, if left out.
    gpus : int
        Devices of the server (tensor parallel), which the file does not say.

    Returns
    -------
    DataFrame
        As `calibrate` takes it. ``latency_ms`` is the time to the first token and ``tokens_out -
        1`` times the time of a further one; ``batch`` the requests in the server on average,
        throughput times latency (Little's law).

    Raises
    ------
    ValueError
        For a file of another kind, failed requests, or speculative decoding.
    """
    rows: list[dict[str, Any]] = []
    for path in _listed(paths):
        for where, result in _objects(path):
            missing = [name for name in _VLLM if not isinstance(result.get(name), int | float)]
            if missing:
                raise ValueError(
                    f"{where}: there is no number {missing[0]!r}; a result of `vllm bench serve "
                    "--save-result` with the metrics ttft and tpot has one."
                )
            _refuse(result.get("failed"), where)
            if "spec_decode_num_drafts" in result:
                raise ValueError(
                    f"{where}: measured with speculative decoding, where a step is not a token."
                )
            n = float(result["completed"])
            if n < 1:
                raise ValueError(f"{where}: no request was completed.")
            out = result["total_output_tokens"] / n
            ttft = float(result["mean_ttft_ms"])
            latency = ttft + float(result["mean_tpot_ms"]) * (out - 1)
            batch = max(result["request_throughput"] * latency / 1e3, 1.0)
            name, tokens_in = model or result.get("model_id"), result["total_input_tokens"] / n
            rows.append(_row(name, tokens_in, out, batch, ttft, latency, gpus))
    return pd.DataFrame(rows)


def read_guidellm(
    path: str | os.PathLike[str], *, model: str | None = None, gpus: int = 1
) -> pd.DataFrame:
    """Read a report of GuideLLM (``benchmarks.json``): a row a benchmark, successful requests only.

    Parameters
    ----------
    path : path
    model : str, optional
        Name for `calibrate`; that in the file, if left out.
    gpus : int
        Devices of the server (tensor parallel), which the file does not say.

    Returns
    -------
    DataFrame
        As `calibrate` takes it.

    Raises
    ------
    ValueError
        For a file of another kind or schema version, or failed requests.
    """
    source = Path(path)
    report = next(_objects(source))[1]
    version = _at(report, "metadata", "version")
    if version not in _VERSIONS or not isinstance(report.get("benchmarks"), list):
        raise ValueError(
            f"{source}: metadata.version = {version!r} is not among the schema versions of "
            f"GuideLLM that are understood, {', '.join(map(str, _VERSIONS))}."
        )
    rows: list[dict[str, Any]] = []
    for i, benchmark in enumerate(cast("list[Mapping[str, Any]]", report["benchmarks"])):
        where = f"{source}: benchmarks[{i}]"
        values: dict[str, float] = {}
        for name in _GUIDELLM:
            mean = _at(benchmark, "metrics", name, "successful", "mean")
            if not isinstance(mean, int | float):
                raise ValueError(f"{where} has no mean of {name} over successful requests.")
            values[name] = float(mean)
        _refuse(_at(benchmark, "metrics", "request_totals", "errored"), where)
        rows.append(
            _row(
                model or _model(report, benchmark),
                values["prompt_token_count"],
                values["output_token_count"],
                max(values["request_concurrency"], 1.0),
                values["time_to_first_token_ms"],
                1e3 * values["request_latency"],
                gpus,
            )
        )
    return pd.DataFrame(rows)


def _row(
    model: Any, tokens_in: float, out: float, batch: float, ttft: float, latency: float, gpus: int
) -> dict[str, Any]:
    return {
        "model": None if model is None else str(model), "tokens_in": tokens_in, "tokens_out": out,
        "batch": batch, "ttft_ms": ttft, "latency_ms": latency, "gpus": gpus,
    }  # fmt: skip


def _listed(paths: Paths) -> list[Path]:
    if isinstance(paths, str | os.PathLike):
        return [Path(paths)]
    return [Path(path) for path in paths]


def _objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of a JSON file, or of one with an object a line, with their places."""
    text = path.read_text(encoding="utf-8")
    try:
        found: list[tuple[str, Any]] = [(str(path), json.loads(text))]
    except json.JSONDecodeError:
        try:
            lines = enumerate(text.splitlines(), 1)
            found = [(f"{path} line {i}", json.loads(line)) for i, line in lines if line.strip()]
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}.") from None
    if not found:
        raise ValueError(f"{path} is empty.")
    for where, value in found:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} does not hold an object.")
        yield where, cast("Mapping[str, Any]", value)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, Any]", value).get(key)
    return value


def _model(report: Mapping[str, Any], benchmark: Mapping[str, Any]) -> str | None:
    """Name of the model that the backend was told, or that the command was."""
    found = _at(benchmark, "config", "backend", "model") or _at(report, "args", "model")
    return None if found is None else str(found)


def _refuse(failed: Any, where: str) -> None:
    if isinstance(failed, int | float) and failed > 0:
        raise ValueError(f"{where}: {failed:g} requests failed; their load is not that measured.")
