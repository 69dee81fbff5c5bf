"""What a report rests on: forms, forecast, hold-out, what-if and decisions, before any markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws import decide
from scaling_laws.candidates import admissible_forms, factors_of
from scaling_laws.cost import Serving, Shape
from scaling_laws.decide import Result
from scaling_laws.decide.pruned import Pruning
from scaling_laws.forecast import Forecast
from scaling_laws.laws import Law
from scaling_laws.metrics import Metric
from scaling_laws.reporting.extent import Extent, extent_of
from scaling_laws.reporting.program import Untold
from scaling_laws.reporting.replay import NUMBERS, Replay, replay_of
from scaling_laws.reporting.served import Served, served_of
from scaling_laws.runs import Note, RunLog
from scaling_laws.validation import Choice, Holdout, choose, holdout

__all__ = ["Asked", "Findings", "Outcome", "gather"]

# One hardest level in so many is held out.
_HELD = 3
# Sizes of students that a front is asked of.
_STUDENTS = 24
# Axes that say how large a student is.
_SIZES = ("kept", "params")


@dataclass(frozen=True)
class Asked:
    """What a report was asked for; see `scaling_laws.report`."""

    metrics: Sequence[str | Metric] | None = None
    laws: Sequence[Law] | None = None
    by: Sequence[str] | None = None
    at_least: Mapping[str, float] | None = None
    at_most: Mapping[str, float] | None = None
    confidence: float = 0.9
    level: float = 0.9
    serving: Serving | None = None
    shape: Shape | None = None
    pruning: Pruning | None = None
    rng: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is known of one metric.

    Attributes
    ----------
    choice : Choice
    held : Holdout or str
        Or why there is none.
    extent : Extent
        How far its axes go, and which levels have runs.
    replay : Replay or str
        What the panel repeats, or why it cannot.
    """

    choice: Choice
    held: Holdout | str
    extent: Extent
    replay: Replay | str

    @property
    def forecast(self) -> Forecast:
        """The mixture of forms."""
        return self.choice.forecast

    @property
    def metric(self) -> Metric:
        """The metric."""
        return self.choice.best.metric


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that a report shows.

    Attributes
    ----------
    log : RunLog
    asked : Asked
    factors : mapping of str to tuple of str
        Levels of each factor in the rows that were fitted.
    outcomes : mapping of str to Outcome
        By metric, the first one leading.
    point : mapping
        Where questions are asked that need a place: most data, the best level of each factor.
    decisions : mapping of str to Result
        By a title of a few words.
    open : mapping of str to str
        Metrics and questions without an answer, with the reason.
    served : Served or None
        Latency and price.
    """

    log: RunLog
    asked: Asked
    factors: Mapping[str, tuple[str, ...]]
    outcomes: Mapping[str, Outcome]
    point: Mapping[str, Any]
    decisions: Mapping[str, Result]
    open: Mapping[str, str]
    served: Served | None

    @property
    def first(self) -> Outcome:
        """The leading metric's."""
        return next(iter(self.outcomes.values()))


def gather(log: RunLog, asked: Asked, progress: Callable[[str], None]) -> Findings:
    """Fit, choose, hold out, ask.

    Raises
    ------
    ValueError
        If no metric can be fitted; the sentence lists why for each.
    """
    names = _metrics(log, asked)
    by = _factors(log, names, asked)
    failed: dict[str, str] = {}
    fitted: dict[str, tuple[Choice, Holdout | str]] = {}
    for name in names:
        try:
            fitted[name] = _fitted(log, name, asked, by, progress)
        except ValueError as why:
            failed[name] = str(why)
    if not fitted:
        told = " ".join(f"{name}: {why}" for name, why in failed.items())
        raise ValueError(
            f"report: nothing to report of {log.source} by {', '.join(by) or 'no factor'} (by= "
            f"names others). {told}"
        )
    factors = _levels(by, [choice for choice, _ in fitted.values()])
    chosen: dict[str, Outcome] = {}
    left = NUMBERS
    for name, (choice, held) in fitted.items():
        progress(f"{name}: what-if")
        chosen[name] = one = _outcome(choice, held, factors, asked, left)
        left -= one.replay.numbers if isinstance(one.replay, Replay) else 0
    point = _point(chosen)
    served = None
    if asked.serving is not None and asked.shape is not None:
        progress("latency and price")
        try:
            served = served_of(asked.serving, asked.shape, log, chosen, factors, asked.pruning)
        except ValueError as why:
            failed["Latency and price"] = str(why)
    decisions: dict[str, Result] = {}
    for words, question in _questions(asked, chosen, point, served):
        progress(words)
        try:
            found = question()
            found.why  # noqa: B018  (refits: what fails must fail here)
        except ValueError as why:
            failed[words] = str(why)
        else:
            decisions[words] = found
    return Findings(log, asked, factors, chosen, point, decisions, failed, served)


