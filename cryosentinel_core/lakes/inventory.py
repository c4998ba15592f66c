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
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import DataError
from cryosentinel_core.ground.geodesic import lake_ids_of, measure_geodesic
from cryosentinel_core.ground.projection import crs_of_earth
from cryosentinel_core.lakes.drawn_outlines import (
    SAME_LAKE_PX,
    SAME_OUTLINE_IOU,
    SHIFTED_OUTLINE_IOU,
    cut_overlaps,
    is_drawn_twice,
    join_at_seams,
    neighbours_of,
    take_apart,
)
from cryosentinel_core.lakes.outlines import repair_polygon
from cryosentinel_core.lakes.tables import LAKE_COLUMNS, Inventory
from cryosentinel_core.reporter import Reporter, counted

_ELEVATION_NAMES: Final = ("elevation_m", "elevation", "altitude", "elev")
_METRES_OF_DEGREE: Final = 111_320.0
_FARTHEST: Final = 1e9
"""Coordinate, degrees or metres, beyond which nothing lies on Earth."""
_LARGEST_M2: Final = 1e10
"""Area beyond which an outline is no glacial lake."""
_LONGEST_M: Final = 5_000.0
"""Edge of an outline from which something is missing, or 200 pixels if that is more."""


def clean_inventory(frame: gpd.GeoDataFrame, inventory: Inventory, reporter: Reporter) -> gpd.GeoDataFrame:
    """The rows of an inventory's file as a lake table.

    Args:
        frame: Rows of any CRS and any geometry, some of them missing, empty or invalid.
        inventory: File, year and resolution.
        reporter: Hears what was repaired and left out.

    Returns:
        GeoDataFrame with `LAKE_COLUMNS` and valid polygons in EPSG:4326, one row a lake, in the file's order. The stated error,
        else half a pixel along the perimeter, stands as the random error; what an inventory does not tell is NaN or empty.

    Raises:
        DataError: If no polygon is left, or the CRS is tied to no place on Earth.
    """
    name = f"inventory of {inventory.year}"
    frame, geometry = _usable_rows(frame, name, reporter)
    for warning in _doubt_coordinates(frame, geometry, inventory):
        reporter.warn(f"{name}: {warning}")
    pixel = inventory.resolution_m / (
        _METRES_OF_DEGREE if frame.crs.is_geographic else frame.crs.axis_info[0].unit_conversion_factor
    )
    geometry, row, n_apart = take_apart(geometry, SAME_LAKE_PX * pixel)
    if n_apart:
        reporter.warn(f"{name}: {counted(n_apart, 'row')} of several lakes each taken apart")
    geometry, lead, n_pieces = join_at_seams(geometry, pixel)
    if n_pieces:
        n_joined = n_pieces - (len(row) - len(lead))
        reporter.warn(
            f"{name}: {counted(n_pieces, 'outline')} cut along straight seams joined to {counted(n_joined, 'lake')}"
        )
    frame = frame.iloc[row[lead]]
    with crs_of_earth(inventory.path):
        lonlat = gpd.GeoSeries(geometry, crs=frame.crs).to_crs(4326).to_numpy()
    if frame.crs != "EPSG:4326" or n_pieces:
        lonlat = _repaired(lonlat)
    kept, lonlat = _each_once(lonlat, name, reporter)
    if not kept.any():
        raise DataError(f"{inventory.path} holds no polygon", "a vector file with lake outlines is wanted")
    area, perimeter = measure_geodesic(lonlat[kept])
    for warning in _doubt_shapes(lonlat[kept], area, inventory.resolution_m):
        reporter.warn(f"{name}: {warning}")
    return _as_lake_table(frame[kept], lonlat[kept], area, perimeter, inventory)


def _usable_rows(
    frame: gpd.GeoDataFrame, name: str, reporter: Reporter
) -> tuple[gpd.GeoDataFrame, NDArray[np.object_]]:
    """Rows that have a geometry, and their valid polygons; what is missing and what was repaired is told."""
    geometry = shapely.force_2d(frame.geometry.to_numpy())
    filled = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    if not filled.all():
        reporter.warn(f"{name}: {counted(int((~filled).sum()), 'row')} without a geometry left out")
    frame, geometry = frame[filled], geometry[filled]
    xy, owner = shapely.get_coordinates(geometry, return_index=True)
    placeless = np.zeros(len(geometry), dtype=bool)
    placeless[owner[~(np.abs(xy) < _FARTHEST).all(axis=1)]] = True
    if placeless.any():
        told = f"{counted(int(placeless.sum()), 'row')} with coordinates that are no place on Earth left out"
        reporter.warn(f"{name}: {told}")
    frame, geometry = frame[~placeless], geometry[~placeless]
    broken = ~shapely.is_valid(geometry)
    if broken.any():
        reporter.warn(f"{name}: {counted(int(broken.sum()), 'invalid outline')} repaired")
    return frame, _repaired(geometry, broken)


def _repaired(geometry: NDArray[np.object_], broken: NDArray[np.bool_] | None = None) -> NDArray[np.object_]:
    """(N,) polygons and multipolygons; only what is no valid one is touched, and what has no area is empty.

    Args:
        geometry: (N,) geometries.
        broken: (N,) True for invalid ones; None to find out.
    """
    kind = shapely.get_type_id(geometry)
    bad = (~shapely.is_valid(geometry) if broken is None else broken) | ~np.isin(
        kind, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    )
    found = geometry.copy()
    found[bad] = [repair_polygon(item) for item in geometry[bad]]
    return found


