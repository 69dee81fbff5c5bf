"""Run a notebook in a fresh kernel of this Python, warnings being errors, and count its seconds."""

import os
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parents[2]

# Run as the first cell. Warnings are errors while a cell runs and its figures are drawn; the kernel
# itself starts and stops under its own filters.
_STRICT = """
def strict(events):
    import contextlib
    import warnings

    stack = contextlib.ExitStack()
    error = lambda: warnings.catch_warnings(action="error")
    events.register("pre_run_cell", lambda _: stack.enter_context(error()))
    events.register("post_run_cell", lambda _: stack.close())

strict(get_ipython().events)
del strict
"""
# Run as the last: user and system time of the kernel and its children, whatever else is running.
_SECONDS = "import os\n\nprint(sum(os.times()[:4]))"
# Seconds after which a cell hangs; no limit of speed, for machines can be busy.
_HANGS = 600


@dataclass(frozen=True)
class Executed:
    """A copy of a notebook with new outputs, and the CPU seconds of its kernel."""

    notebook: NotebookNode
    seconds: float


def execute(notebook: NotebookNode, folder: Path) -> Executed:
    """Run every cell on one thread, with the package of this checkout, in a new ``folder/work``.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        For a cell that raises or warns.
    """
    work = folder / "work"
    work.mkdir()
    run = deepcopy(notebook)
    run.cells = [new_code_cell(_STRICT), *run.cells, new_code_cell(_SECONDS)]
    client = NotebookClient(
        run,
        km=_manager(folder),
        timeout=_HANGS,
        startup_timeout=_HANGS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(work)}},
    )
    client.execute(cleanup_kc=True, env=_environment(folder))
    seconds = float(run.cells[-1].outputs[0].text)
    run.cells = run.cells[1:-1]
    for cell in run.cells:
        if cell.cell_type == "code":
            _count_without_first(cell)
    return Executed(run, seconds)


def _manager(folder: Path) -> AsyncKernelManager:
    """Return a manager of this Python's kernel, whatever kernels the user has installed."""
    specs = KernelSpecManager(kernel_dirs=[])
    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=specs,
        connection_file=str(folder / "connection.json"),
    )


def _environment(folder: Path) -> dict[str, str]:
    """Return this environment with the checkout in front and without the user's own settings."""
    given = {k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "MPLBACKEND")}
    paths = [str(Path(p).resolve()) for p in given.get("PYTHONPATH", "").split(os.pathsep) if p]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    home = {"IPYTHONDIR": str(folder / "ipython")}
    return {**given, **threads, **home, "PYTHONPATH": os.pathsep.join((str(ROOT), *paths))}


def _count_without_first(cell: NotebookNode) -> None:
    if cell.execution_count is not None:
        cell.execution_count -= 1
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
