"""A dask.distributed cluster of two processes on the loopback writes the same bytes as this process does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_stack import cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine.dispatch import segment_tile_on_worker, segment_tiles
from cryosentinel_core.engine.jobs import run_jobs
from cryosentinel_core.engine.model_loading import build_segmenter
from cryosentinel_core.errors import ConfigError, RasterError
from cryosentinel_core.io.tables.area_loading import load_area
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings
from cryosentinel_core.workflows.predict import predict

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


class Listener(Silent):
    """Remembers how far the windows came."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, int]] = []

    def progress(self, task: str, done: int, total: int) -> None:
        if task == "segment windows":
            self.windows.append((done, total))


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_fetch_and_predict(small_catalogue: Path, tmp_path: Path, scheduler: str) -> None:
    area = load_area(str(small_catalogue / "aoi.geojson"))
    heard = Listener()
    for name, address in (("here", None), ("there", scheduler)):
        fetching = FetchSettings(catalog=str(small_catalogue), tile_cells=2, scheduler=address)
        settings = PredictSettings(model=WATER_INDEX, tile_cells=2, scheduler=address)
        predict(Workspace(tmp_path / name), area, [2023], settings, fetching, reporter=heard)
    here, there = files_of(tmp_path / "here"), files_of(tmp_path / "there")
    assert sorted(there) == sorted(here)
    assert [name for name in here if here[name] != there[name]] == []
    assert len([name for name in here if name.endswith("tile.json")]) > 1
    assert heard.windows[-1][0] == heard.windows[-1][1] > 0


def test_a_network(tmp_path: Path, scheduler: str) -> None:
    from cryosentinel_core.io.weights.model_files import write_random_checkpoint

    weights = write_random_checkpoint(tmp_path / "tiny.ckpt", decoder_channels=32)
    cells = cells_of(2, 2)
    stack = write_made_stack(tmp_path / "stack", cells)
    plain = {"model": str(weights), "device": "cpu", "tta": False, "overlap": 0.0, "threads": 1, "batch_size": 2}
    for name, address in (("here", None), ("there", scheduler)):
        jobs = make_jobs(stack, tmp_path / name, cells, **plain, scheduler=address)
        done = segment_tiles(jobs, build_segmenter(jobs[0].settings), jobs[0].settings, Silent())
        assert done.n_windows == len(cells)
        assert done.engine["precision"] in ("float32", "bf16")
    here, there = files_of(tmp_path / "here"), files_of(tmp_path / "there")
    assert sorted(there) == sorted(here)
    assert [name for name in here if here[name] != there[name]] == []


def test_errors_come_back(tmp_path: Path, scheduler: str) -> None:
    cells = cells_of(1, 1)
    stack = write_made_stack(tmp_path / "stack", cells)
    for path in stack.rglob("s2.tif"):
        path.write_bytes(b"II*\0nothing")
    jobs = make_jobs(stack, tmp_path / "out", cells)
    with pytest.raises(RasterError) as caught:
        list(run_jobs(segment_tile_on_worker, jobs, workers=1, scheduler=scheduler))
    assert caught.value.hint
    with pytest.raises(ConfigError, match="no scheduler answers"):
        list(run_jobs(segment_tile_on_worker, jobs, workers=1, scheduler="nonsense://nowhere"))
