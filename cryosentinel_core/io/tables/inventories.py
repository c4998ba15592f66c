"""Files that others made, of any CRS: inventories of lakes, and lakes that somebody watches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.ground.projection import crs_of_earth
from cryosentinel_core.io.tables.outline_files import read_outline_file
from cryosentinel_core.io.tables.vector import layers_of, read_layer
from cryosentinel_core.lakes.glaciers import GlacierOutlines
from cryosentinel_core.lakes.inventory import clean_inventory
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Reporter

_NAME_COLUMNS: Final = ("name", "lake", "lake_name", "lake_key")


def read_inventory(inventory: Inventory, reporter: Reporter) -> gpd.GeoDataFrame:
    """The outlines of an inventory as a lake table.

    Args:
        inventory: File, year and resolution.
        reporter: Hears what was repaired and left out.

    Returns:
        GeoDataFrame with `LAKE_COLUMNS` and valid polygons in EPSG:4326, one row a lake, in the file's order.

    Raises:
        DataError: If the file cannot be read, has no CRS or holds no polygon.
        InputError: If the column to select by is not there, or the file has several layers and none was named.
    """
    frame, notes, doubts = read_outline_file(inventory.path, inventory.layer, inventory.crs)
    for note in notes:
        reporter.note(f"inventory of {inventory.year}: {note}")
    for doubt in doubts:
        reporter.warn(f"inventory of {inventory.year}: the file may be damaged: {doubt}")
    return clean_inventory(_select(frame, inventory), inventory, reporter)


def read_watched(path: Path) -> list[tuple[str, BaseGeometry]]:
    """Names and places (EPSG:4326) of the lakes that always get a row, of all layers of a vector file.

    Raises:
        DataError: If the file cannot be read, does not say its CRS, or has one that is tied to no place on Earth.
    """
    found: list[tuple[str, BaseGeometry]] = []
    layers: list[str | None] = [*layers_of(path)]
    for layer in layers or [None]:
        frame = read_layer(path, layer)
        if frame.crs is None:
            raise DataError(f"{path} does not say its CRS", "save it as GeoPackage or GeoJSON with its CRS")
        with crs_of_earth(path):
            places = shapely.force_2d(frame.to_crs(4326).geometry.to_numpy())
        label = next((name for name in frame.columns if str(name).lower() in _NAME_COLUMNS), None)
        names = pd.Series("", index=frame.index) if label is None else frame[label].astype(str)
        for name, place in zip(names, places, strict=True):
            if place is not None and not place.is_empty:
                found.append((name.strip() or f"watched {len(found) + 1}", place))
    return found


def read_glaciers(path: Path | None) -> GlacierOutlines | None:
    """Polygons of all layers of a vector file, such as the Randolph Glacier Inventory's or GLIMS'; None without a file.

    Raises:
        DataError: If the file cannot be read, does not say its CRS, or holds no polygon.
    """
    if path is None:
        return None
    places = [place for _, place in read_watched(path) if place.geom_type in ("Polygon", "MultiPolygon")]
    if not places:
        raise DataError(f"{path} holds no polygon", "give outlines of glaciers, as RGI and GLIMS publish them")
    return GlacierOutlines(places)


def digest_of_file(path: Path | None) -> str | None:
    """SHA-256 (hex) of a file's bytes; None without a file.

    Raises:
        InputError: If it cannot be read.
    """
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path of the watched lakes") from error


def _select(frame: gpd.GeoDataFrame, inventory: Inventory) -> gpd.GeoDataFrame:
    """The rows of the inventory's year where one file holds several."""
    if inventory.select is None:
        return frame
    column, value = inventory.select
    if column not in frame.columns:
        raise InputError(
            f"{inventory.path} has no column {column!r}",
            f"it has {', '.join(map(str, frame.columns.drop(frame.geometry.name)))}",
        )
    found = frame[_is_value(frame[column], value)]
    if found.empty:
        raise InputError(f"{inventory.path}: no row has {column} = {value}", "check the column's values")
    return found


def _is_value(column: pd.Series[Any], value: str) -> pd.Series[bool]:
    """(N,) True where a column of any type holds a value as somebody would type it: 2010 also for 2010.0, a day for a time."""
    texts = column.astype(str)
    found = (texts == value) | (texts.str.strip() == value.strip())
    if pd.api.types.is_datetime64_any_dtype(column):
        return found | texts.str.startswith(value)
    if pd.api.types.is_bool_dtype(column):
        return found | (texts.str.lower() == value.strip().lower())
    try:
        return found | (pd.to_numeric(column, errors="coerce") == float(value))
    except ValueError:
        return found
