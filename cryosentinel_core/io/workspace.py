"""The folder in which everything lies, and the only way in which files get their final names.

Layout: `<aoi>/<year>/stack-<recipe>/<epsg>/<tile>/...`, `<aoi>/<year>/<model>/...`, `<aoi>/change_<years>_<model>/...`.
Every file is written under a temporary name beside it and renamed when whole, so that a process killed anywhere leaves no
half-written file under a final name. The temporary name says who writes, so that nobody clears away what a living process is
still writing. A JSON record beside a result holds the digest of what went in; the result is current while that digest is the
one asked for. Neighbours: `locks` lets one process at a time write a part of the workspace.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import DataError, InputError, OutputWrite
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.stack.recipe import Recipe

MAX_NAME_BYTES = 120
"""Longest safe name in bytes of UTF-8: half of what file systems allow, so that prefixes and endings fit."""

MAX_FOLDER_NAME: Final = 100
"""Characters that no name of a comparison's folder reaches."""

TEMPORARY: Final = ".tmp-"
"""Beginning of every temporary name; machine, process and thread follow, then the final name."""

LEFTOVER_AFTER_S: Final = 86_400.0
"""Seconds without a write after which a temporary file is left over, whoever its owner is."""

_OWNED: Final = re.compile(rf"^{re.escape(TEMPORARY)}(?P<machine>[0-9a-f]{{8}})-(?P<pid>\d+)-\d+-")


def safe_name(text: str, fallback: str = "unnamed") -> str:
    """A single file name made of letters and digits of any script, `_`, `.` and `-`: never a path, never hidden.

    Normalised (NFC), so that one name is one folder however its accents were typed; at most `MAX_NAME_BYTES` long.

    Args:
        text: Any text, also from a catalogue.
        fallback: Used if nothing is left.
    """
    runs = re.sub(r"\0+", "_", "".join(sign if _is_safe(sign) else "\0" for sign in unicodedata.normalize("NFC", text)))
    name = _strip_ends(runs)
    while len(name.encode()) > MAX_NAME_BYTES:
        name = _strip_ends(name[: min(len(name) - 1, MAX_NAME_BYTES)])
    return name or fallback


def _is_safe(sign: str) -> bool:
    """True for letters, digits and the marks on letters, of any script."""
    return sign in "_.-" or sign.isalnum() or unicodedata.category(sign) in ("Mn", "Mc")


def _strip_ends(name: str) -> str:
    """A name without dots, dashes and underscores at its ends, nor marks that have lost their letter."""
    name = name.rstrip("._-")
    return name[next((place for place, sign in enumerate(name) if sign.isalnum()), len(name)) :]


