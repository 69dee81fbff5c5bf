"""What the next labels add to each score."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.decide.asking import (
    check_positive,
    check_share,
    decisive_run,
    one_point,
    row_of,
    support_notes,
    words_of,
)
from scaling_laws.decide.draws import Ask, Joint, joint_of
from scaling_laws.decide.labels import data_axis
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

__all__ = ["marginal"]


def marginal(
    fitted: Ask,
    *,
    more: float | None = None,
    at: Any = None,
    level: float = 0.9,
    axis: str | None = None,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return what the next labels add to each score: ``m(n + more) - m(n)``, paired draws.

    Parameters
    ----------
    fitted : Fit, Forecast, or mapping of metric to one
    more : float, optional
        How many; default as many again as there are.
    at : number or array, optional
        From which sizes on; default the log's own, the answer being at its largest.
    level : float
    axis : str, optional
    rng : int, optional
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``frame``: a row a size and metric: ``gain`` (positive is better) with ``low``, ``high``,
        ``per_1000`` labels, and the probability that it is more than nothing.

    Raises
    ------
    ValueError
        For unknown names or sizes that are not positive.
    """
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    along = data_axis(joint, axis)
    where = one_point(joint, point, (along,))
    sizes = np.sort(np.atleast_1d(joint.seen(along) if at is None else np.asarray(at, float)))
    if more is not None:
        check_positive(more, "more", f"write how many {along}, or leave it out for as many again")
    if not len(sizes) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"at = {sizes.tolist()}: give positive finite numbers of {along}.")
    step = sizes if more is None else np.full(len(sizes), float(more))
    here, there = (pd.DataFrame({along: n, **where}) for n in (sizes, sizes + step))
    parts: list[pd.DataFrame] = []
    for name in joint.names:
        sign = 1.0 if joint.metric(name).direction == "higher" else -1.0
        draws = sign * (joint.values(name, there, "mean") - joint.values(name, here, "mean"))
        low, high = quantile_pair(draws, level)
        gain = sign * (joint.estimate(name, there) - joint.estimate(name, here))
        parts.append(
            pd.DataFrame(
                {
                    "metric": name, along: sizes, "more": step, "gain": gain, "low": low,
                    "high": high, "per_1000": gain * (1000.0 / step),
                    "probability": (draws > 0).mean(1),
                }
            )
        )  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    told = [row_of(part, len(part) - 1) for part in parts]
    first = told[0]
    words = "; ".join(
        f"{number(r['gain'])} [{number(r['low'])}, {number(r['high'])}] {r['metric']}" for r in told
    )
    answer = f"the next {number(first['more'])} {along} after {number(sizes[-1])} add {words}"
    last = {along: float(sizes[-1] + step[-1]), **where}
    return Result(
        question=f"what further {along} add" + (f", at {words_of(where)}" * bool(where)),
        answer=answer, frame=frame,
        view=View(along, "gain", "low", "high", by="metric", log_x=True,
                  y_label="gain by the next labels"),
        values=first,
        reason=partial(_why_marginal, joint, answer, first, last),
        notes=joint.left_out + support_notes(joint, there),
    )  # fmt: skip


def _why_marginal(
    joint: Joint, answer: str, first: Mapping[str, Any], last: Mapping[str, Any]
) -> Why:
    name = str(first["metric"])
    run = decisive_run(joint, name, last, f"{name} with the further labels")
    sure = float(first["probability"])
    change = "a run there would settle it" if sure < 0.95 else "a run there that gains nothing"
    return Why(answer, sure, run, change)
