"""Cost of work: seconds by stage, and the windows, processes and memory behind them.

Stages run side by side in threads, so their seconds need not add up to those on the wall. Nothing here enters a digest: two runs
that give the same bytes take different times. Neighbours: the workflows measure; `run.json` keeps.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


class Stopwatch:
    """Seconds by stage, added up over all threads that share it.

    Args:
        clock: Seconds that only ever grow.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block, also if it fails."""
        began = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - began
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + spent

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far."""
        with self._lock:
            return dict(self._seconds)


@dataclass(frozen=True, kw_only=True)
class WorkDone:
    """Cost of some tiles; adds up.

    Attributes:
        n_windows: Windows computed; one that several tiles share counts once.
        seconds: Stage -> seconds, all threads and processes together.
        peak_mib: `host` and, with a GPU, `gpu` -> most memory that one process held, MiB.
        engine: How it ran, as device, precision and batch size; empty if nothing ran.
    """

    n_windows: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_mib: Mapping[str, float] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)

    def __add__(self, other: WorkDone) -> WorkDone:
        """Both: windows and seconds added, of memory the larger, of engines the one that ran last."""
        return WorkDone(
            n_windows=self.n_windows + other.n_windows,
            seconds=dict(Counter(self.seconds) + Counter(other.seconds)),
            peak_mib={
                name: max(self.peak_mib.get(name, 0.0), other.peak_mib.get(name, 0.0))
                for name in (*self.peak_mib, *(name for name in other.peak_mib if name not in self.peak_mib))
            },
            engine=other.engine or self.engine,
        )

    def as_dict(self, wall_seconds: float) -> dict[str, Any]:
        """Plain data for `run.json`.

        Args:
            wall_seconds: From the first window asked for to the last tile written.
        """
        rate = self.n_windows / wall_seconds if self.n_windows and wall_seconds > 0 else None
        return {
            "n_windows": self.n_windows,
            "wall_seconds": round(wall_seconds, 3),
            "windows_per_second": None if rate is None else round(rate, 3),
            "seconds": {name: round(value, 3) for name, value in sorted(self.seconds.items())},
            "peak_memory_mib": {name: round(value, 1) for name, value in sorted(self.peak_mib.items())},
            **self.engine,
        }
