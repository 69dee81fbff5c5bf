"""The harness sees what it is for: warnings, errors, other words, other numbers."""

import sys
import time

import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks.kernel import ROOT, execute
from tests.notebooks.outputs import changes, difference, kinds, texts


def of(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def test_runs_this_checkout_in_a_folder_of_its_own(tmp_path):
    cells = (
        "import os\nimport sys\n\nimport scaling_laws\n",
        "print(scaling_laws.__file__, sys.executable, os.getcwd(), os.environ['OMP_NUM_THREADS'])",
        "import time\n\nopen('made.txt', 'w').close()\ntime.sleep(4)\nsum(os.times()[:2])",
    )
    notebook = of(*cells)
    notebook.cells.append(new_markdown_cell("The end."))
    began = time.monotonic()
    done = execute(notebook, tmp_path)
    first, second, third, last = done.notebook.cells
    found, python, folder, threads = second.outputs[0].text.split()
    assert found == str(ROOT / "scaling_laws" / "__init__.py")
    assert python == sys.executable
    assert folder == str(tmp_path / "work")
    assert threads == "1"
    assert (tmp_path / "work" / "made.txt").exists()
    assert [c.execution_count for c in (first, second, third)] == [1, 2, 3]
    assert third.outputs[0].execution_count == 3
    assert last.source == "The end."
    assert not notebook.cells[1].outputs
    # The kernel worked this long, and the four seconds of sleep are not among them.
    assert float(third.outputs[0].data["text/plain"]) <= done.seconds < time.monotonic() - began - 4


def test_a_warning_stops_it(tmp_path):
    quiet = "import warnings\n\nwarnings.simplefilter('ignore')"
    with pytest.raises(CellExecutionError) as told:
        execute(of(quiet, "warnings.warn('old')"), tmp_path)
    assert (told.value.ename, told.value.evalue) == ("UserWarning", "old")


def test_kinds_and_texts():
    page = {"text/html": "<style>p {}</style><p>5 &lt; 6</p>", "text/plain": "five"}
    cell = new_code_cell(
        outputs=[
            new_output("stream", name="stdout", text="a\nb\n"),
            new_output("display_data", page),
            new_output("display_data", {"image/png": "iVBO", "text/plain": "<Figure>"}),
            new_output("error", ename="ValueError", evalue="no"),
        ]
    )
    assert kinds(cell) == [
        ("stdout",), ("text/html", "text/plain"), ("image/png", "text/plain"), ("error",)
    ]  # fmt: skip
    said = [" ".join(text.split()) for text in texts(cell)]
    assert said == ["a b", "5 < 6", "five", "<Figure>"]


def test_changes_are_told_by_cell():
    def made(text, *more):
        outputs = [new_output("stream", name="stdout", text=text), *more]
        return new_notebook(cells=[new_markdown_cell("Title"), new_code_cell(outputs=outputs)])

    kept, figure = made("a 0.57\n"), new_output("display_data", {"image/png": "iVBO"})
    assert changes(kept, made("a 0.58\n")) == []
    assert changes(kept, made("a 0.75\n")) == ["cell 2: kept 0.57, now 0.75"]
    lost = "cell 2: kept [('stdout',), ('image/png',)], now [('stdout',)]"
    assert changes(made("a", figure), made("a")) == [lost]


@pytest.mark.parametrize(
    ("kept", "now"),
    [
        ("floor 0.57 – 0.81", "floor  0.57 –\n0.82"),
        ("62 of 64 starts", "63 of 64 starts"),
        ("1.2e-5", "1.3e-5"),
        ("spread 8.3e-10", "spread 2e-12"),
        ("1,234 examples", "1,280 examples"),
        ("2.24 – 2.96", "2.25 – 2.93"),
        ("-.10", "-0.1"),
        ("no number", "no number"),
    ],
)
def test_rounding_and_simulation_are_no_difference(kept, now):
    assert difference(kept, now) is None


@pytest.mark.parametrize(
    ("kept", "now", "told"),
    [
        ("floor 0.57", "floor 0.61", "kept 0.57, now 0.61"),
        ("floor 0.57", "floor 57", "kept 0.57, now 57"),
        ("1.2e-5", "1.2e-4", "kept 1.2e-5, now 1.2e-4"),
        ("-0.3", "0.3", "kept -0.3, now 0.3"),
        ("covers it", "misses it", "kept 'covers it', now 'misses it'"),
        ("three rows", "three rows and more", "kept 'three rows', now 'three rows and more'"),
        ("1 2", "1", "kept '# #', now '#'"),
    ],
)
def test_other_words_and_numbers_are(kept, now, told):
    assert difference(kept, now) == told
