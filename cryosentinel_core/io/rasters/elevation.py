"""The DEM on the lattice: tiles of one degree as one seamless surface.

Tiles of equal pixels are put side by side on one grid that is fixed to the globe before anything is interpolated, so that the
edge between two tiles is no edge, and a pixel's height does not depend on which tiles happened to be asked for. Heights are above
EGM2008, as the Copernicus DEM has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.access import Access, describe_raster, read_window
from cryosentinel_core.scenes.providers import DEM
from cryosentinel_core.scenes.resampling import Source, positions_in, sample_bilinear
from cryosentinel_core.scenes.scene import Scene

LOWEST_M: Final = -1_000.0
HIGHEST_M: Final = 9_000.0
"""Heights outside are no heights (the lowest land lies at -430 m, the highest at 8,849 m)."""


@dataclass(frozen=True, kw_only=True)
class Relief:
    """Heights around a tile.

    Attributes:
        fine: (H, W) float32 metres on the tile's grid, NaN where no tile of the DEM has data.
        coarse: (H', W') float32 metres at the centres of the squares of `terrain.SHADOW_STEP` pixels of the wider grid.
        n_bytes: Read from the archive.
    """

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    n_bytes: int


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
    fine = np.full(grid.shape, np.nan, dtype=np.float32)
    coarse = np.full((outer.height // step, outer.width // step), np.nan, dtype=np.float32)
    n_bytes = 0
    for surface, members in _surfaces(scenes, access):
        wide = positions_in(surface, outer, step)
        near = positions_in(surface, grid)
        values, origin, size = _read_surface(members, _joined(wide.window, near.window), access)
        valid = np.isfinite(values)
        values = np.where(valid, values, np.float32(0))
        for heights, positions in ((fine, near), (coarse, wide)):
            found, good = sample_bilinear(values, valid, positions, origin, fill_half=True)
            np.copyto(heights, found, where=good & np.isnan(heights))
        n_bytes += size
    return Relief(fine=fine, coarse=coarse, n_bytes=n_bytes)


def _joined(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3])


def _surfaces(scenes: Sequence[Scene], access: Access) -> list[tuple[Source, list[tuple[Scene, Source, int, int]]]]:
    """Tiles by the endless grid that they lie on: (grid, [(scene, its source, first row, first column)])."""
    found: dict[tuple[int, float, float, float, float], tuple[Source, list[tuple[Scene, Source, int, int]]]] = {}
    for scene in sorted(scenes, key=lambda one: one.key):
        source = describe_raster(scene.hrefs[DEM], access)
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


def _read_surface(
    members: list[tuple[Scene, Source, int, int]], window: tuple[int, int, int, int], access: Access
) -> tuple[NDArray[np.float32], tuple[int, int], int]:
    """Native heights of a window of one surface, its origin and the bytes read; one pixel wider, so that seams can be filled."""
    r0, r1, c0, c1 = window[0] - 1, window[1] + 1, window[2] - 1, window[3] + 1
    values = np.full((r1 - r0, c1 - c0), np.nan, dtype=np.float32)
    n_bytes = 0
    for scene, source, row, col in members:
        top, bottom = max(r0, row), min(r1, row + source.height)
        left, right = max(c0, col), min(c1, col + source.width)
        if top >= bottom or left >= right:
            continue
        part = read_window(scene.hrefs[DEM], Window(left - col, top - row, right - left, bottom - top), access).astype(
            np.float32
        )
        n_bytes += part.nbytes
        good = np.isfinite(part) & (part > LOWEST_M) & (part < HIGHEST_M)
        place = values[top - r0 : bottom - r0, left - c0 : right - c0]
        np.copyto(place, part, where=good & np.isnan(place))
    return _fill_seams(values), (r0, c0), n_bytes


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
