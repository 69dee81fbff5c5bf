"""Time `simple-scaling-laws` from PyPI: a fit without draws, and with 1000."""

import json
import sys
import time
import warnings
from statistics import median

import polars as pl
from simple_scaling_laws import fit


def main() -> None:
    warnings.simplefilter("ignore")
    points = pl.read_csv(sys.argv[1])
    n = len(points)
    table = pl.DataFrame(
        {
            "training_run_id": [f"run_{i}" for i in range(n)],
            "train_set_id": [f"train_{i}" for i in range(n)],
            "test_set_id": ["test"] * n,
            "optimizer_seed": [0] * n,
            "model_size__n_params": points["params"].cast(pl.Float64),
            "dataset_size__n_subjects": points["tokens"].cast(pl.Float64),
            "test_loss__cross_entropy": points["loss"],
        }
    )
    for draws in (1, 1000):
        times = []
        for _ in range(int(sys.argv[2])):
            start = time.perf_counter()
            model = fit(table, law="separable-power", n_draws=draws, seed=0)
            times.append(time.perf_counter() - start)
        limit = model.params("test_loss__cross_entropy")["E"]
        what = f"fit with {draws} draw{'s' * (draws > 1)} (E = {limit:.4f})"
        told = {"package": "simple-scaling-laws", "what": what, "seconds": median(times)}
        print(json.dumps(told))


if __name__ == "__main__":
    main()
