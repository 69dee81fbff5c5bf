"""Before any run: what a planned design will be able to say, by simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.decide.result import Result, View, Why
from scaling_laws.fitting import fit
from scaling_laws.forecast import Forecast
from scaling_laws.halfwild import NoInterval
from scaling_laws.laws import Law
from scaling_laws.metrics import Metric, get_metric
from scaling_laws.result import Fit
from scaling_laws.rolling import held_axis
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.study import Noise, counted_logs, simulate
from scaling_laws.uncertainty import as_generator
from scaling_laws.validation import choose
from scaling_laws.verdict import judge_problem

__all__ = ["design_power", "grid_for"]

Truth = Mapping[str, float | tuple[float, float]] | Fit
# A curve without noise is fitted to this, relative to its size, or the truth can't be moved.
_EXACT = 1e-5


def design_power(
    law: Law,
    design: pd.DataFrame,
    truth: Truth,
    noise: Noise | float,
    *,
    at: Mapping[str, Any],
    metric: str | Metric = "loss",
    axis: str | None = None,
    fitted: Law | Sequence[Law] | None = None,
    centre: pd.DataFrame | None = None,
    width: float | None = None,
    n: int = 200,
    level: float = 0.9,
    rng: Any = 0,
    progress: bool = True,
) -> Result:
    """Tell what a design will be able to say, before any of its runs is made.

    Logs are simulated from the truth, fitted and asked: how often the verdict is that there is a
    law, how wide the interval at a point is, and how often it holds the truth.

    Parameters
    ----------
    law : Law
        Of the truth.
    design : DataFrame
        A row a run: axes and factors, ``chain_id`` where errors accumulate.
    truth : mapping or Fit
        Printed parameters; a pair (low, high) is drawn evenly, logarithmically where both are
        positive. A Fit stands for its draws: what is known so far.
    noise : Noise or float
        A number is the run-to-run standard deviation.
    at : mapping
        The point whose score will be asked.
    axis : str, optional
        Whose verdict counts; default the data axis, else the one with most levels.
    fitted : Law or sequence of Law, optional
        What will be fitted, if not the true form; several are mixed by `choose`.
    centre : DataFrame, optional
        Design at whose geometric mean the amplitudes of `truth` stand, if not `design`.
    width : float, optional
        A wanted width of the interval of the mean.
    n : int
        Simulated logs; a share p has a standard error of ``sqrt(p (1 - p) / n)``.
    progress : bool
        Show a bar.

    Returns
    -------
    Result
        ``values``: ``p_law`` with ``p_law_se``, ``width`` (median), ``width_low``, ``width_high``
        (10 and 90 %), ``covered``, ``refused``, and ``p_width`` where a width is wanted. ``frame``:
        a row a log: verdict, estimate, low, high, width, truth.

    Raises
    ------
    ValueError
        If the truth lacks a parameter, or the design can't carry the fit at all.
    """
    if n < 1:
        raise ValueError(f"design_power: n = {n} is not 1 or more.")
    if width is not None and not width > 0:
        raise ValueError(f"design_power: width = {width} is not positive.")
    chosen = truth.metric if isinstance(truth, Fit) else get_metric(metric)
    source = as_generator(rng)
    draw = _truths(law, design, truth, chosen, centre, dict(at), source)
    model = law if fitted is None else fitted
    rows: list[dict[str, Any]] = []
    reasons: list[str] = []
    for _ in counted_logs(n, progress):
        values, exact = draw()
        log = simulate(law, design, values, noise, source, metric=chosen)
        seed = source.integers(0, 2**31, 1).tolist()[0]
        try:
            one = _fitted(model, log, chosen, seed)
        except ValueError as why:
            reasons.append(str(why))
            continue
        rows.append({**_asked(one, at, axis, level, seed), "truth": exact})
    if not rows:
        raise ValueError(f"design_power: the design can't carry the fit. {reasons[0]}")
    return _power(pd.DataFrame(rows), len(reasons), n, width, at, len(design), chosen, level)


def _fitted(law: Law | Sequence[Law], log: Any, metric: Metric, seed: int) -> Fit | Forecast:
    if isinstance(law, Law):
        return fit(law, log, metric, rng=seed)
    return choose(law, log, metric, rng=seed).forecast


def _asked(
    one: Fit | Forecast, at: Mapping[str, Any], axis: str | None, level: float, seed: int
) -> dict[str, Any]:
    best = one.best if isinstance(one, Forecast) else one
    along = axis or held_axis([best], None)
    verdict = judge_problem(best.problem, along, np.random.default_rng(seed))
    found = one.predict(dict(at), level=level).iloc[0]
    low, high = float(found["low"]), float(found["high"])
    return {"verdict": verdict.kind, "estimate": float(found["estimate"]), "low": low,
            "high": high, "width": high - low}  # fmt: skip


# --- the truth ------------------------------------------------------------------------------------
def _truths(
    law: Law, design: pd.DataFrame, truth: Truth, metric: Metric, centre: pd.DataFrame | None,
    at: Mapping[str, Any], rng: np.random.Generator,
) -> Callable[[], tuple[Mapping[str, float], float]]:  # fmt: skip
    """Return what draws a truth: parameters at the design's centre, and the score at the point."""
    place = pd.DataFrame([dict(at)])
    if isinstance(truth, Fit):
        if isinstance(truth.draws_or_reason, NoInterval):
            raise truth.draws_or_reason
        theta = truth.draws.theta

        def of_fit() -> tuple[Mapping[str, float], float]:
            one = theta[int(rng.integers(len(theta)))]
            inside = np.clip(one, truth.model.lower, truth.model.upper)
            drawn = replace(truth, estimate=replace(truth.estimate, theta=inside))
            return _moved(drawn, law, design), _score(drawn, place)

        return of_fit
    home = design if centre is None else centre

    def of_ranges() -> tuple[Mapping[str, float], float]:
        values = {k: _one(v, k, rng) for k, v in truth.items()}
        known = _exact(law, simulate(law, home, values, 0.0, metric=metric), metric)
        return values if centre is None else _moved(known, law, design), _score(known, place)

    if any(isinstance(v, tuple) for v in truth.values()):
        return of_ranges
    only = of_ranges()
    return lambda: only


