"""The area band of a lake: discs whose areas are known, neighbours that it may not run into, the reach, blocks."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from test_extract import HULL, ORIGIN, area_of, draw, readers_of

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.area_band import BAND_REACH_PX, claim_ground, shift_logits, widen_sigma
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.tables import BAND_COLUMNS, LAKE_COLUMNS
from cryosentinel_core.units import LOGIT_NODATA, SPREAD_NODATA

Disc = tuple[float, float, float]
PIXEL_M2 = 100.0


def find(logits: NDArray[np.int16], spread: NDArray[np.uint16] | int, **settings: object) -> gpd.GeoDataFrame:
    stored = np.broadcast_to(np.asarray(spread, dtype=np.uint16), HULL.shape)
    processed = settings.pop("processed", None)
    readers = replace(
        readers_of(logits, processed=processed),  # type: ignore[arg-type]
        spread=lambda grid: stored[grid.slices_in(HULL)].copy(),
    )
    return extract_lakes(readers, HULL, area_of(HULL), ORIGIN, **settings)  # type: ignore[arg-type]


def test_a_disc_shrinks_and_grows_by_the_spread_over_the_slope() -> None:
    """The logit falls by 3 a pixel: a spread of 6 moves the shore by two pixels, 20 m."""
    lake = find(draw([(100, 80, 12)]), 6000).iloc[0]
    assert lake["area_m2"] == pytest.approx(np.pi * 120**2, rel=5e-3)
    assert lake["area_low_m2"] == pytest.approx(np.pi * 100**2, rel=5e-3)
    assert lake["area_high_m2"] == pytest.approx(np.pi * 140**2, rel=5e-3)
    assert lake["area_sigma_random_m2"] == pytest.approx(lake["area_high_m2"] - lake["area_m2"])
    assert lake["area_sigma_m2"] == pytest.approx(
        np.hypot(lake["area_sigma_random_m2"], lake["area_sigma_systematic_m2"])
    )


def test_no_spread_is_a_band_of_no_width_and_leaves_sigma_alone() -> None:
    logits = draw([(100, 80, 12), (200, 150, 5)])
    plain = extract_lakes(readers_of(logits), HULL, area_of(HULL), ORIGIN)
    found = find(logits, 0)
    assert not set(BAND_COLUMNS) & set(plain.columns)
    np.testing.assert_allclose(found["area_low_m2"], found["area_m2"], rtol=1e-12)
    np.testing.assert_allclose(found["area_high_m2"], found["area_m2"], rtol=1e-12)
    assert found[plain.columns].drop(columns="geometry").equals(plain.drop(columns="geometry"))


def test_columns_come_last_also_in_empty_tables() -> None:
    for logits in (draw([(100, 80, 12)]), draw([])):
        for table in merge_zones([find(logits, 100)]):
            assert table.columns.tolist() == [*LAKE_COLUMNS, *BAND_COLUMNS, "geometry"]
    one, other = find(draw([(100, 80, 12)]), 100), find(draw([]), 100)
    assert len(merge_zones([one, other])[0]) == 1


def test_what_falls_into_pieces_counts_whole_and_what_is_doubtful_not_at_all() -> None:
    """Two discs joined by a neck of one pixel that the members doubt; and one that they doubt altogether."""
    logits = draw([(80, 100, 10), (110, 100, 10), (200, 200, 6)])
    logits[100, 85:105] = 500
    spread = np.zeros(HULL.shape, dtype=np.uint16)
    spread[100, 90:100] = 1000
    spread[190:210, 190:210] = 60_000
    found = find(logits, spread)
    assert len(found) == 2
    joined, doubtful = found.iloc[0], found.iloc[1]
    assert joined["area_low_m2"] == pytest.approx(joined["area_m2"], rel=0.03)
    assert joined["area_low_m2"] < joined["area_m2"]
    assert joined["area_low_m2"] > 1.9 * np.pi * 100**2
    assert doubtful["area_low_m2"] == 0
    assert doubtful["area_sigma_random_m2"] >= doubtful["area_m2"]


def test_bands_of_neighbours_share_the_ground_between_them() -> None:
    """Members doubt all ground: two discs four pixels apart grow towards each other, and do not overlap."""
    logits = draw([(80, 100, 10), (104, 100, 10)])
    found = find(logits, 40_000)
    alone = find(draw([(80, 100, 10)]), 40_000).iloc[0]
    high = found["area_high_m2"].to_numpy()
    assert high[0] == pytest.approx(high[1], rel=1e-3), "the picture is symmetric"
    assert (high < alone["area_high_m2"]).all()
    rows, cols = np.mgrid[: HULL.height, : HULL.width]
    steps = np.abs(rows - 99.5) + np.abs(cols - 91.5)
    assert high.sum() < PIXEL_M2 * np.count_nonzero(steps < 60)
    assert (high > found["area_m2"]).all()


def test_the_band_ends_at_its_reach() -> None:
    """A square of 20 px in ground that is all doubtful grows by its reach in steps, a diamond's corners cut off, and no more."""
    logits = np.full(HULL.shape, -100, dtype=np.int16)
    logits[100:120, 100:120] = 100
    lake = find(logits, 1000).iloc[0]
    r = BAND_REACH_PX
    n_pixels = 20 * 20 + 4 * 20 * r + 4 * (r * (r - 1) // 2)
    assert lake["area_high_m2"] == pytest.approx(n_pixels * PIXEL_M2, rel=1e-3), "along the pixels' edges"


def test_unobserved_and_unprocessed_ground_is_not_claimed() -> None:
    logits = np.full(HULL.shape, -100, dtype=np.int16)
    logits[100:120, 100:120] = 100
    free = find(logits, 1000).iloc[0]["area_high_m2"]
    clouded = logits.copy()
    clouded[:100] = LOGIT_NODATA
    assert find(clouded, 1000).iloc[0]["area_high_m2"] < free
    processed = np.ones(HULL.shape, dtype=bool)
    processed[:100] = False
    lake = find(logits, 1000, processed=processed).iloc[0]
    assert lake["touches_edge"]
    assert lake["area_high_m2"] < free


@pytest.mark.parametrize("block_px", [17, 64, 299])
def test_blocks_never_change_the_band(block_px: int) -> None:
    rng = np.random.default_rng(8)
    discs = [(rng.uniform(0, 320), rng.uniform(0, 300), rng.uniform(2, 18)) for _ in range(40)]
    logits = (draw(discs).astype(np.int32) // 8).astype(np.int16)
    spread = rng.integers(0, 4000, HULL.shape).astype(np.uint16)
    whole, cut = find(logits, spread), find(logits, spread, block_px=block_px)
    assert len(whole) > 10
    assert cut.drop(columns="geometry").equals(whole.drop(columns="geometry"))
    assert (whole["area_low_m2"] < whole["area_m2"]).any()
    assert (whole["area_high_m2"] > whole["area_m2"]).any()
    assert (whole["area_low_m2"] <= whole["area_m2"]).all()
    assert (whole["area_m2"] <= whole["area_high_m2"]).all()


def test_claims_on_a_line_by_counting() -> None:
    """Each pixel to the nearer; the middle to nobody; nothing through what is not allowed; neighbours of two bodies to nobody."""
    allowed = np.ones((1, 11), dtype=bool)
    allowed[0, 9] = False
    water = np.array([[1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]])
    assert claim_ground(water, 2, allowed, 5).tolist() == [[1, 1, 1, 0, 2, 2, 2, 2, 2, 0, 0]]
    assert claim_ground(water, 2, allowed, 1).tolist() == [[1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0]]
    even = np.array([[1, 0, 0, 0, 0, 2]])
    assert claim_ground(even, 2, np.ones((1, 6), dtype=bool), 9).tolist() == [[1, 1, 0, 0, 2, 2]]


def test_shifted_logits_keep_nodata_and_their_range() -> None:
    logits = np.array([[0, 16_000, -16_000, LOGIT_NODATA, 100]], dtype=np.int16)
    spread = np.array([[250, 60_000, 60_000, 5, SPREAD_NODATA]], dtype=np.uint16)
    low, high = shift_logits(logits, spread)
    assert low.tolist() == [[-250, -32_767, -32_767, LOGIT_NODATA, 100]]
    assert high.tolist() == [[250, 32_767, 32_767, LOGIT_NODATA, 100]]


def test_sigma_is_the_larger_of_model_and_longer_side() -> None:
    band = {"area_low_m2": np.array([90.0, 99.0, 101.0]), "area_high_m2": np.array([105.0, 130.0, 99.0])}
    held, sigma = widen_sigma(band, np.full(3, 100.0), np.array([4.0, 50.0, 4.0]))
    assert sigma.tolist() == [10.0, 50.0, 4.0]
    assert held["area_low_m2"].tolist() == [90.0, 99.0, 100.0]
    assert held["area_high_m2"].tolist() == [105.0, 130.0, 100.0]


def test_islands_stay_out_of_the_band() -> None:
    """A ring: its hole shrinks in the high area by the same two pixels as its outer shore grows."""
    rows, cols = np.mgrid[: HULL.height, : HULL.width] + 0.5
    distance = np.hypot(cols - 100, rows - 100)
    depth = np.minimum(30 - distance, distance - 10)
    lake = find(np.round(np.clip(3 * depth, -16, 16) * 1000).astype(np.int16), 6000).iloc[0]
    assert shapely.get_num_interior_rings(lake["geometry"]) == 1
    assert lake["area_low_m2"] == pytest.approx(np.pi * (280**2 - 120**2), rel=5e-3)
    assert lake["area_high_m2"] == pytest.approx(np.pi * (320**2 - 80**2), rel=5e-3)


def test_a_lake_at_the_edge_of_the_hull_reads_no_further() -> None:
    asked: list[Grid] = []
    logits = draw([(2, 2, 12)])
    stored = np.full(HULL.shape, 3000, dtype=np.uint16)

    def read(grid: Grid) -> NDArray[np.uint16]:
        asked.append(grid)
        return stored[grid.slices_in(HULL)]

    extract_lakes(replace(readers_of(logits), spread=read), HULL, area_of(HULL), ORIGIN)
    assert asked
    assert all(grid.intersection(HULL) == grid for grid in asked)