def _doubt_coordinates(frame: gpd.GeoDataFrame, geometry: NDArray[np.object_], inventory: Inventory) -> list[str]:
    """Sentences on coordinates that cannot be what the CRS says."""
    if not geometry.size:
        return []
    reach = np.abs(shapely.total_bounds(geometry))
    if not frame.crs.is_geographic and reach.max() <= 360:
        return [f"coordinates up to {reach.max():.1f} look like degrees, but the CRS is in metres ({frame.crs.name})"]
    if frame.crs.is_geographic and reach.max() > 360.5:
        raise DataError(
            f"{inventory.path}: coordinates up to {reach.max():.0f}, but its CRS is in degrees ({frame.crs.name})",
            "the CRS is wrong: give the file the one that it was drawn in, as EPSG:32643",
        )
    if frame.crs.is_geographic and max(reach[1], reach[3]) > 90:
        raise DataError(
            f"{inventory.path}: latitudes up to {max(reach[1], reach[3]):.1f}",
            "longitude and latitude are probably swapped: save it with longitude (x) first",
        )
    return []


def _doubt_shapes(lonlat: NDArray[np.object_], area_m2: NDArray[np.float64], resolution_m: float) -> list[str]:
    """Sentences on outlines that are no lake's, or lie where they can only have come by mistake: what a damaged file gives."""
    told = []
    giant = int((area_m2 > _LARGEST_M2).sum())
    if giant:
        told.append(f"{counted(giant, 'outline')} of over {_LARGEST_M2 / 1e6:,.0f} km2, more than any glacial lake has")
    xy, owner = shapely.get_coordinates(lonlat, return_index=True)
    step = np.abs(np.diff(xy, axis=0)) * _METRES_OF_DEGREE
    step[:, 0] *= np.cos(np.radians(0.5 * (xy[1:, 1] + xy[:-1, 1])))
    long = (np.hypot(step[:, 0], step[:, 1]) > max(_LONGEST_M, 200.0 * resolution_m)) & (owner[1:] == owner[:-1])
    # From one ring or part of an outline to the next is no edge; those are few, and looked at one by one.
    torn = [
        row
        for row in np.unique(owner[1:][long]).tolist()
        if _longest_edge_m(lonlat[row]) > max(_LONGEST_M, 200.0 * resolution_m)
    ]
    if torn:
        told.append(
            f"{counted(len(torn), 'outline')} with a straight shore of over {max(_LONGEST_M, 200.0 * resolution_m) / 1e3:g} km: "
            "corners are missing, or lie in a wrong place"
        )
    middle = shapely.get_coordinates(shapely.centroid(lonlat))
    swapped = (np.abs(middle[:, ::-1] - middle[:1]) < 2.0).all(axis=1) & (np.abs(middle - middle[:1]) > 5.0).any(axis=1)
    if swapped.any():
        told.append(
            f"{counted(int(swapped.sum()), 'outline')} would lie beside the first one with longitude and latitude swapped: "
            "longitude must come first in every row"
        )
    return told


def _longest_edge_m(outline: BaseGeometry) -> float:
    """Length of an outline's longest edge."""
    longest = 0.0
    for ring in shapely.get_rings(shapely.get_parts(outline)):
        xy = shapely.get_coordinates(ring)
        x, y = np.diff(xy, axis=0).T * _METRES_OF_DEGREE
        longest = max(
            longest, float(np.hypot(x * np.cos(np.radians(0.5 * (xy[1:, 1] + xy[:-1, 1]))), y).max(initial=0.0))
        )
    return longest


def _each_once(
    lonlat: NDArray[np.object_], name: str, reporter: Reporter
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """(N,) True for outlines that stay, and the outlines with no ground covered twice."""
    size = shapely.area(lonlat)
    kept = size > 0
    if not kept.all():
        reporter.warn(f"{name}: {counted(int((~kept).sum()), 'row')} without an area left out")
    neighbours = neighbours_of(lonlat)
    for iou, told in ((SAME_OUTLINE_IOU, "drawn twice"), (SHIFTED_OUTLINE_IOU, "drawn twice, one copy shifted,")):
        twice = is_drawn_twice(lonlat, np.where(kept, size, 0.0), iou, neighbours)
        if twice.any():
            reporter.warn(f"{name}: {counted(int(twice.sum()), 'outline')} {told} left out")
        kept &= ~twice
    cut, n_cut = cut_overlaps(lonlat[kept])
    if n_cut:
        reporter.warn(f"{name}: {counted(n_cut, 'outline')} lay over another one; the ground of both is counted once")
    found = lonlat.copy()
    found[kept] = _repaired(cut) if n_cut else cut
    kept[kept] = shapely.area(found[kept]) > 0
    return kept, found


def _as_lake_table(
    frame: gpd.GeoDataFrame,
    geometry: NDArray[np.object_],
    area: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    inventory: Inventory,
) -> gpd.GeoDataFrame:
    """Rows with the columns of a lake table."""
    sigma = perimeter * inventory.displacement_m
    lower = {str(name).lower(): name for name in frame.columns}
    found = next((lower[name] for name in _ELEVATION_NAMES if name in lower), None)
    elevation = pd.to_numeric(frame[found], errors="coerce").to_numpy(dtype=float) if found is not None else np.nan
    columns = {
        "lake_id": lake_ids_of(geometry),
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
