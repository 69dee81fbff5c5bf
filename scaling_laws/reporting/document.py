"""`report`: a run log in, one HTML file out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_laws.cost import Serving, Shape
from scaling_laws.cost import shape as shape_of
from scaling_laws.decide.pruned import Pruning
from scaling_laws.laws import Law
from scaling_laws.metrics import Metric
from scaling_laws.reporting.findings import Asked, Findings, gather
from scaling_laws.reporting.page import page_of
from scaling_laws.runs import RunLog, read_runs

__all__ = ["Report", "report"]


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """A report: its findings and its page.

    Attributes
    ----------
    findings : Findings
        Choices, hold-outs, decisions, as objects.
    html : str
        The page: self-contained, and the same for the same log and options.
    path : Path or None
        Where it was written.
    """

    findings: Findings
    html: str
    path: Path | None = None

    def save(self, path: str | Path) -> Path:
        """Write the page."""
        out = Path(path)
        out.write_text(self.html, encoding="utf-8")
        return out

    def __repr__(self) -> str:
        found = self.findings
        where = "" if self.path is None else f" in {self.path}"
        lines = [f"Report of {found.log.source}{where}, {len(self.html.encode()) / 1e6:.2f} MB"]
        lines += [f"  {title}: {one.answer}" for title, one in found.decisions.items()]
        lines += [f"  not answered: {name}: {why}" for name, why in found.open.items()]
        return "\n".join(lines)


def report(
    log: Any,
    out: str | Path | None = None,
    *,
    metrics: Sequence[str | Metric] | None = None,
    laws: Sequence[Law] | None = None,
    by: str | Sequence[str] | None = None,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    confidence: float = 0.9,
    level: float = 0.9,
    serving: Serving | None = None,
    shape: Shape | str | None = None,
    pruning: Pruning | None = None,
    title: str | None = None,
    rng: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Fit a log in every admissible form and write what follows as one HTML file.

    The page has the data with the rows refused, the forms tried and their forecast, intervals,
    notes, a hold-out, degradation curves, decisions, the reproducibility card, and a panel that
    answers what-if. It asks the network for nothing and needs a script for the panel only.

    Parameters
    ----------
    log : RunLog, path, DataFrame or list of dict
        As `read_runs` takes it.
    out : path, optional
        Where to write the page.
    metrics : sequence of str or Metric, optional
        Default: the first in-domain score (else loss) and the first general one.
    laws : sequence of Law, optional
        Forms to choose among, for every metric; default those that the log's axes admit.
    by : str or sequence of str, optional
        Factors of the default forms; default every category that sets runs apart: formats,
        methods, schedules, teachers.
    at_least, at_most : mapping of metric to number, optional
        Targets: with them the smallest student and the labels needed are told.
    confidence : float
        With which targets are to be met.
    level : float
        Of the intervals.
    serving : cost.Serving, optional
        A server and its work: adds latency and price.
    shape : cost.Shape or name, optional
        The whole model, needed with `serving`.
    pruning : mapping, optional
        How its students are cut, as in `scaling_laws.decide.smallest`; default as the log's are.
    title : str, optional
    rng : int
        Seed of everything random.
    progress : callable, optional
        Called with a few words before every step.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If no metric can be fitted, or an option does not suit the log.
    """
    runs = log if isinstance(log, RunLog) else read_runs(log)
    for name, share in (("level", level), ("confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(f"report: {name} = {share:g} is not in (0, 1).")
    if serving is not None and shape is None:
        raise ValueError("report: serving needs shape=, the whole model that `kept` is part of.")
    factors = (by,) if isinstance(by, str) else by
    tell = progress or _silent
    whole = None if shape is None else shape_of(shape)
    asked = Asked(
        metrics, laws, factors, at_least, at_most, confidence, level, serving, whole, pruning, rng
    )
    found = gather(runs, asked, tell)
    tell("page")
    made = Report(found, page_of(found, title or f"Scaling report: {runs.source}"))
    return made if out is None else Report(found, made.html, made.save(out))


def _silent(words: str) -> None:
    """Take words and say nothing."""
