"""Three published families of curves in one backtest: fine-tuning, few-shot, pruning.

Run as ``python -m tests.benchmarks.backtest_table [--plot FILE]``; needs the published measurements
(``SCALING_LAWS_DATA`` names their folder). Every way to forecast sees the easier levels of a curve
alone and is judged on its three hardest.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import scaling_laws as sl

HELD = 3
# Best run within each of these many bins per unit of log(kept).
BINS = 4
TOP_1 = sl.Metric(
    "top_1", "higher", "in-domain", 0.001, 1.0, "logit", "proportion", "ImageNet accuracy"
)


def data_folder() -> Path:
    """Folder of the published measurements."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return Path(os.environ.get("SCALING_LAWS_DATA", beside))


def finetuning() -> pd.DataFrame:
    """Lin et al. 2024: loss against fine-tuning examples, 30 models x 3 tasks."""
    frame = pd.read_csv(data_folder() / "finetune_loss.csv").rename(columns={"D": "examples"})
    frame = frame[frame["examples"] > 0]
    return frame.assign(curve=frame["task"] + ", " + frame["model"])


def fewshot() -> pd.DataFrame:
    """Tunstall et al. 2022: accuracy against examples a class, ten splits a size."""
    table = pd.read_csv(data_folder() / "setfit_fewshot.csv")
    table = table[(table["metric"] == "accuracy") & (table["n_per_class"] != "full")]
    return pd.DataFrame(
        {
            "examples": table["n_per_class"].astype(float),
            "task_accuracy": table["score"] / 100,
            "seed": table["seed"],
            "curve": table["method"] + ", " + table["model"] + ", " + table["task"],
        }
    )


def envelope() -> sl.RunLog:
    """Gale et al. 2019: best ResNet-50 of each method against the fraction of weights kept."""
    table = pd.read_csv(data_folder() / "resnet50_sparsity.csv")
    table = table.assign(kept=1 - table["sparsity"], top_1=table["accuracy"])
    dense = table[table["method"] == "baseline"]
    table = table[table["method"] != "baseline"]
    level = (BINS * np.log(table["kept"])).round()
    best = table.loc[table.groupby([table["method"], level])["top_1"].idxmax()]
    whole = [dense.nlargest(1, "top_1").assign(method=m) for m in best["method"].unique()]
    rows = pd.concat([*whole, best])[["method", "kept", "top_1"]].rename(
        columns={"method": "curve"}
    )
    return sl.read_runs(rows.reset_index(drop=True), metrics=[TOP_1])


def table(progress: bool | None = None) -> sl.Backtest:
    """The three side by side, each under the two forms of its axis with the fewest parameters."""
    learning = {"fine-tuning loss": finetuning(), "few-shot accuracy": fewshot()}
    pruning = {"pruned ResNet-50": envelope()}
    data, size = (
        sl.backtest(forms, logs, by="curve", leave=HELD, progress=progress)
        for forms, logs in (
            ([sl.laws.Power(), sl.laws.Rectified()], learning),
            ([sl.laws.Collapse(), sl.laws.Plateau()], pruning),
        )
    )
    return replace(
        data,
        curves=pd.concat([data.curves, size.curves], ignore_index=True),
        failed=pd.concat([data.failed, size.failed], ignore_index=True),
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table; draw it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", default="", help="write a figure here")
    asked = parser.parse_args(arguments)
    found = table()
    print(found)
    if asked.plot:
        found.plot().get_figure(root=True).savefig(asked.plot, dpi=160)


if __name__ == "__main__":
    main()
