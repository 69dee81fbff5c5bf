"""Speed as ratios within one run; absolute figures are for `speed` to print."""

import pytest

from tests.benchmarks.speed import against_scipy, chinchilla_points

pytestmark = pytest.mark.slow


def test_ratios_to_one_scipy_fit():
    points, _ = chinchilla_points()
    missed = [str(row) for row in against_scipy(points, repeat=7) if not row.met]
    assert not missed, "\n".join(missed)
