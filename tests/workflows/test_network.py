"""The network path from checkpoint to lakes: random weights, the same answer however the work is cut, little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from cryosentinel_core.area import Area
from cryosentinel_core.io.area import load_area
from cryosentinel_core.io.mosaic import read_part
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lattice import Grid
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings import FetchSettings, PredictSettings
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.predict import PredictSummary, predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cryosentinel_core.io.model_files import write_random_checkpoint

    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.ckpt", decoder_channels=32)


def run(catalogue: Path, root: Path, area: Area, weights: Path, **changes: object) -> PredictSummary:
    tile_cells = changes.pop("tile_cells", 10)
    plain = {
        "device": "cpu",
        "precision": "float32",
        "tta": False,
        "overlap": 0.0,
        "batch_size": 4,
        "threads": 1,
        **changes,
    }
    settings = PredictSettings(model=str(weights), tile_cells=tile_cells, **plain)
    fetching = FetchSettings(catalog=str(catalogue), tile_cells=tile_cells)
    return predict(Workspace(root), area, [2023], settings, fetching, reporter=Silent())


def logits_of(summary: PredictSummary, epsg: int) -> tuple[np.ndarray, Grid]:
    path = summary.years[0].folder / f"logit_{epsg}.tif"
    with rasterio.open(path) as raster:
        row, col = round(-raster.transform.f / 10), round(raster.transform.c / 10)
        grid = Grid(epsg=epsg, row=row, col=col, height=raster.height, width=raster.width)
    return read_part(path, grid, LOGIT_NODATA), grid


def test_cutting_changes_nothing(small_catalogue: Path, tmp_path: Path, weights: Path) -> None:
    """On the CPU in float32 with fixed threads and batches the stored logits are the same to the last count."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    whole, grid = logits_of(run(small_catalogue, tmp_path / "whole", area, weights, overlap=0.5), epsg)
    assert (whole != LOGIT_NODATA).mean() > 0.5
    assert len(np.unique(whole)) > 100
    cut, _ = logits_of(run(small_catalogue, tmp_path / "cut", area, weights, overlap=0.5, tile_cells=2), epsg)
    np.testing.assert_array_equal(cut, whole)
    west, south, _, north = area.geometry.bounds
    half = Area("half", shapely.intersection(area.geometry, shapely.box(west, south, area.geometry.centroid.x, north)))
    piece, place = logits_of(run(small_catalogue, tmp_path / "half", half, weights, overlap=0.5), epsg)
    seen = piece != LOGIT_NODATA
    np.testing.assert_array_equal(piece[seen], whole[place.slices_in(grid)][seen])


def test_batches_change_rounding_only(small_catalogue: Path, tmp_path: Path, weights: Path) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    four, _ = logits_of(run(small_catalogue, tmp_path / "four", area, weights), epsg)
    one, _ = logits_of(run(small_catalogue, tmp_path / "one", area, weights, batch_size=1), epsg)
    np.testing.assert_array_equal(four == LOGIT_NODATA, one == LOGIT_NODATA)
    assert np.abs(four.astype(int) - one.astype(int)).max() <= 2, "two counts of 0.001"


def test_the_command_line_in_under_three_gigabytes(small_catalogue: Path, tmp_path: Path, weights: Path) -> None:
    code = (
        "import sys\nfrom cryosentinel_cli.main import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        # Not getrusage: its peak survives exec, so a child of a large test process would report its parent's.
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(int(status['VmHWM'].split()[0]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-c", code, "predict", "--aoi", str(small_catalogue / "aoi.geojson"), "--year", "2023",
            "--catalog", str(small_catalogue), "--model", str(weights), "--overlap", "0", "--no-tta", "--json", "-q",
            "-w", str(tmp_path),
        ],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["model"].startswith("tiny-")
    assert any("weights" in warning for warning in summary["warnings"]), "the recipe's differences are named"
    peak_gib = int(done.stderr.strip().splitlines()[-1]) / 2**20
    assert peak_gib < 3.0
