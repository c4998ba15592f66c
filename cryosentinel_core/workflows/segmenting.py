"""Tiles to logits, wherever they are computed: in this process, in its threads, or on a cluster.

Neighbours: `segment` does the work of one tile; `jobs` hands tiles out; `predict` asks for all that are missing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from cryosentinel_core.lattice import windows_touching
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.settings import WATER_INDEX, PredictSettings
from cryosentinel_core.stopwatch import WorkDone
from cryosentinel_core.workflows.jobs import run_jobs
from cryosentinel_core.workflows.segment import TileJob, segment_run, segment_tile


def segment_tiles(todo: Sequence[TileJob], settings: PredictSettings, stride: int, reporter: Reporter) -> WorkDone:
    """Write the logits of some tiles.

    Args:
        todo: Tiles that are not done, of all years.
        settings: Of prediction; say where to compute.
        stride: Pixels from window to window.
        reporter: Hears of windows finished, skipped ones among them.

    Returns:
        What it cost, all tiles together.
    """
    heard = _Progress(sum(len(windows_touching(job.cells, stride)) for job in todo), reporter)
    if settings.scheduler is None and settings.model != WATER_INDEX:
        return segment_run(todo, heard)
    # A callback does not travel to a cluster: there, whole tiles are what is heard of.
    work = segment_tile if settings.scheduler else partial(segment_tile, heard=heard)
    done = WorkDone()
    for index, cost in run_jobs(work, todo, workers=settings.workers, scheduler=settings.scheduler):
        done += cost
        if settings.scheduler:
            heard(len(windows_touching(todo[index].cells, stride)))
    return done


class _Progress:
    """Adds up windows from several threads."""

    def __init__(self, total: int, reporter: Reporter) -> None:
        self._total, self._reporter = total, reporter
        self._finished = 0
        self._lock = threading.Lock()
        reporter.progress("segment windows", 0, total)

    def __call__(self, n_windows: int) -> None:
        with self._lock:
            self._finished += n_windows
            self._reporter.progress("segment windows", self._finished, self._total)
