from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pystac
import pytest
import rasterio
from rasterio.features import rasterize
from scipy import ndimage

from cryosentinel_core.simulate import SimulateSettings, SimulationSummary, load_truth, simulate
from cryosentinel_core.simulate.classification import CLOUD_CLASSES
from cryosentinel_core.simulate.optical import reflectance_in
from cryosentinel_core.simulate.optical_view import view_of
from cryosentinel_core.simulate.schedule import plan_optical
from cryosentinel_core.simulate.world import build_world

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def optical_items(directory: Path) -> list[pystac.Item]:
    catalogue = pystac.Catalog.from_file(str(directory / "catalog.json"))
    return sorted(catalogue.get_child("sentinel-2-l2a").get_items(), key=lambda item: (item.datetime, item.id))


@cache
def read(item: str, key: str) -> npt.NDArray[np.int64]:
    with rasterio.open(pystac.Item.from_file(item).assets[key].get_absolute_href() or "") as source:
        return source.read(1).astype(np.int64)


def band(item: pystac.Item, key: str) -> npt.NDArray[np.int64]:
    return read(item.get_self_href() or "", key)


def test_offset_comes_with_the_baseline(small: SimulationSummary) -> None:
    for item in optical_items(small.directory):
        baseline = item.properties["s2:processing_baseline"]
        assert baseline.startswith("02.") == (item.datetime.year == 2017)
        # The darkest hundredth of the short-wave infrared is water and shadow, near 0 reflectance.
        b12 = band(item, "B12")
        floor = np.quantile(b12[b12 > 0], 0.001)
        assert floor < 200 if item.datetime.year == 2017 else 950 < floor < 1200


def test_reflectance_is_possible_everywhere(small: SimulationSummary) -> None:
    for item in optical_items(small.directory):
        offset = 1000 if item.datetime.year == 2023 else 0
        for key in BANDS:
            stored = band(item, key)
            values = stored[stored > 0] - offset
            assert values.min() >= (-300 if offset else 1)
            assert values.max() < 20_000
            assert 300 < np.median(values) < 7000


def test_years_agree_over_unchanged_rock(small: SimulationSummary) -> None:
    first, last = (clearest(small, year) for year in (2017, 2023))
    for key in ("B03", "B08", "B11"):
        a, b = band(first, key), band(last, key) - 1000
        rock = stable_rock(first, last, a.shape)
        ratio = np.median(b[rock] / a[rock])
        assert ratio == pytest.approx(1, abs=0.04)


def clearest(summary: SimulationSummary, year: int) -> pystac.Item:
    items = [item for item in optical_items(summary.directory) if item.datetime.year == year]
    return min(items, key=lambda item: (item.properties["eo:cloud_cover"], item.id))


