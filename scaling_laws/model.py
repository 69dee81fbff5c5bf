"""A law bound to rows: what the kernel minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Frame, Law, Param, Values

__all__ = ["Link", "Model", "Tie", "bind", "slice_rows"]

Array = NDArray[np.float64]

# A limit on the link scale: sigmoid(30) is 1 to 1e-13, beyond which nothing changes.
_ETA_LIMIT = 30.0


@dataclass(frozen=True)
class Link:
    """How the curve becomes a mean, and on which scale residuals live.

    Parameters
    ----------
    kind : {"logit", "log", "identity"}
        ``logit``: ``mean = floor + (top - floor) sigmoid(eta)``, residuals on the score itself;
        ``log``: residuals are ``log y - log mean``; ``identity``: ``y - mean``.
    floor, top : float
        Of the metric; used by ``logit``.
    sign : {-1, 1}
        -1 where deficits lower the score.
    """

    kind: str
    floor: float = 0.0
    top: float = 1.0
    sign: int = 1


@dataclass(frozen=True)
class Tie:
    """``parameter = constant + sum(coefficient * other)``, on printed parameters."""

    constant: float
    coefficients: Mapping[str, float]


@dataclass(frozen=True)
class Model:
    """A law at given rows.

    Attributes
    ----------
    law : Law
    frame : Frame
    link : Link
    x : dict of array [n] or [B, n]
        Prepared axes.
    codes : array [n] or [B, n] of int
        Level of the factor of each row.
    levels : tuple of str
        Level names; one empty string without a factor.
    names : tuple of str
        Kernel parameters, ``e[label]`` where levels have their own.
    lower, upper, open_lower : array [p]
        Bounds of the kernel's coordinates; `open_lower` is for draws.
    coordinates : tuple of str
        What the kernel moves: `names` without tied ones.
    mix : (array [p, q], array [p]) or None
        Ties: ``theta = mix[0] @ phi + mix[1]``; the kernel then moves ``phi``.
    """

    law: Law
    frame: Frame
    link: Link
    x: Values
    codes: NDArray[np.intp]
    levels: tuple[str, ...]
    names: tuple[str, ...]
    coordinates: tuple[str, ...]
    lower: Array
    upper: Array
    open_lower: Array
    columns: Mapping[str, tuple[int, ...]]
    mix: tuple[Array, Array] | None = None
    _masks: tuple[slice | NDArray[np.intp], ...] = field(default=(), repr=False)

    # --- the curve --------------------------------------------------------------------------------
    def evaluate(self, theta: Array, rows: NDArray[np.intp] | None = None) -> tuple[Array, Array]:
        """Return the mean on the residual scale ``[B, n]`` and its Jacobian ``[B, p, n]``."""
        full = self.expand(theta)
        # A curve outside its domain (the logarithm of a negative mean) is the kernel's to reject.
        with np.errstate(all="ignore"):
            value, slopes = self._curve(full, rows, slopes=True)
            mean, gain = self._link(self._spread(value, full.shape[0]))
            jacobian = self._blank(mean.shape)
            for name, slope in slopes.items():
                self._scatter(jacobian, name, slope, gain)
        if self.mix is not None:
            jacobian = np.matmul(self.mix[0].T, jacobian)
        return mean, jacobian

    def residual_mean(self, theta: Array, rows: NDArray[np.intp] | None = None) -> Array:
        """Return the mean on the residual scale ``[B, n]``, without derivatives."""
        full = self.expand(theta)
        with np.errstate(all="ignore"):
            if len(self.levels) > 1 and self.codes.ndim == 1:
                return self._mean_by_level(full)
            value, _ = self._curve(full, rows, slopes=False)
            return self._linked(self._spread(value, full.shape[0]))

    def _mean_by_level(self, theta: Array) -> Array:
        """Level by level, so that no parameter is copied to every row."""
        out = np.empty((theta.shape[0], self.size))
        for level, mask in enumerate(self._masks):
            x = {k: v[mask] for k, v in self.x.items()}
            rows = next(iter(x.values())).shape[-1]
            if not rows:
                continue
            p = {k: theta[:, c[level % len(c)], None] for k, c in self.columns.items()}
            value, _ = self.law.evaluate(x, p, self.frame, slopes=False)
            mean = self._linked(np.broadcast_to(value, (theta.shape[0], rows)))
            if rows == self.size:
                return mean
            out[:, mask] = mean
        return out

    def mean(self, theta: Array, rows: NDArray[np.intp] | None = None) -> Array:
        """Return the mean of the metric ``[B, n]``."""
        m = self.residual_mean(theta, rows)
        return np.exp(m) if self.link.kind == "log" else m

    def linear_basis(self, theta: Array) -> tuple[Array, Array]:
        """Return ``eta`` and its derivatives in all kernel parameters, before the link."""
        value, slopes = self._curve(theta, None, slopes=True)
        jacobian = self._blank((theta.shape[0], self.size))
        for name, slope in slopes.items():
            self._scatter(jacobian, name, slope, 1.0)
        return np.broadcast_to(value, (theta.shape[0], self.size)), jacobian

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.codes.shape[-1]

    @property
    def p(self) -> int:
        """Number of parameters that the kernel moves."""
        return len(self.coordinates)

    def _curve(
        self, theta: Array, rows: NDArray[np.intp] | None, slopes: bool
    ) -> tuple[Array, dict[str, Array]]:
        x, codes = self.x, self.codes
        if codes.ndim == 2:
            chosen = slice(None) if rows is None else rows
            x = {k: v[chosen] for k, v in x.items()}
            codes = codes[chosen]
        p: dict[str, Array] = {}
        for name, columns in self.columns.items():
            if len(columns) == 1:
                p[name] = theta[:, columns[0], None]
            elif codes.ndim == 1:
                p[name] = theta[:, np.asarray(columns)[codes]]
            else:
                p[name] = np.take_along_axis(theta[:, columns], codes, axis=1)
        return self.law.evaluate(x, p, self.frame, slopes)

    def _spread(self, value: Array, batch: int) -> Array:
        return np.broadcast_to(value, (batch, self.size))

    def _blank(self, shape: tuple[int, ...]) -> Array:
        """Jacobian to fill; zeros where a parameter belongs to some rows only."""
        make = np.empty if len(self.names) == len(self.columns) else np.zeros
        return make((shape[0], len(self.names), shape[-1]))

    def _link(self, value: Array) -> tuple[Array, Array | float]:
        if self._is_share():
            weight = _sigmoid(value)
            span = self.link.top - self.link.floor
            return self.link.floor + span * weight, span * weight * (1.0 - weight)
        return self._linked(value), 1.0 / value if self.link.kind == "log" else 1.0

    def _linked(self, value: Array) -> Array:
        """Return the mean on the residual scale alone."""
        if self._is_share():
            mean = _sigmoid(value)
            mean *= self.link.top - self.link.floor
            mean += self.link.floor
            return mean
        return np.log(value) if self.link.kind == "log" else value

    def _is_share(self) -> bool:
        return self.law.output == "eta" and self.link.kind == "logit"

    def _scatter(self, jacobian: Array, name: str, slope: Array, gain: Array | float) -> None:
        columns = self.columns[name]
        if len(columns) == 1:
            np.multiply(slope, gain, out=jacobian[:, columns[0]])
            return
        slope = np.broadcast_to(slope * gain, (jacobian.shape[0], jacobian.shape[2]))
        for column, mask in zip(columns, self._masks, strict=True):
            jacobian[:, column, mask] = slope[:, mask]

    # --- parameters
    # ---------------------------------------------------------------------------------
    def expand(self, phi: Array) -> Array:
        """Kernel vector(s) -> all parameters (undo ties)."""
        return phi if self.mix is None else phi @ self.mix[0].T + self.mix[1]

    def natural(self, phi: Array) -> dict[str, Array]:
        """Return printed parameters, one array ``[B]`` per name in `names`."""
        full = self.expand(np.atleast_2d(phi))
        out: dict[str, Array] = {}
        for level in range(len(self.levels)):
            given = {k: full[:, c[level % len(c)]] for k, c in self.columns.items()}
            printed = self.law.natural(given, self.frame)
            for name, columns in self.columns.items():
                out[self.names[columns[level % len(columns)]]] = printed[name]
        return {name: out[name] for name in self.names}

    def working(self, natural: Mapping[str, Array | float]) -> Array:
        """Return the kernel's coordinates of printed parameters."""
        theta = np.empty(len(self.names))
        for level in range(len(self.levels)):
            given = {
                k: np.asarray(natural[self.names[c[level % len(c)]]], float)
                for k, c in self.columns.items()
            }
            moved = self.law.working(given, self.frame)
            for name, columns in self.columns.items():
                theta[columns[level % len(columns)]] = moved[name]
        return theta[[self.names.index(c) for c in self.coordinates]]

    def derived(self, phi: Array) -> dict[str, tuple[Array, str]]:
        """Return the law's further quantities, per level."""
        natural = self.natural(phi)
        out: dict[str, tuple[Array, str]] = {}
        for level, label in enumerate(self.levels):
            given = {k: natural[self.names[c[level % len(c)]]] for k, c in self.columns.items()}
            for name, (values, meaning) in self.law.derived(given).items():
                out[f"{name}[{label}]" if label else name] = (values, meaning)
        return out

    def param(self, name: str) -> Param:
        """Return the declaration behind a kernel parameter."""
        return self.law.params[name.split("[", 1)[0]]

    def tied(self, ties: Mapping[str, Tie]) -> Model:
        """Return the model with some parameters as affine functions of others.

        Raises
        ------
        ValueError
            If a tied parameter or one it depends on does not move on its printed scale.
        """
        if not ties:
            return self
        moving = [n for n in self.names if n not in ties]
        mix = np.zeros((len(self.names), len(moving)))
        constant = np.zeros(len(self.names))
        for j, name in enumerate(self.names):
            if name not in ties:
                mix[j, moving.index(name)] = 1.0
                continue
            constant[j] = ties[name].constant
            for other, coefficient in ties[name].coefficients.items():
                for either in (name, other):
                    if self.param(either).scale != "linear":
                        raise ValueError(
                            f"{name} is tied to {other}, but {either} moves on a "
                            f"{self.param(either).scale} scale; only plain parameters can be tied."
                        )
                if other not in moving:
                    raise ValueError(f"{name} is tied to {other}, which is tied or unknown itself.")
                mix[j, moving.index(other)] = coefficient
        at = [self.names.index(n) for n in moving]
        return replace(
            self,
            coordinates=tuple(moving),
            lower=self.lower[at],
            upper=self.upper[at],
            open_lower=self.open_lower[at],
            mix=(mix, constant),
        )

    def on_logit(self, name: str) -> bool:
        """Whether a parameter is a limit on the logit scale, which has no bounds of its own."""
        return self._is_share() and self.param(name).role == "limit"

    def legal_range(self, name: str) -> tuple[float, float]:
        """Return the bounds of a printed parameter."""
        if self.on_logit(name):
            return -np.inf, np.inf
        return self.param(name).lower, self.param(name).upper

    def at(self, x: Values, codes: NDArray[np.intp]) -> Model:
        """Return the same law, frame and parameters at other raw rows."""
        return slice_rows(self, self.law.prepare(x, self.frame), codes)


