"""The spread of logits from windows to lakes: cut anywhere, resumed, beside results without it, with a real network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from made_stack import FakeNetwork, cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine.tile_jobs import segment_run
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid, hull_of_cells
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.tables.vector import read_lakes
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lakes.tables import BAND_COLUMNS, LAKE_COLUMNS
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.segmenter import ChipBatch, has_spread
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import LOGIT_NODATA, SPREAD_NODATA
from cryosentinel_core.workflows.change import change
from cryosentinel_core.workflows.predict import predict


class Doubting(FakeNetwork):
    """A fake whose members lie 1 above and 1 below of the mean where green is bright, else 2."""

    name = "fake-00000000-spread"
    digest = "doubting"
    has_spread = True
    members: dict[str, str] = {}

    def segment(self, batch: ChipBatch) -> np.ndarray:
        """(N, 2, 224, 224) float32."""
        mean = super().segment(batch)
        variance = np.where(batch.s2[:, 2] > 4500, 1.0, 4.0).astype(np.float32)
        return np.stack([mean, variance], axis=1)


def by_settings(settings: PredictSettings, *_: object) -> FakeNetwork:
    return Doubting() if settings.uncertainty else FakeNetwork()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryosentinel_core.workflows.predict.build_segmenter", by_settings)


def run(catalogue: Path, root: Path, area: Area, *, years: tuple[int, ...] = (2023,), **more: Any) -> PredictSummary:
    plain = {"model": "fake.ckpt", "uncertainty": True, "tile_cells": 10, "device": "cpu", "workers": 1, **more}
    settings = PredictSettings(**plain)
    fetching = FetchSettings(catalog=str(catalogue), tile_cells=settings.tile_cells, workers=1)
    return predict(Workspace(root), area, years, settings, fetching, reporter=Silent())


def raster_of(summary: PredictSummary, kind: str, epsg: int) -> tuple[np.ndarray, Grid]:
    path = summary.years[0].folder / f"{kind}_{epsg}.tif"
    with rasterio.open(path) as raster:
        row, col = round(-raster.transform.f / 10), round(raster.transform.c / 10)
        grid = Grid(epsg=epsg, row=row, col=col, height=raster.height, width=raster.width)
    return read_part(path, grid, 0), grid


def test_tiles_hold_the_spread_of_members_and_windows(tmp_path: Path) -> None:
    """At least the members' own; nodata as the logits'; tile by tile as in one piece."""
    cells = cells_of(4, 4)
    stack = write_made_stack(tmp_path / "stack", cells, blank=(cells[10],))
    inner = [cells[5], cells[6], cells[9], cells[10]]
    assert has_spread(Doubting())
    assert not has_spread(FakeNetwork())
    (whole,) = make_jobs(stack, tmp_path / "whole", inner, tile_cells=10, model="fake.ckpt", uncertainty=True)
    segment_run([whole], Doubting())
    hull = hull_of_cells(inner)
    spread, logits = (read_part(path, hull, 0) for path in (whole.spread_part, whole.part))
    np.testing.assert_array_equal(spread == SPREAD_NODATA, logits == LOGIT_NODATA)
    assert (spread[:224, :224] >= 1000).mean() > 0.9
    for job in make_jobs(stack, tmp_path / "cut", inner, model="fake.ckpt", uncertainty=True):
        segment_run([job], Doubting())
        grid = hull_of_cells(job.cells)
        np.testing.assert_array_equal(read_part(job.spread_part, grid, 0), spread[grid.slices_in(hull)])
    (plain,) = make_jobs(stack, tmp_path / "plain", inner, tile_cells=10, model="fake.ckpt")
    segment_run([plain], FakeNetwork())
    np.testing.assert_array_equal(read_part(plain.part, hull, 0), logits)
    assert not plain.spread_part.exists()


def test_a_tile_without_its_spread_is_done_again(tmp_path: Path) -> None:
    cells = cells_of(3, 4)
    stack = write_made_stack(tmp_path / "stack", cells)
    jobs = make_jobs(stack, tmp_path / "out", [cells[5], cells[6]], model="fake.ckpt", uncertainty=True)
    segment_run(jobs, Doubting())
    before = [(job.part.stat().st_mtime_ns, job.spread_part.read_bytes()) for job in jobs]
    jobs[1].spread_part.unlink()
    assert [job.is_done for job in jobs] == [True, False]
    segment_run(jobs, Doubting())
    assert jobs[0].part.stat().st_mtime_ns == before[0][0]
    assert jobs[1].spread_part.read_bytes() == before[1][1]


@pytest.mark.slow
@pytest.mark.usefixtures("fakes")
def test_cutting_changes_neither_spread_nor_band(small_catalogue: Path, tmp_path: Path) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    one = run(small_catalogue, tmp_path / "one", area)
    two = run(small_catalogue, tmp_path / "two", area, tile_cells=2)
    full, grid = raster_of(one, "spread", epsg)
    assert (full != SPREAD_NODATA).mean() > 0.5
    np.testing.assert_array_equal(raster_of(two, "spread", epsg)[0], full)
    tables = [read_lakes(summary.years[0].folder)[0] for summary in (one, two)]
    assert len(tables[0]) > 1
    assert tables[0].drop(columns="geometry").equals(tables[1].drop(columns="geometry"))
    west, south, _, north = area.geometry.bounds
    half = Area("half", shapely.intersection(area.geometry, shapely.box(west, south, area.geometry.centroid.x, north)))
    piece, place = raster_of(run(small_catalogue, tmp_path / "one", half), "spread", epsg)
    seen = piece != SPREAD_NODATA
    assert seen.any()
    np.testing.assert_array_equal(piece[seen], full[place.slices_in(grid)][seen])


@pytest.mark.usefixtures("fakes")
def test_results_with_and_without_lie_side_by_side(small_catalogue: Path, tmp_path: Path) -> None:
    """Neither makes the other out of date; the flag alone adds a raster, two columns, and never lowers a sigma."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    plain = run(small_catalogue, tmp_path, area, uncertainty=False)
    record = (plain.years[0].folder / "run.json").read_bytes()
    spread = run(small_catalogue, tmp_path, area)
    assert (plain.model, spread.model) == ("fake-00000000", "fake-00000000-spread")
    assert (plain.years[0].folder / "run.json").read_bytes() == record
    assert run(small_catalogue, tmp_path, area, uncertainty=False).years[0].is_reused
    assert run(small_catalogue, tmp_path, area).years[0].is_reused
    assert not list(plain.years[0].folder.rglob("*spread*"))
    settings = json.loads(record)["settings"]
    assert not {"area_band", "uncertainty_flag", "members"} & set(settings)
    without, with_band = (read_lakes(summary.years[0].folder)[0] for summary in (plain, spread))
    assert without.columns.tolist() == [*LAKE_COLUMNS, "geometry"]
    assert with_band.columns.tolist() == [*LAKE_COLUMNS, *BAND_COLUMNS, "geometry"]
    np.testing.assert_array_equal(with_band["area_m2"], without["area_m2"])
    assert (with_band["area_low_m2"] <= with_band["area_m2"]).all()
    assert (with_band["area_high_m2"] >= with_band["area_m2"]).all()
    assert (with_band["area_sigma_random_m2"] >= without["area_sigma_random_m2"]).all()
    longer = np.maximum(
        with_band["area_m2"] - with_band["area_low_m2"], with_band["area_high_m2"] - with_band["area_m2"]
    )
    assert (with_band["area_sigma_random_m2"] >= longer).all()
    np.testing.assert_array_equal(raster_of(spread, "logit", epsg)[0], raster_of(plain, "logit", epsg)[0])
    with rasterio.open(spread.years[0].folder / f"spread_{epsg}.tif") as raster:
        assert (raster.dtypes, raster.nodata, raster.scales) == (("uint16",), SPREAD_NODATA, (0.001,))
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.tags()["CRYOSENTINEL_DIGEST"] == json.loads(
            (spread.years[0].folder / "run.json").read_text()
        )["digest"]  # fmt: skip
    (spread.years[0].folder / f"spread_{epsg}.tif").unlink()
    assert not run(small_catalogue, tmp_path, area).years[0].is_reused


