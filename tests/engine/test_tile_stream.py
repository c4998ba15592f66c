"""Tiles as one stream of windows: the same bits however they are cut, full batches, errors that come through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_stack import EPSG, FakeNetwork, cells_of, make_jobs, write_made_stack

from cryosentinel_core.engine import tile_jobs as segment
from cryosentinel_core.engine.shared_windows import SegmentTask, SharedWindowPlan
from cryosentinel_core.engine.stopwatch import Stopwatch
from cryosentinel_core.engine.tile_jobs import segment_cells, segment_run
from cryosentinel_core.engine.tile_stream import TileStream
from cryosentinel_core.errors import ModelError, OutputWrite, RasterError
from cryosentinel_core.ground.lattice import Cell, hull_of_cells, mask_of_cells, windows_touching
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.learn.inference.device_logits import DeviceArrays
from cryosentinel_core.segment.arrays import HOST, Arrays
from cryosentinel_core.segment.segmenter import ChipBatch, Engine
from cryosentinel_core.segment.window_blending import LogitCanvas
from cryosentinel_core.segment.windows import BatchFilling, cut_chips, encode_logits, hull_of_windows, join_batches
from cryosentinel_core.units import LOGIT_NODATA


class Stepwise(FakeNetwork):
    """The same in steps, as an engine does it; remembers which thread did what."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__(batch_size)
        self.events: list[tuple[str, int]] = []
        self.threads: dict[str, str] = {}
        self.prepared: list[int] = []

    conditions: dict[str, Any] = {"device": "fake"}
    peak_device_mib = 7.0
    arrays: Arrays = HOST

    def prepare_for(self, n_windows: int) -> None:
        self.prepared.append(n_windows)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def stage(self, batch: ChipBatch) -> ChipBatch:
        self.threads["stage"] = threading.current_thread().name
        return batch

    def begin(self, staged: ChipBatch) -> Callable[[], np.ndarray]:
        number = len(self.batches)
        self.threads["begin"] = threading.current_thread().name
        self.events.append(("begin", number))
        logits = self.segment(staged)

        def fetch() -> np.ndarray:
            self.events.append(("fetch", number))
            return logits

        return fetch

    def begin_on_device(self, staged: ChipBatch) -> Callable[[], Any]:
        return self.begin(staged)


class OnDevice(Stepwise):
    """One whose logits stay in tensors, which are gone once the batch after the next has begun."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__(batch_size)
        self.arrays = DeviceArrays(torch.device("cpu"), lambda take: take())
        self.held: list[torch.Tensor] = []

    def begin_on_device(self, staged: ChipBatch) -> Callable[[], Any]:
        kept = torch.from_numpy(self.begin(staged)()).clone()
        self.held.append(kept)
        if len(self.held) > 2:
            self.held.pop(0).fill_(torch.nan)
        return lambda: kept


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 x 3 cells with a ring around the 4 x 1 that tests ask for, one of them blank."""
    cells = cells_of(6, 3)
    return write_made_stack(tmp_path_factory.mktemp("stack"), cells, blank=(cells[4],))


WANTED = [cell for cell in cells_of(5, 2) if cell.row > cells_of(1, 1)[0].row and cell.col > cells_of(1, 1)[0].col]


def one_by_one(stack: Path, cells: list[Cell], stride: int) -> np.ndarray:
    """The oracle: window after window, no batches, no threads."""
    hull = hull_of_cells(cells)
    canvas = LogitCanvas(hull, 224, blended=True)
    addresses = windows_touching(cells, stride)
    whole = read_stack(stack, EPSG, hull_of_windows(EPSG, addresses, 224, 0), tile_cells=2)
    fake = FakeNetwork()
    for address in addresses:
        batch = cut_chips(whole, [address], 224, 0)
        if batch.s2.any():
            canvas.add(address, fake.segment(batch)[0])
    inner = whole.valid[hull.slices_in(whole.grid)]
    return encode_logits(canvas.mean(), inner & mask_of_cells(cells, hull))


