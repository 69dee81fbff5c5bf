"""The README's code runs, its commands are those of CI."""

import doctest
import re
from pathlib import Path

import scaling_laws

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False, verbose=False)
    assert tried >= 12
    assert failed == 0


def test_package_docstring_runs():
    failed, tried = doctest.testmod(scaling_laws)
    assert tried >= 2
    assert failed == 0


def test_ci_runs_the_second_command_as_written():
    commands = re.findall(r"^```\n([^`]+)\n```$", README, flags=re.MULTILINE)
    commands = [c for c in commands if c.startswith((".venv", "python"))]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


def test_top_level_is_what_the_design_says():
    allowed = {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md",
               "scaling_laws", "distill", "experiments", "notebooks", "tests"}  # fmt: skip
    ignored = {"build", "dist", "out"}
    seen = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    assert {s for s in seen if not s.endswith(".egg-info")} - ignored <= allowed
