"""All that a log says, section by section; what cannot be answered says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import scaling_laws as sl
from scaling_laws.decide import Result

from .claims import ask
from .following import Following, second_seeds
from .laws import Held, Outcome, read_law
from .noise import arms, run_noise, taught_apart
from .parts import GENERAL, GRID, LEVEL, TASK, Parts, read
from .retention import alone, gaps, half_points, knees, table_of
from .rule import RULE, Finding
from .show import Section

__all__ = ["METRICS", "sections"]

METRICS = (TASK, "task_nll", GENERAL, "general_kl")
"""Metrics with a law of their own."""


def sections(
    path: str | Path,
    metrics: Sequence[str] = METRICS,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Section]:
    """Return all that a log says.

    Raises
    ------
    RunLogError
        For a file that is no log.
    """
    parts = read(path)
    noise = run_noise(parts)
    outcomes: dict[str, Outcome] = {}
    smallest: dict[str, Held | str] = {}
    out = [_counts(parts), _noise(parts, noise)]
    for metric in metrics:
        progress(f"{metric}: law")
        try:
            one = read_law(parts, metric)
        except ValueError as why:
            out.append(Section(f"Law of {metric}", [f"None: {why}"]))
            continue
        progress(f"{metric}: hold-out")
        held = {axis: _held(one, axis) for axis in ("examples", "kept")}
        outcomes[metric], smallest[metric] = one, held["kept"]
        out += [_law(one), _held_out(metric, held), _by_chain(one, progress)]
    progress("retention and findings")
    out += [_retention(outcomes, parts), _findings(ask(outcomes, smallest, parts), outcomes)]
    return [*out, _arms(parts, noise), _next(outcomes, parts)]


# --- rows and noise -------------------------------------------------------------------------------
def _counts(parts: Parts) -> Section:
    frame, done = parts.log.frame, parts.done.frame
    failed = frame[frame["status"] == "failed"]
    students = parts.students.frame
    chains = students["chain_id"].nunique() if "chain_id" in students else 0
    lines = [
        f"{parts.log.source}: {len(frame)} rows accepted, {len(parts.log.rejections)} rejected, "
        f"{len(failed)} of a failed attempt. The grid has {len(students)} distilled students in "
        f"{chains} chains, kept {_listed(parts.levels('kept'))}, "
        f"examples {_listed(parts.levels('examples'))}.",
        *(f"Failed: {row['run_id']}: {row['error']}" for _, row in failed.iterrows()
          if "error" in failed and "run_id" in failed),
    ]  # fmt: skip
    keys = ["phase", "format", "schedule", "method", "origin", "extra"]
    counted = {"rows": ("kept", "size")}
    if "chain_id" in done:
        counted["chains"] = ("chain_id", "nunique")
    kinds = done.groupby(keys, dropna=False, sort=False).agg(**counted).reset_index().fillna("")
    cost, told = _cost(parts)
    adapted = done[done["phase"] == "teacher"]
    scores = [m for m in parts.done.metrics if adapted[m].notna().any()]
    alike = adapted.groupby(["format", *scores], dropna=False, sort=False)
    teacher = alike.size().rename("rows").reset_index()
    tables = {"rows": kinds, "teacher": teacher, "students": _students(parts), "cost": cost}
    return Section("Rows and cost", [*lines, told], tables)


def _students(parts: Parts) -> pd.DataFrame:
    """Return a row for each student with its scores; ``arm`` says what is not as in the grid."""
    frame = parts.done.frame
    rows = frame[frame["phase"] == "distilled"]
    usual = {k: v for k, v in GRID.items() if k not in ("phase", "format")}
    arm = [" ".join(str(row[k]) for k, v in usual.items() if row[k] != v)
           for _, row in rows[list(usual)].iterrows()]  # fmt: skip
    rows = rows.assign(arm=arm).astype({"examples": "Int64", "seed": "Int64"})
    scores = [n for n in (*METRICS, "task_accuracy", "task_unparsed", "wall_s") if n in rows]
    order = ["arm", "format", "examples", "seed", "kept"]
    table = rows[["format", "arm", "examples", "seed", "kept", *scores]]
    return table.sort_values(order, ascending=[True, True, True, True, False], ignore_index=True)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.3g}" if v < 1 else f"{v:g}" for v in values) or "none"


def _cost(parts: Parts) -> tuple[pd.DataFrame, str]:
    """Return hours by phase and format, NaN where no row of them has any.

    Chains share a teacher, which counts once each time that it was adapted: its stage is made anew
    where a sitting did not find that of the one before.
    """
    known = {"wall_s": "wall hours", "cpu_s": "CPU hours", "gpu_hours": "GPU hours"}
    frame = parts.done.frame
    columns = [c for c in known if c in frame and frame[c].notna().any()]
    if not columns:
        return pd.DataFrame(), "No row has its seconds."
    same = [c for c in ("phase", "params", "steps", "tokens", *columns) if c in frame]
    rows = frame.dropna(subset=columns, how="all")
    # Chains share the teacher, and the first student that is pruned from it.
    rows = rows[(rows["phase"] == "distilled") | ~rows.duplicated(same)]
    format = rows["format"].where(rows["phase"] != "teacher", "")
    table = rows.groupby(["phase", format], sort=False)[columns].sum(min_count=1)
    table = table.assign(rows=rows.groupby(["phase", format], sort=False).size())
    for column in columns:
        table[column] = table[column] / (1.0 if column == "gpu_hours" else 3600.0)
    total = ", ".join(f"{table[c].sum():.2f} {known[c]}" for c in columns)
    lacks = ", ".join(words for c, words in known.items() if c not in columns)
    said = f"Cost of making models, without evaluating them: {total}"
    said += f" (the log has no {lacks})." if lacks else "."
    unknown = rows[columns].isna()
    for column in unknown.columns[unknown.any()]:
        kinds = ", ".join(rows["phase"][unknown[column]].unique())
        n = int(unknown[column].sum())
        said += f" The {known[column]} of {n} rows ({kinds}) are unknown and in no sum."
    return table.rename(columns=known).reset_index(), said


def _noise(parts: Parts, noise: pd.DataFrame) -> Section:
    title = "Noise of a run"
    if not len(noise):
        return Section(title, ["Not decidable: no configuration was run with two seeds."])
    said = (
        "Standard deviation between runs that differ in their seed alone, at each size, with its "
        f"{100 * LEVEL:g} % interval (chi-squared); log: of the logarithm. Evaluation noise is in "
        "it, less what a common test set takes out."
    )
    lines = [said]
    cells, apart = taught_apart(parts)
    if apart:
        lines.append(
            f"Of {cells} configurations with two seeds {apart} had teachers that score apart, "
            "adapted anew: that is in this noise too."
        )
    shares = parts.students.noise(by=["format", "examples", "kept"])
    columns = ["metric", "source", "sd", "share", "count"]
    return Section(title, lines, {"noise": noise, "noise_shares": shares[columns]})


# --- laws -----------------------------------------------------------------------------------------
def _law(one: Outcome) -> Section:
    choice, metric = one.choice, one.metric
    figures: dict[str, Callable[[], Any]] = {}
    if "examples" in one.known:
        figures[f"{metric}_examples"] = partial(
            sl.plot.learning_curve, one.forecast, sl.plot.blank(170)
        )
    if "examples" in one.known and "kept" in one.known:
        figures[f"{metric}_examples_smallest"] = partial(
            sl.plot.learning_curve, one.forecast, sl.plot.blank(170),
            at={"kept": one.known["kept"][0]},
        )  # fmt: skip
    if "kept" in one.known:
        figures[f"{metric}_kept"] = partial(sl.plot.degradation, one.forecast, sl.plot.blank(170))
    said = {n.sentence for n in choice.best.notes}
    lines = [n.sentence for n in choice.notes if n.sentence not in said]
    table = choice.best.parameters.reset_index(names="parameter")
    return Section(
        f"Law of {metric}", [*lines, repr(choice.best)],
        {f"{metric}_forms": choice.frame.reset_index()}, figures,
        {f"{metric}_parameters": table},
    )  # fmt: skip


def _held(one: Outcome, axis: str) -> Held | str:
    try:
        return one.hold_out(axis)
    except ValueError as why:
        return str(why)


def _held_out(metric: str, held: Mapping[str, Held | str]) -> Section:
    lines, tables, figures = [], {}, {}
    for axis, found in held.items():
        words = "most examples" if axis == "examples" else "smallest students"
        if isinstance(found, str):
            lines.append(f"The {words} were not held out: {found}")
            continue
        h = found.forecast
        left = f"; without {', '.join(found.left_out)}" if found.left_out else ""
        lines.append(
            f"The {words} held out: {len(h.frame)} rows from {len(h.fitted.training_index)}, "
            f"{100 * h.level:g} % intervals of one {h.interval}{left}."
        )
        tables[f"{metric}_holdout_{axis}"] = found.table
        figures[f"{metric}_holdout_{axis}"] = partial(sl.plot.holdout, h)
    return Section(f"Hold-out of {metric}", lines, tables, figures)


def _by_chain(one: Outcome, progress: Callable[[str], None]) -> Section:
    title = f"Coverage of {one.metric} by chains"
    rows, failed = one.by_chain(progress)
    lines = [f"Without {chain}: {why}" for chain, why in failed.items()]
    if not len(rows):
        return Section(title, ["Not decidable: no chain could be left out.", *lines])
    share = rows.groupby("chain")["covered"].mean()
    n = len(share)
    error = f", standard error over chains {share.std(ddof=1) / n**0.5:.3f}" if n > 1 else ""
    said = (
        f"Each chain forecast from the others: {int(rows['covered'].sum())} of {len(rows)} rows of "
        f"{n} chains, {rows['covered'].mean():.3f}, inside their {100 * LEVEL:g} % intervals"
        f"{error}."
    )
    by = rows.groupby("kept")["covered"].agg(["sum", "count"]).reset_index()
    by = by.rename(columns={"sum": "inside", "count": "rows"})
    quiet = {f"{one.metric}_chains": rows}
    return Section(title, [said, *lines], {f"{one.metric}_coverage": by}, quiet=quiet)


# --- questions ------------------------------------------------------------------------------------
def _retention(outcomes: Mapping[str, Outcome], parts: Parts) -> Section:
    halves = half_points(outcomes, parts)
    lines, figures, tables = [], {}, {}
    try:
        fitted, single = alone(parts)
        halves |= {f"{k}, of the size alone with the teacher": v for k, v in single.items()}
        lines += [f"Size alone: {n.sentence}" for n in fitted.notes if n.severity == "warning"]
        figures["collapse"] = lambda: sl.plot.degradation(fitted, sl.plot.blank(170))
    except ValueError as why:
        lines.append(f"No law of the size alone: {why}")
    bends, apart = knees(outcomes, parts), gaps(outcomes, parts)
    for what, found, names in (
        ("half_points", halves, ("kept", "low", "high", "never")),
        ("divergence", apart, ("kept", "difference", "low", "high", "lower")),
    ):
        tables[what] = table_of(found, names).reset_index(names="of")
    for name, found in {**halves, **bends, **apart}.items():
        kind = "Knee of" if name in bends and found is bends[name] else ""
        said = found.answer if isinstance(found, Result) else f"not decidable: {found}"
        lines.append(" ".join(w for w in (kind, f"{name}:", said) if w))
    if {TASK, GENERAL} <= set(outcomes):
        pair = (outcomes[TASK].forecast, outcomes[GENERAL].forecast)
        figures["divergence"] = partial(sl.plot.divergence, *pair)
    return Section("Half points, knee, divergence", lines, tables, figures)


def _findings(found: Sequence[Finding], outcomes: Mapping[str, Outcome]) -> Section:
    rows = [(one.name, c.what, c.estimate, c.low, c.high, c.answer, c.said)
            for one in found for c in one.claims]  # fmt: skip
    columns = ["finding", "claim", "estimate", "low", "high", "answer", "said"]
    figures = {}
    if GENERAL in outcomes:
        one = outcomes[GENERAL]
        known = one.known.get("format", [])
        for f in (f for f in known if f != "label" and "label" in known):
            figures[f"{GENERAL}_{f}_label"] = partial(
                sl.plot.format_difference, one.forecast, f, "label", sl.plot.blank(170)
            )
    lines = [f"Rule. {RULE}", *map(str, found)]
    quiet = {"claims": pd.DataFrame(rows, columns=columns)}
    return Section("The paper's findings", lines, figures=figures, quiet=quiet)


def _arms(parts: Parts, noise: pd.DataFrame) -> Section:
    table, missing = arms(parts, noise)
    said = (
        "Differences of runs alike but for one thing, at each size, with the "
        f"{100 * LEVEL:g} % interval that the noise of a run gives: better or worse where it "
        "leaves out 0. A difference of logarithms is a share: .05 is 5 %."
    )
    lines = [said, *(f"{arm}: not decidable, {why}" for arm, why in missing.items())]
    if not len(noise):
        lines.append("No interval: no configuration was run with two seeds.")
    return Section("Side arms", lines, {"arms": table})


def _next(outcomes: Mapping[str, Outcome], parts: Parts) -> Section:
    title = "What next"
    if TASK not in outcomes:
        return Section(title, [f"Not decidable: there is no law of {TASK}."])
    try:
        found = second_seeds(outcomes[TASK])
    except ValueError as why:
        return Section(title, [f"Not decidable: {why}"])
    if found is None:
        return Section(title, ["Every configuration of the grid has a second seed."])
    return Section(title, _proposed(found, parts), {"next_chains": found.chains})


def _proposed(found: Following, parts: Parts) -> list[str]:
    first = found.chains.iloc[0]
    n = len(found.proposal.frame)
    lines = [
        f"Second seeds, for {n} students of {len(found.chains)} chains that have one. "
        f"{found.proposal.question} {found.proposal.answer}",
        f"First is the chain {first['format']} n{first['examples']}, for its student of "
        f"{first['kept']:.3g} kept: alone it removes {first['reduction']:.0%} of the variance of "
        f"these scores, and {first['left']:.0%} are left after it. A chain makes students of all "
        "sizes; each stands where the first of them is proposed.",
        f"The cost of a run is {found.cost}. What scoring takes is in no row: where it is most of "
        "the time, the places of runs that cost the same (place_alike) are nearer to the truth.",
        *(note.sentence for note in found.proposal.notes),
    ]
    students = parts.students.frame
    if "chain_id" in students and students["chain_id"].astype(str).str.startswith("small-").all():
        lines.append(f"These chains, in this order: experiments.sweep small {found.option}")
    return lines
