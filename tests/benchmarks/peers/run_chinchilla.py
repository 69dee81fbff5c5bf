"""Time `chinchilla` from PyPI: one fit over a grid of starts."""

import json
import sys
import tempfile
import time
from statistics import median

import numpy as np
import pandas as pd
from chinchilla import Chinchilla

DELTA = 1e-3


def log_huber(y_true, y_pred):
    """Huber loss of log residuals, as in the paper."""
    error = np.abs(np.log(y_true) - np.log(y_pred))
    return np.where(error < DELTA, error**2 / 2, DELTA * (error - DELTA / 2))


def main() -> None:
    points = pd.read_csv(sys.argv[1])
    repeat = min(int(sys.argv[2]), 1)  # one fit takes minutes where the others take milliseconds
    grid = {
        "e": np.linspace(0.0, 1.0, 2), "a": np.linspace(4.0, 8.0, 2), "b": np.linspace(4.0, 8.0, 2),
        "alpha": np.linspace(0.2, 0.6, 2), "beta": np.linspace(0.2, 0.6, 2),
    }  # fmt: skip
    times = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            model = Chinchilla(folder, param_grid=grid, loss_fn=log_huber, log_level=50)
            rows = points.rename(columns={"params": "N", "tokens": "D"})
            model.database.df = rows.assign(C=6 * rows["N"] * rows["D"])
            start = time.perf_counter()
            model.fit(parallel=True)
            times.append(time.perf_counter() - start)
    starts = int(np.prod([len(v) for v in grid.values()]))
    what = f"fit, {starts} BFGS starts, every core (E = {float(model.E):.4f})"
    print(json.dumps({"package": "chinchilla", "what": what, "seconds": median(times)}))


if __name__ == "__main__":
    main()
