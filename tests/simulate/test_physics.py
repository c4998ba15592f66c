from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, load_truth
from cryosentinel_core.simulate.fields import (
    band_field,
    block_mean,
    blur_and_shift,
    enlarge,
    make_generator,
    power_field,
)
from cryosentinel_core.simulate.grids import Grid, utm_epsg
from cryosentinel_core.simulate.light import Relief, layover_depth, shadow_depth
from cryosentinel_core.simulate.noise import NoisePool
from cryosentinel_core.simulate.projection import Projector
from cryosentinel_core.simulate.sun import sun_position
from cryosentinel_core.simulate.world import build_world


def step(height: float = 100.0) -> np.ndarray:
    """A plateau in the south (below row 100), level ground in the north, pixels of 10 m."""
    ground = np.zeros((200, 200), np.float32)
    ground[100:] = height
    return ground


@pytest.mark.parametrize("elevation", [30.0, 45.0, 60.0])
def test_a_cliff_throws_a_shadow_as_long_as_trigonometry_says(elevation: float) -> None:
    dark = shadow_depth(step(), 10.0, 180.0, elevation)[:, 100] > 0
    length = dark[:100].sum() * 10
    assert length == pytest.approx(100 / np.tan(np.radians(elevation)), abs=15)
    assert not dark[101:].any()
    assert not (shadow_depth(step(), 10.0, 0.0, elevation)[:, 100] > 1).any()


def test_shadow_falls_away_from_the_light_whatever_its_bearing() -> None:
    ground = np.zeros((201, 201), np.float32)
    ground[98:103, 98:103] = 200
    for azimuth in (20.0, 135.0, 250.0):
        rows, columns = np.nonzero(shadow_depth(ground, 10.0, azimuth, 40.0) > 5)
        east, north = (columns - 100).mean(), -(rows - 100).mean()
        bearing = np.degrees(np.arctan2(east, north)) % 360
        assert abs((bearing - azimuth - 180 + 180) % 360 - 180) < 6


def test_layover_begins_where_slopes_are_steeper_than_the_incidence() -> None:
    x = np.arange(200, dtype=np.float32) * 10
    for slope, wanted in ((30.0, False), (48.0, True)):
        rise = np.maximum(x - 800, 0) * np.tan(np.radians(slope))
        heights = np.tile(np.minimum(rise, 300), (200, 1)).astype(np.float32)
        # The radar stands in the west and looks east, up the slope.
        seen = layover_depth(heights, 10.0, 270.0, 39.0)[100]
        assert (seen[82:95].max() > 2) == wanted


def test_facing_is_one_on_level_ground_and_follows_the_cosine() -> None:
    level = Relief(np.zeros((40, 40), np.float32), 10.0)
    assert np.allclose(level.facing(140, 50), 1)
    south = np.tile(np.arange(40, dtype=np.float32)[::-1, None] * 10 * np.tan(np.radians(20)), (1, 40))
    facing = Relief(south, 10.0).facing(180, 50)[20, 20]
    assert facing == pytest.approx(np.cos(np.radians(40 - 20)) / np.cos(np.radians(40)), rel=1e-3)


def test_sun_stands_where_almanacs_say() -> None:
    # Greenwich, local noon on the June solstice and the March equinox: 90 - latitude + declination.
    _, elevation = sun_position(datetime(2023, 6, 21, 12, 2, tzinfo=UTC), 0.0, 51.4779)
    assert elevation == pytest.approx(90 - 51.4779 + 23.44, abs=0.1)
    azimuth, elevation = sun_position(datetime(2023, 3, 20, 12, 7, tzinfo=UTC), 0.0, 51.4779)
    assert elevation == pytest.approx(90 - 51.4779, abs=0.5)
    assert azimuth == pytest.approx(180, abs=1)
    # Mid-morning in the northern hemisphere: the sun is in the south-east.
    azimuth, _ = sun_position(datetime(2023, 8, 1, 5, 37, tzinfo=UTC), 77.0, 43.0)
    assert 120 < azimuth < 160


@settings(deadline=None, max_examples=20)
@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(0.4, 1.2))
def test_blur_and_shift_moves_the_middle_and_keeps_the_sum(row: float, column: float, sigma: float) -> None:
    spot = np.zeros((31, 31), np.float32)
    spot[15, 15] = 1
    seen = blur_and_shift(spot, sigma, (row, column))
    rows, columns = np.indices(seen.shape)
    assert seen.sum() == pytest.approx(1, abs=1e-4)
    assert (seen * rows).sum() - 15 == pytest.approx(row, abs=0.05)
    assert (seen * columns).sum() - 15 == pytest.approx(column, abs=0.05)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 50))
