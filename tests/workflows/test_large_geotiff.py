"""One GeoTIFF that is larger than a window is tiled by itself: whole lakes, and the logits that the same pixels have in a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine
from made_chips import EPSG, LEFT, TOP, read, results, run

import cryosentinel_core as cs
from cryosentinel_core.errors import InputError
from cryosentinel_core.stack.bands import S2_NAMES

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


def test_too_small_and_too_large_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="none of the") as caught:
        run(tmp_path / "out", write(tmp_path / "small.tif", height=100))
    assert "100 x 500 px, wanted at least 224 x 224" in caught.value.hint
    monkeypatch.setattr("cryosentinel_core.io.rasters.chip_files.MAX_SCENE_PX", 100_000)
    with pytest.raises(InputError) as caught:
        run(tmp_path / "out", write(tmp_path / "large.tif"))
    assert "segment_dataset" in caught.value.hint
