"""A law's arithmetic as elementary steps, which a page can repeat without knowing the law.

The law is called once with arrays that note what is done to them. They carry numbers too, those of
a sample, so that a loop that ends when all have converged ends. A law that asks for more than
elementwise NumPy functions is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from scaling_laws.laws import Law
from scaling_laws.model import Model

__all__ = ["STEPS", "Program", "Untold", "program_of"]

Array = NDArray[np.float64]

# What `panel.js` can do too, under the same names.
_UFUNCS = (
    "add subtract multiply divide power negative positive absolute sign square sqrt cbrt "
    "reciprocal exp exp2 expm1 log log2 log10 log1p logaddexp maximum minimum hypot floor ceil "
    "sin cos tan arctan sinh cosh tanh arcsinh "
    "greater greater_equal less less_equal equal not_equal "
    "logical_and logical_or logical_not isfinite isnan"
).split()
STEPS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _UFUNCS},
    "where": np.where,
}
# Names that mean the same.
_SAME = {"float_power": "power", "fabs": "absolute"}


class Untold(ValueError):
    """A law whose arithmetic the page cannot repeat."""


@dataclass(frozen=True)
class Step:
    """One operation on registers."""

    name: str
    of: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """Steps on registers: axes, parameters, constants, then the result of each step.

    Attributes
    ----------
    axes, params : tuple of str
    constants : array
    steps : tuple of Step
    fixed : int
        So many steps, the first ones, depend on no axis.
    result : int
        Register of the value.
    """

    axes: tuple[str, ...]
    params: tuple[str, ...]
    constants: Array
    steps: tuple[Step, ...]
    fixed: int
    result: int

    def run(self, axes: Mapping[str, Array], params: Sequence[Array] | Array) -> Array:
        """Return the value ``[points, draws]`` at axes ``[points]`` for parameters ``[draws]``."""
        found: list[Any] = [axes[name][:, None] for name in self.axes]
        found += [p[None, :] for p in params]
        found += self.constants.tolist()
        # As in the law itself: what diverges far from the data is infinite.
        with np.errstate(all="ignore"):
            for step in self.steps:
                found.append(STEPS[step.name](*(found[i] for i in step.of)))
        shape = (len(next(iter(axes.values()))), len(params[0]))
        return np.broadcast_to(np.asarray(found[self.result], float), shape)


def program_of(model: Model, axes: Mapping[str, Array], params: Mapping[str, Array]) -> Program:
    """Return the steps from axes and kernel parameters to the mean on the residual scale.

    Parameters
    ----------
    model : Model
    axes : mapping of str to array [points]
        Places of the sample.
    params : mapping of str to array [draws]
        Its parameters, in the kernel's coordinates.

    Raises
    ------
    Untold
        If the law does something that is no step.
    """
    tape = _Tape()
    raw: dict[str, Any] = {k: tape.given("axis", k, v[:, None]) for k, v in axes.items()}
    p: dict[str, Any] = {k: tape.given("param", k, v[None, :]) for k, v in params.items()}
    law = model.law
    try:
        with np.errstate(all="ignore"):
            value = _linked(model, _curve(law, law.prepare(raw, model.frame), p, model))
        return tape.program(tape.lift(value))
    except Exception as why:  # whatever the formula does with what is no plain array
        raise Untold(
            f"the page cannot repeat the formula of {law.name}: {why}. Write it with NumPy's "
            "functions of whole arrays, np.where for if."
        ) from why


def _curve(law: Law, x: Mapping[str, Any], p: Mapping[str, Any], model: Model) -> Any:
    if type(law).evaluate is not Law.evaluate:
        return law.evaluate(x, p, model.frame, slopes=False)[0]
    # `Law.evaluate` makes plain numbers of what the formula returns.
    return law.formula(x, **{k: law.params[k].outward(v) for k, v in p.items()})


def _linked(model: Model, value: Any) -> Any:
    """Return the mean on the residual scale, as `Model.residual_mean` does."""
    link = model.link
    if model.law.output == "eta" and link.kind == "logit":
        share = 1.0 / (1.0 + np.exp(np.clip(-value, -500.0, 500.0)))
        return link.floor + (link.top - link.floor) * share
    return np.log(value) if link.kind == "log" else value


class _Noted(NDArrayOperatorsMixin):
    """Numbers that note on a tape what is done to them."""

    def __init__(self, tape: _Tape, at: int, value: NDArray[Any]) -> None:
        self.tape, self.at, self.value = tape, at, value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the sample."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """Its dimensions."""
        return self.value.ndim

    def __bool__(self) -> bool:
        return bool(self.value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        name = _SAME.get(ufunc.__name__, ufunc.__name__)
        out = options.pop("out", None)
        # In-place operations return their result; numbers in another array would miss the tape.
        held = out is None or all(isinstance(_held(one), _Noted) for one in out)
        if name == "expit":
            return 1.0 / (1.0 + np.exp(-inputs[0]))
        if method != "__call__" or name not in STEPS or options or not held:
            raise Untold(f"it uses np.{ufunc.__name__} in a way that is no elementary step")
        return self.tape.note(name, inputs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, options: Any
    ) -> Any:
        known = _FUNCTIONS.get(func.__name__)
        if known is None:
            raise Untold(f"it uses np.{func.__name__}")
        return known(self.tape, *args, **options)


def _where(tape: _Tape, condition: Any, x: Any, y: Any) -> Any:
    return tape.note("where", (condition, x, y))


def _clip(tape: _Tape, a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    low = a if a_min is None else tape.note("maximum", (a, a_min))
    return low if a_max is None else tape.note("minimum", (low, a_max))


# Whether all have converged is asked of the sample; that the rest agrees is checked afterwards.
def _all(tape: _Tape, a: Any) -> Any:
    return bool(np.all(tape.lift(a).value))


def _any(tape: _Tape, a: Any) -> Any:
    return bool(np.any(tape.lift(a).value))


def _ones_like(tape: _Tape, a: Any) -> Any:
    return tape.lift(1.0)


def _zeros_like(tape: _Tape, a: Any) -> Any:
    return tape.lift(0.0)


def _full_like(tape: _Tape, a: Any, fill_value: Any) -> Any:
    return tape.lift(fill_value)


def _broadcast_to(tape: _Tape, array: Any, shape: Any) -> Any:
    return array


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    one.__name__[1:]: one
    for one in (_where, _clip, _all, _any, _ones_like, _zeros_like, _full_like, _broadcast_to)
}


def _held(value: Any) -> Any:
    """Return what `np.asarray` put into an array of no dimension."""
    lone = type(value) is np.ndarray and value.dtype == object and value.ndim == 0
    return value.item() if lone else value


class _Tape:
    """All that was done, in its order; the same thing done twice stands once."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, tuple[Any, ...]]] = []
        self.known: dict[tuple[str, tuple[Any, ...]], _Noted] = {}

    def given(self, kind: str, what: Any, value: NDArray[Any]) -> _Noted:
        """Return an axis, a parameter or a constant."""
        return self._entry((kind, (what,)), value)

    def note(self, name: str, inputs: Sequence[Any]) -> _Noted:
        """Return the result of a step."""
        of = [self.lift(one) for one in inputs]
        return self._entry((name, tuple(o.at for o in of)), STEPS[name](*(o.value for o in of)))

    def _entry(self, key: tuple[str, tuple[Any, ...]], value: NDArray[Any]) -> _Noted:
        if key not in self.known:
            self.known[key] = _Noted(self, len(self.entries), np.asarray(value))
            self.entries.append(key)
        return self.known[key]

    def lift(self, value: Any) -> _Noted:
        """Return a value as one of the tape: a constant, if it is none yet."""
        value = _held(value)
        if isinstance(value, _Noted):
            return value
        plain = np.asarray(value, float).ravel()
        if not len(plain) or not np.array_equal(plain, plain[:1].repeat(len(plain)), True):
            raise Untold("it uses an array of different constants")
        return self.given("constant", repr(float(plain[0])), plain[:1, None])

    def program(self, result: _Noted) -> Program:
        """Return what the result needs, what depends on no axis first."""
        needed: set[int] = set()
        waiting = [result.at]
        while waiting:
            at = waiting.pop()
            if at not in needed:
                needed.add(at)
                kind, of = self.entries[at]
                waiting += of if kind in STEPS else ()
        moves: set[int] = set()
        kinds = ("axis", "param", "constant", "fixed", "moving")
        places: dict[str, list[int]] = {kind: [] for kind in kinds}
        for at, (kind, of) in enumerate(self.entries):
            if kind == "axis" or (kind in STEPS and not moves.isdisjoint(of)):
                moves.add(at)
            if kind in STEPS and at in needed:
                places["moving" if at in moves else "fixed"].append(at)
            elif kind in ("axis", "param") or at in needed:
                places[kind].append(at)
        register = {at: i for i, at in enumerate(at for part in places.values() for at in part)}

        def named(kind: str) -> tuple[Any, ...]:
            return tuple(self.entries[at][1][0] for at in places[kind])

        steps = [self.entries[at] for at in (*places["fixed"], *places["moving"])]
        return Program(
            named("axis"),
            named("param"),
            np.array([float(c) for c in named("constant")]),
            tuple(Step(name, tuple(register[i] for i in of)) for name, of in steps),
            len(places["fixed"]),
            register[result.at],
        )
