"""The sanity filter gives the released decisions and counts, exactly."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cryosentinel_core.chips.sanity import judge_sanity


def test_every_published_decision(shared_data: Path) -> None:
    folder = shared_data / "published-fixtures"
    inputs = np.load(folder / "sanity_inputs.npz")
    with (folder / "sanity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 67
    for row in rows:
        number = int(row["index"])
        found = judge_sanity(inputs["b03"][number], inputs["b11"][number], inputs["mask"][number])
        assert found.keep == (row["keep"] == "1"), row["name"]
        assert (found.n_mask, found.n_mndwi_water) == (int(row["n_mask"]), int(row["n_mndwi_water"]))
        for name in ("iou", "fp_ratio", "bg_water_frac"):
            assert getattr(found, name) == float(row[name]), (row["name"], name)


@pytest.mark.parametrize(
    ("n_lake", "n_water", "keep", "reason"),
    [
        (20, 100, True, ""),  # of 100 water pixels 20 are labelled: IoU is the limit itself, but the ratio is 5
        (0, 5, True, ""),
        (0, 6, False, "water without lake"),
        (50, 150, True, ""),
        (10, 100, False, "iou"),
    ],
)
def test_bounds_are_inclusive(n_lake: int, n_water: int, keep: bool, reason: str) -> None:
    side = 10 if n_lake == 0 else 20
    green, swir = np.full(side * side, 100, np.uint16), np.full(side * side, 100, np.uint16)
    green[:n_water] = 1000
    mask = np.zeros(side * side, np.uint8)
    mask[:n_lake] = 1
    shape = (side, side)
    found = judge_sanity(green.reshape(shape), swir.reshape(shape), mask.reshape(shape))
    if n_lake == 20:
        assert (found.iou, found.reason) == (0.2, "ratio")
    else:
        assert (found.keep, found.reason) == (keep, reason)
