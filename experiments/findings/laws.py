"""The laws of a log: forms and their Forecast, and what they say of runs they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.candidates import forms_for
from scaling_laws.runs import RunLog
from scaling_laws.validation import Choice, Holdout, judge

from .parts import LEVEL, Parts

__all__ = ["Held", "Outcome", "points", "read_law"]


@dataclass(frozen=True, eq=False)
class Held:
    """A hold-out of the hardest level of an axis.

    Parameters
    ----------
    law : Holdout
        Of the form with the largest weight.
    forecast : Holdout
        Of all forms, weighed on the other rows alone.
    chains : Series of str
        The chain of each held-out row.
    left_out : tuple of str
        Formats that are not on both sides.
    """

    law: Holdout
    forecast: Holdout
    chains: pd.Series[str]
    left_out: tuple[str, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Errors of law, Forecast and the guesses without a law."""
        rows = [
            (who, _mean_error(h, h.frame["estimate"]), h.rmse, h.coverage, len(h.frame))
            for who, h in (("law", self.law), ("Forecast", self.forecast))
        ]
        rows += [(f"without: {k}", v, *[np.nan] * 3) for k, v in self.guesses.items()]
        columns = ["by", "mean |pred - obs|", "rmse", "inside", "rows"]
        return pd.DataFrame(rows, columns=columns).astype({"rows": "Int64"})

    @cached_property
    def guesses(self) -> pd.Series[float]:
        """Mean ``|predicted - observed|`` without a law."""
        guesses = self.forecast.guesses
        return pd.Series({str(k): _mean_error(self.forecast, guesses[k]) for k in guesses})

    @cached_property
    def errors(self) -> pd.Series[float]:
        """Mean ``|predicted - observed|`` of the Forecast in each chain.

        In points of the score: relative to a student that collapsed every error is infinite.
        """
        frame = self.forecast.frame
        return (frame["estimate"] - frame["observed"]).abs().groupby(self.chains).mean()


def _mean_error(held: Holdout, predicted: pd.Series[float]) -> float:
    return float((predicted - held.frame["observed"]).abs().mean())


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the students of the grid say of one metric.

    Parameters
    ----------
    metric : str
    students : RunLog
        Those with a score.
    choice : Choice
    """

    metric: str
    students: RunLog
    choice: Choice

    @property
    def forecast(self) -> sl.Forecast:
        """All forms, weighed."""
        return self.choice.forecast

    @property
    def known(self) -> dict[str, list[Any]]:
        """Levels of the axes and factors of the law."""
        law, frame = self.choice.best.law, self.choice.best.problem.frame
        names = [a.name for a in law.axis_list()]
        out = {n: sorted(float(v) for v in frame[n].unique()) for n in names}
        return out | {n: sorted(frame[n].astype(str).unique()) for n in law.by}

    def common(self, *formats: str) -> dict[str, list[float]]:
        """Return the numbers of examples that all of some formats have, under their name.

        Empty where the law has no such axis.

        Raises
        ------
        ValueError
            Where they have none in common.
        """
        if "examples" not in self.known:
            return {}
        frame = self.choice.best.problem.frame
        seen = [frame["examples"][frame["format"] == f] for f in formats] or [frame["examples"]]
        both = sorted(set.intersection(*({float(v) for v in one} for one in seen)))
        if not both:
            raise ValueError(f"{' and '.join(formats)} have no number of examples in common.")
        return {"examples": both}

    def hold_out(self, axis: str) -> Held:
        """Hold out the largest examples or the smallest students.

        Raises
        ------
        ValueError
            Where nothing would be left on one side.
        """
        runs, left_out = self._both_sides(axis)
        forms = forms_for(runs, self.metric)
        law = next((f for f in forms if repr(f) == repr(self.choice.best.law)), forms[0])
        given = {"by": axis, "leave": 1, "level": LEVEL}
        single = sl.holdout(law, runs, self.metric, **given)
        mixed = sl.holdout(forms, runs, self.metric, **given)
        chains = _chains(runs).loc[mixed.frame.index]
        return Held(single, mixed, chains, left_out)

    def _both_sides(self, axis: str) -> tuple[RunLog, tuple[str, ...]]:
        """Return the runs of formats that have rows to train on and rows to hold out."""
        frame = self.students.frame
        if frame[axis].nunique() < 2:
            raise ValueError(f"levels of {axis} among the students: {frame[axis].nunique()}.")
        hardest = frame[axis].min() if axis == "kept" else frame[axis].max()
        hard = frame[axis] == hardest
        here = set(frame["format"][hard]) & set(frame["format"][~hard])
        left = tuple(sorted({*frame["format"].dropna()} - here))
        if not here:
            raise ValueError(f"no format has {axis} {hardest:g} and another.")
        return self.students.select({"format": sorted(here)}), left

    def by_chain(self, progress: Callable[[str], None]) -> tuple[pd.DataFrame, dict[str, str]]:
        """Leave one chain out, forecast its rows from the others; return rows and failures.

        Each row: ``chain, kept, format, examples, observed, estimate, low, high, covered``.
        """
        log, whole = self.students, self.choice.best
        chains, used = _chains(log), log.frame.index.isin(whole.problem.frame.index)
        tables, failed = [], {}
        for chain in dict.fromkeys(chains):
            hard = used & (chains == chain).to_numpy(dtype=bool)
            easy = log.select(~hard)
            progress(f"{self.metric}: without {chain}")
            if not set(log.frame["format"][hard]) <= set(easy.frame["format"]):
                failed[str(chain)] = "no other chain has its format."
                continue
            try:
                found = sl.choose(forms_for(easy, self.metric), easy, self.metric).forecast
                held = judge(found, whole, log, easy, hard, "kept", LEVEL)
            except ValueError as why:
                failed[str(chain)] = str(why)
                continue
            if held.frame["low"].isna().any():
                failed[str(chain)] = "the other chains support no interval."
                continue
            tables.append(held.frame.assign(chain=chain))
        rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        return rows, failed


def read_law(parts: Parts, metric: str) -> Outcome:
    """Fit every form that the students of the grid admit.

    Raises
    ------
    ValueError
        If there is no score, or no form can be fitted.
    """
    if metric not in parts.students.metrics:
        raise ValueError(f"no student of the grid has a {metric}.")
    frame = parts.students.frame
    runs = parts.students.select(frame[metric].notna().to_numpy(dtype=bool))
    return Outcome(metric, runs, sl.choose(forms_for(runs, metric), runs, metric))


def points(known: dict[str, list[Any]], **fixed: Iterable[Any]) -> pd.DataFrame:
    """Return every combination of the levels, those of some axes given."""
    values = {name: list(fixed.get(name, levels)) for name, levels in known.items()}
    return pd.DataFrame(list(product(*values.values())), columns=list(values))


def _chains(log: RunLog) -> pd.Series[str]:
    """Return the chain of each row; a row without one is its own."""
    frame = log.frame
    if "chain_id" not in frame:
        return pd.Series([f"row {i}" for i in range(len(frame))], index=frame.index)
    return frame["chain_id"].astype("string").fillna(pd.Series(frame.index.astype(str)))
