"""Where the simulated ground lies: the area, the ground's own grid and the Sentinel-2 granules' grids over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer
from shapely.geometry import Polygon, box

from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.simulate.settings import SimulateSettings
from cryosentinel_core.units import PIXEL_M

COARSEST_M: Final = 60
"""Coarsest Sentinel-2 pixel in metres; grids are whole multiples of it so that 10, 20 and 60 m pixels nest."""

GRANULE_M: Final = 109_800
"""Side of a Sentinel-2 granule in metres (Sentinel-2 PSD: 100 km squares with an overlap)."""

_BAND_LETTERS: Final = "CDEFGHJKLMNPQRSTUVWX"
_ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUV"
_COLUMN_LETTERS: Final = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")


@dataclass(frozen=True)
class Grid:
    """A north-up grid of square pixels: EPSG code, upper left corner and pixel side in metres, shape `(H, W)`."""

    epsg: int
    left: float
    top: float
    pixel_m: float
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)` in pixels."""
        return self.height, self.width

    @property
    def affine(self) -> Affine:
        """Pixel corner `(col, row)` to map `(x, y)`."""
        return Affine(self.pixel_m, 0, self.left, 0, -self.pixel_m, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """`(minx, miny, maxx, maxy)` in metres."""
        return (
            self.left,
            self.top - self.height * self.pixel_m,
            self.left + self.width * self.pixel_m,
            self.top,
        )

    def coarser(self, factor: int) -> Grid:
        """The same ground with pixels `factor` times as wide."""
        return Grid(self.epsg, self.left, self.top, self.pixel_m * factor, self.height // factor, self.width // factor)

    def centres(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Map x of each column `(W,)` and map y of each row `(H,)`."""
        x = self.left + (np.arange(self.width) + 0.5) * self.pixel_m
        y = self.top - (np.arange(self.height) + 0.5) * self.pixel_m
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def cut(self, rows: slice, columns: slice) -> Grid:
        """The grid of some rows and columns of this one."""
        return Grid(
            self.epsg,
            self.left + columns.start * self.pixel_m,
            self.top - rows.start * self.pixel_m,
            self.pixel_m,
            rows.stop - rows.start,
            columns.stop - columns.start,
        )


@dataclass(frozen=True)
class Granule:
    """The part of a Sentinel-2 granule that is simulated: its MGRS name and its 10 m grid, aligned to the granule's."""

    name: str
    grid: Grid


@dataclass(frozen=True)
class Ground:
    """The simulated ground.

    Attributes:
        grid: The ground's 10 m grid, in the zone of the area's centre.
        core: 10 m grid of the area and its margin, in the same zone: what scenes show.
        aoi: The area of interest, in the ground's CRS.
        granules: Sentinel-2 granules over it, by zone and name.
    """

    grid: Grid
    core: Grid
    aoi: Polygon
    granules: tuple[Granule, ...]

    @cached_property
    def to_lonlat(self) -> Transformer:
        """From the ground's CRS to degrees (lon, lat)."""
        return Transformer.from_crs(self.grid.epsg, 4326, always_xy=True)

    @property
    def zone(self) -> int:
        """UTM zone of the ground's grid."""
        return self.grid.epsg % 100

    def geometry_to_lonlat(self, geometry: Polygon) -> Polygon:
        """A geometry of the ground's CRS in degrees."""
        projected: Polygon = project_geometry(geometry, self.grid.epsg, 4326)
        return projected


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone (WGS 84) that holds a place, Norway's and Svalbard's exceptions left out."""
    zone = int((lon + 180) // 6) % 60 + 1
    return (32600 if lat >= 0 else 32700) + zone


def build_ground(settings: SimulateSettings) -> Ground:
    """The ground of a simulation: a square area about its centre, the margin, and the granules that cover both."""
    # On a zone's border the centre belongs to the zone in the east; the ground lies in the one in the west.
    epsg = utm_epsg(settings.lon - (1e-9 if settings.zone_border else 0), settings.centre_lat)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(settings.lon, settings.centre_lat)
    half = settings.size_km * 500
    aoi = box(round(x - half), round(y - half), round(x + half), round(y + half))
    reach = settings.margin_km * 1000
    core = _snapped(epsg, *aoi.buffer(reach, join_style="mitre").bounds)
    if not settings.zone_border:
        return Ground(core, core, aoi, tuple(_granules(core, settings.centre_lat)))
    grid = _snapped(epsg, *aoi.buffer(reach + 0.08 * (half + reach), join_style="mitre").bounds)
    other = _in_zone(core, epsg + 1)
    granules = [*_granules(core, settings.centre_lat), *_granules(other, settings.centre_lat)]
    return Ground(grid, core, aoi, tuple(granules))


def _snapped(epsg: int, minx: float, miny: float, maxx: float, maxy: float) -> Grid:
    left, bottom = (math.floor(v / COARSEST_M) * COARSEST_M for v in (minx, miny))
    right, top = (math.ceil(v / COARSEST_M) * COARSEST_M for v in (maxx, maxy))
    return Grid(epsg, left, top, PIXEL_M, (top - bottom) // PIXEL_M, (right - left) // PIXEL_M)


def _in_zone(grid: Grid, epsg: int) -> Grid:
    outline = project_geometry(box(*grid.bounds).segmentize(1000), grid.epsg, epsg)
    return _snapped(epsg, *outline.bounds)


def _granules(grid: Grid, lat: float) -> list[Granule]:
    """Granules whose 100 km square touches a grid, each cut to that grid."""
    minx, miny, maxx, maxy = grid.bounds
    found = []
    for column in range(int(minx // 100_000), int((maxx - 1) // 100_000) + 1):
        for row in range(int(miny // 100_000), int((maxy - 1) // 100_000) + 1):
            left = column * 100_000 // COARSEST_M * COARSEST_M
            top = math.ceil((row + 1) * 100_000 / COARSEST_M) * COARSEST_M
            x0, x1 = max(left, minx), min(left + GRANULE_M, maxx)
            y0, y1 = max(top - GRANULE_M, miny), min(top, maxy)
            cut = Grid(grid.epsg, x0, y1, PIXEL_M, int(y1 - y0) // PIXEL_M, int(x1 - x0) // PIXEL_M)
            found.append(Granule(_mgrs_name(grid.epsg, column, row, lat), cut))
    return found


def _mgrs_name(epsg: int, column: int, row: int, lat: float) -> str:
    """MGRS name of a 100 km square, such as 43TFH (MGRS, NGA.STND.0037, AA scheme of WGS 84)."""
    zone = epsg % 100
    band = _BAND_LETTERS[min(int((lat + 80) // 8), 19)]
    letter = _COLUMN_LETTERS[(zone - 1) % 3][column - 1]
    start = 0 if zone % 2 else 5
    return f"{zone:02d}{band}{letter}{_ROW_LETTERS[(row + start) % 20]}"
