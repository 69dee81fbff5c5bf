"""What pruning leaves: half point, safe range, and where task and general knowledge part.

Retention ``R(v) = (score(v) - floor) / (score(1) - floor)`` at the same examples and factors; all
of it in every draw, numerator and denominator together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.decide.asking import (
    check_share,
    decisive_run,
    one_point,
    only_metric,
    support_notes,
    words_of,
)
from scaling_laws.decide.draws import Ask, Fitted, Joint, joint_of
from scaling_laws.decide.knees import floor_of
from scaling_laws.decide.labels import first_reaching
from scaling_laws.decide.result import Result, View, Why
from scaling_laws.result import Fit
from scaling_laws.runs import Note
from scaling_laws.show import number
from scaling_laws.uncertainty import quantile_pair

__all__ = ["divergence", "half_point", "safe_range"]

Array = NDArray[np.float64]

# Fractions looked at: from 1 down to half of the smallest in the log.
_POINTS = 301


def half_point(
    fitted: Fitted,
    *,
    floor: float | None = None,
    level: float = 0.9,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return the fraction kept where half of the skill is lost, ``R(v) = 1/2``.

    Parameters
    ----------
    fitted : Fit or Forecast
        Of one metric, with the axis ``kept``.
    floor : float, optional
        Score of a model that knows nothing; default the metric's.
    level : float
        Of the interval.
    rng : int, optional
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``values``: ``kept, low, high`` (0 where some curves never lose half above the smallest
        fraction looked at), ``never`` (their share). ``frame``: retention with its interval.

    Raises
    ------
    ValueError
        For no axis ``kept``, an axis that is missing, no floor, or a full size that may be at it.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scaling_laws as sl
    >>> design = pd.DataFrame({"kept": np.linspace(.2, 1, 9)})
    >>> runs = sl.simulate(sl.laws.Collapse(), design, {"acc1": .7, "k0": .5, "s": 6.}, .005, 1,
    ...                    metric="mmlu")
    >>> half = sl.decide.half_point(sl.fit(sl.laws.Collapse(), runs, "mmlu"))
    >>> round(half.values["kept"], 2)
    0.5
    """
    curve = _Curve.of(fitted, floor, level, rng, point)
    return curve.crossing(0.5, "half of the skill is lost", None)


