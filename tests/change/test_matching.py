"""Lakes across years by overlap, and keys that stay."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from outline_tables import Box, box, table

from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import Match, add_watched, match_years, relation_of
from cryosentinel_core.ground.geodesic import lake_id_of
from cryosentinel_core.lakes.tables import Status

MIN_AREA = 5_000.0


def members(*years: list[Box]) -> list[dict[int, tuple[int, ...]]]:
    tables = {2000 + number: table(2000 + number, boxes) for number, boxes in enumerate(years)}
    return [dict(match.members) for match in match_years(tables)]


def test_one_to_one_by_place_whatever_the_order() -> None:
    assert members([(0, 0, 2, 2), (10, 0, 12, 2)], [(10, 0, 12, 2), (0, 0, 2, 2)]) == [
        {2000: (0,), 2001: (1,)},
        {2000: (1,), 2001: (0,)},
    ]


def test_merge_split_and_many_to_many_are_one_lake_each() -> None:
    assert members([(0, 0, 2, 2), (3, 0, 5, 2)], [(0, 0, 5, 2)]) == [{2000: (0, 1), 2001: (0,)}]
    assert members([(0, 0, 5, 2)], [(0, 0, 2, 2), (3, 0, 5, 2)]) == [{2000: (0,), 2001: (0, 1)}]
    assert members([(0, 0, 2, 2), (3, 0, 8, 2)], [(0, 0, 5, 2), (6, 0, 8, 2)]) == [{2000: (0, 1), 2001: (0, 1)}]


def test_shores_that_touch_or_slip_by_less_than_a_pixel_do_not_join_neighbours() -> None:
    neighbours = [(0, 0, 2, 2)], [(2, 0, 4, 2)]
    assert len(members(*neighbours)) == 2
    # An overlap of 2 m by 222 m = 444 m2 is more than a pixel, but 1 % of the smaller lake.
    slipped = [(0, 0, 2, 2)], [(1.975, 0, 4, 2)]
    assert len(members(*slipped)) == 2
    # Half of a pond of 800 m2 is an overlap, though a large pixel would be more.
    tables = {2000: table(2000, [(0, 0, 0.3, 0.3)]), 2001: table(2001, [(0.1, 0, 5, 2)])}
    assert len(match_years(tables, pixel_m=30.0)) == 1


def test_outlines_of_one_year_never_join_each_other_alone() -> None:
    assert len(members([(0, 0, 3, 2), (1, 0, 4, 2)], [])) == 2


def test_a_year_without_lakes_is_a_year() -> None:
    assert members([], [(0, 0, 2, 2)]) == [{2001: (0,)}]
    assert members([], []) == []


def test_a_year_between_connects_what_two_years_alone_do_not() -> None:
    moving = [(0, 0, 2, 2)], [(1, 0, 4, 2)], [(3, 0, 6, 2)]
    assert len(members(*moving)) == 1
    assert len(members(moving[0], moving[2])) == 2


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ([(0, 0, 2, 2)], [(0, 0, 2, 3)], Status.STABLE),
        ([(0, 0, 2, 2), (3, 0, 5, 2)], [(0, 0, 5, 2)], Status.MERGED),
        ([(0, 0, 5, 2)], [(0, 0, 2, 2), (3, 0, 5, 2)], Status.SPLIT),
        ([(0, 0, 2, 2), (3, 0, 8, 2)], [(0, 0, 5, 2), (6, 0, 8, 2)], Status.COMPLEX),
        # A puddle beside a lake (0.1 ha of 4 ha) is no part of it.
        ([(0, 0, 2, 2), (2.2, 0, 2.5, 0.4)], [(0, 0, 3, 2)], Status.STABLE),
    ],
)
def test_relation_counts_parts_of_weight(before: list[Box], after: list[Box], wanted: Status) -> None:
    tables = {2017: table(2017, before), 2023: table(2023, after)}
    (match,) = match_years(tables)
    assert relation_of(match, tables, 2017, 2023, MIN_AREA) is wanted


def test_two_lakes_that_were_one_in_a_third_year_are_neither_merged_nor_split() -> None:
    two = [(0, 0, 2, 2), (3, 0, 5, 2)]
    tables = {2017: table(2017, two), 2020: table(2020, [(0, 0, 5, 2)]), 2023: table(2023, two)}
    (match,) = match_years(tables)
    assert relation_of(match, tables, 2017, 2020, MIN_AREA) is Status.MERGED
    assert relation_of(match, tables, 2020, 2023, MIN_AREA) is Status.SPLIT
    assert relation_of(match, tables, 2017, 2023, MIN_AREA) is Status.STABLE


def keys_of(tables: dict[int, gpd.GeoDataFrame], registry: gpd.GeoDataFrame) -> tuple[list[str], gpd.GeoDataFrame]:
    keys, extended = assign_keys(match_years(tables), tables, registry, min_area_m2=MIN_AREA)
    again, same = assign_keys(match_years(tables), tables, extended, min_area_m2=MIN_AREA)
    assert again == keys
    assert same.equals(extended)
    return [";".join((key.lake_key, *key.aliases)) for key in keys], extended


def test_keys_stay_when_years_are_added_in_any_order() -> None:
    tables = {year: table(year, [(0, 0, 2, 2 + 0.1 * (year - 2017)), (10, 0, 12, 2)]) for year in (2017, 2020, 2023)}
    first, registry = keys_of({2017: tables[2017], 2023: tables[2023]}, empty_registry())
    assert first == ["GL077001E43001N", "GL077011E43001N"]
    later, registry = keys_of(tables, registry)
    assert later == first
    assert keys_of({2020: tables[2020], 2023: tables[2023]}, registry)[0] == first
    other_way, _ = keys_of({2020: tables[2020], 2023: tables[2023]}, empty_registry())
    assert len(set(other_way)) == 2


def test_a_merge_keeps_the_largest_key_and_lists_the_other() -> None:
    tables = {2017: table(2017, [(0, 0, 2, 2), (3, 0, 7, 2)]), 2023: table(2023, [(0, 0, 7, 2)])}
    told, registry = keys_of(tables, empty_registry())
    assert told == ["GL077005E43001N;GL077001E43001N"]
    assert registry["lake_key"].tolist() == ["GL077001E43001N", "GL077005E43001N"]
    assert registry["aliases"].tolist() == ["", "GL077001E43001N"]
    # Before the merge each has its own key.
    apart, _ = keys_of({2016: table(2016, [(0, 0, 2, 2), (3, 0, 7, 2)]), 2017: tables[2017]}, registry)
    assert apart == ["GL077001E43001N", "GL077005E43001N"]


def test_a_split_gives_suffixes_and_keeps_them() -> None:
    whole, parts = table(2017, [(0, 0, 7, 2)]), [(0, 0, 2, 2), (3, 0, 7, 2)]
    told, registry = keys_of({2017: whole, 2020: table(2020, parts)}, empty_registry())
    assert told == ["GL077004E43001N"]
    told, registry = keys_of({2020: table(2020, parts), 2023: table(2023, parts)}, registry)
    assert told == ["GL077004E43001N-b", "GL077004E43001N-a"]
    # The larger part alone is still that part; the whole is still the whole.
    told, registry = keys_of({2023: table(2023, parts[1:]), 2024: table(2024, parts[1:])}, registry)
    assert told == ["GL077004E43001N-a"]
    told, _ = keys_of({2017: whole, 2020: table(2020, parts)}, registry)
    assert told == ["GL077004E43001N"]


def test_a_neighbour_that_grows_over_a_lake_s_old_ground_does_not_rename_it() -> None:
    """Four hundredths of it in one year and four in another are no overlap, both together are: it is still drawn as it was."""
    old, grows = (0, 0, 2, 2), [(2.1, 0, 6, 2), (1.84, 0, 6, 1), (1.84, 1, 6, 2)]
    tables = {2017: table(2017, [old, grows[0]]), 2020: table(2020, [grows[1]]), 2023: table(2023, [grows[2]])}
    told, registry = keys_of({2017: tables[2017], 2020: tables[2020]}, empty_registry())
    assert len(told) == 2
    later, grown = keys_of(tables, registry)
    assert later == told
    assert grown["lake_key"].tolist() == registry["lake_key"].tolist()


def test_what_a_neighbour_leaves_of_a_lake_keeps_its_key() -> None:
    """Without the year of its first outline: the neighbour has a key of its own."""
    tables = {2017: table(2017, [(0, 0, 4, 2), (5, 0, 9, 2)]), 2020: table(2020, [(0, 0, 2, 2), (3, 0, 9, 2)])}
    first, registry = keys_of({2016: table(2016, [(0, 0, 4, 2), (5, 0, 9, 2)]), 2017: tables[2017]}, empty_registry())
    later, _ = keys_of({2020: tables[2020], 2023: table(2023, [(0, 0, 2, 2), (3, 0, 9, 2)])}, registry)
    assert later == first


def test_two_lakes_at_one_thousandth_of_a_degree_get_different_keys() -> None:
    same_place = {2017: table(2017, [(0.1, 0, 0.3, 0.4), (0.31, 0, 0.45, 0.4)]), 2023: table(2023, [])}
    keys, _ = assign_keys(match_years(same_place), same_place, empty_registry(), min_area_m2=100.0)
    assert [key.lake_key for key in keys] == ["GL077000E43000N", "GL077000E43000N_2"]


def test_watched_lakes_are_added_once() -> None:
    tables = {2017: table(2017, [(0, 0, 2, 2), (10, 0, 10.2, 0.2)]), 2023: table(2023, [(0, 0, 2, 2)])}
    matches = match_years(tables)
    places = [("Large", box(1, 1, 1.5, 1.5)), ("Pond", box(10, 0, 10.1, 0.1)), ("Dry", box(50, 0, 51, 1))]
    found, names = add_watched(matches[:1], matches, tables, places)
    assert [dict(match.members) for match in found] == [{2017: (0,), 2023: (0,)}, {2017: (1,)}, {}]
    assert names == {0: ("Large",), 1: ("Pond",), 2: ("Dry",)}
    assert found[2] == Match({}, (), places[2][1])
    keys, _ = assign_keys(found, tables, empty_registry(), min_area_m2=MIN_AREA)
    assert keys[2].lake_key == lake_id_of(places[2][1])


def test_every_outline_is_in_exactly_one_match() -> None:
    rng = np.random.default_rng(3)
    tables = {}
    for year in (2017, 2020, 2023):
        corners = rng.uniform(0, 40, (60, 2))
        tables[year] = table(year, [(x, y, x + 1 + 2 * rng.random(), y + 1) for x, y in corners])
    seen = [(year, row) for match in match_years(tables) for year, rows in match.members.items() for row in rows]
    assert sorted(seen) == sorted((year, row) for year, rows in tables.items() for row in range(len(rows)))
