"""A map against an inventory, on boxes that a reader can count."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from outline_tables import box, table
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.map_judgement import MapRules, compare_with_inventory, judge_map

INVENTORY = [(0, 0, 4, 4), (10, 0, 12, 2), (20, 0, 22, 2), (30, 0, 34, 4), (200, 0, 204, 4), (60, 0, 60.5, 0.5)]
"""Matched; missed; not seen; one that the map has in two; outside the area; too small and nowhere else."""
MAPPED = [(0, 0, 4, 5), (30, 0, 32, 4), (32.2, 0, 34, 4), (45, 0, 48, 3), (70, 0, 70.5, 0.5)]
"""A fourth too large; both halves; invented; too small to count."""


def seen(ground: BaseGeometry) -> float:
    return 0.5 if shapely.intersects(ground, box(20, 0, 22, 2)) else 1.0


RULES = MapRules(area=box(-5, -5, 100, 20), min_area_m2=5000.0, min_observed=0.95, observed_share=seen)


def test_every_lake_gets_its_verdict() -> None:
    inventory, mapped = table(2022, INVENTORY), table(2022, MAPPED)
    found = compare_with_inventory(inventory, mapped, RULES)
    verdicts = sorted(zip(found.verdict, np.round(found.geometry.bounds.minx.sub(77) * 1000).astype(int), strict=True))
    assert verdicts == [("invented", 45), ("matched", 0), ("matched", 30), ("missed", 10), ("unobserved", 20)]
    figures = judge_map(found, inventory, mapped, RULES)
    whole = figures["classes"][-1]
    assert [whole[f"n_{name}"] for name in ("matched", "missed", "invented", "unobserved")] == [2, 1, 1, 1]
    assert whole["recall"]["value"] == pytest.approx(2 / 3)
    assert whole["precision"]["value"] == pytest.approx(2 / 3)
    assert whole["recall"]["low"] is None, "too few blocks"
    # 16 + 16 units in the inventory, 20 + 15.2 in the map.
    assert figures["area"]["matched_ratio"]["value"] == pytest.approx(35.2 / 32, rel=1e-3)
    assert figures["area"]["median_difference_percent"] == pytest.approx((25 + 5) / 2, abs=0.1)
    # Shared 16 + 15.2; joint 20 + 16 + 9 invented + 4 missed.
    assert figures["outline_iou"] == pytest.approx(31.2 / 49, rel=2e-3)


def test_nothing_on_either_side_is_a_result() -> None:
    nothing = table(2022, INVENTORY).iloc[:0]
    found = compare_with_inventory(nothing, nothing, RULES)
    figures = judge_map(found, nothing, nothing, RULES)
    assert figures["n_lakes"] == 0
    assert figures["outline_iou"] is None
