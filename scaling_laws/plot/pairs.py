"""Two parameters that the data may not tell apart: their joint likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from scaling_laws.estimate import refit
from scaling_laws.firstorder import covariance
from scaling_laws.halfwild import Draws, NoInterval, relax
from scaling_laws.kernel import Objective
from scaling_laws.plot.parts import main
from scaling_laws.plot.style import (
    COLOURS,
    GREY,
    axes_of,
    finish,
    legend_above,
    room_of,
    small,
    wrapped,
)
from scaling_laws.uncertainty import printed

if TYPE_CHECKING:
    from scaling_laws.forecast import Forecast
    from scaling_laws.profiles import Profile
    from scaling_laws.result import Fit

__all__ = ["likelihood"]

Array = NDArray[np.float64]
Names = tuple[str, str]

# Points along the first parameter, and to either side of the ridge along the second.
_ALONG, _ASIDE = 31, 14
# The first parameter is followed at least so many times as far as its 90 % interval reaches, and so
# many times as far as the widest region would if the likelihood were normal.
_REACH, _MARGIN = 1.6, 1.25
# Weight of a constraint, in inverse widths of what is looked at.
_STIFF = 100.0
_SHOWN_DRAWS = 300


def likelihood(
    fitted: Fit | Forecast,
    names: Sequence[str] | None = None,
    ax: Any = None,
    *,
    levels: Sequence[float] = (0.5, 0.9),
    draws: bool = True,
) -> Any:
    """Draw where two parameters lie together: contours of their profile likelihood.

    Parameters
    ----------
    fitted : Fit or Forecast
        Of a forecast, the form with the largest weight.
    names : pair of str, optional
        Printed parameters; default the two that weigh most in the worst determined combination of
        `Fit.identifiability`, of those that have a profile.
    ax : Axes, optional
    levels : sequence of float
        Joint regions to draw: ``drop <= 2 F(2, n - p)`` at that level, where ``drop`` is twice the
        loss of log likelihood after all other parameters are fitted again, in the unit of
        `Fit.profile`.
    draws : bool
        Add draws of the default bootstrap (dots), where there are any.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For a name that is no free printed parameter, a fit with fewer than two, or one whose rows
        leave no noise to measure: it has no region.

    Notes
    -----
    A long narrow region says that the data fix a combination of the two and neither alone; a region
    that leaves the axes has no end there.
    """
    from scipy.special import fdtri

    base = main(fitted)
    profiles = _profiles(base, names)
    pair = cast("Names", tuple(profiles))
    if base.degrees <= 0 and isinstance(base.draws_or_reason, NoInterval):
        raise ValueError(f"likelihood: there is no region. {base.draws_or_reason}")
    ax = axes_of(ax)
    degrees = max(base.degrees, 1)
    limits = [2.0 * float(fdtri(2.0, degrees, level)) for level in sorted(levels)]
    wide = float(np.sqrt(limits[-1] / fdtri(1.0, degrees, 0.9)))
    x, y, drop = _surface(base, pair, list(profiles.values()), max(_REACH, _MARGIN * wide))
    shades = np.linspace(0.45, 0.15, len(limits))
    for below, limit, shade in zip([0.0, *limits], limits, shades, strict=False):
        ax.contourf(x, y, drop, levels=[below, limit], colors=[COLOURS[0]], alpha=shade, zorder=2)
        ax.contour(x, y, drop, levels=[limit], colors=[COLOURS[0]], linewidths=1.0, zorder=3)
    ax.plot(base.values[pair[0]], base.values[pair[1]], marker="P", color=COLOURS[1],
            markeredgecolor="white", markeredgewidth=0.5, markersize=6.5, linestyle="none",
            zorder=4)  # fmt: skip
    inside = drop <= 1.3 * limits[-1]
    ax.set_xlim(*_padded(x[inside]))
    ax.set_ylim(*_padded(y[inside]))
    _name_axes(ax, base, pair)
    dots = _dots(ax, base, pair) if draws else []
    legend_above(ax, [*_handles(sorted(levels), shades), *dots])
    return ax


def _name_axes(ax: Any, base: Fit, pair: Names) -> None:
    meanings = [base.law.params[name.partition("[")[0]].meaning for name in pair]
    words = [f"{n}: {m}" if m else n for n, m in zip(pair, meanings, strict=True)]
    size = small(ax) + 1.0
    height = 72.0 / ax.get_figure(root=True).dpi * ax.get_window_extent().height
    rooms = (room_of(ax), height)
    finish(ax, *(wrapped(w, room, size) for w, room in zip(words, rooms, strict=True)))
    ax.grid(True, axis="both", linewidth=0.5, alpha=0.4)


def _dots(ax: Any, base: Fit, pair: Names) -> list[Any]:
    """Draw draws of the default bootstrap, where there are any; say how many lie off the axes."""
    if not isinstance(base.draws_or_reason, Draws):
        return []
    at = printed(base.model, base.draws_or_reason.theta[:_SHOWN_DRAWS])
    x, y = (at[name] for name in pair)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    off = int(np.sum(~((x >= left) & (x <= right) & (y >= bottom) & (y <= top))))
    words = f"draws, {off} of {len(x)} not shown" if off else "draws"
    return ax.plot(x, y, linestyle="none", marker=".", markersize=2.5, color=GREY, alpha=0.5,
                   zorder=1, label=words)  # fmt: skip


def _profiles(base: Fit, names: Sequence[str] | None) -> dict[str, Profile]:
    """Return the two parameters to draw, each with its profile."""
    free = [name for name in base.model.names if base.is_free(name)]
    if len(free) < 2:
        raise ValueError(f"likelihood: the fit has {len(free)} free parameters; two are needed.")
    if names is None:
        worst = base.identifiability.iloc[-1].drop("singular_value").abs()
        ranked = [str(n) for n in worst.sort_values(ascending=False).index if n in free]
        names = list(dict.fromkeys([*ranked, *free]))
    elif len(names) != 2 or len(set(names)) != 2 or not set(names) <= set(free):
        raise ValueError(f"names: {list(names)} are no two of the free parameters {free}.")
    found: dict[str, Profile] = {}
    without: list[str] = []
    for name in names:
        try:
            found[name] = base.profile(name)
        except ValueError:
            without.append(name)
        if len(found) == 2:
            return found
    raise ValueError(
        f"likelihood: two parameters are needed; {', '.join(without)} have no profile, since the "
        "data do not move them where they are."
    )


def _padded(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _sides(base: Fit, name: str, one: Profile, reach: float) -> tuple[float, float]:
    """Return how far below and above the estimate to look, `reach` times its interval."""
    centre = base.values[name]
    least, most = base.model.legal_range(name)
    low = one.low if np.isfinite(one.low) else float(one.value[0])
    high = one.high if np.isfinite(one.high) else float(one.value[-1])
    begin = max(centre - reach * (centre - low), least)
    end = min(centre + reach * (high - centre), most)
    return max(centre - begin, 1e-12), max(end - centre, 1e-12)


def _surface(
    base: Fit, pair: Names, profiles: Sequence[Profile], reach: float
) -> tuple[Array, Array, Array]:
    """Return points ``x, y [aside, along]`` and the drop of the likelihood there.

    The first parameter is held at a row of values, which gives the ridge; from the ridge the second
    is moved to either side. A narrow or bent region is then as well resolved as a round one. Every
    point starts from the solution of its neighbour.
    """
    sides = [_sides(base, name, one, reach) for name, one in zip(pair, profiles, strict=True)]
    ridge = _ridge(base, pair[0], sides[0])
    narrow = min(1.0, 2.5 * np.sqrt(1.0 - _correlation(base, pair) ** 2))
    spans = np.array([sum(sides[0]), narrow * sum(sides[1])])
    least, most = base.model.legal_range(pair[1])
    x0, y0 = _values(base, pair, ridge)
    # Dense at the ridge, wide away from it.
    shares = np.sinh(np.linspace(0.0, 3.0, _ASIDE + 1)[1:]) / np.sinh(3.0)
    layers = {0.0: _held(base, pair, np.column_stack([x0, y0]), spans, ridge)}
    for sign, side in zip((-1.0, 1.0), sides[1], strict=True):
        # To the end of what the parameter's own interval says, wherever the ridge lies.
        beyond = np.abs(base.values[pair[1]] + sign * side - y0)
        width = narrow * np.maximum(beyond, 0.5 * sum(sides[1]))
        at = ridge
        for share in shares:
            y = np.clip(y0 + sign * width * share, least, most)
            layers[sign * share] = _held(base, pair, np.column_stack([x0, y]), spans, at)
            at = layers[sign * share][0]
    order = sorted(layers)
    x, y = np.stack([_values(base, pair, layers[k][0]) for k in order], axis=1)
    found = np.stack([layers[k][1] for k in order])
    top = float(_held(base, (), np.zeros((1, 0)), spans, _start(base)[None])[1][0])
    unit = _unit(base, pair[0], profiles[0], ridge, x0, spans, top)
    return x, y, np.maximum(found - top, 0.0) / unit


def _start(base: Fit) -> Array:
    return relax(base.problem, base.estimate)[0]


def _correlation(base: Fit, pair: Names) -> float:
    """Return the first-order correlation of the two at the optimum, 0 where one has no variance."""
    rows = [base.model.names.index(name) for name in pair]
    matrix = covariance(base.problem, base.estimate)[1][np.ix_(rows, rows)]
    size = float(np.sqrt(matrix[0, 0] * matrix[1, 1]))
    return float(np.clip(matrix[0, 1] / size, -1.0, 1.0)) if size > 0 else 0.0


def _values(base: Fit, pair: Names, theta: Array) -> Array:
    """Return both parameters ``[2, B]`` of kernel coordinates ``[B, p]``."""
    at = printed(base.model, theta, clip=False)
    return np.stack([at[name] for name in pair])


def _ridge(base: Fit, name: str, sides: tuple[float, float]) -> Array:
    """Return the best fits ``[along, p]`` with one parameter held at a row of values."""
    centre = base.values[name]
    half = _ALONG // 2
    held = centre + np.concatenate(
        [np.linspace(-sides[0], 0.0, half + 1), np.linspace(0.0, sides[1], half + 1)[1:]]
    )
    theta = _start(base)
    ridge = np.empty((len(held), len(theta)))
    for steps in (range(half, len(held)), range(half, -1, -1)):
        at = theta[None]
        for i in steps:
            at, _ = _held(base, (name,), held[None, i : i + 1], np.array([sum(sides)]), at)
            ridge[i] = at[0]
    return ridge


def _unit(
    base: Fit, name: str, one: Profile, ridge: Array, along: Array, spans: Array, top: float
) -> float:
    """Return the unit of a drop. Its home is `Fit.profile`: the same point, fitted here, tells."""
    known = np.where((one.value >= along.min()) & (one.value <= along.max()), one.drop, -1.0)
    far = int(known.argmax())
    near = ridge[[int(np.argmin(np.abs(along - one.value[far])))]]
    _, objective = _held(base, (name,), one.value[None, far : far + 1], spans[:1], near)
    return max((float(objective[0]) - top) / max(float(one.drop[far]), 1e-300), 1e-300)


def _held(
    base: Fit, names: Sequence[str], targets: Array, spans: Array, start: Array
) -> tuple[Array, Array]:
    """Return best fits ``[B, p]`` with the named parameters near the targets ``[B, k]``.

    And the objective of each, without the constraint.
    """
    problem, fit = base.problem, base.estimate
    weight = _STIFF / spans[: len(names)]

    def gap(at: Array, rows: NDArray[np.intp]) -> Array:
        value = printed(problem.model, at, clip=False)
        return weight * (np.stack([value[n] for n in names], axis=1) - targets[rows])

    def penalty(at: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        own = gap(at, rows)
        slope = np.empty((len(at), len(names), at.shape[1]))
        for j in range(at.shape[1]):
            step = 1e-6 * np.maximum(np.abs(at[:, j]), 1e-3)
            up, down = at.copy(), at.copy()
            up[:, j] += step
            down[:, j] -= step
            slope[:, :, j] = (gap(up, rows) - gap(down, rows)) / (2.0 * step[:, None])
        slope = np.nan_to_num(slope, posinf=0.0, neginf=0.0)
        gradient = np.einsum("bk,bkp->bp", own, slope)
        return 0.5 * (own**2).sum(1), gradient, np.einsum("bkp,bkq->bpq", slope, slope)

    objective = fit.objective_of
    found = refit(
        problem, fit, start, lower=relax(problem, fit)[1], steps=80, tolerance=1e-9,
        objective=Objective(objective.delta, objective.prior, penalty if names else None),
    )  # fmt: skip
    if not names:
        return found.theta, found.objective
    own = gap(found.theta, np.arange(len(targets)))
    return found.theta, found.objective - 0.5 * (own**2).sum(1)


def _handles(levels: Sequence[float], shades: Array) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    out: list[Any] = [
        Line2D([], [], linestyle="none", marker="P", color=COLOURS[1], label="estimate")
    ]
    out += [
        Patch(color=COLOURS[0], alpha=float(shade), linewidth=0, label=f"{100 * level:g} % region")
        for level, shade in zip(levels, shades, strict=True)
    ]
    return out
