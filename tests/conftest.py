"""Fixtures that several test files share."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of published measurements; they are not part of the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SCALING_LAWS_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no published measurements in {folder}; SCALING_LAWS_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def published(data_folder: Path) -> Callable[[str], pd.DataFrame]:
    """Reader of one of the published tables by the name of its file."""

    def read(name: str) -> pd.DataFrame:
        if not (data_folder / name).is_file():
            pytest.skip(f"{data_folder} holds no {name}")
        return pd.read_csv(data_folder / name)

    return read


@pytest.fixture(scope="session")
def chinchilla(published: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """The 240 points that the replication fits: all but the five highest losses, in file order."""
    points = published("chinchilla_points.csv")
    points = points.drop(points["loss"].nlargest(5).index)
    return points.assign(tokens=points["train_flops"] / (6 * points["params"]))
