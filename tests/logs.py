"""Designs and noisy logs that several test files share."""

import numpy as np
import pandas as pd

FORMATS = ("blended", "cot", "label")
EXAMPLES = np.logspace(2, 6, 9).round()
KEPT = np.array([1.0, 0.79, 0.58, 0.37, 0.25, 0.16])


def grid(**columns):
    """Return every combination of the given values, a row each."""
    index = pd.MultiIndex.from_product(columns.values(), names=list(columns))
    return index.to_frame(index=False)


ONE_AXIS = grid(examples=EXAMPLES)
SIZES = grid(kept=np.linspace(0.1, 1.0, 12))
JOINT = grid(examples=EXAMPLES, kept=KEPT)
BY_FORMAT = grid(examples=EXAMPLES, kept=KEPT, format=FORMATS)
PRETRAINING = grid(params=np.logspace(7, 10, 6).round(), tokens=np.logspace(8, 11.5, 6).round())


def noisy_pretraining(seed):
    rng = np.random.default_rng(seed)
    loss = (
        1.8 + 480 * PRETRAINING["params"] ** -0.35 + 2100 * PRETRAINING["tokens"] ** -0.37
    ) * np.exp(0.01 * rng.standard_t(3, len(PRETRAINING)))
    # Multiples of a million stay whole when the unit grows.
    return pd.DataFrame(
        {
            "params": (PRETRAINING["params"] / 1e6).round() * 1e6,
            "tokens": (PRETRAINING["tokens"] / 1e6).round() * 1e6,
            "loss": loss,
        }
    )


def noisy_curve(rows=24, seed=0):
    """Heavy tails, so that Huber's corner matters."""
    rng = np.random.default_rng(seed)
    x = np.logspace(2, 6, rows).round()
    loss = (1 + 0.5 * (x / 1e4) ** -0.3) * np.exp(0.02 * rng.standard_t(2, rows))
    return pd.DataFrame({"examples": x, "loss": loss})


def level(x, m):
    return m + 0 * x


def exponential(x, top, rate):
    return top * (1 - np.exp(-rate * x))