def safe_range(
    fitted: Fitted,
    *,
    keep: float = 0.95,
    confidence: float = 0.9,
    floor: float | None = None,
    level: float = 0.9,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return the smallest fraction down to which ``R >= keep`` with a confidence.

    Parameters
    ----------
    fitted : Fit or Forecast
    keep : float
        Share of the skill to keep.
    confidence : float
        Probability that no student in the range has lost more.
    floor, level, rng, **point
        As in `half_point`.

    Returns
    -------
    Result
        ``values``: ``safe``, the smallest fraction; ``kept, low, high``, where R falls below `keep`
        with its interval.

    Raises
    ------
    ValueError
        As `half_point`, and for a share outside (0, 1).
    """
    check_share(keep, "keep")
    check_share(confidence, "confidence")
    curve = _Curve.of(fitted, floor, level, rng, point)
    return curve.crossing(keep, f"less than {keep:g} of the skill is left", confidence)


def _fractions(joint: Joint) -> Array:
    return np.geomspace(1.0, 0.5 * float(joint.seen("kept")[0]), _POINTS)


# Below this share of its estimate, a skill at the full size counts as none.
_NO_SKILL = 0.1


def _retention(
    joint: Joint, name: str, floor: float, kept: Array, at: Mapping[str, Any], level: float
) -> tuple[Array, Array]:
    """Return R at the estimate ``[kept]`` and in draws ``[kept, draws]``; the first is at 1.

    Raises
    ------
    ValueError
        Where the full size may have no skill to lose: then the ratio is noise over noise.
    """
    points = pd.DataFrame({"kept": kept, **at})
    mean = joint.estimate(name, points) - floor
    draws = joint.values(name, points, "mean") - floor
    low, high = (float(end[0]) for end in quantile_pair(draws[:1], level))
    if low <= _NO_SKILL * max(float(mean[0]), 0.0):
        raise ValueError(
            f"{name}: at kept 1 it lies {number(float(mean[0]))} [{number(low)}, {number(high)}] "
            f"above its floor {number(floor)}, so there may be no skill to lose. Add the teacher's "
            "row or runs at larger kept, or say what the floor is with floor=."
        )
    # A draw beyond that end is one without skill, and loses none.
    return mean / mean[0], draws / np.maximum(draws[0], _NO_SKILL * float(mean[0]))


@dataclass(frozen=True, eq=False)
class _Curve:
    """Retention along kept."""

    joint: Joint
    name: str
    floor: float
    at: Mapping[str, Any]
    kept: Array
    mean: Array
    draws: Array
    level: float

    @classmethod
    def of(
        cls, fitted: Fitted, floor: float | None, level: float, rng: Any, point: Mapping[str, Any]
    ) -> _Curve:
        check_share(level, "level")
        joint = joint_of(fitted, rng)
        name = only_metric(joint)
        if "kept" not in joint.axes:
            raise ValueError(f"retention is along kept; the fit is of {', '.join(joint.axes)}.")
        at = one_point(joint, point, ("kept",))
        known, kept = floor_of(joint, name, floor), _fractions(joint)
        return cls(
            joint, name, known, at, kept, *_retention(joint, name, known, kept, at, level), level
        )

    def crossing(self, keep: float, words: str, confidence: float | None) -> Result:
        """Answer where retention falls below a share."""
        place = float(self._fall(self.mean[:, None], keep)[0])
        draws = self._fall(self.draws, keep)
        low, high = (float(v[0]) for v in quantile_pair(draws[None], self.level))
        values: dict[str, Any] = {"kept": place, "low": low, "high": high,
                                  "never": float((draws == 0).mean())}  # fmt: skip
        marks = {f"R = {keep:g}": place} if place > 0 else {}
        ends = f"[{self._number(low)}, {number(high)}]"
        found = place > 0
        answer = f"{words} at kept {self._number(place)} {ends}"
        change = f"further runs about kept {self._number(place)} would move it"
        if not found:
            answer = f"not above kept {number(self.kept[-1])}, where R is {number(self.mean[-1])}"
            change = f"runs below kept {number(self.kept[-1])} would show it"
        if confidence is not None:
            safe = min(float(np.quantile(draws, confidence)), 1.0)
            values["safe"] = safe
            # Nothing below the smallest fraction looked at is promised.
            shown = max(safe, float(self.kept[-1]))
            answer = f"safe down to kept {number(shown)}; {answer}"
            marks = {"safe": shown}
            found = safe < 1.0
        low_r, high_r = quantile_pair(self.draws, self.level)
        frame = pd.DataFrame(
            {"kept": self.kept, "retention": self.mean, "low": low_r, "high": high_r}
        ).iloc[:: _POINTS // 30]
        where = pd.DataFrame([{"kept": max(place, float(self.kept[-1])), **self.at},
                              {"kept": 1.0, **self.at}])  # fmt: skip
        return Result(
            question=f"where {words}: {self.name} above {self.floor:g}"
            + (f", at {words_of(self.at)}" * bool(self.at)),
            answer=answer, frame=frame.reset_index(drop=True), values=values, found=found,
            view=View("kept", "retention", "low", "high", marks=marks, lines={f"{keep:g}": keep}),
            reason=partial(self._why, answer, keep, confidence, change),
            notes=self.joint.left_out + support_notes(self.joint, where),
        )  # fmt: skip

    def _fall(self, retention: Array, keep: float) -> Array:
        """Return the fraction at which R first falls to `keep` on the way down from 1; else 0."""
        with np.errstate(divide="ignore"):
            return 1.0 / first_reaching(1.0 / self.kept, -retention, -keep)

    def _number(self, kept: float) -> str:
        return f"below {number(self.kept[-1])}" if kept == 0 else number(kept)

    def _why(self, answer: str, keep: float, confidence: float | None, change: str) -> Why:
        def asked(one: Fit) -> float:
            points = pd.DataFrame({"kept": self.kept, **self.at})
            score = one.predict(points, interval=None)["estimate"].to_numpy(dtype=float)
            mean = (score - self.floor) / (score[0] - self.floor)
            return float(self._fall(mean[:, None], keep)[0])

        run = decisive_run(self.joint, self.name, asked, "that fraction")
        return Why(answer, confidence, run, change)


def divergence(
    fitted: Ask,
    *,
    task: str | None = None,
    general: str | None = None,
    floor: Mapping[str, float] | None = None,
    level: float = 0.9,
    rng: Any = None,
    **point: Any,
) -> Result:
    """Return the largest ``R_task - R_general`` over the fractions kept in the log.

    Found when it is above 0 by a simultaneous band: ``D(v) - q sd(v) > 0`` somewhere, ``q`` the
    ``(1 + level) / 2`` quantile over draws of ``max_v (D_draw(v) - D(v)) / sd(v)``. The largest of
    many noisy differences would else be above 0 by itself. And its own interval there is above 0:
    draws may lean to one side, which a standard deviation does not see.

    Parameters
    ----------
    fitted : mapping of metric to Fit or Forecast
        An in-domain and a general metric of one log.
    task, general : str, optional
        Which is which; default by the metrics' roles.
    floor : mapping, optional
        Metric -> score of a model that knows nothing; default the metrics'.
    level : float
        Of the interval and the band, of which one side counts: .9 lets 5 % of equal falls through.
    rng : int, optional
    **point
        The other axes and factors.

    Returns
    -------
    Result
        ``values``: ``kept`` where the band lies highest among the fractions at which it and the
        interval are above 0 (without any, where the difference is largest), ``difference, low,
        high`` there, and ``lower``, that end of the band (without any, its highest).

    Raises
    ------
    ValueError
        For no axis ``kept``, roles that do not say which metric is which, no floor, or a full size
        that may be at it.
    """
    check_share(level, "level")
    joint = joint_of(fitted, rng)
    names = _roles(joint, task, general)
    for name in floor or {}:
        if name not in names:
            raise ValueError(f"floor names {name!r}; the metrics are {names[0]} and {names[1]}.")
    if "kept" not in joint.axes:
        raise ValueError(f"divergence is along kept; the fits are of {', '.join(joint.axes)}.")
    at = one_point(joint, point, ("kept",))
    kept = np.geomspace(1.0, float(joint.seen("kept")[0]), _POINTS // 3)
    floors = [floor_of(joint, n, (floor or {}).get(n)) for n in names]
    parts = [_retention(joint, n, f, kept, at, level) for n, f in zip(names, floors, strict=True)]
    mean, draws = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    low, high = quantile_pair(draws, level)
    band = _lower_band(mean, draws, level)
    j = _shown(band, low)
    found = j is not None
    j = int(np.argmax(mean)) if j is None else j
    place, lower = float(kept[j]), float(band[j] if found else band.max())
    ends = f"[{number(float(low[j]))}, {number(float(high[j]))}]"
    answer = (
        f"{names[0]} keeps {number(float(mean[j]))} {ends} more of its skill than {names[1]} at "
        f"kept {number(place)}"
        if found
        else _not_shown(names, kept, mean, draws, level)
    )
    frame = pd.DataFrame({"kept": kept, "difference": mean, "low": low, "high": high, "band": band,
                          names[0]: parts[0][0], names[1]: parts[1][0]})  # fmt: skip
    sentence = "The fraction named is where the band lies highest, of those that leave 0 out."
    notes = (Note("widest_by_band", "info", sentence),)
    return Result(
        question=f"where {names[0]} outlasts {names[1]} as kept shrinks"
        + (f", at {words_of(at)}" * bool(at)),
        answer=answer, frame=frame.iloc[::5].reset_index(drop=True), found=found,
        view=View("kept", "difference", "low", "high", lines={"no difference": 0.0},
                  marks={"largest": place} if found else {}),
        values={"kept": place, "difference": float(mean[j]), "low": float(low[j]),
                "high": float(high[j]), "lower": lower},
        reason=partial(
            _why_divergence, joint, names, answer, place, at,
            float((draws[j] > 0).mean()) if found else None,
        ),
        notes=joint.left_out + notes * found
        + support_notes(joint, pd.DataFrame([{"kept": place, **at}])),
    )  # fmt: skip


def _lower_band(mean: Array, draws: Array, level: float) -> Array:
    """Return the lower end ``[kept]`` of the simultaneous band of a difference."""
    sd = draws.std(1)
    # At kept 1 both retentions are 1 by definition; there is nothing to tell apart.
    moving = sd > 1e-6
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(moving[:, None], (draws - mean[:, None]) / sd[:, None], -np.inf).max(0)
    return np.where(moving, mean - float(np.quantile(z, 0.5 * (1.0 + level))) * sd, 0.0)


def _shown(band: Array, low: Array) -> int | None:
    """Return where the band lies highest, of the places where it and the interval are above 0."""
    above = np.where(low > 0, band, -np.inf)
    return int(np.argmax(above)) if above.max() > 0 else None


def _not_shown(names: tuple[str, str], kept: Array, mean: Array, draws: Array, level: float) -> str:
    """Say why no divergence was found: noise, or a task that goes first."""
    back = _lower_band(-mean, -draws, level)
    low, high = quantile_pair(draws, level)
    j = _shown(back, -high)
    if j is not None:
        return (
            f"none shown: it is {names[1]} that keeps {number(-float(mean[j]))} "
            f"[{number(-float(high[j]))}, {number(-float(low[j]))}] more of its skill, at kept "
            f"{number(float(kept[j]))}"
        )
    j = int(np.argmax(mean))
    if mean[j] <= 0:
        return f"none shown: {names[0]} keeps no more of its skill than {names[1]} at any size"
    largest = (
        f"the largest difference, {number(float(mean[j]))} [{number(float(low[j]))}, "
        f"{number(float(high[j]))}] at kept {number(float(kept[j]))}"
    )
    if not (low > 0).any():
        return f"none shown: no size has an interval that leaves 0 out; {largest}"
    return (
        f"none shown: {largest}, is within what the largest of so many differences reaches by noise"
    )


def _why_divergence(
    joint: Joint, names: tuple[str, str], answer: str, place: float, at: Mapping[str, Any],
    probability: float | None,
) -> Why:  # fmt: skip
    """Take the share of draws in which the task keeps more there for the probability."""
    run = decisive_run(joint, names[1], {"kept": place, **at}, f"{names[1]} there")
    found = probability is not None
    change = "runs there in which both fall alike" if found else "more seeds or test items there"
    return Why(answer, probability, run, change)


def _roles(joint: Joint, task: str | None, general: str | None) -> tuple[str, str]:
    found: list[str] = []
    for given, role, word in ((task, "in-domain", "task"), (general, "general", "general")):
        of_role = [n for n in joint.names if joint.metric(n).role == role]
        if len(joint.names) < 2:
            raise ValueError(
                f"a divergence is between two metrics, and the fit is of {joint.first} alone; pass "
                "{metric: fit, metric: fit}."
            )
        if given is None and len(of_role) != 1:
            raise ValueError(
                f"say which metric is the {word} one, {word}=...; the fits are of "
                f"{', '.join(joint.names)}."
            )
        name = of_role[0] if given is None else given
        if name not in joint.names:
            raise ValueError(f"{word} = {name!r}: the fits are of {', '.join(joint.names)}.")
        found.append(name)
    if found[0] == found[1]:
        raise ValueError(f"task and general are both {found[0]!r}; two metrics are compared.")
    return found[0], found[1]