@pytest.mark.slow
@pytest.mark.usefixtures("fakes")
def test_change_reads_lakes_with_a_band(small_catalogue: Path, tmp_path: Path) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    summary = run(small_catalogue, tmp_path, area, years=(2017, 2023))
    found = change(Workspace(tmp_path), area.name, (2017, 2023), summary.model, ChangeSettings(), reporter=Silent())
    assert found.as_dict()["model"] == summary.model


@pytest.mark.slow
def test_with_a_network(small_catalogue: Path, tmp_path: Path) -> None:
    """From a checkpoint: the name, the same logits as without, a spread of some size, the same in tiles of 2 cells."""
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    weights = write_random_checkpoint(tmp_path / "tiny.ckpt", decoder_channels=32)
    area = load_area(str(small_catalogue / "aoi.geojson"))
    centre = area.geometry.centroid
    small = Area("small", shapely.box(centre.x - 6e-4, centre.y - 4.5e-4, centre.x + 6e-4, centre.y + 4.5e-4))
    plain = {"model": str(weights), "precision": "float32", "overlap": 0.0, "threads": 1, "batch_size": 4}
    one = run(small_catalogue, tmp_path / "one", small, **plain)
    two = run(small_catalogue, tmp_path / "two", small, **plain, tile_cells=2)
    without = run(small_catalogue, tmp_path / "one", small, **plain, uncertainty=False)
    assert one.model == f"{without.model}-spread"
    epsg = small.zones[0].epsg
    spread, _ = raster_of(one, "spread", epsg)
    logits, _ = raster_of(one, "logit", epsg)
    np.testing.assert_array_equal(raster_of(two, "spread", epsg)[0], spread)
    np.testing.assert_array_equal(raster_of(without, "logit", epsg)[0], logits)
    seen = spread != SPREAD_NODATA
    assert seen.any()
    assert np.median(spread[seen]) > 10


