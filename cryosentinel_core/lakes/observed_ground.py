"""Observation of a piece of ground by a year: read from its `water_<epsg>.tif` and, for what was not seen, from its stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.lakes.glacier_ice import CONTEXT_PX, LakeWindow, find_hiding_ice, touch_glaciers
from cryosentinel_core.lakes.glaciers import GlacierOutlines
from cryosentinel_core.lakes.pixel_classes import WATER_LAKE, WATER_LAND, WATER_SHADOW, WATER_SNOW_ICE, WATER_UNOBSERVED
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.stack.stack import Condition
from cryosentinel_core.units import PIXEL_M

ReadLayers = Callable[[Grid], NDArray[np.uint8]]
"""Grid -> (5, H, W) uint8, dates by `stack.stack.COUNT_NAMES`."""

ReadHeights = Callable[[Grid], NDArray[np.float32]]
"""Grid -> (H, W) float32 metres, NaN = nodata."""

ReadClasses = Callable[[Grid], NDArray[np.uint8]]
"""Grid -> (H, W) uint8; any grid of the zone, 255 outside what is there."""


@dataclass(frozen=True)
class ZoneClasses:
    """The class rasters of one zone and year.

    Attributes:
        water: 0 land, 1 lake, 2 snow or ice, 3 terrain shadow, 255 unobserved.
        condition: Values of `stack.stack.Condition`, to tell cloud from nodata; None counts all that is unobserved as nodata.
        heights: Of the ground; None where the stack is gone: then all ice on a lake hides it.
        counts: Dates by what they saw; None likewise.
    """

    water: ReadClasses
    condition: ReadClasses | None = None
    heights: ReadHeights | None = None
    counts: ReadLayers | None = None


def observe_ground(
    years: Mapping[int, Mapping[int, ZoneClasses]],
    ground: BaseGeometry,
    grow_px: int,
    glaciers: GlacierOutlines | None = None,
) -> dict[int, GroundSeen]:
    """Pixels of a piece of ground as each year saw them, in the zone in which the years together saw most of it (tie: lower zone).

    Snow and ice that may lie on water hide it; all other is ground (`glacier_ice`).

    Args:
        years: Year -> EPSG -> class rasters.
        ground: EPSG:4326; a pixel belongs to it if its centre does, or, where it holds no centre, if it touches it.
        grow_px: Pixels to grow the ground by first.
        glaciers: Outlines of glaciers; None if nobody gave any.
    """
    best = dict.fromkeys(years, GroundSeen())
    for epsg in sorted(set.intersection(*(set(zones) for zones in years.values()))):
        grid, mask = rasterise_ground(ground, epsg, grow_px)
        here = {year: zones[epsg] for year, zones in years.items()}
        water = {year: zone.water(grid) for year, zone in here.items()}
        touching: Mapping[int, bool] = {}
        if glaciers is not None or any((classes[mask] == WATER_SNOW_ICE).any() for classes in water.values()):
            water, touching = _bare_glaciers(here, ground, grid, mask, glaciers)
        seen = {
            year: replace(
                count_classes(water[year], zone.condition, grid, mask), touches_glacier=touching.get(year, False)
            )
            for year, zone in here.items()
        }
        if _total_share(seen) > _total_share(best) or not any(each.total for each in best.values()):
            best = seen
    return best


def _bare_glaciers(
    years: Mapping[int, ZoneClasses],
    ground: BaseGeometry,
    grid: Grid,
    mask: NDArray[np.bool_],
    glaciers: GlacierOutlines | None,
) -> tuple[dict[int, NDArray[np.uint8]], dict[int, bool]]:
    """Classes of each year on a grid, ice that hides no lake counted as land; and whether the year's water ends at a glacier."""
    wide = grid.grown(CONTEXT_PX)
    inner = grid.slices_in(wide)
    wide_mask = np.zeros(wide.shape, dtype=bool)
    wide_mask[inner] = mask
    water = {year: zone.water(wide) for year, zone in years.items()}
    heights = next((zone.heights(wide) for zone in years.values() if zone.heights is not None), None)
    window = LakeWindow(
        ground=wide_mask,
        lake=_on_grid(ground, wide),
        water=water,
        heights=heights,
        counts={year: zone.counts(wide) for year, zone in years.items() if zone.counts is not None},
        glaciers=None if glaciers is None else glaciers.mask_on(wide),
    )
    hiding = find_hiding_ice(window)
    bared = {
        year: np.where((classes == WATER_SNOW_ICE) & ~hiding[year], np.uint8(WATER_LAND), classes)[inner]
        for year, classes in water.items()
    }
    return bared, touch_glaciers(window, hiding)


def rasterise_ground(ground: BaseGeometry, epsg: int, grow_px: int) -> tuple[Grid, NDArray[np.bool_]]:
    """A piece of ground (EPSG:4326) as pixels of a zone: the grid around it and (H, W) bool, True on the ground."""
    placed = project_geometry(ground, 4326, epsg)
    if grow_px or not placed.is_valid:
        placed = shapely.buffer(placed, grow_px * PIXEL_M)
    minx, miny, maxx, maxy = placed.bounds
    row, col = math.floor(-maxy / PIXEL_M), math.floor(minx / PIXEL_M)
    height, width = max(math.ceil(-miny / PIXEL_M) - row, 1), max(math.ceil(maxx / PIXEL_M) - col, 1)
    grid = Grid(epsg=epsg, row=row, col=col, height=height, width=width)
    return grid, _burn(placed, grid)


def _on_grid(ground: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """(H, W) bool on a grid, True on the ground (EPSG:4326)."""
    placed = project_geometry(ground, 4326, grid.epsg)
    return _burn(placed if placed.is_valid else shapely.buffer(placed, 0), grid)


def _burn(placed: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose centre lies in a geometry in metres of the zone, or, if none does, those that it touches."""
    for all_touched in (False, True):
        mask: NDArray[np.bool_] = rasterize(
            [(placed, 1)], out_shape=grid.shape, transform=grid.transform, all_touched=all_touched, dtype=np.uint8
        ).astype(bool)
        if mask.any():
            break
    return mask


def _total_share(seen: Mapping[int, GroundSeen]) -> float:
    """Observed shares of all years added up."""
    return sum(each.observed_share for each in seen.values())


def count_classes(
    water: NDArray[np.uint8], condition: ReadClasses | None, grid: Grid, mask: NDArray[np.bool_]
) -> GroundSeen:
    """How many pixels of a piece of ground have which class.

    Args:
        water: (H, W) classes on the grid.
        condition: Reader of the stack's classes, asked only where something was not observed; None if there is none.
        grid: Around the ground.
        mask: (H, W) bool, True on the ground.
    """
    counts = np.bincount(water[mask], minlength=256)
    hidden = int(counts[WATER_UNOBSERVED])
    ice, shadow, cloud = int(counts[WATER_SNOW_ICE]), int(counts[WATER_SHADOW]), 0
    if hidden and condition is not None:
        why = np.bincount(condition(grid)[mask & (water == WATER_UNOBSERVED)], minlength=256)
        cloud = int(why[Condition.CLOUD])
        ice, shadow = ice + int(why[Condition.SNOW_ICE]), shadow + int(why[Condition.TERRAIN_SHADOW])
        hidden -= cloud + int(why[Condition.SNOW_ICE]) + int(why[Condition.TERRAIN_SHADOW])
    return GroundSeen(
        land=int(counts[WATER_LAND]), lake=int(counts[WATER_LAKE]), ice=ice, shadow=shadow, cloud=cloud, nodata=hidden
    )
