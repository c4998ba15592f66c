"""Any rectangle of pixels through a segmenter, window by window: what lies in memory or in a large file, and in no workspace.

Windows, their order, their batches and what is passed over are those of `tile_stream`, so that the same pixels get the same bits. In
memory are one strip of windows, two batches and the bands of the answer that they touch. Neighbours: `tile_stream` does the same for
tiles of a stack on disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.engine.job_precision import SAMPLE_WINDOWS, choose_job_precision
from cryosentinel_core.engine.tile_jobs import stride_of
from cryosentinel_core.engine.tile_stream import STRIP_PX, reason_to_skip
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.batches import arrays_of, begin_for_sums, stage_batch
from cryosentinel_core.segment.segmenter import ChipBatch, Engine, Segmenter, has_spread
from cryosentinel_core.segment.window_blending import LogitCanvas
from cryosentinel_core.segment.windows import BatchFilling, cut_chips, hull_of_windows, window_grid
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import CELL_PX

STRIP_WIDTH_PX: Final = 4_480
"""Width of a rectangle up to which `STRIP_PX` rows of windows are held together."""

Address = tuple[int, int]

ReadPixels = Callable[[Grid], Stack]
"""Grid -> its pixels; any grid near the rectangle, nodata outside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GridAnswer:
    """Logits of a rectangle.

    Attributes:
        grid: The rectangle.
        logits: (H, W) float32, or with a spread (2, H, W), mean and variance; NaN where no window came.
        valid: (H, W) bool, True where optical and terrain data are good.
    """

    grid: Grid
    logits: NDArray[np.float32]
    valid: NDArray[np.bool_]


def segment_grid(
    segmenter: Segmenter, grid: Grid, read: ReadPixels, settings: PredictSettings, reporter: Reporter
) -> GridAnswer:
    """Logits of every pixel of a rectangle at once; see `segment_bands`."""
    bands = list(segment_bands(segmenter, grid, read, settings, reporter))
    return GridAnswer(
        grid=grid,
        logits=np.concatenate([band.logits for band in bands], axis=-2),
        valid=np.concatenate([band.valid for band in bands]),
    )