@pytest.mark.slow
def test_an_ensemble_from_files_to_lakes(tmp_path: Path) -> None:
    """Two networks over two processes: the same bytes as over one, every member's SHA-256 in the record of each tile."""
    from cryosentinel_core.engine.dispatch import segment_tiles
    from cryosentinel_core.engine.model_loading import build_segmenter, plain_of
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    models = [str(write_random_checkpoint(tmp_path / f"{n}.ckpt", seed=n, decoder_channels=32)) for n in (1, 2)]
    cells = cells_of(2, 3)
    stack = write_made_stack(tmp_path / "stack", cells)
    plain = {"device": "cpu", "tta": False, "overlap": 0.0, "threads": 1, "batch_size": 2, "precision": "float32"}
    found = {}
    for name, order, devices in (("one", models, ["cpu"]), ("two", models[::-1], ["cpu", "cpu"])):
        settings = {"model": order[0], "more_models": (order[1],), "uncertainty": True, **plain}
        jobs = make_jobs(stack, tmp_path / name, cells, **settings)
        segmenter = build_segmenter(jobs[0].settings)
        assert len(plain_of(segmenter)["members"]) == 2
        done = segment_tiles(jobs, segmenter, jobs[0].settings, Silent(), devices)
        assert done.engine["n_models"] == 2
        found[name] = {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
    assert len(found["one"]) == 3 * len(cells)
    assert found["one"] == found["two"], "neither processes nor the order of models change a byte"
    spread = read_part(jobs[0].spread_part, hull_of_cells(jobs[0].cells), 0)
    assert np.median(spread[spread != SPREAD_NODATA]) > 10
    segmenter = build_segmenter(PredictSettings(model=models[0], **plain))
    assert set(plain_of(segmenter)) == {"segmenter", "segmenter_digest"}


@pytest.mark.slow
def test_the_command_line_with_two_models(small_catalogue: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from cryosentinel_cli.main import cli
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    models = [str(write_random_checkpoint(tmp_path / f"{n}.ckpt", seed=n, decoder_channels=32)) for n in (1, 2)]
    arguments = ["predict", "--aoi", str(small_catalogue / "aoi.geojson"), "--year", "2023", "-q", "--json"]
    arguments += ["--catalog", str(small_catalogue), "--overlap", "0", "--no-tta", "--precision", "float32"]
    arguments += ["-w", str(tmp_path / "w"), "--uncertainty", "--model", models[0], "--model", models[1]]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["model"].startswith("1-2-")
    assert summary["model"].endswith("-spread")
    record = json.loads((Path(summary["years"][0]["folder"]) / "run.json").read_text())
    assert len(record["settings"]["members"]) == 2
    assert all(len(sha) == 64 for sha in record["settings"]["members"].values())
    assert record["settings"]["model"] == sorted(models)
    assert record["engine"]["n_models"] == 2
