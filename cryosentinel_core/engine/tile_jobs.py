"""Tiles from stack to logits on disk: the job that this process, its threads and clusters run.

A tile asks for every window that touches its core cells, also those that reach into its neighbours: a window's logits are the
same whoever asks, so the pixels on both sides of a seam get the same sum of the same windows in the same order. Tiles of one run
compute such a window once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.engine.machine import peak_memory_mib
from cryosentinel_core.engine.shared_windows import SegmentTask, count_windows
from cryosentinel_core.engine.stopwatch import Stopwatch, WorkDone
from cryosentinel_core.engine.tile_stream import OnWindows, TileStream, TileSum
from cryosentinel_core.ground.lattice import Cell, Tile
from cryosentinel_core.io.rasters.cogs import write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import LOGIT_LAYER, SPREAD_LAYER
from cryosentinel_core.io.workspace import is_current, write_json
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.segment.segmenter import Engine, Segmenter, ThreadedSegmenter
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import CELL_PX


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
    def task(self) -> SegmentTask:
        """Cells to segment, and the stack they are read from."""
        return SegmentTask(
            stack=self.stack,
            stack_tile_cells=self.stack_tile_cells,
            cells=self.cells,
            min_elevation_m=self.settings.min_elevation_m,
        )

    @property
    def is_done(self) -> bool:
        """True if the parts on disk are the ones request for."""
        wanted = [self.part, self.spread_part] if self.settings.uncertainty else [self.part]
        return is_current(self.record, self.provenance, *wanted)

    @property
    def spread_part(self) -> Path:
        """Final name of the tile's spreads, where they are request for."""
        return self.part.with_name(f"{self.part.stem}_spread.tif")


def segment_tile(job: TileJob, segmenter: Segmenter, on_windows: OnWindows | None = None) -> WorkDone:
    """Write the logits of one tile's core cells; does nothing if they are there. See `segment_run`."""
    return segment_run([job], segmenter, on_windows)


def segment_run(jobs: Sequence[TileJob], segmenter: Segmenter, on_windows: OnWindows | None = None) -> WorkDone:
    """Write the logits of some tiles' core cells, as one stream of windows; tiles that are there are kept.

    A finished tile is compressed and written in a thread while the next ones are computed.

    Args:
        jobs: Tiles; all with the same settings.
        segmenter: That of the settings.
        on_windows: Called with the number of windows just finished, skipped ones among them.

    Returns:
        What it cost.
    """
    todo = [job for job in jobs if not job.is_done]
    if not todo:
        return WorkDone()
    watch = Stopwatch()
    with watch.stage("prepare"):
        stride = stride_of(segmenter, todo[0].settings)
        tasks = [job.task for job in todo]
        if isinstance(segmenter, Engine):
            segmenter.prepare_for(count_windows(tasks, stride))
    stream = TileStream(segmenter, stride, watch, on_windows)
    with (
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="write") as writer,
        closing(stream.run(tasks)) as tiles,
    ):
        writing: Future[None] | None = None
        for tile in tiles:
            if writing is not None:
                writing.result()
            writing = writer.submit(_write_tile, todo[tile.number], tile, segmenter, watch)
        if writing is not None:
            writing.result()
    return work_of(segmenter, stream.n_computed, watch)


def _write_tile(job: TileJob, tile: TileSum, segmenter: Segmenter, watch: Stopwatch) -> None:
    """The tile's logits and spreads, then its record."""
    with watch.stage("write"):
        hull, tags = tile.hull, job.provenance.as_tags()
        logits = tile.encode()
        write_cog_in_strips(job.part, hull, LOGIT_LAYER, tags, lambda strip: logits[strip.slices_in(hull)])
        if job.settings.uncertainty:
            spread = tile.encode_spread()
            write_cog_in_strips(job.spread_part, hull, SPREAD_LAYER, tags, lambda strip: spread[strip.slices_in(hull)])
        threads = segmenter.cpu_threads if isinstance(segmenter, ThreadedSegmenter) else None
        known = {} if threads is None else {"threads": threads}
        write_json(job.record, {**job.provenance.as_dict(), "counts": tile.counts, **known})


def work_of(segmenter: Segmenter, n_windows: int, watch: Stopwatch) -> WorkDone:
    """Cost of some windows to this process."""
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
    on_windows: OnWindows | None = None,
    watch: Stopwatch | None = None,
) -> tuple[NDArray[np.int16], dict[str, int]]:
    """Stored logits of some cells of one zone, with nothing written.

    Returns:
        (H, W) int16 on the cells' hull, nodata outside the cells and where nothing was observed; and counts of windows.
    """
    task = SegmentTask(stack=stack_folder, stack_tile_cells=stack_tile_cells, cells=cells)
    (tile,) = TileStream(segmenter, stride, watch or Stopwatch(), on_windows).run([task])
    return tile.encode(), tile.counts
