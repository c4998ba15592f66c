"""Tiles to logits, wherever they are computed: in this process, in its threads, on several GPUs, or on a cluster.

Neighbours: `segment` does the work; `jobs` and `devices` hand it out; `predict` asks for all tiles that are missing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from cryosentinel_core.engine.devices import run_on_devices
from cryosentinel_core.engine.jobs import run_jobs
from cryosentinel_core.engine.stopwatch import WorkDone
from cryosentinel_core.engine.tile_jobs import TileJob, segment_run, segment_tile, stride_of
from cryosentinel_core.ground.lattice import windows_touching
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine, Segmenter
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
        segmenter: That of the settings, built in this process.
        settings: Of prediction; say where to compute.
        reporter: Hears of windows finished, skipped ones among them.
        devices: One process is started for each; with fewer than two all is computed here, or where `settings.scheduler` says.

    Returns:
        What it cost, all tiles together.
    """
    stride = stride_of(segmenter, settings)
    sizes = [len(windows_touching(job.cells, stride)) for job in todo]
    heard = _Progress(sum(sizes), reporter)
    if settings.scheduler:
        return _add(
            run_jobs(segment_tile, _settle(todo, segmenter), workers=1, scheduler=settings.scheduler), sizes, heard
        )
    if not isinstance(segmenter, Engine):
        work = partial(segment_tile, heard=heard)
        return _add(run_jobs(work, todo, workers=settings.workers), [0] * len(todo), heard)
    if len(devices) < 2 or len(todo) < 2:
        return segment_run(todo, heard)
    share = math.ceil(len(todo) / (RUNS_PER_DEVICE * len(devices)))
    settled = _settle(todo, segmenter)
    runs = [tuple(settled[start : start + share]) for start in range(0, len(todo), share)]
    run_sizes = [sum(sizes[start : start + share]) for start in range(0, len(todo), share)]
    done = _add(run_on_devices(segment_run_on, runs, devices), run_sizes, heard)
    return replace(done, engine={**done.engine, "n_processes": len(devices)})


def segment_run_on(jobs: tuple[TileJob, ...], device: str) -> WorkDone:
    """`segment_run` on a device."""
    return segment_run([replace(job, settings=job.settings.model_copy(update={"device": device})) for job in jobs])


def _settle(todo: Sequence[TileJob], segmenter: Segmenter) -> list[TileJob]:
    """The jobs with the precision that this process chose: it stands in their digests, and other devices might choose another."""
    if not isinstance(segmenter, Engine):
        return list(todo)
    precision = segmenter.conditions["precision"]
    return [replace(job, settings=job.settings.model_copy(update={"precision": precision})) for job in todo]


def _add(finished: Iterable[tuple[int, WorkDone]], sizes: Sequence[int], heard: _Progress) -> WorkDone:
    """What all jobs cost; `sizes` are the windows to be heard of once each is finished, as no callback travels to a process."""
    done = WorkDone()
    for index, cost in finished:
        done += cost
        heard(sizes[index])
    return done


class _Progress:
    """Adds up windows from several threads."""

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
