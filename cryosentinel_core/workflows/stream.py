"""Tiles as one stream of windows, so that the network waits for nothing.

Strips of the stack are read in one thread, windows cut and put together in batches in a second; the caller's thread starts each batch
and adds up the one before it. A batch takes windows of whatever strip or tile comes next, so that only the very last one is padded:
at a fixed batch size a window's logits are the same bits in any company, and each tile adds its windows in lattice order. In memory
are two strips, three batches, and the sums of the tiles that these touch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.io.stack import read_stack
from cryosentinel_core.lattice import Cell, Grid, hull_of_cells, mask_of_cells, windows_touching
from cryosentinel_core.scene import Stack
from cryosentinel_core.segmenter import Segmenter, has_spread
from cryosentinel_core.stopwatch import Stopwatch
from cryosentinel_core.units import CELL_PX
from cryosentinel_core.windows import (
    BatchFilling,
    LogitCanvas,
    encode_logits,
    encode_spread,
    hull_of_windows,
    window_grid,
)
from cryosentinel_core.workflows.ahead import ahead
from cryosentinel_core.workflows.batches import begin_batch, stage_batch

STRIP_PX: Final = 5 * CELL_PX
"""Rows of windows held in memory together."""

SKIPPED_BECAUSE: Final = ("unobserved", "below_elevation")
"""Why a window is not segmented; each has its count `n_<reason>` in a tile's record."""

Heard = Callable[[int], None]
"""Told how many windows were just finished."""

Address = tuple[int, int]
"""Lattice (row, col) of a window's upper left pixel."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What to segment.

    Attributes:
        stack: Folder of the year's stack.
        stack_tile_cells: Cells along a tile of that stack.
        cells: Of one zone; every window that touches one is segmented.
        min_elevation_m: Windows whose heights all lie below are passed over; None for no limit.
    """

    stack: Path
    stack_tile_cells: int
    cells: tuple[Cell, ...]
    min_elevation_m: float | None = None


class TileSum:
    """One ground's logits as they come.

    Attributes:
        number: Of the ground in the stream.
        ground: What is segmented.
        hull: The pixels.
        counts: `n_windows`, and `n_<reason>` of those passed over.
    """

    def __init__(self, number: int, ground: Ground, segmenter: Segmenter) -> None:
        self.number, self.ground = number, ground
        self.hull = hull_of_cells(ground.cells)
        self.counts = {"n_windows": 0, **{f"n_{reason}": 0 for reason in SKIPPED_BECAUSE}}
        self._size_px, self._blended, self._has_spread = segmenter.window_px, segmenter.blended, has_spread(segmenter)
        self._valid = np.zeros(self.hull.shape, dtype=bool)
        self._canvas: LogitCanvas | None = None

    def see(self, stack: Stack) -> None:
        """Learn which pixels have data."""
        shared = stack.grid.intersection(self.hull)
        if shared is not None:
            self._valid[shared.slices_in(self.hull)] |= stack.valid[shared.slices_in(stack.grid)]

    def add(self, address: Address, logits: NDArray[np.float32]) -> None:
        """Add one window's logits, (H, W) or, with the members' variance, (2, H, W); windows come in lattice order."""
        if self._canvas is None:
            self._canvas = LogitCanvas(self.hull, self._size_px, blended=self._blended, with_spread=self._has_spread)
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
        return self._valid & mask_of_cells(self.ground.cells, self.hull)


@dataclass(frozen=True)
class _Strip:
    """Windows whose rows fall into one strip of the lattice, and the pixels that they need."""

    tile: TileSum
    addresses: list[Address]
    stack: Stack
    is_last: bool


@dataclass(frozen=True)
class _Batch:
    """Windows that are computed together, with the tiles that are whole once they are added."""

    places: list[tuple[TileSum, Address]]
    chips: Any
    whole: list[TileSum]


