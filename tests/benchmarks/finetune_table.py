"""Fine-tuning curves: forecast the three largest sizes of each of 90 curves from the rest.

Run as ``python -m tests.benchmarks.finetune_table``; needs the published curves of Lin et al. 2024
(``SCALING_LAWS_DATA`` names their folder). Every method sees the first 11 sizes alone.
"""

from __future__ import annotations

import scaling_laws as sl
from tests.benchmarks.backtest_table import HELD, finetuning

FORMS = (sl.laws.Power(), sl.laws.Rectified())


def table(progress: bool | None = None) -> sl.Backtest:
    """Errors and coverage by method over all curves."""
    logs = {"fine-tuning loss": finetuning()}
    return sl.backtest(FORMS, logs, "loss", by="curve", leave=HELD, progress=progress)


if __name__ == "__main__":
    print(table())
