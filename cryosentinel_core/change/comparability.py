"""Years that are compared: which pairs they form, and in what their runs differ so that a reader should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from cryosentinel_core.errors import InputError


def pairs_of_years(years: Sequence[int]) -> list[tuple[int, int]]:
    """Each consecutive pair of years, then first and last if that is another.

    Args:
        years: Ascending and distinct, two or more.

    Raises:
        InputError: If they are not.
    """
    if len(years) < 2 or list(years) != sorted(set(years)):
        raise InputError(
            f"years {', '.join(map(str, years)) or 'none'}: wanted two or more, ascending and distinct",
            "give them as 2017 2023",
        )
    found = list(pairwise(years))
    if len(years) > 2:
        found.append((years[0], years[-1]))
    return found


def describe_differences(
    min_area_m2: float, mapped_from_m2: Mapping[int, float], radar_used: Mapping[int, bool]
) -> list[str]:
    """Warnings of what differs between the runs of some years.

    Args:
        min_area_m2: Smallest lake of the comparison.
        mapped_from_m2: Year -> smallest lake of that year's own table.
        radar_used: Year -> whether radar took part.
    """
    warnings = [
        f"{year}: lakes were mapped from {area_m2:g} m2 up, so lakes from {min_area_m2:g} m2 may lack a row"
        for year, area_m2 in mapped_from_m2.items()
        if area_m2 > min_area_m2
    ]
    without = [str(year) for year, used in radar_used.items() if not used]
    if 0 < len(without) < len(radar_used):
        warnings.append(
            f"radar was not used in {', '.join(without)}, but in the other years: part of a change may come from that"
        )
    return warnings


def describe_places(tables: Mapping[int, gpd.GeoDataFrame]) -> list[str]:
    """Warnings of inventories that have no ground in common, with the likely cause.

    Args:
        tables: Year -> outlines in EPSG:4326, ascending.
    """
    told = []
    for (first, one), (second, other) in pairwise(tables.items()):
        here, there = one.geometry.to_numpy(), other.geometry.to_numpy()
        if here.size and there.size and not _overlap_anywhere(here, there):
            told.append(
                f"{first} and {second}: no outline of one lies over one of the other; {_likely_cause(here, there)}"
            )
    return told


def _overlap_anywhere(here: NDArray[np.object_], there: NDArray[np.object_]) -> bool:
    """True if any outline of one set touches one of the other."""
    return bool(shapely.STRtree(here).query(there, predicate="intersects").size)


def _likely_cause(here: NDArray[np.object_], there: NDArray[np.object_]) -> str:
    """Why two sets of outlines lie apart, as far as moving one of them tells."""
    west, south, east, north = shapely.total_bounds(here)
    x0, y0, x1, y1 = shapely.total_bounds(there)
    if _overlap_anywhere(here, shapely.transform(there, lambda xy: xy[:, ::-1])):
        return "they do with x and y swapped in one: longitude must come first"
    if not (x1 < west or x0 > east or y1 < south or y0 > north):
        return "they lie among each other: different lakes, or a shift between the files"
    zones = round((0.5 * (west + east) - 0.5 * (x0 + x1)) / 6.0)
    if zones and not (x1 + 6 * zones < west or x0 + 6 * zones > east or y1 < south or y0 > north):
        return f"they do with one moved by {abs(zones)} UTM zones: its CRS is probably that of another zone"
    if max(abs(x0), abs(x1), abs(y0), abs(y1)) < 0.01 or max(abs(west), abs(east), abs(south), abs(north)) < 0.01:
        return "one lies at 0 E 0 N: degrees were probably read as metres"
    ours, theirs = (
        f"{0.5 * (a + b):.2f} E {0.5 * (c + d):.2f} N" for a, b, c, d in ((west, east, south, north), (x0, x1, y0, y1))
    )
    return f"one lies around {ours}, the other around {theirs}: wrong file or wrong CRS"
