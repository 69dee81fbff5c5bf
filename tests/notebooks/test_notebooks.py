"""Each notebook runs, shows what its committed file shows, and ends with what it cannot tell."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.keep import METADATA
from tests.notebooks.kernel import ROOT, execute
from tests.notebooks.outputs import changes, kinds, texts
from tests.yardstick import slowness

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = {
    "01_predict_tradeoffs", "02_fit_new_run_logs", "03_degradation_curves", "04_plan_next_runs",
    "05_when_fits_go_wrong", "06_end_to_end",
}  # fmt: skip
LAST = "What this cannot tell you"
# "Under 60 seconds" is meant of one quiet core; other work slows the yardstick too.
SECONDS = 60.0
MACHINE = re.compile(
    r"(?<![\w.])/(?:tmp|home|root|work|usr|var|opt|mnt|private|Users)/|\b[A-Z]:\\\\"
    r"|site-packages|\bat 0x[0-9a-f]+"
)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks_and_the_design_names_them():
    assert {path.stem for path in PATHS} == NAMES


@pytest.mark.parametrize("check", [("check",), ("format", "--check")])
def test_code_is_in_style(check):
    command = [sys.executable, "-m", "ruff", *check, "notebooks"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_runs_and_shows_what_it_showed(kept, tmp_path):
    before = slowness()
    done = execute(kept, tmp_path)
    slow = max(before, slowness())
    print(f"{done.seconds:.1f} CPU seconds, {done.seconds / slow:.1f} of a quiet core")
    changed = changes(kept, done.notebook)
    assert not changed, "\n".join(changed)
    assert done.seconds / slow < SECONDS


def test_outputs_are_kept_as_they_came(kept):
    cells = code(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kind for cell in cells for kind in kinds(cell)]
    assert any("image/png" in kind for kind in shown)
    assert any("text/html" in kind for kind in shown)
    assert not {("error",), ("stderr",)} & set(shown)


def test_nothing_of_the_machine_is_kept(kept):
    assert dict(kept.metadata) == METADATA
    assert not any(cell.metadata for cell in kept.cells)
    assert not any(output.get("metadata") for cell in code(kept) for output in cell.outputs)
    words = [cell.source for cell in kept.cells]
    words += [text for cell in code(kept) for text in texts(cell)]
    assert not MACHINE.findall("\n".join(words))


def test_ends_with_what_it_cannot_tell(kept):
    headings = [
        line
        for cell in kept.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    assert headings[-1].lstrip("# ") == LAST
    section = kept.cells[-1].source
    assert kept.cells[-1].cell_type == "markdown"
    # More than the heading: at least three things, each a line of its own.
    assert LAST in section
    assert sum(line.startswith("- ") for line in section.splitlines()) >= 3
