"""Parts of a tile's stack put together from what its scenes hold: overpasses fused, shadows ranked, radar averaged, gaps closed.

Pure functions on arrays, which the fetch workflow calls between reading and writing. Neighbours: `composite` says what a date saw and
which dates count, `terrain` casts the shadows, `radiometry` filters the radar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Cell, Grid, mask_of_cells
from cryosentinel_core.scenes.composite import (
    DateClass,
    DateClasses,
    Flag,
    PixelPlan,
    Spectrum,
    flag_date,
    median_of_dates,
    plan_pixels,
)
from cryosentinel_core.scenes.radiometry import filter_lee, floor_of_band, to_decibel
from cryosentinel_core.scenes.resampling import Numbers
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.terrain import cast_shadow, grid_azimuth, halo_of_shadow
from cryosentinel_core.stack.recipe import RadarFilter
from cryosentinel_core.stack.stack import COUNT_NAMES, DATE_NAMES, Condition, Stack
from cryosentinel_core.units import CELL_PX

FLOOR_STEP = 4
"""Every so many rows and columns go into a band's dark-pixel floor."""


@dataclass(frozen=True)
class OverpassFlags:
    """Flags of one overpass at each pixel, and which of its scenes supplies them.

    Attributes:
        flags: (H, W) uint8 of `composite.Flag`.
        supplier: (H, W) uint8, position in the overpass of the scene whose data count at a pixel.
    """

    flags: NDArray[np.uint8]
    supplier: NDArray[np.uint8]

    @classmethod
    def empty(cls, grid: Grid) -> OverpassFlags:
        """Flags of an overpass of which no scene has been added yet."""
        return cls(np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=np.uint8))

    def add(self, number: int, scl: NDArray[np.uint8], spectrum: Spectrum) -> None:
        """Enter a scene, in place: it supplies the pixels where it has data and no earlier one had.

        Args:
            number: Its position in the overpass.
            scl: (H, W) uint8, scene classification, 0 = nodata.
            spectrum: Of the same pixels.
        """
        own = flag_date(scl, spectrum)
        take = ((own & np.uint8(Flag.DATA)) != 0) & ((self.flags & np.uint8(Flag.DATA)) == 0)
        self.flags[take] = own[take]
        self.supplier[take] = number


def fuse_scenes(parts: Sequence[Numbers], supplier: NDArray[np.uint8] | None) -> Numbers:
    """One band of an overpass, each pixel from the scene that supplies it.

    Args:
        parts: (H, W) of each scene of the overpass, in its order.
        supplier: (H, W) of `OverpassFlags`; None if there is but one scene.
    """
    plane = parts[0]
    if supplier is not None:
        for number, part in enumerate(parts[1:], start=1):
            plane = np.where(supplier == number, part, plane)
    return plane


def mark_shadows(
    classes: DateClasses,
    overpasses: Sequence[Sequence[Scene]],
    coarse: NDArray[np.float32],
    grid: Grid,
    tile_grid: Grid,
) -> None:
    """Enter the terrain shadow of each date, in place: it ranks above cloud and nodata, below snow and clear.

    Args:
        classes: Of T dates on `grid`.
        overpasses: T, whose first scene knows the sun.
        coarse: Heights around the grid, as `terrain.cast_shadow` wants them.
        grid: Of the classes.
        tile_grid: Of the whole lattice tile, by which the sun's azimuth is turned to grid north.
    """
    outer = halo_of_shadow(grid)
    for seen, overpass in zip(classes.seen, overpasses, strict=True):
        azimuth = grid_azimuth(tile_grid, overpass[0].sun_azimuth_deg)
        dark = cast_shadow(coarse, outer, grid, azimuth, overpass[0].sun_elevation_deg)
        seen[dark & (seen > int(DateClass.SHADOW))] = int(DateClass.SHADOW)


