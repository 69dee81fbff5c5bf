"""NIST StRD nonlinear regression: 27 certified problems, both official starts, as user functions.

Certified: 6 digits of every value and 4 of every standard error (first-order covariance).
"""

import re
from functools import cache
from pathlib import Path

import lmfit
import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl

exp, cos, sin, pi = np.exp, np.cos, np.sin, np.pi


def bennett5(x, b1, b2, b3):
    return b1 * (b2 + x) ** (-1 / b3)


def boxbod(x, b1, b2):
    return b1 * (1 - exp(-b2 * x))


def chwirut(x, b1, b2, b3):
    return exp(-b1 * x) / (b2 + b3 * x)


def danwood(x, b1, b2):
    return b1 * x**b2


def eckerle4(x, b1, b2, b3):
    return b1 / b2 * exp(-0.5 * ((x - b3) / b2) ** 2)


def enso(x, b1, b2, b3, b4, b5, b6, b7, b8, b9):
    year, second, third = 2 * pi * x / 12, 2 * pi * x / b4, 2 * pi * x / b7
    return (
        b1 + b2 * cos(year) + b3 * sin(year) + b5 * cos(second) + b6 * sin(second)
        + b8 * cos(third) + b9 * sin(third)
    )  # fmt: skip


def gauss(x, b1, b2, b3, b4, b5, b6, b7, b8):
    return (
        b1 * exp(-b2 * x) + b3 * exp(-((x - b4) ** 2) / b5**2) + b6 * exp(-((x - b7) ** 2) / b8**2)
    )


def hahn1(x, b1, b2, b3, b4, b5, b6, b7):
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


def kirby2(x, b1, b2, b3, b4, b5):
    return (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2)


def lanczos(x, b1, b2, b3, b4, b5, b6):
    return b1 * exp(-b2 * x) + b3 * exp(-b4 * x) + b5 * exp(-b6 * x)


def mgh09(x, b1, b2, b3, b4):
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


def mgh10(x, b1, b2, b3):
    return b1 * exp(b2 / (x + b3))


def mgh17(x, b1, b2, b3, b4, b5):
    return b1 + b2 * exp(-x * b4) + b3 * exp(-x * b5)


def misra1b(x, b1, b2):
    return b1 * (1 - (1 + b2 * x / 2) ** -2)


def misra1c(x, b1, b2):
    return b1 * (1 - (1 + 2 * b2 * x) ** -0.5)


def misra1d(x, b1, b2):
    return b1 * b2 * x * (1 + b2 * x) ** -1


def nelson(x1, x2, b1, b2, b3):
    return b1 - b2 * x1 * exp(-b3 * x2)


def rat42(x, b1, b2, b3):
    return b1 / (1 + exp(b2 - b3 * x))


def rat43(x, b1, b2, b3, b4):
    return b1 / (1 + exp(b2 - b3 * x)) ** (1 / b4)


def roszman1(x, b1, b2, b3, b4):
    return b1 - b2 * x - np.arctan(b3 / (x - b4)) / pi


FUNCTIONS = {
    "Bennett5": bennett5, "BoxBOD": boxbod, "Chwirut1": chwirut, "Chwirut2": chwirut,
    "DanWood": danwood, "ENSO": enso, "Eckerle4": eckerle4, "Gauss1": gauss, "Gauss2": gauss,
    "Gauss3": gauss, "Hahn1": hahn1, "Kirby2": kirby2, "Lanczos1": lanczos, "Lanczos2": lanczos,
    "Lanczos3": lanczos, "MGH09": mgh09, "MGH10": mgh10, "MGH17": mgh17, "Misra1a": boxbod,
    "Misra1b": misra1b, "Misra1c": misra1c, "Misra1d": misra1d, "Nelson": nelson, "Rat42": rat42,
    "Rat43": rat43, "Roszman1": roszman1, "Thurber": hahn1,
}  # fmt: skip
# Terms that may change places without changing the curve: (amplitude, rate) of each.
TERMS = {
    "lanczos": (("b1", "b2"), ("b3", "b4"), ("b5", "b6")),
    "mgh17": (("b2", "b4"), ("b3", "b5")),
}
# Residuals of 1e-13 on data of size 1: they are mostly rounding, and so are standard errors.
ROUNDING = {"Lanczos1"}


@cache
def problem(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the problem, and its starts and certified values by parameter."""
    lines = path.read_text().splitlines()
    found = [re.match(r"\s*(b\d+)\s*=\s*(.*)", line) for line in lines]
    table = {m[1]: [float(v) for v in m[2].split()] for m in found if m}
    certified = pd.DataFrame.from_dict(
        table, orient="index", columns=["start1", "start2", "value", "se"]
    )
    at = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    rows = pd.DataFrame([[float(v) for v in line.split()] for line in lines[at + 1 :] if line])
    rows.columns = ["y", "x"] if rows.shape[1] == 2 else ["y", "x1", "x2"]
    if path.stem == "Nelson":
        rows["y"] = np.log(rows["y"])
    return rows, certified


@pytest.mark.parametrize("given", ["mapping", "lmfit"])
@pytest.mark.parametrize("start", ["start1", "start2"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_certified_digits(data_folder, name, start, given):
    path = data_folder / "nist" / f"{name}.dat"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    rows, certified = problem(path)
    if given == "mapping":
        parameters = {b: {"value": v} for b, v in certified[start].items()}
    else:
        parameters = lmfit.Parameters()
        for b, v in certified[start].items():
            parameters.add(b, value=v)
    fit = sl.fit(
        FUNCTIONS[name], rows, "y", link="identity", objective="squares", parameters=parameters
    )
    found = pd.DataFrame({"value": fit.values}, index=certified.index)
    found["se"] = np.sqrt(np.diag(fit.covariance().to_numpy()))
    if FUNCTIONS[name] in (gauss, eckerle4):
        found["value"] = found["value"].abs()  # widths have no sign; all else is positive
    terms = TERMS.get(FUNCTIONS[name].__name__, ())
    order = sorted(terms, key=lambda term: found.loc[term[1], "value"])
    places = dict(zip(sum(order, ()), sum(terms, ()), strict=True))
    found = found.rename(index=places).loc[certified.index]
    np.testing.assert_allclose(found["value"], certified["value"], rtol=1e-6)
    rtol = 0.1 if name in ROUNDING else 1e-4
    np.testing.assert_allclose(found["se"], certified["se"], rtol=rtol)
