"""Areas, perimeters and names of outlines: measured on the ellipsoid, never in degrees, UTM or Web Mercator.

A projected area is off by 0.07 % inside its UTM zone, by 0.7 % one zone over, and Web Mercator doubles areas at 43 degrees
north. Everything here works on geometries in EPSG:4326. Edges are geodesics; an edge that was straight in UTM departs from
its geodesic by under a micrometre over 10 m. Shores are made of short edges, and of these all are measured at once.

Sources: Karney (2013), Algorithms for geodesics, J. Geodesy 87, 43-55 (the code behind `pyproj.Geod`, which measures long edges);
Snyder (1987), Map projections, USGS Professional Paper 1395, equation 3-12 (the area up to a parallel).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import InputError

WGS84: Final = Geod(ellps="WGS84")
"""The ellipsoid of EPSG:4326."""

_COLLECTIONS: Final = (shapely.GeometryType.MULTIPOLYGON, shapely.GeometryType.GEOMETRYCOLLECTION)
_E2: Final = WGS84.f * (2.0 - WGS84.f)
_AUTHALIC: Final = [(n + 1) / (2 * n + 1) * _E2**n for n in range(8)]
_SHORT_M: Final = 5_000.0
"""Length of an edge up to which its expansion holds."""
_BLOCK: Final = 2_000
"""Geometries that are measured at once."""
_NEAR_RAD: Final = 0.02
_POLAR_RAD: Final = 1.4


def geodesic_area_m2(geometry: BaseGeometry) -> float:
    """Area in square metres of a polygon or multipolygon in EPSG:4326, holes subtracted; 0 if it is empty or no polygon.

    Args:
        geometry: x = degrees east, y = degrees north; valid (overlapping parts would count twice).
    """
    return float(measure_geodesic([geometry])[0][0])


def geodesic_perimeter_m(geometry: BaseGeometry) -> float:
    """Length in metres of all rings of a polygon or multipolygon in EPSG:4326: the shores of islands count too."""
    return float(measure_geodesic([geometry])[1][0])


def measure_geodesic(geometries: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (m2) and perimeters (m) of many geometries in EPSG:4326, both of shape (N,).

    Exterior rings count positive and interior ones negative, however they are drawn.

    Args:
        geometries: A sequence or array of shapely polygons and multipolygons.
    """
    listed = np.asarray(geometries, dtype=object).ravel()
    blocks = [_measure_block(listed[at : at + _BLOCK]) for at in range(0, listed.size, _BLOCK)]
    if not blocks:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([area for area, _ in blocks]), np.concatenate([length for _, length in blocks])


