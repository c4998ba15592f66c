"""What `real` and `hard` add: each of it is there, and `easy` has none of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from shapely.ops import unary_union

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.simulate import SimulateSettings, load_truth, simulate
from cryosentinel_core.simulate.difficulty import DIFFICULTIES, Difficulty
from cryosentinel_core.simulate.elevation import VOID, draw_elevation
from cryosentinel_core.simulate.lakes import FRONT_KINDS, draft_lakes
from cryosentinel_core.simulate.optical import reflectance_in, water_reflectance
from cryosentinel_core.simulate.optical_view import view_of
from cryosentinel_core.simulate.schedule import plan_optical
from cryosentinel_core.simulate.shapes import fraction_of
from cryosentinel_core.simulate.spectra import reflectance_of
from cryosentinel_core.simulate.world import World, build_world

HARD = SimulateSettings(seed=5, size_km=8.0, margin_km=1.0, n_lakes=26, difficulty="hard", radar_dates=1)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(HARD)


def test_easy_is_what_it_was() -> None:
    assert DIFFICULTIES["easy"] == Difficulty()
    assert "difficulty" not in SimulateSettings().to_dict()
    assert SimulateSettings(difficulty="real").to_dict()["difficulty"] == "real"
    easy = plan_optical(SimulateSettings(), build_world(SimulateSettings(size_km=2.0, n_lakes=1)).ground)
    assert {(one.glint, one.cirrus, one.rain) for one in easy} == {(0.0, 0.0, 0.0)}
    with pytest.raises(ConfigError, match="easy or real or hard"):
        SimulateSettings(difficulty="impossible")  # type: ignore[arg-type]


def test_kinds_and_colours_of_lakes() -> None:
    drafts = draft_lakes(SimulateSettings(difficulty="real"))
    fronts = [lake for lake in drafts if lake.kind in FRONT_KINDS]
    assert {lake.kind for lake in fronts} == set(FRONT_KINDS)
    assert all((lake.front is not None) == (lake.kind in FRONT_KINDS) for lake in drafts)
    assert any(lake.white > 0 for lake in drafts)
    assert any(lake.dark > 0 for lake in drafts)
    for lake in fronts:
        first, last = (lake.outlines[year][0][1].area for year in (2017, 2023))
        assert (last > 1.1 * first) == (lake.kind == "calving")
        assert lake.front is not None
        assert lake.front.old_water.area < min(first, last)


def test_ice_lies_where_the_lake_grows_and_never_on_water(world: World) -> None:
    fronts = [lake for lake in world.lakes if lake.kind == "calving"]
    assert fronts
    grid = world.ground.grid
    for year in HARD.years:
        ice = np.zeros(grid.shape, np.float32)
        ice.reshape(-1)[world.ice[year].index] = world.ice[year].share
        water = fraction_of([part for lake in world.lakes for _, part in lake.outlines[year]], grid, 4)
        assert float((ice + water).max()) < 1.01
    for lake in fronts:
        (_, first), (_, last) = (lake.outlines[year][0] for year in HARD.years)
        assert lake.front is not None
        grown = last.difference(first)
        assert grown.intersection(lake.front.tongue).area > 0.5 * grown.area


def test_the_elevation_model_has_ice_where_water_is_now(world: World) -> None:
    lake = max((one for one in world.lakes if one.kind == "calving"), key=lambda one: one.union.area)
    assert lake.front is not None
    grid = world.ground.grid
    middle = fraction_of([lake.front.tongue.buffer(-45)], grid, 2) == 1
    flooded = (fraction_of([lake.outlines[2023][0][1].difference(lake.outlines[2017][0][1])], grid, 2) == 1) & middle
    assert flooded.any()
    assert float(np.median(world.relief.heights[flooded])) > lake.level_m + 0.8 * lake.front.cliff_m
    still = fraction_of([lake.front.old_water.buffer(-20)], grid, 2) == 1
    assert np.allclose(world.relief.heights[still], lake.level_m)


def test_holes_of_the_elevation_model(world: World) -> None:
    tiles = list(draw_elevation(world))
    holes = sum(int((tile.heights == VOID).sum()) for tile in tiles)
    assert 0 < holes < 0.02 * sum(tile.heights.size for tile in tiles)


def test_glint_cirrus_and_rain_of_a_date(world: World) -> None:
    scenes = plan_optical(HARD, world.ground)
    assert max(one.glint for one in scenes) > 0
    assert {one.rain > 0 for one in scenes} == {True, False}
    wet = view_of(world, next(one for one in scenes if one.rain > 0))
    assert wet.rain is not None
    assert 0 < float(wet.rain.mean()) <= 1
    view = view_of(world, max(scenes, key=lambda one: one.glint))
    assert view.glint is not None
    open_water = view.ice == 0
    added = water_reflectance(view, "B11")[open_water].mean()
    assert added > reflectance_of("clear water", "B11")
    assert view.glint[open_water].max() <= 1.15 * HARD.hardships.glint


def test_melange_lies_before_its_front(world: World) -> None:
    lake_number, lake = max(
        ((number, one) for number, one in enumerate(world.lakes) if one.front is not None),
        key=lambda pair: pair[1].union.area,
    )
    grid = world.ground.grid
    x, y = grid.centres()
    shares = []
    for scene in plan_optical(HARD, world.ground):
        view = view_of(world, scene)
        here = view.water.lake == lake_number
        icy = view.water.index[here][view.ice[here] > 0.5]
        shares.append(icy.size / max(int(here.sum()), 1))
        row, column = np.divmod(icy, grid.width)
        assert lake.front is not None
        front = lake.front.tongue.difference(unary_union([part for _, part in lake.outlines[scene.when.year]]))
        from shapely import distance, points

        if icy.size:
            assert float(distance(points(x[column], y[row]), front).max()) < 320
    assert 0 < max(shares) <= HARD.hardships.melange


def test_rivers_are_no_lakes(world: World) -> None:
    water = world.waters[2023]
    assert (water.lake == -1).any()
    assert np.array_equal(np.unique(water.index), water.index), "each pixel once"
    assert water.white is not None
    assert (water.white[water.lake == -1] == 0).all()


def test_black_and_white_water_look_so(world: World) -> None:
    scene = plan_optical(HARD, world.ground)[1]
    view = view_of(world, scene)
    water = view.water
    assert water.white is not None
    assert water.dark is not None
    blue_free = {name: water_reflectance(view, name) for name in ("B04", "B11")}
    white, black = water.white > 0.6, (water.dark > 0.5) & (view.ice == 0)
    assert white.any()
    assert black.any()
    assert np.median(blue_free["B04"][white]) > 0.25
    assert np.median(blue_free["B04"][black & (water.shore_m > 30)]) < 0.1
    assert np.isfinite(reflectance_in(world, view, "B03")).all()


def test_a_real_catalogue_is_whole_and_the_same_twice(tmp_path: Path) -> None:
    settings = SimulateSettings(
        seed=2, size_km=4.0, margin_km=0.8, n_lakes=14, difficulty="real", optical_dates=1, radar_dates=1
    )
    one, two = (simulate(tmp_path / name, settings).directory for name in ("one", "two"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
    lakes, events = load_truth(one)
    assert len(lakes)
    assert set(events["status"]) <= {"grown", "shrunk", "stable", "new", "vanished", "merged", "split", "unobserved"}
    (dem, *_) = sorted(one.rglob("*DEM.tif"))
    with rasterio.open(dem) as raster:
        assert raster.read(1).min() >= VOID
