"""Areas of interest from files and names, checked so that a wrong one is refused with a reason.

Reads GeoJSON, and with pyogrio whatever it knows: GeoPackage, Shapefile, KML, KMZ, and so on, in any CRS. Every polygon of every
layer is taken. What comes out is one valid multipolygon in EPSG:4326, cut at the antimeridian. `area_geometries` reads, this room
judges.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.affinity import translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import AreaError
from cryosentinel_core.ground.area import HIGH_MOUNTAIN_ASIA, Area, AreaSource
from cryosentinel_core.ground.regions import REGIONS
from cryosentinel_core.io.tables.area_geometries import POLYGONAL, parts_of, read_geojson_text, read_layers
from cryosentinel_core.io.workspace import read_json, safe_name
from cryosentinel_core.provenance import digest_of

MAX_AREA_KM2: Final = 20_000.0
"""Areas larger than this need a yes: at the published speed this is some two hours on a data-centre GPU."""

_WKT_WORDS = ("POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "POINT", "LINESTRING", "SRID=")


def load_area(reference: str, *, layers: Sequence[str] = (), allow_large: bool = False) -> Area:
    """The area of a file or of a region's name.

    Args:
        reference: Path of a vector file, a name in `REGIONS`, or GeoJSON as text. A file wins over a region, a region over a
            folder.
        layers: Take these layers of the file alone; empty for all.
        allow_large: True if more than `MAX_AREA_KM2` is meant, and if coordinates that look swapped are right.

    Raises:
        AreaError: If there is no such file or region, or it holds no usable polygon.
    """
    _refuse_inline(reference)
    path = Path("" if is_geojson_text(reference) else reference)
    if is_geojson_text(reference):
        if layers:
            raise AreaError("an area that was typed has no layers", "leave --area-layer away")
        area = _area_of_text(reference, allow_swapped=allow_large)
    elif reference in REGIONS and not path.is_file():
        if layers:
            raise AreaError(f"{reference} is a named region and has no layers", "leave --area-layer away")
        area = Area(reference, shapely.box(*REGIONS[reference]), AreaSource(label=reference, n_polygons=1))
    elif not reference or not path.exists():
        raise _no_such_area(reference)
    else:
        area = _area_of_file(path, layers, allow_swapped=allow_large)
    if area.area_km2 > MAX_AREA_KM2 and not allow_large:
        raise AreaError(
            f"area {area.name!r} has {area.area_km2:,.0f} km2, more than {MAX_AREA_KM2:,.0f}",
            "give a smaller area, or --yes if you mean it",
        )
    return area


def _no_such_area(reference: str) -> AreaError:
    """What to say of a name that nothing has; what is nearly called so is named."""
    if "://" in reference:
        return AreaError(f"the area {reference} is an address", "download the file and give its path")
    path = Path(reference)
    try:
        beside = [str(path.with_name(one.name)) for one in path.parent.iterdir() if one.is_file()]
    except (OSError, ValueError):
        beside = []
    wanted = re.sub(r"\W+", "_", reference).lower()
    near = [name for name in REGIONS if name == wanted] or get_close_matches(reference, [*REGIONS, *beside], 3, 0.75)
    return AreaError(
        f"no file and no region named {reference!r}",
        (f"did you mean {' or '.join(near)}? " if near else "")
        + f"give the path of a GeoJSON, GeoPackage or Shapefile, or one of: {', '.join(REGIONS)}",
    )


def refuse_other_ground(kept: Path, area: Area) -> None:
    """Refuse an area whose name another one has in this workspace already.

    Args:
        kept: `<aoi>/aoi.geojson` of the workspace; nothing happens where it is not there or damaged.
        area: About to be written there.

    Raises:
        AreaError: If the two cover different ground.
    """
    data = read_json(kept)
    try:
        there = shape(data["geometry"])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.GEOSException):
        return
    if area.is_same_ground(there):
        return
    new, old = area.source.label if area.source else area.name, Area(area.name, there)
    raise AreaError(
        f"{new} has {area.area_km2:,.2f} km2 at {_place(area.geometry)}, and its name {area.name!r} is taken: "
        f"{kept} has {old.area_km2:,.2f} km2 at {_place(there)}",
        f"give the file another name, or another --workspace; --aoi {kept} takes the area that is there",
    )


def _place(geometry: BaseGeometry) -> str:
    """Where a geometry lies, for a person."""
    middle = geometry.centroid
    return f"{abs(middle.x):.3f} {'W' if middle.x < 0 else 'E'}, {abs(middle.y):.3f} {'S' if middle.y < 0 else 'N'}"


def _refuse_inline(reference: str) -> None:
    """Refuse what is neither a file's name nor GeoJSON."""
    begin = reference.lstrip().upper()
    if is_geojson_text(reference):
        return
    if begin.startswith(_WKT_WORDS) and "(" in begin:
        raise AreaError(
            f"the area is WKT text ({reference.strip()[:30]}...), wanted a file, a region's name or GeoJSON",
            "save it in a file such as area.geojson and give its path (in QGIS with New Layer from Clipboard)",
        )
    if "\0" in reference or max(map(len, reference.encode().split(b"/"))) > 255:
        raise AreaError(f"{reference[:30]!r}... is no file's name", "give the path of a file or a region's name")