class TileStream:
    """Grounds in, their logits out, in order of completion.

    Args:
        segmenter: Of all of them.
        stride: Pixels from window to window.
        watch: Counts seconds by stage.
        heard: Called with the number of windows just finished, skipped ones among them.
    """

    def __init__(self, segmenter: Segmenter, stride: int, watch: Stopwatch, heard: Heard | None = None) -> None:
        self._segmenter, self._stride, self._watch = segmenter, stride, watch
        self._heard: Heard = heard or (lambda n_windows: None)

    def run(self, grounds: Iterable[Ground]) -> Generator[TileSum, None, None]:
        """Each ground's finished sum.

        Raises:
            RasterError: If the stack is damaged.
            ModelError: If the network fails.
        """
        late: tuple[_Batch, Callable[[], NDArray[np.float32]]] | None = None
        with (
            closing(ahead(self._read(grounds), "read")) as strips,
            closing(ahead(self._cut(strips), "cut")) as batches,
        ):
            while (batch := self._await(batches)) is not None:
                coming = self._begin(batch.chips)
                if late is not None:
                    yield from self._add(*late)
                late = batch, coming
        if late is not None:
            yield from self._add(*late)

    def _await(self, batches: Iterator[_Batch]) -> _Batch | None:
        with self._watch.stage("wait"):
            return next(batches, None)

    def _read(self, grounds: Iterable[Ground]) -> Generator[_Strip, None, None]:
        """The grounds' pixels, strip by strip."""
        for number, ground in enumerate(grounds):
            tile = TileSum(number, ground, self._segmenter)
            runs = list(_strips(windows_touching(ground.cells, self._stride)))
            for place, run in enumerate(runs, start=1):
                grid = hull_of_windows(tile.hull.epsg, run, self._segmenter.window_px, self._segmenter.halo_px)
                with self._watch.stage("read"):
                    stack = read_stack(ground.stack, grid.epsg, grid, tile_cells=ground.stack_tile_cells)
                yield _Strip(tile, run, stack, is_last=place == len(runs))

    def _cut(self, strips: Iterator[_Strip]) -> Generator[_Batch, None, None]:
        """The strips' windows in full batches, whatever tile they belong to; only the last may be short."""
        filling = self._new_batch()
        places: list[tuple[TileSum, Address]] = []
        whole: list[TileSum] = []
        for strip in strips:
            wanted = self._choose(strip)
            while wanted:
                room = max(1, self._segmenter.batch_size - len(places))
                taken, wanted = wanted[:room], wanted[room:]
                with self._watch.stage("cut"):
                    filling.add(strip.stack, taken)
                places += [(strip.tile, address) for address in taken]
                if len(places) >= self._segmenter.batch_size:
                    yield _Batch(places, self._stage(filling), whole)
                    filling, places, whole = self._new_batch(), [], []
            if strip.is_last:
                if any(tile is strip.tile for tile, _ in places):
                    whole.append(strip.tile)
                else:
                    yield _Batch([], None, [strip.tile])
        if places:
            yield _Batch(places, self._stage(filling), whole)

    def _new_batch(self) -> BatchFilling:
        return BatchFilling(self._segmenter.batch_size, self._segmenter.window_px, self._segmenter.halo_px)

    def _choose(self, strip: _Strip) -> list[Address]:
        """The windows worth segmenting; the others are counted by reason."""
        with self._watch.stage("cut"):
            strip.tile.see(strip.stack)
            wanted = []
            for address in strip.addresses:
                window = window_grid(strip.stack.grid.epsg, address, self._segmenter.window_px)
                reason = _reason_to_skip(strip.stack, window, strip.tile.ground.min_elevation_m)
                strip.tile.counts["n_windows" if reason is None else f"n_{reason}"] += 1
                if reason is None:
                    wanted.append(address)
        return wanted

    def _stage(self, filling: BatchFilling) -> Any:
        """The batch, as far on its way as it can be without the device."""
        with self._watch.stage("cut"):
            return stage_batch(self._segmenter, filling.finish())

    def _begin(self, chips: Any) -> Callable[[], NDArray[np.float32]]:
        """Start a batch; its logits when called."""
        if chips is None:
            return lambda: np.empty((0, 0, 0), dtype=np.float32)
        with self._watch.stage("network"):
            return begin_batch(self._segmenter, chips)

    def _add(self, batch: _Batch, coming: Callable[[], NDArray[np.float32]]) -> Iterator[TileSum]:
        """Add a batch's windows; the tiles that this completes."""
        with self._watch.stage("network"):
            logits = coming()
        with self._watch.stage("blend"):
            for (tile, address), window in zip(batch.places, logits, strict=False):
                tile.add(address, window)
        self._heard(len(batch.places))
        for tile in batch.whole:
            self._heard(sum(tile.counts[f"n_{reason}"] for reason in SKIPPED_BECAUSE))
            yield tile


def _strips(addresses: list[Address]) -> Iterator[list[Address]]:
    """Sorted addresses in runs whose rows fall into the same strip of the lattice."""
    for _, run in groupby(addresses, key=lambda address: address[0] // STRIP_PX):
        yield list(run)


def _reason_to_skip(stack: Stack, window: Grid, min_elevation_m: float | None) -> str | None:
    """Why a window need not be segmented, as in `SKIPPED_BECAUSE`; None if it must. Unknown heights are not low ones."""
    rows, cols = window.slices_in(stack.grid)
    if not stack.has_optical[rows, cols].any():
        return "unobserved"
    if min_elevation_m is not None:
        heights = stack.dem[rows, cols]
        known = heights[np.isfinite(heights)]
        if known.size and known.max() < min_elevation_m:
            return "below_elevation"
    return None
