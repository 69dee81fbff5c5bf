"""Fit the constants of the latency formulas to measured rows, and say which rows fix which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# An end beyond this multiple of what one measurement's whole time would need is no end.
_FAR = 1e6
_HALVINGS = 50


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
        With intervals of 90 % (profiles of the sum of squares under the bounds, Student's t), what
        the rows do not identify (rank of the scaled Jacobian) and the residuals.

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
    names = [name for name, moves in zip(CONSTANTS, moving, strict=True) if moves]
    missing = [n for n in CONSTANTS[:4] if n not in names and n not in held]
    if missing:
        raise ValueError(
            f"calibrate: no row holds a decode step, so {', '.join(missing)} can't be fitted; "
            "give step_ms or latency_ms, or fixed= values."
        )
    problem = _Problem.of(design, moving, held)
    x, squares = problem.solve()
    open_ = _unidentified(problem.a, names)
    intervals, more = _intervals(problem, x, squares, names, open_)
    theta = _LEAST.copy()
    theta[moving] += x / problem.scale
    for name, value in held.items():
        i = CONSTANTS.index(name)
        theta[i] = 1.0 / value if _INVERSE[i] else value
    values = np.where(_INVERSE, 1.0 / np.where(_INVERSE, theta, 1.0), theta)
    estimate = dict(zip(CONSTANTS, values.tolist(), strict=True))
    last = CONSTANTS[4]
    measured = last in held or (last in names and last not in open_)
    prefill, middle, words = _prefill(estimate[last], intervals.get(last), measured)
    notes += [*more, *words]
    if open_:
        sentence = (
            f"The rows do not fix {', '.join(open_)} apart from one another: vary the batch, the "
            "context and the model's layers and size more, or pass known values as fixed=."
        )
        notes.append(Note("unidentified_constants", "error", sentence))
    return Calibration(
        estimate["mbu"],
        estimate["mfu"],
        estimate["t0"],
        estimate["ts"],
        prefill,
        device.name,
        source,
        mfu_prefill=middle,
        level=_LEVEL,
        intervals=intervals,
        unidentified=tuple(open_),
        residuals=design.residuals(theta),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Design:
    """Relative rows: ``matrix @ theta`` is fitted to 1, theta in the order of `CONSTANTS`."""

    matrix: Floats
    labels: pd.DataFrame

    def residuals(self, theta: Floats) -> pd.DataFrame:
        fitted = self.matrix @ theta
        measured = self.labels["measured_ms"]
        return self.labels.assign(fitted_ms=fitted * measured, error=fitted - 1.0)


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


@dataclass(frozen=True)
class _Problem:
    """Bounded least squares in scaled constants above their bounds: ``min |a x - y|, x >= 0``."""

    a: Floats
    y: Floats
    scale: Floats

    @classmethod
    def of(cls, design: _Design, moving: NDArray[np.bool_], held: Mapping[str, float]) -> _Problem:
        """Take off what is held, and the bounds."""
        base = _LEAST.copy()
        for i, name in enumerate(CONSTANTS):
            if name in held:
                base[i] = 1.0 / held[name] if _INVERSE[i] else held[name]
        a = design.matrix[:, moving]
        scale = np.linalg.norm(a, axis=0)
        return cls(a / scale, 1.0 - design.matrix @ base, scale)

    @property
    def degrees(self) -> int:
        """Rows beyond what they fix."""
        return len(self.y) - int(np.linalg.matrix_rank(self.a, rtol=_OPEN))

    def solve(self, held: int | None = None, value: float = 0.0) -> tuple[Floats, float]:
        """Return the optimum and its sum of squares, with one constant held or none."""
        from scipy.optimize import nnls

        x = np.full(len(self.scale), value)
        free = np.arange(len(x)) != held
        y = self.y if held is None else self.y - self.a[:, held] * value
        if free.any():
            x[free] = nnls(self.a[:, free], y)[0]
        residual = y - self.a[:, free] @ x[free]
        return x, float(residual @ residual)

    def profile(self, j: int, best: float, allowed: float) -> tuple[float, float]:
        """Return the least and the largest value of a constant with a sum of squares allowed."""

        def inside(value: float) -> bool:
            return self.solve(j, value)[1] <= allowed

        low = 0.0 if inside(0.0) else _edge(inside, 0.0, best)
        far = max(2.0 * best, 1.0)
        while inside(far):
            if far > _FAR:
                return low, np.inf
            far *= 4.0
        return low, _edge(inside, far, best)


def _edge(inside: Callable[[float], bool], outer: float, inner: float) -> float:
    """Halve towards the last value inside."""
    for _ in range(_HALVINGS):
        middle = (outer + inner) / 2
        outer, inner = (outer, middle) if inside(middle) else (middle, inner)
    return inner


def _unidentified(a: Floats, names: Sequence[str]) -> list[str]:
    """Return the constants in combinations that the scaled Jacobian leaves open."""
    _, s, vt = np.linalg.svd(a, full_matrices=True)
    size = np.zeros(len(vt))
    size[: len(s)] = s
    null = np.abs(vt[size < _OPEN * size[0]])
    return [name for j, name in enumerate(names) if (null[:, j] > _PART).any()]


def _intervals(
    problem: _Problem, x: Floats, squares: float, names: Sequence[str], open_: Sequence[str]
) -> tuple[dict[str, tuple[float, float]], list[Note]]:
    """Profiles of the sum of squares under the bounds, cut where Student's t has it."""
    from scipy.stats import t as student

    if problem.degrees < 1:
        sentence = "There are no more rows than constants: no interval can be given."
        return {}, [Note("too_few_rows", "warning", sentence)]
    reach = float(student.ppf(0.5 + _LEVEL / 2, problem.degrees)) ** 2 / problem.degrees
    # Rounding keeps an exact fit from having width zero.
    allowed = squares * (1.0 + reach) + len(problem.y) * 1e-20
    out: dict[str, tuple[float, float]] = {}
    notes: list[Note] = []
    for j, name in enumerate(names):
        i = CONSTANTS.index(name)
        ends = (0.0, np.inf) if name in open_ else problem.profile(j, float(x[j]), allowed)
        low, high = (float(_LEAST[i] + end / problem.scale[j]) for end in ends)
        out[name] = (1.0 / high, 1.0 / low) if _INVERSE[i] else (low, high)
        if x[j] == 0 and name not in open_:
            bound = "1" if _INVERSE[i] else "0"
            sentence = f"{name} lies at its bound of {bound}: its interval is one-sided."
            notes.append(Note("at_bound", "info", sentence))
    return out, notes


def _prefill(
    value: float, ends: tuple[float, float] | None, measured: bool
) -> tuple[tuple[float, float], float | None, list[Note]]:
    """Return range and estimate of the utilisation in prefill, or what is published of it."""
    if measured:
        return ends or (value, value), value, []
    known = calibration().prefill
    sentence = (
        f"The rows do not fix mfu_prefill; {known[0]} to {known[1]}, as published for other "
        "hardware, stands for it."
    )
    return known, None, [Note("prefill_not_measured", "warning", sentence)]