@pytest.mark.parametrize("kind", [FakeNetwork, Stepwise, OnDevice])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_the_same_as_window_after_window(stack: Path, kind: type[FakeNetwork], batch_size: int) -> None:
    fake = kind(batch_size)
    assert isinstance(fake, Engine) == issubclass(kind, Stepwise)
    logits, counts = segment_cells(stack, 2, tuple(WANTED), fake, 112)
    np.testing.assert_array_equal(logits, one_by_one(stack, WANTED, 112))
    assert (logits != LOGIT_NODATA).mean() > 0.5
    assert counts["n_windows"] + counts["n_unobserved"] == len(windows_touching(WANTED, 112))
    assert counts["n_unobserved"] > 0


@pytest.mark.parametrize("kind", [Stepwise, OnDevice])
def test_batches_are_full_across_strips_and_tiles(stack: Path, kind: type[Stepwise]) -> None:
    fake = kind(4)
    tasks = [SegmentTask(stack=stack, stack_tile_cells=2, cells=(cell,)) for cell in WANTED]
    heard: list[int] = []
    stream = TileStream(fake, 112, Stopwatch(), heard.append)
    tiles = list(stream.run(tasks))
    assert [tile.number for tile in tiles] == [0, 1, 2, 3]
    sizes = [len(batch) for batch in fake.batches]
    assert set(sizes[:-1]) == {4}
    wanted = windows_touching(WANTED, 112)
    whole_counts = segment_cells(stack, 2, tuple(WANTED), FakeNetwork(), 112)[1]
    assert sum(sizes) == stream.n_computed == whole_counts["n_windows"], "each window of the area once"
    assert sum(tile.counts["n_windows"] + tile.counts["n_unobserved"] for tile in tiles) == 36 > len(wanted)
    assert sum(heard) == sum(len(windows_touching([cell], 112)) for cell in WANTED)
    whole = one_by_one(stack, WANTED, 112)
    for tile in tiles:
        np.testing.assert_array_equal(tile.encode(), whole[tile.hull.slices_in(hull_of_cells(WANTED))])


