"""Cross-check: how far the lakes of another model agree with those that are compared, lake by lake and year by year.

Agreement is the intersection over union of a lake's outlines with all lakes of the other model that meet its ground; of a lake without
an outline in a year the share of its ground that the other model does not call water. Two models that agree may both be wrong.
Neighbours: `change_table` compares years; `lake_history` holds a lake's outlines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from cryosentinel_core.change.lake_history import LakesInYear
from cryosentinel_core.change.lake_keys import Key

CHECK_COLUMNS: Final = (
    "year",
    "lake_key",
    "agreement",
    "area_m2",
    "check_area_m2",
    "lake_ids",
    "check_lake_ids",
    "lon",
    "lat",
)
"""Columns of `check.csv`."""


def agreement_of(
    lakes: LakesInYear, ground: NDArray[np.object_], other: gpd.GeoDataFrame, min_observed: float
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """How far another model's lakes of a year agree with ours.

    Args:
        lakes: (L,) lakes of the year, with what was seen.
        ground: (L,) ground of the lakes, EPSG:4326.
        other: The other model's lakes and candidates of that year, EPSG:4326.
        min_observed: Share of a lake's ground that must be seen for the lack of an outline to say something.

    Returns:
        (L,) agreement 0..1, NaN where there is no outline and the ground was not seen; and of each lake the other's rows that meet it.
    """
    outlines = other.geometry.to_numpy()
    lake, row = shapely.STRtree(outlines).query(ground, predicate="intersects")
    order = np.lexsort((row, lake))
    lake, row = lake[order], row[order]
    rows = np.split(row, np.searchsorted(lake, np.arange(1, len(ground)))) if len(ground) else []
    found = np.full(len(ground), np.nan)
    for index, members in enumerate(rows):
        theirs = shapely.union_all(outlines[members])
        if lakes.n_outlines[index]:
            ours = lakes.outline[index]
            found[index] = shapely.intersection(ours, theirs).area / shapely.union(ours, theirs).area
        elif lakes.observed_share[index] >= min_observed and ground[index].area > 0:
            found[index] = 1.0 - shapely.intersection(ground[index], theirs).area / ground[index].area
    return found, rows


LITTLE: Final = 0.5
"""Agreement below which two models hardly mean the same lake."""


def describe_check(table: pd.DataFrame, model: str) -> dict[str, Any]:
    """What a check came to, as plain data for the record.

    Args:
        table: From `check_table`.
        model: Name of the other model.
    """
    ours = table[table["lake_key"] != ""]
    return {
        "model": model,
        "n_checked": len(ours),
        "median_agreement": float(ours["agreement"].median()) if len(ours) else None,
        "n_under_half": int((ours["agreement"] < LITTLE).sum()),
        "n_alone": len(table) - len(ours),
    }


def check_table(
    years: Mapping[int, LakesInYear],
    keys: Sequence[Key],
    ground: NDArray[np.object_],
    others: Mapping[int, gpd.GeoDataFrame],
    min_observed: float,
) -> tuple[dict[int, NDArray[np.float64]], pd.DataFrame]:
    """Agreement of all lakes in all years that were checked, and a table of it, disagreements first.

    Args:
        years: Year -> the (L,) lakes.
        keys: Their keys.
        ground: (L,) ground of the lakes, EPSG:4326.
        others: Year -> the other model's lakes and candidates, with a column `is_lake`; years that it did not map are absent.
        min_observed: As for `agreement_of`.

    Returns:
        Year -> (L,) agreement, and `CHECK_COLUMNS`: a row a lake and year, and one without a key and with agreement 0 for each lake
        that the other model alone has.
    """
    agreements: dict[int, NDArray[np.float64]] = {}
    rows: list[dict[str, Any]] = []
    points = shapely.point_on_surface(ground) if others else ground
    for year, other in others.items():
        lakes, area = years[year], other["area_m2"].to_numpy(dtype=float)
        names = other["lake_id"].astype(str).to_numpy(dtype=object)
        agreements[year], met = agreement_of(lakes, ground, other, min_observed)
        for index in np.flatnonzero(np.isfinite(agreements[year])).tolist():
            rows.append(
                {
                    "year": year,
                    "lake_key": keys[index].lake_key,
                    "agreement": agreements[year][index],
                    "area_m2": lakes.area_m2[index],
                    "check_area_m2": area[met[index]].sum(),
                    "lake_ids": lakes.ids[index],
                    "check_lake_ids": ";".join(sorted(names[met[index]])),
                    "lon": shapely.get_x(points[index]),
                    "lat": shapely.get_y(points[index]),
                }
            )
        alone = np.setdiff1d(
            np.flatnonzero(other["is_lake"].to_numpy(dtype=bool)), np.concatenate([np.zeros(0, dtype=np.int64), *met])
        )
        for index in alone.tolist():
            place = shapely.point_on_surface(other.geometry.iloc[index])
            rows.append(
                {"year": year, "lake_key": "", "agreement": 0.0, "area_m2": 0.0, "check_area_m2": area[index], "lake_ids": "",
                 "check_lake_ids": names[index], "lon": place.x, "lat": place.y}
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(CHECK_COLUMNS))
    table["apart_m2"] = (1.0 - table["agreement"]) * np.maximum(table["area_m2"], table["check_area_m2"])
    table = table.sort_values(
        ["agreement", "apart_m2", "year", "lake_key", "check_lake_ids"],
        ascending=[True, False, True, True, True],
        kind="stable",
    )
    return agreements, table[list(CHECK_COLUMNS)].reset_index(drop=True)