def segment_bands(
    segmenter: Segmenter, grid: Grid, read: ReadPixels, settings: PredictSettings, reporter: Reporter
) -> Iterator[GridAnswer]:
    """Logits of every pixel of a rectangle, from all windows of the lattice that touch it, in bands from north to south.

    Windows that reach over its edge see nodata there: within a window of the edge a network knows less. Where the bands end changes no
    bit.

    Args:
        segmenter: In a precision that may still be open.
        grid: Pixels wanted.
        read: Gives them, and what lies around.
        settings: Their overlap and lowest elevation.
        reporter: Hears progress.

    Yields:
        Bands of at most `STRIP_PX` rows, fewer where the rectangle is wide, each once, all of the rectangle in the end.

    Raises:
        ModelError: If the network fails.
    """
    stride = stride_of(segmenter, settings)
    addresses = list(_windows_touching(grid, segmenter.window_px, stride))
    choose_job_precision(segmenter, lambda: False, lambda: _sample(segmenter, grid, addresses, read), reporter)
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(len(addresses))
    rows = _rows_of_strip(grid)
    run = _Run(segmenter, grid, rows)
    n_done = 0
    for _, group in groupby(addresses, key=lambda address: address[0] // rows):
        strip = list(group)
        yield from run.finish_above(strip[0][0])
        _take_strip(run, segmenter, strip, read, settings.min_elevation_m)
        n_done += len(strip)
        reporter.progress("windows", n_done, len(addresses))
    yield from run.finish()


def _take_strip(
    run: _Run, segmenter: Segmenter, strip: list[Address], read: ReadPixels, min_elevation_m: float | None
) -> None:
    """Read a strip and cut its windows; its pixels are gone before the next is read."""
    stack = read(hull_of_windows(run.grid.epsg, strip, segmenter.window_px, segmenter.halo_px))
    run.see(stack)
    for address in strip:
        window = window_grid(run.grid.epsg, address, segmenter.window_px)
        if reason_to_skip(stack, window, min_elevation_m) is None:
            run.take(stack, address)


def _rows_of_strip(grid: Grid) -> int:
    """Rows of windows that are held together: whole cells, as many as `STRIP_PX` of a rectangle of `STRIP_WIDTH_PX` have pixels."""
    cells = STRIP_PX * STRIP_WIDTH_PX // (grid.width * CELL_PX)
    return CELL_PX * max(1, min(STRIP_PX // CELL_PX, cells))


class _Band:
    """Some rows of the rectangle, into which windows are added."""

    def __init__(self, segmenter: Segmenter, grid: Grid) -> None:
        self.grid = grid
        self._spread = has_spread(segmenter)
        self.canvas = LogitCanvas(
            grid,
            segmenter.window_px,
            blended=segmenter.blended,
            with_spread=self._spread,
            arrays=arrays_of(segmenter),
        )
        self.valid = np.zeros(grid.shape, dtype=bool)

    def answer(self) -> GridAnswer:
        """The logits, once all windows are there."""
        logits = self.canvas.mean()
        if self._spread:
            logits = np.stack([logits, np.square(self.canvas.spread())])
        return GridAnswer(grid=self.grid, logits=logits, valid=self.valid)


class _Run:
    """One rectangle's windows on their way: a batch is begun before the one before it is added."""

    def __init__(self, segmenter: Segmenter, grid: Grid, rows: int) -> None:
        self.grid = grid
        self._segmenter = segmenter
        self._spread = has_spread(segmenter)
        self._coming = deque(_bands_of(grid, rows))
        self._open: list[_Band] = []
        self._filling = self._new_batch()
        self._places: list[Address] = []
        self._late: tuple[list[Address], Callable[[], Any]] | None = None

    def _new_batch(self) -> BatchFilling:
        size = self._segmenter.batch_size, self._segmenter.window_px, self._segmenter.halo_px
        return BatchFilling(*size, with_dates=not isinstance(self._segmenter, Engine))

    def see(self, stack: Stack) -> None:
        """Learn which pixels have data, and begin the bands that they lie in."""
        while self._coming and self._coming[0].row < stack.grid.row + stack.grid.height:
            self._open.append(_Band(self._segmenter, self._coming.popleft()))
        for band in self._open:
            shared = stack.grid.intersection(band.grid)
            if shared is not None:
                band.valid[shared.slices_in(band.grid)] |= stack.valid[shared.slices_in(stack.grid)]

    def take(self, stack: Stack, address: Address) -> None:
        """Cut a window; a full batch is begun."""
        self._filling.add(stack, [address])
        self._places.append(address)
        if len(self._filling) >= self._segmenter.batch_size:
            self._begin()

    def _begin(self) -> None:
        coming = begin_for_sums(self._segmenter, stage_batch(self._segmenter, self._filling.finish()))
        self._add()
        self._late = self._places, coming
        self._filling, self._places = self._new_batch(), []

    def _add(self) -> None:
        """Add the batch that was begun before."""
        if self._late is None:
            return
        places, coming = self._late
        logits = coming()
        for row, address in enumerate(places):
            for band in self._open:
                if self._spread:
                    band.canvas.add(address, logits[row][0], logits[row][1])
                else:
                    band.canvas.add(address, logits[row])
        self._late = None

    def finish_above(self, row: int) -> Iterator[GridAnswer]:
        """Bands that no window from some row on touches, nor one that is still on its way."""
        waiting = [*(self._late[0] if self._late else []), *self._places]
        next_row = min([row, *(address[0] for address in waiting)])
        while self._open and self._open[0].grid.row + self._open[0].grid.height <= next_row:
            yield self._open.pop(0).answer()

    def finish(self) -> Iterator[GridAnswer]:
        """The bands that are left, once the last batch, which may be short, is there."""
        if self._places:
            self._begin()
        self._add()
        while self._open:
            yield self._open.pop(0).answer()


def _bands_of(grid: Grid, rows: int) -> Iterator[Grid]:
    """The rectangle in bands of some rows, from north to south."""
    for top in range(0, grid.height, rows):
        yield replace(grid, row=grid.row + top, height=min(rows, grid.height - top))


def _windows_touching(grid: Grid, window_px: int, stride: int) -> Iterator[Address]:
    """Lattice addresses of every window of a stride that touches a pixel of a rectangle, in lattice order."""
    rows, cols = (
        range(-((window_px - 1 - first) // stride) * stride, first + size, stride)
        for first, size in ((grid.row, grid.height), (grid.col, grid.width))
    )
    for row in rows:
        for col in cols:
            yield row, col


def _sample(segmenter: Segmenter, grid: Grid, addresses: list[Address], read: ReadPixels) -> ChipBatch | None:
    """Some windows from all over the rectangle in which something was seen; None if there are none."""
    for number in range(SAMPLE_WINDOWS):
        address = addresses[(2 * number + 1) * len(addresses) // (2 * SAMPLE_WINDOWS)]
        stack = read(window_grid(grid.epsg, address, segmenter.window_px, segmenter.halo_px))
        if stack.has_optical.any():
            return cut_chips(stack, [address], segmenter.window_px, segmenter.halo_px)
    return None
