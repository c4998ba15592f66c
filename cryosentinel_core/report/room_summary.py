"""Summaries of `du` and `clean`: folders, what they are, how large, and from what they are made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.io.room_taken import AGAIN, Room
from cryosentinel_core.reporter import counted


@dataclass(frozen=True, kw_only=True)
class RoomSummary:
    """Room that a workspace takes.

    Attributes:
        root: Of the workspace.
        rooms: Its folders, largest first.
    """

    root: Path
    rooms: Sequence[Room]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; sizes in bytes."""
        return {
            "bytes": sum(room.n_bytes for room in self.rooms),
            "folders": [
                {
                    "path": room.path.relative_to(self.root).as_posix(),
                    "kind": room.kind,
                    "bytes": room.n_bytes,
                    "files": room.n_files,
                    "made_again": AGAIN[room.kind],
                }
                for room in self.rooms
            ],
        }

    def as_text(self) -> str:
        """A line a folder and a sum."""
        total = bytes_in_words(sum(room.n_bytes for room in self.rooms))
        if not self.rooms:
            return f"nothing of cryosentinel takes room in {self.root}"
        lines = [f"{'size':>9}  {'kind':8}{'folder'}"]
        lines += [
            f"{bytes_in_words(room.n_bytes):>9}  {room.kind:8}{room.path.relative_to(self.root).as_posix()}"
            for room in self.rooms
        ]
        kinds = sorted({room.kind for room in self.rooms})
        return "\n".join([*lines, f"{total:>9}  in all", *(f"{kind}: made again {AGAIN[kind]}" for kind in kinds)])


@dataclass(frozen=True, kw_only=True)
class CleanSummary:
    """What was removed, or would be.

    Attributes:
        rooms: Folders.
        is_dry_run: True if they are still there.
    """

    rooms: Sequence[Room]
    is_dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain data; sizes in bytes."""
        return {
            "bytes": sum(room.n_bytes for room in self.rooms),
            "folders": [str(room.path) for room in self.rooms],
            "dry_run": self.is_dry_run,
        }

    def as_text(self) -> str:
        """A line a folder and a sum."""
        done = "would free" if self.is_dry_run else "freed"
        total = bytes_in_words(sum(room.n_bytes for room in self.rooms))
        return "\n".join(
            [*(f"{room.path}" for room in self.rooms), f"{done} {total} in {counted(len(self.rooms), 'folder')}"]
        )


def bytes_in_words(n_bytes: int) -> str:
    """`1.2 GB`, `340 MB`, `12 kB`: powers of 1000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} B"
