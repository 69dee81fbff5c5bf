"""Exports of experiment trackers: what W&B and MLflow wrote, under the names of the run log.

Only names that a tracker itself defines are changed; names that a person gave, such as those of
metrics, lose their prefix and nothing else. A note says all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .history import gather_history
from .objects import flat_columns, holds_objects
from .rules import is_missing
from .table import Cells, Note, Table, cells_of, show

__all__ = ["mapped"]


@dataclass(frozen=True)
class _Tracker:
    """The names that one tracker defines.

    Parameters
    ----------
    name : str
        Of the tool, for messages.
    nested : tuple of str
        Columns whose cells are objects in its API, in which the names below stand.
    prefixes : tuple of str
        In order: of two columns that share a short name the earlier takes it.
    scores : tuple of str
        The prefixes under which a run's results stand.
    fields : mapping
        Names that mean a field of the run log.
    measured, unread : tuple of str
        Covariates that are no part of a configuration; columns that say nothing of a run (a name
        that ends in a mark stands for all that begin with it).
    """

    name: str
    nested: tuple[str, ...]
    prefixes: tuple[str, ...]
    scores: tuple[str, ...]
    fields: Mapping[str, str]
    measured: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


_WANDB = _Tracker(
    "W&B",
    ("summary", "config"),
    ("summary.", "summary/", "config.", "config/"),
    ("summary.", "summary/"),
    {
        "id": "run_id", "ID": "run_id", "name": "run_id", "Name": "run_id",
        "state": "status", "State": "status",
        "_step": "steps", "_runtime": "wall_s", "Runtime": "wall_s",
    },
    ("name", "Name", "Notes", "notes", "User", "user", "Created", "created_at", "Tags"),
    tuple(
        prefix + name
        for prefix in ("", "summary.", "summary/", "config.", "config/")
        for name in ("_timestamp", "_wandb", "_wandb.", "_wandb/")
    ),
)  # fmt: skip
_MLFLOW = _Tracker(
    "MLflow",
    ("info", "data"),
    ("info.", "metrics.", "params.", "tags."),
    ("metrics.",),
    {"run_id": "run_id", "status": "status"},
    ("info.run_name", "tags.mlflow.runName"),
    (
        "inputs", "outputs", "tags.mlflow.",
        *(
            prefix + name
            for prefix in ("", "info.")
            for name in ("run_uuid", "experiment_id", "artifact_uri", "start_time", "end_time",
                         "lifecycle_stage", "user_id")
        ),
    ),
)  # fmt: skip

_STATES = {"finished": "ok", "failed": "failed", "crashed": "failed", "killed": "failed"}
_UNENDED = ("running", "pending", "scheduled")


def mapped(table: Table, asked: frozenset[str] = frozenset(), checkpoints: bool = False) -> Table:
    """Return the table under the names of the run log; as it is if no tracker wrote it.

    Parameters
    ----------
    table : Table
        As a reader made it.
    asked : frozenset of str
        Column names that the caller uses: those stay as they are.
    checkpoints : bool
        For the history of a run, a row a step instead of its last values.
    """
    tracker = _tracker(table)
    if tracker is None:
        return table
    inner = ("metrics", "params", "tags")  # lists in the REST API of MLflow
    flat, unread = flat_columns(table, tracker.nested, inner, bare=("data",))
    plan = _plan(flat, tracker, asked, unread)
    columns = {new: flat[old] for old, new in plan.names.items()}
    told = [f"{old} -> {new}" for old, new in plan.told.items()]
    unended = 0
    if "status" in columns and "status" not in asked:
        columns["status"], states = _statuses(columns["status"])
        told += [f"status {old} -> {new}" for old, new in states.items()]
        unended = sum(cell in _UNENDED for cell in columns["status"])
    out = replace(
        table,
        columns=columns,
        measured=table.measured | plan.measured,
        typed=table.typed and tracker is not _MLFLOW,  # its params are text in every format
        notes=(*table.notes, *_notes(table.source, tracker, plan, unread, told, unended)),
    )
    history = tracker is _WANDB and "steps" in columns and "_step" in plan.told
    return gather_history(out, checkpoints) if history else out


def _tracker(table: Table) -> _Tracker | None:
    """Return the tracker that wrote the table."""
    names = set(table.columns)
    for tracker in (_WANDB, _MLFLOW):
        if any(holds_objects(table.columns.get(name)) for name in tracker.nested):
            return tracker
    if {"run_id", "status"} & names and any(n.startswith(("metrics.", "params.")) for n in names):
        return _MLFLOW
    if any(name.startswith(_WANDB.prefixes) for name in names):
        return _WANDB
    if "_step" in names and {"_runtime", "_timestamp"} & names:
        return _WANDB
    return _WANDB if {"Name", "State", "Created"} <= names else None


@dataclass
class _Plan:
    """Old name -> new name, and what to say of it."""

    names: dict[str, str] = field(default_factory=dict[str, str])
    told: dict[str, str] = field(default_factory=dict[str, str])
    prefixed: dict[str, int] = field(default_factory=dict[str, int])
    clashes: list[str] = field(default_factory=list[str])
    measured: frozenset[str] = frozenset()


def _plan(
    columns: Mapping[str, Cells], tracker: _Tracker, asked: frozenset[str], unread: dict[str, str]
) -> _Plan:
    plan = _Plan()
    measured: set[str] = set()
    taken: set[str] = set()
    fields = _fields(columns, tracker, asked)
    plan.told = {old: new for old, new in fields.items() if old != new}
    for old in sorted(columns, key=lambda name: _rank(name, tracker)):
        prefix = next((p for p in tracker.prefixes if old.startswith(p) and old != p), "")
        short = old.removeprefix(prefix)
        if old in asked:
            new = old
        elif _is_unread(old, tracker):
            unread[old] = ""
            continue
        elif old in fields:
            new = fields[old]
        elif short in taken or short in fields.values():
            new = old
            if prefix:
                plan.clashes.append(old)
        else:
            new = short
            if prefix:
                plan.prefixed[prefix] = plan.prefixed.get(prefix, 0) + 1
        if old in tracker.measured or prefix in tracker.scores:
            measured.add(new)
        taken.add(new)
        plan.names[old] = new
    plan.names = {old: plan.names[old] for old in columns if old in plan.names}
    plan.measured = frozenset(measured)
    return plan


def _rank(name: str, tracker: _Tracker) -> int:
    """Names without a prefix come first, then by prefix."""
    at = (i for i, prefix in enumerate(tracker.prefixes, 1) if name.startswith(prefix))
    return next(at, 0)


def _is_unread(name: str, tracker: _Tracker) -> bool:
    if name in tracker.measured:
        return False
    return any(name == u or (u.endswith((".", "/")) and name.startswith(u)) for u in tracker.unread)


def _fields(
    columns: Mapping[str, Cells], tracker: _Tracker, asked: frozenset[str]
) -> dict[str, str]:
    """Return the columns that mean a field; the first of two for one field, if it is free."""
    found: dict[str, str] = {}
    for meant, target in tracker.fields.items():
        for prefix in ("", *tracker.prefixes):
            old = prefix + meant
            user = tracker is _MLFLOW and prefix not in ("", "info.")  # params.status is a person's
            user |= tracker is _WANDB and prefix != "" and not meant.startswith("_")
            if old not in columns or old in asked or user:
                continue
            free = target not in columns or target == old
            repeats = target == "run_id" and meant in ("name", "Name") and not _unique(columns[old])
            if free and target not in found.values() and not repeats:
                found[old] = target
    return found


def _unique(cells: Cells) -> bool:
    texts = [cell for cell in cells if not is_missing(cell)]
    return len(texts) == len({str(text) for text in texts})


def _statuses(cells: Cells) -> tuple[Cells, dict[str, str]]:
    """Return how the runs ended in the words of the run log, and which words were changed."""
    changed: dict[str, str] = {}
    out: list[object] = []
    for cell in cells:
        word = cell.strip() if isinstance(cell, str) else cell
        new = _STATES.get(word.lower(), word.lower()) if isinstance(word, str) else word
        if isinstance(word, str) and not is_missing(word) and new != word:
            changed[word] = str(new)
        out.append(new)
    return cells_of(out, len(cells)), changed


def _notes(
    source: str,
    tracker: _Tracker,
    plan: _Plan,
    unread: Mapping[str, str],
    told: Sequence[str],
    unended: int,
) -> list[Note]:
    words = [*told]
    words += [f"{prefix} left off {count} names" for prefix, count in plan.prefixed.items()]
    if plan.clashes:
        words.append(f"kept whole, as the short name is taken: {', '.join(plan.clashes)}")
    what = f": {'; '.join(words)}" if words else ""
    notes = [Note("export", "info", f"{source}: read as an export of {tracker.name}{what}.")]
    if unended:
        sentence = (
            f"{source}: {unended} run{'s' * (unended > 1)} had not ended; to leave out what is not "
            "final pass where=lambda f: f['status'].isin(['ok', 'failed'])."
        )
        notes.append(Note("not_ended", "warning", sentence))
    if unread:
        left = [f"{name} ({why})" if why else name for name, why in unread.items()]
        notes.append(Note("not_read", "info", f"{source}: not read: {', '.join(left)}."))
    names = set(plan.names.values())
    validation = [n for n in ("eval_loss", "eval/loss", "val_loss", "val/loss") if n in names]
    if "loss" in names and validation:
        sentence = (
            f"{source}: loss may be the training loss, as {validation[0]} is there too; for that "
            f"one pass columns={{'train_loss': 'loss', 'loss': {show(validation[0])}}}."
        )
        notes.append(Note("two_losses", "warning", sentence))
    return notes
