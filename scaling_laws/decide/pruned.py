"""Sizes of the students that a law knows by the fraction kept: cut as those of its log are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scaling_laws.runs import Note

if TYPE_CHECKING:
    from scaling_laws.cost import Serving, Shape

__all__ = ["Pruning", "at_bits", "bits_notes", "counted_of", "path_of", "students_of"]

Pruning = Mapping[str, Any]
"""How students are cut: ``kept_of``, ``split`` and ``rounding``, as `cost.planned` takes them."""

Array = NDArray[np.float64]

# Logs round the fraction kept, and some have the one that was aimed at.
_ROUNDED = 0.01
# Further apart than this, a student that is priced is not the one that was trained.
_ALIKE = 0.02


def counted_of(rows: pd.DataFrame | None, pruning: Pruning | None = None) -> str:
    """Return which parameters ``kept`` counts: as rows say, else as `pruning` does, else all.

    Raises
    ------
    ValueError
        If rows count differently, or not as `pruning` says.
    """
    given = _checked(pruning).get("kept_of")
    told: list[str] = []
    rows = _cut_rows(rows)
    if rows is not None and "kept_of" in rows:
        told = sorted(rows["kept_of"].dropna().astype(str).unique())
    if len(told) > 1:
        raise ValueError(
            f"kept is a fraction of {' parameters in some rows, of '.join(told)} ones in others; "
            "no model has its sizes. Fit rows of one kept_of, or write all in one."
        )
    if told and given not in (None, told[0]):
        raise ValueError(
            f"pruning: kept_of = {given!r}, but the rows count {told[0]!r}; leave it out."
        )
    return told[0] if told else given or "total"


def students_of(
    whole: Shape,
    kept: ArrayLike,
    rows: pd.DataFrame | None = None,
    pruning: Pruning | None = None,
    counted: str | None = None,
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Return the sizes of students by the fraction kept, as `cost.planned` does, and what to know.

    Students are cut as `pruning` says; without a split in it, as those of the rows are, if these
    have their sizes and are cut from the same model; else by the default split.

    Parameters
    ----------
    whole : cost.Shape
        The model that is pruned.
    kept : array of float in (0, 1]
    rows : DataFrame, optional
        Runs, with ``kept`` and what is known of ``kept_of``, ``params``, ``layers, hidden, ffn,
        kv_heads``.
    pruning : mapping, optional
        Of ``kept_of``, ``split``, ``rounding``.
    counted : {"total", "nonembedding"}, optional
        What `kept` counts; default `counted_of` the rows.

    Raises
    ------
    ValueError
        For an unknown entry of `pruning`, fractions of what is not known, students of the rows
        that are cut in more than one way, or a student smaller than the split allows.
    """
    from scaling_laws.cost import planned

    of, options = _options(whole, rows, pruning, counted)
    each, which = np.unique(np.asarray(kept, float), return_inverse=True)
    try:
        sizes = planned(whole, each, kept_of=of, **options)
    except ValueError as why:
        raise ValueError(f"{why} {_REMEDY}") from None
    notes = () if counted is not None else _differing(whole, rows, of, options)
    return sizes.iloc[which].reset_index(drop=True), notes


def path_of(
    whole: Shape,
    rows: pd.DataFrame | None = None,
    pruning: Pruning | None = None,
    counted: str | None = None,
) -> pd.DataFrame:
    """Return every student on the way from the whole model, as `students_of` cuts them."""
    from scaling_laws.cost.planning import pruning_path

    of, options = _options(whole, rows, pruning, counted)
    return pruning_path(whole, kept_of=of, **options)


_REMEDY = "Write pruning={'split': ..., 'rounding': {...}} to say how students are cut."


