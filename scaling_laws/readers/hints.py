"""Remarks on a checked table: names and words that look like the schema's, and broken lineage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache

import numpy as np
import pandas as pd

from .schema import Schema
from .table import Cells, Note, Table, show

__all__ = ["field_meant", "hints"]

# Other tools' and people's names of a field; case, spaces and signs don't count.
_ALIASES = {
    "params": "parameters n_params num_params nparams model_size model_params n",
    "params_nonembedding": "non_embedding_params n_nonembedding",
    "tokens": "n_tokens num_tokens training_tokens train_tokens d",
    "examples": (
        "dataset_size data_size n_examples num_examples train_size n_train n_labels labels "
        "samples n_samples num_samples training_examples training_samples train_samples "
        "train_examples training_set_size"
    ),
    "kept": "compression compression_ratio keep_ratio kept_fraction fraction_kept density",
    "task_f1": "f1 macro_f1 f1_macro eval_f1 eval_macro_f1 eval_f1_macro",
    "task_accuracy": "accuracy acc eval_accuracy eval_acc test_accuracy test_acc",
    "mmlu": "mmlu_acc mmlu_accuracy mmlu_score",
    "mmlu_pro": "mmlu_pro_acc mmlu_pro_accuracy mmlu_pro_score",
    "task_nll": "nll",
    "task_brier": "brier brier_score",
    "loss": "val_loss eval_loss test_loss valid_loss validation_loss final_loss",
    "weight_bits": "bits wbits",
    "format": "supervision supervision_format",
}
_BRACKETED = re.compile(r"\(.*?\)|\[.*?\]")


def _bare(name: str) -> str:
    """Return a name without case, spaces, signs and what stands in brackets, as a unit does."""
    return re.sub(r"[^a-z0-9]", "", _BRACKETED.sub("", name.casefold()))


_MEANT = {_bare(a): field for field, aliases in _ALIASES.items() for a in aliases.split()}
_MOST_WORDS = 20  # distinct spellings looked at, so that a column of free text costs nothing


def hints(table: Table, schema: Schema) -> tuple[Note, ...]:
    """Return what a reader of the log should know; no row is refused for it."""
    found = (
        *_names(table, schema),
        *_units(table, schema),
        *_words(table, schema),
        *_lineage(table),
        *_sizes(table),
    )
    return tuple(Note(code, "warning", f"{table.source}: {told}") for code, told in found)


def _names(table: Table, schema: Schema) -> Iterator[tuple[str, str]]:
    """Columns that may be a field under another name."""
    for name in table.columns:
        field = None if name in schema.rules else field_meant(name, schema)
        if field is None or field in table.columns:
            continue
        unit = ', kept_unit="compression"' if name.casefold().startswith("compression") else ""
        yield (
            "column_name",
            (
                f"column {name!r} is kept as a covariate; if it is {field}, pass "
                f"columns={{{field!r}: {name!r}}}{unit}."
            ),
        )


def _units(table: Table, schema: Schema) -> Iterator[tuple[str, str]]:
    """Columns of which most cells were refused as percents: the rest may be small percents."""
    refused = Counter(rejection.field for rejection in table.rejected)
    for name, count in refused.items():
        rule = schema.rules.get(name)
        if rule is not None and rule.option and count >= len(table.rows) > 0:
            yield (
                "unit_doubtful",
                (
                    f"{name} was refused in {count} rows and accepted in {len(table.rows)}; if "
                    f"the column has another unit, the accepted rows are wrong: pass {rule.option}."
                ),
            )


def field_meant(name: str, schema: Schema) -> str | None:
    """Return the field that a column of another name may be."""
    return _field_meant(name, tuple(schema.rules))


@lru_cache(maxsize=1024)
def _field_meant(name: str, fields: tuple[str, ...]) -> str | None:
    bare = {_bare(field): field for field in fields}
    folded = _bare(name)
    close = get_close_matches(folded, bare, n=1, cutoff=0.85)
    return bare.get(folded) or _MEANT.get(folded) or (bare[close[0]] if close else None)


def _words(table: Table, schema: Schema) -> Iterator[tuple[str, str]]:
    """Texts close to a canonical spelling."""
    for name, cells in table.columns.items():
        rule = schema.rules.get(name)
        if rule is None or not rule.words:
            continue
        for word in _distinct(cells)[:_MOST_WORDS]:
            meant = None if word in rule.words else _word_meant(word, rule.words)
            if meant is not None:
                yield "spelling", f"{name} = {word!r} is kept as written; did you mean {meant!r}?"


@lru_cache(maxsize=1024)
def _word_meant(word: str, words: tuple[str, ...]) -> str | None:
    folded = word.casefold().strip().replace("_", "-").replace(" ", "-")
    close = get_close_matches(folded, words, n=1, cutoff=0.75)
    return close[0] if close else None


def _distinct(cells: Cells) -> list[str]:
    """Return the distinct texts of a column, in order of appearance."""
    return [text for text in pd.unique(cells) if text is not None]


def _lineage(table: Table) -> Iterator[tuple[str, str]]:
    """Parents that are not in the log, and chains with two teachers."""
    columns = table.columns
    if "parent_id" in columns:
        ids: Iterable[str] = columns.get("run_id", ())
        absent = [p for p in _distinct(columns["parent_id"]) if p not in set(ids)]
        if absent:
            yield (
                "parent_missing",
                (f"{len(absent)} parent_id name no accepted row: {_some(absent)}."),
            )
    if "chain_id" in columns and "teacher" in columns:
        pairs = pd.DataFrame({"chain": columns["chain_id"], "teacher": columns["teacher"]})
        teachers = pairs.dropna().groupby("chain", sort=False)["teacher"].nunique()
        mixed = [str(chain) for chain in teachers.index[teachers > 1]]
        if mixed:
            yield (
                "chain_teachers",
                (f"the rows of a chain should share one teacher; those of {_some(mixed)} don't."),
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(show(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _sizes(table: Table) -> Iterator[tuple[str, str]]:
    """Sizes that repeat each other, or that look like millions or billions."""
    columns = table.columns
    if "params" not in columns:
        return
    params = columns["params"][~np.isnan(columns["params"])]
    if len(params) and params.max() < 1e4:
        yield (
            "params_unit",
            (
                f"params is at most {params.max():g}; if it is in billions, pass "
                'units={"params": 1e9}.'
            ),
        )
    if "kept" in columns and len(_distinct(columns.get("teacher", np.empty(0, object)))) <= 1:
        kept = columns["kept"]
        both = ~np.isnan(columns["params"]) & ~np.isnan(kept)
        if len(np.unique(kept[both])) > 1:
            yield (
                "collinear_sizes",
                (
                    "with one teacher, params and kept say the same thing; use kept, and params "
                    "only beside a second teacher."
                ),
            )
