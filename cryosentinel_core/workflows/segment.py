"""One tile from stack to logits: the job that threads and clusters run.

A tile asks for every window that touches its core cells, also those that reach into its neighbours: a window's logits are the
same whoever asks, so the pixels on both sides of a seam get the same sum of the same windows in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.io.machine import peak_memory_mib
from cryosentinel_core.io.mosaic import LOGIT_LAYER, write_layer
from cryosentinel_core.io.stack import read_stack
from cryosentinel_core.io.workspace import is_current, write_json
from cryosentinel_core.lattice import Cell, Grid, Tile, hull_of_cells, mask_of_cells, windows_touching
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.scene import Stack
from cryosentinel_core.segmenter import Engine, Segmenter
from cryosentinel_core.settings import PredictSettings
from cryosentinel_core.stopwatch import Stopwatch, WorkDone
from cryosentinel_core.units import CELL_PX
from cryosentinel_core.windows import LogitCanvas, batches_of, cut_chips, encode_logits, hull_of_windows, pad_batch
from cryosentinel_core.workflows.segmenters import build_segmenter

STRIP_PX: Final = 5 * CELL_PX
"""Rows of windows held in memory together."""

SKIPPED_BECAUSE: Final = ("unobserved",)
"""Why a window is not segmented; each has its count `n_<reason>` in a tile's record."""

Heard = Callable[[int], None]
"""Told how many windows were just finished."""


@dataclass(frozen=True, kw_only=True)
class TileJob:
    """Everything that one tile needs, as plain values.

    Attributes:
        stack: Folder of the year's stack.
        stack_tile_cells: Cells along a tile of that stack.
        tile: What to do.
        cells: Its core cells.
        part: Final name of the tile's logits; the record lies beside it with the suffix `.json`.
        settings: Of prediction.
        provenance: Digest of settings and inputs.
    """

    stack: Path
    stack_tile_cells: int
    tile: Tile
    cells: tuple[Cell, ...]
    part: Path
    settings: PredictSettings
    provenance: Provenance

    @property
    def record(self) -> Path:
        """The record beside the part."""
        return self.part.with_suffix(".json")

    @property
    def is_done(self) -> bool:
        """True if the part on disk is the one asked for."""
        return is_current(self.record, self.provenance, self.part)


def segment_tile(job: TileJob, heard: Heard | None = None) -> WorkDone:
    """Write the logits of one tile's core cells; does nothing if they are there.

    Args:
        job: What to do.
        heard: Called with the number of windows just finished.

    Returns:
        What it cost.
    """
    if job.is_done:
        return WorkDone()
    segmenter = build_segmenter(job.settings)
    stride = stride_of(segmenter, job.settings)
    watch = Stopwatch()
    if isinstance(segmenter, Engine):
        with watch.stage("prepare"):
            segmenter.prepare_for(len(windows_touching(job.cells, stride)))
    logits, counts = segment_cells(job.stack, job.stack_tile_cells, job.cells, segmenter, stride, heard, watch)
    hull = hull_of_cells(job.cells)
    with watch.stage("write"):
        write_layer(job.part, hull, LOGIT_LAYER, job.provenance.as_tags(), lambda strip: logits[strip.slices_in(hull)])
        write_json(job.record, {**job.provenance.as_dict(), "counts": counts})
    return work_of(segmenter, counts["n_windows"], watch)


def work_of(segmenter: Segmenter, n_windows: int, watch: Stopwatch) -> WorkDone:
    """What some windows cost this process."""
    peak = {"host": peak_memory_mib()}
    engine: dict[str, Any] = {}
    if isinstance(segmenter, Engine):
        engine = segmenter.conditions
        peak["gpu"] = segmenter.peak_device_mib
    return WorkDone(
        n_windows=n_windows,
        seconds=watch.seconds,
        peak_mib={name: value for name, value in peak.items() if value is not None},
        engine=engine,
    )


