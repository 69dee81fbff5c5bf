"""Time of a decode step and of a prefill: the formulas, for many models at once.

``step(B) = (R w + B c KV) / (BW mbu) + 2 B R' / (peak mfu) + t0 layers + ts B``
``prefill = (2 N L + 2 L^2 layers heads head_dim) / (peak mfu_p) + t0 layers``

B sequences are decoded together at context c; R w are the bytes of weights read (with output head),
R' and N the weights that a token is multiplied with (with and without output head), KV the bytes
of keys and values that a token of context takes, L the tokens of the prompt. BW and peak are the
hardware's; mbu, mfu, mfu_p (utilisations of bandwidth and FLOPs), t0 and ts (seconds a layer and
a sequence) are calibrated. Terms add: reading and computing overlap less than a maximum has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import Columns, counts
from .tables import Hardware

__all__ = ["Times", "kv_bytes", "times"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Times:
    """What multiplies each constant; arrays ``[models]``, seconds at full utilisation.

    Parameters
    ----------
    read : array
        To read the weights once; divided by mbu.
    context : array
        To read a sequence's keys and values; divided by mbu.
    multiply : array
        To compute one token of a sequence; divided by mfu.
    prompt : array
        To compute a prompt; divided by mfu_p.
    layers : array
        Times t0, for a step and for a prefill.
    """

    read: Floats
    context: Floats
    multiply: Floats
    prompt: Floats
    layers: Floats


def kv_bytes(sizes: Columns, kv_bits: int = 16) -> Floats:
    """Return the bytes of keys and values of one token: ``2 layers kv_heads head_dim bytes``."""
    tokens = 2 * sizes["layers"] * sizes["kv_heads"] * sizes["head_dim"]
    return tokens * kv_bits / 8


def times(
    sizes: Columns,
    hardware: Hardware,
    tokens_in: Floats,
    context: Floats,
    kv_bits: int = 16,
    gpus: int | NDArray[np.int64] = 1,
) -> Times:
    """Return what the constants multiply.

    Weights, keys and values and arithmetic are divided over the devices of a tensor-parallel group,
    where there are more devices than key-value heads these are held twice; what the devices tell
    one another is not counted.
    """
    count = counts(sizes)
    query = sizes["heads"] * sizes["head_dim"]
    halves = np.minimum(gpus, sizes["kv_heads"])
    attention = 2.0 * tokens_in**2 * sizes["layers"] * query
    return Times(
        read=count.read_bytes / (hardware.bandwidth * gpus),
        context=context * kv_bytes(sizes, kv_bits) / (hardware.bandwidth * halves),
        multiply=np.asarray(2.0 * count.multiplied / (hardware.peak_flops * gpus), np.float64),
        prompt=(2.0 * count.matrices * tokens_in + attention) / (hardware.peak_flops * gpus),
        layers=sizes["layers"].astype(np.float64),
    )