def _measure_block(listed: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas and perimeters of some geometries; few enough that what lies between is no burden on memory."""
    parts, owner = _polygons_of(listed)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.cumsum(np.bincount(ring, minlength=len(rings)))
    area, length = _measure_rings(xy, np.concatenate([[0], ends]).astype(np.int64))
    is_outer = np.diff(part, prepend=-1) != 0
    area = np.where(is_outer, area, -area)
    of_geometry = owner[part]
    return _sums(of_geometry, area, listed.size), _sums(of_geometry, length, listed.size)


def _sums(place: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(size,) sums of values by place, added in their order."""
    return np.asarray(np.bincount(place, weights=values, minlength=size), dtype=np.float64)


def _polygons_of(listed: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """(P,) polygons in some geometries, collections opened, and (P,) the geometry that each is of."""
    parts, owner = shapely.get_parts(listed, return_index=True)
    while np.isin(shapely.get_type_id(parts), _COLLECTIONS).any():
        parts, outer = shapely.get_parts(parts, return_index=True)
        owner = owner[outer]
    is_polygon = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return parts[is_polygon], owner[is_polygon].astype(np.int64)


def _measure_rings(
    xy: NDArray[np.float64], begins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (m2, positive) and lengths (m) of R closed rings; those with long edges, or near a pole, by pyproj one by one.

    Args:
        xy: (C, 2) corners in degrees, ring after ring.
        begins: (R + 1,) first corner of each ring, and their number.
    """
    n_rings = len(begins) - 1
    ring = np.repeat(np.arange(n_rings), np.diff(begins))
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    own = ring[edge]
    area, length = np.zeros(n_rings), np.zeros(n_rings)
    if not edge.size:
        return area, length
    start = np.radians(xy[begins[:-1][np.diff(begins) > 0], 1])
    north = np.zeros(n_rings)
    north[np.diff(begins) > 0] = start
    north_of_start = np.radians(xy[:, 1]) - north[ring]
    turned = xy[edge + 1, 0] - xy[edge, 0]
    east = np.radians(turned - 360.0 * np.round(turned / 360.0))
    under, lengths = _measure_short_edges(
        north,
        own,
        0.5 * (north_of_start[edge] + north_of_start[edge + 1]),
        north_of_start[edge + 1] - north_of_start[edge],
        east,
    )
    area, length = np.abs(_sums(own, under, n_rings)), _sums(own, lengths, n_rings)
    far = (lengths > _SHORT_M) | ~np.isfinite(under)
    far |= np.maximum(np.abs(north_of_start[edge]), np.abs(north_of_start[edge + 1])) > _NEAR_RAD
    far |= np.abs(north[own]) > _POLAR_RAD
    for index in np.unique(own[far]).tolist():
        x, y = xy[begins[index] : begins[index + 1]].T.copy()
        signed, length[index] = WGS84.polygon_area_perimeter(x, y)
        area[index] = abs(signed)
    few = np.diff(begins) < 4
    area[few], length[few] = 0.0, 0.0
    return area, length


def _measure_short_edges(
    start: NDArray[np.float64],
    own: NDArray[np.int64],
    middle: NDArray[np.float64],
    north: NDArray[np.float64],
    east: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (m2) between short geodesics and their ring's first parallel, positive eastward, and their lengths (m), (E,) each.

    Expansions about the middle of the straight line in latitude and longitude, to the fourth order in the edge: the area under
    that line, the sliver between it and the geodesic, and the length that the bend saves. Up to `_SHORT_M` they are within 1e-9
    of pyproj's, but for its own rounding of some 1e-4 m2 a ring, of which they are free. Only sums, products, quotients
    and roots of each edge: the same bits on every machine and in any company.

    Args:
        start: (R,) latitude of each ring's first corner, radians.
        own: (E,) ring of each edge.
        middle: (E,) latitude of the edge's middle less that of the ring's first corner, radians.
        north: (E,) difference of latitude, radians.
        east: (E,) difference of longitude, radians.
    """
    sin_start = np.array([math.sin(value) for value in start.tolist()])[own]
    cos_start = np.array([math.cos(value) for value in start.tolist()])[own]
    q = middle * middle
    sin_off = middle * (1 - q / 6 * (1 - q / 20 * (1 - q / 42)))
    cos_off = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56)))
    sin, cos = sin_start * cos_off + cos_start * sin_off, cos_start * cos_off - sin_start * sin_off
    w = 1 - _E2 * sin * sin
    normal = WGS84.a / np.sqrt(w)
    meridian = normal * (1 - _E2) / w  # radius of curvature along the meridian
    radius = normal * cos  # of the parallel
    growth = 3 * _E2 * sin * cos / w  # of `meridian` with latitude, relative
    nn, ee = north * north, east * east
    bend = (
        meridian * radius * east * (2 * meridian * sin / radius * nn + radius * sin / meridian * ee + growth * nn) / 12
    )
    under = WGS84.a**2 * (1 - _E2) * (_authalic(sin) - _authalic(sin_start)) * east
    under += east * nn * meridian * (growth * radius - meridian * sin) / 24 + bend
    square = meridian * meridian * nn + radius * radius * ee
    length = np.sqrt(square)
    first = 2 * meridian * meridian * growth * nn - 2 * radius * meridian * sin * ee
    second = 2 * (meridian * meridian * sin * sin - radius * meridian * (cos + growth * sin)) * ee
    second += 6 * _E2 * meridian * meridian * (cos * cos - sin * sin) * nn
    with np.errstate(divide="ignore", invalid="ignore"):
        more = nn / 24 * (second / (2 * length) - first * first / (4 * length * square))
        more -= 6 * bend * bend / (length * square)
    return under, np.where(length > 0, length + more, 0.0)


