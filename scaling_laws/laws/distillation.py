"""Pretraining by distillation: a student between its teacher and supervised training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.base import Axis, Frame, Param, Values
from scaling_laws.laws.centred import CentredLaw, amplitude, exponent, softplus
from scaling_laws.laws.classic import compute_optimum

__all__ = ["Distilled", "Supervised"]

Array = NDArray[np.float64]


def _power_of_sum(log_a: Array, log_b: Array, g: Array) -> tuple[Array, Array]:
    """``log (a + b)^g`` and the share of ``a`` in the sum."""
    total = np.logaddexp(log_a, log_b)
    return g * total, np.exp(log_a - total)


class Supervised(CentredLaw):
    """``loss = E + (A / params^a + B / tokens^b)^g``: training on data alone.

    `Chinchilla` with its two terms under one power; ``g = 1`` is that law. ``A`` and ``B`` are
    printed at 1 parameter and 1 token.

    Parameters
    ----------
    by, share
        See `Law`.

    References
    ----------
    .. [1] D. Busbridge et al., "Distillation scaling laws", arXiv 2502.08606.
    """

    formula_text = "E + (A params^-a + B tokens^-b)^g"
    axes = (Axis("params", report=1.0), Axis("tokens", report=1.0))
    log_axes = ("params", "tokens")
    E = Param("irreducible loss", "{metric}", role="amplitude")
    A = amplitude("cost of a finite model, at 1 parameter, before the power g")
    B = amplitude("cost of finite data, at 1 token, before the power g")
    a = exponent("exponent of the parameters")
    b = exponent("exponent of the tokens")
    g = exponent("power of the sum", lower=0.05)

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factors of A and B at the centre."""
        return {"A": -p["a"] * centre["params"], "B": -p["b"] * centre["tokens"]}

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the loss."""
        log_power, _ = self._power(x, params)
        return params["E"] + np.exp(log_power)

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all six parameters."""
        log_power, share = self._power(x, params)
        power = np.exp(log_power)
        by_a, by_b = params["g"] * power * share, params["g"] * power * (1.0 - share)
        return {
            "E": np.ones_like(power),
            "A": by_a / params["A"],
            "B": by_b / params["B"],
            "a": -by_a * x["params"],
            "b": -by_b * x["tokens"],
            "g": power * log_power / params["g"],
        }

    def _power(self, x: Values, p: Values) -> tuple[Array, Array]:
        return _power_of_sum(
            np.log(p["A"]) - p["a"] * x["params"], np.log(p["B"]) - p["b"] * x["tokens"], p["g"]
        )

    def optimum(self, compute: Array, p: Values) -> Array:
        """Return the parameters with the least loss at ``compute = 6 params tokens`` FLOP."""
        return compute_optimum(compute, p["A"], p["B"], p["a"], p["b"])


