"""Every number leads back to pixels: from a lake's row to the scenes' items."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pyogrio
import pytest
import rasterio

from cryosentinel_core import __version__
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.predict import predict


@pytest.fixture(scope="module")
def folder(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    settings, fetching = PredictSettings(model="water-index"), FetchSettings(catalog=str(small_catalogue))
    home = Workspace(tmp_path_factory.mktemp("chain"))
    return predict(home, area, [2023], settings, fetching, reporter=Silent()).years[0].folder


def test_the_chain_from_lakes_to_items(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    assert run["version"] == __version__
    assert run["settings"]["recipe"]["offset"] == "removed"
    stack = folder.parent / run["stack"]
    items = set()
    for name, digest in run["inputs"]["parts"].items():
        part = json.loads((folder / "tiles" / f"{name}.json").read_text())
        assert part["digest"] == digest
        for tile, tile_digest in part["inputs"]["stack_tiles"].items():
            record = json.loads((stack / tile / "tile.json").read_text())
            assert record["digest"] == tile_digest
            items.add(json.dumps(record["inputs"], sort_keys=True))
    listed = json.loads((folder.parent / "scenes.json").read_text())["features"]
    optical = [feature["id"] for feature in listed if feature["id"].startswith("S2")]
    assert optical
    assert all(any(identifier in text for text in items) for identifier in optical)
    assert all("http" in text or "/" in text for text in items), "hrefs travel with the ids"


def test_rasters_and_tables_carry_their_digest(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    for path in folder.glob("*_326*.tif"):
        with rasterio.open(path) as raster:
            tags = raster.tags()
        assert tags["CRYOSENTINEL_DIGEST"] == run["digest"], path.name
        assert tags["CRYOSENTINEL_VERSION"] == __version__
        assert json.loads(tags["CRYOSENTINEL_SETTINGS"]) == run["settings"]
    metadata = pyarrow.parquet.read_schema(folder / "lakes.parquet").metadata
    assert json.loads(metadata[b"cryosentinel"])["digest"] == run["digest"]
    layer = pyogrio.read_info(folder / "lakes.gpkg", layer="lakes")
    assert json.loads(layer["layer_metadata"]["cryosentinel"])["digest"] == run["digest"]


def test_everything_is_a_tiled_geotiff_on_the_lattice(folder: Path) -> None:
    for path in folder.parent.rglob("*.tif"):
        with rasterio.open(path) as raster:
            assert raster.driver == "GTiff"
            assert raster.profile["tiled"]
            assert raster.crs.to_epsg() in (32643, 32644)
            assert (raster.transform.a, raster.transform.e) == (10, -10)
            assert raster.transform.c % 2240 == 0
            assert raster.transform.f % 2240 == 0
            assert raster.descriptions[0]
