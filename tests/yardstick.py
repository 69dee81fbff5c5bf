"""How fast this processor is now, in a fit that SciPy does: other work on it slows both alike."""

import time

import numpy as np
from scipy.optimize import least_squares

# Seconds of the fit on one quiet core of a server.
QUIET = 5.3e-3
_REPEATS = 25


def slowness() -> float:
    """Return the time of a fixed fit here and now over that on a quiet core, 1 at the least."""
    x, z = (np.random.default_rng(seed).uniform(-3, 3, 240) for seed in (0, 1))
    y = np.logaddexp(np.logaddexp(-1 - 0.35 * x, -1 - 0.37 * z), 0.5)
    y = y + 0.01 * np.random.default_rng(2).standard_normal(240)

    def residual(p: np.ndarray) -> np.ndarray:
        return np.logaddexp(np.logaddexp(p[0] - p[3] * x, p[1] - p[4] * z), p[2]) - y

    times = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        least_squares(residual, [-1.0, -1.0, 0.5, 0.3, 0.3], loss="huber", f_scale=1e-3)
        times.append(time.process_time() - begin)
    return max(1.0, float(np.median(times)) / QUIET)
