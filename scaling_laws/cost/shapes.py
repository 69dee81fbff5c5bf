"""What a model is made of: sizes, exact parameter counts, bytes of its weights."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "AXES", "SIZES", "Columns", "Counts", "Shape", "Shapes", "Split", "columns", "counts", "named",
]  # fmt: skip

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, Ints]
"""Sizes of many models: an array a field of `Shape`, all of one length."""

Split = str | Mapping[str, float] | pd.DataFrame
"""How axes share what is pruned; see `planned`."""

AXES = ("layers", "hidden", "ffn", "kv_heads")
"""Sizes that structural pruning changes; query heads follow their key-value heads."""

SIZES = ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "vocab")
"""Fields that a model can't do without."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder with gated feed-forward networks and grouped-query attention.

    ``layers * (hidden * head_dim * (2 heads + 2 kv_heads) + 3 hidden ffn + norms and biases)
    + hidden + vocab * hidden`` parameters, the last term twice if `tied` is false.

    Parameters
    ----------
    layers, hidden, ffn, heads, kv_heads, head_dim, vocab : int
        Decoder layers; width of the residual stream; width of the feed-forward network; query
        heads; key-value heads; dimension of a head; tokens in the vocabulary.
    tied : bool
        Whether embedding and output head are one matrix.
    qk_norm, qkv_bias, o_bias, mlp_bias : bool
        Whether layers have norms of queries and keys, and biases at the named projections.
    weight_bits : int
        Bits of a weight in the layers' matrices; norms and biases have 16.
    group : int
        Weights of a quantised matrix that share a scale of 16 bits and a zero point of
        `weight_bits`, as in AWQ and GPTQ; 0 where scales are too few to count.
    head_bits : int
        Bits of a weight of embedding and output head, which weight quantisation leaves at 16.
    family : str
        Model type; ``llama`` wants `hidden` divisible by `heads`.
    name : str
        For people.

    Raises
    ------
    ValueError
        For a size below 1, or query heads that are no multiple of the key-value heads.

    Examples
    --------
    >>> Shape(64, 5120, 25600, 64, 8, 128, 151936, qk_norm=True).params
    32762123264
    """

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool = False
    qk_norm: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    weight_bits: int = 16
    group: int = 0
    head_bits: int = 16
    family: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse sizes that no model has."""
        _check({name: np.atleast_1d(getattr(self, name)) for name in _FIELDS}, self.name or "Shape")

    @property
    def params(self) -> int:
        """Exact number of parameters; a tied embedding counts once."""
        return int(counts(self).params[0])

    @property
    def params_nonembedding(self) -> int:
        """Parameters without embedding and output head."""
        return int(counts(self).nonembedding[0])

    @property
    def weight_bytes(self) -> float:
        """Memory that the weights take."""
        return float(counts(self).weight_bytes[0])

    def pruned(
        self,
        kept: float | None = None,
        *,
        kept_of: Literal["total", "nonembedding"] = "total",
        split: Split = "both",
        rounding: Mapping[str, int] | None = None,
        **sizes: int,
    ) -> Shape:
        """Return a smaller shape: of given `sizes`, or one that keeps a fraction of parameters.

        Parameters
        ----------
        kept : float in (0, 1], optional
            Fraction to keep, met as nearly as rounding allows; see `planned`.
        kept_of, split, rounding
            As in `planned`.
        **sizes : int
            Some of ``layers``, ``hidden``, ``ffn``, ``kv_heads``.

        Raises
        ------
        ValueError
            For both or neither, or a size above this shape's.
        """
        if (kept is None) != bool(sizes):
            raise ValueError("pruned: give either kept, or sizes such as layers=32, ffn=12800.")
        if kept is not None:
            from .planning import planned

            rows = planned(self, [kept], kept_of=kept_of, split=split, rounding=rounding)
            sizes = {axis: int(rows[axis].iloc[0]) for axis in AXES}
        narrowed = self._narrowed(sizes)
        shape = replace(self, **{k: int(v) for k, v in narrowed.items()}, name="")
        share = shape.params / self.params
        return replace(shape, name=f"{self.name or 'model'} at {share:.3f}")

    def quantised(self, weight_bits: int, group: int = 0, head_bits: int = 16) -> Shape:
        """Return the same model with fewer bits a weight."""
        name = f"{self.name or 'model'} in {weight_bits} bits"
        return replace(self, weight_bits=weight_bits, group=group, head_bits=head_bits, name=name)

    def variants(self, **changes: Any) -> pd.DataFrame:
        """Return a frame of shapes, a row each, for the functions that take many at once.

        Parameters
        ----------
        **changes : int or array-like of int
            Sizes and bits that differ; arrays of one length. Query heads follow `kv_heads`.

        Raises
        ------
        ValueError
            For a name that is no field, or a size above this shape's.
        """
        wrong = [name for name in changes if name not in (*AXES, "weight_bits", "group")]
        if wrong:
            raise ValueError(
                f"variants: {wrong[0]!r} can't vary; there are "
                f"{', '.join((*AXES, 'weight_bits', 'group'))}."
            )
        row = {name: getattr(self, name) for name in _FIELDS}
        return pd.DataFrame(row | dict(self._narrowed(changes)), index=_index(changes))

    def _narrowed(self, sizes: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {name: np.asarray(size) for name, size in sizes.items()}
        for axis in AXES:
            if axis in out and bool(np.any((out[axis] < 1) | (out[axis] > getattr(self, axis)))):
                worst = out[axis].ravel()[int(np.argmax(np.abs(out[axis] - 1)))]
                raise ValueError(
                    f"{self.name or 'shape'}: {axis} = {worst} is not in "
                    f"[1, {getattr(self, axis)}], what there is."
                )
        unknown = [name for name in out if name not in (*AXES, "weight_bits", "group")]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not pruned; there are {', '.join(AXES)}.")
        if "kv_heads" in out:
            out["heads"] = out["kv_heads"] * (self.heads // self.kv_heads)
        return out


_FIELDS = tuple(f.name for f in fields(Shape) if f.name not in ("family", "name"))
_DEFAULTS: Mapping[str, int] = {
    f.name: int(cast(int, f.default)) for f in fields(Shape) if f.name in _FIELDS[len(SIZES) :]
}

Shapes = Shape | str | Sequence[Shape] | pd.DataFrame
"""One shape or its name, a list, or a frame with a column a field."""


def _index(changes: Mapping[str, Any]) -> pd.RangeIndex:
    lengths = {np.size(v) for v in changes.values() if np.ndim(v)}
    if len(lengths) > 1:
        raise ValueError(f"variants: arrays have lengths {sorted(lengths)}; give one length.")
    return pd.RangeIndex(lengths.pop() if lengths else 1)


def columns(shapes: Shapes) -> Columns:
    """Return the sizes of one or many models as arrays.

    Raises
    ------
    ValueError
        For a frame that lacks a size or holds one that no model has.
    """
    if isinstance(shapes, str):
        shapes = named(shapes)
    if isinstance(shapes, pd.DataFrame):
        missing = [name for name in SIZES if name not in shapes]
        if missing:
            raise ValueError(
                f"the frame of shapes has no column {missing[0]!r}; it needs {', '.join(SIZES)}. "
                "Shape.variants makes such a frame."
            )
        given = {
            name: shapes[name].to_numpy(dtype=np.float64, na_value=np.nan)
            if name in shapes
            else np.full(len(shapes), _DEFAULTS[name], np.float64)
            for name in _FIELDS
        }
        _check(given, "the frame of shapes")
        return {name: values.astype(np.int64) for name, values in given.items()}
    listed = [shapes] if isinstance(shapes, Shape) else list(shapes)
    return {name: np.array([getattr(one, name) for one in listed], np.int64) for name in _FIELDS}


def _check(given: Mapping[str, NDArray[Any]], where: str) -> None:
    for name, values in given.items():
        least = 1 if name in SIZES or name.endswith("_bits") else 0
        with np.errstate(invalid="ignore"):
            bad = ~((values >= least) & (values == np.round(values)))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{where}: {name} = {values[row]} (row {row}) is not a whole number from {least}."
            )
    odd = given["heads"] % given["kv_heads"] != 0
    if odd.any():
        row = int(np.argmax(odd))
        raise ValueError(
            f"{where}: heads = {given['heads'][row]} is not a multiple of kv_heads = "
            f"{given['kv_heads'][row]} (row {row})."
        )


@dataclass(frozen=True)
class Counts:
    """Parameters by what they do, arrays ``[models]``.

    Parameters
    ----------
    matrices : array of int
        Weights of the layers' matrices.
    vectors : array of int
        Norms and biases.
    head : array of int
        Weights of the output head, read at every token.
    embeddings : array of int
        Embedding and output head; one matrix if tied.
    matrix_bytes : array of float
        Bytes of the layers' matrices, scales included.
    head_bytes, embedding_bytes : array of float
    """

    matrices: Ints
    vectors: Ints
    head: Ints
    embeddings: Ints
    matrix_bytes: Floats
    head_bytes: Floats
    embedding_bytes: Floats

    @property
    def params(self) -> Ints:
        """All parameters."""
        return self.matrices + self.vectors + self.embeddings

    @property
    def nonembedding(self) -> Ints:
        """All but embedding and output head."""
        return self.matrices + self.vectors

    @property
    def multiplied(self) -> Ints:
        """Weights that every token is multiplied with: the matrices and the output head."""
        return self.matrices + self.head

    @property
    def read_bytes(self) -> Floats:
        """Bytes read for a decode step: all but the table of embeddings."""
        return self.matrix_bytes + 2.0 * self.vectors + self.head_bytes

    @property
    def weight_bytes(self) -> Floats:
        """Bytes of all weights."""
        return self.matrix_bytes + 2.0 * self.vectors + self.embedding_bytes


def counts(shapes: Shapes | Columns) -> Counts:
    """Count parameters exactly, norms and biases included."""
    s = shapes if isinstance(shapes, dict) else columns(shapes)
    query, key = s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]
    hidden, ffn, layers = s["hidden"], s["ffn"], s["layers"]
    matrices = layers * (2 * hidden * (query + key) + 3 * hidden * ffn)
    vectors = hidden + layers * (
        2 * hidden
        + s["qk_norm"] * 2 * s["head_dim"]
        + s["qkv_bias"] * (query + 2 * key)
        + s["o_bias"] * hidden
        + s["mlp_bias"] * (2 * ffn + hidden)
    )
    head = s["vocab"] * hidden
    embeddings = head * (2 - s["tied"])
    bits = s["weight_bits"].astype(np.float64)
    scales = np.where(s["group"] > 0, (16.0 + bits) / np.maximum(s["group"], 1), 0.0)
    return Counts(
        matrices=matrices,
        vectors=vectors,
        head=head,
        embeddings=embeddings,
        matrix_bytes=matrices * (bits + scales) / 8,
        head_bytes=head * s["head_bits"] / 8,
        embedding_bytes=embeddings * s["head_bits"] / 8,
    )


@cache
def _table() -> Mapping[str, Shape]:
    text = (files("scaling_laws.cost") / "data" / "shapes.csv").read_text(encoding="utf-8")
    out: dict[str, Shape] = {}
    for row in csv.DictReader(text.splitlines()):
        layers, hidden, ffn, heads, kv_heads, head_dim, vocab = (int(row[name]) for name in SIZES)
        out[row["name"]] = Shape(
            layers, hidden, ffn, heads, kv_heads, head_dim, vocab, tied=row["tied"] == "true",
            qk_norm=row["family"] == "qwen3", family=row["family"], name=row["name"],
        )  # fmt: skip
    return out


def named(name: str) -> Shape:
    """Return a published model's shape; an organisation before a slash and ``-Instruct`` are cut.

    Raises
    ------
    KeyError
        For a name that is not in the table.
    """
    table = _table()
    short = name.rsplit("/", 1)[-1].removeprefix("Meta-").removesuffix("-Instruct")
    known = {key.lower(): shape for key, shape in table.items()}
    if short.lower() not in known:
        raise KeyError(
            f"shape {name!r} is not known; there are {', '.join(table)}. Give the path of a "
            "config.json, or a Shape."
        )
    return known[short.lower()]
