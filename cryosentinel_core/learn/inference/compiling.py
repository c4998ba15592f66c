"""Decision whether `torch.compile` is worth its time for a job.

Neighbours: `network_segmenter` asks before its first window.
"""

from __future__ import annotations

from typing import Final, Literal

Compiling = Literal["auto", "on", "off"]

COMPILE_SECONDS: Final = 60.0
"""Assumed cost of compiling the network for one shape of batch: not measured on a GPU."""

COMPILE_GAIN: Final = 0.15
"""Share of the time of eager windows that compiling is taken to save. Assumed: not measured on a GPU."""


def pays_to_compile(n_windows: int, windows_per_second: float) -> bool:
    """True if the time that compiling is taken to save exceeds what it is taken to cost.

    Args:
        n_windows: Of the job.
        windows_per_second: Measured, not compiled, with all flips.
    """
    return n_windows / windows_per_second * COMPILE_GAIN > COMPILE_SECONDS
