"""From answers to single items to scores of each class: recall and F1 with their noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.metrics import Metric

__all__ = ["CLASS_METRICS", "class_scores"]

CLASS_METRICS = {
    "recall": Metric(
        "recall", "higher", "in-domain", 0.0, 1.0, "logit", "proportion", "recall of the class"
    ),
    "f1": Metric("f1", "higher", "in-domain", 0.0, 1.0, "logit", "stored", "F1 of the class"),
}
"""Scores of one class, by name; `METRICS` holds those of a whole test set."""


def class_scores(
    items: pd.DataFrame,
    runs: Sequence[str] = ("run_id", "examples"),
    *,
    gold: str = "gold",
    predicted: str = "predicted",
) -> pd.DataFrame:
    r"""Score every class of every run.

    ``recall = TP / G`` and ``F1 = 2 TP / (G + P)``, with G items of the class and P answers that
    name it. With ``d = (G + P) / n`` an item moves F1 by ``h / n``,
    ``h = (2 [both] - F1 ([gold] + [predicted])) / d``, so that ``se^2 = mean(h^2) / n`` (delta
    method); where every h is 0, ``q (1 - q) / G`` with ``q = (TP + 1/2) / (G + 1)`` stands in.

    Parameters
    ----------
    items : DataFrame
        A row an item and run: the columns of `runs`, the class it has and the class that was
        answered, missing where the answer could not be read.
    runs : sequence of str
        Columns that tell runs apart and describe them; the first names the run.
    gold, predicted : str
        Names of the two columns of classes.

    Returns
    -------
    DataFrame
        A row a run and class that has items in its test set: `runs`, ``class``, ``recall``,
        ``recall_n``, ``f1``, ``f1_se``, ``f1_n``; for `fit_classes`.

    Raises
    ------
    ValueError
        For a column that is not there, an item without a class, or a run that is described in two
        ways.
    """
    keys = [str(name) for name in runs]
    for name in (*keys, gold, predicted):
        if name not in items.columns:
            raise ValueError(
                f"items: there is no column {name!r}; there are {list(items.columns)}."
            )
    if (bad := items[gold].isna()).any():
        raise ValueError(f"items: {int(bad.sum())} rows have no class in {gold!r}.")
    if (several := items[keys].drop_duplicates()[keys[0]].duplicated()).any():
        name = items[keys].drop_duplicates()[keys[0]][several].iloc[0]
        raise ValueError(
            f"items: {keys[0]} = {name!r} has two values of {', '.join(keys[1:])}; a run has one."
        )
    rows: list[dict[str, Any]] = []
    for key, part in items.groupby(keys, sort=False, dropna=False):
        about = dict(zip(keys, key, strict=True))
        rows += [{**about, **scores} for scores in _scores(part[gold], part[predicted])]
    return pd.DataFrame(rows)


def _scores(gold: pd.Series[Any], predicted: pd.Series[Any]) -> list[dict[str, Any]]:
    """Return the scores of each class of one run."""
    truth, answer = gold.to_numpy(dtype=object), predicted.to_numpy(dtype=object)
    n = len(truth)
    rows: list[dict[str, Any]] = []
    for name in sorted(set(truth), key=str):
        is_gold, is_named = truth == name, answer == name
        g, both = int(is_gold.sum()), int((is_gold & is_named).sum())
        either = g + int(is_named.sum())
        f1, d = 2 * both / either, either / n
        h: NDArray[np.float64] = (2.0 * (is_gold & is_named) - f1 * (is_gold * 1.0 + is_named)) / d
        square = float(np.square(h).mean()) / n
        if square == 0.0:
            q = (both + 0.5) / (g + 1)
            square = q * (1 - q) / g
        rows.append(
            {"class": name, "recall": both / g, "recall_n": g,
             "f1": f1, "f1_se": float(np.sqrt(square)), "f1_n": g}
        )  # fmt: skip
    return rows
