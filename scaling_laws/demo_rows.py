"""Which rows of the example log the demo fits, and where it asks."""

from __future__ import annotations

from typing import Any

from scaling_laws.runs import RunLog

__all__ = ["GENERAL", "METRICS", "TASK", "places", "plain_students"]

METRICS = ("task_f1", "quiz", "general_kl")
TASK, GENERAL = METRICS[:2]

# A chain of the grid itself; the name of any other says between examples and hash what it does
# otherwise: one-shot pruning, LoRA, random weights, replay.
_PLAIN = r"small-(?:label|blended|cot)-n\d+-[0-9a-f]{12}-s\d+"


def plain_students(log: RunLog) -> RunLog:
    """Return the distilled students of the grid: iterative pruning, all weights, nothing beside.

    The teacher's row stands in every chain, students before they are taught are of another kind,
    and side arms change something else than the three axes.
    """
    frame = log.frame
    mine = (frame["phase"] == "distilled") & frame["chain_id"].str.fullmatch(_PLAIN)
    if "status" in frame:
        mine &= frame["status"].fillna("ok") != "failed"
    return log.select(mine.to_numpy(dtype=bool, na_value=False))


def places(students: RunLog) -> list[dict[str, Any]]:
    """Return where questions are asked: each format at the most examples that all formats have.

    Where they have none in common, each at the most of its own.
    """
    groups = students.frame.groupby("format", observed=True)["examples"]
    own = {str(f): {float(n) for n in part} for f, part in groups}
    common = [n for n in set[float]().union(*own.values()) if all(n in s for s in own.values())]
    return [{"format": f, "examples": max(common or seen)} for f, seen in own.items()]
