"""The registry of lake keys of an area: `registry.gpkg`, so that a lake keeps its key when years are added."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import geopandas as gpd

from cryosentinel_core.change.lake_keys import REGISTRY_COLUMNS, empty_registry
from cryosentinel_core.errors import DataError
from cryosentinel_core.io.tables.vector import read_layer, write_geopackage

REGISTRY_LAYER = "registry"


def read_registry(path: Path) -> gpd.GeoDataFrame:
    """Keys, first years, aliases (`;` between) and first outlines in EPSG:4326; empty if there is no file yet.

    Raises:
        DataError: If the file is damaged.
    """
    if not path.exists():
        return empty_registry()
    frame = read_layer(path, REGISTRY_LAYER)
    missing = [name for name in REGISTRY_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}",
            "delete it: keys are then given anew from the years that are compared",
        )
    return frame[[*REGISTRY_COLUMNS, "geometry"]]


def write_registry(path: Path, registry: gpd.GeoDataFrame) -> None:
    """The registry as a GeoPackage, whole or not at all; the same bytes for the same registry.

    Raises:
        OutputWrite: If the disk refuses.
    """
    last = max((int(year) for year in registry["first_year"]), default=1970)
    write_geopackage(path, {REGISTRY_LAYER: registry}, stamp=dt.date(last, 12, 31))
