"""A map of lakes against an inventory: which lakes are matched, missed and invented, and how their areas agree.

The same overlap graph as between years decides which outlines are one lake, small ones included, so that a lake of 0.49 ha in one
table and 0.51 in the other is no miss. A lake that the map could not see is told apart from one that it missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.matching import match_years, whole_outline
from cryosentinel_core.chips.bootstrap import Estimate, ratio_interval, sum_by_block
from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.ground.geodesic import lake_id_of, measure_geodesic

MATCHED, MISSED, INVENTED, UNOBSERVED = "matched", "missed", "invented", "unobserved"

MAP_COLUMNS: Final = (
    "lake_id",
    "verdict",
    "inventory_m2",
    "mapped_m2",
    "difference_percent",
    "observed_share",
    "block",
)
"""Of the table of lakes."""

SIZE_BOUNDS_M2: Final = (0.0, 5_000.0, 10_000.0, 50_000.0, 200_000.0)
"""Lower bounds of the size classes, by the larger of the two areas."""

_INVENTORY, _MAP = 0, 1


@dataclass(frozen=True, kw_only=True)
class MapRules:
    """What counts.

    Attributes:
        area: Area of interest, EPSG:4326: lakes that do not touch it do not count.
        min_area_m2: A lake counts if either table has it from this size up.
        min_observed: Share of an inventory lake that the map must have seen to have missed it.
        observed_share: Share of a piece of ground (EPSG:4326) that the map saw.
        confidence: Of the intervals.
    """

    area: BaseGeometry
    min_area_m2: float
    min_observed: float
    observed_share: Callable[[BaseGeometry], float]
    confidence: float = 0.95


def compare_with_inventory(inventory: gpd.GeoDataFrame, mapped: gpd.GeoDataFrame, rules: MapRules) -> gpd.GeoDataFrame:
    """Every lake of either table with its verdict.

    Args:
        inventory: Outlines in EPSG:4326 with the column `area_m2`.
        mapped: Lakes and candidates of the map, likewise.
        rules: What counts.

    Returns:
        GeoDataFrame with `MAP_COLUMNS` and geometry (both outlines together), EPSG:4326, largest first; areas are totals where
        several outlines are one lake, NaN where a side has none.
    """
    near = shapely.intersects(inventory.geometry.to_numpy(), rules.area)
    tables = {_INVENTORY: inventory[near].reset_index(drop=True), _MAP: mapped.reset_index(drop=True)}
    rows: list[dict[str, Any]] = []
    for match in match_years(tables):
        areas = [
            float(tables[side]["area_m2"].to_numpy(dtype=float)[list(match.rows(side))].sum())
            for side in (_INVENTORY, _MAP)
        ]
        outline = whole_outline(match, tables)
        if max(areas) < rules.min_area_m2 or not shapely.intersects(outline, rules.area):
            continue
        known, found = bool(match.rows(_INVENTORY)), bool(match.rows(_MAP))
        seen = 1.0 if found else rules.observed_share(outline)
        verdict = MATCHED if known and found else INVENTED if found else MISSED
        if verdict == MISSED and seen < rules.min_observed:
            verdict = UNOBSERVED
        rows.append(
            {
                "lake_id": lake_id_of(outline),
                "verdict": verdict,
                "inventory_m2": areas[0] if known else np.nan,
                "mapped_m2": areas[1] if found else np.nan,
                "difference_percent": 100.0 * (areas[1] / areas[0] - 1.0) if known and found else np.nan,
                "observed_share": seen,
                "block": _block_of(outline),
                "geometry": outline,
            }
        )
    frame = gpd.GeoDataFrame(rows, columns=[*MAP_COLUMNS, "geometry"], geometry="geometry", crs="EPSG:4326")
    size = np.fmax(frame["inventory_m2"].to_numpy(dtype=float), frame["mapped_m2"].to_numpy(dtype=float))
    return frame.iloc[np.lexsort((frame["lake_id"].to_numpy(dtype=str), -size))].reset_index(drop=True)


def judge_map(
    table: gpd.GeoDataFrame, inventory: gpd.GeoDataFrame, mapped: gpd.GeoDataFrame, rules: MapRules
) -> dict[str, Any]:
    """Figures of a table of `compare_with_inventory`, plain data, unrounded.

    Args:
        table: From `compare_with_inventory`.
        inventory: As given to it.
        mapped: As given to it.
        rules: What counts.
    """
    verdict = table["verdict"].to_numpy(dtype=str)
    size = np.fmax(table["inventory_m2"].to_numpy(dtype=float), table["mapped_m2"].to_numpy(dtype=float))
    both = verdict == MATCHED
    known = table["inventory_m2"].to_numpy(dtype=float)[both]
    found = table["mapped_m2"].to_numpy(dtype=float)[both]
    blocks = table["block"].tolist()
    classes = []
    bounds = [*SIZE_BOUNDS_M2, np.inf]
    for low, high in [*pairwise(bounds), (0.0, np.inf)]:
        which = (size >= low) & (size < high)
        classes.append(
            {
                "from_m2": low,
                "below_m2": None if np.isinf(high) else high,
                **{
                    f"n_{name}": int((which & (verdict == name)).sum())
                    for name in (MATCHED, MISSED, INVENTED, UNOBSERVED)
                },
                "recall": _share(which & both, which & (both | (verdict == MISSED)), blocks, rules).as_dict(),
                "precision": _share(which & both, which & (both | (verdict == INVENTED)), blocks, rules).as_dict(),
            }
        )
    ratio = ratio_interval(
        sum_by_block(found, [name for name, kept in zip(blocks, both, strict=True) if kept]),
        sum_by_block(known, [name for name, kept in zip(blocks, both, strict=True) if kept]),
        bounded=False,
        confidence=rules.confidence,
    )
    off = np.abs(100.0 * (found / known - 1.0)) if both.any() else np.zeros(0)
    return {
        "n_lakes": len(table),
        "classes": classes,
        "area": {
            "inventory_m2": float(np.nansum(table["inventory_m2"])),
            "mapped_m2": float(np.nansum(table["mapped_m2"])),
            "matched_inventory_m2": float(known.sum()),
            "matched_mapped_m2": float(found.sum()),
            "matched_ratio": ratio.as_dict(),
            "median_difference_percent": float(np.median(off)) if off.size else None,
        },
        "outline_iou": _outline_iou(table, inventory, mapped),
    }


def _share(over: NDArray[np.bool_], under: NDArray[np.bool_], blocks: list[str], rules: MapRules) -> Estimate:
    """A share of lakes, its interval drawn from blocks of ground."""
    return ratio_interval(sum_by_block(over, blocks), sum_by_block(under, blocks), confidence=rules.confidence)


def _outline_iou(table: gpd.GeoDataFrame, inventory: gpd.GeoDataFrame, mapped: gpd.GeoDataFrame) -> float | None:
    """Shared over joint area of all outlines that count and that the map could see; None where there is none."""
    counted = table.geometry.to_numpy()[table["verdict"].to_numpy(dtype=str) != UNOBSERVED]
    if not len(counted):
        return None
    ground = shapely.union_all(counted)
    sides = []
    for frame in (inventory, mapped):
        outlines = frame.geometry.to_numpy()
        sides.append(shapely.union_all(outlines[shapely.intersects(outlines, ground)]))
    shared, joint = shapely.intersection(*sides), shapely.union(*sides)
    area, _ = measure_geodesic(np.array([shared, joint], dtype=object))
    return float(area[0] / area[1]) if area[1] > 0 else None


def _block_of(outline: BaseGeometry) -> str:
    """The published block that an outline's middle lies in."""
    middle = outline.centroid
    lat_index, lon_index = BlockSplit().blocks_of([middle.y], [middle.x])[0].tolist()
    return f"{lat_index},{lon_index}"
