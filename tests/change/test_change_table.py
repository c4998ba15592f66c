"""The change table: statuses, reasons, areas, tests and series on boxes whose answer a reader can count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from outline_tables import MIRRORED, Box, box, boxes_of_a_year, table
from scipy import stats
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource
from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparability import pairs_of_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import Match, match_years
from cryosentinel_core.errors import InputError
from cryosentinel_core.lakes.tables import CHANGE_COLUMNS, SERIES_COLUMNS, TREND_COLUMNS, GroundSeen, Reason
from cryosentinel_core.settings.change import ChangeSettings

LAKE = (0, 0, 2, 2)
BARE = GroundSeen(land=100)


def compare(
    tables: Mapping[int, gpd.GeoDataFrame],
    seen: Callable[[int, BaseGeometry, int], GroundSeen] | None = None,
    watched: tuple[Match, ...] = (),
    **changes: float,
) -> ChangeTables:
    matches = [*match_years(tables), *watched]
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=5_000.0)
    see = seen or (lambda *_: BARE)

    def observe(ground: BaseGeometry, grow_px: int) -> dict[int, GroundSeen]:
        return {year: see(year, ground, grow_px) for year in tables}

    basis = ComparisonBasis(
        settings=ChangeSettings(**changes),  # type: ignore[arg-type]
        observe_ground=observe,
        errors=ChangeErrors(source=ErrorSource.SIMULATED),
    )
    return compare_years(tables, matches, keys, basis)


def row_of(found: ChangeTables) -> dict[str, object]:
    assert len(found.change) == 1
    return dict(found.change.iloc[0])


def two(
    before: list[tuple[float, float, float, float]], after: list[tuple[float, float, float, float]]
) -> ChangeTables:
    return compare({2017: table(2017, before), 2023: table(2023, after)})


def test_columns_are_those_of_the_contract() -> None:
    found = two([LAKE], [LAKE])
    assert found.change.columns.tolist() == [*CHANGE_COLUMNS, "geometry"]
    assert found.change.crs.to_epsg() == 4326
    assert found.series.empty


@pytest.mark.parametrize(
    ("before", "after", "status", "significant"),
    [
        ([LAKE], [LAKE], "stable", False),
        ([LAKE], [(0, 0, 2, 2.02)], "stable", False),
        ([LAKE], [(0, 0, 2, 2.6)], "grown", True),
        ([LAKE], [(0, 0, 2, 1.4)], "shrunk", True),
        ([], [LAKE], "new", True),
        ([LAKE], [], "vanished", True),
        ([LAKE, (3, 0, 5, 2)], [(0, 0, 5, 2)], "merged", True),
        ([(0, 0, 5, 2)], [LAKE, (3, 0, 5, 2)], "split", True),
        ([LAKE, (3, 0, 8, 2)], [(0, 0, 5, 2), (6, 0, 8, 2)], "complex", False),
    ],
)
def test_status(
    before: list[tuple[float, ...]], after: list[tuple[float, ...]], status: str, significant: bool
) -> None:
    row = row_of(two(before, after))  # type: ignore[arg-type]
    assert (row["status"], row["reason"], bool(row["significant"])) == (status, "", significant)


def test_numbers_of_a_grown_lake() -> None:
    before, after = table(2017, [LAKE]), table(2023, [(0, 0, 2, 2.5)], date="09-01")
    row = row_of(compare({2017: before, 2023: after}))
    area_from, area_to = float(before["area_m2"].iloc[0]), float(after["area_m2"].iloc[0])
    assert (row["area_from_m2"], row["area_to_m2"]) == (area_from, area_to)
    assert row["change_m2"] == pytest.approx(area_to - area_from)
    assert row["change_percent"] == pytest.approx(25.0, rel=1e-4)
    assert row["rate_m2_per_year"] == pytest.approx((area_to - area_from) / 6)
    sigma = float(row["change_sigma_m2"])  # type: ignore[arg-type]
    assert row["critical_change_m2"] == pytest.approx(1.959964 * sigma)
    assert row["minimum_detectable_change_m2"] == pytest.approx((1.959964 + 0.841621) * sigma)
    assert row["day_of_year_difference"] == 17
    assert (row["lake_ids_from"], row["lake_ids_to"]) == ("GL077001E43001N", "GL077001E43001N")
    assert after.geometry.iloc[0].contains(shapely.Point(row["lon"], row["lat"]))
    assert row["elevation_m"] == 3300.0
    assert row["pair"] == "2017-2023"


def test_totals_are_compared_where_lakes_merge() -> None:
    row = row_of(two([LAKE, (3, 0, 5, 2)], [(0, 0, 5, 2)]))
    assert row["change_percent"] == pytest.approx(25.0, rel=1e-4)
    assert row["lake_ids_from"] == "GL077001E43001N;GL077004E43001N"
    assert row["aliases"] != ""


def test_ground_that_was_not_seen_is_never_dry() -> None:
    """A lake that one year does not show is vanished only where bare ground was seen under all of its outline."""

    def seen_in_2023(seen: GroundSeen) -> dict[str, object]:
        tables = {2017: table(2017, [LAKE]), 2023: table(2023, [])}
        return row_of(compare(tables, lambda year, ground, grow: BARE if year == 2017 else seen))

    for seen, reason in [
        (GroundSeen(ice=100), "ice"),
        (GroundSeen(land=40, ice=35, shadow=25), "ice"),
        (GroundSeen(shadow=60, cloud=40), "shadow"),
        (GroundSeen(cloud=60, shadow=40), "cloud"),
        (GroundSeen(nodata=100), "nodata"),
        (GroundSeen(), "nodata"),
        # Over the share wanted of a lake's ground, yet not the whole outline.
        (GroundSeen(land=98, ice=2), "ice"),
    ]:
        row = seen_in_2023(seen)
        assert (row["status"], row["reason"]) == ("unobserved", reason), seen
        assert pd.isna(row["significant"])  # type: ignore[call-overload]
        assert np.isnan(row["area_to_m2"])  # type: ignore[call-overload]
        assert np.isnan(row["change_m2"])  # type: ignore[call-overload]
        assert np.isnan(row["q_value"])  # type: ignore[call-overload]
        assert row["area_from_m2"] > 0  # type: ignore[operator]
    assert seen_in_2023(GroundSeen(land=100))["status"] == "vanished"
    assert seen_in_2023(GroundSeen(land=97, lake=3))["status"] == "vanished"


def test_the_same_holds_for_new_lakes() -> None:
    tables = {2017: table(2017, []), 2023: table(2023, [LAKE])}
    row = row_of(compare(tables, lambda year, *_: GroundSeen(land=90, cloud=10) if year == 2017 else BARE))
    assert (row["status"], row["reason"]) == ("unobserved", "cloud")
    assert np.isnan(row["area_from_m2"])  # type: ignore[call-overload]


def test_what_is_left_of_a_lake_is_not_nothing() -> None:
    tables = {2017: table(2017, [LAKE]), 2023: table(2023, [])}
    row = row_of(compare(tables, lambda year, *_: GroundSeen(land=340, lake=9 if year == 2017 else 40)))
    assert (row["status"], row["area_to_m2"]) == ("shrunk", 4_000.0)


def test_area_of_a_half_seen_year_is_a_lower_bound() -> None:
    tables = {2017: table(2017, [LAKE]), 2023: table(2023, [(0, 0, 1, 2)])}
    row = row_of(compare(tables, lambda year, *_: GroundSeen(lake=50, cloud=50) if year == 2023 else BARE))
    assert (row["status"], row["reason"], row["observed_to"]) == ("unobserved", "cloud", 0.5)
    assert row["area_to_m2"] == pytest.approx(float(tables[2023]["area_m2"].iloc[0]))
    assert np.isnan(row["change_m2"])  # type: ignore[call-overload]


@pytest.mark.parametrize(("share", "status"), [(96, "stable"), (95, "stable"), (94, "unobserved")])
def test_min_observed_is_a_limit_that_is_still_enough(share: int, status: str) -> None:
    tables = {2017: table(2017, [LAKE]), 2023: table(2023, [LAKE])}
    row = row_of(compare(tables, lambda *_: GroundSeen(lake=share, cloud=100 - share), min_observed=0.95))
    assert row["status"] == status


def test_lakes_at_the_edge_of_the_work_are_not_judged() -> None:
    tables = {2017: table(2017, [LAKE]), 2023: table(2023, [(0, 0, 2, 5)], edge=[0])}
    row = row_of(compare(tables))
    assert (row["status"], row["reason"], bool(row["touches_edge"])) == ("unobserved", "edge", True)


def test_july_is_not_september() -> None:
    tables = {2017: table(2017, [LAKE], date="07-10"), 2023: table(2023, [(0, 0, 2, 3)], date="09-20")}
    row = row_of(compare(tables))
    assert (row["status"], row["reason"]) == ("unobserved", "season")
    assert row["change_percent"] == pytest.approx(50.0, rel=1e-4)
    assert pd.isna(row["significant"])  # type: ignore[call-overload]
    assert row_of(compare(tables, max_day_difference=80.0))["status"] == "grown"


def test_ground_is_the_union_of_all_years_grown_by_a_pixel() -> None:
    asked: list[tuple[int, float, int]] = []

    def seen(year: int, ground: BaseGeometry, grow: int) -> GroundSeen:
        asked.append((year, round(ground.area * 1e6, 6), grow))
        return BARE

    compare({2017: table(2017, [LAKE]), 2020: table(2020, [(0, 0, 2, 3)]), 2023: table(2023, [(1, 0, 3, 2)])}, seen)
    assert asked == [(year, 8.0, 1) for year in (2017, 2020, 2023)]


def test_q_values_hold_for_lakes_of_one_kind() -> None:
    """One to one is one family of tests, merges and splits another; what is new or gone is judged by what was seen."""
    boxes = [(4 * n, 0, 4 * n + 2, 2) for n in range(20)]
    after = [(west, south, east, north + (0.12 if n == 0 else 0)) for n, (west, south, east, north) in enumerate(boxes)]
    pieces = [(-12, 0, -11, 2), (-10.5, 0, -9, 2)]
    others = [(4 * n, 8, 4 * n + 2, 10) for n in range(60)]
    found = two([*boxes, (-12, 0, -9, 2)], [*after, *pieces, *others]).change
    first = found[found["lake_key"] == "GL077001E43001N"].iloc[0]
    z = abs(first["change_m2"]) / first["change_sigma_m2"]
    assert first["q_value"] == pytest.approx(min(1.0, 20 * 2 * stats.norm.sf(z)))
    parted = found[found["status"] == "split"].iloc[0]
    z = abs(parted["change_m2"]) / parted["change_sigma_m2"]
    assert parted["q_value"] == pytest.approx(2 * stats.norm.sf(z))
    new = found[found["status"] == "new"]
    assert len(new) == 60
    assert new["q_value"].isna().all()
    assert new["significant"].all()


@pytest.mark.parametrize(("north", "total"), [(2, "stable"), (2.6, "grown"), (1.4, "shrunk")])
def test_merged_lakes_say_what_their_total_did(north: float, total: str) -> None:
    row = row_of(two([(0, 0, 2.5, 2), (2.5, 0, 5, 2)], [(0, 0, 5, north)]))
    assert (row["status"], row["total_status"]) == ("merged", total)
    assert row_of(two([LAKE], [(0, 0, 2, 2.6)]))["total_status"] == ""


def test_slivers_below_a_pixel_are_no_ground_that_changed() -> None:
    found = two([LAKE], [(0, 0, 2, 2.005)])  # 0.6 m along 163 m
    assert found.change["change_m2"].iloc[0] > 0
    assert found.gained.empty


def test_three_years_make_pairs_series_and_trend() -> None:
    tables = {year: table(year, [(0, 0, 2, 2 + 0.1 * (year - 2017))]) for year in (2017, 2021, 2023)}
    found = compare(tables)
    assert found.change["pair"].tolist() == ["2017-2021", "2021-2023", "2017-2023"]
    assert found.change.columns.tolist() == [*CHANGE_COLUMNS, *TREND_COLUMNS, "geometry"]
    assert found.series.columns.tolist() == list(SERIES_COLUMNS)
    assert found.series["year"].tolist() == [2017, 2021, 2023]
    slope = (tables[2023]["area_m2"].iloc[0] - tables[2017]["area_m2"].iloc[0]) / 6
    assert found.change["trend_m2_per_year"].to_numpy() == pytest.approx(np.full(3, slope), rel=1e-4)
    assert (found.change["trend_low_m2_per_year"] <= found.change["trend_m2_per_year"]).all()


def test_unobserved_years_take_no_part_in_the_trend() -> None:
    tables = {year: table(year, [LAKE]) for year in (2017, 2020, 2023)}
    found = compare(tables, lambda year, *_: GroundSeen(ice=100) if year == 2020 else BARE)
    assert found.series["observed"].tolist() == [True, False, True]
    assert found.change["trend_m2_per_year"].isna().all()
    assert found.change["status"].tolist() == ["unobserved", "unobserved", "stable"]


def test_gained_and_lost_ground_are_the_differences() -> None:
    found = two([LAKE], [(1, 0, 3, 2)])
    assert len(found.gained) == len(found.lost) == 1
    assert found.gained.geometry.iloc[0].equals(box(2, 0, 3, 2))
    assert found.lost.geometry.iloc[0].equals(box(0, 0, 1, 2))
    assert found.gained["area_m2"].iloc[0] == pytest.approx(found.lost["area_m2"].iloc[0], rel=1e-4)
    hidden = compare(
        {2017: table(2017, [LAKE]), 2023: table(2023, [(1, 0, 3, 2)])}, lambda *_: GroundSeen(lake=10, cloud=90)
    )
    assert hidden.gained.empty
    assert hidden.lost.empty


def test_a_watched_lake_has_a_row_though_nothing_is_there() -> None:
    place = Match({}, (), box(50, 0, 51, 1))
    tables = {2017: table(2017, []), 2023: table(2023, [])}
    row = row_of(compare(tables, watched=(place,)))
    assert (row["status"], row["area_from_m2"], row["area_to_m2"]) == ("stable", 0.0, 0.0)
    assert (row["lon"], row["lat"]) == pytest.approx((77.0505, 43.0005))
    assert row["geometry"] is None
    hidden = row_of(compare(tables, lambda *_: GroundSeen(ice=4), (place,)))
    assert (hidden["status"], hidden["reason"]) == ("unobserved", "ice")
    assert np.isnan(hidden["area_from_m2"])  # type: ignore[call-overload]


def test_no_lakes_make_an_empty_table_with_all_columns() -> None:
    found = two([], [])
    assert len(found.change) == 0
    assert found.change.columns.tolist() == [*CHANGE_COLUMNS, "geometry"]
    assert found.change.dtypes["significant"] == "boolean"


@pytest.mark.parametrize("years", [(2017,), (2023, 2017), (2017, 2017)])
def test_years_must_ascend(years: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="ascending and distinct"):
        pairs_of_years(years)


def test_commonest_cause_is_the_reason() -> None:
    assert GroundSeen(land=50, ice=10, shadow=20, cloud=15, nodata=5).reason is Reason.SHADOW
    assert GroundSeen(land=5).reason is Reason.NONE
    assert GroundSeen().observed_share == 0.0


@given(before=boxes_of_a_year(), after=boxes_of_a_year())
@settings(deadline=None, max_examples=40)
def test_time_turned_round_tells_the_same_the_other_way(before: list[Box], after: list[Box]) -> None:
    there, back = two(before, after).change, two(after, before).change
    assert there["lake_key"].is_unique
    for frame in (there, back):
        frame["place"] = shapely.to_wkb(shapely.normalize(shapely.set_precision(frame.geometry.to_numpy(), 1e-9)))
    both = there.merge(back, on="place", suffixes=("", "_back"))
    assert len(both) == len(there) == len(back)
    assert both["status"].map(MIRRORED).tolist() == both["status_back"].tolist()
    assert both["significant"].tolist() == both["significant_back"].tolist()
    for name, other in (("area_from_m2", "area_to_m2"), ("area_to_m2", "area_from_m2")):
        np.testing.assert_allclose(both[name], both[f"{other}_back"])
    np.testing.assert_allclose(both["change_m2"], -both["change_m2_back"], atol=1e-6)
    np.testing.assert_allclose(both["change_sigma_m2"], both["change_sigma_m2_back"])
    np.testing.assert_allclose(both["q_value"], both["q_value_back"])


@given(before=boxes_of_a_year(), after=boxes_of_a_year())
@settings(deadline=None, max_examples=40)
def test_every_square_metre_is_in_one_row(before: list[Box], after: list[Box]) -> None:
    found = two(before, after)
    first, second = (table(year, boxes)["area_m2"].sum() for year, boxes in ((2017, before), (2023, after)))
    assert found.change["area_from_m2"].sum() == pytest.approx(first)
    assert found.change["area_to_m2"].sum() == pytest.approx(second)
    assert found.change["change_m2"].sum() == pytest.approx(second - first, abs=1e-3)
    moved = found.gained["area_m2"].sum() - found.lost["area_m2"].sum()
    # A box's long edge is a geodesic, which leaves the parallel that the pieces' shorter edges follow: 7 m2 for 800 m.
    assert moved == pytest.approx(second - first, abs=14.0 * (len(before) + len(after)))


@given(boxes=boxes_of_a_year())
@settings(deadline=None, max_examples=20)
def test_nothing_happened_to_what_stayed(boxes: list[Box]) -> None:
    found = two(boxes, boxes)
    assert set(found.change["status"]) <= {"stable"}
    assert len(found.change) == len(boxes)
    assert not found.change["significant"].any()
    assert found.gained.empty
    assert found.lost.empty
