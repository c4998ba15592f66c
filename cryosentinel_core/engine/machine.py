"""Memory that this process has taken of its machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def peak_memory_mib(status: Path = _STATUS) -> float | None:
    """Largest resident memory of this process since it began, MiB; None where the system does not say (not Linux).

    Not `getrusage`: its peak survives `exec`, so that the child of a large process reports its parent's.

    Args:
        status: The kernel's account of the process.
    """
    try:
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
