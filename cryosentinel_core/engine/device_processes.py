"""Jobs over several devices of this machine, one process each.

The same contract as `jobs`: a job is a plain frozen value, and what does it writes its own result under a final name only when whole.
Processes are spawned, not forked: a forked process cannot use a GPU that its parent has touched.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any, TypeVar

from cryosentinel_core.errors import ModelError

J = TypeVar("J")
R = TypeVar("R")


def run_on_devices(
    make_worker: Callable[[str], Callable[[J], R]], jobs: Sequence[J], devices: Sequence[str]
) -> Iterator[tuple[int, R]]:
    """Results of jobs with the job's index, in the order in which they finish.

    Each device has one process for all its jobs and one worker in it, so that a network is loaded once; the next job goes to whichever
    is idle.

    Args:
        make_worker: Device -> what does a job there; defined at the top of a module, called once in each process.
        jobs: Plain values.
        devices: A process is started for each; a name may stand there twice.

    Raises:
        ModelError: If a process dies.
        Exception: The first error that a job raises; jobs under way are let finish, jobs not yet begun are dropped.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = [
            stack.enter_context(
                ProcessPoolExecutor(
                    max_workers=1, mp_context=context, initializer=_start, initargs=(make_worker, device)
                )
            )
            for device in devices
        ]
        idle = list(range(len(devices)))
        left = iter(enumerate(jobs))
        running: dict[Future[Any], tuple[int, int]] = {}
        while True:
            while idle:
                following = next(left, None)
                if following is None:
                    break
                index, job = following
                place = idle.pop(0)
                running[pools[place].submit(_work, job)] = index, place
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=running.__getitem__):
                index, place = running.pop(future)
                idle.append(place)
                try:
                    yield index, future.result()
                except BrokenProcessPool as error:
                    raise ModelError(
                        f"the process on {devices[place]} died, as it does where the machine's memory does not suffice",
                        "run again: finished tiles are kept; if it stays, use a smaller --batch-size or --device cuda:0",
                    ) from error


_worker: Callable[[Any], Any] | None = None
"""The worker of this process: a process of a pool hands nothing else on from one job to the next."""


def _start(make_worker: Callable[[str], Callable[[Any], Any]], device: str) -> None:
    """Make the worker, once in each process."""
    global _worker
    _worker = make_worker(device)


def _work(job: Any) -> Any:
    """Do a job in the process that it was sent to."""
    assert _worker is not None
    return _worker(job)
