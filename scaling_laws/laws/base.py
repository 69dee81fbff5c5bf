"""What a law is: parameters with meanings, axes, a formula with derivatives, levels of a factor.

A law is written once, per point; `Model` (in ``model.py``) binds it to the rows of a log.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Frame", "FunctionLaw", "Law", "Param", "Values", "from_function"]

Array = NDArray[np.float64]
Values = Mapping[str, Array]

# Relative step of a central difference that balances truncation (h^2) against rounding (eps/h).
_STEP = float(np.finfo(float).eps ** (1 / 3))


@dataclass(frozen=True)
class Param:
    """One parameter of a law.

    Parameters
    ----------
    meaning : str
        What the number says, in a sentence for the table; ``"{axis}"`` stands for the column that
        the law is a function of, the first where there are several.
    unit : str
        ``"{metric}"`` stands for the unit of the fitted metric.
    lower, upper : float
        Bounds of the estimate.
    soft : float or None
        Where the lower bound lies while draws may cross it (they are clipped afterwards); None
        keeps the bound hard. ``-inf`` asks for minus the curve's own size at the centre of the
        data.
    search : tuple of float or None
        Range of starts where a bound is infinite. None: taken from the data.
    role : {"limit", "amplitude", "shape"}
        The curve is linear in its limit and amplitudes once the shapes are known.
    scale : {"linear", "log", "share"}
        Coordinate in which the kernel moves it: the value, its logarithm, or ``d / (1 + d)``.
    """

    meaning: str = ""
    unit: str = ""
    lower: float = 0.0
    upper: float = np.inf
    soft: float | None = None
    search: tuple[float, float] | None = None
    role: Literal["limit", "amplitude", "shape"] = "shape"
    scale: Literal["linear", "log", "share"] = "linear"

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(
                f"Param {self.meaning!r}: lower {self.lower} is not below {self.upper}."
            )
        if self.scale == "log" and self.lower <= 0:
            raise ValueError(f"Param {self.meaning!r}: a log-scaled parameter needs lower > 0.")

    def about(self, axis: str) -> Param:
        """Return the parameter of a law of that axis."""
        return replace(self, meaning=self.meaning.replace("{axis}", axis))

    def inward(self, value: Any) -> Any:
        """Value -> coordinate of the kernel."""
        if self.scale == "log":
            return np.log(value)
        return value / (1.0 + value) if self.scale == "share" else value

    def outward(self, coordinate: Any) -> Any:
        """Coordinate of the kernel -> value."""
        if self.scale == "log":
            return np.exp(coordinate)
        if self.scale == "share":
            return coordinate / (1.0 - coordinate)
        return coordinate


@dataclass(frozen=True)
class Axis:
    """A column that a law is a function of.

    Parameters
    ----------
    name : str
        Field of the run log.
    report : float or None
        Value at which amplitudes are printed; None: the geometric mean of the data.
    """

    name: str
    report: float | None = None


@dataclass(frozen=True)
class Frame:
    """Reference frame in which a law is evaluated.

    Parameters
    ----------
    sign : {-1, 1}
        -1: deficits lower a score; +1: they raise a loss.
    local : bool
        True: amplitudes are local slopes at the centre of the data (best conditioned, and an
        exponent may pass smoothly through 0); False: amplitudes are the printed ones.
    centre : mapping
        Geometric mean of each axis in the data.
    """

    sign: int
    local: bool
    centre: Mapping[str, float]


class Law:
    """A curve with named parameters. Subclass it, or pass a plain function to `sl.fit`.

    A subclass names its `axes`, declares its parameters as class attributes and writes `formula`::

        class Logistic(sl.Law):
            axes = ("examples",)
            top = sl.Param("score of infinite data", lower=0, upper=1)
            half = sl.Param("examples at half of it", lower=1, upper=1e9, scale="log")
            slope = sl.Param("steepness", lower=.05, upper=10, scale="log")

            def formula(self, x, top, half, slope):
                return top / (1 + (half / x["examples"]) ** slope)

    Derivatives are taken numerically unless `derivatives` is written too.

    Parameters
    ----------
    by : str or sequence of str
        Factor columns; each level gets its own limit and amplitudes, shapes are shared.
    share : iterable of str, or mapping of str to bool
        Parameters that all levels share although they would be their own (a mapping may also set
        ``False``: own although it would be shared).
    """

    axes: tuple[str | Axis, ...] = ()
    output: ClassVar[Literal["eta", "mean"]] = "mean"
    formula_text: str = ""
    #: What the constructor was given beyond `by` and `share`, so that a saved fit can rebuild it.
    options: Mapping[str, Any]

    def __init__(
        self,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
        **options: Any,
    ) -> None:
        self.by: tuple[str, ...] = (by,) if isinstance(by, str) else tuple(by)
        self.share = _flags(share)
        self.options = options
        self.params: dict[str, Param] = self.declare()
        for name in self.share:
            if name not in self.params:
                raise ValueError(
                    f"share: {name!r} is no parameter of {self.name}; it has "
                    f"{', '.join(self.params)}."
                )

    @property
    def name(self) -> str:
        """Name for tables."""
        return type(self).__name__

    def declare(self) -> dict[str, Param]:
        """Return the parameters in printed order."""
        found: dict[str, Param] = {}
        for klass in reversed(type(self).__mro__):
            found.update({k: v for k, v in vars(klass).items() if isinstance(v, Param)})
        axis = next((a.name for a in self.axis_list()), "")
        return {k: v.about(axis) for k, v in found.items()}

    def axis_list(self) -> tuple[Axis, ...]:
        """Return the axes as objects."""
        return tuple(a if isinstance(a, Axis) else Axis(a) for a in self.axes)

    def own(self, name: str) -> bool:
        """Whether every level of the factor has its own value of this parameter."""
        if not self.by:
            return False
        return not self.share.get(name, self.params[name].role == "shape")

    # --- what the kernel calls -------------------------------------------------------------------
    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Turn raw columns into the coordinates of the formula (here: as they are)."""
        return dict(raw)

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the curve; parameters broadcast against the columns of `x`."""
        raise TypeError(f"{self.name} declares no formula(self, x, {', '.join(self.params)}).")

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array] | None:
        """Return the formula's derivative in each parameter; None: differentiate numerically."""
        return None

    def evaluate(
        self, x: Values, theta: Values, frame: Frame, slopes: bool = True
    ) -> tuple[Array, dict[str, Array]]:
        """Return the curve and its derivatives in the kernel's coordinates."""
        value = {k: self.params[k].outward(theta[k]) for k in self.params}
        with np.errstate(all="ignore"):
            mean = np.asarray(self.formula(x, **value), float)
            if not slopes:
                return mean, {}
            given = self.derivatives(x, **value)
            if given is None:
                return mean, {k: self._difference(x, theta, k) for k in self.params}
            return mean, {k: given[k] * self._stretch(k, theta[k], value[k]) for k in self.params}

    def _stretch(self, name: str, coordinate: Array, value: Array) -> Array | float:
        """Differentiate the value in its coordinate."""
        scale = self.params[name].scale
        if scale == "log":
            return value
        return 1.0 / (1.0 - coordinate) ** 2 if scale == "share" else 1.0

    def _difference(self, x: Values, theta: Values, name: str) -> Array:
        # The floor serves a parameter at 0; one of size 1e-7 is not to be moved by its own size.
        step = _STEP * np.maximum(np.abs(theta[name]), 1e-6)
        ends: list[Array] = []
        for sign in (1.0, -1.0):
            moved = dict(theta)
            moved[name] = theta[name] + sign * step
            value = {k: self.params[k].outward(moved[k]) for k in self.params}
            ends.append(np.asarray(self.formula(x, **value), float))
        return (ends[0] - ends[1]) / (2.0 * step)

    # --- printed parameters <-> the kernel's coordinates ------------------------------------------
    def natural(self, theta: Values, frame: Frame) -> dict[str, Array]:
        """Return the printed parameters."""
        return {k: self.params[k].outward(theta[k]) for k in self.params}

    def working(self, natural: Values, frame: Frame) -> dict[str, Array]:
        """Return the kernel's coordinates of printed parameters."""
        return {k: self.params[k].inward(natural[k]) for k in self.params}

    def derived(self, natural: Values) -> dict[str, tuple[Array, str]]:
        """Further quantities for the table: name -> (values, meaning)."""
        return {}

    def __repr__(self) -> str:
        words = [f"by={self.by!r}"] * bool(self.by) + [f"share={self.share!r}"] * bool(self.share)
        usual = inspect.signature(type(self).__init__).parameters
        words += [
            f"{k}={v!r}" for k, v in self.options.items() if k not in usual or usual[k].default != v
        ]
        return f"{self.name}({', '.join(words)})"


