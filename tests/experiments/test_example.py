"""The configuration that a reader is given is a chain of the grid, in every setting."""

from pathlib import Path

from distill.config import load_config
from experiments import grids

EXAMPLE = Path(grids.__file__).with_name("smollm2-135m.yaml")


def test_the_example_is_the_middle_cell_of_the_small_grid():
    config = load_config(EXAMPLE)
    cells = {run.name: run.config for run in grids.small(Path("runs"), Path("work/smollm2-135m"))}
    assert config == cells[f"small-label-n256-{config.hash}-s1"]
