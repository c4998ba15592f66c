"""The network path from checkpoint to lakes: random weights, the same answer however the work is cut, little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import LOGIT_NODATA
from cryosentinel_core.workflows.fetch import fetch
from cryosentinel_core.workflows.predict import predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    wide_enough_for_winograd = 128
    path = tmp_path_factory.mktemp("weights") / "tiny.ckpt"
    return write_random_checkpoint(path, decoder_channels=wide_enough_for_winograd)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that takes less time, where its arithmetic does not matter."""
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "narrow.ckpt", decoder_channels=32)


def run(catalogue: Path, root: Path, area: Area, weights: Path, **changes: object) -> PredictSummary:
    tile_cells = changes.pop("tile_cells", 10)
    workers = changes.pop("workers", 1)
    plain = {
        "device": "cpu",
        "precision": "float32",
        "tta": False,
        "overlap": 0.0,
        "batch_size": 4,
        "threads": 1,
        "workers": workers,
        **changes,
    }
    settings = PredictSettings(model=str(weights), tile_cells=tile_cells, **plain)
    fetching = FetchSettings(catalog=str(catalogue), tile_cells=tile_cells, workers=workers)
    return predict(Workspace(root), area, [2023], settings, fetching, reporter=Silent())


def logits_of(summary: PredictSummary, epsg: int) -> tuple[np.ndarray, Grid]:
    path = summary.years[0].folder / f"logit_{epsg}.tif"
    with rasterio.open(path) as raster:
        row, col = round(-raster.transform.f / 10), round(raster.transform.c / 10)
        grid = Grid(epsg=epsg, row=row, col=col, height=raster.height, width=raster.width)
    return read_part(path, grid, LOGIT_NODATA), grid


@pytest.fixture(scope="module")
def whole(small_catalogue: Path, tmp_path_factory: pytest.TempPathFactory, weights: Path) -> PredictSummary:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    return run(small_catalogue, tmp_path_factory.mktemp("whole"), area, weights, overlap=0.5)


def n_windows(summary: PredictSummary) -> int:
    return int(json.loads((summary.years[0].folder / "run.json").read_text())["n_windows"])


@pytest.mark.parametrize("workers", [1, 2])
def test_cutting_changes_nothing(
    small_catalogue: Path, tmp_path: Path, weights: Path, whole: PredictSummary, workers: int
) -> None:
    """On the CPU in float32 with fixed threads and batches the stored logits are the same to the last count."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    full, grid = logits_of(whole, epsg)
    assert (full != LOGIT_NODATA).mean() > 0.5
    assert len(np.unique(full)) > 100
    tiles = {1: 2, 2: 5}[workers]
    cut, place = logits_of(
        run(small_catalogue, tmp_path, area, weights, overlap=0.5, tile_cells=tiles, workers=workers), epsg
    )
    assert place == grid
    np.testing.assert_array_equal(cut, full)


def small_area(area: Area) -> Area:
    """A square of 100 m about the area's centre: it touches one to four cells, and its core lies inside the area's."""
    centre = area.geometry.centroid
    return Area("small", shapely.box(centre.x - 6e-4, centre.y - 4.5e-4, centre.x + 6e-4, centre.y + 4.5e-4))


def test_the_edge_of_an_area_and_the_last_batch(
    small_catalogue: Path, tmp_path: Path, weights: Path, whole: PredictSummary
) -> None:
    """Pixels along the edge of a small area, some from windows of a padded batch, are those of the large area."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    epsg = area.zones[0].epsg
    full, grid = logits_of(whole, epsg)
    small = run(small_catalogue, tmp_path, small_area(area), weights, overlap=0.5, batch_size=4)
    assert n_windows(small) % 4 != 0, "the last batch is padded"
    assert n_windows(small) < n_windows(whole)
    piece, place = logits_of(small, epsg)
    for edge in (piece[0], piece[-1], piece[:, 0], piece[:, -1]):
        assert (edge != LOGIT_NODATA).mean() > 0.5
    assert place != grid
    np.testing.assert_array_equal(piece, full[place.slices_in(grid)])


@pytest.fixture(scope="module")
def border_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cryosentinel_core.simulate import SimulateSettings, simulate

    folder = tmp_path_factory.mktemp("border")
    simulate(folder, SimulateSettings(seed=3, size_km=1.5, optical_dates=2, radar_dates=1, zone_border=True))
    return folder


def test_zone_border(border_catalogue: Path, tmp_path: Path, weights: Path) -> None:
    """An area cut at the border of two UTM zones gives, in each zone, what the whole gives."""
    area = load_area(str(border_catalogue / "aoi.geojson"))
    assert {zone.epsg for zone in area.zones} == {32643, 32644}
    both = run(border_catalogue, tmp_path / "both", area, weights, batch_size=3)
    n_compared = 0
    for name, box in (("w", (70, 40, 78, 50)), ("e", (78, 40, 86, 50))):
        half = Area(name, shapely.intersection(area.geometry, shapely.box(*box)))
        part = run(border_catalogue, tmp_path / name, half, weights, batch_size=3, tile_cells=1, workers=2)
        for zone in half.zones:
            piece, place = logits_of(part, zone.epsg)
            full, grid = logits_of(both, zone.epsg)
            seen = piece != LOGIT_NODATA
            n_compared += int(seen.sum())
            np.testing.assert_array_equal(piece[seen], full[place.slices_in(grid)][seen])
    assert n_compared > 4 * 224 * 224


PEAK_OF_PREDICT = """
import sys
from pathlib import Path
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.predict import predict
catalogue, root, aoi, weights = sys.argv[1:]
settings = PredictSettings(
    model=weights, tile_cells=1, device="cpu", precision="float32", tta=False, overlap=0.0, batch_size=4, threads=1)
fetching = FetchSettings(catalog=catalogue, tile_cells=1, workers=1)
predict(Workspace(Path(root)), load_area(aoi), [2023], settings, fetching, reporter=Silent())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 1024)
"""


def test_memory_does_not_grow_with_the_area(small_catalogue: Path, tmp_path: Path, narrow: Path) -> None:
    """Peak of a process over an area in one cell and over one of several, with tiles of one cell: within 5 % and 30 MiB."""
    area = load_area(str(small_catalogue / "aoi.geojson"))
    cell = area.touched[len(area.touched) // 2]
    west, south, east, north = cell.grid.bounds
    inside = shapely.box(west + 900, south + 900, east - 900, north - 900)
    one = gpd.GeoSeries([inside], crs=cell.epsg).to_crs(4326)
    peaks, counts = [], []
    for name, shape in (("one", one.iloc[0]), ("many", area.geometry)):
        gpd.GeoSeries([shape], crs=4326).to_file(tmp_path / f"{name}.geojson", driver="GeoJSON")
        aoi = load_area(str(tmp_path / f"{name}.geojson"))
        fetch(
            Workspace(tmp_path), aoi, [2023], FetchSettings(catalog=str(small_catalogue), tile_cells=1),
            reporter=Silent(),
        )  # fmt: skip
        arguments = [str(small_catalogue), str(tmp_path), str(tmp_path / f"{name}.geojson"), str(narrow)]
        done = subprocess.run(
            [sys.executable, "-c", PEAK_OF_PREDICT, *arguments], capture_output=True, text=True, check=True
        )
        peaks.append(float(done.stdout.split()[-1]))
        counts.append(len(aoi.touched))
    assert counts[0] == 1
    assert counts[1] >= 4
    assert peaks[1] < 1.05 * peaks[0] + 30, f"{peaks} MiB"


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
