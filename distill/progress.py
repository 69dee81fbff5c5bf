"""The progress bar of a training: loss, speed and, on a GPU, memory and model FLOPs utilisation."""

from __future__ import annotations

from typing import Any

import torch
from tqdm import tqdm

from scaling_laws.cost import peak_flops

__all__ = ["Progress"]


class Progress:
    """A bar on the standard error stream; nothing where that is no terminal.

    MFU counts ``6 N`` FLOPs a token of a student with N parameters, ``4 N`` if they are frozen
    under adapters; the teacher's work is not counted (Chowdhery et al. 2022, arXiv 2204.02311,
    appendix B).

    Parameters
    ----------
    total, done : int
        Optimiser steps in all and already done.
    device : torch.device
    flops_per_token : float
    processes : int
    show : bool
    """

    def __init__(
        self,
        total: int,
        done: int,
        device: torch.device,
        flops_per_token: float,
        processes: int,
        show: bool,
    ) -> None:
        self._bar = tqdm(
            total=total, initial=done, unit="step", disable=None if show else True, leave=False
        )
        self._device, self._flops = device, flops_per_token
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        peak = peak_flops(name)
        self._peak = None if peak is None else peak * processes

    def step(self, loss: float, tokens: int, seconds: float) -> None:
        """Advance by a step that took a number of tokens and seconds."""
        self._bar.set_postfix(self.values(loss, tokens, seconds), refresh=False)
        self._bar.update()

    def values(self, loss: float, tokens: int, seconds: float) -> dict[str, Any]:
        """Return what is shown beside the bar."""
        shown: dict[str, Any] = {"loss": f"{loss:.4f}", "tok/s": f"{tokens / seconds:,.0f}"}
        if self._device.type == "cuda":
            shown["GiB"] = f"{torch.cuda.max_memory_allocated(self._device) / 2**30:.1f}"
        if self._peak is not None:
            shown["MFU"] = f"{self._flops * tokens / seconds / self._peak:.1%}"
        return shown

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
