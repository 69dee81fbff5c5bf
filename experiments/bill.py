"""What a grid costs before it is run: GPU-hours, memory and price of every training in it.

Trainings, the teacher's caches and its traces are counted. Pruning and evaluation are not: in small
grids they take as long as the trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scaling_laws import cost

from .grids import RunConfig
from .priced import priced_chains, priced_traces

__all__ = ["POOLS", "Bill", "bill", "show"]

POOLS = (8, 64)
"""GPUs at the same time for which `show` bounds the wall time."""

_SUMS = ("gpu_hours_low", "gpu_hours_high", "price_low", "price_high")

_OMITTED = (
    "left out     pruning and evaluation (in small grids as long as the trainings), loading, waits "
    "for a GPU, and what is done twice after a failure"
)


@dataclass(frozen=True)
class Bill:
    """What a grid costs.

    Parameters
    ----------
    budget : Budget
        Of all trainings, caches and traces.
    chains : DataFrame
        A row for each chain, each adapted teacher and the traces: ``run, gpu_hours_low,
        gpu_hours_high, price_low, price_high, gpus, memory_GB``.
    longest : str
        The chain that takes longest when it waits for nothing.
    longest_hours : (float, float)
        Hours on the clock of its trainings, its cache and its teacher's adaptation before them.
    traces : tuple of Traces
    trainings : int
    """

    budget: cost.Budget
    chains: pd.DataFrame
    longest: str
    longest_hours: tuple[float, float]
    traces: tuple[cost.Traces, ...]
    trainings: int

    def wall_hours(self, pool: int) -> tuple[float, float]:
        """Return the least hours on the clock that a number of GPUs takes.

        ``max(GPU-hours / pool, hours of the longest chain)`` at either end of the utilisation.
        """
        pairs = zip(self.budget.gpu_hours, self.longest_hours, strict=True)
        low, high = (max(hours / pool, chain) for hours, chain in pairs)
        return low, high


def bill(runs: Sequence[RunConfig], hardware: str = "H100") -> Bill:
    """Return the bill of a grid.

    Parameters
    ----------
    runs : sequence of RunConfig
        Those of no GPU are counted as if on one.
    hardware : str
        A device of the table of costs.
    """
    chains = priced_chains(runs, hardware)
    # In the order of the chains, a teacher before its first one.
    trainings = list(dict.fromkeys(t for c in chains for t in (c.adapted, *c.students) if t))
    traces = tuple(priced_traces(runs, hardware))
    budget = cost.budget([*traces, *trainings])
    frame = budget.frame.fillna({f"cache_gpu_hours_{end}": 0.0 for end in ("low", "high")})
    frame = frame.assign(
        run=[str(name).rpartition("/")[0] for name in frame["name"]],
        gpu_hours_low=frame["gpu_hours_low"] + frame["cache_gpu_hours_low"],
        gpu_hours_high=frame["gpu_hours_high"] + frame["cache_gpu_hours_high"],
        memory_GB=frame["memory_bytes"] / 1e9,
    )
    how = {name: "sum" for name in _SUMS} | {"gpus": "max", "memory_GB": "max"}
    table = frame.groupby("run", sort=False).agg(how).reset_index()
    longest = max(chains, key=lambda chain: chain.hours[0])
    return Bill(budget, table, longest.name, longest.hours, traces, len(trainings))


def show(runs: Sequence[RunConfig], hardware: str = "H100") -> str:
    """Return the bill as text.

    Raises
    ------
    ValueError
        If a training does not fit its GPUs; the message holds the bill too.
    """
    found = bill(runs, hardware)
    budget, chains = found.budget, found.chains
    table = chains.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep="")
    lines = [
        table,
        f"{len(runs)} chains, {found.trainings} trainings on {hardware}",
        f"GPU-hours    {_range(budget.gpu_hours)}",
    ]
    if budget.price is not None:
        lines.append(f"dollars      {_range(budget.price)}")
    lines += _wall(found, max(max(run.gpus, 1) for run in runs), hardware)
    lines.append(f"caches       {_short(budget.cache_bytes / 1e9)} GB of disk")
    lines.append(f"most memory  {_short(float(chains['memory_GB'].max()))} GB of a GPU")
    lines += [_written(traces) for traces in found.traces]
    lines.append(_OMITTED)
    if any(run.gpus == 0 for run in runs):
        lines.append(f"note: chains that ask for no GPU are counted as if on one {hardware}.")
    lines += [f"note: {note.sentence}" for note in budget.notes if note.code != "does_not_fit"]
    unfit = [note.sentence for note in budget.notes if note.code == "does_not_fit"]
    if unfit:
        raise ValueError("\n".join([*lines, f"{len(unfit)} trainings do not fit:", *unfit]))
    return "\n".join(lines)


def _wall(found: Bill, gang: int, hardware: str) -> list[str]:
    """Say how long it takes at least; a pool that is smaller than a chain's GPUs cannot do it."""
    bounds = [
        f"{_range(found.wall_hours(pool))} h with {pool} {hardware}"
        for pool in POOLS
        if pool >= gang
    ]
    words = [f"at least {', '.join(bounds)}"] if bounds else []
    words += [
        f"not with {pool} {hardware}, since a chain takes {gang}" for pool in POOLS if pool < gang
    ]
    return [
        f"wall time    {', '.join(words)}",
        f"longest      {_range(found.longest_hours)} h, its teacher and cache before it: "
        f"{found.longest}",
    ]


def _written(traces: cost.Traces) -> str:
    server = traces.serving
    return (
        f"traces       {_range(traces.gpu_hours)} of the GPU-hours, less where they are there: "
        f"{traces.examples:,} of {server.tokens_out:g} tokens, prompts of {server.tokens_in:g} "
        f"(assumed), {server.batch:g} at a time in vLLM on {server.gpus} {server.device.name}"
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{_short(ends[0])} to {_short(ends[1])}"


def _short(value: float) -> str:
    """Return three digits, never as a power of ten."""
    return f"{float(f'{value:.3g}'):,.12g}"
