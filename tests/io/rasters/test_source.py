from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_rasters import EPSG, LEFT, TOP, grid_at, write_tif
from scipy.interpolate import RegularGridInterpolator

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.source import read_on_grid
from cryosentinel_core.scenes.resampling import Source, positions_in, sample_bilinear, sample_nearest


def test_ten_metre_band_of_the_same_zone_is_copied(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(1, 9_000, (100, 120), dtype=np.uint16)
    loaded = read_on_grid(write_tif(tmp_path / "a.tif", numbers, 10), grid_at(7, 11, 50, 60))
    assert loaded.valid.all()
    np.testing.assert_array_equal(loaded.values, numbers[7:57, 11:71])


def test_twenty_metre_band_by_hand(tmp_path: Path) -> None:
    # Pixel centres of 10 m lie a quarter of a 20 m pixel off its centre: weights 3/4 and 1/4 on each axis.
    numbers = np.array([[100, 200], [300, 500]], dtype=np.uint16)
    loaded = read_on_grid(write_tif(tmp_path / "a.tif", numbers, 20), grid_at(1, 1, 2, 2))
    by_hand = [
        [(9 * 100 + 3 * 200 + 3 * 300 + 500) / 16, (3 * 100 + 9 * 200 + 300 + 3 * 500) / 16],
        [(3 * 100 + 200 + 9 * 300 + 3 * 500) / 16, (100 + 3 * 200 + 3 * 300 + 9 * 500) / 16],
    ]
    np.testing.assert_array_equal(loaded.values, np.floor(np.array(by_hand) + 0.5))


def test_nodata_never_takes_part(tmp_path: Path) -> None:
    numbers = np.full((6, 6), 800, dtype=np.uint16)
    numbers[:, 3:] = 0
    loaded = read_on_grid(write_tif(tmp_path / "a.tif", numbers, 20), grid_at(0, 0, 12, 12))
    assert set(np.unique(loaded.values)) == {0, 800}
    np.testing.assert_array_equal(loaded.valid, np.arange(12)[None, :] < 6 + np.zeros((12, 1)))


def test_radar_nodata_and_negative_power_are_masked(tmp_path: Path) -> None:
    power = np.full((8, 8), 0.1, dtype=np.float32)
    power[2, 2], power[3, 3], power[4, 4] = -32_768.0, np.nan, 0.0
    loaded = read_on_grid(write_tif(tmp_path / "a.tif", power, 10, nodata=-32_768.0), grid_at(0, 0, 8, 8), above=0)
    assert loaded.valid.sum() == 61
    assert np.allclose(loaded.values[loaded.valid], 0.1)


def test_outside_of_the_raster_is_nodata(tmp_path: Path) -> None:
    numbers = np.full((10, 10), 5, dtype=np.uint16)
    href = write_tif(tmp_path / "a.tif", numbers, 10)
    loaded = read_on_grid(href, grid_at(-5, -5, 20, 20))
    assert loaded.valid.sum() == 100
    assert not read_on_grid(href, grid_at(500, 500, 4, 4)).valid.any()


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("epsg", [32643, 32644, 4326])
def test_any_window_gives_the_same_numbers(tmp_path: Path, epsg: int, nearest: bool) -> None:
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 3_000, (400, 400), dtype=np.uint16)
    numbers[rng.random(numbers.shape) < 0.2] = 0
    x, y = transformer(EPSG, epsg).transform(LEFT, TOP)
    step = 0.0003 if epsg == 4326 else 60.0 if epsg == EPSG else 20.0
    href = write_tif(tmp_path / "a.tif", numbers, step, left=x - 40 * step, top=y + 40 * step, epsg=epsg)
    outer = grid_at(0, 0, 300, 330)
    whole = read_on_grid(href, outer, nearest=nearest)
    assert 0.3 < whole.valid.mean() < 0.95

    @settings(deadline=None, max_examples=12)
    @given(st.integers(0, 250), st.integers(0, 250), st.integers(1, 50), st.integers(1, 80))
    @example(0, 0, 2, 1)
    @example(7, 9, 1, 3)
    @example(7, 9, 1, 1)
    def check(row: int, col: int, height: int, width: int) -> None:
        inner = grid_at(row, col, height, width)
        part = read_on_grid(href, inner, nearest=nearest)
        place = inner.slices_in(outer)
        np.testing.assert_array_equal(part.values, whole.values[place])
        np.testing.assert_array_equal(part.valid, whole.valid[place])

    check()


