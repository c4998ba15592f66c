"""UTM zones, and coordinates from one reference system to another.

Neighbours: `lattice` lays pixels on a zone; `geodesic` measures on the ellipsoid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError

from cryosentinel_core.errors import AreaError, DataError, InputError


@dataclass(frozen=True, order=True)
class Zone:
    """A UTM zone on WGS 84: EPSG 32601..32660 (north) or 32701..32760 (south)."""

    epsg: int

    def __post_init__(self) -> None:
        if not (32601 <= self.epsg <= 32660 or 32701 <= self.epsg <= 32760):
            raise InputError(f"EPSG:{self.epsg} is not a UTM zone on WGS 84", "use EPSG 32601..32660 or 32701..32760")

    @property
    def number(self) -> int:
        """Zone number, 1..60."""
        return self.epsg % 100

    @property
    def is_south(self) -> bool:
        """True for the southern hemisphere."""
        return self.epsg >= 32700

    @property
    def west(self) -> float:
        """Western border in degrees of longitude."""
        return self.number * 6.0 - 186.0

    @property
    def east(self) -> float:
        """Eastern border in degrees of longitude."""
        return self.west + 6.0


def zone_of_lonlat(lon: float, lat: float) -> Zone:
    """The UTM zone that owns a point; regular 6-degree zones, no Norwegian or Svalbard exceptions.

    Args:
        lon: Degrees east; wrapped to -180..180.
        lat: Degrees north, -80..84.

    Raises:
        AreaError: Outside the latitudes that UTM covers.
    """
    if not -80.0 <= lat <= 84.0:
        raise AreaError(f"latitude {lat:g} lies outside UTM (-80..84)", "choose an area between 80 S and 84 N")
    wrapped = (lon + 180.0) % 360.0 - 180.0
    number = min(int((wrapped + 180.0) // 6.0) + 1, 60)
    return Zone((32600 if lat >= 0 else 32700) + number)


@contextmanager
def crs_of_earth(what: object) -> Iterator[None]:
    """Turn PROJ's refusal of a CRS, inside the `with`, into one sentence about a file.

    Args:
        what: The file.

    Raises:
        DataError: If the CRS is unknown to PROJ or tied to no place on Earth, as that of a building site.
    """
    try:
        yield
    except ProjError as error:
        raise DataError(f"{what}: its CRS is unknown or tied to no place on Earth", "save it in EPSG:4326") from error


@lru_cache(maxsize=64)
def transformer(from_epsg: int, to_epsg: int) -> Transformer:
    """A cached pyproj transformer with (x, y) = (easting or longitude, northing or latitude) on both sides."""
    return Transformer.from_crs(from_epsg, to_epsg, always_xy=True)


def project_geometry(geometry: Any, from_epsg: int, to_epsg: int) -> Any:
    """A geometry, or an array of geometries, with its vertices in another reference system.

    Args:
        geometry: Shapely geometry or (N,) object array of them; x = easting or longitude, y = northing or latitude. Densify it
            first where straight edges matter.
        from_epsg: Reference system that it is in.
        to_epsg: Reference system wanted.
    """
    project = transformer(from_epsg, to_epsg).transform
    return shapely.transform(geometry, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))
