"""Where the scatter of a score comes from, before any law: evaluation, seed and chain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .metrics import Metric
from .readers.table import row_codes
from .shared import repeats, shared_models

__all__ = ["OUTCOMES", "configurations", "evaluation_variance", "noise_shares"]

Floats = NDArray[np.float64]

# Not part of a configuration: names of runs, what a run measured or cost, and what early stopping
# moves. Tokens are a size that was chosen where no number of examples was.
OUTCOMES = (
    "run_id chain_id parent_id config_hash code_version status error seed "
    "examples_seen steps stopped_by gpu_hours wall_s cpu_s machine tokens_in tokens_out "
    "answer_s items items_sha256"
).split()


def configurations(
    frame: pd.DataFrame, metrics: Iterable[Metric], by: Iterable[str] | None = None
) -> NDArray[np.int64]:
    """Return a number for each row, equal where two rows differ in their seed only.

    Parameters
    ----------
    frame : DataFrame
        As in `RunLog.frame`.
    metrics : iterable of Metric
        Their columns are no part of a configuration.
    by : iterable of str, optional
        The columns that make a configuration; all but names, scores, costs and seeds by default.
    """
    if by is None:
        results = {name for metric in metrics for name in (metric.name, metric.se, metric.n)}
        moved: set[str] = {*OUTCOMES, *results} | ({"tokens"} if "examples" in frame else set())
        by = [str(name) for name in frame.columns if name not in moved]
    return row_codes((frame[name] for name in by), len(frame))


def evaluation_variance(frame: pd.DataFrame, metric: Metric) -> Floats:
    """Return the variance of each score over test sets, on the score's own scale.

    ``se²`` where a standard error is stored, else ``p (1 - p) / n`` for a proportion with a known
    number of test items, else NaN.
    """
    missing = np.full(len(frame), np.nan)
    variance = frame[metric.se].to_numpy() ** 2 if metric.se in frame else missing
    if metric.noise == "proportion" and metric.n in frame:
        p, n = frame[metric.name].to_numpy(), frame[metric.n].to_numpy()
        variance = np.where(np.isnan(variance), p * (1 - p) / n, variance)
    return variance


@dataclass(frozen=True)
class _Share:
    """One source of scatter: its variance, the count it rests on, and a sentence."""

    source: str
    variance: float
    count: int
    sentence: str


def noise_shares(
    frame: pd.DataFrame, metric: Metric, configuration: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the scatter of one metric by source: `metric, source, sd, share, count, sentence`.

    Parameters
    ----------
    frame : DataFrame
        As in `RunLog.frame`.
    metric : Metric
        On the log link the scatter is that of ``log(score)``, else of the score.
    configuration : array of int
        Equal where rows differ in their seed only.

    Notes
    -----
    Within configurations ``y = mean + a_chain + e``. With M the projection off the means and Z the
    indicator of chains, the two variances solve the equations of the quadratic forms
    ``E y'My = s_e² (N - C) + s_a² tr(Z'MZ)`` and
    ``E y'MZZ'My = s_e² tr(Z'MZ) + s_a² tr((Z'MZ)²)`` (Rao, MINQUE, 1971, with weight 0 for chains).
    The mean evaluation variance is then taken off s_e². Rows that repeat a model which several
    chains share (`shared.shared_models`) are no seeds of it: the model counts once.
    """
    score = frame[metric.name].to_numpy()
    variance = evaluation_variance(frame, metric)
    used = np.isfinite(score) & ((score > 0) | (metric.link != "log"))
    if "status" in frame:
        used &= (frame["status"] != "failed").to_numpy()
    rows = np.flatnonzero(used)
    again = rows[repeats(shared_models(frame.iloc[rows]))]
    used[again] = False
    score, variance, configuration = score[used], variance[used], configuration[used]
    if metric.link == "log":
        score, variance = np.log(score), variance / score**2
    chain = _chains(frame["chain_id"][used]) if "chain_id" in frame else None
    evaluation = _evaluation(variance, len(again))
    shares = (evaluation, *_runs(score, configuration, chain, evaluation))
    total = sum(s.variance for s in shares if np.isfinite(s.variance))
    return pd.DataFrame(
        {
            "metric": metric.name,
            "source": [s.source for s in shares],
            "sd": [float(np.sqrt(s.variance)) for s in shares],
            "share": [s.variance / total if total else np.nan for s in shares],
            "count": [s.count for s in shares],
            "sentence": [s.sentence for s in shares],
        }
    )


