"""A chip that is larger than a window, cut like a stack: addresses of its pixels, and any rectangle of them.

Neighbours: `chip` holds the numbers; `engine.array_stream` asks for rectangles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from cryosentinel_core.chips.chip import Chip
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import CELL_PX

_NOWHERE: Final = 32601
"""Zone of addresses that are counted from a chip's own corner: its place is carried beside."""


def grid_of_chip(chip: Chip) -> Grid:
    """Pixel addresses of a chip, counted from its own corner."""
    return Grid(epsg=_NOWHERE, row=0, col=0, height=chip.shape[0], width=chip.shape[1])


def read_pixels(chip: Chip, grid: Grid) -> Stack:
    """The pixels of a rectangle, nodata outside of the chip.

    Args:
        chip: With optical, terrain and perhaps radar data.
        grid: In the addresses of `grid_of_chip`.
    """
    h, w = grid.shape
    s2 = np.zeros((12, h, w), dtype=np.uint16)
    s1 = None if chip.batch.s1 is None else np.full((2, h, w), np.nan, dtype=np.float32)
    dem = np.full((h, w), np.nan, dtype=np.float32)
    shared = grid.intersection(grid_of_chip(chip))
    if shared is not None:
        here, there = (..., *shared.slices_in(grid_of_chip(chip))), (..., *shared.slices_in(grid))
        s2[there] = chip.batch.s2[0][here]
        dem[there] = chip.batch.dem[0, 0][here]
        if s1 is not None and chip.batch.s1 is not None:
            s1[there] = chip.batch.s1[0][here]
    nothing = np.zeros((1, 1), dtype=np.uint8)
    return Stack(
        grid=grid,
        s2=s2,
        s1=s1,
        dem=dem,
        counts=np.broadcast_to(nothing, (5, h, w)),
        condition=np.broadcast_to(nothing, (h, w)),
        dates=np.broadcast_to(nothing.astype(np.uint16), (3, h, w)),
    )


def middle_window(chip: Chip) -> ChipBatch:
    """The window in the middle of a chip; the chip itself where it is one window."""
    batch = chip.batch
    if not chip.is_scene:
        return batch
    top, left = ((side - CELL_PX) // 2 for side in chip.shape)
    cut = (..., slice(top, top + CELL_PX), slice(left, left + CELL_PX))
    return replace(
        batch,
        s2=batch.s2[cut],
        s1=None if batch.s1 is None else batch.s1[cut],
        dem=batch.dem[cut],
        valid=batch.valid[cut],
        shadow=batch.shadow[cut],
        snow=batch.snow[cut],
        water=batch.water[cut],
    )