def is_geojson_text(reference: str) -> bool:
    """True for a reference that is GeoJSON itself and no name of a file."""
    return reference.lstrip().startswith(("{", "["))


def _area_of_text(text: str, *, allow_swapped: bool) -> Area:
    """The area of GeoJSON that was typed, named by the ground that it covers: the same text names the same results."""
    parts = [part for geometry in read_geojson_text(text) for part in parts_of(geometry)]
    polygons = [part for part in parts if part.geom_type in POLYGONAL]
    if not polygons:
        raise AreaError("the area's text holds no polygon", 'type {"type": "Polygon", "coordinates": ...}')
    geometry = _as_lonlat_polygon(polygons, Path("the area's text"), allow_swapped=allow_swapped)
    name = f"area-{digest_of(shapely.normalize(geometry).wkb_hex)[:8]}"
    return Area(name, geometry, AreaSource(label=name, n_polygons=len(polygons)))


def _area_of_file(path: Path, layers: Sequence[str], *, allow_swapped: bool) -> Area:
    """The area that all polygons of a file make."""
    read = read_layers(path, layers)
    whole = [[part for geometry in found for part in parts_of(geometry)] for found in read.values()]
    polygons = [[part for part in found if part.geom_type in POLYGONAL] for found in whole]
    others = Counter(part.geom_type for found in whole for part in found if part.geom_type not in POLYGONAL)
    if not any(whole):
        raise AreaError(f"{path} is empty", "draw the area as a polygon and save it again")
    if not any(polygons):
        raise AreaError(
            f"{path} holds {', '.join(sorted(others))}, wanted a polygon",
            "draw the area as a polygon; QGIS makes polygons of lines with Polygonize, of points with Buffer",
        )
    geometry = _as_lonlat_polygon([part for found in polygons for part in found], path, allow_swapped=allow_swapped)
    source = AreaSource(
        label=str(path),
        n_layers=sum(bool(found) for found in polygons) if "" not in read else 0,
        n_polygons=sum(len(found) for found in polygons),
        left_out=dict(others),
    )
    return Area(safe_name(path.stem, "area"), geometry, source)


def _as_lonlat_polygon(parts: list[BaseGeometry], path: Path, *, allow_swapped: bool) -> BaseGeometry:
    """One valid polygon in degrees; says what is wrong where there is none."""
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
        shifted = shapely.transform(geometry, _shift_west)
        if shifted.is_valid and shifted.area > 0:  # else it is a band around the globe
            geometry = shifted
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
