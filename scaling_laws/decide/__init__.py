"""The questions that fits answer: which student, which format, how many labels, which run next.

Every question takes a `Fit` or a `Forecast`, or a mapping of metric to one for several metrics of
one log, and returns a `Result`.

>>> import scaling_laws as sl
>>> runs = [{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(2, 8)]
>>> fit = sl.fit(sl.laws.Power(), runs)
>>> sl.decide.Result.__name__
'Result'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Result": "result", "View": "result", "Why": "result",
    "smallest": "students",
    "divergence": "curves", "half_point": "curves", "safe_range": "curves", "knee": "knees",
    "compare_formats": "compare", "compare_schedules": "compare", "exchange_rate": "compare",
    "compare_origins": "origins",
    "by_class": "rare", "labels_needed": "labels", "marginal": "gains",
    "plan": "bills", "break_even": "economics", "pareto": "frontier", "limits": "horizon",
    "surprise": "surprises", "design_power": "power", "grid_for": "power", "next_runs": "proposals",
    "cascade": "relay",
}  # fmt: skip

__all__ = [
    "Result",
    "View",
    "Why",
    "break_even",
    "by_class",
    "cascade",
    "compare_formats",
    "compare_origins",
    "compare_schedules",
    "design_power",
    "divergence",
    "exchange_rate",
    "grid_for",
    "half_point",
    "knee",
    "labels_needed",
    "limits",
    "marginal",
    "next_runs",
    "pareto",
    "plan",
    "safe_range",
    "smallest",
    "surprise",
]

if TYPE_CHECKING:
    from scaling_laws.decide.bills import plan
    from scaling_laws.decide.compare import compare_formats, compare_schedules, exchange_rate
    from scaling_laws.decide.curves import divergence, half_point, safe_range
    from scaling_laws.decide.economics import break_even
    from scaling_laws.decide.frontier import pareto
    from scaling_laws.decide.gains import marginal
    from scaling_laws.decide.horizon import limits
    from scaling_laws.decide.knees import knee
    from scaling_laws.decide.labels import labels_needed
    from scaling_laws.decide.origins import compare_origins
    from scaling_laws.decide.power import design_power, grid_for
    from scaling_laws.decide.proposals import next_runs
    from scaling_laws.decide.rare import by_class
    from scaling_laws.decide.relay import cascade
    from scaling_laws.decide.result import Result, View, Why
    from scaling_laws.decide.students import smallest
    from scaling_laws.decide.surprises import surprise


def __getattr__(name: str) -> Any:
    """Import a question when it is first asked."""
    if name in _HOME:
        return getattr(import_module(f"scaling_laws.decide.{_HOME[name]}"), name)
    raise AttributeError(f"module 'scaling_laws.decide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
