"""Where the edges of a chip lie on the ground: 2,240 m squares of the UTM zone of its centre, in degrees."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.units import CELL_M

_STEPS: Final = np.array([[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]], dtype=np.float64)
"""Corners and middles of the edges, as shares of half a side, counter-clockwise from the lower left."""

_MARGIN_DEG: Final = 1e-6
"""Between two of the eight points an edge strays from the straight line by less than this (0.1 m; it is 0.01 m)."""


def footprints(
    lat: NDArray[np.float64], lon: NDArray[np.float64], side_m: float = float(CELL_M)
) -> NDArray[np.float64]:
    """The outlines of some chips.

    Args:
        lat: (N,) centres, degrees north, -80..84.
        lon: (N,) centres, degrees east.
        side_m: Side of the square in metres of its zone.

    Returns:
        (N, 8, 2) longitude and latitude of corners and middles of edges, EPSG:4326, counter-clockwise. Longitudes stay within half
        a turn of the centre's, so that beyond the antimeridian they go past +-180.
    """
    zones = utm_zones(lat, lon)
    found = np.empty((lat.size, len(_STEPS), 2), dtype=np.float64)
    for epsg in np.unique(zones):
        here = zones == epsg
        x, y = transformer(4326, int(epsg)).transform(lon[here], lat[here])
        points = np.stack([x, y], axis=-1)[:, None] + _STEPS * (side_m / 2.0)
        found[here] = np.stack(transformer(int(epsg), 4326).transform(points[..., 0], points[..., 1]), axis=-1)
    turn = (found[..., 0] - lon[:, None] + 180.0) % 360.0 - 180.0
    found[..., 0] = lon[:, None] + turn
    return found


def lonlat_bounds(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4) west, south, east, north of boxes that hold the chips wholly, degrees; see `footprints`."""
    points = footprints(lat, lon)
    low, high = points.min(axis=1) - _MARGIN_DEG, points.max(axis=1) + _MARGIN_DEG
    return np.concatenate([low, high], axis=1)


def utm_zones(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) EPSG codes of the zones that own some points, as `ground.projection.zone_of_lonlat` has them."""
    wrapped = (lon + 180.0) % 360.0 - 180.0
    number = np.minimum((wrapped + 180.0) // 6.0 + 1.0, 60.0)
    return np.asarray(np.where(lat >= 0, 32600, 32700) + number, dtype=np.int64)