def test_other_zone_agrees_with_an_exact_projection() -> None:
    grid = grid_at(3, 5, 200, 230)
    x0, y0 = transformer(EPSG, 32644).transform(LEFT, TOP)
    source = Source(epsg=32644, left=x0 - 3_000, top=y0 + 3_000, step_x=10, step_y=10, height=900, width=900)
    x, y = np.meshgrid(*grid.pixel_centres())
    exact_x, exact_y = transformer(EPSG, 32644).transform(x, y)
    positions = positions_in(source, grid)
    assert np.abs(positions.cols - ((exact_x - source.left) / 10 - 0.5)).max() < 1e-3
    assert np.abs(positions.rows - ((source.top - exact_y) / 10 - 0.5)).max() < 1e-3


def test_bilinear_agrees_with_scipy_where_all_is_valid() -> None:
    numbers = np.random.default_rng(2).random((60, 70)).astype(np.float32) + 1
    source = Source(epsg=EPSG, left=LEFT, top=TOP, step_x=20, step_y=20, height=60, width=70)
    grid = grid_at(2, 2, 110, 130)
    positions = positions_in(source, grid)
    ours, good = sample_bilinear(numbers, np.ones(numbers.shape, bool), positions, (0, 0))
    oracle = RegularGridInterpolator((np.arange(60), np.arange(70)), numbers.astype(float))
    rows, cols = np.meshgrid(positions.rows[:, 0], positions.cols[0], indexing="ij")
    assert good.all()
    np.testing.assert_allclose(ours, oracle((rows, cols)), atol=1e-5)


def test_nearest_never_mixes_classes() -> None:
    classes = np.array([[3, 9], [11, 4]], dtype=np.uint8)
    source = Source(epsg=EPSG, left=LEFT, top=TOP, step_x=20, step_y=20, height=2, width=2)
    out, _ = sample_nearest(classes, classes > 0, positions_in(source, grid_at(0, 0, 4, 4)), (0, 0))
    np.testing.assert_array_equal(out, np.repeat(np.repeat(classes, 2, 0), 2, 1))


def test_truncated_file_is_an_error(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(1, 60_000, (512, 512), dtype=np.uint16)
    path = Path(write_tif(tmp_path / "a.tif", numbers, 10))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RasterError, match="cannot read"):
        read_on_grid(str(path), grid_at(300, 300, 200, 200))


def test_missing_file_and_sensor_geometry_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="cannot read"):
        read_on_grid(str(tmp_path / "none.tif"), grid_at(0, 0, 4, 4))
    path = tmp_path / "no_crs.tif"
    write_tif(path, np.ones((8, 8), np.uint16), 10, crs=None)
    with pytest.raises(RasterError, match="north-up"):
        read_on_grid(str(path), grid_at(0, 0, 4, 4))


@pytest.mark.parametrize("href", ["/vsimem/a.tif", "/vsicurl/http://127.0.0.1/a.tif", "ftp://127.0.0.1/a.tif", "WMS:a"])
def test_only_files_and_http_are_opened(href: str) -> None:
    with pytest.raises(RasterError):
        read_on_grid(href, grid_at(0, 0, 4, 4))


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text('<VRTDataset rasterXSize="4" rasterYSize="4"></VRTDataset>')
    with pytest.raises(RasterError):
        read_on_grid(str(path), grid_at(0, 0, 4, 4))


def test_blank_blocks_inside_the_footprint_are_read_twice_and_counted(tmp_path: Path) -> None:
    numbers = np.full((600, 600), 7, dtype=np.uint16)
    numbers[:256, :256] = 0
    href = write_tif(tmp_path / "a.tif", numbers, 10)
    box = shapely.box(LEFT - 500, TOP - 7_000, LEFT + 7_000, TOP + 500)
    footprint = shapely.transform(box, lambda xy: np.column_stack(transformer(EPSG, 4326).transform(*xy.T)))
    grid = grid_at(0, 0, 600, 600)
    assert read_on_grid(href, grid, footprint=footprint).blank == 1
    assert read_on_grid(href, grid).blank == 0


def test_access_is_plain_by_default() -> None:
    assert Access().signer.sign("https://example.org/a.tif") == "https://example.org/a.tif"