def stride_of(segmenter: Segmenter, settings: PredictSettings) -> int:
    """Pixels from window to window: overlap is for what is blended."""
    return settings.stride_px if segmenter.blended else CELL_PX


def segment_cells(
    stack_folder: Path,
    stack_tile_cells: int,
    cells: tuple[Cell, ...],
    segmenter: Segmenter,
    stride: int,
    heard: Heard | None = None,
    watch: Stopwatch | None = None,
) -> tuple[NDArray[np.int16], dict[str, int]]:
    """Stored logits of some cells of one zone.

    The next strip of the stack is read in a thread while the current one is segmented, so that a GPU does not wait for the disk;
    memory holds two strips and the cells' sums, whatever the area.

    Returns:
        (H, W) int16 on the cells' hull, nodata outside the cells and where nothing was observed; and counts of windows.
    """
    watch = watch or Stopwatch()
    hull = hull_of_cells(cells)
    canvas = LogitCanvas(hull, segmenter.window_px, blended=segmenter.blended)
    valid = np.zeros(hull.shape, dtype=bool)
    counts = {"n_windows": 0, "n_unobserved": 0}

    def read(run: list[tuple[int, int]]) -> Stack:
        grid = hull_of_windows(hull.epsg, run, segmenter.window_px, segmenter.halo_px)
        with watch.stage("read"):
            return read_stack(stack_folder, hull.epsg, grid, tile_cells=stack_tile_cells)

    for run, stack in _read_ahead(list(_strips(windows_touching(cells, stride))), read):
        shared = stack.grid.intersection(hull)
        if shared is not None:
            valid[shared.slices_in(hull)] |= stack.valid[shared.slices_in(stack.grid)]
        wanted = [address for address in run if _is_observed(stack, address, segmenter.window_px)]
        counts["n_windows"] += len(wanted)
        counts["n_unobserved"] += len(run) - len(wanted)
        if heard is not None:
            heard(len(run) - len(wanted))
        for address, window in segment_windows(segmenter, stack, wanted, watch):
            with watch.stage("blend"):
                canvas.add(address, window)
            if heard is not None:
                heard(1)
    with watch.stage("blend"):
        return encode_logits(canvas.mean(), valid & mask_of_cells(cells, hull)), counts


def _read_ahead(
    runs: list[list[tuple[int, int]]], read: Callable[[list[tuple[int, int]]], Stack]
) -> Iterator[tuple[list[tuple[int, int]], Stack]]:
    """Each run with its stack, the following one being read meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, runs[0])
        for run, following in zip(runs, [*runs[1:], None], strict=True):
            stack = coming.result()
            if following is not None:
                coming = reader.submit(read, following)
            yield run, stack


def segment_windows(
    segmenter: Segmenter, stack: Stack, addresses: list[tuple[int, int]], watch: Stopwatch
) -> Iterator[tuple[tuple[int, int], NDArray[np.float32]]]:
    """Each window's logits, in order; the last batch is padded to the batch size."""
    for batch in batches_of(addresses, segmenter.batch_size):
        with watch.stage("cut"):
            chips = pad_batch(cut_chips(stack, batch, segmenter.window_px, segmenter.halo_px), segmenter.batch_size)
        with watch.stage("network"):
            logits = segmenter.segment(chips)
        yield from zip(batch, logits[: len(batch)], strict=True)


def _strips(addresses: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Sorted addresses in runs whose rows fall into the same strip of the lattice."""
    for _, run in groupby(addresses, key=lambda address: address[0] // STRIP_PX):
        yield list(run)


def _is_observed(stack: Stack, address: tuple[int, int], size_px: int) -> bool:
    """True if a window holds at least one pixel with data."""
    window = Grid(epsg=stack.grid.epsg, row=address[0], col=address[1], height=size_px, width=size_px)
    rows, cols = window.slices_in(stack.grid)
    seen: Any = stack.s2[:, rows, cols].any()
    return bool(seen)
