"""Tiles of the DEM read where a lattice tile and its shadows need heights.

Neighbours: `scenes.relief` puts them together on one surface and samples it; `io.rasters.access` opens them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rasterio.windows import Window

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.access import Access, describe_raster, read_window
from cryosentinel_core.scenes.providers import DEM
from cryosentinel_core.scenes.relief import Relief, ReliefBuilder, surfaces_of
from cryosentinel_core.scenes.scene import Scene


def read_relief(scenes: Sequence[Scene], grid: Grid, outer: Grid, step: int, access: Access) -> Relief:
    """Heights on lattice pixels, and coarser ones farther around, bilinear across the tiles' edges.

    Args:
        scenes: Terrain items; where two hold a pixel, the first by name supplies it.
        grid: Wanted pixels.
        outer: The wider grid, a multiple of `step` pixels high and wide; holds `grid`.
        step: Side of the squares of the wider grid.
        access: How to reach the files.

    Returns:
        Both. A single missing row or column of a tile (a seam) is filled from its neighbours.

    Raises:
        RasterError: If a tile cannot be read.
    """
    builder = ReliefBuilder(grid, outer, step)
    n_bytes = 0
    by_name = sorted(scenes, key=lambda one: one.key)
    for surface in surfaces_of((scene, describe_raster(scene.hrefs[DEM], access)) for scene in by_name):
        window, positions = builder.window_in(surface)
        parts = []
        for tile in surface.tiles:
            overlap = tile.overlap(window)
            if overlap is None:
                continue
            (top, bottom, left, right), place = overlap
            heights = read_window(tile.scene.hrefs[DEM], Window(left, top, right - left, bottom - top), access)
            n_bytes += 4 * heights.size
            parts.append((place, heights))
        builder.add(window, positions, parts)
    return builder.relief(n_bytes)