class Distilled(CentredLaw):
    """``loss = LT + LT^-c0 (1 + (LT / (Ls d1))^(1/f1))^(-c1 f1) (A/params^a + B/tokens^b)^g``.

    ``LT`` is the teacher's loss, ``Ls`` the loss that the student would reach by supervised
    training on as many tokens (`Supervised`). ``loss >= LT``: a student does not beat its teacher.
    ``f1`` is small and ``c1`` large, so everything is a logarithm until the end and stays finite
    for 1 to 1e15 tokens. Compute is about ``3 F(student) tokens + F(teacher) (tokens whose logits
    are made + 3 tokens of its own training)``, F the forward FLOP a token.

    Parameters
    ----------
    supervised : mapping
        ``E, A, B, a, b, g`` of `Supervised` in the student's family: fit that law first. They stay
        fixed.
    teacher : str
        Column of the teacher's loss.
    by, share
        See `Law`.

    References
    ----------
    .. [1] D. Busbridge et al., "Distillation scaling laws", arXiv 2502.08606.
    """

    c0 = Param("how a better teacher slows its student", upper=10.0)
    c1 = Param("how steeply help ends past the break", lower=1e-3, upper=1e5, scale="log",
               search=(0.1, 1e3))  # fmt: skip
    f1 = Param("how gradual the break is", lower=1e-3, upper=10.0, scale="log",
               search=(0.02, 1.0))  # fmt: skip
    d1 = Param("teacher's loss over the supervised loss at the break", lower=0.1, upper=10.0,
               scale="log", search=(0.5, 2.0))  # fmt: skip
    A = amplitude("cost of a finite student, at 1 parameter, before the power g")
    B = amplitude("cost of finite data, at 1 token, before the power g")
    a = exponent("exponent of the student's parameters")
    b = exponent("exponent of the tokens")
    g = exponent("power of the sum", lower=0.05)

    def __init__(
        self,
        supervised: Mapping[str, float] | None = None,
        teacher: str = "teacher_loss",
        by: str | Iterable[str] = (),
        share: Iterable[str] | Mapping[str, bool] = (),
    ) -> None:
        self.supervised = {k: float(v) for k, v in (supervised or {}).items()}
        if set(self.supervised) != set("EABabg"):
            got = ", ".join(self.supervised) or "nothing"
            raise ValueError(f"supervised: give E, A, B, a, b, g of Supervised; got {got}.")
        self.teacher = teacher
        self.axes = (Axis("params", report=1.0), Axis("tokens", report=1.0), teacher)
        self.log_axes = ("params", "tokens")
        self.formula_text = (
            f"{teacher} + {teacher}^-c0 (1 + ({teacher} / (Ls d1))^(1/f1))^(-c1 f1) "
            "(A params^-a + B tokens^-b)^g"
        )
        super().__init__(by, share, supervised=dict(self.supervised), teacher=teacher)

    def prepare(self, raw: Values, frame: Frame) -> dict[str, Array]:
        """Logarithms, and the logarithm of what supervised training would reach."""
        alone = {k: np.log(raw[k]) for k in self.log_axes}
        constants = {k: np.asarray(v) for k, v in self.supervised.items()}
        reached = np.log(Supervised().formula(alone, **constants))
        return {**super().prepare(raw, frame), "supervised": reached}

    def shifts(self, p: Values, centre: Mapping[str, float]) -> dict[str, Array]:
        """Return the factors of A and B at the centre."""
        return {"A": -p["a"] * centre["params"], "B": -p["b"] * centre["tokens"]}

    def formula(self, x: Values, **params: Array) -> Array:
        """Return the student's loss."""
        return x[self.teacher] + self._gap(x, params)[0]

    def derivatives(self, x: Values, **params: Array) -> dict[str, Array]:
        """Return the derivatives in all nine parameters."""
        gap, log_power, share, z, soft, weight = self._gap(x, params)
        c1, f1, g = params["c1"], params["f1"], params["g"]
        return {
            "c0": -gap * np.log(x[self.teacher]),
            "c1": -gap * f1 * soft,
            "f1": -gap * c1 * (soft - weight * z),
            "d1": gap * c1 * weight / params["d1"],
            "A": gap * g * share / params["A"],
            "B": gap * g * (1.0 - share) / params["B"],
            "a": -gap * g * share * x["params"],
            "b": -gap * g * (1.0 - share) * x["tokens"],
            "g": gap * log_power / g,
        }

    def _gap(self, x: Values, p: Values) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Loss above the teacher's, and what its derivatives need."""
        log_teacher = np.log(x[self.teacher])
        log_power, share = _power_of_sum(
            np.log(p["A"]) - p["a"] * x["params"], np.log(p["B"]) - p["b"] * x["tokens"], p["g"]
        )
        z = (log_teacher - x["supervised"] - np.log(p["d1"])) / p["f1"]
        soft, weight = softplus(z)
        gap = np.exp(-p["c0"] * log_teacher - p["c1"] * p["f1"] * soft + log_power)
        return gap, log_power, share, z, soft, weight
