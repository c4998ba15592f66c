"""Any rectangle of pixels through a segmenter, window by window: what lies in memory or in a large file, and in no workspace.

Windows, their order, their batches and what is passed over are those of `stream`, so that the same pixels get the same bits. In
memory are one strip, two batches and the answer. Neighbours: `stream` does the same for tiles of a stack on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

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

Address = tuple[int, int]

ReadPixels = Callable[[Grid], Stack]
"""Grid -> its pixels; any grid near the rectangle, nodata outside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GridAnswer:
    """Logits of a rectangle.

    Attributes:
        logits: (H, W) float32, or with a spread (2, H, W), mean and variance; NaN where no window came.
        valid: (H, W) bool, True where optical and terrain data are good.
        n_windows: Windows that were computed.
    """

    logits: NDArray[np.float32]
    valid: NDArray[np.bool_]
    n_windows: int


def segment_grid(
    segmenter: Segmenter, grid: Grid, read: ReadPixels, settings: PredictSettings, reporter: Reporter
) -> GridAnswer:
    """Logits of every pixel of a rectangle, from all windows of the lattice that touch it.

    Windows that reach over its edge see nodata there: within a window of the edge a network knows less.

    Args:
        segmenter: In a precision that may still be open.
        grid: Pixels wanted.
        read: Gives them, and what lies around.
        settings: Their overlap and lowest elevation.
        reporter: Hears progress.

    Raises:
        ModelError: If the network fails.
    """
    stride = stride_of(segmenter, settings)
    addresses = list(_windows_touching(grid, segmenter.window_px, stride))
    choose_job_precision(segmenter, lambda: False, lambda: _sample(segmenter, grid, addresses, read), reporter)
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(len(addresses))
    run = _Run(segmenter, grid)
    for number, (_, group) in enumerate(groupby(addresses, key=lambda address: address[0] // STRIP_PX)):
        strip = list(group)
        stack = read(hull_of_windows(grid.epsg, strip, segmenter.window_px, segmenter.halo_px))
        run.see(stack)
        for address in strip:
            window = window_grid(grid.epsg, address, segmenter.window_px)
            if reason_to_skip(stack, window, settings.min_elevation_m) is None:
                run.take(stack, address)
        reporter.progress("windows", min((number + 1) * len(strip), len(addresses)), len(addresses))
    return run.finish()


class _Run:
    """One rectangle's windows on their way: a batch is begun before the one before it is added."""

    def __init__(self, segmenter: Segmenter, grid: Grid) -> None:
        self._segmenter, self._grid = segmenter, grid
        self._spread = has_spread(segmenter)
        self._canvas = LogitCanvas(
            grid,
            segmenter.window_px,
            blended=segmenter.blended,
            with_spread=self._spread,
            arrays=arrays_of(segmenter),
        )
        self._valid = np.zeros(grid.shape, dtype=bool)
        self._filling = self._new_batch()
        self._places: list[Address] = []
        self._late: tuple[list[Address], Callable[[], Any]] | None = None
        self._n_windows = 0

    def _new_batch(self) -> BatchFilling:
        size = self._segmenter.batch_size, self._segmenter.window_px, self._segmenter.halo_px
        return BatchFilling(*size, with_dates=not isinstance(self._segmenter, Engine))

    def see(self, stack: Stack) -> None:
        """Learn which pixels have data."""
        shared = stack.grid.intersection(self._grid)
        if shared is not None:
            self._valid[shared.slices_in(self._grid)] |= stack.valid[shared.slices_in(stack.grid)]

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
            if self._spread:
                self._canvas.add(address, logits[row][0], logits[row][1])
            else:
                self._canvas.add(address, logits[row])
        self._n_windows += len(places)
        self._late = None

    def finish(self) -> GridAnswer:
        """The answer, once the last batch, which may be short, is there."""
        if self._places:
            self._begin()
        self._add()
        logits = self._canvas.mean()
        if self._spread:
            logits = np.stack([logits, np.square(self._canvas.spread())])
        return GridAnswer(logits=logits, valid=self._valid, n_windows=self._n_windows)


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