def _metrics(log: RunLog, asked: Asked) -> list[str]:
    """Return the asked metrics; by default the first in-domain one (else loss) and general one."""
    known = log.schema.metrics
    if asked.metrics is not None:
        return [m.name if isinstance(m, Metric) else m for m in asked.metrics]
    roles = {role: [n for n in log.metrics if known[n].role == role]
             for role in ("in-domain", "loss", "general")}  # fmt: skip
    first = (roles["in-domain"] or roles["loss"])[:1]
    return [*first, *roles["general"][:1]]


def _factors(log: RunLog, names: Sequence[str], asked: Asked) -> tuple[str, ...]:
    """Return the asked factors; by default all that set the scored rows apart."""
    by = asked.by
    if asked.laws is not None:
        by = tuple(dict.fromkeys(name for law in asked.laws for name in law.by))
    if by is None:
        known = [name for name in names if name in log.metrics]
        return factors_of(log.select(log.frame[known].notna().any(axis=1).to_numpy()))
    for name in by:
        if name not in log.frame:
            raise ValueError(f"report: by = {name!r} is no column of {log.source}.")
    return tuple(by)


def _levels(by: Sequence[str], choices: Sequence[Choice]) -> dict[str, tuple[str, ...]]:
    """Return the levels of each factor in the fitted rows of all metrics."""
    frames = [choice.best.problem.frame for choice in choices]
    return {
        name: tuple(sorted({str(v) for f in frames if name in f for v in f[name]})) for name in by
    }


