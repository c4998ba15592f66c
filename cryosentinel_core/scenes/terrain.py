"""Terrain: slope, and where a ridge keeps the sun away on a date.

Pure functions on a DEM. `composite` uses the shadow of each date; `water_index` the slope. Results at a pixel depend on its
surroundings within a fixed reach only, never on how the DEM was cut.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import Proj

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.units import PIXEL_M

SHADOW_STEP: Final = 2
"""Shadows are cast on every second lattice pixel (20 m): the DEM itself has 30 m pixels."""

SHADOW_REACH_PX: Final = 400
"""No shadow is followed farther than this many lattice pixels (4 km)."""

SHADOW_MARGIN_DEG: Final = 1.5
"""A ridge counts as hiding the sun if it rises to within this of it: DEM error, and the sun's move within a scene."""

SHADOW_HALO_PX: Final = SHADOW_REACH_PX + 4 * SHADOW_STEP
"""Lattice pixels of DEM needed on each side of where a shadow is wanted."""


def slope_degrees(dem: NDArray[np.float32], pixel_m: float = PIXEL_M) -> NDArray[np.float32]:
    """Slope in degrees by Horn's 3 x 3 differences.

    Args:
        dem: (H, W) float32, metres, NaN = nodata.
        pixel_m: Side of a pixel.

    Returns:
        (H, W) float32, NaN where a neighbour is nodata; the outermost ring repeats its neighbours outwards.

    Source: Horn (1981), Hill shading and the reflectance map, Proc. IEEE 69(1).
    """
    z = np.pad(dem.astype(np.float64), 1, mode="edge")
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    rise = np.hypot((east - west) / (8 * pixel_m), (south - north) / (8 * pixel_m))
    return np.degrees(np.arctan(rise)).astype(np.float32)


def grid_azimuth(grid: Grid, azimuth_deg: float) -> float:
    """An azimuth from true north turned to the zone's grid north at the centre of a grid, degrees clockwise."""
    minx, miny, maxx, maxy = grid.bounds
    lon, lat = transformer(grid.epsg, 4326).transform((minx + maxx) / 2, (miny + maxy) / 2)
    convergence = Proj(f"EPSG:{grid.epsg}").get_factors(lon, lat).meridian_convergence
    return float((azimuth_deg - convergence) % 360.0)


def halo_of_shadow(grid: Grid) -> Grid:
    """The DEM grid that `cast_shadow` wants for a grid: larger by the reach, its edges on even lattice addresses."""
    grown = grid.grown(SHADOW_HALO_PX)
    row, col = grown.row - grown.row % SHADOW_STEP, grown.col - grown.col % SHADOW_STEP
    height = -(-(grown.row + grown.height - row) // SHADOW_STEP) * SHADOW_STEP
    width = -(-(grown.col + grown.width - col) // SHADOW_STEP) * SHADOW_STEP
    return Grid(epsg=grid.epsg, row=row, col=col, height=height, width=width)


def cast_shadow(
    coarse: NDArray[np.float32], outer: Grid, grid: Grid, azimuth_deg: float, elevation_deg: float
) -> NDArray[np.bool_]:
    """Where terrain hides the sun, or nearly.

    A ray goes from each 20 m pixel towards the sun, at the sun's elevation less `SHADOW_MARGIN_DEG`, for at most 4 km; terrain
    above the ray is a shadow. Shadows are then grown by one 20 m pixel, as their edge is a mixture.

    Args:
        coarse: (H/2, W/2) float32, metres at the centres of the squares of 2 x 2 pixels of `outer`; NaN (no terrain known)
            casts no shadow and gets none.
        outer: `halo_of_shadow(grid)`.
        grid: Where the answer is wanted.
        azimuth_deg: Of the sun, clockwise from grid north (`grid_azimuth`).
        elevation_deg: Of the sun above the horizon.

    Returns:
        (H, W) bool on `grid`, True = shadow.

    Raises:
        InputError: If the sun is not above the horizon or `outer` does not belong to `grid`.
    """
    if not 0.0 < elevation_deg <= 90.0:
        raise InputError(f"the sun stands at {elevation_deg:g} degrees, wanted above 0 and up to 90")
    if outer != halo_of_shadow(grid):
        raise InputError(f"the DEM lies on {outer}, wanted {halo_of_shadow(grid)}")
    reach = SHADOW_REACH_PX // SHADOW_STEP
    margin = SHADOW_HALO_PX // SHADOW_STEP - reach
    inner = (slice(reach, coarse.shape[0] - reach), slice(reach, coarse.shape[1] - reach))
    dark = _march(coarse, inner, azimuth_deg, max(elevation_deg - SHADOW_MARGIN_DEG, 0.5), reach)
    grown = dark.copy()
    for shift_row in (-1, 0, 1):
        for shift_col in (-1, 0, 1):
            grown |= np.roll(dark, (shift_row, shift_col), (0, 1))
    fine = np.repeat(np.repeat(grown, SHADOW_STEP, axis=0), SHADOW_STEP, axis=1)
    top = grid.row - outer.row - reach * SHADOW_STEP
    left = grid.col - outer.col - reach * SHADOW_STEP
    if min(top, left) < margin * SHADOW_STEP - SHADOW_STEP:
        raise InputError("the DEM around the grid is too narrow for its shadows")
    return np.ascontiguousarray(fine[top : top + grid.height, left : left + grid.width])


def _march(
    z: NDArray[np.float32], inner: tuple[slice, slice], azimuth_deg: float, elevation_deg: float, reach: int
) -> NDArray[np.bool_]:
    """Rays from every pixel of `inner` towards the sun; one array step moves all of them one pixel on."""
    angle = math.radians(azimuth_deg)
    step_col, step_row = math.sin(angle), -math.cos(angle)
    longest = max(abs(step_col), abs(step_row))
    step_col, step_row = step_col / longest, step_row / longest
    rise = math.hypot(step_col, step_row) * PIXEL_M * SHADOW_STEP * math.tan(math.radians(elevation_deg))
    start = z[inner]
    dark = np.zeros(start.shape, dtype=bool)
    if not np.isfinite(z).any():
        return dark
    relief = float(np.nanmax(z)) - float(np.nanmin(start)) if np.isfinite(start).any() else 0.0
    for step in range(1, reach + 1):
        if step * rise > relief:
            break
        ahead = _shifted(z, inner, step * step_row, step * step_col)
        dark |= ahead - np.float32(step * rise) > start
    return dark


def _shifted(z: NDArray[np.float32], inner: tuple[slice, slice], rows: float, cols: float) -> NDArray[np.float32]:
    """`z` at a fixed offset from every pixel of `inner`, linear along the axis on which the offset is not whole."""

    def at(row: int, col: int) -> NDArray[np.float32]:
        r, c = inner
        return z[r.start + row : r.stop + row, c.start + col : c.stop + col]

    row0, col0 = math.floor(rows), math.floor(cols)
    part_row, part_col = rows - row0, cols - col0
    if part_row > 1e-9 and part_row < 1 - 1e-9:
        return np.asarray(
            at(row0, round(cols)) * np.float32(1 - part_row) + at(row0 + 1, round(cols)) * np.float32(part_row)
        )
    if part_col > 1e-9 and part_col < 1 - 1e-9:
        return np.asarray(
            at(round(rows), col0) * np.float32(1 - part_col) + at(round(rows), col0 + 1) * np.float32(part_col)
        )
    return at(round(rows), round(cols))
