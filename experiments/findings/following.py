"""Which configurations to run with a second seed next: `sl.decide.next_runs` over the grid."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

import scaling_laws as sl
from scaling_laws.decide import Result

from .laws import Outcome
from .parts import CELL

__all__ = ["Following", "second_seeds"]

# What a row says of its training's cost, the first that all candidates have, in hours.
_COSTS = {"gpu_hours": 1.0, "cpu_s": 3600.0, "wall_s": 3600.0}
_WORDS = {
    "gpu_hours": "GPU-hours of its training", "cpu_s": "processor hours of its training",
    "wall_s": "hours of its training", "": "the same for each, for no column states it of all",
}  # fmt: skip
_CHAIN = ["format", "examples"]


@dataclass(frozen=True, eq=False)
class Following:
    """What to run next.

    Parameters
    ----------
    proposal : Result
        Of single students, each once at most.
    chains : DataFrame
        A row a chain, ``format, examples``, in the order in which the first of its students is
        proposed: that student's ``kept``, ``reduction`` (share of the variance that it removes
        alone), ``cost``, ``place`` among the students and ``left`` (share of the variance after it
        and all before it); ``place_alike``, the first place of a student of the chain where every
        run costs the same; ``students`` that have no second seed.
    cost : str
        What the cost is.
    """

    proposal: Result
    chains: pd.DataFrame
    cost: str

    @property
    def option(self) -> str:
        """The words of the sweep's command that ask for these chains, in this order."""
        rows = self.chains[_CHAIN].itertuples(index=False, name=None)
        return " ".join(f"--again {format}-n{int(n)}" for format, n in rows)


def second_seeds(one: Outcome) -> Following | None:
    """Propose second seeds, or None where every student of the grid has one.

    Asked are the scores of all configurations of the grid together (the sum of their variances).
    A chain makes students of all sizes, and so it comes where the first of them does.

    Raises
    ------
    ValueError
        Where the log supports no interval, or no run can tell anything.
    """
    frame = one.students.frame
    seeds = frame.groupby(list(CELL), dropna=False)["seed"].transform("nunique")
    single = frame[seeds < 2].drop_duplicates(list(CELL)).reset_index(drop=True)
    if not len(single):
        return None
    column = next((c for c in _COSTS if c in single and (single[c] > 0).all()), "")
    cost = single[column] / _COSTS[column] if column else 1.0
    candidates = single[list(dict.fromkeys([*_CHAIN, "kept", *one.known]))].assign(cost=cost)
    asked = frame[list(one.known)].drop_duplicates().reset_index(drop=True)

    def propose(cost: str | float) -> Result:
        return sl.decide.next_runs(
            one.forecast, candidates, question=asked, cost=cost, n=len(candidates)
        )

    proposal = propose("cost")
    order = proposal.frame.dropna(subset="order").rename(columns={"order": "place"})
    order = order.assign(place_alike=propose(1.0).frame["order"], students=1)
    by_chain = order.groupby(_CHAIN, sort=False)
    chains = by_chain.first().assign(
        place_alike=by_chain["place_alike"].min(), students=by_chain["students"].sum()
    )
    whole = {"examples": int, "place": int, "place_alike": "Int64"}
    columns = [*_CHAIN, "kept", "reduction", "cost", "place", "left", "place_alike", "students"]
    return Following(proposal, chains.reset_index()[columns].astype(whole), _WORDS[column])
