"""The registry of lake keys of an area: `registry.gpkg`, so that a lake keeps its key when years are added."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import geopandas as gpd

from cryosentinel_core.change.lake_keys import REGISTRY_COLUMNS, count_known, empty_registry, name_of_ground
from cryosentinel_core.errors import DataError
from cryosentinel_core.io.tables.vector import read_layer, write_geopackage

REGISTRY_LAYER = "registry"

REGISTRIES: Final = "registries"
"""Folder of the registries of areas that have no name, in a workspace."""

_OLDER: Final = "change_*_inventories/registry.gpkg"
"""Where earlier releases kept the keys of inventories: with each comparison."""


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


def registry_of_ground(home: Path, tables: Mapping[int, gpd.GeoDataFrame], pixel_m: float) -> Path:
    """The registry that knows most of some inventories' lakes; where none knows any, a new one's path, named after the largest lake.

    Keys of comparisons that earlier releases left in the workspace are taken over.

    Args:
        home: Folder of the workspace.
        tables: Year -> outlines in EPSG:4326 with the column `area_m2`.
        pixel_m: Side of the coarsest year's pixels.

    Raises:
        DataError: If a registry is damaged.
        OutputWrite: If the disk refuses.
    """
    folder = home / REGISTRIES
    best: tuple[int, Path] | None = None
    for path in (*sorted(folder.glob("*.gpkg")), *sorted(home.glob(_OLDER))):
        n_known = count_known(tables, read_registry(path), pixel_m)
        if n_known and (best is None or n_known > best[0]):
            best = (n_known, path)
    if best is not None and best[1].parent == folder:
        return best[1]
    name, number = name_of_ground(tables), 1
    path = folder / f"{name}.gpkg"
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}.gpkg"
    if best is not None:
        write_registry(path, read_registry(best[1]))
    return path