def _sigmoid(eta: Array) -> Array:
    # In place: a large array is made once.
    out = np.negative(eta)
    np.clip(out, -500.0, 500.0, out=out)
    np.exp(out, out=out)
    out += 1.0
    return np.divide(1.0, out, out=out)


def slice_rows(model: Model, x: Values, codes: NDArray[np.intp]) -> Model:
    """Return the model at rows whose axes are already prepared."""
    return replace(model, x=x, codes=codes, _masks=_level_masks(codes, len(model.levels)))


def _level_masks(codes: NDArray[np.intp], n_levels: int) -> tuple[slice | NDArray[np.intp], ...]:
    """Rows of each level; a slice where they are contiguous, since slices copy nothing."""
    if n_levels == 1 or codes.ndim == 2:
        return (slice(None),)
    masks: list[slice | NDArray[np.intp]] = []
    for level in range(n_levels):
        rows = np.flatnonzero(codes == level)
        contiguous = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        masks.append(slice(int(rows[0]), int(rows[-1]) + 1) if contiguous else rows)
    return tuple(masks)


def _centre(law: Law, raw: Values, weights: Array | None) -> dict[str, float]:
    """Geometric mean of each axis (of the fraction, for a size axis); zeros play no part."""
    centre: dict[str, float] = {}
    sizes = getattr(law, "size_axes", ())
    for axis in law.axis_list():
        values = raw[axis.name]
        there = values > 0
        values = values[there] / (axis.report if axis.name in sizes and axis.report else 1.0)
        part = None if weights is None else weights[there]
        centre[axis.name] = (
            float(np.exp(np.average(np.log(values), weights=part))) if len(values) else 1.0
        )
    return centre


