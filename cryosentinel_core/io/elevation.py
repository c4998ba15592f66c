"""The DEM on the lattice: tiles of one degree as one seamless surface.

Tiles of equal pixels are put side by side on one grid that is fixed to the globe before anything is interpolated, so that the
edge between two tiles is no edge, and a pixel's height does not depend on which tiles happened to be asked for. Heights are above
EGM2008, as the Copernicus DEM has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from cryosentinel_core.io.providers import DEM
from cryosentinel_core.io.raster import Access, describe_source, read_window
from cryosentinel_core.lattice import Grid
from cryosentinel_core.resampling import Positions, Source, positions_in, sample_bilinear
from cryosentinel_core.selection import Scene

LOWEST_M: Final = -1_000.0
HIGHEST_M: Final = 9_000.0
"""Heights outside are no heights (the lowest land lies at -430 m, the highest at 8,849 m)."""


def read_dem(scenes: Sequence[Scene], grid: Grid, access: Access) -> tuple[NDArray[np.float32], int]:
    """Heights on lattice pixels, bilinear across the tiles' edges.

    Args:
        scenes: Terrain items; where two hold a pixel, the first by name supplies it.
        grid: Wanted pixels.
        access: How to reach the files.

    Returns:
        (H, W) float32 metres, NaN where no tile has data, and the bytes read. A single missing row or column of a tile (a seam)
        is filled from its neighbours.

    Raises:
        RasterError: If a tile cannot be read.
    """
    heights = np.full(grid.shape, np.nan, dtype=np.float32)
    n_bytes = 0
    for surface, members in _surfaces(scenes, access):
        positions = positions_in(surface, grid)
        values, good, size = _sample_surface(surface, members, positions, access)
        heights = np.where(np.isnan(heights) & good, values, heights)
        n_bytes += size
    return heights, n_bytes


def _surfaces(scenes: Sequence[Scene], access: Access) -> list[tuple[Source, list[tuple[Scene, Source, int, int]]]]:
    """Tiles by the endless grid that they lie on: (grid, [(scene, its source, first row, first column)])."""
    found: dict[tuple[int, float, float, float, float], tuple[Source, list[tuple[Scene, Source, int, int]]]] = {}
    for scene in sorted(scenes, key=lambda one: one.key):
        source = describe_source(scene.hrefs[DEM], access=access)
        surface, row, col = _on_endless_grid(source)
        key = (surface.epsg, surface.step_x, surface.step_y, surface.left, surface.top)
        found.setdefault(key, (surface, []))[1].append((scene, source, row, col))
    return list(found.values())


def _on_endless_grid(source: Source) -> tuple[Source, int, int]:
    """The grid of a tile's pixels continued over the globe, and where the tile begins on it.

    Pixel widths are rounded to whole fractions of a unit where that moves no pixel by more than a hundredth, and the grid's
    phase to a thousandth of a pixel, so that all tiles of an archive share one grid.
    """
    step_x, step_y = _rounded_step(source.step_x, source.width), _rounded_step(source.step_y, source.height)
    degrees = abs(source.left) <= 360.0 and step_x < 0.1
    left, top = (-200.0, 100.0) if degrees else (0.0, 0.0)
    at_col, at_row = (source.left - left) / step_x, (top - source.top) / step_y
    col, row = int(np.floor(at_col + 1e-3)), int(np.floor(at_row + 1e-3))
    phase_x, phase_y = round(at_col - col, 3), round(at_row - row, 3)
    surface = Source(
        epsg=source.epsg,
        left=left + phase_x * step_x,
        top=top - phase_y * step_y,
        step_x=step_x,
        step_y=step_y,
        height=2**31,
        width=2**31,
    )
    return surface, row, col


def _rounded_step(step: float, count: int) -> float:
    fraction = 1.0 / round(1.0 / step) if step < 0.5 else float(round(step))
    return fraction if abs(fraction - step) * count < 0.01 * step else step


def _sample_surface(
    surface: Source, members: list[tuple[Scene, Source, int, int]], positions: Positions, access: Access
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Heights of one surface at positions, the window one pixel wider than needed so that seams can be filled."""
    r0, r1, c0, c1 = positions.window
    r0, r1, c0, c1 = r0 - 1, r1 + 1, c0 - 1, c1 + 1
    values = np.full((r1 - r0, c1 - c0), np.nan, dtype=np.float32)
    n_bytes = 0
    for scene, source, row, col in members:
        top, bottom = max(r0, row), min(r1, row + source.height)
        left, right = max(c0, col), min(c1, col + source.width)
        if top >= bottom or left >= right:
            continue
        window = Window(left - col, top - row, right - left, bottom - top)
        part = read_window(scene.hrefs[DEM], window, access=access).astype(np.float32)
        n_bytes += part.nbytes
        good = np.isfinite(part) & (part > LOWEST_M) & (part < HIGHEST_M)
        place = values[top - r0 : bottom - r0, left - c0 : right - c0]
        np.copyto(place, part, where=good & np.isnan(place))
    filled = _fill_seams(values)
    valid = np.isfinite(filled)
    out, good = sample_bilinear(np.where(valid, filled, np.float32(0)), valid, positions, (r0, c0), fill_half=True)
    return out, good, n_bytes


def _fill_seams(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Missing pixels with valid pixels next to them (above, below, left, right) as the mean of these."""
    missing = np.isnan(values)
    if not missing.any() or missing.all():
        return values
    padded = np.pad(values, 1, constant_values=np.nan)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    good = np.isfinite(around)
    total = np.where(good, around, np.float32(0)).sum(axis=0, dtype=np.float32)
    count = good.sum(axis=0)
    fill = missing & (count > 0)
    return np.where(fill, total / np.maximum(count, 1), values).astype(np.float32)
