"""The configurations that a reader is given: a chain of the grid in every setting, and any."""

from pathlib import Path

from distill.config import load_config
from experiments import grids

EXAMPLE = Path(grids.__file__).with_name("smollm2-135m.yaml")


def test_the_example_is_the_middle_cell_of_the_small_grid():
    config = load_config(EXAMPLE)
    cells = {run.name: run.config for run in grids.small(Path("runs"), Path("work/smollm2-135m"))}
    assert config == cells[f"small-label-n256-{config.hash}-s1"]


def test_every_example_is_read():
    examples = list(EXAMPLE.parent.glob("*.yaml"))
    assert EXAMPLE in examples
    for path in examples:
        assert load_config(path).out == "runs"
