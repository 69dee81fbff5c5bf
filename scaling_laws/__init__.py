"""Scaling laws of task-specific LLM distillation: fit, predict, validate.

>>> import scaling_laws as sl
>>> runs = sl.read_runs([{"examples": 10**k, "loss": 1 + 10 ** (-0.3 * k)} for k in range(2, 8)])
>>> round(sl.fit(sl.laws.Power(), runs).values["a"], 6)
0.3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scaling_laws.version import VERSION

__version__ = VERSION

_HOME = {
    "Axis": "laws", "Law": "laws", "Param": "laws",
    "Metric": "metrics", "METRICS": "metrics",
    "Note": "runs", "Run": "runs", "RunLog": "runs", "RunLogError": "runs",
    "append_run": "runs", "read_runs": "runs", "template": "runs",
    "Fit": "result", "fit": "fitting", "fit_each": "grouped", "transfer": "refitting",
    "update": "refitting",
    "load": "saved",
    "load_example": "example",
    "NoInterval": "halfwild",
    "Choice": "validation", "Forecast": "validation", "choose": "validation",
    "holdout": "validation",
    "Noise": "study", "coverage": "study", "simulate": "study",
    "compare_steps": "twostep", "two_step": "twostep",
    "Backtest": "backtesting", "backtest": "backtesting",
    "Report": "reporting", "report": "reporting",
    "ClassFits": "classes", "fit_classes": "classes", "class_scores": "items",
}  # fmt: skip

_MODULES = ("cost", "decide", "laws", "plot", "presets", "recipes")

__all__ = [
    "Axis",
    "Backtest",
    "Choice",
    "ClassFits",
    "Fit",
    "Forecast",
    "Law",
    "METRICS",
    "Metric",
    "NoInterval",
    "Noise",
    "Note",
    "Param",
    "Report",
    "Run",
    "RunLog",
    "RunLogError",
    "append_run",
    "backtest",
    "choose",
    "class_scores",
    "compare_steps",
    "cost",
    "coverage",
    "decide",
    "fit",
    "fit_classes",
    "fit_each",
    "holdout",
    "laws",
    "load",
    "load_example",
    "plot",
    "presets",
    "read_runs",
    "recipes",
    "report",
    "simulate",
    "template",
    "transfer",
    "two_step",
    "update",
]

if TYPE_CHECKING:
    from scaling_laws import cost, decide, laws, plot, recipes
    from scaling_laws.backtesting import Backtest, backtest
    from scaling_laws.classes import ClassFits, fit_classes
    from scaling_laws.example import load_example
    from scaling_laws.fitting import fit
    from scaling_laws.grouped import fit_each
    from scaling_laws.halfwild import NoInterval
    from scaling_laws.items import class_scores
    from scaling_laws.laws import Axis, Law, Param
    from scaling_laws.metrics import METRICS, Metric
    from scaling_laws.presets.catalogue import presets
    from scaling_laws.refitting import transfer, update
    from scaling_laws.reporting import Report, report
    from scaling_laws.result import Fit
    from scaling_laws.runs import (
        Note,
        Run,
        RunLog,
        RunLogError,
        append_run,
        read_runs,
        template,
    )
    from scaling_laws.saved import load
    from scaling_laws.study import Noise, coverage, simulate
    from scaling_laws.twostep import compare_steps, two_step
    from scaling_laws.validation import Choice, Forecast, choose, holdout


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the package itself imports at once."""
    if name in _MODULES:
        return import_module(f"scaling_laws.{name}")
    if name in _HOME:
        return getattr(import_module(f"scaling_laws.{_HOME[name]}"), name)
    raise AttributeError(f"module 'scaling_laws' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
