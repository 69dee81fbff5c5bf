"""Simulated logs with a known truth, and what intervals are worth on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.fitting import fit
from scaling_laws.halfwild import NoInterval
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric, get_metric
from scaling_laws.model import Model
from scaling_laws.problem import build, level_codes
from scaling_laws.result import Interval
from scaling_laws.runs import RunLog, read_runs
from scaling_laws.uncertainty import as_generator
from scaling_laws.variance import inverse_information

__all__ = ["Noise", "counted_logs", "coverage", "simulate"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Where the scatter of a simulated log comes from.

    Parameters
    ----------
    run : float
        Standard deviation of a training run on the residual scale (the score, or log loss).
    chain : float
        Standard deviation that every stage adds and its successors inherit; needs ``chain_id``.
    configuration : float
        Standard deviation that runs of one configuration share.
    items : int or None
        Test items: scores are binomial shares. None: scores are exact.
    """

    run: float = 0.0
    chain: float = 0.0
    configuration: float = 0.0
    items: int | None = None


def simulate(
    law: Law,
    design: pd.DataFrame,
    truth: Mapping[str, float],
    noise: Noise | float,
    rng: Any = 0,
    *,
    metric: str | Metric = "loss",
) -> RunLog:
    """Simulate a log.

    Parameters
    ----------
    law : Law
    design : DataFrame
        A row a run: the law's axes and factors, ``chain_id`` where errors accumulate.
    truth : mapping
        Printed parameters, amplitudes at the geometric mean of this design.
    noise : Noise or float
        A number is the run-to-run standard deviation.
    rng : int, Generator or RandomState
    metric : str or Metric

    Returns
    -------
    RunLog
    """
    chosen = get_metric(metric)
    source = as_generator(rng)
    noise = noise if isinstance(noise, Noise) else Noise(run=float(noise))
    model, frame = _truth_model(law, design, chosen)
    theta = model.working(_every_level(model, truth))
    error = _errors(frame, noise, source)
    score = _observe(model, theta, error, chosen, noise, source)
    out = frame.assign(**{chosen.name: score})
    if noise.items is not None:
        out[chosen.n] = noise.items
    return _accepted(out, chosen)


def _accepted(frame: pd.DataFrame, metric: Metric) -> RunLog:
    """Return the frame as a log that has every row, or say why one is not legal."""
    log = read_runs(frame, metrics=[metric])
    if len(log.rejected):
        raise ValueError(f"design: {log.rejected['reason'].iloc[0]}")
    return log


def _truth_model(law: Law, design: pd.DataFrame, metric: Metric) -> tuple[Model, pd.DataFrame]:
    filled = design.reset_index(drop=True).assign(**{metric.name: _placeholder(metric)})
    problem = build(law, _accepted(filled, metric), metric)
    # Rows come back sorted by level; the design's own order is kept in the index.
    return problem.model, problem.frame.drop(columns=[metric.name])


def _placeholder(metric: Metric) -> float:
    return 1.0 if metric.top is None else 0.5 * ((metric.floor or 0.0) + metric.top)


def _every_level(model: Model, truth: Mapping[str, float]) -> dict[str, float]:
    given: dict[str, float] = {}
    for name in model.names:
        base = name.split("[", 1)[0]
        if name not in truth and base not in truth:
            raise ValueError(f"truth lacks {name!r}; it needs {', '.join(model.names)}.")
        given[name] = float(truth[name] if name in truth else truth[base])
    return given


def _errors(frame: pd.DataFrame, noise: Noise, rng: np.random.Generator) -> Array:
    n = len(frame)
    error = np.asarray(noise.run * rng.standard_normal(n), float)
    if noise.configuration > 0:
        codes = _configurations(frame)
        shared = rng.standard_normal(int(codes.max()) + 1)
        error += noise.configuration * shared[codes]
    if noise.chain > 0:
        if "chain_id" not in frame.columns:
            raise ValueError("noise.chain needs the column chain_id in the design.")
        for _, rows in frame.groupby("chain_id", sort=False).indices.items():
            order = rows[np.argsort(-frame["kept"].to_numpy(dtype=float)[rows], kind="stable")]
            error[order] += (noise.chain * rng.standard_normal(len(rows))).cumsum()
    return error


