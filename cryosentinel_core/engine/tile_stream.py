"""Tiles as one stream of windows, so that the network waits for nothing.

Strips of the stack are read in one thread, windows cut and put together in batches in a second; the caller's thread starts each
batch and adds up the one before it. A batch takes windows of whatever strip or tile comes next, so that only the very last one is
padded: at a fixed batch size a window's logits are the same bits in any company, and each tile adds its windows in lattice order.
Windows that several tiles need are computed once (see `shared_windows`). In memory are two strips, three batches, the sums of the
tiles that these touch, and a bounded number of windows of shared borders.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.engine.shared_windows import (
    Address,
    CountedStore,
    SegmentTask,
    SharedWindowPlan,
    WindowKey,
    WindowRequest,
)
from cryosentinel_core.engine.stopwatch import Stopwatch
from cryosentinel_core.ground.lattice import Grid, hull_of_cells, mask_of_cells
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.segment.batches import arrays_of, begin_for_sums, stage_batch
from cryosentinel_core.segment.segmenter import Engine, Segmenter, has_spread
from cryosentinel_core.segment.window_blending import LogitCanvas
from cryosentinel_core.segment.windows import BatchFilling, encode_logits, encode_spread, hull_of_windows, window_grid
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import CELL_PX

STRIP_PX: Final = 5 * CELL_PX
"""Rows of windows held in memory together."""

SKIPPED_BECAUSE: Final = ("unobserved", "below_elevation")
"""Reasons why a window is not segmented; each has its count `n_<reason>` in a tile's record."""

OnWindows = Callable[[int], None]
"""Callback that is told how many windows were just finished."""


class TileSum:
    """Sum of one task's logits as they come.

    Attributes:
        number: Of the task in the stream.
        task: What is segmented.
        hull: The pixels.
        counts: `n_windows` added up, and `n_<reason>` of those passed over.
    """

    def __init__(self, number: int, task: SegmentTask, segmenter: Segmenter) -> None:
        self.number, self.task = number, task
        self.hull = hull_of_cells(task.cells)
        self.counts = {"n_windows": 0, **{f"n_{reason}": 0 for reason in SKIPPED_BECAUSE}}
        self._segmenter, self._has_spread = segmenter, has_spread(segmenter)
        self._valid = np.zeros(self.hull.shape, dtype=bool)
        self._canvas: LogitCanvas | None = None

    def key_of(self, address: Address) -> WindowKey:
        """One of its windows among all of the run."""
        return WindowKey(self.task.stack, self.hull.epsg, address)

    def see(self, stack: Stack) -> None:
        """Learn which pixels have data."""
        shared = stack.grid.intersection(self.hull)
        if shared is not None:
            self._valid[shared.slices_in(self.hull)] |= stack.valid[shared.slices_in(stack.grid)]

    def add(self, address: Address, logits: Any) -> None:
        """Add one window's logits, (H, W) or, with the members' variance, (2, H, W); windows come in lattice order."""
        if self._canvas is None:
            segmenter = self._segmenter
            self._canvas = LogitCanvas(
                self.hull,
                segmenter.window_px,
                blended=segmenter.blended,
                with_spread=self._has_spread,
                arrays=arrays_of(segmenter),
            )
        if self._has_spread:
            self._canvas.add(address, logits[0], logits[1])
        else:
            self._canvas.add(address, logits)

    def encode(self) -> NDArray[np.int16]:
        """(H, W) int16 stored logits on the hull, nodata outside the cells, where nothing was observed and where no window came."""
        mean = self._nothing() if self._canvas is None else self._canvas.mean()
        return encode_logits(mean, self._good())

    def encode_spread(self) -> NDArray[np.uint16]:
        """(H, W) uint16 stored spreads on the hull, nodata wherever the logits have it.

        Raises:
            InputError: If the segmenter gives none.
        """
        return encode_spread(self._nothing() if self._canvas is None else self._canvas.spread(), self._good())

    def _nothing(self) -> NDArray[np.float32]:
        return np.broadcast_to(np.full((1, 1), np.nan, dtype=np.float32), self.hull.shape)

    def _good(self) -> NDArray[np.bool_]:
        """(H, W) bool, True where pixels of the cells were observed."""
        return self._valid & mask_of_cells(self.task.cells, self.hull)


