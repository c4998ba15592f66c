from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import numpy as np
import pytest
import shapely

from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.ground.season import Season
from cryosentinel_core.scenes.footprints import cut_at_antimeridian, outline_of_tile, share_of_tile
from cryosentinel_core.scenes.items import footprint_of
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.selection import (
    Rejection,
    SelectionRules,
    choose_orbit,
    group_overpasses,
    misses_in_words,
    near_dates,
    select_optical,
    select_radar,
    select_terrain,
)

TILE = Tile(32643, -213, 29)
WHOLE = shapely.buffer(outline_of_tile(TILE), 0.3)
WEST, SOUTH, EAST, NORTH = outline_of_tile(TILE).bounds
WEST_HALF = shapely.box(WEST - 1, SOUTH - 1, (WEST + EAST) / 2, NORTH + 1)
RULES = SelectionRules(season=Season())
NUMBERS = itertools.count()


def scene(day: str, **more: Any) -> Scene:
    values: dict[str, Any] = {
        "id": f"s{next(NUMBERS)}", "collection": "c", "product": "p", "role": "optical", "hrefs": {}, "footprint": WHOLE,
        "moment": dt.datetime.fromisoformat(f"{day}T05:00:00+00:00"), "cloud_percent": 5.0, "baseline": (5, 9), "epsg": 32643,
        "platform": "sentinel-2a", "orbit": 105,
    }  # fmt: skip
    return Scene(**(values | more))


def ids(scenes: Any) -> list[str]:
    return [one.id for one in scenes]


def test_season_and_cloud_limit_with_reasons() -> None:
    good, cloudy, early = scene("2023-08-01"), scene("2023-08-06", cloud_percent=30.1), scene("2023-06-30")
    unknown, limit = scene("2023-08-11", cloud_percent=None), scene("2023-09-30", cloud_percent=30.0)
    choice = select_optical(TILE, [good, cloudy, early, unknown, limit], 2023, RULES)
    assert ids(choice.scenes) == ids([good, limit])
    assert choice.note == "07-01:09-30"
    assert "30.1 % over 30 %" in choice.rejected[cloudy.key].reason
    assert "season" in choice.rejected[early.key].reason
    assert "no cloud cover" in choice.rejected[unknown.key].reason


def test_october_is_the_fallback_of_a_tile_only() -> None:
    cloudy, october, november = scene("2023-08-01", cloud_percent=90), scene("2023-10-05"), scene("2023-11-02")
    choice = select_optical(TILE, [cloudy, october, november], 2023, RULES)
    assert ids(choice.scenes) == [october.id]
    assert choice.note == "10-01:10-31"
    assert not select_optical(TILE, [october], 2023, SelectionRules(season=Season(), october_fallback=False)).scenes
    assert ids(select_optical(TILE, [scene("2023-08-01"), october], 2023, RULES).scenes) != [october.id]


def test_scene_elsewhere_or_of_another_year_is_not_taken() -> None:
    away = scene("2023-08-01", footprint=shapely.box(10, 10, 11, 11))
    assert not select_optical(TILE, [away, scene("2022-08-01")], 2023, RULES).scenes


def test_newest_baseline_of_an_acquisition_wins() -> None:
    old, new = scene("2017-08-01", baseline=(2, 5)), scene("2017-08-01", baseline=(5, 0))
    for order in ([old, new], [new, old]):
        choice = select_optical(TILE, order, 2017, RULES)
        assert ids(choice.scenes) == [new.id]
        assert new.id in choice.rejected[old.key].reason


def test_acquisition_split_at_an_edge_keeps_both_parts() -> None:
    west, whole_of_older = scene("2023-08-01", footprint=WEST_HALF), scene("2023-08-01", baseline=(4, 0))
    assert ids(select_optical(TILE, [whole_of_older, west], 2023, RULES).scenes) == [west.id, whole_of_older.id]


def test_item_of_the_own_zone_comes_first() -> None:
    other, own = scene("2023-08-01", epsg=32644, id="a"), scene("2023-08-01", epsg=32643, id="b")
    assert ids(select_optical(TILE, [other, own], 2023, RULES).scenes) == ["b"]


def test_two_satellites_of_a_day_are_two_overpasses() -> None:
    assert len(group_overpasses([scene("2023-08-01"), scene("2023-08-01", platform="sentinel-2b")], TILE)) == 2


def test_choice_does_not_depend_on_the_order_found() -> None:
    scenes = [scene(f"2023-08-{day:02d}", baseline=(baseline, 0), footprint=foot)
              for day in (1, 6) for baseline in (4, 5) for foot in (WHOLE, WEST_HALF)]  # fmt: skip
    expected = ids(select_optical(TILE, scenes, 2023, RULES).scenes)
    for order in itertools.islice(itertools.permutations(scenes), 0, 40_320, 997):
        assert ids(select_optical(TILE, order, 2023, RULES).scenes) == expected


def test_frozen_list_is_taken_as_it_is() -> None:
    listed = [scene("2023-02-01", cloud_percent=99), scene("2023-08-01"), scene("2022-08-01")]
    choice = select_optical(TILE, listed, 2023, SelectionRules(season=Season(), is_frozen_list=True))
    assert ids(choice.scenes) == ids(listed[:2])