def plan_in_strips(classes: DateClasses, days: Sequence[int], *, best_only: bool) -> PixelPlan:
    """`composite.plan_pixels`, one row of cells at a time: its intermediate masks are many.

    Args:
        classes: Of T dates, terrain shadow included.
        days: Day of each date since 1970-01-01, ascending.
        best_only: Use a single date.
    """
    n, height, width = classes.seen.shape
    whole = PixelPlan(
        used=np.zeros((n, height, width), dtype=bool),
        counts=np.zeros((len(COUNT_NAMES), height, width), dtype=np.uint8),
        condition=np.zeros((height, width), dtype=np.uint8),
        dates=np.zeros((len(DATE_NAMES), height, width), dtype=np.uint16),
    )
    for rows in _strips(height):
        strip = DateClasses(seen=classes.seen[:, rows], water=classes.water[:, rows])
        part = plan_pixels(strip, days, best_only=best_only)
        for name in ("used", "counts", "condition", "dates"):
            getattr(whole, name)[..., rows, :] = getattr(part, name)
    return whole


def median_in_strips(planes: Sequence[NDArray[np.uint16]], used: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """`composite.median_of_dates`, one row of cells at a time; all nodata where there are no dates.

    Args:
        planes: T arrays (H, W) uint16, 0 = nodata.
        used: (T, H, W) bool, True for the dates that count.
    """
    median = np.zeros(used.shape[1:], dtype=np.uint16)
    if planes:
        for rows in _strips(len(median)):
            median[rows] = median_of_dates([plane[rows] for plane in planes], used[:, rows])
    return median


def floor_of_plane(plane: NDArray[np.uint16]) -> tuple[float, float]:
    """Dark-pixel floor of one band of one date, of every fourth row and column (`radiometry.floor_of_band`)."""
    return floor_of_band(plane[::FLOOR_STEP, ::FLOOR_STEP])


def _strips(height: int) -> list[slice]:
    return [slice(top, top + CELL_PX) for top in range(0, height, CELL_PX)]


def empty_bands(n: int, grid: Grid) -> NDArray[np.uint16]:
    """(n, H, W) uint16 of nodata, to be filled band by band."""
    return np.zeros((n, *grid.shape), dtype=np.uint16)


def drop_incomplete(s2: NDArray[np.uint16], plan: PixelPlan) -> None:
    """Make pixels of which one band is missing nodata in all, in place, and count them so.

    Args:
        s2: (12, H, W) uint16, 0 = nodata.
        plan: Of the same pixels.
    """
    broken = (s2 != 0).any(axis=0) & ~(s2 != 0).all(axis=0)
    s2[:, broken] = 0
    plan.counts[:, broken] = 0
    plan.dates[:, broken] = 0
    plan.condition[broken] = int(Condition.NODATA)


class RadarMean:
    """Mean of one polarisation over overpasses, of filtered linear power.

    Args:
        halo: Grid of what is added, wider than the grid by what the speckle filter reaches.
        grid: Wanted pixels.
        radar_filter: Of the recipe.
    """

    def __init__(self, halo: Grid, grid: Grid, radar_filter: RadarFilter) -> None:
        self._inner = grid.slices_in(halo)
        self._filter = radar_filter
        self._total = np.zeros(grid.shape, dtype=np.float64)
        self._count = np.zeros(grid.shape, dtype=np.uint8)

    def add(self, power: NDArray[np.float32]) -> None:
        """Enter one overpass: (H, W) float32 linear power on the halo, NaN = nodata."""
        if self._filter == "lee5":
            power = filter_lee(power)
        inner = power[self._inner]
        good = np.isfinite(inner)
        self._total += np.where(good, inner, 0.0)
        self._count += good

    def in_decibel(self) -> NDArray[np.float32]:
        """(H, W) float32 dB, NaN where no overpass had data."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return to_decibel((self._total / self._count).astype(np.float32))


def stack_radar(bands: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """(2, H, W) float32 dB of the polarisations; None if no pixel of them has data."""
    s1 = np.stack(bands)
    return s1 if np.isfinite(s1).any() else None


def share_without_heights(stack: Stack, cells: Sequence[Cell]) -> float:
    """Share 0..1 of some cells' pixels of which no terrain height is known."""
    return float(np.isnan(stack.dem[mask_of_cells(cells, stack.grid)]).mean())


def clear_other_cells(stack: Stack, cells: Sequence[Cell]) -> None:
    """Make all cells of a stack's hull but the given ones nodata, in place."""
    other = ~mask_of_cells(cells, stack.grid)
    if not other.any():
        return
    stack.s2[:, other] = 0
    if stack.s1 is not None:
        stack.s1[:, other] = np.nan
    stack.dem[other] = np.nan
    stack.counts[:, other] = 0
    stack.condition[other] = int(Condition.NODATA)
    stack.dates[:, other] = 0
