"""Fit the constants of the latency formulas to measured rows, and say which rows fix which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.readers.table import Note

from .configs import shape as shape_of
from .constants import CONSTANTS, Calibration, calibration
from .shapes import SIZES, Shape, columns
from .steps import times
from .tables import Hardware
from .tables import hardware as hardware_of

__all__ = ["calibrate"]

Floats = NDArray[np.float64]

# Utilisations enter as their inverses, in which the formulas are linear.
_INVERSE = np.array([True, True, False, False, True])
_LEAST = np.where(_INVERSE, 1.0, 0.0)
_MEASURED = ("step_ms", "latency_ms", "ttft_ms")
# Scaled singular values below this share of the largest leave a combination of constants open.
_OPEN = 1e-3
# A constant takes part in such a combination from this weight on.
_PART = 0.1
_LEVEL = 0.9


def calibrate(
    frame: pd.DataFrame,
    hardware: str | Hardware = "H100",
    *,
    shapes: Mapping[str, Shape] | None = None,
    fixed: Mapping[str, float] | None = None,
    kv_bits: int = 16,
    source: str = "own measurements",
) -> Calibration:
    """Fit utilisations and overheads to measured times.

    The formulas are linear in ``1/mbu, 1/mfu, t0, ts, 1/mfu_prefill``: one bounded least squares
    problem of relative errors (utilisations at most 1, times not negative) with one optimum.

    Parameters
    ----------
    frame : DataFrame
        A row a measurement. The model: a column ``model`` (names of the table, or of `shapes`), or
        the columns of a shape. The work: ``tokens_in``, ``tokens_out``, ``batch`` (requests in the
        server on average), and where they differ from 1, 16 and 0 ``gpus``, ``weight_bits``,
        ``group``. The time, one or more of: ``step_ms``, a decode step alone; ``latency_ms``, mean
        of a whole request, ``B prefill + n step``, whether prefills come together or between the
        steps of others (the server must take all B at once); ``ttft_ms``, time to the first token,
        used at a batch of 1 alone, since above it holds the wait for other prompts. `read_vllm`
        and `read_guidellm` make such frames.
    hardware : str or Hardware
        The device measured.
    shapes : mapping of str to Shape, optional
        For names in ``model`` that are not in the table.
    fixed : mapping of str to float, optional
        Constants that are known, such as ``{"mfu": 1.0}``.
    kv_bits : int
        Bits of a cached key or value.
    source : str
        For people.

    Returns
    -------
    Calibration
        With intervals of 90 % (Student's t on the residuals; one-sided at a bound), what the rows
        do not identify (rank of the scaled Jacobian) and the residuals.

    Raises
    ------
    ValueError
        For missing columns, a time that is not positive, or no usable row.
    KeyError
        For a model whose shape is not known.
    """
    device = hardware_of(hardware)
    held = _held(fixed or {})
    design, notes = _design(frame, device, dict(shapes or {}), kv_bits)
    moving = np.array([name not in held for name in CONSTANTS]) & (design.matrix != 0).any(0)
    found = _solve(design, moving, held)
    open_ = _unidentified(design, moving)
    intervals, more = _intervals(found, moving, open_)
    values = np.where(_INVERSE, 1.0 / np.maximum(found.theta, 1e-300), found.theta)
    estimate = dict(zip(CONSTANTS, values.tolist(), strict=True)) | held
    prefill, words = _prefill(estimate, intervals, moving, held)
    notes += more + words
    unmeasured = [n for n, m in zip(CONSTANTS[:4], moving, strict=False) if not m and n not in held]
    if unmeasured:
        raise ValueError(
            f"calibrate: no row holds a decode step, so {', '.join(unmeasured)} can't be fitted; "
            "give step_ms or latency_ms, or fixed= values."
        )
    if open_:
        sentence = (
            f"The rows do not fix {', '.join(open_)} apart from one another: vary the batch, the "
            "context and the model's layers and size more, or pass known values as fixed=."
        )
        notes.append(Note("unidentified_constants", "error", sentence))
    return Calibration(
        estimate["mbu"], estimate["mfu"], estimate["t0"], estimate["ts"], prefill, device.name,
        source, _LEVEL, intervals, tuple(open_), design.residuals(found.theta), tuple(notes),
    )  # fmt: skip


@dataclass(frozen=True)
class _Design:
    """Relative rows: ``matrix @ theta`` is fitted to 1, theta in the order of `CONSTANTS`."""

    matrix: Floats
    labels: pd.DataFrame

    def residuals(self, theta: Floats) -> pd.DataFrame:
        fitted = self.matrix @ theta
        measured = self.labels["measured_ms"]
        return self.labels.assign(fitted_ms=fitted * measured, error=fitted - 1.0)


@dataclass(frozen=True)
class _Solution:
    """The optimum, that without bounds, and the covariance of both."""

    theta: Floats
    unbounded: Floats
    covariance: Floats
    free_covariance: Floats
    at_bound: NDArray[np.bool_]
    degrees: int


def _held(fixed: Mapping[str, float]) -> dict[str, float]:
    for name, value in fixed.items():
        if name not in CONSTANTS:
            raise ValueError(f"fixed: {name!r} is no constant; there are {', '.join(CONSTANTS)}.")
        most = 1.0 if _INVERSE[CONSTANTS.index(name)] else np.inf
        if not 0 <= value <= most or (value == 0 and most == 1.0):
            raise ValueError(f"fixed: {name} = {value} is out of range.")
    return {name: float(value) for name, value in fixed.items()}


def _design(
    frame: pd.DataFrame, device: Hardware, shapes: Mapping[str, Shape], kv_bits: int
) -> tuple[_Design, list[Note]]:
    timed = [name for name in _MEASURED if name in frame]
    needed = [c for c in ("tokens_in", "tokens_out", "batch") if c not in frame]
    if not timed or needed:
        missing = ", ".join(needed) or f"any of {', '.join(_MEASURED)}"
        raise ValueError(f"calibrate: the frame has no column {missing}.")
    work = {c: frame[c].to_numpy(dtype=np.float64) for c in ("tokens_in", "tokens_out", "batch")}
    for name, values in work.items():
        if not bool((values >= 1).all()):
            row = int(np.argmax(~(values >= 1)))
            raise ValueError(f"calibrate: row {row}: {name} = {values[row]:g} is not 1 or more.")
    gpus = frame["gpus"].to_numpy(np.int64) if "gpus" in frame else np.ones(len(frame), np.int64)
    sizes = columns(_sized(frame, shapes))
    batch, out = work["batch"], work["tokens_out"]
    t = times(sizes, device, work["tokens_in"], work["tokens_in"] + out / 2, kv_bits, gpus)
    zero = np.zeros(len(frame))
    step = np.stack([t.read + batch * t.context, batch * t.multiply, t.layers, batch, zero], 1)
    prefill = np.stack([zero, zero, t.layers, zero, t.prompt], 1)
    whole = batch[:, None] * prefill + out[:, None] * step
    rows = {"step_ms": step, "latency_ms": whole, "ttft_ms": prefill + step}
    matrices: list[Floats] = []
    labels: list[pd.DataFrame] = []
    notes: list[Note] = []
    for name in timed:
        measured = frame[name].to_numpy(dtype=np.float64)
        use = ~np.isnan(measured)
        if bool((measured[use] <= 0).any()):
            row = int(np.argmax(use & (measured <= 0)))
            raise ValueError(f"calibrate: row {row}: {name} = {measured[row]:g} is not positive.")
        if name == "ttft_ms":
            queued = int((use & (batch > 1)).sum())
            use &= batch <= 1
            if queued:
                sentence = f"{queued} ttft_ms at a batch above 1 hold waiting and were not used."
                notes.append(Note("ttft_not_used", "info", sentence))
        matrices.append(1e3 * rows[name][use] / measured[use, None])
        labels.append(
            pd.DataFrame({"row": np.flatnonzero(use), "kind": name, "measured_ms": measured[use]})
        )
    table = pd.concat(labels, ignore_index=True)
    if not len(table):
        raise ValueError("calibrate: no row holds a time that can be used.")
    return _Design(np.concatenate(matrices), table), notes


def _sized(frame: pd.DataFrame, shapes: Mapping[str, Shape]) -> pd.DataFrame:
    """Return the frame with the sizes of each row's model."""
    if all(name in frame for name in SIZES):
        return frame
    if "model" not in frame:
        raise ValueError("calibrate: the frame has neither a column 'model' nor those of a shape.")
    known: dict[str, Shape] = {}
    for name in frame["model"].unique().tolist():
        known[name] = shapes[name] if name in shapes else shape_of(str(name))
    listed = columns([known[name] for name in frame["model"]])
    sizes = pd.DataFrame(listed, index=frame.index)
    own = {c: frame[c] for c in ("weight_bits", "group") if c in frame}
    return sizes.assign(**own)


def _solve(design: _Design, moving: NDArray[np.bool_], held: Mapping[str, float]) -> _Solution:
    from scipy.optimize import lsq_linear

    theta = _LEAST.copy()
    for i, name in enumerate(CONSTANTS):
        if name in held:
            theta[i] = 1.0 / held[name] if _INVERSE[i] else held[name]
    a = design.matrix[:, moving]
    y = 1.0 - design.matrix[:, ~moving] @ theta[~moving]
    scale = np.linalg.norm(a, axis=0)
    least = _LEAST[moving] * scale
    found = lsq_linear(a / scale, y, bounds=(least, np.inf), method="bvls")
    part = np.maximum(np.asarray(found.x, np.float64), least)
    at_bound = part <= least + 1e-9 * (1.0 + np.abs(part))
    # SVD cut at the same share, so that open combinations stay put.
    unbounded: Floats = np.linalg.pinv(a / scale, rcond=_OPEN) @ y
    theta[moving] = part / scale
    degrees = len(y) - int((~at_bound).sum())
    residual = y - (a / scale) @ part
    variance = float(residual @ residual) / degrees if degrees > 0 else np.nan
    every = len(y) - a.shape[1]
    left = y - (a / scale) @ unbounded
    wide = float(left @ left) / every if every > 0 else np.nan
    inner = np.zeros((a.shape[1], a.shape[1]))
    free = ~at_bound
    inner[np.ix_(free, free)] = _inverse(a[:, free] / scale[free])
    outer = _inverse(a / scale)
    over = np.outer(scale, scale)
    return _Solution(
        theta, unbounded / scale, variance * inner / over, wide * outer / over, at_bound, degrees
    )


def _inverse(a: Floats) -> Floats:
    return np.linalg.pinv(a.T @ a, rcond=_OPEN**2, hermitian=True).astype(np.float64)


def _unidentified(design: _Design, moving: NDArray[np.bool_]) -> list[str]:
    a = design.matrix[:, moving]
    _, s, vt = np.linalg.svd(a / np.linalg.norm(a, axis=0), full_matrices=True)
    size = np.zeros(len(vt))
    size[: len(s)] = s
    null = np.abs(vt[size < _OPEN * size[0]])
    names = np.array(CONSTANTS)[moving]
    return names[(null > _PART).any(0)].tolist() if len(null) else []


def _intervals(
    found: _Solution, moving: NDArray[np.bool_], open_: list[str]
) -> tuple[dict[str, tuple[float, float]], list[Note]]:
    """Student's t about the optimum; at a bound, about the unbounded one and cut at the bound."""
    from scipy.stats import t as student

    out: dict[str, tuple[float, float]] = {}
    notes: list[Note] = []
    if found.degrees < 1:
        sentence = "There are no more rows than constants: no interval can be given."
        return out, [Note("too_few_rows", "warning", sentence)]
    reach = float(student.ppf(0.5 + _LEVEL / 2, found.degrees))
    for j, i in enumerate(np.flatnonzero(moving).tolist()):
        name, least = CONSTANTS[i], float(_LEAST[i])
        if name in open_:
            low, high = least, np.inf
        elif found.at_bound[j]:
            half = reach * float(np.sqrt(found.free_covariance[j, j]))
            low, high = least, max(float(found.unbounded[j]) + half, least)
            words = "1" if _INVERSE[i] else "0"
            sentence = f"{name} lies at its bound of {words}: its interval is one-sided."
            notes.append(Note("at_bound", "info", sentence))
        else:
            half = reach * float(np.sqrt(found.covariance[j, j]))
            low, high = max(found.theta[i] - half, least), float(found.theta[i] + half)
        out[name] = (1.0 / high, 1.0 / low) if _INVERSE[i] else (float(low), float(high))
    return out, notes


def _prefill(
    estimate: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    moving: NDArray[np.bool_],
    held: Mapping[str, float],
) -> tuple[tuple[float, float], list[Note]]:
    value = estimate["mfu_prefill"]
    if "mfu_prefill" in held:
        return (value, value), []
    low, high = intervals.get("mfu_prefill", (np.nan, np.nan))
    if moving[4] and low > 0 and high <= 1:
        return (low, high), []
    if moving[4] and np.isnan(low):
        return (value, value), []
    known = calibration().prefill
    sentence = (
        f"The rows do not fix mfu_prefill; {known[0]} to {known[1]}, as published for other "
        "hardware, stands for it."
    )
    return known, [Note("prefill_not_measured", "warning", sentence)]
