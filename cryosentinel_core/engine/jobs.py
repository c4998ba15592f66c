"""Independent jobs over threads here or over a dask.distributed cluster, by one call.

A job is a plain frozen value and its function a module-level one that writes its own result under a final name only when whole,
so that jobs can run anywhere, in any order, and be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from cryosentinel_core.errors import ConfigError, CryosentinelError

J = TypeVar("J")
R = TypeVar("R")


def run_jobs(
    function: Callable[[J], R], jobs: Sequence[J], *, workers: int, scheduler: str | None = None
) -> Iterator[tuple[int, R]]:
    """Results of `function(job)` with the job's index, in the order in which they finish.

    Args:
        function: Defined at the top of a module.
        jobs: Plain values; for a cluster they and the files they name must be reachable from every worker.
        workers: Jobs side by side on this machine; at most that many are handed out ahead, so memory stays bounded.
        scheduler: Address of a dask.distributed scheduler; None runs them here.

    Raises:
        ConfigError: If the scheduler cannot be used.
        Exception: The first error that a job raises; jobs not yet begun are dropped.
    """
    if scheduler is not None:
        yield from _run_on_cluster(function, jobs, scheduler)
        return
    if workers == 1 or len(jobs) <= 1:
        for index, job in enumerate(jobs):
            yield index, function(job)
        return
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running: dict[Future[R], int] = {}
        left = iter(enumerate(jobs))
        try:
            while True:
                while len(running) < workers:
                    following = next(left, None)
                    if following is None:
                        break
                    running[pool.submit(function, following[1])] = following[0]
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=running.__getitem__):
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _run_on_cluster(function: Callable[[J], R], jobs: Sequence[J], scheduler: str) -> Iterator[tuple[int, R]]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ConfigError(
            "--scheduler needs dask.distributed, which is not installed", 'pip install "cryosentinel[distributed]"'
        ) from error
    try:
        client = Client(scheduler, timeout=15)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"no scheduler answers at {scheduler}: {error}", "check --scheduler, as tcp://host:8786"
        ) from error
    with client:
        futures = {client.submit(_try_there, function, job, pure=False): index for index, job in enumerate(jobs)}
        for future in as_completed(list(futures)):
            result = future.result()
            if isinstance(result, _Failed):
                raise result.kind(result.message, result.hint)
            yield futures[future], result


@dataclass(frozen=True)
class _Failed:
    """A known failure as a value: dask pickles an error with its causes, and those of GDAL cannot be read back."""

    kind: type[CryosentinelError]
    message: str
    hint: str


def _try_there(function: Callable[[J], R], job: J) -> R | _Failed:
    """Run a job on a worker; a known failure comes back as a value."""
    try:
        return function(job)
    except CryosentinelError as error:
        return _Failed(type(error), error.message, error.hint)
