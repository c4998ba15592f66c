"""Outlines of simulated lakes: irregular shapes that grow on one side, hold islands, join and part; and their rasters.

Outlines are exact polygons; the share of a pixel that they cover is counted on a finer grid, never the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely import affinity
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from cryosentinel_core.simulate.fields import Array, block_mean
from cryosentinel_core.simulate.grids import Grid

Outlines = dict[int, tuple[tuple[str, Polygon], ...]]
"""By year: identity and polygon of each part of a lake; no part where the year has none."""

GAP_M: Final = 40.0
"""Dry ground in metres between two lakes that will merge or have split."""

SUN_SIDE_DEG: Final = 145.0
"""Bearing of the sun at the satellite's pass in late summer, about which headwalls stand."""


class Shape:
    """An irregular outline that can be asked for at any area: a Fourier star, longer than wide, growing on one side."""

    def __init__(self, rng: np.random.Generator, area_m2: float, flat: bool = False, roughness: float = 0.0) -> None:
        self.area_m2 = area_m2
        self.holes: list[Polygon] = []
        count = int(np.clip(2 * np.pi * np.sqrt(area_m2 / np.pi) / 5, 64 if roughness == 0 else 256, 600))
        self.angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
        self.stretch = 2.2 if flat else rng.uniform(1.0, 2.4)
        order = np.arange(2, 11)
        amplitude = rng.uniform(0.5, 1.3) * 0.30 / order**1.15 * rng.standard_normal(order.size) * (0.4 if flat else 1)
        phase = rng.uniform(0, 2 * np.pi, order.size)
        waves = amplitude[:, None] * np.cos(order[:, None] * self.angle + phase[:, None])
        if roughness > 0:
            waves = np.concatenate([waves, _short_waves(rng, self.angle, roughness)])
        self.radius = np.maximum(1 + waves.sum(0), 0.3)
        self.growth = ((1 + np.cos(self.angle - rng.uniform(0, 2 * np.pi))) / 2) ** 2
        # A lake under a headwall lies along its foot.
        self.turn = np.radians(90 - SUN_SIDE_DEG + 90) if flat else rng.uniform(0, np.pi)

    def at(self, factor: float) -> Polygon:
        """The outline at `factor` times the shape's area; only one side moves."""
        low, high = -0.9, 3.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._ring(middle).area < factor * self.area_m2 else (low, middle)
        ring = self._ring((low + high) / 2)
        return Polygon(ring.exterior, [hole.exterior.coords for hole in self.holes])

    def _ring(self, growth: float) -> Polygon:
        unit = self._xy(self.radius)
        scale = np.sqrt(self.area_m2 / Polygon(unit).area)
        return Polygon(self._xy(self.radius * (1 + growth * self.growth)) * scale)

    def _xy(self, radius: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x = radius * np.cos(self.angle) * np.sqrt(self.stretch)
        y = radius * np.sin(self.angle) / np.sqrt(self.stretch)
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)

    def add_islands(self, rng: np.random.Generator, smallest_m2: float) -> None:
        """Put one to three islands into the water that stays water at the lake's smallest."""
        room: BaseGeometry = self.at(smallest_m2 / self.area_m2).buffer(-35)
        for _ in range(int(rng.integers(1, 4))):
            if room.is_empty or room.area < 5_000:
                return
            minx, miny, maxx, maxy = room.bounds
            island = Shape(rng, float(rng.uniform(0.006, 0.03)) * smallest_m2).at(1.0)
            island = affinity.translate(island, rng.uniform(minx, maxx), rng.uniform(miny, maxy))
            if room.contains(island):
                self.holes.append(island)
                room = room.difference(island.buffer(40))


def _short_waves(rng: np.random.Generator, angle: npt.NDArray[np.float64], roughness: float) -> npt.NDArray[np.float64]:
    """Waves of a shore from the eleventh to the hundredth part of its length, as rough at each scale as the longer ones."""
    order = np.arange(11, 101)
    amplitude = roughness * 0.30 / order**1.15 * rng.standard_normal(order.size)
    phase = rng.uniform(0, 2 * np.pi, order.size)
    return np.asarray(amplitude[:, None] * np.cos(order[:, None] * angle + phase[:, None]))


def join_or_part(
    rng: np.random.Generator, name: str, area_m2: float, years: tuple[int, ...], later: bool, roughness: float = 0.0
) -> Outlines:
    """Two lakes with dry ground between, and one lake over both: in this order if `later`, else the other way."""
    left = Shape(rng, 0.55 * area_m2, roughness=roughness).at(1.0)
    right = Shape(rng, 0.45 * area_m2, roughness=roughness).at(1.0)
    right = affinity.translate(right, left.bounds[2] - right.bounds[0] + GAP_M, 0.0)
    for _ in range(30):
        right = affinity.translate(right, GAP_M - left.distance(right), 0.0)
    whole = Polygon(unary_union([left, right]).buffer(GAP_M * 1.3).buffer(-GAP_M * 1.1).exterior)
    angle = float(rng.uniform(0, 180))
    middle = whole.centroid
    left, right, whole = (
        affinity.translate(affinity.rotate(shape, angle, (middle.x, middle.y)), -middle.x, -middle.y)
        for shape in (left, right, whole)
    )
    turn = len(years) // 2
    apart = ((f"{name}a", left), (f"{name}b", right))
    whole_first = ((name, whole),)
    return {year: apart if (i < turn) == later else whole_first for i, year in enumerate(years)}


def fill_holes(geometry: BaseGeometry) -> Polygon:
    """A polygon without its holes, or the hull of several polygons."""
    whole = geometry if isinstance(geometry, Polygon) else geometry.convex_hull
    return Polygon(shapely.get_exterior_ring(whole))


def window_of(polygon: Polygon, grid: Grid, reach_m: float) -> tuple[slice, slice]:
    """Rows and columns of a grid within `reach_m` of a polygon's bounds."""
    minx, miny, maxx, maxy = polygon.bounds
    rows = slice(
        max(0, int((grid.top - maxy - reach_m) // grid.pixel_m)),
        min(grid.height, int((grid.top - miny + reach_m) // grid.pixel_m) + 1),
    )
    columns = slice(
        max(0, int((minx - reach_m - grid.left) // grid.pixel_m)),
        min(grid.width, int((maxx + reach_m - grid.left) // grid.pixel_m) + 1),
    )
    return rows, columns


def fraction_of(polygons: Sequence[Polygon], grid: Grid, parts: int = 8) -> Array:
    """Share of each pixel `(H, W)` inside the polygons, by `parts` x `parts` points a pixel (1: the centre decides)."""
    if not polygons:
        return np.zeros(grid.shape, np.float32)
    step = grid.pixel_m / parts
    points = rasterize(
        [(polygon, 1) for polygon in polygons],
        out_shape=(grid.height * parts, grid.width * parts),
        transform=Affine(step, 0, grid.left, 0, -step, grid.top),
        dtype="uint8",
    )
    return block_mean(points.astype(np.float32), parts)
