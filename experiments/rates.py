"""Learning rate and epochs of the small grid: ``python -m experiments.rates``.

One student of the teacher of `experiments.grids.small`, cut once and taught with each pair of
settings on the same few labels, then scored on the validation headlines, which no row of the grid
is scored on. With few examples the two settings stand in for each other: a rule is taken from this
table once and kept for all sizes.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from distill.config import Config
from distill.data import load_data
from distill.evaluate import evaluate
from distill.examples import Example
from distill.models import load_model, load_tokenizer, read_config
from distill.prune import Plan, Rounding, plan_chain
from distill.stages import Stages
from distill.steps import Made, Steps
from distill.student import make_accelerator
from distill.task import Task

from .grids import small

__all__ = ["rates"]


def rates(
    config: Config, learning_rates: list[float], epochs: list[float], kept: float
) -> pd.DataFrame:
    """Teach one student with each pair of settings, and score it on the validation examples.

    Parameters
    ----------
    config : Config
        Of a chain: teacher, format and number of examples. Its stages are shared with the grid's.
    learning_rates, epochs : list of float
    kept : float
        Size of the student, cut from the teacher in one step.

    Returns
    -------
    DataFrame
        A row a pair, in order: ``lr, epochs, steps, task_nll, task_nll_se, task_f1, task_f1_se,
        wall_s`` (seconds of the training).
    """
    data = load_data(config.data)
    stages = Stages(Path(config.out) / "stages", make_accelerator())
    steps = Steps(config, data, stages, bar=True)
    base = steps.given(config.model.teacher)
    teacher = base if config.adapt is None else steps.adapt(base)
    student = steps.prune(teacher, _plan(config, teacher, kept))
    rows = []
    for n, lr in product(epochs, learning_rates):
        asked = config.model_copy(
            update={"train": config.train.model_copy(update={"lr": lr, "epochs": n})}
        )
        taught = Steps(asked, data, stages, bar=True).teach(student, teacher)
        scores = _scores(asked, data.validation, data.task, taught)
        rows.append({"lr": lr, "epochs": n, "steps": taught.result["steps"], **scores,
                     "wall_s": taught.result["wall_s"]})  # fmt: skip
    return pd.DataFrame(rows)


def _plan(config: Config, teacher: Made, kept: float) -> Plan:
    prune = config.prune
    original = read_config(teacher.path)
    rounding = Rounding(**prune.round.model_dump())
    return plan_chain(
        original, (kept,), kept_of=prune.kept_of, split=prune.split, rounding=rounding
    )[0]


def _scores(config: Config, examples: list[Example], task: Task, made: Made) -> dict[str, float]:
    model = load_model(made.path, config.model.dtype)
    tokenizer = load_tokenizer(made.path, model)
    replies = 1 if config.supervision.format == "label" else None
    found = evaluate(
        model,
        tokenizer,
        task,
        examples,
        config.supervision.format,
        replies=replies,
        max_new_tokens=config.evaluate.tokens,
        batch_size=config.evaluate.batch,
    )
    names = ("task_nll", "task_nll_se", "task_f1", "task_f1_se")
    return {name: found.scores[name] for name in names}


def _listed(words: str, *default: float) -> Any:
    """Return an option that may be given several times; each call has a list of its own."""
    shown = " ".join(f"{value:g}" for value in default)
    return typer.Option(default_factory=lambda: list(default), show_default=shown, help=words)


def _main(
    out: Annotated[Path, typer.Option(help="Folder of the grid.")],
    teacher: Annotated[Path, typer.Option(help="Folder of SmolLM2-135M-Instruct.")],
    lr: Annotated[list[float], _listed("Learning rates.", 1e-4, 3e-4)],
    epochs: Annotated[list[float], _listed("Passes.", 1.0, 3.0)],
    examples: Annotated[int, typer.Option(help="Labels.")] = 256,
    kept: Annotated[float, typer.Option(help="Size of the student.")] = 0.58,
) -> None:
    """Print the table, and write it beside the grid's log."""
    grid = small(out, teacher)
    cells = [run.config for run in grid if run.config.data.train == examples]
    if not cells:
        known = sorted({run.config.data.train for run in grid})
        raise typer.BadParameter(f"--examples {examples}: the grid has {known}.")
    cell = cells[0]
    found = rates(cell, lr, epochs, kept)
    found.to_csv(out / "rates.csv", index=False)
    typer.echo(found.round(4).to_string(index=False))


if __name__ == "__main__":
    typer.run(_main)
