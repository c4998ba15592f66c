"""History of a lake: its outlines in every year that is compared, and what each year saw of the ground that they cover together.

Neighbours: `matching` says which outlines are one lake; `change_table` makes a row of each pair of years.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.matching import Match
from cryosentinel_core.lakes.tables import GroundSeen

GroundObserver = Callable[[BaseGeometry, int], Mapping[int, GroundSeen]]
"""(ground in EPSG:4326, pixels to grow it by) -> what each year saw of it."""


@dataclass(frozen=True, kw_only=True)
class LakeInYear:
    """A lake's outlines of one year together, and what that year saw of its ground.

    Attributes:
        year: The year.
        n_outlines: How many outlines; 0 = none was drawn.
        area_m2: Total; 0 if none.
        random_m2: Random sigma of it.
        systematic_m2: Systematic sigma of it.
        perimeter_m: Total.
        ids: Ids of the outlines, sorted.
        touches_edge: True if one touches ground that was not processed.
        elevation_m: Elevation of the largest outline, NaN if unknown.
        day_of_year: Day of the largest outline's median date, NaN if unknown.
        outline: All outlines as one geometry, EPSG:4326; empty if none.
        seen: Pixels of the ground of all years, as this year saw them.
    """

    year: int
    n_outlines: int
    area_m2: float
    random_m2: float
    systematic_m2: float
    perimeter_m: float
    ids: tuple[str, ...]
    touches_edge: bool
    elevation_m: float
    day_of_year: float
    outline: BaseGeometry
    seen: GroundSeen


@dataclass(frozen=True, eq=False)
class LakeColumns:
    """A lake table's columns as arrays, for quick reading row by row."""

    geometry: NDArray[np.object_]
    lake_id: list[str]
    area_m2: NDArray[np.float64]
    random_m2: NDArray[np.float64]
    systematic_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    elevation_m: NDArray[np.float64]
    day_of_year: NDArray[np.float64]
    touches_edge: NDArray[np.bool_]
    typical_day: float

    @classmethod
    def of(cls, table: gpd.GeoDataFrame) -> LakeColumns:
        """The arrays of a table; a lake without an outline is taken to be dated as the median of its year's outlines."""
        days = pd.to_datetime(table["median_date"].astype(object), errors="coerce", format="%Y-%m-%d").dt.day_of_year
        day = days.to_numpy(dtype=float)
        known = day[np.isfinite(day)]
        return cls(
            geometry=table.geometry.to_numpy(),
            lake_id=table["lake_id"].astype(str).tolist(),
            area_m2=table["area_m2"].to_numpy(dtype=float),
            random_m2=table["area_sigma_random_m2"].to_numpy(dtype=float),
            systematic_m2=table["area_sigma_systematic_m2"].to_numpy(dtype=float),
            perimeter_m=table["perimeter_m"].to_numpy(dtype=float),
            elevation_m=table["elevation_m"].to_numpy(dtype=float),
            day_of_year=day,
            touches_edge=table["touches_edge"].to_numpy(dtype=bool),
            typical_day=float(np.median(known)) if known.size else np.nan,
        )


def history_of_lake(
    match: Match, tables: Mapping[int, LakeColumns], observe_ground: GroundObserver
) -> tuple[BaseGeometry, dict[int, LakeInYear]]:
    """The ground of a lake, and the lake in every year that is compared.

    Args:
        match: The lake.
        tables: Year -> columns of that year's table, ascending.
        observe_ground: Asked once, for the ground of all years grown by a pixel.

    Returns:
        The ground in EPSG:4326 (the union of all years' outlines; of a watched lake without any, its place), and year -> the lake.
    """
    outlines = {year: _as_one(table.geometry[list(match.rows(year))]) for year, table in tables.items()}
    ground = _as_one(np.array(list(outlines.values()), dtype=object))
    if ground.is_empty and match.place is not None:
        ground = match.place
    seen = observe_ground(ground, 1)
    history = {}
    for year, table in tables.items():
        rows = sorted(match.rows(year), key=lambda row: (-table.area_m2[row], table.lake_id[row]))
        day = table.day_of_year[rows[0]] if rows else np.nan
        history[year] = LakeInYear(
            year=year,
            n_outlines=len(rows),
            area_m2=float(table.area_m2[rows].sum()),
            random_m2=float(np.sqrt((table.random_m2[rows] ** 2).sum())),
            systematic_m2=float(table.systematic_m2[rows].sum()),
            perimeter_m=float(table.perimeter_m[rows].sum()),
            ids=tuple(sorted(table.lake_id[row] for row in rows)),
            touches_edge=bool(table.touches_edge[rows].any()),
            elevation_m=float(table.elevation_m[rows[0]]) if rows else np.nan,
            day_of_year=float(day if np.isfinite(day) else table.typical_day),
            outline=outlines[year],
            seen=seen[year],
        )
    return ground, history


def _as_one(outlines: NDArray[np.object_]) -> BaseGeometry:
    """Some outlines as one geometry."""
    return outlines[0] if len(outlines) == 1 else shapely.union_all(outlines)