def radar(day: str, orbit: int, state: str = "descending", **more: Any) -> Scene:
    return scene(day, role="radar", orbit=orbit, orbit_state=state, platform="sentinel-1a", **more)


def test_orbit_seen_in_all_years_wins_over_more_scenes() -> None:
    years = {
        2017: [radar(f"2017-08-{day:02d}", 5) for day in range(1, 9)] + [radar("2017-08-03", 165)],
        2023: [radar("2023-08-03", 165)],
    }
    assert choose_orbit(TILE, years) == "descending-165"


def test_orbit_ties_are_broken_by_history_cover_scenes_and_name() -> None:
    a, b = radar("2023-08-01", 5, "ascending"), radar("2023-08-02", 165)
    assert choose_orbit(TILE, {2023: [a, b]}) == "ascending-5"
    assert choose_orbit(TILE, {2023: [a, b]}, ["descending-165"]) == "descending-165"
    assert choose_orbit(TILE, {2023: [a, b, radar("2023-08-14", 165)]}) == "descending-165"
    half = radar("2023-08-01", 5, "ascending", footprint=WEST_HALF)
    assert choose_orbit(TILE, {2023: [half, b]}) == "descending-165"
    assert choose_orbit(TILE, {2023: []}) is None


def test_directions_are_never_mixed() -> None:
    scenes = [radar("2023-08-01", 5, "ascending"), radar("2023-08-02", 165), radar("2023-08-13", 5, "ascending")]
    choice = select_radar(TILE, scenes, "ascending-5")
    assert ids(choice.scenes) == [scenes[0].id, scenes[2].id]
    assert "descending-165" in choice.rejected[scenes[1].key].reason
    assert not select_radar(TILE, scenes, None).scenes


def test_radar_near_the_optical_dates_else_of_the_season() -> None:
    near, far, outside = radar("2023-08-08", 5), radar("2023-08-09", 5), radar("2023-06-01", 5)
    dates = [dt.date(2023, 8, 1)]
    assert ids(near_dates([near, far, outside], dates, Season(), 2023)) == [near.id]
    assert ids(near_dates([far, outside], dates, Season(), 2023)) == [far.id]


def test_terrain_within_reach_once_each() -> None:
    beyond = shapely.box(EAST + 0.03, SOUTH, EAST + 1, NORTH)
    twice = [scene("2021-04-22", role="terrain", id="dem", footprint=WHOLE)] * 2
    far = scene("2021-04-22", role="terrain", id="far", footprint=beyond)
    assert ids(select_terrain(TILE, [*twice, far], 100.0).scenes) == ["dem"]
    assert ids(select_terrain(TILE, [*twice, far], 4_000.0).scenes) == ["dem", "far"]


def test_share_of_tile() -> None:
    assert share_of_tile(WHOLE, TILE) == pytest.approx(1.0)
    assert share_of_tile(WEST_HALF, TILE) == pytest.approx(0.5, abs=0.01)


def test_outline_across_the_antimeridian_has_two_small_parts() -> None:
    # The zone's edge: easting 800 km in zone 60 lies beyond 180 degrees at the equator's north.
    tile = Tile(32660, -30, 36)
    outline = outline_of_tile(tile)
    assert np.ptp(np.array(outline.bounds)[[0, 2]]) > 359 or outline.bounds[2] <= 180
    assert outline.area < 0.06


def test_scene_that_only_grazes_a_tile_is_named_with_its_share() -> None:
    sliver = shapely.box(WEST - 1, SOUTH - 1, WEST + 0.0005 * (EAST - WEST), NORTH + 1)
    grazing = scene("2023-08-01", footprint=sliver)
    choice = select_optical(TILE, [grazing], 2023, RULES)
    why = choice.rejected[grazing.key]
    assert not choice.scenes
    assert (why.kind, round(why.number or 0, 3)) == ("cover", 0.0)
    assert 0 < (why.number or 0) < 0.001
    assert f"tile {TILE.name}, wanted at least 0.1%" in why.reason
    assert "only graze" in misses_in_words(choice.rejected, "07-01:09-30")[0]


def test_closest_misses_are_read_off_numbers() -> None:
    cloudy = [scene("2023-08-01", cloud_percent=percent) for percent in (44.44, 31.26, 90.0)]
    choice = select_optical(TILE, [*cloudy, scene("2023-06-01")], 2023, RULES)
    assert choice.rejected[cloudy[1].key] == Rejection("cloud", "cloud cover 31.3 % over 30 %", 31.26)
    cloud, season = misses_in_words(choice.rejected, "07-01:09-30")
    assert "3 scenes were over the cloud limit, the clearest with 31.3 %" in cloud
    assert "1 scenes lie outside the season 07-01:09-30" in season


def test_footprint_across_the_antimeridian_covers_both_sides_only() -> None:
    corners = [[179.9, 50.0], [-179.9, 50.0], [-179.9, 50.2], [179.9, 50.2], [179.9, 50.0]]
    for ring in (corners, corners[::-1]):
        footprint = footprint_of({"geometry": {"type": "Polygon", "coordinates": [ring]}})
        assert footprint.area == pytest.approx(0.04)
        assert footprint.intersects(shapely.Point(-179.95, 50.1))
        assert not footprint.intersects(shapely.Point(0, 50.1))
    assert cut_at_antimeridian(WHOLE) is WHOLE
