"""CPU threads of a network: a run that was interrupted goes on with the number that it began with.

Threads change the last bits of a logit, so that tiles computed with another number would not be the same to the bit. The number is
recorded with each tile and in `run.json`. Neighbours: `predict` asks before it segments; `tile_jobs` records.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Segmenter, ThreadedSegmenter


def continue_with_threads(segmenter: Segmenter, jobs: Sequence[TileJob], reporter: Reporter) -> None:
    """Have a segmenter compute with the threads that finished tiles of the run were computed with.

    Does nothing where no tile is finished, all are, or the segmenter does not compute on the CPU.

    Args:
        segmenter: Of the run.
        jobs: Its tiles, of all years.
        reporter: Told if another number was asked for.
    """
    if not isinstance(segmenter, ThreadedSegmenter) or segmenter.cpu_threads is None:
        return
    done = [job for job in jobs if job.is_done]
    recorded = threads_of(done)
    if not recorded or len(done) == len(jobs):
        return
    if recorded[0] != segmenter.cpu_threads:
        reporter.note(
            f"the run was begun with {recorded[0]} CPU threads and goes on with them, not with {segmenter.cpu_threads}: "
            "threads change the last bits of a result"
        )
        segmenter.use_threads(recorded[0])


def threads_of(jobs: Sequence[TileJob]) -> list[int]:
    """The numbers of CPU threads that finished tiles were computed with, ascending; empty where threads change nothing.

    Args:
        jobs: Finished tiles.
    """
    found = (record.get("threads") for job in jobs if isinstance(record := read_json(job.record), dict))
    return sorted({number for number in found if isinstance(number, int) and number >= 1})