def bind(
    law: Law,
    raw: Values,
    codes: NDArray[np.intp],
    levels: Sequence[str],
    link: Link,
    *,
    local: bool = True,
    centre: Mapping[str, float] | None = None,
    weights: Array | None = None,
) -> Model:
    """Bind a law to raw columns.

    Parameters
    ----------
    law : Law
    raw : mapping of str to array [n]
        Axis columns in their own units.
    codes : array [n] of int
        Level of each row, into `levels`.
    levels : sequence of str
    link : Link
    local : bool
        False: the kernel moves printed parameters (needed where amplitudes are fixed or tied).
    centre : mapping, optional
        Reference point; default the geometric mean of `raw`.
    weights : array [n], optional
        Multiplicities of the rows, for that mean.
    """
    frame = Frame(link.sign, local, dict(centre or _centre(law, raw, weights)))
    names: list[str] = []
    columns: dict[str, tuple[int, ...]] = {}
    lower: list[float] = []
    upper: list[float] = []
    soft: list[float] = []
    for name, param in law.params.items():
        labels = [f"{name}[{level}]" for level in levels] if law.own(name) else [name]
        columns[name] = tuple(range(len(names), len(names) + len(labels)))
        names += labels
        lo, hi, open_lo = _bounds(law, param, link)
        lower += [lo] * len(labels)
        upper += [hi] * len(labels)
        soft += [open_lo] * len(labels)
    return Model(
        law=law,
        frame=frame,
        link=link,
        x=law.prepare(raw, frame),
        codes=codes,
        levels=tuple(levels),
        names=tuple(names),
        coordinates=tuple(names),
        lower=np.array(lower),
        upper=np.array(upper),
        open_lower=np.array(soft),
        columns=columns,
        _masks=_level_masks(codes, len(levels)),
    )


def _bounds(law: Law, param: Param, link: Link) -> tuple[float, float, float]:
    """Bounds in the kernel's coordinates: lower, upper, lower while draws run free."""
    if law.output == "eta" and link.sign < 0 and param.role == "limit":
        return -_ETA_LIMIT, _ETA_LIMIT, -_ETA_LIMIT
    lower = float(param.inward(param.lower)) if np.isfinite(param.lower) else -np.inf
    upper = float(param.inward(param.upper)) if np.isfinite(param.upper) else np.inf
    soft = lower if param.soft is None or param.soft > param.lower else float(param.soft)
    if law.output == "eta" and link.sign > 0 and param.role == "shape":
        # A loss relaxes its limit; an exponent at or below 0 would leave no decaying term.
        soft = lower
    return lower, upper, soft
