"""Geometries of a vector file, layer by layer, in longitude and latitude: all of them, not yet judged.

`area_loading` decides what makes an area of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import AreaError

POLYGONAL: Final = ("Polygon", "MultiPolygon")

_BROKEN = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError, shapely.GEOSException
)  # fmt: skip
"""What shapely raises on GeoJSON that is none."""

_LONLAT = ("CRS84", "CRS84h", "4326", "4979")
"""Endings of the names of WGS 84 in longitude and latitude, which need no transformation."""

_RESAVE = "save it as GeoJSON or GeoPackage"


def read_layers(path: Path, layers: Sequence[str] = ()) -> dict[str, list[BaseGeometry]]:
    """All geometries of a file in EPSG:4326, by layer; GeoJSON has one layer with an empty name.

    Args:
        path: Of the file, or of a file geodatabase's folder.
        layers: Names of the layers to read; empty for all that hold geometries.

    Raises:
        AreaError: If the file cannot be read or understood, or lacks one of the layers.
    """
    if path.is_dir() and path.suffix.lower() != ".gdb":
        raise AreaError(f"{path} is a folder", "give a GeoJSON, GeoPackage or Shapefile")
    if path.suffix.lower() in (".geojson", ".json"):
        data = _read_json(path)
        kind = data.get("type") if isinstance(data, dict) else None
        if kind != "Topology" and not (isinstance(data, dict) and "geometryType" in data):
            if layers:
                raise AreaError(f"{path} is GeoJSON and has no layers", "leave --area-layer away")
            return {"": _lonlat_of_geojson(data, path)}
    return _read_parquet(path, layers) if path.suffix.lower() == ".parquet" else _read_by_driver(path, layers)


def read_geojson_text(text: str) -> list[BaseGeometry]:
    """All geometries of GeoJSON that was typed, in EPSG:4326.

    Raises:
        AreaError: If it is no GeoJSON, or holds none.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AreaError(
            f"the area {text.strip()[:30]}... is not GeoJSON: {error}", "quote the whole text: '{...}'"
        ) from error
    return _lonlat_of_geojson(data, Path("the area's text"))


