"""Ice that hides a lake and ice that is ground, on windows that a reader can count."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cryosentinel_core.lakes.glacier_ice import (
    LEVEL_M,
    MOST_LEVEL_M,
    LakeWindow,
    find_hiding_ice,
    level_of_lake,
    tolerance_m,
)

LAND, LAKE, ICE = 0, 1, 2
SHAPE = (12, 40)
LEVEL_OF_LAKE_M = 3_000.0
COLS = np.broadcast_to(np.arange(SHAPE[1]), SHAPE)


def classes(water_to: int, ice_to: int = 0) -> NDArray[np.uint8]:
    """Rows 2 to 9: water in columns 2 to `water_to`, ice from there to `ice_to`, land elsewhere."""
    out = np.zeros(SHAPE, dtype=np.uint8)
    out[2:10, 2:water_to] = LAKE
    out[2:10, max(water_to, 2) : ice_to] = ICE
    return out


def heights(cliff_m: float, from_col: int, rise: float = 0.0) -> NDArray[np.float32]:
    """A level lake, and beyond a column a surface that stands `cliff_m` over it and rises by `rise` metres a pixel."""
    over = np.where(from_col <= COLS, cliff_m + rise * (COLS - from_col), 0.0)
    return np.asarray(LEVEL_OF_LAKE_M + over, dtype=np.float32)


def window(
    water: dict[int, NDArray[np.uint8]], dem: NDArray[np.float32] | None, *, glaciers: NDArray[np.bool_] | None = None
) -> LakeWindow:
    lake = np.logical_or.reduce([each == LAKE for each in water.values()])
    grown = np.zeros(SHAPE, dtype=bool)
    grown[1:11, 1 : int(np.flatnonzero(lake.any(axis=0)).max()) + 2] = True
    return LakeWindow(ground=grown, lake=lake, water=water, heights=dem, glaciers=glaciers)


def test_ice_that_stands_over_the_lake_is_ground_where_the_lake_has_grown() -> None:
    seen = window({2017: classes(12, 36), 2023: classes(20, 36)}, heights(20.0, 10, rise=0.7))
    hiding = find_hiding_ice(seen)
    assert not hiding[2017].any()
    assert not hiding[2023].any()


def test_a_frozen_lake_is_hidden_whole() -> None:
    seen = window({2017: classes(20), 2023: classes(0, 20)}, heights(20.0, 22))
    hiding = find_hiding_ice(seen)
    assert not hiding[2017].any()
    assert (hiding[2023] == (seen.water[2017] == LAKE)).all()


def test_a_lake_that_froze_on_ground_where_the_heights_still_show_ice_is_hidden() -> None:
    """Water was seen there since: what the elevation model says is out of date, and an outline of the glacier too."""
    seen = window({2017: classes(20), 2023: classes(0, 20)}, heights(20.0, 6), glaciers=COLS >= 6)
    assert (find_hiding_ice(seen)[2023] == (seen.water[2017] == LAKE)).all()


def test_a_glacier_that_pushes_into_its_lake_is_ground() -> None:
    seen = window({2017: classes(20, 36), 2023: classes(12, 36)}, heights(20.0, 10, rise=0.7))
    assert not find_hiding_ice(seen)[2023].any()


def test_low_ice_apart_from_any_glacier_is_in_doubt_unless_an_outline_says_so() -> None:
    """Twelve metres over the lake in 2013 may have thinned down to it by 2023."""
    water = {2023: classes(12, 20), 2024: classes(20)}
    dem = heights(12.0, 12)
    dem[:, 12:14] = LEVEL_OF_LAKE_M + 12.0  # no slope within the ice
    doubtful = find_hiding_ice(window(water, dem))[2023]
    assert doubtful[2:10, 14:20].all()
    known = find_hiding_ice(window(water, dem, glaciers=COLS >= 12))[2023]
    assert not known[:, 14:].any()


def test_ice_on_which_a_date_saw_water_drifts() -> None:
    seen = window({2017: classes(12, 36), 2023: classes(20, 36)}, heights(20.0, 10, rise=0.7))
    counts = np.zeros((5, *SHAPE), dtype=np.uint8)
    counts[1, 5, 15] = 1
    drifting = LakeWindow(
        ground=seen.ground, lake=seen.lake, water=seen.water, heights=seen.heights, counts={2017: counts}
    )
    assert np.argwhere(find_hiding_ice(drifting)[2017]).tolist() == [[5, 15]]


def test_without_heights_all_ice_on_a_lake_hides_it() -> None:
    seen = window({2017: classes(12, 36), 2023: classes(20, 36)}, None)
    assert find_hiding_ice(seen)[2017][2:10, 12:20].all()


def test_the_tolerance_grows_with_the_years_since_the_heights_and_ends() -> None:
    assert [tolerance_m(year) for year in (2013, 2017, 2040)] == [LEVEL_M, LEVEL_M + 4.0, MOST_LEVEL_M]


@pytest.mark.parametrize("covered", [0.0, 0.4, 0.7])
def test_the_level_is_the_waters_even_where_a_glacier_covered_most_of_it(covered: float) -> None:
    n = 1_000
    over = np.where(np.arange(n) < covered * n, 8.0 + 0.05 * np.arange(n), 0.0)
    noise = np.random.default_rng(0).normal(0, 0.3, n)
    level = level_of_lake((LEVEL_OF_LAKE_M + over + noise).astype(np.float32))
    assert level == pytest.approx(LEVEL_OF_LAKE_M, abs=0.5)
    assert np.isnan(level_of_lake(np.full(4, np.nan, dtype=np.float32)))


@pytest.mark.parametrize("seed", range(40))
def test_high_ice_never_hides_and_frozen_lakes_are_never_bare(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cliff_m = float(rng.uniform(16.0, 60.0))
    front = int(rng.integers(8, 20))
    grown = int(rng.integers(front + 1, 30))
    first, last = sorted(rng.choice(np.arange(2016, 2040), 2, replace=False).tolist())
    dem = heights(cliff_m, front, rise=float(rng.uniform(0.0, 1.0)))
    dem += rng.normal(0, 0.5, SHAPE).astype(np.float32)
    growing = window({first: classes(front, 38), last: classes(grown, 38)}, dem)
    assert not any(hidden.any() for hidden in find_hiding_ice(growing).values())
    frozen = window({first: classes(grown, 38), last: classes(0, 38)}, dem)
    hidden = find_hiding_ice(frozen)[last]
    assert hidden[frozen.lake].all()