@pytest.mark.parametrize("room", [0, 1, 2])
def test_with_room_for_few_shared_windows_the_rest_is_computed_again(
    stack: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr("cryosentinel_core.engine.tile_stream.SharedWindowPlan", partial(SharedWindowPlan, room=room))
    tasks = [SegmentTask(stack=stack, stack_tile_cells=2, cells=(cell,)) for cell in WANTED]
    fake = Stepwise(4)
    stream = TileStream(fake, 112, Stopwatch())
    tiles = list(stream.run(tasks))
    least = segment_cells(stack, 2, tuple(WANTED), FakeNetwork(), 112)[1]["n_windows"]
    most = sum(tile.counts["n_windows"] for tile in tiles)
    assert stream.n_computed == most if room == 0 else least < stream.n_computed < most
    whole = one_by_one(stack, WANTED, 112)
    for tile in tiles:
        np.testing.assert_array_equal(tile.encode(), whole[tile.hull.slices_in(hull_of_cells(WANTED))])


def test_years_share_no_windows(stack: Path, tmp_path: Path) -> None:
    """The same cells of two stacks."""
    other = write_made_stack(tmp_path / "other", cells_of(6, 3), seed=1)
    tasks = [SegmentTask(stack=path, stack_tile_cells=2, cells=(cell,)) for path in (stack, other) for cell in WANTED]
    tiles = list(TileStream(FakeNetwork(5), 112, Stopwatch()).run(tasks))
    hull = hull_of_cells(WANTED)
    for path, of_year in ((stack, tiles[:4]), (other, tiles[4:])):
        whole = one_by_one(path, WANTED, 112)
        for tile in of_year:
            np.testing.assert_array_equal(tile.encode(), whole[tile.hull.slices_in(hull)])


def test_results_are_fetched_one_batch_late(stack: Path) -> None:
    fake = Stepwise(4)
    segment_cells(stack, 2, tuple(WANTED), fake, 112)
    n = len(fake.batches)
    order = [("begin", 0)]
    for number in range(1, n):
        order += [("begin", number), ("fetch", number - 1)]
    assert fake.events == [*order, ("fetch", n - 1)]
    assert fake.threads["stage"].startswith("cut")
    assert fake.threads["begin"] == threading.current_thread().name


def test_ground_without_data_is_whole_at_once(tmp_path: Path) -> None:
    cells = cells_of(4, 3)
    stack = write_made_stack(tmp_path / "stack", cells, blank=tuple(cells))
    logits, counts = segment_cells(stack, 2, (cells[4],), FakeNetwork(), 112)
    assert (logits == LOGIT_NODATA).all()
    assert counts["n_windows"] == 0
    assert counts["n_unobserved"] == 9
    logits, _ = segment_cells(tmp_path / "nothing", 2, (cells[4],), FakeNetwork(), 112)
    assert (logits == LOGIT_NODATA).all()


def test_stacks_with_and_without_radar_share_a_batch(stack: Path, tmp_path: Path) -> None:
    cells = cells_of(3, 3)
    blind = write_made_stack(tmp_path / "blind", cells, radar=False)
    (blind / "recipe.json").write_text('{"radar": "none"}')
    fake = FakeNetwork(1000)
    tasks = [SegmentTask(stack=path, stack_tile_cells=2, cells=(cells[4],)) for path in (stack, blind)]
    assert len(list(TileStream(fake, 224, Stopwatch()).run(tasks))) == 2
    assert len(fake.batches) == 1
    one = cut_chips(
        read_stack(stack, EPSG, cells[4].grid, tile_cells=2), [(cells[4].grid.row, cells[4].grid.col)], 224, 0
    )
    two = cut_chips(
        read_stack(blind, EPSG, cells[4].grid, tile_cells=2), [(cells[4].grid.row, cells[4].grid.col)], 224, 0
    )
    assert two.s1 is None
    joined = join_batches([two, one, two])
    assert joined.s1 is not None
    assert np.isnan(joined.s1[[0, 2]]).all()
    np.testing.assert_array_equal(joined.s1[1], one.s1[0])
    assert join_batches([two, two]).s1 is None


def test_errors_of_every_stage_come_through(stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(FakeNetwork):
        def segment(self, batch: ChipBatch) -> np.ndarray:
            raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        segment_cells(stack, 2, tuple(WANTED), Failing(), 112)
    broken = write_made_stack(tmp_path / "stack", cells_of(3, 3))
    for path in broken.rglob("s2.tif"):
        path.write_bytes(b"II*\0nothing")
    with pytest.raises(RasterError):
        segment_cells(broken, 2, (cells_of(3, 3)[4],), FakeNetwork(), 112)

    def refuse(*_: Any, **__: Any) -> None:
        raise OutputWrite("full")

    monkeypatch.setattr(segment, "write_cog_in_strips", refuse)
    with pytest.raises(OutputWrite, match="full"):
        segment_run(make_jobs(stack, tmp_path / "out", WANTED), FakeNetwork())
    assert not [t for t in threading.enumerate() if t.name.startswith(("read", "cut", "write"))], (
        "no thread stays behind"
    )


def test_a_run_over_tiles(stack: Path, tmp_path: Path) -> None:
    """Written tiles join without a seam, hold their counts, and are not done twice."""
    fake = Stepwise(4)
    jobs = make_jobs(stack, tmp_path, WANTED)
    done = segment_run(jobs, fake)
    assert done.n_windows == sum(len(batch) for batch in fake.batches)
    assert fake.prepared == [len(windows_touching(WANTED, 112))]
    assert done.engine == {"device": "fake"}
    assert done.peak_mib["gpu"] == 7.0
    assert {"prepare", "read", "cut", "wait", "network", "blend", "write"} == set(done.seconds)
    whole = one_by_one(stack, WANTED, 112)
    hull = hull_of_cells(WANTED)
    for job in jobs:
        grid = hull_of_cells(job.cells)
        np.testing.assert_array_equal(read_part(job.part, grid, 0), whole[grid.slices_in(hull)])
        assert job.is_done
    jobs[1].record.unlink()
    before = jobs[0].part.stat().st_mtime_ns, jobs[1].part.read_bytes()
    again = segment_run(jobs, fake)
    assert 0 < again.n_windows < done.n_windows
    assert (jobs[0].part.stat().st_mtime_ns, jobs[1].part.read_bytes()) == before
    assert segment_run(jobs, fake).engine == {}


def test_low_windows_are_passed_over(stack: Path, tmp_path: Path) -> None:
    """Heights rise by 100 m a row of cells, southwards: 4,000 m in row 0, 4,200 m in row 2 of the stack."""
    whole = one_by_one(stack, WANTED, 112)
    task = SegmentTask(stack=stack, stack_tile_cells=2, cells=tuple(WANTED), min_elevation_m=4250.0)
    (tile,) = TileStream(FakeNetwork(), 112, Stopwatch()).run([task])
    logits = tile.encode()
    top = hull_of_cells(cells_of(6, 3)).row
    row_of = (tile.hull.row + np.arange(tile.hull.height) - top) / 224
    # Windows start each half cell; those that end above row 3 lie wholly below 4,250 m.
    assert (logits[row_of < 2.5] == LOGIT_NODATA).all(), "no window covers it: unobserved, not land"
    np.testing.assert_array_equal(logits[row_of >= 3], whole[row_of >= 3])
    fringe = (row_of >= 2.5) & (row_of < 3)
    assert ((logits[fringe] != LOGIT_NODATA) == (whole[fringe] != LOGIT_NODATA)).all()
    assert (logits[fringe] != whole[fringe]).any(), "blended of fewer windows"
    n_low = sum(address[0] + 224 <= top + 3 * 224 for address in windows_touching(WANTED, 112))
    n_blank = segment_cells(stack, 2, tuple(WANTED), FakeNetwork(), 112)[1]["n_unobserved"]
    assert tile.counts["n_below_elevation"] == n_low - n_blank > 0
    assert tile.counts["n_unobserved"] == n_blank, "what was not seen is counted as such, however low"
    for job in make_jobs(stack, tmp_path, WANTED, min_elevation_m=4250.0):
        segment_run([job], FakeNetwork())
        grid = hull_of_cells(job.cells)
        np.testing.assert_array_equal(read_part(job.part, grid, 0), logits[grid.slices_in(tile.hull)])


def test_a_limit_between_heights_and_unknown_heights(tmp_path: Path) -> None:
    cells = cells_of(2, 2)
    stack = write_made_stack(tmp_path / "stack", cells, height_m=float("nan"))
    for height, found in ((float("nan"), 1), (1000.0, 0), (1200.0, 1)):
        stack = write_made_stack(tmp_path / str(height), cells, height_m=height)
        task = SegmentTask(stack=stack, stack_tile_cells=2, cells=(cells[0],), min_elevation_m=1200.0)
        (tile,) = TileStream(FakeNetwork(), 224, Stopwatch()).run([task])
        assert tile.counts["n_windows"] == found, height


class Frugal(Stepwise):
    """Remembers what it allocated; may go on with smaller batches, as where a GPU's memory does not suffice."""

    def __init__(self, batch_size: int, *, shrinks_to: int | None = None) -> None:
        super().__init__(batch_size)
        self.shrinks_to = shrinks_to
        self.allocated: list[int] = []

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.allocated.append(shape[0])
        return np.full(shape, 77, dtype)

    def stage(self, batch: ChipBatch) -> ChipBatch:
        if self.shrinks_to is not None:
            self.batch_size = self.shrinks_to
        return super().stage(batch)


@pytest.mark.parametrize(
    ("fake", "most"), [(Frugal(1), 5), (Frugal(8, shrinks_to=3), 6)], ids=["one by one", "shrinking"]
)
def test_batches_are_cut_into_memory_used_before(stack: Path, fake: Frugal, most: int) -> None:
    """What stood there is not seen, and a batch of another size gets its own."""
    tasks = [SegmentTask(stack=stack, stack_tile_cells=2, cells=(cell,)) for cell in WANTED]
    whole = one_by_one(stack, WANTED, 112)
    for tile in TileStream(fake, 112, Stopwatch()).run(tasks):
        np.testing.assert_array_equal(tile.encode(), whole[tile.hull.slices_in(hull_of_cells(WANTED))])
    n_batches = len(fake.allocated) / 3
    assert n_batches <= most < len(fake.batches), "as many as are under way: cut, waiting, begun, late, and one more"


class ShrinkingAtOnce(Stepwise):
    """Its batches shrink while one is being filled."""

    def segment(self, batch: ChipBatch) -> np.ndarray:
        self.batch_size = 2
        return super().segment(batch)


def test_a_batch_that_holds_more_than_it_should_by_now_is_sent_off(stack: Path) -> None:
    fake = ShrinkingAtOnce(9)
    logits, _ = segment_cells(stack, 2, tuple(WANTED), fake, 112)
    np.testing.assert_array_equal(logits, one_by_one(stack, WANTED, 112))
    assert [len(batch) for batch in fake.batches][:1] == [9]


def test_radar_of_the_batch_before_is_forgotten(stack: Path, tmp_path: Path) -> None:
    cell = cells_of(1, 1)[0]
    blind = write_made_stack(tmp_path / "blind", [cell], radar=False)
    (blind / "recipe.json").write_text('{"radar": "none"}')
    with_radar, without = (read_stack(path, EPSG, cell.grid, tile_cells=2) for path in (stack, blind))
    filling = BatchFilling(3, 224, 0)
    address = (cell.grid.row, cell.grid.col)
    filling.add(with_radar, [address])
    assert filling.finish().s1 is not None
    filling.clear()
    assert (len(filling), filling.capacity) == (0, 3)
    filling.add(without, [address, address])
    assert filling.finish().s1 is None
    filling.add(with_radar, [address])
    radar = filling.finish().s1
    assert radar is not None
    assert np.isnan(radar[:2]).all()
    np.testing.assert_array_equal(radar[2], with_radar.s1)


class Looking(FakeNetwork):
    """Remembers what it could see of the dates."""

    def __init__(self) -> None:
        super().__init__(4)
        self.shares: list[np.ndarray] = []

    def segment(self, batch: ChipBatch) -> np.ndarray:
        self.shares.append(np.stack([batch.shadow, batch.snow, batch.water]))
        return super().segment(batch)


class LookingEngine(Looking, Stepwise):
    """The same as an engine."""

    def __init__(self) -> None:
        Stepwise.__init__(self, 4)
        self.shares = []


def test_an_engine_is_given_no_shares_of_dates(stack: Path) -> None:
    """They cost reading, memory and time, and a network looks at bands and terrain alone; the water index needs them."""
    plain, engine = Looking(), LookingEngine()
    a, b = (segment_cells(stack, 2, tuple(WANTED), fake, 112)[0] for fake in (plain, engine))
    np.testing.assert_array_equal(a, b)
    # One date of each kind: clear, water, snow, shadow.
    for shares in plain.shares:
        shadow, snow, water = shares
        np.testing.assert_allclose(shadow, 1 / 3)
        np.testing.assert_allclose(snow, 1 / 2)
        np.testing.assert_allclose(water, 1.0)
    assert all(np.isnan(shares).all() for shares in engine.shares)
