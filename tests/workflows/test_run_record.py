"""run.json says what a year's run cost, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import hull_of_cells
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.rasters.stack_files import read_layer
from cryosentinel_core.io.rasters.zone_rasters import ZoneRasters
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lakes.extraction_readers import make_lake_readers
from cryosentinel_core.lakes.pixel_classes import WATER_UNOBSERVED
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.predict import predict
from cryosentinel_core.workflows.predict_year import zone_sources


def run(catalogue: Path, root: Path, area: Area, **changes: float) -> PredictSummary:
    settings = PredictSettings(model=WATER_INDEX, tile_cells=2, **changes)
    fetching = FetchSettings(catalog=str(catalogue), tile_cells=2)
    return predict(Workspace(root), area, [2023], settings, fetching, reporter=Silent())


@pytest.fixture(scope="module")
def catalogue_and_root(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return small_catalogue, tmp_path_factory.mktemp("work")


def test_what_a_run_cost(catalogue_and_root: tuple[Path, Path]) -> None:
    catalogue, root = catalogue_and_root
    area = load_area(str(catalogue / "aoi.geojson"))
    summary = run(catalogue, root, area)
    folder = summary.years[0].folder
    record = json.loads((folder / "run.json").read_text())
    engine = record["engine"]
    assert summary.as_dict()["engine"] == engine
    assert engine["n_tiles"] == len(list((folder / "tiles").rglob("*.tif"))) > 1
    assert engine["n_tiles_kept"] == 0
    assert engine["n_windows"] == record["n_windows"] > 0
    assert set(record["n_windows_skipped"]) >= {"unobserved"}
    assert {"read", "cut", "network", "blend", "write"} <= set(engine["seconds"])
    assert set(record["seconds"]) == {"mosaic", "lakes"}
    assert all(value >= 0 for value in (*engine["seconds"].values(), *record["seconds"].values()))
    assert engine["windows_per_second"] == pytest.approx(engine["n_windows"] / engine["wall_seconds"], rel=0.01)
    if Path("/proc/self/status").exists():
        assert engine["peak_memory_mib"]["host"] > 50
    for tile in (folder / "tiles").rglob("*.json"):
        assert set(json.loads(tile.read_text())["counts"]) <= {"n_windows", "n_unobserved", "n_below_elevation"}


def test_kept_tiles_cost_nothing(catalogue_and_root: tuple[Path, Path]) -> None:
    catalogue, root = catalogue_and_root
    area = load_area(str(catalogue / "aoi.geojson"))
    first = run(catalogue, root, area).years[0]
    before = json.loads((first.folder / "run.json").read_text())
    again = run(catalogue, root, area, min_area_m2=20_000.0)
    record = json.loads((again.years[0].folder / "run.json").read_text())
    assert not again.years[0].is_reused
    assert record["engine"]["n_tiles"] == 0
    assert record["engine"]["n_tiles_kept"] > 1
    assert record["engine"]["n_windows"] == 0
    assert record["engine"]["windows_per_second"] is None
    assert record["n_windows"] == before["n_windows"], "windows of the result, whichever run made them"


def test_low_ground_is_unobserved_and_part_of_the_digest(catalogue_and_root: tuple[Path, Path]) -> None:
    catalogue, root = catalogue_and_root
    area = load_area(str(catalogue / "aoi.geojson"))
    year = run(catalogue, root, area).years[0]
    plain = json.loads((year.folder / "run.json").read_text())
    assert "min_elevation_m" not in plain["settings"], "off unless asked for"
    (stack,) = year.folder.parent.glob("stack-*")
    cells = [cell for cell in area.core if cell.epsg == area.zones[0].epsg]
    highest = {cell: read_layer(stack, "dem", cell.grid, tile_cells=2).max() for cell in cells}
    limit = float(np.median(list(highest.values())))
    low = [cell for cell in cells if highest[cell] < limit]
    above = run(catalogue, root, area, min_elevation_m=limit).years[0]
    record = json.loads((above.folder / "run.json").read_text())
    assert not above.is_reused
    assert record["settings"]["min_elevation_m"] == limit
    assert record["digest"] != plain["digest"]
    assert record["n_windows_skipped"]["below_elevation"] == len(low) > 0
    assert record["n_windows"] == plain["n_windows"] - len(low)
    assert above.observed_share < year.observed_share
    epsg = cells[0].epsg
    for cell in low:
        assert (read_part(above.folder / f"water_{epsg}.tif", cell.grid, 0) == WATER_UNOBSERVED).all()
    rasters = ZoneRasters(folder=above.folder, epsg=epsg, hull=hull_of_cells(cells), stack=stack, stack_tile_cells=2)
    readers = make_lake_readers(zone_sources(rasters), cells, limit)
    assert not readers.processed(low[0].grid).any(), "a lake cut here touches the edge of the processed ground"
    high = next(cell for cell in cells if highest[cell] > limit)
    logits = read_part(above.folder / f"logit_{epsg}.tif", high.grid, LOGIT_NODATA)
    np.testing.assert_array_equal(
        readers.processed(high.grid),
        (logits != LOGIT_NODATA) | (read_layer(stack, "dem", high.grid, tile_cells=2)[0] >= limit),
    )
    assert make_lake_readers(zone_sources(rasters), cells, None).processed(low[0].grid).all()
