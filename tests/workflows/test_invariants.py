"""The answer does not depend on the cutting: tiles, workers, areas and zone borders, on simulated scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from made_stack import FakeNetwork

from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.tables.vector import read_lakes
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.predict import predict

Run = Callable[..., PredictSummary]


def predict_year(
    catalogue: Path,
    root: Path,
    area: Area,
    *,
    tile_cells: int = 10,
    workers: int = 1,
    model: str = "water-index",
    **more: object,
) -> PredictSummary:
    fetching = FetchSettings(catalog=str(catalogue), workers=workers, tile_cells=tile_cells)
    settings = PredictSettings(model=model, workers=workers, tile_cells=tile_cells, min_area_m2=2000, **more)
    return predict(Workspace(root), area, [2023], settings, fetching, reporter=Silent())


def logits_of(summary: PredictSummary, grid: Grid) -> np.ndarray:
    return read_part(summary.years[0].folder / f"logit_{grid.epsg}.tif", grid, LOGIT_NODATA)


def grid_of(summary: PredictSummary, epsg: int) -> Grid:
    with rasterio.open(summary.years[0].folder / f"logit_{epsg}.tif") as raster:
        return Grid(
            epsg=epsg,
            row=round(-raster.transform.f / 10),
            col=round(raster.transform.c / 10),
            height=raster.height,
            width=raster.width,
        )


def table_of(summary: PredictSummary) -> geopandas.GeoDataFrame:
    lakes, candidates = read_lakes(summary.years[0].folder)
    assert len(lakes) + len(candidates) > 3
    return lakes.sort_values("lake_id").reset_index(drop=True)


def assert_same_tables(one: geopandas.GeoDataFrame, two: geopandas.GeoDataFrame) -> None:
    columns = [name for name in one.columns if name not in ("aoi", "geometry")]
    assert one[columns].to_dict("records") == two[columns].to_dict("records")
    assert [shapely.to_wkb(shape) for shape in one.geometry] == [shapely.to_wkb(shape) for shape in two.geometry]


@pytest.fixture(scope="module")
def whole(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> PredictSummary:
    return predict_year(
        small_catalogue, tmp_path_factory.mktemp("whole"), load_area(str(small_catalogue / "aoi.geojson"))
    )


@pytest.mark.parametrize(("tile_cells", "workers"), [(5, 1), (5, 2), (10, 2), (2, 2)])
def test_tiles_and_workers(
    small_catalogue: Path, tmp_path: Path, whole: PredictSummary, tile_cells: int, workers: int
) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    cut = predict_year(small_catalogue, tmp_path, area, tile_cells=tile_cells, workers=workers)
    epsg = area.zones[0].epsg
    grid = grid_of(whole, epsg)
    assert grid_of(cut, epsg) == grid
    np.testing.assert_array_equal(logits_of(cut, grid), logits_of(whole, grid))
    assert_same_tables(table_of(cut), table_of(whole))


def test_area_cut_in_half_and_joined(small_catalogue: Path, tmp_path: Path, whole: PredictSummary) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    west, south, east, north = area.geometry.bounds
    middle = 0.5 * (west + east)
    halves = [
        Area(name, shapely.intersection(area.geometry, shapely.box(*box)))
        for name, box in (("w", (west, south, middle, north)), ("e", (middle, south, east, north)))
    ]
    epsg = area.zones[0].epsg
    grid = grid_of(whole, epsg)
    full = logits_of(whole, grid)
    joined = np.full(grid.shape, LOGIT_NODATA, dtype=np.int16)
    tables = []
    for half in halves:
        part = predict_year(small_catalogue, tmp_path, half)
        piece = logits_of(part, grid)
        covered = piece != LOGIT_NODATA
        np.testing.assert_array_equal(piece[covered], full[covered])
        joined[covered] = piece[covered]
        tables.append(table_of(part))
    np.testing.assert_array_equal(joined, full)
    wanted = table_of(whole)
    found = {row.lake_id: row for table in tables for row in table.itertuples() if not row.touches_edge}
    for row in wanted.itertuples():
        if not row.touches_edge:
            assert found[row.lake_id].area_m2 == row.area_m2


def test_done_work_is_kept_and_changed_settings_are_not(
    small_catalogue: Path, tmp_path: Path, whole: PredictSummary
) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    root = whole.years[0].folder.parents[2]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    again = predict_year(small_catalogue, root, area)
    assert again.years[0].is_reused
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    run = json.loads((again.years[0].folder / "run.json").read_text())
    assert run["stack"].startswith("stack-")
    assert len(run["digest"]) == 64


@pytest.fixture(scope="module")
def border_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cryosentinel_core.simulate import SimulateSettings, simulate

    folder = tmp_path_factory.mktemp("border")
    simulate(folder, SimulateSettings(seed=3, size_km=3.0, optical_dates=3, radar_dates=1, zone_border=True))
    return folder


@pytest.mark.slow
def test_zone_border(border_catalogue: Path, tmp_path: Path) -> None:
    """Each lake comes once, and an area cut at the border gives what the whole gives."""
    area = load_area(str(border_catalogue / "aoi.geojson"))
    assert {zone.epsg for zone in area.zones} == {32643, 32644}
    both = predict_year(border_catalogue, tmp_path / "both", area, tile_cells=5)
    lakes = table_of(both)
    overlaps = geopandas.sjoin(lakes, lakes, predicate="overlaps")
    assert overlaps.empty
    truth = geopandas.read_file(border_catalogue / "truth" / "lakes.gpkg", layer="lakes")
    truth = truth[(truth.year == 2023) & truth.intersects(area.geometry)]
    assert len(truth) > 0
    for name, box in (("w", (70, 40, 78, 50)), ("e", (78, 40, 86, 50))):
        half = Area(name, shapely.intersection(area.geometry, shapely.box(*box)))
        part = predict_year(border_catalogue, tmp_path / name, half)
        for zone in half.zones:
            grid = grid_of(part, zone.epsg)
            piece = logits_of(part, grid)
            seen = piece != LOGIT_NODATA
            np.testing.assert_array_equal(piece[seen], logits_of(both, grid)[seen])


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_blended_windows_at_every_overlap(
    small_catalogue: Path, tmp_path: Path, whole: PredictSummary, monkeypatch: pytest.MonkeyPatch, overlap: float
) -> None:
    """Tiles and areas may cut a network's windows anywhere: the blended logits stay the same to the bit."""
    monkeypatch.setattr("cryosentinel_core.workflows.predict.build_segmenter", lambda *_: FakeNetwork())
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    one = predict_year(small_catalogue, tmp_path / "one", area, overlap=overlap)
    two = predict_year(small_catalogue, tmp_path / "two", area, tile_cells=2, overlap=overlap)
    grid = grid_of(one, epsg)
    full = logits_of(one, grid)
    assert (full != LOGIT_NODATA).mean() > 0.5
    np.testing.assert_array_equal(logits_of(two, grid), full)
    west, south, _, north = area.geometry.bounds
    half = Area("half", shapely.intersection(area.geometry, shapely.box(west, south, area.geometry.centroid.x, north)))
    piece = logits_of(predict_year(small_catalogue, tmp_path / "one", half, overlap=overlap), grid)
    seen = piece != LOGIT_NODATA
    np.testing.assert_array_equal(piece[seen], full[seen])