def _chains(names: pd.Series[str]) -> NDArray[np.int64] | None:
    """Return a number for each chain; None where a row has none."""
    codes, _ = pd.factorize(names)
    return None if (codes < 0).any() else codes.astype(np.int64)


def _evaluation(variance: Floats, again: int) -> _Share:
    known = variance[np.isfinite(variance)]
    once = f" {again} more repeat a model that chains share; it counts once." if again else ""
    if not len(known):
        told = "cannot be tested: no row has a standard error or, for a proportion, test items."
        return _Share("evaluation", np.nan, 0, told + once)
    told = f"from the test sets of {len(known)} of {len(variance)} rows.{once}"
    return _Share("evaluation", float(known.mean()), len(known), told)


def _runs(
    score: Floats,
    configuration: NDArray[np.int64],
    chain: NDArray[np.int64] | None,
    evaluation: _Share,
) -> tuple[_Share, _Share]:
    """Return the scatter between seeds and that between chains."""
    _, group, size = np.unique(configuration, return_inverse=True, return_counts=True)
    residual = score - (np.bincount(group, score) / size)[group]
    degrees = len(score) - len(size)
    if not degrees:
        told = (
            "cannot be tested: no two rows share a configuration; name its columns with by=[...]."
        )
        return _Share("seed", np.nan, 0, told), _Share("chain", np.nan, 0, told)
    squares = float(residual @ residual)
    if chain is None:
        told = "cannot be tested: not every row has a chain_id."
        seed = _seed(squares / degrees, degrees, evaluation)
        return seed, _Share("chain", np.nan, 0, told)
    sums = np.bincount(chain, residual)
    cross = _chain_design(group, size, chain)
    trace, trace_2 = float(np.trace(cross)), float((cross**2).sum())
    if degrees * trace_2 - trace**2 <= 1e-9 * degrees * trace_2:
        told = "cannot be tested: no chain has repeated rows in two configurations."
        seed = _seed(squares / degrees, degrees, evaluation)
        return seed, _Share("chain", np.nan, 0, told)
    between, _ = np.linalg.solve(
        np.array([[trace, degrees], [trace_2, trace]]), np.array([squares, sums @ sums])
    )
    count = int((np.diag(cross) > 0).sum())
    told = f"from {count} chains that share configurations."
    if between < 0:
        told = f"{told} No larger than the scatter between seeds explains."
    between = min(max(float(between), 0.0), squares / trace)
    within = (squares - between * trace) / degrees
    return _seed(within, degrees, evaluation), _Share("chain", between, count, told)


def _chain_design(
    group: NDArray[np.int64], size: NDArray[np.int64], chain: NDArray[np.int64]
) -> Floats:
    """Return ``Z'MZ``, chains by chains."""
    rows = np.zeros((len(size), int(chain.max()) + 1))
    np.add.at(rows, (group, chain), 1.0)
    return np.diag(rows.sum(0)) - rows.T @ (rows / size[:, None])


def _seed(variance: float, degrees: int, evaluation: _Share) -> _Share:
    told = f"from {degrees} degrees of freedom between seeds of one configuration."
    if not np.isfinite(evaluation.variance):
        return _Share("seed", variance, degrees, f"{told} Evaluation noise is in it.")
    if variance <= evaluation.variance:
        told = f"{told} No larger than evaluation noise explains."
    return _Share("seed", max(variance - evaluation.variance, 0.0), degrees, told)
