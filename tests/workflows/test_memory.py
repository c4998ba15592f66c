"""Memory is bounded by tile, block and batch, never by the area of interest."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.cogs import write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import LOGIT_LAYER, read_part
from cryosentinel_core.lakes.components import find_components
from cryosentinel_core.lakes.tables import LakeReaders
from cryosentinel_core.units import LOGIT_NODATA

MIB = 2**20


def peak_mib(work: Callable[[], object]) -> float:
    """Most memory that Python and NumPy held at once during some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def ponds(grid: Grid) -> np.ndarray:
    """Logits of a square pond of 20 px in every 100 px of the lattice, made on demand."""
    rows = (grid.row + np.arange(grid.height)) % 100 < 20
    cols = (grid.col + np.arange(grid.width)) % 100 < 20
    return np.where(rows[:, None] & cols[None, :], 4000, -4000).astype(np.int16)


def test_components_of_a_large_zone() -> None:
    readers = LakeReaders(logits=ponds, processed=lambda grid: np.ones(grid.shape, dtype=bool))
    found = []

    def work(height: int) -> Callable[[], object]:
        hull = Grid(epsg=32643, row=0, col=0, height=height, width=4000)
        return lambda: found.append(len(find_components(readers, hull, 0.5)))

    one, four = peak_mib(work(2000)), peak_mib(work(8000))
    assert found == [20 * 40, 80 * 40]
    assert four < 1.25 * one, "four times the ground, the same memory but for the table of components"
    assert four < 8000 * 4000 * 2 / MIB + 30


def test_mosaics_are_written_by_strips(tmp_path: Path) -> None:
    def work(height: int) -> Callable[[], object]:
        grid = Grid(epsg=32643, row=0, col=0, height=height, width=2000)
        return lambda: write_cog_in_strips(tmp_path / f"{height}.tif", grid, LOGIT_LAYER, {}, ponds)

    one, four = peak_mib(work(2048)), peak_mib(work(8192))
    assert four < 1.1 * one
    corner = Grid(epsg=32643, row=8100, col=1900, height=92, width=100)
    np.testing.assert_array_equal(read_part(tmp_path / "8192.tif", corner, LOGIT_NODATA), ponds(corner))
