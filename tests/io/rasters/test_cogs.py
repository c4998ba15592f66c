from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from made_rasters import EPSG, grid_at

from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.io.rasters.cogs import RasterFormat, write_cog, write_cog_in_strips


def test_cog_is_whole_deterministic_and_described(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (2, 40, 50), dtype=np.uint8)
    form = RasterFormat(names=("first", "second"), unit="dates", nodata=0)
    grid = grid_at(0, 0, 40, 50)
    for name in ("a.tif", "b.tif"):
        write_cog(tmp_path / name, values, grid, form, {"CRYOSENTINEL_DIGEST": "abc"})
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert dataset.descriptions == ("first", "second")
        assert dataset.units == ("dates", "dates")
        assert dataset.tags()["CRYOSENTINEL_DIGEST"] == "abc"
        assert dataset.transform == grid.transform
        assert dataset.crs.to_epsg() == EPSG
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.compression.name == "zstd"
        assert dataset.block_shapes == [(224, 224), (224, 224)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_refused_write_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWrite):
        write_cog(
            tmp_path / "file" / "a.tif",
            np.zeros((1, 4, 4), np.uint8),
            grid_at(0, 0, 4, 4),
            RasterFormat(names=("a",)),
            {},
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_strips_and_whole_array_are_stored_alike(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (5_000, 30), dtype=np.uint8)
    grid = grid_at(0, 0, 5_000, 30)
    colours = {number: (number, 0, 0, 255) for number in range(9)}
    form = RasterFormat(names=("class",), dtype="uint8", nodata=8, scale=0.5, colours=colours, block_px=512)
    write_cog(tmp_path / "whole.tif", values[None], grid, form, {"A": "b"})
    write_cog_in_strips(tmp_path / "strips.tif", grid, form, {"A": "b"}, lambda strip: values[strip.slices_in(grid)])
    found = []
    for name in ("whole.tif", "strips.tif"):
        with rasterio.open(tmp_path / name) as dataset:
            np.testing.assert_array_equal(dataset.read(1), values)
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            found.append(
                (dataset.compression, structure, dataset.descriptions, dataset.scales, dataset.nodata, dataset.tags()["A"],
                 dataset.block_shapes, dataset.overviews(1), dataset.colormap(1)[3])
            )  # fmt: skip
    assert found[0] == found[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strips.tif", "whole.tif"]