def test_block_mean_undoes_repetition_and_enlarging_keeps_planes(factor: int, seed: int) -> None:
    small = np.random.default_rng(seed).random((6, 9), np.float32)
    assert np.allclose(block_mean(np.kron(small, np.ones((factor, factor), np.float32)), factor), small, atol=1e-6)
    plane = np.add.outer(np.arange(6), 2 * np.arange(9)).astype(np.float32)
    large = enlarge(plane, factor)
    assert np.allclose(block_mean(large, factor)[1:-1, 1:-1], plane[1:-1, 1:-1], atol=1e-4)


def test_fields_have_mean_nought_variance_one_and_their_wavelength() -> None:
    field = band_field(make_generator(1, "x"), (400, 500), 10.0, 300.0)
    assert field.shape == (400, 500)
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1, abs=0.1)
    spectrum = np.abs(np.fft.rfft(field, axis=1)).mean(0)
    wavelength = 5000 / np.argmax(spectrum[1:]) if np.argmax(spectrum[1:]) else np.inf
    assert 150 < wavelength < 900
    again = power_field(make_generator(1, "x"), (50, 50), 10.0, 300.0, 1.5)
    assert np.array_equal(again, power_field(make_generator(1, "x"), (50, 50), 10.0, 300.0, 1.5))


def test_speckle_has_the_asked_number_of_looks() -> None:
    pool = NoisePool(0, (400, 400), 4.4)
    speckle = pool.speckle((300, 300), "a")
    assert speckle.mean() == pytest.approx(1, abs=0.02)
    assert 1 / speckle.var() == pytest.approx(4.4, rel=0.05)
    assert speckle.min() > 0
    noise = pool.normal((300, 300), "a")
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(noise.ravel(), pool.normal((300, 300), "b").ravel())[0, 1]) < 0.02


def test_projector_cuts_in_one_zone_and_resamples_to_another() -> None:
    ground = Grid(32643, 740_040, 4_775_040, 10, 300, 300)
    x, y = ground.centres()
    plane = ((x[None, :] - 740_000) + 2 * (4_776_000 - y[:, None])).astype(np.float32)
    part = Grid(32643, 740_640, 4_774_440, 10, 60, 120)
    assert np.array_equal(Projector(ground, part).project(plane), plane[60:120, 60:180])
    from pyproj import Transformer

    middle = Transformer.from_crs(32643, 32644, always_xy=True).transform(741_500, 4_773_500)
    left, top = round(middle[0] / 60) * 60 - 600, round(middle[1] / 60) * 60 + 600
    other = Grid(32644, left, top, 10, 120, 120)
    seen = Projector(ground, other).project(plane)
    back = Transformer.from_crs(32644, 32643, always_xy=True)
    ox, oy = other.centres()
    for row, column in ((5, 7), (60, 60), (110, 20)):
        gx, gy = back.transform(ox[column], oy[row])
        assert seen[row, column] == pytest.approx((gx - 740_000) + 2 * (4_776_000 - gy), abs=0.05)


def test_utm_zones() -> None:
    assert utm_epsg(77.0, 43.0) == 32643
    assert utm_epsg(78.1, 43.0) == 32644
    assert utm_epsg(-70.0, -33.0) == 32719


def radar_items(directory: Path) -> list[pystac.Item]:
    catalogue = pystac.Catalog.from_file(str(directory / "catalog.json"))
    return sorted(catalogue.get_child("sentinel-1-rtc").get_items(), key=lambda item: (item.datetime, item.id))


def test_radar_has_two_directions_one_orbit_each_and_linear_values(small: SimulationSummary) -> None:
    items = radar_items(small.directory)
    orbits = {(i.properties["sat:orbit_state"], i.properties["sat:relative_orbit"]) for i in items}
    assert orbits == {("ascending", 85), ("descending", 165)}
    assert {i.datetime.year for i in items} == {2017, 2023}
    cut = 0
    for item in items:
        for key in ("vv", "vh"):
            with rasterio.open(item.assets[key].get_absolute_href() or "") as source:
                assert source.nodata == -32768
                assert source.dtypes == ("float32",)
                values = source.read(1)
            valid = values != -32768
            cut += not valid.all()
            assert (values[valid] > 0).all()
            assert -30 < 10 * np.log10(np.median(values[valid])) < -5
    assert cut == 2


