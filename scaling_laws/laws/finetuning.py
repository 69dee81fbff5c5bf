"""Laws of fine-tuning and transfer, and of what a score owes to the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Axis, Law, Param, Values
from scaling_laws.laws.centred import CentredLaw, amplitude, exponent
from scaling_laws.laws.deficits import DeficitLaw, Product

__all__ = ["FineTuning", "LossToError", "Transferred"]

Array = NDArray[np.float64]


class FineTuning(DeficitLaw):
    """``loss = E + A / (params^alpha examples^beta)``: size and data multiply.

    ``A`` is printed at one parameter and one example, as published. ``E`` and ``beta`` belong to
    the task and the way of tuning: sizes share them, methods do not. For a score the same deficit
    is taken from its limit on the logit scale. `Compressed` with ``kind="multiplicative"`` is this
    law for pruned students, its amplitude at the centre of the data.

    Parameters
    ----------
    size, data : str
        Columns: parameters of the model (or tokens of its pretraining, or parameters that are
        tuned), and fine-tuning examples.
    by, share
        See `Law`.

    References
    ----------
    .. [1] B. Zhang et al., "When scaling meets LLM finetuning: the effect of data, model and
       finetuning method", arXiv 2402.17193, Eq. 1.
    """

    E = Param("loss of infinite data", "{metric}", soft=-np.inf, role="limit")
    A = Param("what size and data remove, at 1 parameter and 1 example", "{metric}",
              role="amplitude")  # fmt: skip
    alpha = Param("exponent of the size", lower=0.0, upper=3.0, soft=-0.6, search=(0.02, 1.5))
    beta = Param("exponent of the data", lower=0.0, upper=3.0, soft=-0.6, search=(0.02, 1.5))

    def __init__(
        self,
        size: str = "params",
        data: str = "examples",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.axes = (Axis(size, report=1.0), Axis(data, report=1.0))
        self.deficits = (Product("A", {size: "alpha", data: "beta"}),)
        self.formula_text = f"E + A {size}^-alpha {data}^-beta"
        super().__init__(by, share, size=size, data=data)


class Transferred(CentredLaw):
    """``D_T = k characters^alpha params_nonembedding^beta``: data that pretraining is worth.

    ``D_T`` is the further data, in the unit of `data`, that a model trained from scratch would have
    needed for the same loss. Holds while the fine-tuning data are scarce: at most a tenth of
    what the model can use from scratch. ``k`` is printed at one character and one parameter.

    Parameters
    ----------
    data : str
        Column of the fine-tuning data; the paper counts characters.
    size : str
        Column of the parameters, without vocabulary and position embeddings.
    by, share
        See `Law`.

    References
    ----------
    .. [1] D. Hernandez et al., "Scaling laws for transfer", arXiv 2102.01293, Eq. 1.1.
    """

    k = amplitude("data transferred, at 1 of each axis")
    alpha = exponent("exponent of the fine-tuning data")
    beta = exponent("exponent of the size")

    def __init__(
        self,
        data: str = "characters",
        size: str = "params_nonembedding",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.data, self.size = data, size
        self.axes = (Axis(data, report=1.0), Axis(size, report=1.0))
        self.log_axes = (data, size)
        self.formula_text = f"k {data}^alpha {size}^beta"
        super().__init__(by, share, data=data, size=size)

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factor of k at the centre."""
        return {"k": p["alpha"] * centre[self.data] + p["beta"] * centre[self.size]}

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the data transferred."""
        powers = params["alpha"] * x[self.data] + params["beta"] * x[self.size]
        return params["k"] * np.exp(powers)

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in ``k``, ``alpha`` and ``beta``."""
        value = self.formula(x, **params)
        return {
            "k": value / params["k"],
            "alpha": value * x[self.data],
            "beta": value * x[self.size],
        }


class LossToError(Law):
    """``error = eps - k exp(-gamma loss)``; a score is ``top - error``.

    The link of a two-step prediction: the loss is extrapolated, the score follows from it. ``eps``
    is the error of a model whose loss is large (chance). Loss and error must be measured on the
    same models.

    Parameters
    ----------
    loss : str
        Column of the loss.
    top : float, optional
        Best score; `sl.fit` sets it from the metric. None: the metric is itself an error.
    by, share
        See `Law`.

    References
    ----------
    .. [1] S. Y. Gadre et al., "Language models scale reliably with over-training and on downstream
       tasks", arXiv 2403.08540, Eq. 5.
    """

    eps = Param("error at a large loss", "{metric}", upper=1.0, role="amplitude")
    k = Param("error removed, extrapolated to loss 0", "{metric}", lower=1e-6, upper=1e6,
              scale="log", role="amplitude")  # fmt: skip
    gamma = Param("how fast error follows loss", "1/loss", lower=0.01, upper=20.0, scale="log",
                  search=(0.1, 5.0))  # fmt: skip

    def __init__(
        self,
        loss: str = "loss",
        top: float | None = None,
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.loss, self.top = loss, top
        self.axes = (loss,)
        self.formula_text = f"eps - k exp(-gamma {loss})"
        if top is not None:
            self.formula_text = f"{top:g} - eps + k exp(-gamma {loss})"
        super().__init__(by, share, loss=loss, top=top)

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the error, or the score."""
        error = params["eps"] - params["k"] * np.exp(-params["gamma"] * x[self.loss])
        return error if self.top is None else self.top - error

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all three parameters."""
        decay = np.exp(-params["gamma"] * x[self.loss])
        found = {
            "eps": np.ones_like(decay),
            "k": -decay,
            "gamma": params["k"] * decay * x[self.loss],
        }
        return found if self.top is None else {name: -slope for name, slope in found.items()}
