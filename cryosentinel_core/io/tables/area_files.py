"""Areas of interest from files and names, checked so that a wrong one is refused with a reason.

Reads GeoJSON (a geometry, Feature or FeatureCollection), and with pyogrio whatever it knows: GeoPackage, Shapefile, and so on,
in any CRS. What comes out is one valid multipolygon in EPSG:4326, cut at the antimeridian.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.affinity import translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import AreaError
from cryosentinel_core.ground.area import HIGH_MOUNTAIN_ASIA, Area
from cryosentinel_core.ground.regions import REGIONS
from cryosentinel_core.io.workspace import safe_name

MAX_AREA_KM2: Final = 20_000.0
"""Areas larger than this need a yes: at the published speed this is some two hours on a data-centre GPU."""

_POLYGONAL = ("Polygon", "MultiPolygon")


def load_area(reference: str, *, allow_large: bool = False) -> Area:
    """The area of a file or of a region's name.

    Args:
        reference: Path of a vector file, or a name in `REGIONS`.
        allow_large: True if more than `MAX_AREA_KM2` is meant, and if coordinates that look swapped are right.

    Raises:
        AreaError: If there is no such file or region, or it holds no usable polygon.
    """
    path = Path(reference)
    if reference in REGIONS and not path.exists():
        area = Area(reference, shapely.box(*REGIONS[reference]))
    elif not path.exists():
        raise AreaError(
            f"no file and no region named {reference!r}",
            f"give the path of a GeoJSON, GeoPackage or Shapefile, or one of: {', '.join(REGIONS)}",
        )
    else:
        geometry = _as_lonlat_polygon(_read_geometries(path), path, allow_swapped=allow_large)
        area = Area(safe_name(path.stem, "area"), geometry)
    if area.area_km2 > MAX_AREA_KM2 and not allow_large:
        raise AreaError(
            f"area {area.name!r} has {area.area_km2:,.0f} km2, more than {MAX_AREA_KM2:,.0f}",
            "give a smaller area, or --yes if you mean it",
        )
    return area


def _read_geometries(path: Path) -> list[BaseGeometry]:
    """All geometries of a file in EPSG:4326, not yet checked."""
    if path.is_dir():
        raise AreaError(f"{path} is a folder", "give a GeoJSON, GeoPackage or Shapefile")
    if path.suffix.lower() in (".geojson", ".json"):
        return _read_geojson(path)
    import geopandas
    from pyogrio.errors import DataSourceError

    try:
        frame = geopandas.read_file(path)
    except (DataSourceError, ValueError, OSError) as error:
        raise AreaError(f"cannot read {path} as a vector file: {error}", "save it as GeoJSON or GeoPackage") from error
    if not isinstance(frame, geopandas.GeoDataFrame) or "geometry" not in frame:
        raise AreaError(f"{path} holds a table without geometries", "give a file with one or more polygons")
    if frame.crs is None:
        raise AreaError(
            f"{path} does not say its coordinate reference system",
            "set it, in QGIS with Set layer projection (a Shapefile needs its .prj file)",
        )
    return [geometry for geometry in frame.to_crs(4326).geometry if geometry is not None]


def _read_geojson(path: Path) -> list[BaseGeometry]:
    """Geometries of a GeoJSON text; the old `crs` member is honoured."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise AreaError(f"{path} is not GeoJSON: {error}", "save it as GeoJSON or GeoPackage") from error
    found = [geometry for geometry in _geojson_geometries(data) if geometry]
    if not found:
        raise AreaError(f"{path} holds no geometry", "draw the area as a polygon and save it as GeoJSON")
    try:
        geometries = [shape(geometry) for geometry in found]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.GEOSException) as error:
        raise AreaError(f"{path} holds a broken geometry: {error}", "open and save it again, in QGIS") from error
    name = ((data.get("crs") or {}).get("properties") or {}).get("name") if isinstance(data, dict) else None
    if name and "CRS84" not in str(name) and not str(name).endswith(("4326", "4979")):
        import geopandas
        from pyproj.exceptions import CRSError

        try:
            series = geopandas.GeoSeries(geometries, crs=str(name)).to_crs(4326)
        except CRSError as error:
            raise AreaError(f"{path} names an unknown CRS {name!r}", "save it in EPSG:4326") from error
        return list(series)
    return geometries


