"""Locks of a workspace's parts: one process at a time writes a folder of results, or reads, changes and writes a registry.

The lock of `<folder>/<part>` is the file `<folder>/.locks/<part>.lock`; the operating system frees it when its process ends,
however that ends. Beside it `<part>.json` says who holds it, for whoever has to wait. Neighbours: `workspace` names the parts.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from cryosentinel_core.errors import WorkspaceBusy
from cryosentinel_core.io.workspace import read_json, translate_os_error, write_json
from cryosentinel_core.reporter import Reporter

LOCKS_FOLDER: Final = ".locks"
"""Folder of the locks, beside the parts that they guard."""

WAIT_S: Final = 600.0
"""Seconds to wait for another process before giving up."""

_POLL_S: Final = 0.2


@contextmanager
def hold_parts(parts: Iterable[Path], task: str, reporter: Reporter, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """The sole right to write several parts, taken in the order of their paths, so that no two processes wait for each other.

    Args:
        parts: Folders or files; none holds nothing.
        task: Task as for `hold_part`.
        reporter: Hears it if one is in use.
        wait_s: Seconds to wait for each.

    Raises:
        WorkspaceBusy: If one is still in use then; those taken before it are given back.
        OutputWrite: If the disk refuses.
    """
    with ExitStack() as held:
        for part in sorted(set(parts)):
            held.enter_context(hold_part(part, task, reporter, wait_s=wait_s))
        yield


@contextmanager
def hold_part(part: Path, task: str, reporter: Reporter, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """The sole right to write one part of a workspace, waited for and given back at the end.

    Args:
        part: Folder or file that is guarded; it need not be there yet.
        task: Task of this process, for those who wait, as `change 2017 2023`; no secrets.
        reporter: Hears it if the part is in use.
        wait_s: Seconds to wait for the one who holds it.

    Raises:
        WorkspaceBusy: If it is still in use then; the message names process, machine, task and since when.
        OutputWrite: If the disk refuses.
    """
    folder = part.parent / LOCKS_FOLDER
    record = folder / f"{part.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{part.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.note(f"waiting up to {wait_s:g} s: {_in_use(part, record)}")
            try:
                lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
            except Timeout:
                raise WorkspaceBusy(
                    _in_use(part, record), "wait until that run has ended, or stop it; then run this again"
                ) from None
    except OSError as error:
        raise translate_os_error(error, folder) from error
    try:
        write_json(record, _holder(task))
        yield
    finally:
        record.unlink(missing_ok=True)
        lock.release()


def _holder(task: str) -> dict[str, Any]:
    """This process, as plain data."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "task": task, "since": now}


def _in_use(part: Path, record: Path) -> str:
    """Sentence on who holds a part."""
    data = read_json(record)
    if not isinstance(data, dict):
        return f"{part} is in use by another process"
    pid, host, task, since = (_printable(data.get(name, "?")) for name in ("pid", "host", "task", "since"))
    return f"{part} is in use by process {pid} on {host} ({task}), since {since}"


def _printable(value: object) -> str:
    """A value from a file as a short text that moves no cursor."""
    return "".join(letter for letter in str(value)[:200] if letter.isprintable())
