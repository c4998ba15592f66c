from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from made_rasters import EPSG, LEFT, TOP, grid_at, write_tif

from cryosentinel_core.errors import RasterError
from cryosentinel_core.io.rasters.blocks import check_blocks
from cryosentinel_core.io.rasters.source import read_on_grid


def write_sparse(path: Path, block: int, n_bands: int = 1, *, size: int = 224, step: float = 10, **more: Any) -> str:
    """A file of a few hundred bytes that states blocks of any size and holds none of them."""
    profile = {
        "driver": "GTiff", "count": n_bands, "height": size, "width": size, "dtype": "float32", "crs": f"EPSG:{EPSG}",
        "transform": Affine(step, 0, LEFT, 0, -step, TOP), "tiled": True, "blockxsize": block, "blockysize": block,
        "compress": "DEFLATE", "sparse_ok": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **(profile | more)):
        pass
    return str(path)


def test_scene_in_huge_blocks_is_refused_before_it_is_read(tmp_path: Path) -> None:
    href = write_sparse(tmp_path / "huge.tif", 16_384)
    assert Path(href).stat().st_size < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RasterError, match="16384 x 16384") as error:
        read_on_grid(href, grid_at(0, 0, 100, 100))
    assert "512 x 512" in error.value.hint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_bands_interleaved_by_pixel_count_together(tmp_path: Path) -> None:
    by_pixel = write_sparse(tmp_path / "pixel.tif", 2_048, 18, interleave="pixel")
    by_band = write_sparse(tmp_path / "band.tif", 2_048, 18, interleave="band")
    with rasterio.open(by_pixel) as dataset, pytest.raises(RasterError, match=r"0\.3 GB"):
        check_blocks(dataset, "pixel.tif", n_bands=1)
    with rasterio.open(by_band) as dataset:
        check_blocks(dataset, "band.tif")


@pytest.mark.parametrize("block", [512, 1_024, 2_048, 4_096])
def test_blocks_of_archives_are_read(tmp_path: Path, block: int) -> None:
    href = write_sparse(tmp_path / "usual.tif", block, nodata=0)
    assert not read_on_grid(href, grid_at(0, 0, 10, 10)).valid.any()


def test_pixels_of_centimetres_are_refused(tmp_path: Path) -> None:
    href = write_sparse(tmp_path / "fine.tif", 512, size=200_000, step=0.01)
    with pytest.raises(RasterError, match="are read at most"):
        read_on_grid(href, grid_at(0, 0, 200, 200))
    whole = write_tif(tmp_path / "a.tif", np.ones((8, 8), np.uint16), 10)
    assert read_on_grid(whole, grid_at(0, 0, 8, 8)).valid.all()
