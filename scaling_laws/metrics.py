"""What a score is: its direction, its floor, its ceiling and where its noise comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

__all__ = ["METRICS", "Metric", "get_metric"]


@dataclass(frozen=True)
class Metric:
    """One score of a run.

    Parameters
    ----------
    name : str
        Column of the run log that holds it; ``{name}_se`` holds its standard error and
        ``{name}_n`` the number of test items behind it.
    direction : {"higher", "lower"}
        Which way is better.
    role : {"in-domain", "general", "loss"}
        The student's own job, its general knowledge, or a plain loss.
    floor : float or None
        Score of a model that knows nothing. None: not known, measure it on an untrained copy.
    top : float or None
        Best possible score; None for an unbounded metric.
    link : {"logit", "log", "identity"}
        ``logit``: ``score = floor + (top - floor) * sigmoid(eta)`` and residuals on the score's own
        scale. ``log``: a positive loss, residuals are differences of logarithms. ``identity``: any
        real number, plain residuals.
    noise : {"proportion", "stored"}
        ``proportion``: the evaluation variance is ``p (1 - p) / n`` unless a standard error is
        stored. ``stored``: only a stored standard error is believed (macro-F1 has no binomial one).
    meaning : str
        One line for tables and axes.
    """

    name: str
    direction: Literal["higher", "lower"] = "lower"
    role: Literal["in-domain", "general", "loss"] = "loss"
    floor: float | None = None
    top: float | None = None
    link: Literal["logit", "log", "identity"] = "log"
    noise: Literal["proportion", "stored"] = "stored"
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.link == "logit":
            if self.top is None:
                raise ValueError(
                    f"Metric {self.name!r}: the logit link needs `top`, the best score."
                )
            if not (self.floor or 0.0) < self.top:
                raise ValueError(
                    f"Metric {self.name!r}: floor {self.floor} is not below top {self.top}."
                )

    @property
    def se(self) -> str:
        """Column of the standard error."""
        return f"{self.name}_se"

    @property
    def n(self) -> str:
        """Column of the number of test items."""
        return f"{self.name}_n"


METRICS: Mapping[str, Metric] = {
    m.name: m
    for m in (
        # Macro-F1 of guessing is near 0, not 1/k (about .02 by uniform guessing over 35 unbalanced
        # classes): 0 is the bound, a measured floor is better.
        Metric(
            "task_f1", "higher", "in-domain", 0.0, 1.0, "logit", "stored", "macro-F1 on the task"
        ),
        Metric(
            "task_accuracy",
            "higher",
            "in-domain",
            0.0,
            1.0,
            "logit",
            "proportion",
            "accuracy on the task",
        ),
        Metric("task_nll", "lower", "in-domain", meaning="NLL of the gold label, nats"),
        Metric("task_brier", "lower", "in-domain", meaning="Brier score, 0 to 2"),
        Metric(
            "task_unparsed",
            "lower",
            "in-domain",
            0.0,
            1.0,
            "logit",
            "proportion",
            "share of answers that could not be parsed",
        ),
        Metric("mmlu", "higher", "general", 0.25, 1.0, "logit", "proportion", "MMLU accuracy"),
        Metric(
            "mmlu_pro", "higher", "general", 0.10, 1.0, "logit", "proportion", "MMLU-Pro accuracy"
        ),
        Metric(
            "quiz", "higher", "general", 0.25, 1.0, "logit", "proportion", "built-in quiz accuracy"
        ),
        Metric("quiz_nll", "lower", "general", meaning="NLL of the quiz's right option, nats"),
        Metric(
            "general_kl", "lower", "general", meaning="KL from the base model on general text, nats"
        ),
        Metric("loss", "lower", "loss", meaning="loss, nats per token"),
    )
}


def get_metric(metric: str | Metric) -> Metric:
    """Return the metric of that name, or the metric itself.

    Raises
    ------
    KeyError
        For a name that is not in `METRICS`; the message says how to declare one.
    """
    if isinstance(metric, Metric):
        return metric
    if metric in METRICS:
        return METRICS[metric]
    close = get_close_matches(metric, METRICS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise KeyError(
        f"metric {metric!r} is not known.{hint} Known: {', '.join(METRICS)}. For one of your own "
        f"pass sl.Metric({metric!r}, direction=..., floor=..., top=..., link=...)."
    )