def test_lakes_are_dark_in_calm_air_and_bright_in_wind(small: SimulationSummary) -> None:
    import json

    lakes, events = load_truth(small.directory)
    wind = {
        s["ids"][0]: s["wind"]
        for s in json.loads((small.directory / "truth" / "scenes.json").read_text())
        if "wind" in s
    }
    open_water = set(events.loc[events["kind"].isin(["stable", "small"]), "ids_from"])
    levels = {}
    for item in radar_items(small.directory):
        with rasterio.open(item.assets["vv"].get_absolute_href() or "") as source:
            here = lakes[(lakes["year"] == item.datetime.year) & lakes["truth_id"].isin(open_water)].to_crs(source.crs)
            shapes = [(g, 1) for g in here.geometry.buffer(-20) if not g.is_empty]
            values = source.read(1)[rasterize(shapes, source.shape, transform=source.transform) > 0]
            levels[item.id] = 10 * np.log10(np.median(values[values > 0])) if (values > 0).any() else np.nan
    calm = [levels[i] for i, w in wind.items() if w < 0.3]
    assert np.nanmedian(calm) < -16
    for name, strength in wind.items():
        if strength > 0.5 and np.isfinite(levels[name]):
            assert levels[name] > np.nanmedian(calm) + 2


def dem_items(directory: Path) -> dict[str, pystac.Item]:
    catalogue = pystac.Catalog.from_file(str(directory / "catalog.json"))
    return {item.id: item for item in catalogue.get_child("cop-dem-glo-30").get_items()}


def test_elevation_tiles_meet_without_gap_or_overlap(small: SimulationSummary) -> None:
    items = dem_items(small.directory)
    assert len(items) == 2
    west, east = (items[f"Copernicus_DSM_COG_10_N43_00_E0{lon}_00_DEM"] for lon in (76, 77))
    paths = [item.assets["data"].get_absolute_href() or "" for item in (west, east)]
    with rasterio.open(paths[0]) as left, rasterio.open(paths[1]) as right:
        for source in (left, right):
            assert source.tags()["AREA_OR_POINT"] == "Point"
            assert source.crs.to_epsg() == 4326
            assert source.dtypes == ("float32",)
            column, row = ~source.transform @ (77.0, 43.05)
            # Whole arc seconds are pixel centres.
            assert (column - 0.5) % 1 == pytest.approx(0, abs=1e-5) or (column - 0.5) % 1 > 1 - 1e-5
            assert (row - 0.5) % 1 == pytest.approx(0, abs=1e-5) or (row - 0.5) % 1 > 1 - 1e-5
        assert left.bounds.right == pytest.approx(77 - 0.5 / 3600, abs=1e-9)
        assert right.bounds.left == pytest.approx(77 - 0.5 / 3600, abs=1e-9)
        assert left.shape[0] == right.shape[0]
        a, b = left.read(1), right.read(1)
    across = np.abs(b[:, 0] - a[:, -1])
    along = np.abs(np.diff(a, axis=1))
    assert np.median(across) < 3 * np.median(along) + 1
    assert a.min() > 2000
    assert b.max() < 6000


def test_elevation_is_that_of_the_ground() -> None:
    from cryosentinel_core.simulate.elevation import draw_elevation

    world = build_world(SimulateSettings(size_km=2.0, margin_km=0.8, radar_dates=0))
    grid = world.ground.grid
    for tile in draw_elevation(world):
        from pyproj import Transformer

        to_ground = Transformer.from_crs(4326, grid.epsg, always_xy=True)
        rows, columns = np.indices(tile.heights.shape)
        lon, lat = tile.affine @ (columns + 0.5, rows + 0.5)
        x, y = to_ground.transform(lon, lat)
        r = np.clip(((grid.top - y) // 10).astype(int), 0, grid.height - 1)
        c = np.clip(((x - grid.left) // 10).astype(int), 0, grid.width - 1)
        difference = tile.heights - world.relief.heights[r, c]
        assert abs(np.median(difference)) < 0.6
        assert np.quantile(np.abs(difference), 0.9) < 15


def test_lakes_are_level_in_the_relief() -> None:
    world = build_world(SimulateSettings(size_km=2.0, margin_km=0.8, radar_dates=0))
    first = min(world.settings.years)
    water = world.waters[first]
    whole = water.fraction == 1
    for number, lake in enumerate(world.lakes):
        here = water.index[(water.lake == number) & whole]
        if here.size:
            assert np.ptp(world.relief.heights.reshape(-1)[here]) < 1.0
            assert world.relief.heights.reshape(-1)[here].mean() == pytest.approx(lake.level_m, abs=0.5)
