"""Panels of the picture: their places on the page, and the ground that each shows.

Neighbours: `maps` draws one map; `change_picture` puts the page together.
"""

from __future__ import annotations

import math
from typing import Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import zone_of_lonlat
from cryosentinel_core.report.maps import in_zone
from cryosentinel_core.units import PIXEL_M

DPI, WIDTH_IN, HEIGHT_IN = 150, 16.0, 9.0
"""Dots per inch, width and height of the page in inches."""
N_CLOSE_UPS: Final = 4
"""Changes that are shown close up, at most."""
_MAPS_WIDTH: Final = 0.602
"""Share of the figure's width that the maps take beside the close-ups."""
_TALL_ASPECT: Final = 0.295 * WIDTH_IN / (0.735 * HEIGHT_IN)
_WIDE_TALL: Final = 0.335
_WIDE_ASPECT: Final = _MAPS_WIDTH * WIDTH_IN / (_WIDE_TALL * HEIGHT_IN)
_MANY_LAKES: Final = 1_000
_WIDE_FROM: Final = (_TALL_ASPECT * _WIDE_ASPECT) ** 0.5
"""Width / height of the ground from which the maps are drawn one above the other."""


def map_boxes(extent: Grid, has_close: bool) -> list[tuple[float, float, float, float]]:
    """(left, bottom, width, height) of the two maps: side by side for a tall area, one above the other for a wide one."""
    width = _MAPS_WIDTH if has_close else 0.925
    if extent.width > extent.height * _WIDE_FROM:
        return [(0.045, 0.115 + _WIDE_TALL + 0.062, width, _WIDE_TALL), (0.045, 0.115, width, _WIDE_TALL)]
    half = (width - 0.012) / 2.0
    return [(0.045, 0.115, half, 0.735), (0.045 + half + 0.012, 0.115, half, 0.735)]


def zone_of_rows(rows: gpd.GeoDataFrame) -> int:
    """The zone that holds most lakes (tie: lower)."""
    zones = [zone_of_lonlat(lon, lat).epsg for lon, lat in zip(rows["lon"], rows["lat"], strict=True)]
    if not zones:
        return 32643
    numbers, counts = np.unique(zones, return_counts=True)
    return int(numbers[np.argmax(counts)])


def extent_of_rows(rows: gpd.GeoDataFrame, epsg: int) -> Grid | None:
    """The rectangle of the maps: all lakes with a margin, in the shape of a panel."""
    geometry = rows.geometry.to_numpy()
    filled = geometry[~(shapely.is_missing(geometry) | shapely.is_empty(geometry))]
    if len(filled) > _MANY_LAKES:
        filled = shapely.box(*shapely.bounds(filled).T)  # of so many none fills the map
    places = shapely.points(rows[["lon", "lat"]].to_numpy()[shapely.is_missing(geometry)])
    if not len(filled) + len(places):
        return None
    placed = in_zone(np.concatenate([filled, places]), epsg)
    minx, miny, maxx, maxy = shapely.total_bounds(placed)
    is_wide = maxx - minx > _WIDE_FROM * (maxy - miny)
    aspect = _WIDE_ASPECT if is_wide else _TALL_ASPECT
    return _grid_around(placed, epsg, margin=0.05, min_side_m=1500.0, aspect=aspect)


def close_up_grid(geometry: BaseGeometry, epsg: int) -> Grid:
    """A square around one lake."""
    return _grid_around(
        in_zone(np.array([geometry], dtype=object), epsg), epsg, margin=0.3, min_side_m=400.0, aspect=1.0
    )


def _grid_around(placed: NDArray[np.object_], epsg: int, *, margin: float, min_side_m: float, aspect: float) -> Grid:
    """A grid around geometries in metres with a margin (share of the longer side) and a width / height."""
    minx, miny, maxx, maxy = shapely.total_bounds(placed)
    spare = 2.0 * margin * max(maxx - minx, maxy - miny)
    width, height = max(maxx - minx + spare, min_side_m), max(maxy - miny + spare, min_side_m)
    width, height = max(width, height * aspect), max(height, width / aspect)
    x, y = (minx + maxx) / 2.0, (miny + maxy) / 2.0
    return Grid(
        epsg=epsg,
        row=math.floor(-(y + height / 2.0) / PIXEL_M),
        col=math.floor((x - width / 2.0) / PIXEL_M),
        height=math.ceil(height / PIXEL_M),
        width=math.ceil(width / PIXEL_M),
    )