def _geojson_geometries(data: Any) -> list[Any]:
    """The geometry members of a GeoJSON object, in order."""
    if not isinstance(data, dict):
        return []
    kind = data.get("type")
    if kind == "FeatureCollection":
        return [feature.get("geometry") for feature in data.get("features") or [] if isinstance(feature, dict)]
    if kind == "Feature":
        return [data.get("geometry")]
    if kind == "GeometryCollection":
        return list(data.get("geometries") or [])
    return [data] if "coordinates" in data else []


def _as_lonlat_polygon(geometries: list[BaseGeometry], path: Path, *, allow_swapped: bool) -> BaseGeometry:
    """One valid polygon in degrees; says what is wrong where there is none."""
    whole = [geometry for geometry in geometries if not geometry.is_empty]
    if not whole:
        raise AreaError(f"{path} is empty", "draw the area as a polygon and save it again")
    parts = [geometry for geometry in whole if geometry.geom_type in _POLYGONAL]
    if not parts:
        kinds = ", ".join(sorted({geometry.geom_type for geometry in whole}))
        raise AreaError(f"{path} holds {kinds}, wanted a polygon", "draw the area as a polygon, or buffer it in QGIS")
    for part in parts:
        if not part.is_valid:
            raise AreaError(
                f"{path}: the polygon is not valid ({shapely.is_valid_reason(part)})",
                "repair it, in QGIS with Fix geometries",
            )
    merged = shapely.force_2d(shapely.unary_union(parts))
    if merged.area == 0:
        raise AreaError(f"{path}: the polygon has no area", "draw it with at least three corners")
    _check_degrees(merged, path, allow_swapped=allow_swapped)
    return _wrap_longitudes(merged)


def _check_degrees(geometry: BaseGeometry, path: Path, *, allow_swapped: bool) -> None:
    """Refuse coordinates that are no degrees, or whose order is surely wrong."""
    west, south, east, north = geometry.bounds
    if max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 360:
        raise AreaError(
            f"{path}: coordinates such as ({west:g}, {south:g}) are no degrees",
            "GeoJSON is in longitude and latitude; a projected file must say its CRS (use GeoPackage)",
        )
    west_a, south_a, east_a, north_a = HIGH_MOUNTAIN_ASIA
    swapped_into_asia = west_a <= south <= east_a and west_a <= north <= east_a and south_a <= west <= east <= north_a
    if max(abs(south), abs(north)) > 90 or (swapped_into_asia and not allow_swapped):
        raise AreaError(
            f"{path}: latitude and longitude look swapped (x {west:g}..{east:g}, y {south:g}..{north:g})",
            "GeoJSON wants [longitude, latitude]; give --yes if the order is right",
        )


def _wrap_longitudes(geometry: BaseGeometry) -> BaseGeometry:
    """Longitudes into -180..180: what crosses the antimeridian is cut there.

    A polygon wider than 180 degrees is taken to cross it, as no area of interest goes half around the globe.
    """
    west, _, east, _ = geometry.bounds
    if east - west > 180.0 and west >= -180.0 and east <= 180.0:
        geometry = shapely.transform(geometry, _shift_west)
        west, _, east, _ = geometry.bounds
    if west >= -180.0 and east <= 180.0:
        return geometry
    pieces = []
    for turn in (-1, 0, 1):
        piece = shapely.intersection(geometry, shapely.box(-180.0 + 360.0 * turn, -90, 180.0 + 360.0 * turn, 90))
        if piece.area > 0:
            pieces.append(translate(piece, xoff=-360.0 * turn))
    return shapely.unary_union(pieces)


def _shift_west(coordinates: Any) -> Any:
    """Negative longitudes one turn to the east; (n, 2) array in, (n, 2) array out."""
    moved = coordinates.copy()
    moved[moved[:, 0] < 0, 0] += 360.0
    return moved
