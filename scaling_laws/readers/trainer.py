"""Read the ``trainer_state.json`` of Hugging Face's Trainer: a run, or its checkpoints.

Facts of the format: ``log_history`` is a list of what was logged, each with its ``step``. Keys of
an evaluation begin with ``eval_``; the entry with ``train_loss`` closes the training. An evaluation
after ``load_best_model_at_end`` repeats the last step although another model was evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..metrics import METRICS
from .frame import from_records
from .rules import number_of
from .table import Note, RunLogError, Table, show

__all__ = ["is_trainer_state", "read_trainer_state"]

_TIMINGS = ("_runtime", "_per_second")
_PLACE = ("step", "epoch", "num_input_tokens_seen")
_SCORES = {name for m in METRICS.values() for name in (m.name, m.se, m.n)}
_SETTINGS = ("num_train_epochs", "max_steps", "train_batch_size")


def is_trainer_state(found: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a trainer's state."""
    return isinstance(found.get("log_history"), list) and "global_step" in found


@dataclass
class _History:
    """What was logged, by kind; steps are in order of appearance."""

    evaluations: dict[float, dict[str, Any]] = field(default_factory=dict[float, dict[str, Any]])
    train_loss: list[tuple[float, Any]] = field(default_factory=list[tuple[float, Any]])
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])
    again: list[str] = field(default_factory=list[str])
    unread: dict[str, None] = field(default_factory=dict[str, None])


def read_trainer_state(
    state: Mapping[str, Any], source: str, run: str, checkpoints: bool = False
) -> Table:
    """Return the run of a trainer's state as one row, or a row an evaluated checkpoint.

    ``eval_loss`` is `loss`; another ``eval_m`` is `m` where the schema knows that score, else it
    keeps its name. One row holds the last evaluation and, as ``best_...``, that of the best
    checkpoint: the trainer's own choice (``best_global_step``), else the lowest ``eval_loss``.

    Parameters
    ----------
    state : mapping
        The file's content.
    source : str
        Name for messages.
    run : str
        Name of the run: its `run_id`, or the `chain_id` that its checkpoints share.
    checkpoints : bool
        A row an evaluation instead of one row.

    Raises
    ------
    RunLogError
        For a history that is not one of steps.
    """
    history = _history(cast(list[Any], state["log_history"]), source)
    base = {name: state[name] for name in _SETTINGS if state.get(name) is not None}
    base |= _trial(state)
    if checkpoints:
        rows = [
            {"run_id": f"{run}@{step:.0f}", "chain_id": run, **base, **_at(history, step)}
            for step in history.evaluations
        ]
        measured = {"train_loss"}
    else:
        rows = [{"run_id": run, **base, **_whole(history, state, source)}]
        measured = {name for name in rows[0] if name not in base}
    notes = _notes(history, source, rows, checkpoints)
    table = from_records(enumerate(rows), source, notes=notes)
    return replace(table, measured=frozenset(measured))


def _history(entries: list[Any], source: str) -> _History:
    history = _History()
    for at, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise RunLogError(f"{source}: log_history[{at}] = {show(entry)} is not an object.")
        row = cast(Mapping[str, Any], entry)
        step = _number(row.get("step"), f"{source}: log_history[{at}].step")
        if not math.isfinite(step):
            raise RunLogError(f"{source}: log_history[{at}] has no step; it has {_some(row)}.")
        if any(name.startswith("eval_") for name in row):
            _evaluated(history, step, row)
        elif "train_loss" in row:
            history.summary = row
        else:
            if "loss" in row:
                history.train_loss.append((step, row["loss"]))
            history.unread |= dict.fromkeys(n for n in row if n not in _PLACE and n != "loss")
    return history


def _evaluated(history: _History, step: float, row: Mapping[str, Any]) -> None:
    """Keep an evaluation: data sets of one step are joined, a second score there is not read."""
    kept = history.evaluations.setdefault(step, {})
    for name, value in row.items():
        if name.endswith(_TIMINGS):
            history.unread[name] = None
        elif name not in kept:
            kept[name] = value
        elif name not in _PLACE:
            history.again.append(f"{name} at step {step:g}")


