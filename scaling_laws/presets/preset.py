"""One published law with its constants, ready to predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.base import Law, Values
from scaling_laws.model import Link, bind
from scaling_laws.presets.symbols import Span, Symbol
from scaling_laws.runs import Note
from scaling_laws.uncertainty import as_generator, quantile_pair

__all__ = ["Preset"]

Array = NDArray[np.float64]
Rule = str | Mapping[str, Any]

DRAWS = 1000
_BUDGETS = 10


@runtime_checkable
class _HasOptimum(Protocol):
    def optimum(self, compute: Array, p: Values) -> Array: ...


@dataclass(frozen=True, eq=False)
class Preset:
    """A published law with its constants.

    Attributes
    ----------
    name : str
    law : Law
    metric, unit : str
        What it predicts.
    source, arxiv, where : str
        Paper, identifier, equation or table.
    unverified : tuple of str
        Symbols that were not read again in the paper, its code or its data.
    range_verified : bool
        Whether the range was.
    rounding : str
    axes : mapping of str to Span
    symbols : mapping of str to Symbol
        As published.
    rules : mapping
        How a parameter of the law follows from symbols, where it is not one of them.
    together : tuple of tuple of str
        Symbols that err together.
    remarks : tuple of str
        Traps.
    """

    name: str
    law: Law
    metric: str
    unit: str
    source: str
    arxiv: str
    where: str
    unverified: tuple[str, ...]
    range_verified: bool
    rounding: str
    axes: Mapping[str, Span]
    symbols: Mapping[str, Symbol]
    rules: Mapping[str, Rule] = field(default_factory=dict[str, Rule])
    together: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()

    # --- constants --------------------------------------------------------------------------------
    @cached_property
    def values(self) -> dict[str, float]:
        """The law's parameters, those that are published; ``sl.fit(parameters=...)`` takes it."""
        found = self._parameters({k: np.asarray(s.value) for k, s in self.symbols.items()})
        return {k: float(v) for k, v in found.items()}

    @property
    def verified(self) -> bool:
        """Whether every constant was read again in the paper, its code or its data."""
        return not self.unverified

    @property
    def missing(self) -> tuple[str, ...]:
        """Parameters of the law that are not published."""
        return tuple(n for n in self.law.params if n not in self.values)

    @property
    def has_errors(self) -> bool:
        """Whether the source published errors of every constant."""
        return all(s.has_error for s in self.symbols.values())

    def _parameters(self, symbols: Mapping[str, Array]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name in self.law.params:
            rule = self.rules.get(name, name)
            if isinstance(rule, str):
                if rule in symbols:
                    found[name] = symbols[rule]
            elif "exp" in rule:
                found[name] = np.exp(symbols[rule["exp"]])
            else:
                base, power = rule["power"]
                found[name] = symbols[base] ** symbols[power]
        return found

    def draws(self, n: int = DRAWS, rng: Any = 0) -> dict[str, Array]:
        """Draw the law's parameters from the published errors.

        Errors are published one by one. Symbols that err together (an amplitude and its exponent)
        are drawn as fully dependent, all others as independent, each so that its own published
        interval is met.

        Raises
        ------
        ValueError
            If the source published none.
        """
        if not self.has_errors:
            raise ValueError(f"{self.name}: the source publishes no errors, so nothing is drawn.")
        grouped = {name for group in self.together for name in group}
        groups = [*self.together, *((n,) for n in self.symbols if n not in grouped)]
        z = as_generator(rng).standard_normal((len(groups), n))
        symbols = {
            name: self.symbols[name].spread(z[i])
            for i, group in enumerate(groups)
            for name in group
        }
        return self._parameters(symbols)

    def prior(
        self, *names: str, sd: float | Mapping[str, float] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Return ``{name: (mean, sd)}`` for ``sl.fit(prior=...)``.

        Parameters
        ----------
        *names : str
            Parameters of the law; default its published shapes (exponents).
        sd : float or mapping, optional
            How far your own setting may lie from the published one; default the published standard
            error, which says how well the paper's own setting is known and is usually too narrow.

        Raises
        ------
        ValueError
            For a name without a constant, or where no error is published and `sd` is not given.
        """
        chosen = names or tuple(n for n in self.values if self.law.params[n].role == "shape")
        out: dict[str, tuple[float, float]] = {}
        for name in chosen:
            if name not in self.values:
                raise ValueError(
                    f"{self.name} has no constant {name!r}; it has {', '.join(self.values)}."
                )
            width = sd.get(name) if isinstance(sd, Mapping) else sd
            width = self._published_sd(name) if width is None else float(width)
            if width is None:
                raise ValueError(
                    f"{self.name} publishes no error of {name}: say how far you expect it to move, "
                    f"prior({name!r}, sd=...)."
                )
            out[name] = (self.values[name], width)
        return out

    def _published_sd(self, name: str) -> float | None:
        """Return the standard error of a parameter that is itself a published symbol."""
        rule = self.rules.get(name, name)
        symbol = self.symbols[rule] if isinstance(rule, str) else None
        if symbol is None or not symbol.has_error:
            return None
        if symbol.se is not None:
            return symbol.se
        reach = NormalDist().inv_cdf(0.5 + 0.5 * symbol.level)
        return ((symbol.high or 0.0) - (symbol.low or 0.0)) / (2 * reach)

    # --- predictions ------------------------------------------------------------------------------
    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | None = None,
        level: float = 0.9,
        *,
        n: int = DRAWS,
        rng: Any = 0,
        **axes: Any,
    ) -> pd.DataFrame:
        """Predict with the published constants.

        Parameters
        ----------
        data : DataFrame or mapping, optional
            Columns named like the axes; keyword arguments do the same.
        level : float
            Of the interval.
        n, rng
            Draws behind the interval, and their seed.
        **axes
            Scalars or arrays that broadcast together.

        Returns
        -------
        DataFrame
            The points, ``estimate``, ``low`` and ``high`` only where the source published errors,
            ``range`` ({inside, outside, not stated}: the range that was fitted) and ``verified``.
            ``attrs["notes"]`` says what to beware of.

        Raises
        ------
        ValueError
            For a missing axis, a point where the law has no value, or a constant that is not
            published.
        """
        if self.missing:
            names = ", ".join(self.missing)
            raise ValueError(
                f"{self.name}: {names} is not published, so nothing can be predicted. Hold what "
                f"is, sl.fit(preset.law, runs, parameters=preset.values), and fit {names}."
            )
        points = _table({**(dict(data) if data is not None else {}), **axes})
        raw = {name: self._axis(points, name) for name in self.axes}
        out = points.copy()
        out["estimate"] = self._curve(raw, {k: np.asarray([v]) for k, v in self.values.items()})[0]
        if self.has_errors:
            values = self._curve(raw, self.draws(n, rng)).T
            out["low"], out["high"] = quantile_pair(np.ascontiguousarray(values), level)
        out["range"] = self._range(points)
        out["verified"] = self.verified
        out.attrs["notes"] = tuple(self._notes(out))
        return out

    def _axis(self, points: pd.DataFrame, name: str) -> Array:
        span = self.axes[name]
        if name not in points:
            needed = ", ".join(f"{k} ({v.unit})" for k, v in self.axes.items())
            raise ValueError(f"{self.name} needs {name}=; it is a function of {needed}.")
        x = points[name].to_numpy(dtype=float)
        bad = ~np.isfinite(x) | (x <= 0) | ((x > 1) if name == "kept" else False)
        if bad.any():
            legal = "in (0, 1]" if name == "kept" else "positive and finite"
            value = x[np.flatnonzero(bad)[0]]
            raise ValueError(
                f"{self.name}: {name} = {value:g} must be {legal} ({span.unit}); the law has no "
                "value there."
            )
        return x / span.scale

    def _curve(self, raw: Mapping[str, Array], parameters: Mapping[str, Array]) -> Array:
        """Return the metric ``[draws, points]``."""
        rows = len(next(iter(raw.values())))
        codes = np.zeros(rows, np.intp)
        model = bind(self.law, raw, codes, ("",), Link("identity"), local=False)
        moved = self.law.working(parameters, model.frame)
        return model.mean(np.stack([moved[name] for name in model.names], axis=1))

    def _range(self, points: pd.DataFrame) -> list[str]:
        spans = self.axes.items()
        outside = np.any([s.outside(points[k].to_numpy(dtype=float)) for k, s in spans], axis=0)
        known = not any(span.open_ends for _, span in spans)
        return ["outside" if o else "inside" if known else "not stated" for o in outside]

    def _notes(self, out: pd.DataFrame | None = None) -> Iterator[Note]:
        if not self.verified:
            whole = len(self.unverified) == len(self.symbols)
            names = ", ".join(self.unverified)
            which = "The constants are" if whole else f"Of the constants {names} is"
            yield Note("unverified", "warning", f"{which} not verified against the paper.")
        if not self.range_verified and any(s.low or s.high for s in self.axes.values()):
            yield Note("range_unverified", "info", "The range is not verified against the paper.")
        ends = [f"{k} ({s.open_ends})" for k, s in self.axes.items() if s.open_ends]
        if ends:
            yield Note(
                "range_not_stated",
                "warning",
                f"The range that was fitted is not stated for {', '.join(ends)}: no point is known "
                "to lie inside it.",
            )
        if out is not None and "range" in out and (out["range"] == "outside").any():
            count = int((out["range"] == "outside").sum())
            spans = "; ".join(f"{k} {v}" for k, v in self.axes.items())
            yield Note(
                "outside_range",
                "warning",
                f"{count} of {len(out)} points lie outside the range that was fitted ({spans}).",
            )
        if out is not None and "low" in out:
            pairs = ", ".join(" and ".join(group) for group in self.together) or "none"
            yield Note(
                "errors_one_by_one",
                "info",
                "Errors are published one by one, without correlations: drawn as fully dependent "
                f"within a term ({pairs}), else independent. Of the curve, not of a new run.",
            )
        yield from (Note("published", "info", sentence) for sentence in self.remarks)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What to beware of, wherever it is used."""
        return tuple(self._notes())

    def optimum(
        self, compute: Any, level: float = 0.9, *, n: int = DRAWS, rng: Any = 0
    ) -> pd.DataFrame:
        """Return the best split of ``compute = 6 params tokens`` FLOP.

        Parameters
        ----------
        compute : float or array
            Budgets, in FLOP.
        level, n, rng
            As in `predict`.

        Returns
        -------
        DataFrame
            A row a budget: ``compute, params, tokens, tokens_per_param``, where the source
            published errors ``low, high`` of the tokens per parameter, and ``range`` of the
            split, as in `predict`.

        Raises
        ------
        ValueError
            For a law without such an optimum, or a budget that is not positive.
        """
        if not isinstance(self.law, _HasOptimum):
            raise ValueError(f"{self.name}: {self.law.name} has no compute optimum in closed form.")
        budgets = np.atleast_1d(np.asarray(compute, float))
        if not (np.isfinite(budgets) & (budgets > 0)).all():
            raise ValueError(f"compute: {compute!r} must be positive and finite, in FLOP.")
        params = self.law.optimum(budgets, {k: np.asarray(v) for k, v in self.values.items()})
        tokens = budgets / (6.0 * params)
        out = pd.DataFrame(
            {
                "compute": budgets,
                "params": params,
                "tokens": tokens,
                "tokens_per_param": tokens / params,
            }
        )
        if self.has_errors:
            drawn = {k: v[None] for k, v in self.draws(n, rng).items()}
            ends: list[tuple[Array, Array]] = []
            # A few budgets at a time: arrays that are not given back to the system in between.
            for i in range(0, len(budgets), _BUDGETS):
                some = budgets[i : i + _BUDGETS, None]
                best = self.law.optimum(some, drawn)
                ends.append(quantile_pair(some / (6.0 * best * best), level))
            out["low"], out["high"] = (np.concatenate(e) for e in zip(*ends, strict=True))
        out["range"] = self._range(out)
        out.attrs["notes"] = tuple(self._notes(out))
        return out

    # --- how it is shown --------------------------------------------------------------------------
    @property
    def frame(self) -> pd.DataFrame:
        """A row a published constant: value, unit, se, low, high, rounding, verified."""
        rows = {
            name: {
                "value": s.value, "unit": s.unit, "se": s.se, "low": s.low, "high": s.high,
                "rounding": s.rounding, "verified": name not in self.unverified,
            }
            for name, s in self.symbols.items()
        }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").astype(
            {"se": float, "low": float, "high": float}
        )

    def __repr__(self) -> str:
        from scaling_laws.show_presets import preset_text

        return preset_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_presets import preset_html

        return preset_html(self)


def _table(given: Mapping[str, Any]) -> pd.DataFrame:
    if not given:
        return pd.DataFrame()
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v)) for v in given.values()))
    columns = zip(given, (a.ravel() for a in arrays), strict=True)
    return pd.DataFrame(dict(cast(Iterable[tuple[str, Any]], columns)))
