"""Fine-tuning curves: forecast the three largest sizes of each of 90 curves from the rest.

Run as ``python -m tests.benchmarks.finetune_table``; needs the published curves of Lin et al. 2024
(``SCALING_LAWS_DATA`` names their folder). Every method sees the first 11 sizes alone.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.fitting import FitTable
from scaling_laws.forecast import aicc

FORMS = {"power": sl.laws.Power(), "rectified": sl.laws.Rectified()}
HELD = 3
BY = ("task", "model")


def data_folder() -> Path:
    """Folder of the published measurements."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return Path(os.environ.get("SCALING_LAWS_DATA", beside))


def curves() -> pd.DataFrame:
    """All curves with examples > 0."""
    frame = pd.read_csv(data_folder() / "finetune_loss.csv").rename(columns={"D": "examples"})
    return frame[frame["examples"] > 0]


def errors_of(
    key: tuple[str, str], curve: pd.DataFrame, always: Mapping[str, FitTable]
) -> dict[str, float]:
    """Log-RMSE of each method on the held-out sizes, and the Forecast's coverage there."""
    curve = curve.sort_values("examples")
    train, test = curve.iloc[:-HELD], curve.iloc[-HELD:]
    choice = sl.choose(FORMS.values(), train[["examples", "loss"]], "loss")
    by_name = {name: table[key] for name, table in always.items()}
    log = np.log(test["loss"].to_numpy())

    def error(one: sl.Fit | sl.Forecast) -> float:
        guess = one.predict(examples=test["examples"].to_numpy(), interval=None)["estimate"]
        return float(np.sqrt(np.mean((np.log(guess.to_numpy()) - log) ** 2)))

    criterion = aicc(by_name)
    rolling = choice.frame["rolling_rmse"].idxmin()
    band = choice.forecast.predict(examples=test["examples"].to_numpy(), interval="run")
    observed = test["loss"].to_numpy()
    inside = (observed >= band["low"]) & (observed <= band["high"])
    return {
        "always power": error(by_name["power"]),
        "always rectified": error(by_name["rectified"]),
        "AICc": error(by_name[str(criterion.idxmin())]),
        "rolling origin": error(choice.fits[str(rolling)]),
        "Forecast": error(choice.forecast),
        "covered": float(inside.mean()),
    }


def table() -> tuple[pd.DataFrame, float]:
    """Median, mean and 90th percentile by method over all curves; coverage of the Forecast."""
    frame = curves().sort_values("examples")
    groups = frame.groupby(list(BY))
    easy = groups.head(groups.size().max() - HELD)
    always = {
        name: sl.fit_each(law, easy[["task", "model", "examples", "loss"]], "loss", by=BY)
        for name, law in FORMS.items()
    }
    rows = [errors_of(key, curve, always) for key, curve in groups]
    frame = pd.DataFrame(rows)
    covered = float(frame.pop("covered").mean())
    out = pd.DataFrame(
        {"median": frame.median(), "mean": frame.mean(), "90 %": frame.quantile(0.9)}
    )
    return out, covered


if __name__ == "__main__":
    summary, covered = table()
    print(summary.round(4).to_string())
    print(f"90 % run intervals of the Forecast contain {covered:.0%} of the held-out losses")