def _one(value: Any, name: str, rng: np.random.Generator) -> float:
    if not isinstance(value, tuple):
        return float(value)
    low, high = (float(v) for v in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not low <= high:
        raise ValueError(f"design_power: truth {name} = ({low:g}, {high:g}); the lower end first.")
    share = rng.random()
    return low * (high / low) ** share if low > 0 else low + (high - low) * share


def _exact(law: Law, log: Any, metric: Metric) -> Fit:
    """Fit a curve without noise."""
    known = fit(law, log, metric, objective="squares")
    off = float(np.abs(known.residuals["residual"]).max())
    if not off <= _EXACT * float(np.abs(known.residuals["score"]).max()):
        raise ValueError(
            f"design_power: the true curve could not be found again at the design (off by {off:.2g}"
            "); give the truth at the design itself, without centre=."
        )
    return known


def _moved(known: Fit, law: Law, design: pd.DataFrame) -> Mapping[str, float]:
    """Return the printed parameters of the same curve at another design's centre."""
    name = known.metric.name
    there = design.assign(**{name: known.predict(design, interval=None)["estimate"].to_numpy()})
    return _exact(law, there, known.metric).values


def _score(known: Fit, place: pd.DataFrame) -> float:
    return float(known.predict(place, interval=None)["estimate"].iloc[0])


# --- the answer -----------------------------------------------------------------------------------
def _power(
    frame: pd.DataFrame, failed: int, n: int, width: float | None, at: Mapping[str, Any],
    runs: int, metric: Metric, level: float,
) -> Result:  # fmt: skip
    wide = frame["width"].to_numpy(dtype=float)
    drawn = np.isfinite(wide)
    # A log without an interval has one of any width.
    all_wide = np.concatenate([np.where(drawn, wide, np.inf), np.full(failed, np.inf)])
    low, middle, high = (float(np.quantile(all_wide, q, method="lower")) for q in (0.1, 0.5, 0.9))
    p_law = float((frame["verdict"] == "law").sum()) / n
    inside = ((frame["low"] <= frame["truth"]) & (frame["truth"] <= frame["high"])).to_numpy(float)
    values: dict[str, Any] = {
        "p_law": p_law, "p_law_se": float(np.sqrt(p_law * (1 - p_law) / n)), "width": middle,
        "width_low": low, "width_high": high,
        "covered": float(inside[drawn].mean()) if drawn.any() else float("nan"),
        "refused": float(n - drawn.sum()) / n, "logs": n,
    }  # fmt: skip
    point = ", ".join(f"{k} {v}" if isinstance(v, str) else f"{k} {number(float(v))}"
                      for k, v in at.items())  # fmt: skip
    answer = (
        f"{runs} runs show a law in {p_law:.0%} of {n} simulated logs; the {100 * level:g} % "
        f"interval of {metric.name} at {point} is {number(middle)} wide ({number(low)} to "
        f"{number(high)} in 8 of 10)"
    )
    marks = {"median": middle} if np.isfinite(middle) else {}
    if width is not None:
        values["p_width"] = float((all_wide <= width).mean())
        answer += f", at most {number(width)} in {values['p_width']:.0%}"
        marks["wanted"] = width
    notes = [Note("simulated", "info", "Shares hold for the given truth and noise.")]
    if values["refused"] > 0:
        sentence = f"{values['refused']:.0%} of the logs gave no interval: too few runs."
        notes.append(Note("refused", "warning", sentence))
    kinds = frame["verdict"].value_counts()
    others = [f"{k} {v / n:.0%}" for k, v in kinds.items() if k != "law"]
    shown = pd.DataFrame({"width": np.sort(wide[drawn])})
    shown["share"] = (np.arange(len(shown)) + 1.0) / n
    return Result(
        question=f"What will {runs} runs be able to say of {metric.name} at {point}?",
        answer=answer + ".",
        frame=frame,
        view=View("width", "share", x_label="width of the interval", marks=marks,
                  y_label="share of logs at most as wide", table=shown),
        values=values,
        reason=Why(answer, values.get("p_width", p_law), "",
                   f"Other verdicts: {', '.join(others)}" if others else ""),
        notes=tuple(notes),
    )  # fmt: skip


def grid_for(
    law: Law,
    grids: Mapping[str, pd.DataFrame],
    truth: Truth,
    noise: Noise | float,
    *,
    at: Mapping[str, Any],
    width: float,
    metric: str | Metric = "loss",
    cost: str | Callable[[pd.DataFrame], float] | None = None,
    budget: float | None = None,
    confidence: float = 0.8,
    centre: pd.DataFrame | None = None,
    n: int = 100,
    rng: Any = 0,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Find the cheapest grid of a family whose interval will be as narrow as wanted.

    Parameters
    ----------
    law, truth, noise, at, metric, n, rng, progress, **options
        As in `design_power`; the amplitudes of `truth` stand at the geometric mean of `centre`,
        default the dearest grid.
    grids : mapping of str to DataFrame
        Designs by name.
    width : float
        Wanted width of the interval of the mean.
    cost : str or callable, optional
        Column of a grid whose sum is its cost, or ``cost(grid)``; default the number of runs.
    budget : float, optional
        Dearer grids are not tried.
    confidence : float
        Share of the logs whose interval must be as narrow.

    Returns
    -------
    Result
        ``frame``: grids by cost with ``runs``, ``cost``, ``width``, ``p_width``, ``p_law``, as far
        as they were tried: from the cheapest to the first that does. ``found`` is False if none
        does.

    Raises
    ------
    ValueError
        For an empty family, or none within the budget.
    """
    if not isinstance(grids, Mapping) or not grids:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("grid_for: grids must map names to designs, such as {'3 x 4': design}.")
    if not 0 < confidence < 1:
        raise ValueError(f"grid_for: confidence = {confidence:g} is not in (0, 1).")
    costs = {name: _cost(grid, cost, name) for name, grid in grids.items()}
    order = sorted(costs, key=lambda k: costs[k])
    home = grids[order[-1]] if centre is None else centre
    tried = [k for k in order if budget is None or costs[k] <= budget]
    if not tried:
        raise ValueError(
            f"grid_for: the cheapest grid costs {costs[order[0]]:g}, above budget = {budget:g}."
        )
    rows: list[dict[str, Any]] = []
    source = as_generator(rng)
    for name in tried:
        row: dict[str, Any] = {"grid": name, "runs": len(grids[name]), "cost": costs[name]}
        try:
            found = design_power(
                law, grids[name], truth, noise, at=at, metric=metric, centre=home, width=width, n=n,
                rng=source, progress=progress, **options,
            )  # fmt: skip
            row |= {k: found.values[k] for k in ("width", "p_width", "p_law", "covered")}
            row["why"] = ""
        except ValueError as why:
            row |= {"width": np.inf, "p_width": 0.0, "p_law": 0.0, "covered": np.nan,
                    "why": str(why)}  # fmt: skip
        rows.append(row)
        if row["p_width"] >= confidence:
            break
    return _grid_answer(pd.DataFrame(rows), width, confidence, n, len(grids))


def _cost(
    grid: pd.DataFrame, cost: str | Callable[[pd.DataFrame], float] | None, name: str
) -> float:
    if cost is None:
        return float(len(grid))
    if callable(cost):
        return float(cost(grid))
    if cost not in grid.columns:
        raise ValueError(
            f"grid_for: grid {name!r} has no column {cost!r}; price it with sl.decide.plan."
        )
    return float(grid[cost].sum())


def _grid_answer(
    frame: pd.DataFrame, width: float, confidence: float, n: int, family: int
) -> Result:
    last = frame.iloc[-1]
    found = bool(last["p_width"] >= confidence)
    se = float(np.sqrt(max(last["p_width"] * (1 - last["p_width"]), 0.25 / n) / n))
    words = (
        f"{last['grid']}: {last['runs']} runs at a cost of {number(float(last['cost']))} reach a "
        f"width of {number(width)} in {last['p_width']:.0%} of the logs"
        if found
        else f"None of the {len(frame)} grids tried reaches a width of {number(width)} in "
        f"{confidence:.0%} of the logs; the most often is {frame['p_width'].max():.0%}"
    )
    notes = [Note("failed", "info", f"{r['grid']}: {r['why']}") for r in frame.to_dict("records")
             if r["why"]]  # fmt: skip
    if abs(float(last["p_width"]) - confidence) < 2 * se:
        sentence = (
            f"{last['p_width']:.0%} is within the error of {n} logs of the wanted {confidence:.0%};"
            " raise n= before you rely on it."
        )
        notes.append(Note("close_call", "warning", sentence))
    return Result(
        question=f"Which of {family} grids reaches a width of {number(width)} at the least cost?",
        answer=words + ".",
        frame=frame,
        view=View("grid", "p_width", style="bars", y_label="share of logs as narrow as wanted",
                  marks={"wanted": confidence}),
        values={"grid": str(last["grid"]) if found else None, "cost": float(last["cost"]),
                "p_width": float(last["p_width"]), "p_width_se": se},
        found=found,
        reason=Why(words, float(last["p_width"]) if found else None, "",
                   "The truth and the noise: try their ends, as pairs (low, high)"),
        notes=tuple(notes),
    )  # fmt: skip
