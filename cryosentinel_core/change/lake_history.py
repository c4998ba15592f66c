"""History of lakes: their outlines in every year that is compared, and what each year saw of the ground that they cover together.

Arrays over lakes, one set a year. Neighbours: `matching` says which outlines are one lake; `change_table` compares pairs of years.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.matching import Match
from cryosentinel_core.lakes.tables import GroundSeen

GroundObserver = Callable[[BaseGeometry, int], Mapping[int, GroundSeen]]
"""(ground in EPSG:4326, pixels to grow it by) -> what each year of imagery saw of it."""

DRAWN: Final = GroundSeen(land=1)
"""Ground of an inventory that speaks of it: a lake that it draws, or any ground if it is complete."""

NOT_DRAWN: Final = GroundSeen()
"""Ground of which an inventory says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LakesInYear:
    """All lakes in one year, (L,) each: outlines of a lake together, and what that year saw of its ground.

    Attributes:
        year: The year.
        n_outlines: How many outlines; 0 = none was drawn.
        area_m2: Total; 0 if none.
        random_m2: Random sigma of it.
        systematic_m2: Systematic sigma of it.
        perimeter_m: Total.
        ids: Ids of the outlines, sorted, `;` between.
        touches_edge: True if one touches ground that was not processed.
        elevation_m: Elevation of the largest outline, NaN if unknown.
        day_of_year: Day of the largest outline's median date; of a lake without one, the median of its year; NaN if unknown.
        outline: All outlines as one geometry, EPSG:4326; empty if none.
        seen: The ground of all years, as this year saw it.
    """

    year: int
    n_outlines: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    random_m2: NDArray[np.float64]
    systematic_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    ids: NDArray[np.object_]
    touches_edge: NDArray[np.bool_]
    elevation_m: NDArray[np.float64]
    day_of_year: NDArray[np.float64]
    outline: NDArray[np.object_]
    seen: tuple[GroundSeen, ...] = ()

    @cached_property
    def observed_share(self) -> NDArray[np.float64]:
        """(L,) share of the ground that was seen, 0..1."""
        return np.array([one.observed_share for one in self.seen], dtype=float)


def lakes_in_year(matches: Sequence[Match], year: int, table: gpd.GeoDataFrame) -> LakesInYear:
    """The lakes of a year, what was seen left out.

    Args:
        matches: The lakes.
        year: The year.
        table: Its outlines with `LAKE_COLUMNS`.
    """
    members = [(lake, row) for lake, match in enumerate(matches) for row in match.rows(year)]
    lake, row = np.array(members, dtype=np.int64).reshape(-1, 2).T
    area, name = table["area_m2"].to_numpy(dtype=float), table["lake_id"].astype(str).to_numpy(dtype=object)
    order = np.lexsort((name[row].astype(str), -area[row], lake))
    lake, row = lake[order], row[order]
    first = np.flatnonzero(np.diff(lake, prepend=-1))  # of each lake the largest outline

    def total(column: str, power: int = 1) -> NDArray[np.float64]:
        values = table[column].to_numpy(dtype=float)[row] ** power
        return np.asarray(np.bincount(lake, weights=values, minlength=len(matches)), dtype=np.float64)

    def of_largest(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.full(len(matches), np.nan)
        found[lake[first]] = values[row[first]]
        return found

    day = _days_of_year(table)
    known = day[np.isfinite(day)]
    day_of_lake = of_largest(day)
    return LakesInYear(
        year=year,
        n_outlines=np.bincount(lake, minlength=len(matches)),
        area_m2=total("area_m2"),
        random_m2=np.sqrt(total("area_sigma_random_m2", 2)),
        systematic_m2=total("area_sigma_systematic_m2"),
        perimeter_m=total("perimeter_m"),
        ids=_joined(lake, name[row], first, len(matches)),
        touches_edge=total("touches_edge") > 0,
        elevation_m=of_largest(table["elevation_m"].to_numpy(dtype=float)),
        day_of_year=np.where(np.isfinite(day_of_lake), day_of_lake, np.median(known) if known.size else np.nan),
        outline=_as_one(lake, table.geometry.to_numpy()[row], first, len(matches)),
    )


def ground_of_lakes(matches: Sequence[Match], years: Sequence[LakesInYear]) -> NDArray[np.object_]:
    """(L,) ground of the lakes, EPSG:4326: the union of all years' outlines; of a watched lake without any, its place."""
    ground = years[0].outline.copy()
    for lakes in years[1:]:
        ground = join_outlines(ground, lakes.outline)
    for lake in np.flatnonzero(shapely.is_empty(ground)).tolist():
        place = matches[lake].place
        ground[lake] = place if place is not None else ground[lake]
    return ground


def join_outlines(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.object_]:
    """(L,) unions of two years' outlines; only those that differ are computed."""
    joined = np.where(shapely.is_empty(first), second, first)
    differ = ~(shapely.is_empty(first) | shapely.is_empty(second)) & ~shapely.equals_exact(first, second)
    joined[differ] = shapely.union(first[differ], second[differ])
    return joined


def _days_of_year(table: gpd.GeoDataFrame) -> NDArray[np.float64]:
    """(N,) day of the median date, NaN if unknown."""
    dates = table["median_date"].astype(object)
    if not (dates != "").any():
        return np.full(len(table), np.nan)
    return np.asarray(
        pd.to_datetime(dates, errors="coerce", format="%Y-%m-%d").dt.day_of_year.to_numpy(dtype=float), dtype=np.float64
    )


def _joined(
    lake: NDArray[np.int64], name: NDArray[np.object_], first: NDArray[np.int64], n_lakes: int
) -> NDArray[np.object_]:
    """(L,) names of each lake's rows, sorted, `;` between."""
    found = np.full(n_lakes, "", dtype=object)
    for begin, end in zip(first.tolist(), [*first[1:].tolist(), lake.size], strict=False):
        found[lake[begin]] = name[begin] if end - begin == 1 else ";".join(sorted(name[begin:end]))
    return found


def _as_one(
    lake: NDArray[np.int64], outline: NDArray[np.object_], first: NDArray[np.int64], n_lakes: int
) -> NDArray[np.object_]:
    """(L,) outlines of each lake as one geometry, empty without any."""
    found = np.full(n_lakes, shapely.Polygon(), dtype=object)
    found[lake[first]] = outline[first]
    size = np.diff(first, append=lake.size)
    for begin, n in zip(first[size > 1].tolist(), size[size > 1].tolist(), strict=True):
        found[lake[begin]] = shapely.union_all(outline[begin : begin + n])
    return found
