"""Outlines that others drew as a lake table: repaired, each lake once, areas measured and never taken from a column.

Published inventories carry duplicate and wrong ids, areas that disagree with their outlines, and lakes drawn twice; what is
mended here is said. Neighbours: `io.tables.inventories` reads the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from cryosentinel_core.errors import DataError
from cryosentinel_core.ground.geodesic import lake_id_of, measure_geodesic
from cryosentinel_core.ground.projection import crs_of_earth
from cryosentinel_core.lakes.outlines import repair_polygon
from cryosentinel_core.lakes.tables import LAKE_COLUMNS, Inventory
from cryosentinel_core.lakes.uncertainty import inventory_sigma
from cryosentinel_core.reporter import Reporter, counted

SAME_OUTLINE_IOU: Final = 0.95
"""Intersection over union from which two outlines of one year are one lake drawn twice."""

_ELEVATION_NAMES: Final = ("elevation_m", "elevation", "altitude", "elev")


def clean_inventory(frame: gpd.GeoDataFrame, inventory: Inventory, reporter: Reporter) -> gpd.GeoDataFrame:
    """The rows of an inventory's file as a lake table.

    Args:
        frame: Rows of any CRS and any geometry, some of them missing, empty or invalid.
        inventory: File, year and resolution.
        reporter: Hears what was repaired and left out.

    Returns:
        GeoDataFrame with `LAKE_COLUMNS` and valid polygons in EPSG:4326, one row a lake, in the file's order. Half a pixel
        along the perimeter stands as the random error; what an inventory does not tell is NaN or empty.

    Raises:
        DataError: If no polygon is left, or the CRS is tied to no place on Earth.
    """
    geometry = shapely.force_2d(frame.geometry.to_numpy())
    name = f"inventory of {inventory.year}"
    filled = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    frame, geometry = frame[filled], geometry[filled]
    broken = ~shapely.is_valid(geometry)
    if broken.any():
        geometry[broken] = [repair_polygon(item) for item in geometry[broken]]
        reporter.warn(f"{name}: {counted(int(broken.sum()), 'invalid outline')} repaired")
    with crs_of_earth(inventory.path):
        lonlat = gpd.GeoSeries(geometry, crs=frame.crs).to_crs(4326).to_numpy()
    mixed = shapely.get_type_id(lonlat) == shapely.GeometryType.GEOMETRYCOLLECTION
    bent = ~shapely.is_valid(lonlat) | mixed
    lonlat[bent] = [repair_polygon(item) for item in lonlat[bent]]
    area, perimeter = measure_geodesic(lonlat)
    kept = area > 0
    if not kept.all():
        reporter.warn(f"{name}: {counted(int((~kept).sum()), 'row')} without an area left out")
    kept &= ~_is_drawn_twice(lonlat, area, kept)
    n_twice = int((area > 0).sum() - kept.sum())
    if n_twice:
        reporter.warn(f"{name}: {counted(n_twice, 'outline')} drawn twice left out")
    if not kept.any():
        raise DataError(f"{inventory.path} holds no polygon", "a vector file with lake outlines is wanted")
    return _as_lake_table(frame[kept], lonlat[kept], area[kept], perimeter[kept], inventory)


def _is_drawn_twice(
    geometry: NDArray[np.object_], area: NDArray[np.float64], kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) True for outlines that an earlier one covers almost exactly."""
    first, second = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    pairs = (first < second) & kept[first] & kept[second]
    first, second = first[pairs], second[pairs]
    near = np.minimum(area[first], area[second]) >= SAME_OUTLINE_IOU * np.maximum(area[first], area[second])
    first, second = first[near], second[near]
    shared = shapely.area(shapely.intersection(geometry[first], geometry[second]))
    either = shapely.area(geometry[first]) + shapely.area(geometry[second]) - shared
    twice = np.zeros(len(geometry), dtype=bool)
    twice[second[shared >= SAME_OUTLINE_IOU * either]] = True
    return twice


def _as_lake_table(
    frame: gpd.GeoDataFrame,
    geometry: NDArray[np.object_],
    area: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    inventory: Inventory,
) -> gpd.GeoDataFrame:
    """Rows with the columns of a lake table."""
    sigma = inventory_sigma(perimeter, inventory.resolution_m)
    lower = {str(name).lower(): name for name in frame.columns}
    found = next((lower[name] for name in _ELEVATION_NAMES if name in lower), None)
    elevation = pd.to_numeric(frame[found], errors="coerce").to_numpy(dtype=float) if found is not None else np.nan
    columns = {
        "lake_id": [lake_id_of(item) for item in geometry],
        "aoi": "",
        "year": inventory.year,
        "area_m2": area,
        "area_sigma_random_m2": sigma,
        "area_sigma_systematic_m2": 0.0,
        "area_sigma_m2": sigma,
        "perimeter_m": perimeter,
        "elevation_m": elevation,
        "mean_probability": np.nan,
        "n_observations": pd.array([pd.NA] * len(area), dtype="Int64"),
        "median_date": "",
        "first_date": "",
        "last_date": "",
        "water_frequency": np.nan,
        "radar_used": False,
        "touches_edge": False,
        "model": Path(inventory.path).name,
    }
    table = pd.DataFrame(columns, index=range(len(area)))[list(LAKE_COLUMNS)]
    return gpd.GeoDataFrame(table, geometry=geometry, crs="EPSG:4326")
