"""Tiles to logits, wherever they are computed: in this process, in its threads, on several GPUs, or on a cluster.

Neighbours: `tile_jobs` does the work; `jobs` and `device_processes` distribute it; `predict` asks for all tiles that are missing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cryosentinel_core.engine.device_processes import run_on_devices
from cryosentinel_core.engine.jobs import run_jobs
from cryosentinel_core.engine.model_loading import SegmenterHolder
from cryosentinel_core.engine.stopwatch import WorkDone
from cryosentinel_core.engine.tile_jobs import TileJob, segment_run, segment_tile, stride_of
from cryosentinel_core.ground.lattice import windows_touching
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine, Segmenter, ThreadedSegmenter
from cryosentinel_core.settings.predict import PredictSettings

RUNS_PER_DEVICE: Final = 4
"""Runs of tiles that each of several devices gets: with one, the slowest share would decide; with many, batches would be cut short."""


def segment_tiles(
    todo: Sequence[TileJob],
    segmenter: Segmenter,
    settings: PredictSettings,
    reporter: Reporter,
    devices: Sequence[str] = (),
) -> WorkDone:
    """Write the logits of some tiles.

    Args:
        todo: Tiles that are not done, of all years.
        segmenter: That of the settings, held by this process.
        settings: Of prediction; say where to compute.
        reporter: Told of windows finished, skipped ones among them.
        devices: One process is started for each; with fewer than two all is computed here, or where `settings.scheduler` says.

    Returns:
        What it cost, all tiles together.
    """
    stride = stride_of(segmenter, settings)
    sizes = [len(windows_touching(job.cells, stride)) for job in todo]
    progress = _Progress(sum(sizes), reporter)
    if settings.scheduler:
        jobs = _with_choices_of(segmenter, todo)
        return _add(run_jobs(segment_tile_on_worker, jobs, workers=1, scheduler=settings.scheduler), sizes, progress)
    if not isinstance(segmenter, Engine):
        work = partial(segment_tile, segmenter=segmenter, on_windows=progress)
        return _add(run_jobs(work, todo, workers=settings.workers), [0] * len(todo), progress)
    if len(devices) < 2 or len(todo) < 2:
        return segment_run(todo, segmenter, progress)
    share = math.ceil(len(todo) / (RUNS_PER_DEVICE * len(devices)))
    jobs = _with_choices_of(segmenter, todo)
    runs = [tuple(jobs[start : start + share]) for start in range(0, len(todo), share)]
    run_sizes = [sum(sizes[start : start + share]) for start in range(0, len(todo), share)]
    done = _add(run_on_devices(DeviceWorker, runs, devices), run_sizes, progress)
    return replace(done, engine={**done.engine, "n_processes": len(devices)})


class DeviceWorker:
    """Worker of one device: segments runs of tiles with a segmenter that it holds.

    Args:
        device: That it computes on.
    """

    def __init__(self, device: str) -> None:
        self._device, self._holder = device, SegmenterHolder()

    def __call__(self, jobs: tuple[TileJob, ...]) -> WorkDone:
        """Write the logits of a run of tiles."""
        here = [replace(job, settings=job.settings.model_copy(update={"device": self._device})) for job in jobs]
        return segment_run(here, self._holder.segmenter_of(here[0].settings))


def segment_tile_on_worker(job: TileJob) -> WorkDone:
    """Write the logits of one tile on a worker of a cluster, whose process holds its segmenter from job to job."""
    from distributed import get_worker

    holder: SegmenterHolder = vars(get_worker()).setdefault("cryosentinel_segmenter", SegmenterHolder())
    return segment_tile(job, holder.segmenter_of(job.settings))


def _with_choices_of(segmenter: Segmenter, todo: Sequence[TileJob]) -> list[TileJob]:
    """The jobs with the precision and threads that this process chose, which others might choose otherwise: the digest holds the one,
    the last bits depend on the other.
    """
    chosen: dict[str, Any] = {}
    if isinstance(segmenter, Engine):
        chosen["precision"] = segmenter.conditions["precision"]
    if isinstance(segmenter, ThreadedSegmenter) and segmenter.cpu_threads is not None:
        chosen["threads"] = segmenter.cpu_threads
    return [replace(job, settings=job.settings.model_copy(update=chosen)) for job in todo]


def _add(finished: Iterable[tuple[int, WorkDone]], sizes: Sequence[int], progress: _Progress) -> WorkDone:
    """Cost of all jobs; `sizes` are the windows to be told of once each is finished, as no callback travels to a process."""
    done = WorkDone()
    for index, cost in finished:
        done += cost
        progress(sizes[index])
    return done


class _Progress:
    """Count of finished windows, added up over several threads."""

    def __init__(self, total: int, reporter: Reporter) -> None:
        self._total, self._reporter = total, reporter
        self._finished = 0
        self._lock = threading.Lock()
        reporter.progress("segment windows", 0, total)

    def __call__(self, n_windows: int) -> None:
        if not n_windows:
            return
        with self._lock:
            self._finished += n_windows
            self._reporter.progress("segment windows", self._finished, self._total)
