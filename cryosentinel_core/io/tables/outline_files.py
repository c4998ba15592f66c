"""Outlines in whatever file they came: vector files, also zipped or gzipped or at an address, and CSV with WKT or points and areas."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.ground.geodesic import circles_of_area
from cryosentinel_core.io.tables.vector import CANDIDATES_LAYER, LAKES_LAYER, layers_of, read_layer
from cryosentinel_core.units import HECTARE_M2

_CSV: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_WKT_NAMES: Final = ("wkt", "geometry", "geom", "the_geom", "wkt_geom")
_LON_NAMES: Final = ("lon", "longitude", "long", "x")
_LAT_NAMES: Final = ("lat", "latitude", "y")
_AREA_UNITS: Final = {"area_m2": 1.0, "area_ha": HECTARE_M2, "area_km2": 1e6, "area": 1.0}


def read_outline_file(path: str, layer: str | None, crs: str | None) -> tuple[gpd.GeoDataFrame, list[str], list[str]]:
    """All rows of a file of outlines, sentences on how it was read, and what may be wrong with it.

    Args:
        path: A file, also `.zip` or `.gz`, a path of GDAL's (`/vsizip/...`), or an address.
        layer: Name of its layer; None for the only one.
        crs: Reference system of a file that does not say its own; None to refuse such a file.

    Returns:
        Rows with a CRS, notes, and doubts.

    Raises:
        DataError: If the file cannot be read, has no CRS, or holds nothing that has an area.
        InputError: If it has several layers and none is named, or the named one is not there.
    """
    doubts: list[str] = []
    if path.lower().endswith(_CSV):
        frame, notes = _read_csv(path)
        if crs is not None and not notes:
            return frame.set_crs(_parse_crs(crs), allow_override=True), notes, doubts
    else:
        source = _source_of(path)
        chosen, notes = _choose_layer(path, layers_of(source), layer)
        frame = read_layer(source, chosen, doubts=doubts)
    if frame.crs is not None:
        return frame, notes, doubts
    if crs is None:
        raise DataError(
            f"{path} does not say its CRS", "say it with --crs EPSG:..., add the .prj file, or save it as GeoPackage"
        )
    return frame.set_crs(_parse_crs(crs)), notes, doubts


def _source_of(path: str) -> Path | str:
    """What the reader of vector files is given: a path of GDAL's own and an address as they are."""
    if path.startswith("/vsi") or "://" in path:
        return path
    if path.lower().endswith(".gz") and not path.lower().endswith(".tar.gz"):
        return f"/vsigzip/{Path(path).resolve()}"
    return Path(path)


def _choose_layer(path: str, layers: list[str], wanted: str | None) -> tuple[str | None, list[str]]:
    """The layer to read, None for a file without layers, and what to tell."""
    if wanted is not None and wanted in layers:
        return wanted, []
    if wanted is not None and len(layers) > 1:
        raise InputError(f"{path} has no layer {wanted!r}", f"it has {', '.join(layers)}")
    if sorted(layers) == [CANDIDATES_LAYER, LAKES_LAYER]:
        return LAKES_LAYER, [f"layer {LAKES_LAYER!r} of {Path(path).name} is read, not {CANDIDATES_LAYER}"]
    if len(layers) > 1:
        raise InputError(f"{path} has {len(layers)} layers: {', '.join(layers)}", "say which with --layer NAME")
    return (layers[0] if layers else None), []


def _parse_crs(text: str) -> CRS:
    """A reference system as it was typed."""
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(f"--crs {text}: no such reference system", "write it as EPSG:32643") from error


def _read_csv(path: str) -> tuple[gpd.GeoDataFrame, list[str]]:
    """The rows of a CSV file with WKT, or with lon, lat and area."""
    try:
        table = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"could not read {path}: {error}", "a CSV file with a header line is wanted") from error
    lower = {str(name).strip().lower(): name for name in table.columns}
    wkt = next((lower[name] for name in _WKT_NAMES if name in lower), None)
    if wkt is not None:
        texts = table[wkt].astype(object).where(table[wkt].notna(), None).to_numpy()
        outlines = shapely.from_wkt(texts, on_invalid="ignore")
        return gpd.GeoDataFrame(table.drop(columns=wkt), geometry=outlines, crs=_crs_of_csv(path, outlines)), []
    lon, lat = (next((lower[name] for name in names if name in lower), None) for names in (_LON_NAMES, _LAT_NAMES))
    area = next((name for name in _AREA_UNITS if name in lower), None)
    if lon is None or lat is None or area is None:
        raise DataError(
            f"{path} has the columns {', '.join(map(str, table.columns))}",
            "wanted one named wkt or geometry, or lon, lat and area_m2 (or area_ha, area_km2)",
        )
    numbers = [pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in (lon, lat, lower[area])]
    outlines = circles_of_area(numbers[0], numbers[1], numbers[2] * _AREA_UNITS[area])
    notes = [f"{Path(path).name}: no outlines, so each lake is a circle of its stated area around its point"]
    if area == "area":
        notes.append(f"{Path(path).name}: the column area is taken as square metres")
    return gpd.GeoDataFrame(table, geometry=outlines, crs="EPSG:4326"), notes


def _crs_of_csv(path: str, outlines: NDArray[np.object_]) -> str | None:
    """Degrees, if the coordinates can be some; None if they cannot."""
    west, south, east, north = shapely.total_bounds(outlines)
    if not np.isfinite(west):
        raise DataError(f"{path} holds no polygon", "a column of WKT polygons is wanted")
    return "EPSG:4326" if -180 <= west <= east <= 360 and -90 <= south <= north <= 90 else None
