"""One GeoTIFF that is larger than a window is tiled by itself: whole lakes, and the logits that the same pixels have in a Dataset."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine
from made_chips import EPSG, LEFT, TOP, Counting, read, results, run
from test_memory import peak_mib

import cryosentinel_core as cs
from cryosentinel_core.engine.array_stream import segment_bands, segment_grid
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.water_index import WaterIndex
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.bands import S2_NAMES
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import LOGIT_NODATA

HEIGHT, WIDTH = 300, 500


def write(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """A lake of 400 m radius around the corner of four windows."""
    row, col = np.mgrid[:height, :width]
    lake = np.hypot(row - 224 / 2 * 2, col - 224) < 40
    rng = np.random.default_rng(2)
    data = np.zeros((15, height, width), dtype=np.float32)
    data[:12] = np.where(lake, np.linspace(900, 60, 12)[:, None, None], np.linspace(900, 3000, 12)[:, None, None])
    data[:12] = np.rint(data[:12] + rng.uniform(0, 30, data[:12].shape))
    data[12:14] = np.where(lake, -22.0, -9.0) + rng.normal(0, 0.5, (2, height, width))
    data[14] = 3500.0
    profile = {"crs": f"EPSG:{EPSG}", "transform": Affine(10, 0, LEFT, 0, -10, TOP)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=15, height=height, width=width, **profile
    ) as raster:
        raster.write(data)
    return path


def test_a_lake_over_four_windows_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif")
    summary = run(tmp_path / "out", path)
    assert summary.n_lakes == 1
    logit = read(tmp_path / "out", "scene", "logit")
    assert logit.shape == (HEIGHT, WIDTH)
    with rasterio.open(results(tmp_path / "out") / "scene_water.tif") as raster:
        assert raster.transform == Affine(10, 0, LEFT, 0, -10, TOP)
        assert raster.read(1).sum() == pytest.approx(np.pi * 40.0**2, rel=0.03)
    with rasterio.open(path) as raster:
        bands = {
            name: (("y", "x"), band) for name, band in zip((*S2_NAMES, "VV", "VH", "dem"), raster.read(), strict=True)
        }
    places = {"y": TOP - 10 * (np.arange(HEIGHT) + 0.5), "x": LEFT + 10 * (np.arange(WIDTH) + 0.5)}
    dataset = xr.Dataset(bands, coords=places).rio.write_crs(EPSG)
    logits = cs.segment_dataset(dataset, reflectance=10_000)
    np.testing.assert_array_equal(np.rint(logits.values.astype(float) * 1000), logit)
    assert run(tmp_path / "out", path).n_reused == 1


def test_ground_that_no_window_covers_is_unobserved_not_dry(tmp_path: Path) -> None:
    """East of the last window that reaches high ground nothing is mapped, and the answer says so."""
    path = write(tmp_path / "scene.tif", height=224, width=1120)
    with rasterio.open(path, "r+") as raster:
        dem = raster.read(15)
        dem[:, 448:] = 500.0
        raster.write(dem, 15)
    run(tmp_path / "out", path, settings=PredictSettings(model="water-index", min_elevation_m=3000.0))
    logit = read(tmp_path / "out", "scene", "logit")
    assert (logit[:, :448] != LOGIT_NODATA).all()
    assert (logit[:, 896:] == LOGIT_NODATA).all()
    with rasterio.open(results(tmp_path / "out") / "scene_water.tif") as raster:
        water = raster.read(1)
        assert (water[:, 896:] == 255).all()
        assert set(np.unique(water[:, :448])) == {0, 1}


def test_too_small_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the") as caught:
        run(tmp_path / "out", write(tmp_path / "small.tif", height=100))
    assert "100 x 500 px, wanted at least 224 x 224" in caught.value.hint


@pytest.mark.parametrize("model", ["water-index", "network"])
def test_bands_of_the_answer_change_no_bit(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """A wide rectangle is worked in lower strips, and its answer comes in more bands."""
    rng = np.random.default_rng(4)
    grid = Grid(epsg=32643, row=-70, col=35, height=900, width=300)
    s2 = rng.integers(200, 3000, (12, 1600, 1200)).astype(np.uint16)
    s2[:, 300:330] = 0

    def read_pixels(asked: Grid) -> Stack:
        rows, cols = asked.slices_in(Grid(epsg=32643, row=-400, col=-300, height=1600, width=1200))
        shape = asked.shape
        return Stack(
            grid=asked, s2=s2[:, rows, cols], s1=None, dem=np.zeros(shape, np.float32), counts=np.zeros((5, *shape), np.uint8),
            condition=np.zeros(shape, np.uint8), dates=np.zeros((3, *shape), np.uint16),
        )  # fmt: skip

    segmenter = WaterIndex() if model == "water-index" else Counting()
    settings = PredictSettings(model="water-index")
    one = segment_grid(segmenter, grid, read_pixels, settings, Silent())
    monkeypatch.setattr("cryosentinel_core.engine.array_stream.STRIP_WIDTH_PX", 300)
    bands = list(segment_bands(segmenter, grid, read_pixels, settings, Silent()))
    assert [band.grid.height for band in bands] == [900]
    monkeypatch.setattr("cryosentinel_core.engine.array_stream.STRIP_WIDTH_PX", 60)
    bands = list(segment_bands(segmenter, grid, read_pixels, settings, Silent()))
    assert [band.grid.height for band in bands] == [224, 224, 224, 224, 4]
    np.testing.assert_array_equal(np.concatenate([band.logits for band in bands]), one.logits)
    np.testing.assert_array_equal(np.concatenate([band.valid for band in bands]), one.valid)


def test_the_same_picture_in_strips_and_blocks_with_units_that_must_be_judged_as_a_whole(tmp_path: Path) -> None:
    """Radar in linear power and reflectance of 0..1, the first strip without data: decided for all of the picture."""
    path = write(tmp_path / "in" / "plain.tif", height=600)
    with rasterio.open(path) as raster:
        data, profile = raster.read(), raster.profile
    data[:, :260] = np.nan
    with rasterio.open(tmp_path / "in" / "plain.tif", "w", **profile) as raster:
        raster.write(data)
    data[:12] /= 10_000
    data[12:14] = 10 ** (data[12:14] / 10)
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(tmp_path / "in" / "units.tif", "w", **{**profile, **blocks}) as raster:
        raster.write(data)
    summary = run(tmp_path / "out", tmp_path / "in")
    assert any("multiplied by 10,000: units (170000 px)" in warning for warning in summary.warnings)
    assert any("linear power and was turned into dB" in warning for warning in summary.warnings)
    plain, units = (read(tmp_path / "out", name, "logit") for name in ("plain", "units"))
    assert (plain[:260] == LOGIT_NODATA).all()
    assert (plain[260:] != LOGIT_NODATA).all()
    assert np.abs(plain[260:].astype(int) - units[260:]).max() <= 2


@pytest.mark.parametrize(("n_bands", "has_radar"), [(12, False), (14, True)])
def test_bands_that_are_missing_at_the_end(tmp_path: Path, n_bands: int, has_radar: bool) -> None:
    """Sentinel-2 alone, or with radar: flat ground, said so; a network, which looks at heights, refuses."""
    whole = write(tmp_path / "whole.tif")
    with rasterio.open(whole) as raster:
        data, profile = raster.read(), raster.profile
    for name, part in (("scene", np.s_[:n_bands]), ("window", np.s_[:n_bands, :224, :224])):
        cut = data[part]
        shape = {"count": n_bands, "height": cut.shape[1], "width": cut.shape[2]}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **{**profile, **shape}) as raster:
            raster.write(cut)
        summary = run(tmp_path / "out", tmp_path / f"{name}.tif")
        assert summary.n_lakes == 1
        assert any("no elevation" in warning for warning in summary.warnings)
        lakes = gpd.read_file(results(tmp_path / "out") / "lakes.gpkg", layer="lakes")
        assert lakes.radar_used.tolist() == [has_radar]
        assert lakes.elevation_m.isna().all(), "unknown, not sea level"
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("cryosentinel_core.workflows.chips.build_segmenter", lambda settings, reporter: Counting())
        with pytest.raises(InputError) as caught:
            run(tmp_path / "net", tmp_path / "scene.tif", settings=PredictSettings(model="counting"))
    assert "no elevation" in caught.value.hint


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    """Four times the rows, the same memory but for a few bytes a pixel of bookkeeping."""

    def peak(height: int) -> float:
        path = write(tmp_path / f"{height}.tif", height=height, width=1000)
        return peak_mib(lambda: run(tmp_path / "out", path))

    low, high = peak(1500), peak(6000)
    assert high < 1.3 * low, (low, high)
