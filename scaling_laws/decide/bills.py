"""What a list of runs costs, run by run and together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.cost import Serving, Shape, Traces, Training, budget, shape, traces, training
from scaling_laws.cost.shapes import AXES
from scaling_laws.decide.pruned import Pruning, students_of
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.runs import Note
from scaling_laws.show import number

__all__ = ["plan"]

# Trainings that a person would look through; of more, equal ones are priced once anyway.
_FIELDS = ("model", "kept", "params", "examples", "format", "method", "target")


def plan(
    runs: pd.DataFrame,
    *,
    model: str | Shape | Mapping[str, Any] | None = None,
    pruning: Pruning | None = None,
    tokens: float | Mapping[str, float],
    epochs: float = 1.0,
    teacher: str | Shape | Mapping[str, Any] | float | None = None,
    tracing: Serving | None = None,
    **options: Any,
) -> Result:
    """Price a list of runs before they are made.

    ``tokens trained on = examples x tokens of one example x epochs``; what the teacher caches of a
    format, or writes, is paid once for the largest set of examples, of which the others are part.

    Parameters
    ----------
    runs : DataFrame
        A row a run: ``examples``, and the student as ``kept`` of `model`, as ``params``, or as
        ``model`` (a name or Shape); ``format``, ``method``, ``target`` where they vary. What
        ``kept`` counts may stand in ``kept_of``.
    model : name, Shape or config, optional
        The model that is pruned to ``kept``.
    pruning : mapping, optional
        How it is: ``kept_of``, ``split`` and ``rounding`` of `scaling_laws.cost.planned`, where
        ``split`` may hold the sizes of students of a log.
    tokens : float or mapping
        Tokens of one example, answer included; by ``format`` where formats differ.
    epochs : float
        Passes over the examples.
    teacher : name, Shape, config or number of parameters, optional
        Default `model`, where the runs have a ``target`` or `options` name one.
    tracing : Serving, optional
        How the teacher writes the reasoning for all formats but ``label``; without it traces cost
        nothing here.
    **options
        As `scaling_laws.cost.training` takes them: ``method``, ``target``, ``mfu``, ``hardware``...

    Returns
    -------
    Result
        ``frame``: the runs with ``gpu_hours`` (geometric middle of its range), ``gpu_hours_low``,
        ``gpu_hours_high``, ``price_low``, ``price_high``, without what is shared; `next_runs` takes
        it as candidates. ``values``: totals, shared cache and traces included.

    Raises
    ------
    ValueError
        If a run can't be priced; the sentence says what is missing.
    """
    _check(runs, model, epochs)
    whole = None if model is None else shape(model)
    if "target" in runs.columns or "target" in options:
        teacher = whole if teacher is None else teacher
    cut, notes = _cut(runs, whole, pruning)
    per_example = _tokens(runs, tokens)
    largest = _largest(runs)
    keys = runs.reindex(columns=[c for c in _FIELDS if c in runs.columns]).astype(str)
    priced: dict[tuple[str, ...], Training] = {}
    items: list[Training] = []
    for i, key in enumerate(keys.itertuples(index=False, name=None)):
        if key not in priced:
            run = runs.iloc[i].to_dict()
            name = str(run.get("format", ""))
            given: dict[str, Any] = {"teacher": teacher}
            given |= {k: run[k] for k in ("method", "target") if k in run} | options
            if given.get("target") == "none":
                given["teacher"] = None
            priced[key] = training(
                _student(run, cut, i),
                float(run["examples"]) * per_example[i] * epochs,
                unique_tokens=largest[name] * per_example[i],
                cache=name,
                name=f"run {runs.index[i]}",
                **given,
            )
        items.append(priced[key])
    written = [] if tracing is None else _traces(runs, whole, teacher, tracing)
    return _bill(runs, items, written, tracing, notes)


def _check(runs: Any, model: Any, epochs: float) -> None:
    if not isinstance(runs, pd.DataFrame) or not len(runs):
        raise ValueError("plan: runs must be a DataFrame with a row a run.")
    if "examples" not in runs.columns:
        raise ValueError(
            f"plan: the runs have no column 'examples'; they have "
            f"{', '.join(map(str, runs.columns))}."
        )
    if not {"model", "params", "kept"} & set(runs.columns):
        raise ValueError(
            "plan: the runs name no student; add a column kept (of model=), params or model."
        )
    if model is None and not {"model", "params"} & set(runs.columns):
        raise ValueError("plan: kept is a fraction of a model; name it, as in model='Qwen3-8B'.")
    examples = runs["examples"].to_numpy(dtype=float)
    if not (np.isfinite(examples) & (examples > 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(examples) & (examples > 0)))[0])
        raise ValueError(f"plan: examples of run {runs.index[row]} is {examples[row]:g}; a run "
                         "needs 1 or more.")  # fmt: skip
    if not 0 < epochs < float("inf"):
        raise ValueError(f"plan: epochs = {epochs} is not positive.")


def _tokens(runs: pd.DataFrame, tokens: float | Mapping[str, float]) -> list[float]:
    if not isinstance(tokens, Mapping):
        return [float(tokens)] * len(runs)
    if "format" not in runs.columns:
        raise ValueError(
            "plan: tokens are given by format, but the runs have no column 'format'; give one "
            "number."
        )
    words = runs["format"].astype(str)
    missing = sorted(set(words) - set(tokens))
    if missing:
        raise ValueError(
            f"plan: tokens has no {missing[0]!r}; write tokens={{{missing[0]!r}: ..., ...}}."
        )
    return [float(tokens[w]) for w in words]


def _largest(runs: pd.DataFrame) -> dict[str, float]:
    """Return the largest set of examples by format, of which the smaller ones are part."""
    if "format" not in runs.columns:
        return {"": float(runs["examples"].max())}
    by = runs.groupby(runs["format"].astype(str))["examples"].max()
    return {str(k): float(v) for k, v in by.items()}


def _cut(
    runs: pd.DataFrame, whole: Shape | None, pruning: Pruning | None
) -> tuple[dict[float, Shape], tuple[Note, ...]]:
    """Return the students of `whole` by the fraction kept, of runs that name no other."""
    if whole is None or "kept" not in runs.columns:
        return {}, ()
    named = runs[[c for c in ("model", "params") if c in runs.columns]].notna().any(axis=1)
    kept = runs.loc[~named, "kept"].to_numpy(dtype=float)
    each = np.unique(kept[(kept > 0) & (kept <= 1)])
    if not len(each):
        return {}, ()
    sizes, notes = students_of(whole, each, runs, pruning)
    shapes = {1.0: whole}
    for k, row in zip(each.tolist(), sizes.to_dict("records"), strict=True):
        layers, hidden, ffn, kv_heads = (int(row[a]) for a in AXES)
        if k < 1:
            shapes[k] = whole.pruned(layers=layers, hidden=hidden, ffn=ffn, kv_heads=kv_heads)
    return shapes, notes


def _student(run: Mapping[Any, Any], cut: Mapping[float, Shape], place: int) -> Any:
    for name in ("model", "params"):
        if name in run and not pd.isna(run[name]):
            return run[name] if name == "model" else float(run[name])
    kept = float(run["kept"]) if "kept" in run else float("nan")
    if kept not in cut:
        raise ValueError(f"plan: run {place} has no model, params or kept in (0, 1] of model=.")
    return cut[kept]


def _traces(
    runs: pd.DataFrame, whole: Shape | None, teacher: Any, tracing: Serving
) -> list[Traces]:
    writer = whole if teacher is None else teacher
    if writer is None or isinstance(writer, int | float):
        raise ValueError("plan: tracing needs the teacher's shape; name it, teacher='Qwen3-32B'.")
    if "format" not in runs.columns:
        raise ValueError("plan: tracing needs the column 'format', to know which runs have traces.")
    reasoned = runs[runs["format"].astype(str) != "label"]
    if not len(reasoned):
        return []
    return [traces(writer, int(reasoned["examples"].max()), tracing)]


def _bill(
    runs: pd.DataFrame,
    items: list[Training],
    written: list[Traces],
    tracing: Serving | None,
    cut: tuple[Note, ...],
) -> Result:
    total = budget([*items, *written])
    hours = np.array([one.gpu_hours for one in items])
    frame = runs.assign(
        gpu_hours=np.sqrt(hours.prod(1)), gpu_hours_low=hours[:, 0], gpu_hours_high=hours[:, 1]
    )
    price = items[0].hardware.price
    if price is not None:
        frame = frame.assign(price_low=hours[:, 0] * price.low, price_high=hours[:, 1] * price.high)
    low, high = total.gpu_hours
    shared = low - float(hours[:, 0].sum()), high - float(hours[:, 1].sum())
    words = f"{len(runs)} runs take {_range(low, high)} GPU-hours"
    values: dict[str, Any] = {
        "runs": len(runs), "gpu_hours_low": low, "gpu_hours_high": high,
        "shared_gpu_hours_low": shared[0], "shared_gpu_hours_high": shared[1],
        "cache_bytes": total.cache_bytes,
    }  # fmt: skip
    if total.price is not None:
        words += f", ${_range(*total.price)}"
        values |= {"price_low": total.price[0], "price_high": total.price[1]}
    notes = [*cut, *total.notes]
    if "kept" in runs.columns:
        sentence = (
            "A student pruned from another student needs that one first; list every stage that is "
            "not there yet."
        )
        notes.append(Note("stages", "info", sentence))
    if tracing is None and "format" in runs.columns and (runs["format"] != "label").any():
        sentence = "The teacher's traces are not priced; pass tracing= a Serving."
        notes.append(Note("traces_not_priced", "warning", sentence))
    middle = frame["gpu_hours"].to_numpy(dtype=float)
    dearest = int(middle.argmax())
    share = middle[dearest] / middle.sum()
    about = f"The dearest, {frame.index[dearest]}, is {share:.0%} of the hours of training"
    table = frame.assign(run=[str(i) for i in frame.index]).nlargest(30, "gpu_hours")
    return Result(
        question=f"What do {len(runs)} runs cost?",
        answer=words + ".",
        frame=frame,
        view=View("run", "gpu_hours", "gpu_hours_low", "gpu_hours_high", style="bars",
                  y_label="GPU-hours", table=table),
        values=values,
        reason=Why(words, None, about, "A utilisation from a run of your own, mfu=, narrows it"),
        notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _range(low: float, high: float) -> str:
    first, last = number(low), number(high)
    return first if first == last else f"{first} to {last}"