@dataclass(frozen=True)
class _Strip:
    """Windows whose rows fall into one strip of the lattice, and the pixels of those to compute; None if there are none."""

    tile: TileSum
    requests: list[WindowRequest]
    stack: Stack | None
    is_last: bool


@dataclass(frozen=True)
class _Place:
    """Place of one window's logits, and their source: a row of the batch, or None if they are kept from before."""

    tile: TileSum
    request: WindowRequest
    row: int | None


@dataclass(frozen=True)
class _Batch:
    """Windows that are computed together, with those among them that are there already, and the tiles that are whole after them."""

    places: list[_Place]
    chips: Any
    whole: list[TileSum]
    memory: BatchFilling | None = None


class TileStream:
    """Stream of tasks: their logits come out in order of completion.

    Args:
        segmenter: Of all of them.
        stride: Pixels from window to window.
        watch: Counts seconds by stage.
        on_windows: Called with the number of windows just finished, skipped and shared ones among them.
    """

    def __init__(
        self, segmenter: Segmenter, stride: int, watch: Stopwatch, on_windows: OnWindows | None = None
    ) -> None:
        self._segmenter, self._stride, self._watch = segmenter, stride, watch
        self._on_windows: OnWindows = on_windows or (lambda n_windows: None)
        self._reasons: CountedStore[str | None] = CountedStore()
        self._logits: CountedStore[Any] = CountedStore()
        self._arrays = arrays_of(segmenter)
        self._spare: list[BatchFilling] = []
        self.n_computed = 0

    def run(self, tasks: Sequence[SegmentTask]) -> Generator[TileSum, None, None]:
        """Each task's finished sum; `n_computed` counts the windows that were computed.

        Raises:
            RasterError: If the stack is damaged.
            ModelError: If the network fails.
        """
        begun: tuple[_Batch, Callable[[], Any]] | None = None
        with (
            closing(prefetch(self._read(tasks), "read")) as strips,
            closing(prefetch(self._cut(strips), "cut")) as batches,
        ):
            while (batch := self._await(batches)) is not None:
                fetch = self._begin(batch.chips)
                if begun is not None:
                    yield from self._add(*begun)
                begun = batch, fetch
        if begun is not None:
            yield from self._add(*begun)

    def _await(self, batches: Iterator[_Batch]) -> _Batch | None:
        with self._watch.stage("wait"):
            return next(batches, None)

    def _read(self, tasks: Sequence[SegmentTask]) -> Generator[_Strip, None, None]:
        """The tasks' pixels, strip by strip."""
        plan = SharedWindowPlan(tasks, self._stride)
        for number, task in enumerate(tasks):
            tile = TileSum(number, task, self._segmenter)
            runs = list(_strips(plan.requests_of(number, task)))
            for place, run in enumerate(runs, start=1):
                yield _Strip(tile, run, self._read_pixels(tile, run), is_last=place == len(runs))

    def _read_pixels(self, tile: TileSum, run: list[WindowRequest]) -> Stack | None:
        """Those of the windows to compute, which every pixel of the tile's cells is in; None if there are none."""
        addresses = [request.address for request in run if not request.is_computed_before]
        if not addresses:
            return None
        grid = hull_of_windows(tile.hull.epsg, addresses, self._segmenter.window_px, self._segmenter.halo_px)
        with self._watch.stage("read"):
            return read_stack(
                tile.task.stack,
                grid.epsg,
                grid,
                tile_cells=tile.task.stack_tile_cells,
                without=("class", "dates", "clear") if isinstance(self._segmenter, Engine) else ("class", "dates"),
            )

    def _cut(self, strips: Iterator[_Strip]) -> Generator[_Batch, None, None]:
        """The strips' windows in full batches, whatever tile they belong to; only the last may be short."""
        filling = self._new_batch()
        places: list[_Place] = []
        whole: list[TileSum] = []
        for strip in strips:
            for request in self._choose(strip):
                if request.is_computed_before or strip.stack is None:
                    places.append(_Place(strip.tile, request, None))
                    continue
                places.append(_Place(strip.tile, request, len(filling)))
                with self._watch.stage("cut"):
                    filling.add(strip.stack, [request.address])
                if len(filling) >= self._segmenter.batch_size:  # it may have shrunk
                    yield _Batch(places, self._stage(filling), whole, filling)
                    filling, places, whole = self._new_batch(), [], []
            if strip.is_last:
                if any(place.tile is strip.tile for place in places):
                    whole.append(strip.tile)
                else:
                    yield _Batch([], None, [strip.tile])
        if places:
            yield _Batch(places, self._stage(filling) if len(filling) else None, whole, filling)

    def _new_batch(self) -> BatchFilling:
        """Memory for a batch: that of one whose logits are there, since fresh pages cost more than the copying into them."""
        segmenter = self._segmenter
        while self._spare:
            memory = self._spare.pop()
            if memory.capacity == segmenter.batch_size:
                memory.clear()
                return memory
        size = segmenter.batch_size, segmenter.window_px, segmenter.halo_px
        if isinstance(segmenter, Engine):
            return BatchFilling(*size, segmenter.allocate, with_dates=False)
        return BatchFilling(*size)

    def _choose(self, strip: _Strip) -> list[WindowRequest]:
        """The windows worth segmenting; the others are counted by reason."""
        tile, wanted = strip.tile, []
        with self._watch.stage("cut"):
            if strip.stack is not None:
                tile.see(strip.stack)
            for request in strip.requests:
                key = tile.key_of(request.address)
                if request.is_computed_before or strip.stack is None:
                    reason = self._reasons.take(key)
                else:
                    window = window_grid(tile.hull.epsg, request.address, self._segmenter.window_px)
                    reason = reason_to_skip(strip.stack, window, tile.task.min_elevation_m)
                    self._reasons.put(key, reason, request.n_later_uses)
                tile.counts["n_windows" if reason is None else f"n_{reason}"] += 1
                if reason is None:
                    wanted.append(request)
        return wanted

    def _stage(self, filling: BatchFilling) -> Any:
        """The batch, as far on its way as it can be without the device."""
        with self._watch.stage("cut"):
            return stage_batch(self._segmenter, filling.finish())

    def _begin(self, chips: Any) -> Callable[[], Any]:
        """Start a batch; its logits when called."""
        if chips is None:
            return lambda: np.empty((0, 0, 0), dtype=np.float32)
        with self._watch.stage("network"):
            return begin_for_sums(self._segmenter, chips)

    def _add(self, batch: _Batch, fetch: Callable[[], Any]) -> Iterator[TileSum]:
        """Add a batch's windows; the tiles that this completes."""
        with self._watch.stage("network"):
            logits = fetch()
        with self._watch.stage("blend"):
            for place in batch.places:
                key = place.tile.key_of(place.request.address)
                if place.row is None:
                    window = self._logits.take(key)
                else:
                    window = logits[place.row]
                    self.n_computed += 1
                    if place.request.n_later_uses:
                        self._logits.put(key, self._arrays.copy(window), place.request.n_later_uses)
                place.tile.add(place.request.address, window)
        if batch.memory is not None:
            self._spare.append(batch.memory)
        self._on_windows(len(batch.places))
        for tile in batch.whole:
            self._on_windows(sum(tile.counts[f"n_{reason}"] for reason in SKIPPED_BECAUSE))
            yield tile


def _strips(windows: list[WindowRequest]) -> Iterator[list[WindowRequest]]:
    """Windows in lattice order, in runs whose rows fall into the same strip of the lattice."""
    for _, run in groupby(windows, key=lambda request: request.address[0] // STRIP_PX):
        yield list(run)


def reason_to_skip(stack: Stack, window: Grid, min_elevation_m: float | None) -> str | None:
    """Reason why a window need not be segmented, as in `SKIPPED_BECAUSE`; None if it must. Unknown heights are not low ones."""
    rows, cols = window.slices_in(stack.grid)
    if not stack.has_optical[rows, cols].any():
        return "unobserved"
    if min_elevation_m is not None:
        heights = stack.dem[rows, cols]
        known = heights[np.isfinite(heights)]
        if known.size and known.max() < min_elevation_m:
            return "below_elevation"
    return None
