"""Arrows run one way, importing is cheap, files stay short."""

import json
import os
import re
import subprocess
import sys
from inspect import isclass, isfunction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("scipy", "lmfit", "matplotlib", "torch", "transformers", "pyarrow", "tqdm", "typer")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)  # fmt: skip
    return done.stdout


def test_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_importing_loads_nothing_heavy():
    code = "import scaling_laws, sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(python(code))}
    assert not loaded & set(HEAVY)


def test_fitting_needs_no_torch_and_no_lmfit():
    code = (
        "import scaling_laws as sl, sys\n"
        "loss = lambda k: 1 + 10 ** (-0.3 * k) + 0.01 * (k % 2)\n"
        "log = [{'examples': 10**k, 'loss': loss(k)} for k in range(1, 8)]\n"
        "fit = sl.fit(sl.laws.Power(), log); fit.parameters; fit.predict(examples=1e9)\n"
        "print([m for m in ('torch', 'lmfit', 'matplotlib') if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_every_public_name_resolves():
    import scaling_laws

    for name in scaling_laws.__all__:
        assert getattr(scaling_laws, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scaling_laws.nothing  # noqa: B018  (the access is the test)


@pytest.mark.parametrize("part", ["kernel", "search", "estimate", "problem"])
def test_what_fits_knows_no_law_by_name(part):
    """What every law is may be named there, no one law may: a new law changes nothing in it."""
    from scaling_laws import laws

    named = {n for n in laws.__all__ if isclass(getattr(laws, n))} - {"Law", "Param", "Axis"}
    assert len(named) > 15
    words = set(re.findall(r"\w+", (ROOT / "scaling_laws" / f"{part}.py").read_text()))
    assert not named & words


def test_no_file_bears_the_name_of_a_public_function():
    import scaling_laws

    files = {p.stem for p in (ROOT / "scaling_laws").glob("*.py")}
    functions = {n for n in scaling_laws.__all__ if isfunction(getattr(scaling_laws, n))}
    assert {"fit", "read_runs"} <= functions
    assert not files & functions


@pytest.mark.parametrize("package", ["scaling_laws", "distill", "experiments", "tests"])
def test_files_stay_below_500_lines(package):
    long = {str(p): n for p in (ROOT / package).rglob("*.py")
            if (n := len(p.read_text().splitlines())) > 500}  # fmt: skip
    assert not long


def test_types_are_strict():
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("command", ["check .", "format --check .",
                                     "check --select B006,B008 --ignore-noqa ."])  # fmt: skip
def test_style(command):
    """In style, and no default is shared between calls, not even an excused one."""
    done = subprocess.run([sys.executable, "-m", "ruff", *command.split()], capture_output=True,
                          text=True, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
