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
    "by_class": "rare", "labels_needed": "labels", "marginal": "labels",
}  # fmt: skip

__all__ = [
    "Result",
    "View",
    "Why",
    "by_class",
    "labels_needed",
    "marginal",
    "smallest",
]

if TYPE_CHECKING:
    from scaling_laws.decide.labels import labels_needed, marginal
    from scaling_laws.decide.rare import by_class
    from scaling_laws.decide.result import Result, View, Why
    from scaling_laws.decide.students import smallest


def __getattr__(name: str) -> Any:
    """Import a question when it is first asked."""
    if name in _HOME:
        return getattr(import_module(f"scaling_laws.decide.{_HOME[name]}"), name)
    raise AttributeError(f"module 'scaling_laws.decide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