def _fitted(
    log: RunLog, name: str, asked: Asked, by: Sequence[str], progress: Callable[[str], None]
) -> tuple[Choice, Holdout | str]:
    """Return the forms and their forecast, and a hold-out or why there is none."""
    if name not in log.metrics:
        raise ValueError(f"no row has a score; the log has {', '.join(log.metrics) or 'none'}.")
    rows = log.select(log.frame[name].notna().to_numpy())
    laws = list(asked.laws or admissible_forms(rows, by, name))
    progress(f"{name}: forms")
    choice = choose(laws, rows, name, rng=asked.rng)
    progress(f"{name}: hold-out")
    axis = choice.rolled.axis
    levels = int(choice.best.problem.frame[axis].nunique())
    try:
        held: Holdout | str = holdout(
            laws, rows, name, by=axis, leave=max(1, levels // _HELD), level=asked.level,
            rng=asked.rng,
        )  # fmt: skip
    except ValueError as why:
        held = str(why)
    return choice, held


def _outcome(
    choice: Choice,
    held: Holdout | str,
    factors: Mapping[str, tuple[str, ...]],
    asked: Asked,
    most: int,
) -> Outcome:
    own = {n: factors[n] for n in choice.best.law.by}
    extent = extent_of(choice.best, own)
    try:
        replay: Replay | str = replay_of(choice.forecast, extent, asked.level, most, asked.rng)
    except Untold as why:
        replay = str(why)
    return Outcome(choice, held, extent, replay)


def _point(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Return most data and, of the levels with runs of every metric, those best there.

    Raises
    ------
    ValueError
        If no combination of levels has runs of every metric.
    """
    first = next(iter(outcomes.values()))
    extent, better = first.extent, 1.0 if first.metric.direction == "higher" else -1.0
    most = {s.name: s.seen[1] for s in extent.scales}
    levels = extent.combinations
    for one in outcomes.values():
        if set(one.extent.factors) <= set(levels):
            levels = levels[one.extent.has_runs(levels)]
    if not len(levels):
        raise ValueError(
            f"report: no levels of {', '.join(extent.factors)} have runs of all of "
            f"{', '.join(outcomes)}; name one with metrics=, or fewer factors with by=."
        )
    scores = first.forecast.predict(levels.assign(**most), interval=None)["estimate"]
    best = levels.iloc[int(np.argmax(better * scores.to_numpy(dtype=float)))]
    return {**most, **{str(name): str(level) for name, level in best.items()}}


def _questions(
    asked: Asked,
    outcomes: Mapping[str, Outcome],
    point: Mapping[str, Any],
    served: Served | None,
) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Yield what the log and the targets let one ask."""
    fitted = {name: one.forecast for name, one in outcomes.items()}
    first = next(iter(outcomes.values()))
    axes = {s.name for s in first.extent.scales}
    targets: dict[str, Any] = {
        "at_least": _known(asked.at_least, fitted), "at_most": _known(asked.at_most, fitted),
        "confidence": asked.confidence,
    }  # fmt: skip
    aimed = any(targets[side] for side in ("at_least", "at_most"))
    without = {k: v for k, v in point.items() if k != "kept"}
    if "kept" in axes and aimed:
        serving = {} if served is None else {
            "serving": asked.serving, "shape": asked.shape, "pruning": asked.pruning,
        }  # fmt: skip
        yield "Smallest student", lambda: decide.smallest(fitted, **targets, **serving, **without)
    if "kept" in axes and served is not None:
        yield "Scores for their price", lambda: _front(fitted, first, served, point, asked.level)
    data = next((a for a in ("examples", "tokens") if a in axes), None)
    if data is not None and aimed:
        rest = {k: v for k, v in _smallest(first, point).items() if k != data}
        yield "Labels needed", lambda: decide.labels_needed(fitted, axis=data, **targets, **rest)
    for name, one in fitted.items():
        if any(s.name == "kept" for s in outcomes[name].extent.scales):
            yield f"Half of {name} lost", _half_point(one, without, asked.level)
            yield f"Safe pruning, {name}", _safe_range(one, without, asked)
    if "kept" in axes and len(fitted) > 1:
        yield (
            "Task against general skill",
            lambda: decide.divergence(fitted, level=asked.level, **without),
        )
    if data is not None:
        rest = {k: v for k, v in point.items() if k != data}
        yield "More labels", lambda: decide.marginal(fitted, axis=data, level=asked.level, **rest)
    yield "Next runs", lambda: _next_runs(first, point, asked.level)


def _front(
    fitted: Mapping[str, Forecast],
    first: Outcome,
    served: Served,
    point: Mapping[str, Any],
    level: float,
) -> Result:
    """Ask which students none beats in their scores and their price: sizes x levels with runs.

    Sizes are spread over those of the log, most data else.
    """
    at = served.scale.values
    low, high = served.scale.seen
    begin = min(int(np.searchsorted(at, low * (1 - 1e-9))), len(at) - 1)
    end = max(int(np.searchsorted(at, high * (1 + 1e-9))) - 1, begin)
    nodes = sorted({int(node) for node in np.linspace(begin, end, _STUDENTS).tolist()})
    told = first.extent.factors.get(served.factor or "", ())
    rows: list[dict[str, Any]] = []
    for _, levels in first.extent.combinations.iterrows():
        own = {str(name): str(level) for name, level in levels.items()}
        price = served.values["price"][told.index(own[served.factor]) if served.factor else 0]
        rows += [
            {**point, **own, "kept": float(at[node]), "price": float(price[node])} for node in nodes
        ]
    offered = pd.DataFrame(rows)
    known = offered[offered["price"].notna()]
    if not len(known):
        raise ValueError(f"no student can be served: {served.words}.")
    found = decide.pareto(fitted, known, level=level)
    out = len(offered) - len(known)
    left = f" {out} of {len(offered)} students can't be served and are left out." if out else ""
    said = f"Price: dollars for a million requests, the middle of its range.{left}"
    return replace(found, notes=(*found.notes, Note("cost", "info", said)))


def _next_runs(first: Outcome, point: Mapping[str, Any], level: float) -> Result:
    """Ask for the runs that tell most of the smallest student, for work that grows with its size.

    Candidates are the levels of the log, and twice its most data.
    """
    frame = first.choice.best.problem.frame
    levels: dict[str, list[Any]] = {}
    for scale in first.extent.scales:
        levels[scale.name] = sorted(set(frame[scale.name].astype(float)))
        if scale.name not in _SIZES:
            levels[scale.name].append(2 * scale.seen[1])
    axes = [s.name for s in first.extent.scales]
    places = pd.DataFrame(list(product(*levels.values())), columns=list(levels))
    candidates = first.extent.combinations.merge(places, how="cross")
    work = candidates[axes].prod(axis=1)
    found = decide.next_runs(
        first.forecast,
        candidates,
        question=_smallest(first, point),
        cost=work / work.max(),
        level=level,
    )
    said = f"Costs are {' x '.join(axes)}, as a share of that of the dearest candidate."
    return replace(found, notes=(*found.notes, Note("cost", "info", said)))


def _smallest(first: Outcome, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point at the log's smallest student."""
    least = {s.name: s.seen[0] for s in first.extent.scales if s.name in _SIZES}
    return {**point, **least}


def _known(given: Mapping[str, float] | None, fitted: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the targets; those of metrics that could not be fitted are no longer asked."""
    return {k: v for k, v in (given or {}).items() if k in fitted} or None


def _half_point(one: Forecast, point: Mapping[str, Any], level: float) -> Callable[[], Result]:
    return lambda: decide.half_point(one, level=level, **point)


def _safe_range(one: Forecast, point: Mapping[str, Any], asked: Asked) -> Callable[[], Result]:
    return lambda: decide.safe_range(one, confidence=asked.confidence, level=asked.level, **point)
