"""From logits to lake tables: known discs, seams, the area's edge, zones that overlap."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.geodesic import geodesic_area_m2
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.tables import LAKE_COLUMNS, LakeOrigin, LakeReaders
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, WATER_INDEX_ERRORS
from cryosentinel_core.units import LOGIT_NODATA

EPSG = 32643
HULL = Grid(epsg=EPSG, row=-476_000, col=60_000, height=300, width=320)
ORIGIN = LakeOrigin(aoi="here", year=2023, model="water-index", radar_used=True)
Disc = tuple[float, float, float]
"""(column, row, radius) in pixels of the hull."""


def draw(discs: list[Disc], grid: Grid = HULL) -> NDArray[np.int16]:
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    depth = np.full(grid.shape, -20.0)
    for col, row, radius in discs:
        depth = np.maximum(depth, radius - np.hypot(cols - col, rows - row))
    return np.round(np.clip(3 * depth, -16, 16) * 1000).astype(np.int16)


def readers_of(
    logits: NDArray[np.int16], grid: Grid = HULL, processed: NDArray[np.bool_] | None = None, with_stack: bool = True
) -> LakeReaders:
    done = np.ones(grid.shape, dtype=bool) if processed is None else processed
    rows, cols = np.mgrid[: grid.height, : grid.width]
    dem = (3000 + cols).astype(np.float32)
    counts = np.zeros((5, *grid.shape), dtype=np.uint8)
    counts[0] = np.where(rows % 2, 4, 6)
    counts[1] = np.where(rows % 2, 3, 6)
    dates = np.stack([np.full(grid.shape, day, dtype=np.uint16) for day in (19_550, 19_580, 19_600)])
    dates[:, :, ::3] = 0
    cut = lambda array: lambda asked: array[(..., *asked.slices_in(grid))].copy()  # noqa: E731
    stack = {"dem": cut(dem), "counts": cut(counts), "dates": cut(dates)} if with_stack else {}
    return LakeReaders(logits=cut(logits), processed=cut(done), **stack)


def area_of(grid: Grid, shrink: int = 0) -> BaseGeometry:
    to_lonlat = transformer(grid.epsg, 4326)
    corners = shapely.box(*grid.grown(-shrink).bounds)
    return shapely.transform(corners, lambda xy: np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1])))


def find(discs: list[Disc], **settings: object) -> gpd.GeoDataFrame:
    return extract_lakes(readers_of(draw(discs)), HULL, area_of(HULL), ORIGIN, **settings)  # type: ignore[arg-type]


def test_a_disc_is_a_lake_with_all_columns() -> None:
    lakes, candidates = merge_zones([find([(100.0, 80.0, 12.0)])])
    assert lakes.columns.tolist() == [*LAKE_COLUMNS, "geometry"]
    assert lakes.crs.to_epsg() == 4326
    assert len(lakes) == 1
    assert candidates.empty
    lake = lakes.iloc[0]
    assert lake["area_m2"] == pytest.approx(np.pi * 120.0**2, rel=5e-3)
    assert lake["area_m2"] == geodesic_area_m2(lake["geometry"])
    assert lake["perimeter_m"] == pytest.approx(2 * np.pi * 120.0, rel=5e-3)
    assert lake["elevation_m"] == pytest.approx(3099.5, abs=1)
    assert (lake["n_observations"], lake["radar_used"], lake["touches_edge"]) == (5, True, False)
    assert (lake["first_date"], lake["median_date"], lake["last_date"]) == ("2023-07-12", "2023-08-11", "2023-08-31")
    assert lake["water_frequency"] == pytest.approx(0.9, abs=0.01)
    assert 0.9 < lake["mean_probability"] <= 1.0
    assert lake["area_sigma_m2"] == pytest.approx(
        np.hypot(lake["area_sigma_random_m2"], lake["area_sigma_systematic_m2"])
    )
    assert 0 < lake["area_sigma_m2"] < lake["area_m2"]
    lon, lat = (float(part) for part in transformer(EPSG, 4326).transform(HULL.bounds[0] + 1000, HULL.bounds[3] - 800))
    assert abs(int(lake["lake_id"][2:8]) / 1000 - lon) < 0.002
    assert abs(int(lake["lake_id"][9:14]) / 1000 - lat) < 0.002


def test_without_a_stack_the_figures_are_unknown_not_zero() -> None:
    found = extract_lakes(readers_of(draw([(100, 80, 12)]), with_stack=False), HULL, area_of(HULL), ORIGIN)
    lake = found.iloc[0]
    assert np.isnan(lake["elevation_m"])
    assert np.isnan(lake["water_frequency"])
    assert found["n_observations"].isna().all()
    assert lake["median_date"] == ""


@pytest.mark.parametrize("block_px", [17, 64, 100, 299])
def test_blocks_never_change_the_table(block_px: int) -> None:
    rng = np.random.default_rng(5)
    discs = [(rng.uniform(0, 320), rng.uniform(0, 300), rng.uniform(2, 30)) for _ in range(25)]
    whole, cut = find(discs), find(discs, block_px=block_px)
    assert len(whole) > 5
    assert cut.drop(columns="geometry").equals(whole.drop(columns="geometry"))
    assert shapely.to_wkb(cut.geometry.to_numpy()).tolist() == shapely.to_wkb(whole.geometry.to_numpy()).tolist()


def test_small_lakes_stay_candidates_and_noise_goes() -> None:
    lakes, candidates = merge_zones([find([(50, 50, 10), (150, 50, 3), (250, 50, 1.2)])])
    assert len(lakes) == len(candidates) == 1
    assert candidates["area_m2"].iloc[0] == pytest.approx(np.pi * 30**2, rel=0.03)
    lower, _ = merge_zones([find([(50, 50, 10), (150, 50, 3)], min_area_m2=2000.0)])
    assert len(lower) == 2


def test_a_lake_across_the_areas_edge_is_kept_whole_and_one_outside_is_a_candidate() -> None:
    logits = draw([(100, 100, 20), (290, 150, 15)])
    aoi = area_of(Grid(epsg=EPSG, row=HULL.row, col=HULL.col, height=300, width=100))
    lakes, candidates = merge_zones([extract_lakes(readers_of(logits), HULL, aoi, ORIGIN)])
    assert lakes["area_m2"].tolist() == pytest.approx([np.pi * 200**2], rel=5e-3)
    assert candidates["area_m2"].tolist() == pytest.approx([np.pi * 150**2], rel=5e-3)


def test_edge_is_ground_that_was_not_processed_not_the_edge_of_the_area() -> None:
    logits = draw([(100, 100, 20), (220, 100, 20)])
    processed = np.ones(HULL.shape, dtype=bool)
    processed[:, 225:] = False
    found = extract_lakes(readers_of(logits, processed=processed), HULL, area_of(HULL, 80), ORIGIN)
    assert found["touches_edge"].tolist() == [False, True]


def test_unobserved_ground_inside_widens_the_error() -> None:
    logits = draw([(100, 100, 20)])
    clouded = logits.copy()
    clouded[:, 100:] = LOGIT_NODATA
    clear, half = (extract_lakes(readers_of(array), HULL, area_of(HULL), ORIGIN).iloc[0] for array in (logits, clouded))
    assert half["area_m2"] == pytest.approx(clear["area_m2"] / 2, rel=0.02)
    assert half["area_sigma_random_m2"] / half["area_m2"] > 2 * clear["area_sigma_random_m2"] / clear["area_m2"]
    assert not half["touches_edge"]


def test_a_network_without_radar_is_less_sure() -> None:
    def sigma(radar_used: bool, is_network: bool) -> float:
        errors = NETWORK_ERRORS if is_network else WATER_INDEX_ERRORS
        origin = LakeOrigin(
            aoi="here", year=2023, model="m", radar_used=radar_used, is_network=is_network, error_model=errors
        )
        found = extract_lakes(readers_of(draw([(100, 100, 20)])), HULL, area_of(HULL), origin)
        return float(found["area_sigma_m2"].iloc[0])

    assert sigma(False, True) > sigma(True, True) > sigma(True, False) == sigma(False, False)


def test_a_higher_threshold_draws_smaller_lakes() -> None:
    low, half, high = (find([(100, 100, 20)], threshold=t)["area_m2"].iloc[0] for t in (0.3, 0.5, 0.7))
    assert low > half > high


def test_rasters_off_the_lattice_have_their_own_place() -> None:
    grid = Grid(epsg=EPSG, row=0, col=0, height=224, width=224)
    place = Affine(10, 0, 600_003.5, 0, -10, 4_760_004.25)
    readers = readers_of(draw([(100.0, 60.0, 15.0)], grid), grid)
    world = shapely.box(-180, -90, 180, 90)
    found = extract_lakes(readers, grid, world, ORIGIN, transform=place, crs=f"EPSG:{EPSG}")
    centre = found.geometry.to_crs(EPSG).centroid.iloc[0]
    assert (centre.x, centre.y) == pytest.approx((600_003.5 + 1000, 4_760_004.25 - 600), abs=0.2)


def test_no_lakes_are_a_result() -> None:
    lakes, candidates = merge_zones([find([])])
    assert lakes.columns.tolist() == candidates.columns.tolist() == [*LAKE_COLUMNS, "geometry"]
    assert len(lakes) == len(candidates) == 0
    assert lakes.dtypes.to_dict() == merge_zones([find([(50, 50, 10)])])[0].dtypes.to_dict()
    assert len(merge_zones([])[0]) == 0


def zone_frame(epsg: int, lonlat: list[tuple[float, float, float]]) -> gpd.GeoDataFrame:
    """Lakes of one zone as discs (lon, lat, radius in degrees)."""
    shapes = [shapely.Point(lon, lat).buffer(radius) for lon, lat, radius in lonlat]
    base = find([(50, 50, 10)])
    frame = gpd.GeoDataFrame(
        {name: [base[name].iloc[0]] * len(shapes) for name in base.columns if name != "geometry"},
        geometry=shapes,
        crs="EPSG:4326",
    )
    frame["n_observations"] = frame["n_observations"].astype("Int64")
    frame["area_m2"] = [geodesic_area_m2(shape) for shape in shapes]
    frame["epsg"] = epsg
    frame["model"] = str(epsg)
    return frame


def test_where_zones_overlap_the_one_with_more_area_at_home_stays() -> None:
    west, east = 77.990, 78.005
    frames = [
        zone_frame(32643, [(west, 43.0, 0.004), (78.002, 43.1, 0.004), (78.0, 43.2, 0.004)]),
        zone_frame(
            32644, [(west + 1e-5, 43.0, 0.004), (78.002, 43.1, 0.0041), (78.0, 43.2, 0.004), (east, 43.3, 0.002)]
        ),
    ]
    for order in (frames, frames[::-1]):
        lakes, _ = merge_zones(order)
        where = [round(float(shape.centroid.y), 1) for shape in lakes.geometry]
        kept = dict(zip(where, lakes["model"], strict=True))
        # In the west zone 43's, in the east zone 44's, astride (a tie) the lower zone's, and one that only zone 44 has.
        assert kept == {43.0: "32643", 43.1: "32644", 43.2: "32643", 43.3: "32644"}


def test_zones_that_only_touch_keep_both() -> None:
    frames = [zone_frame(32643, [(77.990, 43.0, 0.004)]), zone_frame(32644, [(78.004, 43.0, 0.004)])]
    assert len(merge_zones(frames)[0]) == 2


def test_memory_is_bounded_by_blocks_not_by_the_area() -> None:
    rng = np.random.default_rng(8)
    logits = draw([(rng.uniform(0, 320), rng.uniform(0, 300), rng.uniform(2, 6)) for _ in range(60)])
    asked: list[tuple[int, int]] = []
    readers = readers_of(logits)

    def spy(grid: Grid) -> NDArray[np.int16]:
        asked.append(grid.shape)
        return readers.logits(grid)

    spying = LakeReaders(logits=spy, processed=readers.processed, dem=readers.dem)
    extract_lakes(spying, HULL, area_of(HULL), ORIGIN, block_px=40)
    assert max(max(shape) for shape in asked) <= 2 * 40 + 2
