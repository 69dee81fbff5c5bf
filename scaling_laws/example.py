"""The log that comes with the library: real distillation runs of a small model."""

from __future__ import annotations

from pathlib import Path

from scaling_laws.runs import RunLog, read_runs

__all__ = ["load_example"]

_NAME = "smollm2-135m.jsonl"


def load_example() -> RunLog:
    """Return the log of real runs: SmolLM2-135M-Instruct, pruned and distilled on one narrow task.

    The task is to name which of 35 events a synthetic headline reports. A teacher is adapted to
    it; a chain prunes the teacher and teaches the student in turns, under labels or under reasoning
    traces too. A row is one model, named by its ``phase``:

    - ``teacher``: the whole model (``kept`` 1). Chains share it, so its scores stand in each; it
      was adapted twice, on two kinds of processors, and is not the same twice.
    - ``pruned``: a student before it is taught.
    - ``distilled``: a student after it, on ``examples`` labelled headlines in one ``format``. Laws
      are fitted to these.

    A run that ended without a model has no scores: ``status`` is failed, ``error`` says why.

    ``kept`` counts parameters outside the embedding. Scores, each with its standard error ``_se``
    and number of items ``_n``: on the task ``task_f1`` (macro-F1), ``task_accuracy``, ``task_nll``
    (nats) and ``task_brier``; of general knowledge ``quiz`` (four options, floor .25), its
    ``quiz_nll``, and ``general_kl`` (nats a token, from the base model, on general text).

    Returns
    -------
    RunLog
        A row a model, in the order in which they were made. More may come with a release; a row
        that is there stays as it is.

    Raises
    ------
    RunLogError
        If the installation lacks the file.

    Notes
    -----
    Source: this project's own runs, by ``experiments.grids.small``; ``experiments/README.md`` says
    how to repeat them, what they cost and what they tell.

    Examples
    --------
    >>> import scaling_laws as sl
    >>> runs = sl.load_example()
    >>> students = runs.select({"phase": "distilled"})
    >>> sorted({round(kept, 2) for kept in students.frame["kept"]})
    [0.16, 0.37, 0.57, 0.79]
    """
    return read_runs(_path())


def _path() -> Path:
    """Return the file: in the package, or in a checkout where the package's copy is made from."""
    package = Path(__file__).parent
    copy = package / "data" / _NAME
    return copy if copy.is_file() else package.parent / "experiments" / "results" / _NAME
