"""Where the pixels of a chip lie, and whether they are pixels of 10 m on the ground.

A GeoTIFF brings its own place. A shard says no more than the chip's centre, so its chips are placed in the UTM zone of the centre
with pixels of 10 m around it: right to about a pixel if the chip was cut in that zone, and turned by up to some degrees if it
was cut in the neighbouring one. Neighbours: `chip` carries a place; `lakes.outlines` draws by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from cryosentinel_core.errors import AreaError, GridMismatch
from cryosentinel_core.ground.projection import transformer, zone_of_lonlat
from cryosentinel_core.units import CELL_M, CELL_PX, PIXEL_M

SIDE_TOLERANCE: Final = 0.02
"""Share by which a chip's side may differ from 2,240 m on the ground: the neighbouring UTM zone stretches by 0.4 %."""

_WGS84: Final = Geod(ellps="WGS84")
_HINT: Final = "cut the chip anew in its UTM zone, north up, with pixels of 10 m (gdalwarp -tr 10 10 -t_srs EPSG:326..)"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the pixels of a chip lie.

    Attributes:
        crs: Coordinate reference system, as `EPSG:32643` or WKT.
        transform: (column, row) -> map (x, y).
        height: Rows.
        width: Columns.
    """

    crs: str
    transform: Affine
    height: int = CELL_PX
    width: int = CELL_PX

    def corners_lonlat(self) -> list[tuple[float, float]]:
        """(longitude, latitude) of the upper left, upper right, lower right and lower left corner, degrees.

        Not finite where the coordinate system does not reach.
        """
        corners = [(0, 0), (self.width, 0), (self.width, self.height), (0, self.height)]
        a, b, c, d, e, f = self.transform[:6]
        xy = np.array([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])
        lon, lat = Transformer.from_crs(self.crs, 4326, always_xy=True).transform(xy[:, 0], xy[:, 1])
        return [(float(x), float(y)) for x, y in zip(lon, lat, strict=True)]

    def outline(self) -> shapely.Polygon:
        """The chip's ground, EPSG:4326, grown by about 100 m so that lakes on its edge lie inside."""
        polygon: shapely.Polygon = shapely.buffer(shapely.Polygon(self.corners_lonlat()), 1e-3)
        return polygon


def place_of_centre(lat: float | None, lon: float | None) -> Place | None:
    """Pixels of 10 m around a centre (degrees), in its zone; None without a centre, or with one out of reach of UTM.

    To the millimetre, so that no rounding noise is stored.
    """
    if lat is None or lon is None:
        return None
    try:
        epsg = zone_of_lonlat(lon, lat).epsg
    except AreaError:
        return None
    x, y = transformer(4326, epsg).transform(lon, lat)
    half_m = CELL_M / 2
    transform = Affine(PIXEL_M, 0.0, round(x - half_m, 3), 0.0, -PIXEL_M, round(y + half_m, 3))
    return Place(crs=f"EPSG:{epsg}", transform=transform)


def pixels_around(place: Place, outline: shapely.Geometry) -> tuple[slice, slice]:
    """Rows and columns of a chip's pixels around an outline (EPSG:4326); what lies outside the chip is left out."""
    lonlat = shapely.get_coordinates(outline)
    x, y = Transformer.from_crs(4326, place.crs, always_xy=True).transform(lonlat[:, 0], lonlat[:, 1])
    a, b, c, d, e, f = (~place.transform)[:6]
    columns, rows = (np.asarray(one, dtype=np.float64) for one in (a * x + b * y + c, d * x + e * y + f))

    def span(values: NDArray[np.float64]) -> slice:
        ends = np.clip([np.floor(values.min()), np.ceil(values.max())], 0, CELL_PX)
        return slice(int(ends[0]), int(ends[1]))

    return span(rows), span(columns)


def check_place(place: Place, name: str) -> None:
    """Refuse a place whose pixels are not 10 m, north up.

    Measured on the ground, not in map units: 10 "metres" of Web Mercator are 7.3 m at 43 degrees north.

    Args:
        place: Of a chip.
        name: Of the chip, for the message.

    Raises:
        GridMismatch: If they are not.
    """
    step = place.transform
    if CRS.from_user_input(place.crs).is_geographic:
        raise GridMismatch(f"{name} lies in degrees, pixels of {step.a:.6g} x {-step.e:.6g}, wanted 10 m", _HINT)
    if step.b or step.d or step.a <= 0 or step.e >= 0:
        raise GridMismatch(f"{name} is turned or mirrored (geotransform {tuple(step)[:6]}), wanted north up", _HINT)
    if step.c == 0 and step.f == 0:
        raise GridMismatch(
            f"{name} begins at x = 0, y = 0 of {place.crs}: the place in its header is missing or damaged", _HINT
        )
    ul, ur, _, ll = place.corners_lonlat()
    if not all(math.isfinite(value) for corner in (ul, ur, ll) for value in corner):
        raise GridMismatch(f"{name} lies outside its coordinate reference system", _HINT)
    wide = _WGS84.inv(*ul, *ur)[2] / place.width
    tall = _WGS84.inv(*ul, *ll)[2] / place.height
    if max(abs(side - PIXEL_M) for side in (wide, tall)) > SIDE_TOLERANCE * PIXEL_M:
        raise GridMismatch(f"{name} has pixels of {wide:.4g} x {tall:.4g} m on the ground, wanted 10 x 10 m", _HINT)
