"""The corridor of housekeeping: what takes room in a workspace, and the removal of what can be made again."""

from __future__ import annotations

from collections.abc import Sequence

from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.room_taken import Room, remove_left_over, remove_room, rooms_of
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.report.room_summary import CleanSummary
from cryosentinel_core.reporter import Reporter


def clean(
    workspace: Workspace, *, with_stacks: bool, dry_run: bool, reporter: Reporter, with_logs: bool = False
) -> CleanSummary:
    """Remove the logits of tiles, and where asked for the stacks and logs; results, tables and what a person decided stay.

    Args:
        workspace: To be cleaned.
        with_stacks: Whether stacks go too, which only the archives bring back.
        dry_run: True to remove nothing.
        reporter: Told of what is in use.
        with_logs: Whether what commands said goes, too.

    Raises:
        WorkspaceBusy: If another process writes one of them.
        OutputWrite: If the disk refuses.
    """
    kinds = ("tiles", *(("stack",) if with_stacks else ()), *(("logs",) if with_logs else ()))
    chosen: Sequence[Room] = [room for room in rooms_of(workspace) if room.kind in kinds]
    if not dry_run:
        remove_left_over(workspace)
        for room in chosen:
            if room.kind == "logs":
                remove_room(room)
                continue
            # A model's folder for its tiles, a year's for its stacks: as those who write them lock them.
            with hold_part(room.path.parent, "clean", reporter):
                remove_room(room)
    return CleanSummary(rooms=tuple(chosen), is_dry_run=dry_run)
