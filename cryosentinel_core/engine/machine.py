"""Memory that this process has taken of its machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from cryosentinel_core import __version__

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


def free_memory_bytes(memory: Path = Path("/proc/meminfo")) -> int:
    """Memory that new work can take without swapping, bytes; 4 GiB where the system does not say.

    Args:
        memory: The kernel's account of the machine.
    """
    try:
        lines = memory.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 4 * 2**30


def describe_machine() -> dict[str, Any]:
    """Versions and hardware that numbers may hang on, as plain data."""
    names = ("torch", "lightning", "terratorch", "numpy", "scipy", "pyarrow")
    found: dict[str, Any] = {
        "cryosentinel": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