def _authalic(sin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area from the equator to a parallel, by its sine, a radian of longitude wide, in units of the polar radius squared."""
    square, total = sin * sin, np.full_like(sin, _AUTHALIC[-1])
    for factor in _AUTHALIC[-2::-1]:
        total = total * square + factor
    return np.asarray(total * sin, dtype=np.float64)


def circles_of_area(
    lon: NDArray[np.float64], lat: NDArray[np.float64], area_m2: NDArray[np.float64]
) -> NDArray[np.object_]:
    """(N,) circles (64 corners) of some areas around points in EPSG:4326; None where a number is missing or out of range."""
    n_corners = 64
    usable = (np.abs(lon) <= 180) & (np.abs(lat) < 89) & (area_m2 > 0) & np.isfinite(area_m2)
    found = np.full(lon.shape, None, dtype=object)
    radius = np.sqrt(2.0 * area_m2[usable] / (n_corners * np.sin(2.0 * np.pi / n_corners)))
    shape = (radius.size, n_corners)
    azimuth = np.broadcast_to(np.linspace(0.0, 360.0, n_corners, endpoint=False), shape)
    start = [np.broadcast_to(values[usable][:, None], shape).ravel() for values in (lon, lat)]
    x, y, _ = WGS84.fwd(*start, azimuth.ravel(), np.broadcast_to(radius[:, None], shape).ravel())
    found[usable] = shapely.polygons(np.dstack([x.reshape(shape), y.reshape(shape)])) if radius.size else []
    return found


def lake_ids_of(geometries: NDArray[np.object_]) -> list[str]:
    """Ids of many outlines in EPSG:4326, as `lake_id_of`."""
    points = shapely.point_on_surface(geometries)
    lon, lat = shapely.get_x(points), shapely.get_y(points)
    _check_degrees(lon, lat)
    east, north = np.rint(1000.0 * lon).astype(np.int64).tolist(), np.rint(1000.0 * lat).astype(np.int64).tolist()
    return [_id_of_thousandths(x, y) for x, y in zip(east, north, strict=True)]


def lake_id(lon: float, lat: float) -> str:
    """The id of a place: `GL077012E43056N` is 77.012 E, 43.056 N, west and south with `W` and `S`.

    It names a place to 0.001 degrees, so two ponds within a hundred metres can share one: years are never joined by it alone.

    Args:
        lon: Degrees east, -180..180.
        lat: Degrees north, -90..90.

    Raises:
        InputError: Outside these ranges or not finite.
    """
    _check_degrees(np.array([lon]), np.array([lat]))
    return _id_of_thousandths(round(1000.0 * lon), round(1000.0 * lat))


def _check_degrees(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
    """Refuse what is no longitude and latitude."""
    wrong = np.flatnonzero(~((np.abs(lon) <= 180.0) & (np.abs(lat) <= 90.0)))
    if wrong.size:
        place = f"({float(lon[wrong[0]])}, {float(lat[wrong[0]])})"
        raise InputError(f"{place} is not a longitude and latitude", "give degrees, longitude first")


def _id_of_thousandths(thousandths_east: int, thousandths_north: int) -> str:
    """The id of a place in thousandths of a degree."""
    side = "W" if thousandths_east < 0 else "E"
    half = "S" if thousandths_north < 0 else "N"
    return f"GL{abs(thousandths_east):06d}{side}{abs(thousandths_north):05d}{half}"


def lake_id_of(geometry: BaseGeometry) -> str:
    """The id of an outline in EPSG:4326: that of its representative point, which lies inside it, never on an island."""
    point = shapely.point_on_surface(geometry)
    return lake_id(float(point.x), float(point.y))