def _trial(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a trial of a hyper-parameter search, as covariates."""
    trial = state.get("trial_params")
    if not isinstance(trial, Mapping):
        return {}
    return {name: value for name, value in cast(Mapping[str, Any], trial).items()}


def _at(history: _History, step: float) -> dict[str, Any]:
    """Return the fields of one checkpoint."""
    row = history.evaluations[step]
    trained = [loss for at, loss in history.train_loss if at <= step]
    out: dict[str, Any] = {"steps": step, "epoch": row.get("epoch")}
    if row.get("num_input_tokens_seen"):  # 0 says that tokens were not counted
        out["tokens"] = row["num_input_tokens_seen"]
    if trained:
        out["train_loss"] = trained[-1]
    return out | {_field(name): value for name, value in row.items() if name not in _PLACE}


def _field(name: str) -> str:
    bare = name.removeprefix("eval_")
    return bare if bare in _SCORES else name


def _whole(history: _History, state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the fields of the run: its end, its last evaluation and its best one."""
    steps = list(history.evaluations)
    last = max(steps, default=None)
    row = {} if last is None else _at(history, last)
    if last is not None:
        row["eval_step"] = last
    row["steps"] = state["global_step"]
    row["epoch"] = state.get("epoch")
    if state.get("num_input_tokens_seen"):
        row["tokens"] = state["num_input_tokens_seen"]
    if history.train_loss:
        row["train_loss"] = history.train_loss[-1][1]
    for name, given in (("mean_train_loss", "train_loss"), ("wall_s", "train_runtime")):
        if given in history.summary:
            row[name] = history.summary[given]
    if state.get("total_flos"):
        row["total_flos"] = state["total_flos"]
    best = _best(history, state, source)
    if best is not None:
        place = ("epoch", "train_loss", "tokens", "steps")
        there = {f"best_{n}": v for n, v in _at(history, best).items() if n not in place}
        row |= {"best_step": best, **there}
    return row


def _best(history: _History, state: Mapping[str, Any], source: str) -> float | None:
    chosen = _number(state.get("best_global_step"), f"{source}: best_global_step")
    if chosen in history.evaluations:
        return chosen
    losses = {
        step: _number(row.get("eval_loss"), f"{source}: eval_loss at step {step:g}")
        for step, row in history.evaluations.items()
    }
    found = {step: loss for step, loss in losses.items() if not math.isnan(loss)}
    return min(found, key=lambda step: found[step]) if found else None


def _number(value: object, what: str) -> float:
    try:
        return number_of(value)
    except ValueError as problem:
        raise RunLogError(f"{what} = {show(value)} {problem}") from None


def _notes(
    history: _History, source: str, rows: list[dict[str, Any]], checkpoints: bool
) -> list[Note]:
    told = f"{source}: read as a trainer's state"
    if not history.evaluations:
        words = "it logged no evaluation, so no row has a score"
        if rows and "train_loss" in rows[0]:
            words += "; the training loss is one if you say so: columns={'loss': 'train_loss'}"
        return [Note("trainer_state", "warning", f"{told}; {words}.")]
    mapped = [
        f"{name} -> {_field(name)}"
        for name in dict.fromkeys(n for row in history.evaluations.values() for n in row)
        if name not in _PLACE and _field(name) != name
    ]
    steps = list(history.evaluations)
    words = f"; {', '.join(mapped)}" if mapped else ""
    words += "; the logged loss -> train_loss" if history.train_loss else ""
    if checkpoints:
        words += f"; {len(steps)} checkpoints are rows, and one chain_id makes them one cluster"
    else:
        words += f"; scores are of the last of {len(steps)} evaluations, at step {max(steps):g}"
        best = rows[0].get("best_step")
        if best is not None and best != max(steps):
            words += f", and best_... are those of step {best:g}"
        words += "; checkpoints=True makes each a row"
    notes = [Note("trainer_state", "info", f"{told}{words}.")]
    if history.unread:
        left = ", ".join(history.unread)
        notes.append(Note("not_read", "info", f"{source}: not read: {left}."))
    if history.again:
        sentence = (
            f"{source}: evaluated again at the same step, perhaps of a reloaded best model; the "
            f"first is read, not {', '.join(history.again[:3])}"
            f"{f' and {len(history.again) - 3} more' if len(history.again) > 3 else ''}."
        )
        notes.append(Note("evaluated_again", "warning", sentence))
    return notes


def _some(row: Mapping[str, Any]) -> str:
    return ", ".join(show(name) for name in list(row)[:6]) or "nothing"
