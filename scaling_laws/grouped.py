"""Fit one law to every group of a log on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from scaling_laws.fitting import fit
from scaling_laws.laws.base import Law
from scaling_laws.metrics import Metric
from scaling_laws.problem import as_log, pick_metric
from scaling_laws.result import Fit

__all__ = ["FitTable", "fit_each"]


@dataclass(frozen=True, eq=False)
class FitTable:
    """Fits by group.

    Attributes
    ----------
    fits : dict
        Group key -> Fit.
    failed : dict
        Group key -> the sentence why it could not be fitted.
    by : tuple of str
    """

    fits: Mapping[Any, Fit]
    failed: Mapping[Any, str]
    by: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A row a group: parameters, objective, rows, and why a group failed."""
        rows: list[dict[str, Any]] = []
        for key, one in self.fits.items():
            rows.append(
                {
                    **self._key(key),
                    **one.values,
                    "objective": one.objective,
                    "rows": one.problem.n,
                    "failed": "",
                }
            )
        rows += [{**self._key(key), "failed": why} for key, why in self.failed.items()]
        return pd.DataFrame(rows).set_index(list(self.by))

    def _key(self, key: Any) -> dict[str, Any]:
        values = cast(tuple[Any, ...], key if isinstance(key, tuple) else (key,))
        return dict(zip(self.by, values, strict=True))

    def predict(self, **options: Any) -> pd.DataFrame:
        """Predict every group at the same points; the group's key comes first."""
        parts = [one.predict(**options).assign(**self._key(k)) for k, one in self.fits.items()]
        table = pd.concat(parts, ignore_index=True)
        return table[[*self.by, *(c for c in table.columns if c not in self.by)]]

    def __len__(self) -> int:
        return len(self.fits)

    def __getitem__(self, key: Any) -> Fit:
        return self.fits[key]

    def __repr__(self) -> str:
        return (
            f"{len(self.fits)} fits by {', '.join(self.by)}, {len(self.failed)} failed\n"
            f"{self.frame}"
        )

    def _repr_html_(self) -> str:
        return self.frame.to_html()


def fit_each(
    law: Law | Callable[..., Any],
    data: Any,
    metric: str | Metric | None = None,
    *,
    by: str | Sequence[str],
    columns: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> FitTable:
    """Fit the law to every group on its own.

    Parameters
    ----------
    by : str or sequence of str
        Columns whose combinations are the groups.
    progress : bool, optional
        Show a bar; default where there are more than 200 groups.
    **options
        As in `fit`.

    Returns
    -------
    FitTable
        Groups that cannot be fitted are listed with the reason, not dropped.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    wanted = pick_metric(metric, data, options.get("link"))
    log = as_log(data, wanted, columns)
    for key in keys:
        if key not in log.frame.columns:
            raise ValueError(f"by: the log has no column {key!r}.")
    groups = log.frame.groupby(list(keys), sort=True, observed=True).indices
    items: Iterable[tuple[Any, Any]] = groups.items()
    if progress or (progress is None and len(groups) > 200):
        from tqdm.auto import tqdm

        items = tqdm(items, total=len(groups), desc="fits", unit="fit")
    fits: dict[Any, Fit] = {}
    failed: dict[Any, str] = {}
    for key, rows in items:
        if len(keys) == 1 and isinstance(key, tuple):
            key = cast(tuple[Any, ...], key)[0]
        mask = np.zeros(len(log.frame), bool)
        mask[rows] = True
        try:
            fits[key] = fit(law, log, wanted, where=mask, **options)
        except ValueError as why:
            failed[key] = str(why)
    return FitTable(fits, failed, keys)
