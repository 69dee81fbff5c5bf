"""The log that comes with the library: found, the same in the wheel, and as its docstring says."""

import doctest
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws import example

ROOT = Path(__file__).parents[2]
LOG = ROOT / "experiments" / "results" / "smollm2-135m.jsonl"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout and unpacked."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
                   cwd=ROOT, check=True, capture_output=True)  # fmt: skip
    (built,) = out.glob("*.whl")
    with ZipFile(built) as archive:
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def test_a_checkout_reads_the_results_themselves():
    pd.testing.assert_frame_equal(sl.load_example().frame, sl.read_runs(LOG).frame)


def test_the_wheel_holds_the_same_bytes(wheel):
    assert (wheel / "scaling_laws" / "data" / LOG.name).read_bytes() == LOG.read_bytes()


def test_the_wheel_holds_two_packages_and_finds_the_log_in_its_own(wheel):
    names = {p.name for p in wheel.iterdir() if p.suffix != ".dist-info"}
    assert names == {"scaling_laws", "distill"}
    code = "import scaling_laws as sl; log = sl.load_example(); print(log.source, len(log))"
    done = subprocess.run([sys.executable, "-c", code], cwd=wheel, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(wheel)}, check=True)  # fmt: skip
    source, rows = done.stdout.split()
    assert Path(source).name == LOG.name
    assert int(rows) == len(sl.read_runs(LOG))


def test_its_rows_are_what_the_docstring_says():
    log = sl.load_example()
    assert not len(log.rejected)
    assert set(log.frame["phase"]) <= {"teacher", "pruned", "distilled"}
    students = log.frame[log.frame["phase"] == "distilled"]
    assert len(students)
    for metric in ("task_f1", "task_accuracy", "task_nll", "task_brier",
                   "quiz", "quiz_nll", "general_kl"):  # fmt: skip
        assert students[[metric, f"{metric}_se", f"{metric}_n"]].notna().all(axis=None)
    assert set(log.frame["kept_of"]) == {"nonembedding"}
    failed_runs = log.frame["status"] == "failed"
    assert log.frame.loc[failed_runs, "error"].notna().all()
    assert log.frame.loc[failed_runs, ["kept", "task_f1", "quiz"]].isna().all(axis=None)
    teachers = log.frame[(log.frame["phase"] == "teacher") & ~failed_runs]
    assert (teachers["kept"] == 1).all()
    assert (teachers.groupby("format")["quiz"].nunique() <= 2).all()
    failed, tried = doctest.testmod(example)
    assert tried >= 3
    assert failed == 0
