"""Run notebooks as the tests do and keep their outputs: ``python -m tests.notebooks.keep PATH...``.

What changes from run to run or from machine to machine is not written: times, versions, the names
of kernels. Ids of cells are numbered, so that a change shows as what it is.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from tests.notebooks.kernel import execute

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def settled(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with nothing volatile in its metadata; changes it in place."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return notebook


def keep(path: Path) -> float:
    """Execute a notebook, write it back with its outputs, and return its CPU seconds."""
    with TemporaryDirectory() as folder:
        done = execute(nbformat.read(path, as_version=4), Path(folder))
    nbformat.write(settled(done.notebook), path)
    return done.seconds


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {keep(Path(name)):.1f} CPU seconds")
