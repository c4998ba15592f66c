"""Precision that a job is computed in where `--precision auto` leaves it open: bf16 if windows of the job itself bear it.

What was begun is gone on with: if something of the job is there in either precision, that one stays, so that a second run changes
nothing and computes nothing. Else a few windows are computed in both. Neighbours: `predict` and `chips` ask before they plan; the
network's room `learn.inference.precision` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, Literal

from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.lattice import Cell
from cryosentinel_core.io.rasters.stack_files import read_stack
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import AdjustablePrecision, ChipBatch, Segmenter
from cryosentinel_core.segment.windows import cut_chips, join_batches
from cryosentinel_core.units import BF16_TOLERANCE

SAMPLE_WINDOWS: Final = 4
"""Windows on which bf16 is held against float32."""

_TRIES: Final = 25
"""Windows looked at in a tile for one in which something was seen."""


def choose_job_precision(
    segmenter: Segmenter,
    is_begun: Callable[[], bool],
    sample: Callable[[], ChipBatch | None],
    reporter: Reporter,
) -> None:
    """Choose a segmenter's precision for a job; does nothing where it is fixed, as by `--precision float32`.

    Args:
        segmenter: Of the job; its digest changes with its precision.
        is_begun: Whether something of the job is done under the segmenter's digest as it is at that moment.
        sample: Some chips of the job; None if it has none.
        reporter: Told if bf16 is refused; the precision itself stands in the result.
    """
    if not isinstance(segmenter, AdjustablePrecision) or not segmenter.is_precision_open:
        return
    choices: tuple[Literal["bf16", "float32"], ...] = ("bf16", "float32")
    for precision in choices:
        segmenter.use_precision(precision)
        if is_begun():
            segmenter.fix_precision()
            return
    batch = sample()
    error = 0.0 if batch is None else segmenter.bf16_error(batch)
    segmenter.use_precision("bf16" if error <= BF16_TOLERANCE else "float32")
    segmenter.fix_precision()
    if error > BF16_TOLERANCE:
        reporter.note(
            f"bf16 errs by {error:.3f} of the logits' spread on windows of this job (at most {BF16_TOLERANCE} is borne): "
            "computing in float32, which is slower"
        )


def sample_windows(jobs: Sequence[TileJob], segmenter: Segmenter) -> ChipBatch | None:
    """Windows from all over a job in which something was seen; None if there are none.

    Args:
        jobs: Its tiles, of all years.
        segmenter: Says how large a window is.

    Raises:
        RasterError: If a stack is damaged.
    """
    places = [(2 * number + 1) * len(jobs) // (2 * SAMPLE_WINDOWS) for number in range(SAMPLE_WINDOWS)]
    found = [_seen_window(jobs[place], segmenter) for place in dict.fromkeys(places) if place < len(jobs)]
    batches = [batch for batch in found if batch is not None]
    return join_batches(batches) if batches else None


def _seen_window(job: TileJob, segmenter: Segmenter) -> ChipBatch | None:
    """The window of one of a tile's cells, the middle one or the next in which something was seen."""
    middle = len(job.cells) // 2
    around: list[Cell] = [*job.cells[middle:], *job.cells[:middle]]
    for cell in islice(around, _TRIES):
        grid = cell.grid
        stack = read_stack(job.stack, grid.epsg, grid, tile_cells=job.stack_tile_cells)
        if stack.has_optical.any():
            return cut_chips(stack, [(grid.row, grid.col)], segmenter.window_px, segmenter.halo_px)
    return None
