from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from pyproj import Geod

from cryosentinel_core.errors import DataError
from cryosentinel_core.lakes.glacier_ice import LEVEL_M
from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, load_truth, simulate
from cryosentinel_core.simulate.grids import Grid, build_ground
from cryosentinel_core.simulate.lakes import KINDS, draft_lakes
from cryosentinel_core.simulate.shapes import fraction_of
from cryosentinel_core.simulate.truth import lake_ground
from cryosentinel_core.simulate.world import build_world

Truth = tuple[gpd.GeoDataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def truth(small: SimulationSummary) -> Truth:
    return load_truth(small.directory)


def test_truth_has_the_columns_that_are_promised(truth: Truth, small: SimulationSummary) -> None:
    lakes, events = truth
    assert {"truth_id", "year", "area_m2", "geometry"} <= set(lakes.columns)
    assert lakes.crs.to_epsg() == 4326
    assert list(events.columns[:4]) == ["truth_ids", "year_from", "year_to", "status"]
    assert len(lakes) == small.n_lakes
    assert len(events) == small.n_events
    settings = json.loads((small.directory / "truth" / "settings.json").read_text())
    assert settings["seed"] == 0
    assert settings["years"] == [2017, 2023]


def test_areas_are_geodesic_and_leave_islands_out(truth: Truth) -> None:
    geod = Geod(ellps="WGS84")
    for row in truth[0].itertuples():
        assert row.geometry.is_valid
        ring, _ = geod.polygon_area_perimeter(*row.geometry.exterior.coords.xy)
        holes = sum(abs(geod.polygon_area_perimeter(*hole.coords.xy)[0]) for hole in row.geometry.interiors)
        assert row.area_m2 == pytest.approx(abs(ring) - holes, rel=1e-9)


def test_lakes_of_a_year_never_touch(truth: Truth) -> None:
    for _, lakes in truth[0].to_crs(32643).groupby("year"):
        assert min(a.distance(b) for a, b in combinations(lakes.geometry, 2)) > 30


def test_every_kind_of_event_occurs(truth: Truth) -> None:
    events = truth[1]
    assert set(events["true_status"]) == {"stable", "grown", "shrunk", "new", "vanished", "merged", "split"}
    hidden = events["status"] == "unobserved"
    assert set(events.loc[hidden, "reason"]) == {"ice", "shadow", "cloud"}
    assert (events.loc[~hidden, "status"] == events.loc[~hidden, "true_status"]).all()
    assert (events.loc[~hidden, "reason"] == "").all()


def test_only_ice_at_a_lakes_level_hides_a_lake_that_is_not_there(
    truth: Truth, small_settings: SimulateSettings
) -> None:
    """Of a lake that is new or gone, all the ground must have been seen: ice that may lie on water hides it, higher ice is ground."""
    world = build_world(small_settings)
    ground = lake_ground(world.ground.grid, world.lakes)
    events = truth[1].set_index("truth_ids")
    n_low, n_high = 0, 0
    for number, lake in enumerate(world.lakes):
        if lake.kind in ("new", "vanished"):
            index = ground.index[ground.lake == number]
            icy = world.cover.glacier.reshape(-1)[index] > 0.5
            low = world.relief.heights.reshape(-1)[index] <= lake.level_m + LEVEL_M
            n_low, n_high = n_low + int((icy & low).sum()), n_high + int((icy & ~low).sum())
            if (icy & low).any():
                assert tuple(events.loc[lake.name, ["status", "reason"]]) == ("unobserved", "ice")
            elif icy.any():
                assert events.loc[lake.name, "reason"] != "ice"
    assert n_low + n_high > 0


def test_events_agree_with_the_lakes(truth: Truth) -> None:
    lakes, events = truth
    area = {(row.truth_id, row.year): row.area_m2 for row in lakes.itertuples()}
    for event in events.itertuples():
        first = [i for i in event.ids_from.split(";") if i]
        last = [i for i in event.ids_to.split(";") if i]
        assert sorted({*first, *last}) == event.truth_ids.split(";")
        assert event.area_from_m2 == pytest.approx(sum(area[i, event.year_from] for i in first), abs=0.01)
        assert event.area_to_m2 == pytest.approx(sum(area[i, event.year_to] for i in last), abs=0.01)
        counts = {"new": (0, 1), "vanished": (1, 0), "merged": (2, 1), "split": (1, 2)}
        assert (len(first), len(last)) == counts.get(event.true_status, (1, 1))
        if event.true_status == "stable":
            assert event.area_from_m2 == event.area_to_m2
    planned = events[events["kind"].isin(["grown", "shrunk"])]
    grown = planned["change_percent"]
    assert ((grown >= 25) | (grown <= -24)).all()
    small = events.loc[events["kind"] == "small", "change_percent"].abs()
    assert ((small > 1) & (small < 10)).all()


def test_stable_lakes_keep_every_vertex(truth: Truth) -> None:
    lakes = truth[0]
    for _, pair in lakes[lakes["kind"] == "stable"].groupby("truth_id"):
        first, last = pair.geometry
        assert first.equals_exact(last, 0)


def test_grown_and_shrunk_lakes_share_most_of_their_ground(truth: Truth) -> None:
    lakes = truth[0].to_crs(32643)
    for _, pair in lakes[lakes["kind"].isin(["grown", "shrunk", "small"])].groupby("truth_id"):
        small, large = sorted(pair.geometry, key=lambda g: g.area)
        assert small.difference(large).area < 0.02 * small.area


def test_default_settings_plan_every_kind_and_all_sizes() -> None:
    for seed in (0, 7, 100):
        drafts = draft_lakes(SimulateSettings(seed=seed))
        assert {lake.kind for lake in drafts} == set(KINDS)
        hectares = np.array([lake.union.area / 1e4 for lake in drafts])
        for low, high in ((0.5, 1), (1, 5), (5, 20), (20, 110)):
            assert ((hectares >= low) & (hectares < high)).sum() >= 3
        assert any(parts[0][1].interiors for lake in drafts for parts in lake.outlines.values() if parts)


def test_raster_shares_add_up_to_the_outlines_areas() -> None:
    settings = SimulateSettings(size_km=2.0, margin_km=0.6, radar_dates=0)
    world = build_world(settings)
    for year, water in world.waters.items():
        outlines = [polygon for lake in world.lakes for _, polygon in lake.outlines[year]]
        assert water.fraction.sum() * 100 == pytest.approx(sum(p.area for p in outlines), rel=2e-3)
        for number, lake in enumerate(world.lakes):
            planar = sum(polygon.area for _, polygon in lake.outlines[year])
            assert water.fraction[water.lake == number].sum() * 100 == pytest.approx(planar, rel=0.01, abs=5)


def test_share_of_a_pixel_is_the_area_inside_it() -> None:
    from shapely.geometry import Polygon, box

    grid = Grid(32643, 600_000, 4_800_000, 10, 3, 3)
    triangle = Polygon([(600_002, 4_799_998), (600_027, 4_799_991), (600_009, 4_799_974)])
    found = fraction_of([triangle], grid, 64)
    for row in range(3):
        for column in range(3):
            pixel = box(600_000 + 10 * column, 4_799_990 - 10 * row, 600_010 + 10 * column, 4_800_000 - 10 * row)
            assert found[row, column] == pytest.approx(triangle.intersection(pixel).area / 100, abs=0.01)


def test_lakes_touch_the_area(truth: Truth, small: SimulationSummary) -> None:
    aoi = gpd.read_file(small.aoi).geometry.iloc[0]
    assert truth[0].intersects(aoi).all()


def test_with_three_years_pairs_are_consecutive_and_first_to_last(earth_search: Path) -> None:
    _, events = load_truth(earth_search)
    pairs = set(zip(events["year_from"], events["year_to"], strict=True))
    assert pairs == {(2017, 2021), (2021, 2023), (2017, 2023)}
    merged = events[events["true_status"] == "merged"]
    assert set(zip(merged["year_from"], merged["year_to"], strict=True)) == {(2017, 2021), (2017, 2023)}


def test_a_folder_without_truth_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no truth"):
        load_truth(tmp_path)


def test_ground_of_the_default_area_holds_an_edge_of_elevation_tiles() -> None:
    ground = build_ground(SimulateSettings())
    west, south, east, north = ground.geometry_to_lonlat(ground.aoi).bounds
    assert west < 77 < east
    assert south < 43 < north


@pytest.mark.slow
def test_the_default_catalogue_has_everything(tmp_path: Path) -> None:
    summary = simulate(tmp_path / "default", SimulateSettings(margin_km=1.0))
    assert set(summary.statuses) == {"stable", "grown", "shrunk", "new", "vanished", "merged", "split", "unobserved"}
    lakes, events = load_truth(summary.directory)
    assert len(lakes) >= 76
    hidden = events[events["status"] == "unobserved"]
    assert set(hidden["kind"]) >= {"ice", "shadow", "cloud"}
    # Nothing else is hidden but by chance.
    assert (~hidden["kind"].isin(["ice", "shadow", "cloud"])).sum() <= 2
