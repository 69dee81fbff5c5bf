"""The labelled texts of a configuration: task, pool, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config import Data, hash_of
from .examples import Example, drop_near_duplicates, nested_order, stratified_split
from .headlines import headline_splits, headline_task
from .load import load_examples
from .task import Task
from .traces import read_traces

__all__ = ["Dataset", "load_data"]


@dataclass(frozen=True)
class Dataset:
    """A task and its examples; no text is in two parts.

    ``others`` are of the file and in no part; ``notes`` say which columns were taken and what was
    left out.
    """

    task: Task
    pool: list[Example]
    validation: list[Example]
    test: list[Example]
    notes: tuple[str, ...] = ()
    others: tuple[Example, ...] = ()

    @property
    def identity(self) -> str:
        """Name the content: other texts, labels or rationales have another name."""
        parts = (self.pool, self.validation, self.test)
        return hash_of([[[e.text, e.label, e.rationale] for e in part] for part in parts])

    def chosen(self, n: int, seed: int) -> list[int]:
        """Return the places in the pool of n examples; of one seed, fewer are the first of more."""
        if n > len(self.pool):
            raise ValueError(f"{n} examples are asked for, but the pool has {len(self.pool)}.")
        return nested_order(self.pool, seed)[:n].tolist()


def load_data(data: Data) -> Dataset:
    """Generate or read the examples.

    A file's near-duplicates are dropped before it is split by class.

    Raises
    ------
    ValueError
        If there are too few examples, or the columns of a file leave doubt.
    """
    dataset = _headlines(data) if data.source == "headlines" else _file(data)
    if data.traces is None:
        return dataset
    others = (*dataset.validation, *dataset.test, *dataset.others)
    traces = read_traces(
        data.traces, dataset.task, dataset.pool, others=others, wrong=data.wrong or "keep"
    )
    if len(traces.examples) < data.train:
        raise ValueError(
            f"{data.traces} has {len(traces.examples)} usable traces of the pool's "
            f"{len(dataset.pool)} examples ({traces.counts}); data.train asks for {data.train}."
        )
    note = f"{Path(data.traces).name}: {traces.counts}."
    if traces.passed:
        note += f" {traces.passed} rows of examples outside the pool were passed over."
    return replace(dataset, pool=traces.examples, notes=(*dataset.notes, note))


def _headlines(data: Data) -> Dataset:
    parts = headline_splits(_sizes(data), imbalance=data.imbalance, rng=data.seed)
    return Dataset(headline_task(), parts["train"], parts["validation"], parts["test"])


def _file(data: Data) -> Dataset:
    loaded = load_examples(data.source, data.text, data.label)
    distinct = drop_near_duplicates(loaded.examples)
    split = stratified_split(distinct.kept, _sizes(data), data.seed, group=data.group)
    task = Task(Path(data.source).stem, loaded.labels, data.instruction)
    against = sum(twin.label != kept.label for twin, kept in distinct.removed)
    other = f", {against} of them with another label than the one that was kept" if against else ""
    dropped = f"{distinct.n_removed} near-duplicates were left out{other}."
    notes = (*loaded.notes, dropped, *split.notes, *_shared(split["train"], split["test"]))
    taken = {id(example) for part in split.parts.values() for example in part}
    others = tuple(example for example in loaded.examples if id(example) not in taken)
    return Dataset(task, split["train"], split["validation"], split["test"], notes, others)


def _shared(pool: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Say how much of the test set may be known by its templates."""
    known = {example.template for example in pool} - {None}
    n = sum(example.template in known for example in test)
    if n == 0:
        return []
    return [
        f"{n} of {len(test)} test examples are of a template that the pool has too: a student may "
        "know them by heart. Write data.group: template to keep templates apart."
    ]


def _sizes(data: Data) -> dict[str, int]:
    return {"train": data.pool, "validation": data.validation, "test": data.test}
