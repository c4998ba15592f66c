"""Areas, perimeters and names of outlines: measured on the ellipsoid, never in degrees, UTM or Web Mercator.

A projected area is off by 0.07 % inside its UTM zone, by 0.7 % one zone over, and Web Mercator doubles areas at 43 degrees
north. Everything here works on geometries in EPSG:4326. Edges are geodesics; an edge that was straight in UTM departs from
its geodesic by under a micrometre over 10 m.

Source: Karney (2013), Algorithms for geodesics, J. Geodesy 87, 43-55 (the code behind `pyproj.Geod`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import InputError

WGS84: Final = Geod(ellps="WGS84")
"""The ellipsoid of EPSG:4326."""


def geodesic_area_m2(geometry: BaseGeometry) -> float:
    """Area in square metres of a polygon or multipolygon in EPSG:4326, holes subtracted; 0 if it is empty or no polygon.

    Args:
        geometry: x = degrees east, y = degrees north; valid (overlapping parts would count twice).
    """
    return _measure_rings(geometry)[0]


def geodesic_perimeter_m(geometry: BaseGeometry) -> float:
    """Length in metres of all rings of a polygon or multipolygon in EPSG:4326: the shores of islands count too."""
    return _measure_rings(geometry)[1]


def measure_geodesic(geometries: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (m2) and perimeters (m) of many geometries in EPSG:4326, both of shape (N,).

    Args:
        geometries: A sequence or array of shapely polygons and multipolygons.
    """
    listed = np.asarray(geometries, dtype=object).ravel()
    parts, owner = shapely.get_parts(listed, return_index=True)
    kind = shapely.get_type_id(parts)
    if np.isin(kind, (shapely.GeometryType.MULTIPOLYGON, shapely.GeometryType.GEOMETRYCOLLECTION)).any():
        measured = np.array([_measure_rings(geometry) for geometry in listed], dtype=np.float64).reshape(-1, 2)
        return measured[:, 0].copy(), measured[:, 1].copy()
    parts, owner = parts[kind == shapely.GeometryType.POLYGON], owner[kind == shapely.GeometryType.POLYGON]
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.cumsum(np.bincount(ring, minlength=len(rings))).tolist()
    x, y = xy[:, 0].copy(), xy[:, 1].copy()
    begins = [0, *ends[:-1]] if ends else []
    measured = np.array(
        [
            WGS84.polygon_area_perimeter(x[a:b], y[a:b]) if b - a >= 4 else (0.0, 0.0)
            for a, b in zip(begins, ends, strict=True)
        ]
    ).reshape(-1, 2)
    is_outer = np.diff(part, prepend=-1) != 0
    area = np.where(is_outer, 1.0, -1.0) * np.abs(measured[:, 0])
    found = [np.bincount(owner[part], weights=values, minlength=listed.size) for values in (area, measured[:, 1])]
    return found[0].astype(np.float64), found[1].astype(np.float64)


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
    return [
        lake_id(lon, lat)
        for lon, lat in zip(shapely.get_x(points).tolist(), shapely.get_y(points).tolist(), strict=True)
    ]


def lake_id(lon: float, lat: float) -> str:
    """The id of a place: `GL077012E43056N` is 77.012 E, 43.056 N, west and south with `W` and `S`.

    It names a place to 0.001 degrees, so two ponds within a hundred metres can share one: years are never joined by it alone.

    Args:
        lon: Degrees east, -180..180.
        lat: Degrees north, -90..90.

    Raises:
        InputError: Outside these ranges or not finite.
    """
    if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
        raise InputError(f"({lon}, {lat}) is not a longitude and latitude", "give degrees, longitude first")
    thousandths_east, thousandths_north = round(1000.0 * lon), round(1000.0 * lat)
    side = "W" if thousandths_east < 0 else "E"
    half = "S" if thousandths_north < 0 else "N"
    return f"GL{abs(thousandths_east):06d}{side}{abs(thousandths_north):05d}{half}"


def lake_id_of(geometry: BaseGeometry) -> str:
    """The id of an outline in EPSG:4326: that of its representative point, which lies inside it, never on an island."""
    point = shapely.point_on_surface(geometry)
    return lake_id(float(point.x), float(point.y))


def _measure_rings(geometry: BaseGeometry) -> tuple[float, float]:
    """(area in m2, perimeter in m); exterior rings count positive and interior ones negative, however they are drawn."""
    area = perimeter = 0.0
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon":
            for index, ring in enumerate((part.exterior, *part.interiors)):
                x, y = shapely.get_coordinates(ring).T
                if x.size < 4:
                    continue
                ring_area, ring_length = WGS84.polygon_area_perimeter(x, y)
                area += abs(ring_area) if index == 0 else -abs(ring_area)
                perimeter += ring_length
        elif part.geom_type in ("MultiPolygon", "GeometryCollection"):
            inner_area, inner_length = _measure_rings(part)
            area, perimeter = area + inner_area, perimeter + inner_length
    return area, perimeter