def _configurations(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Return one code for rows that differ in lineage alone."""
    keys = [c for c in frame.columns if c not in ("chain_id", "run_id", "seed", "stage")]
    words = frame[keys].astype(str).agg("|".join, axis=1).to_numpy()
    return np.unique(words, return_inverse=True)[1]


def _observe(
    model: Model,
    theta: Array,
    error: Array,
    metric: Metric,
    noise: Noise,
    rng: np.random.Generator,
) -> Array:
    mean = model.residual_mean(theta[None])[0] + error
    if model.link.kind == "log":
        return np.exp(mean)
    if model.link.kind != "logit":
        return mean
    top = 1.0 if metric.top is None else metric.top
    share = np.clip(mean, 0.0, top)
    if noise.items is None:
        return share
    return np.asarray(rng.binomial(noise.items, share), float) / noise.items


def coverage(
    law: Law,
    design: pd.DataFrame,
    truth: Mapping[str, float],
    noise: Noise | float,
    points: pd.DataFrame,
    *,
    metric: str | Metric = "loss",
    n: int = 300,
    draws: int = 399,
    level: float = 0.9,
    intervals: Sequence[Interval] = ("mean", "run", "score"),
    fitted: Law | None = None,
    rng: Any = 0,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Measure how often intervals contain what they claim, over simulated logs.

    Parameters
    ----------
    law, design, truth, noise, metric
        As in `simulate`.
    points : DataFrame
        Where to predict; a column ``stage`` says how many stages of chain noise a new run has there
        (1 without).
    n : int
        Simulated logs; the standard error of a coverage of .9 is ``.3 / sqrt(n)``.
    draws : int
        Draws a log.
    fitted : Law, optional
        Law to fit instead of the true one.
    **options
        For `fit`.

    Returns
    -------
    DataFrame
        A row a point and kind: ``coverage``, its standard error, median ``width``, for ``mean`` the
        width over the ``oracle``'s (known form, variances and correlations), and the share
        ``refused``.
    """
    chosen = get_metric(metric)
    noise = noise if isinstance(noise, Noise) else Noise(run=float(noise))
    kinds = [k for k in intervals if k != "score" or noise.items is not None]
    source = as_generator(rng)
    model, frame = _truth_model(law, design, chosen)
    theta = model.working(_every_level(model, truth))
    at = _at_points(model, points)
    true_mean = at.residual_mean(theta[None])[0]
    hits: dict[str, list[NDArray[np.bool_]]] = {k: [] for k in kinds}
    widths: dict[str, list[Array]] = {k: [] for k in kinds}
    refused = 0
    for _ in counted_logs(n, progress):
        log = simulate(law, design, truth, noise, source, metric=chosen)
        one = fit(fitted or law, log, chosen, rng=source, **options)
        try:
            one = _with_draws(one, draws)
        except NoInterval:
            refused += 1
            continue
        for kind in kinds:
            target = _target(at, true_mean, points, kind, noise, chosen, source)
            band = one.predict(points, interval=kind, level=level, rng=source)
            low, high = band["low"].to_numpy(), band["high"].to_numpy()
            hits[kind].append((low <= target) & (target <= high))
            widths[kind].append(high - low)
    oracle = _oracle_width(model, at, theta, frame, noise, level)
    return _table(points, kinds, hits, widths, oracle, refused, n)


def counted_logs(n: int, progress: bool) -> Iterable[int]:
    """Count simulated logs, with a bar where `progress` is asked."""
    if not progress:
        return range(n)
    from tqdm.auto import tqdm

    return tqdm(range(n), desc="simulated logs", leave=False)


def _with_draws(one: Any, draws: int) -> Any:
    """Return the fit with its cached draws made at another number."""
    made = one.bootstrap(draws, "wild", rng=one.seed).draws
    copy = replace(one)
    copy.__dict__["draws_or_reason"] = made
    return copy


def _at_points(model: Model, points: pd.DataFrame) -> Model:
    codes, _ = level_codes(points, model.law.by, model.levels)
    raw = {a.name: points[a.name].to_numpy(dtype=float) for a in model.law.axis_list()}
    return model.at(raw, codes)


def _target(
    at: Model,
    mean: Array,
    points: pd.DataFrame,
    kind: str,
    noise: Noise,
    metric: Metric,
    rng: np.random.Generator,
) -> Array:
    """Draw what the interval should contain: the curve, or a fresh run, or a fresh score of one."""
    value = mean
    if kind != "mean":
        stage = points["stage"].to_numpy(dtype=float) if "stage" in points else np.ones(len(points))
        variance = noise.run**2 + noise.configuration**2 + stage * noise.chain**2
        value = mean + np.sqrt(variance) * rng.standard_normal(len(points))
    if at.link.kind == "log":
        return np.exp(value)
    if at.link.kind == "logit" and kind != "mean":
        value = np.clip(value, 0.0, at.link.top)
        if kind == "score" and noise.items is not None:
            value = rng.binomial(noise.items, value) / noise.items
    return value


def _oracle_width(
    model: Model, at: Model, theta: Array, frame: pd.DataFrame, noise: Noise, level: float
) -> Array:
    """Width of the mean's interval for one who knows form, variances and correlations."""
    from scipy.special import ndtri

    mean, jacobian = model.evaluate(theta[None])
    n = model.size
    omega = noise.run**2 * np.eye(n)
    if noise.items is not None and model.link.kind == "logit":
        omega += np.diag(mean[0] * (1.0 - mean[0]) / noise.items)
    if noise.configuration > 0:
        codes = _configurations(frame)
        omega += noise.configuration**2 * (codes[:, None] == codes[None, :])
    if noise.chain > 0:
        chain, kept = frame["chain_id"].to_numpy(), frame["kept"].to_numpy(dtype=float)
        same = chain[:, None] == chain[None, :]
        place = np.array(
            [(kept[chain == c] >= k - 1e-12).sum() for c, k in zip(chain, kept, strict=True)]
        )
        omega += noise.chain**2 * same * np.minimum(place[:, None], place[None, :])
    # Whitened by the Cholesky factor, so that J Omega^-1 J^T is that of independent rows.
    whitened = np.asarray(np.linalg.solve(np.linalg.cholesky(omega), jacobian[0].T), float).T
    value, g = at.evaluate(theta[None])
    variance = ((inverse_information(whitened) @ g[0]) * g[0]).sum(0)
    scale = np.exp(value[0]) if at.link.kind == "log" else 1.0
    return 2.0 * float(ndtri(0.5 * (1.0 + level))) * np.sqrt(variance) * scale


def _table(
    points: pd.DataFrame,
    kinds: Sequence[str],
    hits: Mapping[str, list[NDArray[np.bool_]]],
    widths: Mapping[str, list[Array]],
    oracle: Array,
    refused: int,
    n: int,
) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for kind in kinds:
        part = points.reset_index(drop=True).copy()
        part["interval"] = kind
        inside = np.array(hits[kind]) if hits[kind] else np.full((0, len(points)), np.nan)
        part["coverage"] = inside.mean(0) if len(inside) else np.nan
        part["coverage_se"] = np.sqrt(
            part["coverage"] * (1 - part["coverage"]) / max(len(inside), 1)
        )
        part["width"] = np.median(np.array(widths[kind]), axis=0) if len(inside) else np.nan
        part["oracle"] = part["width"] / oracle if kind == "mean" else np.nan
        part["refused"] = refused / n
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
