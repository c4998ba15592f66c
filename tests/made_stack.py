"""A stack made up pixel by pixel and written to disk, and a segmenter that costs next to nothing: the engine without a corridor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.lattice import Cell, Tile, group_cells, hull_of_cells
from cryosentinel_core.io.rasters.stack_files import write_stack_tile
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.segment.error_model import NETWORK_ERRORS
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings
from cryosentinel_core.stack.stack import Stack

EPSG = 32643
FIRST = (-2100, 300)
"""(row, col) of the upper left cell of every stack here, itself the first of a tile of any size."""


def cells_of(rows: int, cols: int) -> list[Cell]:
    """A block of cells."""
    return [Cell(EPSG, FIRST[0] + row, FIRST[1] + col) for row in range(rows) for col in range(cols)]


def write_made_stack(
    folder: Path, cells: list[Cell], *, seed: int = 0, height_m: float = 4000.0, **changes: Any
) -> Path:
    """A stack of noise on some cells, one file a 2 x 2 tile, heights rising by 100 m a cell from north to south.

    Args:
        folder: Where to.
        cells: What it holds.
        seed: Of the noise.
        height_m: Of the northernmost row of cells.
        changes: Nothing but `radar`: False for a stack whose tiles have none; and `blank`: cells without data.
    """
    for tile, held in group_cells(cells, 2).items():
        grid = hull_of_cells(held)
        rng = np.random.default_rng([seed, -tile.row, tile.col])
        s2 = rng.integers(1, 9000, (12, *grid.shape)).astype(np.uint16)
        for cell in changes.get("blank", ()):
            shared = cell.grid.intersection(grid)
            if shared is not None:
                rows, cols = shared.slices_in(grid)
                s2[:, rows, cols] = 0
        steps = (grid.row + np.arange(grid.height)) // 224 - FIRST[0]
        radar = rng.normal(-12, 3, (2, *grid.shape)).astype(np.float32) if changes.get("radar", True) else None
        stack = Stack(
            grid=grid,
            s2=s2,
            s1=radar,
            dem=np.repeat((height_m + 100.0 * steps)[:, None], grid.width, axis=1).astype(np.float32),
            counts=np.ones((5, *grid.shape), dtype=np.uint8),
            condition=np.zeros(grid.shape, dtype=np.uint8),
            dates=np.zeros((3, *grid.shape), dtype=np.uint16),
        )
        write_stack_tile(folder, tile, stack, Provenance(kind="stack tile"))
    return folder


def make_jobs(stack: Path, out: Path, cells: list[Cell], tile_cells: int = 1, **settings: Any) -> list[TileJob]:
    """One job a tile."""
    plain = PredictSettings(**{"model": WATER_INDEX, "tile_cells": tile_cells, **settings})
    return [make_job(stack, out, tile, held, plain) for tile, held in group_cells(cells, tile_cells).items()]


def make_job(stack: Path, out: Path, tile: Tile, cells: tuple[Cell, ...], settings: PredictSettings) -> TileJob:
    """The job of one tile."""
    return TileJob(
        stack=stack,
        stack_tile_cells=2,
        tile=tile,
        cells=cells,
        part=out / f"{tile.name}.tif",
        settings=settings,
        provenance=Provenance(kind="logits of a tile", settings={"overlap": settings.overlap}),
    )


class FakeNetwork:
    """Blended windows whose logits depend on the whole window, as a network's do; remembers the batches that it got."""

    name = "fake-00000000"
    digest = "fake"
    window_px = 224
    halo_px = 0
    blended = True
    recipe = None
    is_network = True
    error_model = NETWORK_ERRORS

    def __init__(self, batch_size: int = 3) -> None:
        self.batch_size = batch_size
        self.batches: list[list[tuple[int, int]]] = []

    def segment(self, batch: ChipBatch) -> np.ndarray:
        """(N, 224, 224) float32."""
        self.batches.append([(int(row), int(col)) for row, col in batch.addresses])
        green, nir = (batch.s2[:, band].astype(np.float32) for band in (2, 7))
        index = (green - nir) / np.maximum(green + nir, 1.0)
        return (10.0 * index - index.mean(axis=(1, 2), keepdims=True, dtype=np.float32)).astype(np.float32)