def translate_os_error(error: OSError, path: Path) -> OutputWrite:
    """The disk's refusal in words, with what to try."""
    if error.errno == errno.ENOSPC:
        return OutputWrite(
            f"no space left while writing {path}",
            "free space on that disk, or give another --workspace; run again to go on",
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputWrite(f"not allowed to write {path}", "choose a --workspace that you may write to")
    if error.errno in (errno.ENOTDIR, errno.ENOENT):
        return OutputWrite(
            f"could not write {path}: no folder can be made there",
            "choose another --workspace, inside a folder that is there",
        )
    return OutputWrite(f"could not write {path}: {error.strerror or error}", "check the disk, then run again")


def temporary_beside(final: Path) -> Path:
    """A name beside a file that says which process and thread writes it; what a killed one left is cleared away by it."""
    return final.parent / f"{TEMPORARY}{_machine()}-{os.getpid()}-{threading.get_ident()}-{final.name}"


@contextmanager
def writing(final: Path) -> Iterator[Path]:
    """A temporary path beside `final`; renamed to it on success, removed on failure.

    Args:
        final: Path that the file shall have; parents are made.

    Raises:
        OutputWrite: If the disk refuses.
    """
    temporary = temporary_beside(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(final)
    except BaseException as error:
        # Drivers leave helpers beside a file that they could not finish; only then is the folder searched for them.
        for left in final.parent.glob(f"{glob.escape(temporary.name)}*"):
            left.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise translate_os_error(error, final) from error
        raise


def write_json(path: Path, data: Any) -> None:
    """Plain data as indented JSON with sorted keys, whole or not at all.

    Raises:
        OutputWrite: If the disk refuses.
    """
    text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The data of a JSON file; None if there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remove_file(path: Path) -> None:
    """Delete a file, if it is there.

    Raises:
        OutputWrite: If the disk refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise translate_os_error(error, path) from error


def is_current(record: Path, provenance: Provenance, *results: Path) -> bool:
    """True if the record beside some results holds this provenance's digest and all results exist."""
    data = read_json(record)
    return (
        isinstance(data, dict)
        and data.get("digest") == provenance.digest
        and all(result.exists() for result in results)
    )


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that killed processes left in a folder and below; what a living process writes stays.

    A file is left over if the process that its name tells of is gone, or if nobody has written to it for a day: a process of
    another machine cannot be asked whether it lives.
    """
    if folder.is_dir():
        for left in folder.rglob(f"{TEMPORARY}*"):
            if not _is_left_over(left):
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    """True if nobody writes to a temporary file any more."""
    owner = _OWNED.match(path.name)
    if owner is None:
        return True
    try:
        idle_s = time.time() - path.stat().st_mtime
    except OSError:
        return False  # renamed or deleted just now
    if idle_s > LEFTOVER_AFTER_S:
        return True
    return owner["machine"] == _machine() and not _is_alive(int(owner["pid"]))


def _is_alive(pid: int) -> bool:
    """True if a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _machine() -> str:
    """Eight hex digits for this machine since it was started, each container by itself: where a process number means one process."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Workspace:
    """Names every place below one folder.

    Attributes:
        root: The folder.
    """

    root: Path

    def area(self, aoi: str) -> Path:
        """`<root>/<aoi>`; the name must be a safe file name.

        Raises:
            InputError: If it is not.
        """
        if safe_name(aoi) != aoi:
            raise InputError(f"{aoi!r} cannot name a folder", "use letters, digits, _ and -")
        return self.root / aoi

    def year(self, aoi: str, year: int) -> Path:
        """`<aoi>/<year>`."""
        return self.area(aoi) / f"{year:04d}"

    def scenes(self, aoi: str, year: int) -> Path:
        """`<aoi>/<year>/scenes.json`, the lock."""
        return self.year(aoi, year) / "scenes.json"

    def stack(self, aoi: str, year: int, recipe: Recipe) -> Path:
        """`<aoi>/<year>/stack-<recipe8>`."""
        return self.year(aoi, year) / f"stack-{recipe.digest}"

    def model(self, aoi: str, year: int, model: str) -> Path:
        """`<aoi>/<year>/<model>`."""
        return self.year(aoi, year) / safe_name(model)

    def read_area(self, aoi: str) -> BaseGeometry:
        """The area of interest, EPSG:4326, as it was used.

        Raises:
            DataError: If `<aoi>/aoi.geojson` is missing or damaged.
        """
        path = self.area(aoi) / "aoi.geojson"
        try:
            found = shapely.from_geojson(path.read_text(encoding="utf-8"))
        except (OSError, shapely.errors.GEOSException) as error:
            raise DataError(f"{path} is missing or damaged", "run predict for this area first") from error
        return shapely.union_all(shapely.get_parts(found))

    def change(self, aoi: str, years: tuple[int, ...], model: str) -> Path:
        """`<aoi>/change_<years>_<model>`, taken over from an older workspace where its name was longer."""
        return _with_short_name(self.area(aoi), years, safe_name(model))

    def inventories(self, years: tuple[int, ...], aoi: str | None = None) -> Path:
        """`change_<years>_inventories`, in the folder of an area if one is named."""
        return _with_short_name(self.root if aoi is None else self.area(aoi), years, "inventories")

    def chip_results(self, source: str, model: str) -> Path:
        """`chip-results/<source>/<model>`."""
        return self.root / "chip-results" / safe_name(source) / safe_name(model)

    def registry(self, aoi: str) -> Path:
        """`<aoi>/registry.gpkg`."""
        return self.area(aoi) / "registry.gpkg"


def _with_short_name(home: Path, years: tuple[int, ...], model: str) -> Path:
    """`change_<years>_<model>` in a folder; of many years first, last and how many, so that the name stays under 100 characters."""
    told = "_".join(map(str, years))
    full = home / f"change_{told}_{model}"
    if len(full.name) < MAX_FOLDER_NAME:
        return full
    digest = hashlib.sha256(f"{told} {model}".encode()).hexdigest()[:8]
    begin = f"change_{years[0]}_{years[-1]}_{len(years)}-years-{digest}_"
    short = home / f"{begin}{model[: MAX_FOLDER_NAME - 1 - len(begin)]}"
    with suppress(OSError):  # a name that no file system takes was never made
        if full.is_dir() and not short.exists():
            full.rename(short)
    return short
