"""Whether this device multiplies bfloat16 well: some processors do so many times slower."""

from __future__ import annotations

import time

import torch

from .config import Config

__all__ = ["bf16_settings", "bf16_slowdown", "precision_note"]

_SIZE = 256
_REPEATS = 3
# A slowdown below this may pay for itself by half of the memory.
_SLOW = 3.0


def bf16_settings(config: Config) -> list[str]:
    """Return the settings by which a configuration computes in bfloat16."""
    found = {
        "model.dtype": config.model.dtype == "bfloat16",
        "train.precision": config.train.precision == "bf16",
        "adapt.train.precision": config.adapt is not None
        and config.adapt.train.precision == "bf16",
    }
    return [name for name, used in found.items() if used]


def bf16_slowdown(device: torch.device) -> float:
    """Return the time of a matrix product in bfloat16 over the one in float32."""
    spent: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(_SIZE, _SIZE, dtype=dtype, device=device)
        times = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            torch.mm(a, a)
            times.append(time.perf_counter() - began)
        spent[dtype] = min(times)
    return spent[torch.bfloat16] / spent[torch.float32]


def precision_note(config: Config, device: torch.device) -> str | None:
    """Return a sentence if the configuration is slow on this processor, which nothing else says."""
    settings = bf16_settings(config)
    if device.type != "cpu" or not settings:
        return None
    slowdown = bf16_slowdown(device)
    if slowdown < _SLOW:
        return None
    return (
        f"This processor multiplies bfloat16 numbers {slowdown:.0f} times slower than float32, and "
        f"{' and '.join(settings)} ask{'s' if len(settings) == 1 else ''} for them: hours may "
        "become days. Write fp32 or float32 there (another configuration, with other results), or "
        "use a processor with AVX-512, or a GPU."
    )
