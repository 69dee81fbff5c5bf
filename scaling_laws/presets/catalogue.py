"""All published laws by name: read from the TOML files beside this one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd

from scaling_laws import laws
from scaling_laws.presets.preset import Preset
from scaling_laws.presets.symbols import Span, Symbol

if TYPE_CHECKING:
    from scaling_laws.presets.crossing import Crossover

__all__ = ["Presets", "presets", "printed_crossovers"]

_FILES = ("pretraining", "finetuning", "compression")


class Presets(Mapping[str, Preset]):
    """Published laws: ``presets["chinchilla/besiroglu-2024"]``; a mapping of name to `Preset`."""

    def __getitem__(self, name: str) -> Preset:
        known = _catalogue()
        if name not in known:
            close = get_close_matches(str(name), known, n=3, cutoff=0.4)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise KeyError(
                f"preset {name!r} is not known.{hint} sl.presets lists all {len(known)}."
            )
        return known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_catalogue())

    def __len__(self) -> int:
        return len(_catalogue())

    # One catalogue, not a value: a module that is one must be hashable.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a preset: law, source, arXiv, where, what it predicts, range, errors, verified."""
        rows = {
            name: {
                "law": repr(p.law),
                "predicts": f"{p.metric} [{p.unit}]",
                "source": p.source,
                "arxiv": p.arxiv,
                "where": p.where,
                "range": "; ".join(f"{k} {v}" for k, v in p.axes.items()),
                "errors": p.has_errors,
                "missing": ", ".join(p.missing),
                "verified": p.verified,
            }
            for name, p in self.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("preset")

    def crossover(self, first: str, second: str) -> Crossover:
        """Return the examples at which two ways of fine-tuning break even.

        Parameters
        ----------
        first, second : str
            Names of two presets of `laws.FineTuning`.

        Returns
        -------
        Crossover
        """
        from scaling_laws.presets.crossing import crossover_of

        return crossover_of(self[first], self[second])

    def __repr__(self) -> str:
        from scaling_laws.show_presets import catalogue_text

        return catalogue_text(self)

    def _repr_html_(self) -> str:
        from scaling_laws.show_presets import catalogue_html

        return catalogue_html(self)


presets = Presets()


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[str, Any], ...]:
    folder = files("scaling_laws") / "presets"
    return tuple(
        tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")) for name in _FILES
    )


def printed_crossovers() -> dict[tuple[str, str], tuple[float, float]]:
    """Return what papers print of H and g, by the two presets."""
    rows = [row for table in _tables() for row in table.get("crossover", [])]
    return {(r["first"], r["second"]): (float(r["H"]), float(r["g"])) for r in rows}


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, Preset]:
    found: dict[str, Preset] = {}
    for table in _tables():
        for name, entry in table.items():
            if name != "crossover":
                for variant, merged in _variants(name, entry):
                    found[variant] = _preset(variant, merged, found)
    return found


def _variants(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entry itself, or each of its variants with everything they share."""
    shared = {k: v for k, v in entry.items() if k != "variants"}
    if "variants" not in entry:
        yield name, shared
        return
    for variant, own in entry["variants"].items():
        notes = [*shared.get("notes", []), *own.get("notes", [])]
        yield f"{name}-{variant}", {**shared, **own, "notes": notes}


def _preset(name: str, entry: Mapping[str, Any], known: Mapping[str, Preset]) -> Preset:
    """Make a preset of plain data; a constant without a unit is refused."""
    units = entry["units"]
    for symbol in entry["values"]:
        if not units.get(symbol):
            raise ValueError(f"preset {name}: {symbol} has no unit.")
    for symbol in entry["unverified"]:
        if symbol not in entry["values"]:
            raise ValueError(
                f"preset {name}: unverified = {symbol!r} is no constant of it; it has "
                f"{', '.join(entry['values'])}."
            )
    errors = entry.get("errors", {})
    options = dict(entry.get("options", {}))
    for option, other in entry.get("options_from", {}).items():
        options[option] = known[other].values
    return Preset(
        name=name,
        law=getattr(laws, entry["law"])(**options),
        metric=entry["metric"],
        unit=entry["unit"],
        source=entry["source"],
        arxiv=entry["arxiv"],
        where=entry["where"],
        unverified=tuple(entry["unverified"]),
        range_verified=entry["range_verified"],
        rounding=entry["rounding"],
        axes={k: Span(**v) for k, v in entry["axes"].items()},
        symbols={k: Symbol(v, units[k], **errors.get(k, {})) for k, v in entry["values"].items()},
        rules=entry.get("parameters", {}),
        together=tuple(tuple(group) for group in entry.get("together", [])),
        remarks=tuple(entry.get("notes", [])),
    )