def parts_of(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """The single, non-empty geometries in a geometry, however deep they lie in collections."""
    for part in shapely.get_parts(geometry):
        if hasattr(part, "geoms"):
            yield from parts_of(part)
        elif not part.is_empty:
            yield part


def _read_by_driver(path: Path, layers: Sequence[str]) -> dict[str, list[BaseGeometry]]:
    """Layers of whatever pyogrio knows."""
    import geopandas
    import pyogrio

    try:
        listed = {str(name): kind for name, kind in pyogrio.list_layers(path)}
        missing = [name for name in layers if name not in listed]
        if missing:
            raise AreaError(f"{path} has no layer {missing[0]!r}", f"it has {', '.join(listed)}")
        names = list(layers) or [name for name, kind in listed.items() if kind is not None]
        frames = {name: geopandas.read_file(path, layer=name) for name in names}
    except (RuntimeError, ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    return _lonlat_of_frames(frames, path)


def _read_parquet(path: Path, layers: Sequence[str]) -> dict[str, list[BaseGeometry]]:
    """The geometries of a GeoParquet file."""
    import geopandas

    if layers:
        raise AreaError(f"{path} is GeoParquet and has no layers", "leave --area-layer away")
    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    return _lonlat_of_frames({"": frame}, path)


def _unreadable(path: Path, error: Exception) -> AreaError:
    """What to say of a file that no driver reads."""
    why = str(error).split(";")[0].splitlines()[0] if str(error) else type(error).__name__  # the rest is GDAL's advice
    is_lone = path.suffix.lower() in (".shp", ".shx", ".dbf") and ".shx" in why
    hint = "copy all files of the Shapefile together: .shp, .shx, .dbf, .prj" if is_lone else _RESAVE
    return AreaError(f"cannot read {path} as a vector file: {why}", hint)


def _lonlat_of_frames(frames: Mapping[str, Any], path: Path) -> dict[str, list[BaseGeometry]]:
    """Geometries of each table that has some."""
    import geopandas

    found = {}
    for name, frame in frames.items():
        if not isinstance(frame, geopandas.GeoDataFrame):
            continue
        geometries = [geometry for geometry in frame.geometry if geometry is not None]
        if geometries and frame.crs is None:
            raise AreaError(
                f"{path} does not say its coordinate reference system",
                "set it, in QGIS with Set layer projection, and save it as GeoPackage (a Shapefile needs its .prj file)",
            )
        found[name] = _to_lonlat(geometries, frame.crs, path)
    if not found:
        raise AreaError(f"{path} holds a table without geometries", "give a file with one or more polygons")
    return found


def _read_json(path: Path) -> Any:
    """The data of a JSON text."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise AreaError(f"cannot read {path}: {error.strerror or error}", "check the file's permissions") from error
    except (ValueError, RecursionError) as error:
        raise AreaError(f"{path} is not GeoJSON: {error}", _RESAVE) from error


def _lonlat_of_geojson(data: Any, path: Path) -> list[BaseGeometry]:
    """Geometries of GeoJSON data; the old `crs` member is honoured."""
    try:
        found = [geometry for geometry in _geojson_geometries(data) if geometry]
        geometries = [shape(geometry) for geometry in found]
    except _BROKEN as error:
        raise AreaError(f"{path} holds a broken geometry: {error}", "open and save it again, in QGIS") from error
    if not found:
        raise AreaError(f"{path} holds no geometry", "draw the area as a polygon and save it as GeoJSON")
    name = _crs_name(data, path)
    return geometries if name is None or name.endswith(_LONLAT) else _to_lonlat(geometries, name, path)


def _geojson_geometries(data: Any) -> Iterator[Any]:
    """The geometry members of a GeoJSON object, or of a list of such, in order."""
    if isinstance(data, list):
        for member in data:
            yield from _geojson_geometries(member)
    elif isinstance(data, Mapping):
        kind = data.get("type")
        if kind == "FeatureCollection":
            features = data.get("features")
            if features is not None and not isinstance(features, list):
                raise TypeError(f"features is no list but {str(features)[:30]!r}")
            yield from _geojson_geometries(features or [])
        elif kind == "Feature":
            yield data.get("geometry")
        elif "coordinates" in data or kind == "GeometryCollection":
            yield data


def _crs_name(data: Any, path: Path) -> str | None:
    """What a `crs` member names: it may be a text, or an object as GeoJSON had it in 2008; None without one."""
    crs = data.get("crs") if isinstance(data, dict) else None
    if crs is None:
        return None
    if isinstance(crs, str):
        return crs
    properties = crs.get("properties") if isinstance(crs, dict) else None
    if isinstance(properties, dict):
        if isinstance(properties.get("name"), str):
            return str(properties["name"])
        if isinstance(properties.get("code"), int | str):
            return f"EPSG:{properties['code']}"
    raise AreaError(
        f"{path}: its crs member is {json.dumps(crs)[:80]}, wanted a name such as EPSG:32643",
        "save it in EPSG:4326, without a crs member",
    )


def _to_lonlat(geometries: list[BaseGeometry], crs: Any, path: Path) -> list[BaseGeometry]:
    """Geometries of a CRS in longitude and latitude."""
    import geopandas
    import numpy as np
    from pyproj.exceptions import ProjError

    try:
        series = geopandas.GeoSeries(geometries, crs=crs).to_crs(4326) if geometries else []
    except ProjError as error:  # CRSError is one
        raise AreaError(
            f"{path}: its CRS {_crs_in_words(crs)} is unknown or tied to no place on Earth", "save it in EPSG:4326"
        ) from error
    found = list(series)
    if not all(np.isfinite(shapely.get_coordinates(geometry)).all() for geometry in found):
        raise AreaError(
            f"{path}: coordinates lie outside the range of its CRS {_crs_in_words(crs)}",
            "check that the file names the CRS that it was drawn in, then save it in EPSG:4326",
        )
    return found


def _crs_in_words(crs: Any) -> str:
    return repr(str(getattr(crs, "name", crs))[:60])
