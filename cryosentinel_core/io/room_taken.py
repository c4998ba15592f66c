"""Room that a workspace takes on disk, by what it is and whether it can be made again; and its removal.

What a person decided (`curation.gpkg`), keys (`registry.gpkg`), tables, rasters and locks of scenes are never removed. Neighbours:
`workspace` says where everything lies; `locks` keeps others out meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryosentinel_core.io.run_logs import LOG_FOLDER, LOG_NAME
from cryosentinel_core.io.workspace import TEMPORARY, Workspace, remove_leftovers, translate_os_error

Kind = Literal["stack", "tiles", "results", "change", "chips", "logs", "other"]

AGAIN: Final[dict[Kind, str]] = {
    "stack": "from the archives, with a network",
    "tiles": "from the stacks; nothing needs them but a run that goes on",
    "results": "from the stacks",
    "change": "from the results",
    "chips": "from the chips",
    "logs": "no; the oldest go by themselves",
    "other": "no",
}
"""Kind of folder -> from what it is made again."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """One folder of a workspace.

    Attributes:
        path: Where it lies.
        kind: What it is.
        n_bytes: Bytes of the files in it, without those of other rooms below it.
        n_files: How many.
    """

    path: Path
    kind: Kind
    n_bytes: int
    n_files: int


def rooms_of(workspace: Workspace) -> list[Room]:
    """The folders of a workspace that take room, largest first; links are not followed.

    Args:
        workspace: Whose areas and results of chips are looked at; other folders in it are not ours.
    """
    found = [_room(path, kind, inner) for path, kind, inner in _folders(workspace)]
    logs = logs_of(workspace)
    sizes = [path.lstat().st_size for path in logs]
    found.append(Room(path=workspace.root / LOG_FOLDER, kind="logs", n_bytes=sum(sizes), n_files=len(logs)))
    return sorted((room for room in found if room.n_files), key=lambda room: (-room.n_bytes, str(room.path)))


def logs_of(workspace: Workspace) -> list[Path]:
    """The logs of runs, oldest first."""
    folder = workspace.root / LOG_FOLDER
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path for path in folder.iterdir() if LOG_NAME.fullmatch(path.name) and path.is_file())


def _folders(workspace: Workspace) -> Iterator[tuple[Path, Kind, tuple[str, ...]]]:
    """(folder, kind, names of folders below that count by themselves)."""
    for area in _folders_in(workspace.root):
        if not (area / "aoi.geojson").is_file() or (area / "catalog.json").exists():
            continue
        for inside in _folders_in(area):
            if inside.name.startswith("change_"):
                yield inside, "change", ()
            elif inside.name.isdecimal() and len(inside.name) == 4:
                for part in _folders_in(inside):
                    if part.name.startswith("stack-"):
                        yield part, "stack", ()
                    elif (part / "run.json").exists() or (part / "tiles").is_dir():
                        yield part, "results", ("tiles",)
                        if (part / "tiles").is_dir() and not (part / "tiles").is_symlink():
                            yield part / "tiles", "tiles", ()
    for source in _folders_in(workspace.root / "chip-results"):
        for model in _folders_in(source):
            yield model, "chips", ()


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _room(path: Path, kind: Kind, apart: tuple[str, ...]) -> Room:
    sizes = [
        file.lstat().st_size
        for file in path.rglob("*")
        if file.is_file() and not file.is_symlink() and file.relative_to(path).parts[0] not in apart
    ]
    return Room(path=path, kind=kind, n_bytes=sum(sizes), n_files=len(sizes))


def remove_room(room: Room) -> None:
    """Delete a folder that can be made again, a stack or a model's tiles, or the logs of runs.

    Raises:
        ValueError: If it is anything else.
        OutputWrite: If the disk refuses.
    """
    if room.kind == "logs":
        _remove_logs(room.path)
        return
    if room.kind not in ("stack", "tiles"):
        raise ValueError(f"{room.path} is not to be removed")
    # First out of the way in one step: a stack that is half deleted must not be taken for one.
    aside = room.path.with_name(f"{TEMPORARY}{room.path.name}")
    try:
        room.path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise translate_os_error(error, room.path) from error


def _remove_logs(folder: Path) -> None:
    """Delete logs, and their folder if nothing else lies in it."""
    try:
        for path in logs_of(Workspace(folder.parent)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise translate_os_error(error, folder) from error
    with suppress(OSError):
        folder.rmdir()


def remove_left_over(workspace: Workspace) -> None:
    """Delete what killed runs left behind in the areas of a workspace; what a living process writes stays."""
    for area in _folders_in(workspace.root):
        if (area / "aoi.geojson").is_file() and not (area / "catalog.json").exists():
            remove_leftovers(area)
