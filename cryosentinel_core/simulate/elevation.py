"""The Copernicus-like elevation model of the simulated ground: 1-degree tiles of 1 arc second, pixel-is-point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array, make_generator
from cryosentinel_core.simulate.world import World

VOID = -32767.0
"""Height of a pixel whose height nobody knows, without a tag that says so."""

SECONDS = 3600
"""Pixels along a degree."""


@dataclass(frozen=True)
class ElevationTile:
    """The part of a 1-degree tile that is simulated.

    Attributes:
        south, west: Degrees of the tile's lower left corner.
        affine: Pixel corner to degrees; pixel centres lie on whole arc seconds.
        heights: Metres float32 `(H, W)`.
    """

    south: int
    west: int
    affine: Affine
    heights: Array

    @property
    def name(self) -> str:
        """Name as in the archive, such as Copernicus_DSM_COG_10_N43_00_E077_00_DEM."""
        return f"Copernicus_DSM_COG_10_{self.corner}_DEM"

    @property
    def corner(self) -> str:
        """The tile's corner, such as N43_00_E077_00."""
        ns, ew = "NS"[self.south < 0], "EW"[self.west < 0]
        return f"{ns}{abs(self.south):02d}_00_{ew}{abs(self.west):03d}_00"


def draw_elevation(world: World) -> Iterator[ElevationTile]:
    """The elevation tiles of a world's ground, south-west first, each cut to the ground.

    Heights are the ground's, seen through a 30 m pixel, with a metre of error that neighbours share.
    """
    ground = world.ground
    x, y = ground.grid.centres()
    corners_x, corners_y = [x[1], x[-2], x[1], x[-2]], [y[1], y[1], y[-2], y[-2]]
    lons, lats = ground.to_lonlat.transform(corners_x, corners_y)
    # Rows and columns of the global grid of whole arc seconds, inside the ground on every side.
    left = math.ceil(max(lons[0], lons[2]) * SECONDS)
    right = math.floor(min(lons[1], lons[3]) * SECONDS)
    bottom = math.ceil(max(lats[2], lats[3]) * SECONDS)
    top = math.floor(min(lats[0], lats[1]) * SECONDS)
    smooth = ndimage.gaussian_filter(world.relief.heights, 1.1)
    rng = make_generator(world.settings.seed, "elevation")
    for south in range(math.floor((bottom - 1) / SECONDS), math.floor(top / SECONDS) + 1):
        for west in range(math.floor(left / SECONDS), math.floor(right / SECONDS) + 1):
            # A tile holds its west and north edges' points, not those of its east and south edges.
            columns = np.arange(max(left, west * SECONDS), min(right + 1, (west + 1) * SECONDS))
            rows = np.arange(min(top, (south + 1) * SECONDS), max(bottom - 1, south * SECONDS), -1)
            if not columns.size or not rows.size:
                continue
            heights = _sample(world, smooth, columns / SECONDS, rows / SECONDS)
            error = ndimage.gaussian_filter(rng.standard_normal(heights.shape, dtype=np.float32), 1.5)
            heights += 2.5 * error * _off_water(heights)
            _make_worse(heights, world, f"{south} {west}")
            step = 1 / SECONDS
            affine = Affine(step, 0, (columns[0] - 0.5) / SECONDS, 0, -step, (rows[0] + 0.5) / SECONDS)
            yield ElevationTile(south, west, affine, heights)


def _sample(world: World, heights: Array, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> Array:
    grid = world.ground.grid
    to_ground = Transformer.from_crs(4326, grid.epsg, always_xy=True)
    x, y = to_ground.transform(*np.meshgrid(lon, lat))
    positions = np.stack([(grid.top - y) / grid.pixel_m - 0.5, (x - grid.left) / grid.pixel_m - 0.5])
    return np.asarray(
        ndimage.map_coordinates(heights, positions, order=1, mode="nearest", output=np.float32), np.float32
    )


def _make_worse(heights: Array, world: World, tile: str) -> None:
    """Noise and holes that real elevation models have and `easy` has not, in place."""
    hardships = world.settings.hardships
    if hardships.dem_noise_m == 0:
        return
    rng = make_generator(world.settings.seed, "dem", tile)
    error = ndimage.gaussian_filter(rng.standard_normal(heights.shape, dtype=np.float32), 2.0)
    heights += hardships.dem_noise_m * error / max(float(error.std()), 1e-6) * _off_water(heights)
    for _ in range(round(hardships.dem_voids * (world.settings.size_km / 12.0) ** 2)):
        row, column = (int(rng.integers(0, side)) for side in heights.shape)
        radius = rng.uniform(1.5, 5.0)
        rows, columns = np.ogrid[: heights.shape[0], : heights.shape[1]]
        heights[np.hypot(rows - row, columns - column) < radius] = VOID


def _off_water(heights: Array) -> Array:
    """1 on rough ground, 0 on level water, as the edited elevation model has it."""
    spread = ndimage.maximum_filter(heights, 3) - ndimage.minimum_filter(heights, 3)
    return np.asarray(np.clip((spread - 0.4) / 2.0, 0, 1), np.float32)