def _cut_rows(rows: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the rows of pruned students: the whole model is whole whatever is counted."""
    if rows is None or "kept" not in rows:
        return None
    cut = rows["kept"] < 1
    if "origin" in rows:
        cut &= rows["origin"].astype(str) != "pretrained"
    return rows[cut]


def _checked(pruning: Pruning | None) -> dict[str, Any]:
    given: Any = {} if pruning is None else pruning
    if not isinstance(given, Mapping):
        raise ValueError(
            f"pruning = {given!r} is no mapping; write pruning={{'split': 'depth'}}, or of shares."
        )
    told, known = dict(cast("Mapping[str, Any]", given)), ("kept_of", "split", "rounding")
    for name in told:
        if name not in known:
            raise ValueError(f"pruning has no {name!r}; it has {', '.join(known)}.")
    return told


def _options(
    whole: Shape, rows: pd.DataFrame | None, pruning: Pruning | None, counted: str | None
) -> tuple[Any, dict[str, Any]]:
    of = counted_of(rows, pruning) if counted is None else counted
    options = {k: v for k, v in _checked(pruning).items() if k != "kept_of"}
    if "split" not in options:
        made = _made(whole, rows, _checked(pruning).get("kept_of", "total"))
        options |= {} if made is None else {"split": made}
    return of, options


def _made(whole: Shape, rows: pd.DataFrame | None, unsaid: str) -> pd.DataFrame | None:
    """Return the sizes of the students in the rows, if pruned from this model.

    Parameters
    ----------
    unsaid : {"total", "nonembedding"}
        What ``kept`` counts where a row has no ``kept_of``.

    Raises
    ------
    ValueError
        If they are cut in more than one way: a fraction has one size.
    """
    from scaling_laws.cost.planning import pruning_path
    from scaling_laws.cost.shapes import AXES, counts

    rows = _cut_rows(rows)
    if rows is None or not set(AXES) <= set(rows.columns):
        return None
    known = rows[list(AXES)].dropna().astype(np.int64)
    if not len(known) or any((known[a] > getattr(whole, a)).any() for a in AXES):
        return None
    of = rows["kept_of"] if "kept_of" in rows else pd.Series(unsaid, rows.index)
    inner = of.loc[known.index].fillna(unsaid).to_numpy() == "nonembedding"
    made = counts(whole.variants(**{a: known[a].to_numpy() for a in AXES}))
    reached = np.where(
        inner, made.nonembedding / whole.params_nonembedding, made.params / whole.params
    )
    if np.abs(reached - rows.loc[known.index, "kept"].to_numpy(dtype=float)).max() > _ROUNDED:
        return None
    sizes = known.drop_duplicates(ignore_index=True)
    try:
        pruning_path(whole, split=sizes)
    except ValueError as why:
        raise ValueError(
            f"the students of the log are cut in more than one way. {why} Ask of rows cut in one "
            f"way, or say which is meant. {_REMEDY}"
        ) from None
    return sizes


def _differing(
    whole: Shape, rows: pd.DataFrame | None, of: Any, options: Mapping[str, Any]
) -> tuple[Note, ...]:
    """Say where a student of the log has other parameters than the one that is priced for it."""
    from scaling_laws.cost import planned

    rows = _cut_rows(rows)
    if rows is None or "params" not in rows:
        return ()
    known = rows[["kept", "params"]].dropna().drop_duplicates()
    if not len(known):
        return ()
    logged = known["params"].to_numpy(dtype=float)
    try:
        there = planned(whole, known["kept"], kept_of=of, **options)["params"].to_numpy(dtype=float)
    except ValueError:
        # Smaller than anything that can be cut.
        there = np.full(len(known), np.nan)
    off = np.abs(np.log(there / logged))
    if (off <= np.log1p(_ALIKE)).all():
        return ()
    i = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
    priced = "can't be cut" if np.isnan(there[i]) else f"has {there[i]:,.0f}"
    sentence = (
        f"At kept {known['kept'].iloc[i]:.3g} the log's student has {logged[i]:,.0f} parameters; "
        f"that of {whole.name or 'the whole model'}, which is priced, {priced}. If they should be "
        f"one, give the log's model as shape, and pruning={{'split': ..., 'rounding': ...}} as it "
        "was cut."
    )
    return (Note("other_students", "warning", sentence),)


# --- bits of a weight -----------------------------------------------------------------------------
def at_bits(sizes: pd.DataFrame, serving: Serving) -> pd.DataFrame:
    """Return sizes that leave the bits of a weight to a server that sets them."""
    return sizes if serving.weight_bits is None else sizes.drop(columns="weight_bits")


def bits_notes(
    rows: pd.DataFrame, known: Collection[str], bits: ArrayLike, who: str
) -> tuple[Note, ...]:
    """Say that models are scored as if their weights had the log's bits.

    Parameters
    ----------
    rows : DataFrame
        Rows of the fit.
    known : collection of str
        Axes and factors of the law; with ``weight_bits`` there is nothing to say.
    bits : array of float
        Bits of a weight of the models that are asked about.
    who : str
        What they are.
    """
    if "weight_bits" in known:
        return ()
    told = rows["weight_bits"].dropna() if "weight_bits" in rows else pd.Series(dtype=float)
    logged = sorted({float(b) for b in told}) or [16.0]
    # Of a mixture the law has one curve, which is that of neither.
    asked = set(np.unique(np.asarray(bits, float)).tolist())
    other = sorted(asked - set(logged) if len(logged) == 1 else asked)
    if not other:
        return ()
    how = "unquantised" if logged == [16.0] else f"in {_listed(logged)} bits, as in the log"
    sentence = (
        f"Scored as {how}: {who} ({_listed(other)} bits a weight). The law has no weight_bits, so "
        "what quantising costs is not in the scores; fit runs of such models too, with "
        "by='weight_bits'."
    )
    return (Note("scored_unquantised", "warning", sentence),)


def _listed(bits: Sequence[float]) -> str:
    return " and ".join(f"{b:g}" for b in bits)