def _flags(share: Iterable[str] | Mapping[str, bool]) -> dict[str, bool]:
    if isinstance(share, Mapping):
        return {str(k): bool(v) for k, v in cast(Mapping[str, bool], share).items()}
    return dict.fromkeys([share] if isinstance(share, str) else share, True)


class FunctionLaw(Law):
    """A plain function as a law; made by `from_function`."""

    def __init__(
        self,
        function: Callable[..., Any],
        axes: tuple[str, ...],
        params: Mapping[str, Param],
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.function = function
        self.axis_names = axes
        self._declared = dict(params)
        super().__init__(by, share)

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", "function")

    def declare(self) -> dict[str, Param]:
        """Return the parameters in the order of the signature."""
        return dict(self._declared)

    def axis_list(self) -> tuple[Axis, ...]:
        """Return the function's arguments that are columns."""
        return tuple(Axis(a) for a in self.axis_names)

    def formula(self, x: Values, **params: Array) -> Array:
        """Call the function."""
        return self.function(**{a: x[a] for a in self.axis_names}, **params)


def from_function(
    function: Callable[..., Any],
    axes: Iterable[str],
    params: Mapping[str, Param | tuple[float, float]] | None = None,
    **options: Any,
) -> FunctionLaw:
    """Make a law of a plain function.

    Parameters
    ----------
    function : callable
        ``f(column, ..., parameter, ...)`` of NumPy arrays that broadcast; returns the metric's
        mean.
    axes : iterable of str
        Arguments that are columns of the log; all others are parameters.
    params : mapping, optional
        ``Param`` or ``(lower, upper)`` by name; without it a parameter is unbounded.

    Raises
    ------
    ValueError
        If an axis is no argument of the function, or no argument is left as a parameter.
    """
    names = list(inspect.signature(function).parameters)
    axes = tuple(axes)
    for axis in axes:
        if axis not in names:
            raise ValueError(f"axes: {axis!r} is no argument of the function; it has {names}.")
    given = dict(params or {})
    declared: dict[str, Param] = {}
    for name in names:
        if name in axes:
            continue
        bounds = given.pop(name, (-np.inf, np.inf))
        declared[name] = (
            bounds
            if isinstance(bounds, Param)
            else Param(f"parameter {name}", lower=bounds[0], upper=bounds[1])
        )
    if given:
        raise ValueError(
            f"params: {sorted(given)} are no arguments of the function; it has {names}."
        )
    if not declared:
        raise ValueError(f"the function has no parameters to fit: all of {names} are columns.")
    return FunctionLaw(function, axes, declared, **options)
