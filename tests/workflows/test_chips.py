"""Chips from files: the real ones, assembled to 15 bands, and files that are no chips."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

from cryosentinel_core.errors import InputError
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings import PredictSettings
from cryosentinel_core.workflows.chips import ChipsSummary, predict_chips

COAST, LAND, SNOW, RIVER = "282D_485L_3_3", "38D_378R_2_3", "609U_541L_3_0", "433D_629L_3_1"


def assemble(source: Path, folder: Path, name: str) -> Path:
    """A chip GeoTIFF of 15 bands from the parts of a real chip."""
    parts = []
    for kind in ("S2L2A", "S1RTC", "DEM"):
        with rasterio.open(source / kind / f"{name}.tif") as raster:
            parts.append(raster.read().astype(np.float32))
            profile = {"crs": raster.crs, "transform": raster.transform}
    data = np.concatenate(parts)
    path = folder / f"{name}.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=15, height=224, width=224, **profile
    ) as raster:
        raster.write(data)
    return path


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChipsSummary]:
    folder = tmp_path_factory.mktemp("real")
    for name in (COAST, LAND, SNOW, RIVER):
        assemble(shared_data / "chips", folder, name)
    root = tmp_path_factory.mktemp("out")
    return root, predict_chips(Workspace(root), folder, PredictSettings(model="water-index"), reporter=Silent())


def read(root: Path, name: str, kind: str) -> np.ndarray:
    with rasterio.open(root / "chips" / f"{name}_{kind}.tif") as raster:
        return raster.read(1)


def test_real_chips(real: tuple[Path, ChipsSummary]) -> None:
    root, summary = real
    water = read(root, COAST, "water")
    for point in [(200, 200), (150, 212), (120, 218), (215, 150), (20, 150), (25, 152), (40, 110), (90, 106)]:
        assert water[point] == 1
    for point in [(150, 130), (110, 160), (12, 200), (60, 155), (50, 40), (150, 40)]:
        assert water[point] == 0
    assert summary.water_share[LAND] < 0.001
    assert summary.water_share[SNOW] < 0.001


def test_rasters_agree(real: tuple[Path, ChipsSummary]) -> None:
    root, _ = real
    logit, probability, water = (read(root, COAST, kind) for kind in ("logit", "probability", "water"))
    np.testing.assert_array_equal(water == 1, logit > 0)
    np.testing.assert_allclose(probability / 200, 1 / (1 + np.exp(-logit / 1000)), atol=0.0026)


def test_lakes_lie_on_their_chips(real: tuple[Path, ChipsSummary]) -> None:
    root, summary = real
    lakes = geopandas.read_file(root / "chips" / "lakes.gpkg", layer="lakes")
    assert len(lakes) == summary.n_lakes > 0
    coast = lakes[lakes.aoi == COAST]
    water_m2 = 100.0 * (read(root, COAST, "water") == 1).sum()
    assert coast.area_m2.sum() == pytest.approx(water_m2, rel=0.05)
    assert coast.sort_values("area_m2").iloc[-1].touches_edge


def test_the_dark_pixel_check_finds_the_offset(real: tuple[Path, ChipsSummary]) -> None:
    _, summary = real
    assert [warning.split(":")[0] for warning in summary.warnings] == [RIVER]


def write_chip(path: Path, bands: int, side: int) -> None:
    data = np.full((bands, side, side), 1000, dtype=np.float32)
    profile = {"crs": "EPSG:32643", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 4700000)}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=bands, height=side, width=side, **profile
    ) as raster:
        raster.write(data)


def test_files_that_are_no_chips_are_skipped_and_named(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_chip(source / "good.tif", 15, 224)
    write_chip(source / "bands.tif", 12, 224)
    write_chip(source / "size.tif", 15, 100)
    (source / "broken.tif").write_bytes(b"II*\0nonsense")
    summary = predict_chips(Workspace(tmp_path), source, PredictSettings(model="water-index"), reporter=Silent())
    assert summary.is_partial
    assert sorted(summary.failed) == ["bands.tif", "broken.tif", "size.tif"]
    assert list(summary.water_share) == ["good"]
    assert "12 bands, wanted 15" in summary.failed["bands.tif"]


def test_no_chip_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GeoTIFF"):
        predict_chips(Workspace(tmp_path), tmp_path, PredictSettings(model="water-index"), reporter=Silent())
    write_chip(tmp_path / "bands.tif", 12, 224)
    with pytest.raises(InputError, match="none of the 1 files"):
        predict_chips(Workspace(tmp_path), tmp_path, PredictSettings(model="water-index"), reporter=Silent())