def stable_rock(first: pystac.Item, last: pystac.Item, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels that both classifications call bare, well inside such ground."""
    bare = (band(first, "SCL") == 5) & (band(last, "SCL") == 5)
    bare = ndimage.binary_erosion(bare, iterations=2)
    factor = shape[0] // bare.shape[0]
    return np.repeat(np.repeat(bare, factor, 0), factor, 1)


def test_nodata_is_zero_in_all_bands_and_the_classification(small: SimulationSummary) -> None:
    cut = [item for item in optical_items(small.directory) if item.properties["s2:nodata_pixel_percentage"] > 0]
    assert len(cut) == 2
    for item in optical_items(small.directory):
        scl = band(item, "SCL")
        assert (scl == 0).mean() * 100 == pytest.approx(item.properties["s2:nodata_pixel_percentage"], abs=1e-4)
        inside = ndimage.binary_erosion(scl == 0, iterations=6, border_value=1)
        for key in ("B02", "B8A", "B11"):
            stored = band(item, key)
            factor = stored.shape[0] / scl.shape[0]
            zero = ndimage.zoom(inside.astype(np.uint8), factor, order=0).astype(bool)
            assert (stored[zero] == 0).all()
            if item.id not in [other.id for other in cut]:
                assert (stored > 0).all()


def test_band_edges_are_staggered(small: SimulationSummary) -> None:
    item = next(i for i in optical_items(small.directory) if i.properties["s2:nodata_pixel_percentage"] > 0)
    counts = {int((band(item, key) == 0).sum()) for key in ("B02", "B03", "B04", "B08")}
    assert len(counts) == 4


def test_cloud_cover_is_that_of_the_classification(small: SimulationSummary) -> None:
    for item in optical_items(small.directory):
        scl = band(item, "SCL")
        share = np.isin(scl, CLOUD_CLASSES).sum() / (scl > 0).sum() * 100
        assert item.properties["eo:cloud_cover"] == pytest.approx(share, abs=1e-4)
        assert scl.min() >= 0
        assert scl.max() <= 11


def test_each_year_has_usable_dates_in_the_season(small: SimulationSummary) -> None:
    for year in (2017, 2023):
        dates = [i for i in optical_items(small.directory) if i.datetime.year == year]
        usable = {i.datetime for i in dates if i.datetime.month < 10 and i.properties["eo:cloud_cover"] < 30}
        assert len(usable) >= 2
        assert all(7 <= item.datetime.month <= 10 for item in dates)


def test_one_acquisition_comes_twice_and_the_newer_baseline_is_the_better(small: SimulationSummary) -> None:
    by_time: dict[object, list[pystac.Item]] = {}
    for item in optical_items(small.directory):
        by_time.setdefault(item.datetime, []).append(item)
    twins = [items for items in by_time.values() if len(items) > 1]
    assert len(twins) == 1
    assert {item.properties["s2:processing_baseline"] for item in twins[0]} == {"04.00", "05.09"}


def test_scene_classification_errs_over_lakes_but_not_always(small: SimulationSummary) -> None:
    lakes, _ = load_truth(small.directory)
    called: set[int] = set()
    for item in optical_items(small.directory):
        scl = band(item, "SCL")
        with rasterio.open(item.assets["SCL"].get_absolute_href() or "") as source:
            shapes = lakes[lakes["year"] == item.datetime.year].to_crs(source.crs).geometry.buffer(-20)
            water = rasterize([(g, 1) for g in shapes if not g.is_empty], source.shape, transform=source.transform) > 0
        called |= set(np.unique(scl[water]).tolist())
        assert (scl[~ndimage.binary_dilation(water, iterations=3)] == 6).sum() > 20
    assert 6 in called
    assert called & {2, 3}
    assert called & set(CLOUD_CLASSES)


def test_a_plain_water_index_does_badly(small: SimulationSummary) -> None:
    lakes, _ = load_truth(small.directory)
    item = clearest(small, 2023)
    green = (band(item, "B03") - 1000).astype(float)
    swir = np.kron(band(item, "B11") - 1000, np.ones((2, 2)))
    water = (green - swir) / np.maximum(green + swir, 1) > 0.3
    with rasterio.open(item.assets["B03"].get_absolute_href() or "") as source:
        shapes = lakes[lakes["year"] == 2023].to_crs(source.crs).geometry
        true = rasterize([(g, 1) for g in shapes], source.shape, transform=source.transform) > 0
    assert (water & true).sum() / true.sum() > 0.6
    assert (water & true).sum() / (water | true).sum() < 0.5


def test_a_lake_can_be_read_back_from_clear_pixels() -> None:
    """Halfway between water and land in the short-wave infrared lies the outline, but for wet shores."""
    settings = SimulateSettings(
        size_km=2.0, margin_km=0.6, cloud=0.0, noise=0, misregistration_m=0, year_shift_m=0, radar_dates=0, scl_errors=0
    )
    world = build_world(settings)
    scene = next(p for p in plan_optical(settings, world.ground) if p.when.month == 8)
    view = view_of(world, scene)
    swir = reflectance_in(world, view, "B11").reshape(-1)
    water = view.water
    number = next(i for i, lake in enumerate(world.lakes) if lake.kind == "stable")
    here = water.index[water.lake == number]
    pure = swir[here][water.fraction[water.lake == number] == 1]
    assert pure.max() < 0.03
    inside = np.zeros(world.ground.grid.shape, bool)
    inside.reshape(-1)[here] = True
    near = ndimage.binary_dilation(inside, iterations=3)
    ring = ndimage.binary_dilation(near, iterations=4) & ~near
    field = swir.reshape(world.ground.grid.shape)
    halfway = (np.median(field[ring]) + np.median(pure)) / 2
    area = sum(p.area for _, p in world.lakes[number].outlines[2017])
    assert (field[near] < halfway).sum() * 100 == pytest.approx(area, rel=0.08)


def test_misregistration_moves_the_image(tmp_path: Path) -> None:
    kept = {
        "size_km": 1.5,
        "margin_km": 0.6,
        "optical_dates": 1,
        "radar_dates": 0,
        "cloud": 0.0,
        "noise": 0,
        "duplicates": False,
    }
    kept |= {"detector_edges": False, "year_shift_m": 0.0}
    still = simulate(tmp_path / "still", SimulateSettings(**kept, misregistration_m=0.0)).directory
    moved = simulate(tmp_path / "moved", SimulateSettings(**kept, misregistration_m=6.0)).directory
    a, b = (optical_items(d)[0] for d in (still, moved))
    import json

    east, north = json.loads((moved / "truth" / "scenes.json").read_text())[0]["shift_m"]
    first, second = (band(item, "B08").astype(float)[20:-20, 20:-20] for item in (a, b))
    dy, dx = np.gradient(first)
    shift, *_ = np.linalg.lstsq(np.stack([dx.ravel(), dy.ravel()], 1), (first - second).ravel(), rcond=None)
    assert shift[0] * 10 == pytest.approx(east, abs=1.5)
    assert -shift[1] * 10 == pytest.approx(north, abs=1.5)


def test_frozen_lakes_are_bright_and_shadowed_ones_dark(small: SimulationSummary) -> None:
    lakes, events = load_truth(small.directory)
    frozen = events[(events["kind"] == "ice")].iloc[0]
    year = int(frozen["year_from"] if frozen["observed_from"] < 0.5 else frozen["year_to"])
    item = clearest(small, year)
    offset = 1000 if year == 2023 else 0
    with rasterio.open(item.assets["B03"].get_absolute_href() or "") as source:
        shapes = lakes[lakes["year"] == year].to_crs(source.crs).set_index("truth_id").geometry.buffer(-15)
        values = {
            name: np.median(
                band(item, "B03")[rasterize([(shape, 1)], source.shape, transform=source.transform) > 0] - offset
            )
            for name, shape in shapes.items()
            if not shape.is_empty
        }
    assert values[frozen["ids_from"]] > 3000
    shaded = events.loc[events["kind"] == "shadow", "ids_from"].iloc[0]
    assert values[shaded] < 700
