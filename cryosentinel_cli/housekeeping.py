"""`cryosentinel du` and `cryosentinel clean`: what takes room in a workspace, and what of it can go."""

from __future__ import annotations

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import common, workspace_root


@click.command()
@common
def du(workspace: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Say what takes room in the workspace, largest first, and from what it is made again.

    \b
    Example:
      cryosentinel du
    """
    from cryosentinel_core.io.room_taken import rooms_of
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.report.room_summary import RoomSummary

    root = workspace_root(workspace)
    summary = RoomSummary(root=root, rooms=rooms_of(Workspace(root)))
    Console(verbose=verbose, quiet=quiet, as_json=as_json).summary(summary.as_dict(), summary.as_text())


@click.command()
@click.option("--stacks", is_flag=True, help="Also remove stacks, which only the archives bring back.")
@click.option("--logs", is_flag=True, help="Also remove what commands said, the files in logs.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@common
def clean(
    stacks: bool, logs: bool, dry_run: bool, workspace: str | None, verbose: bool, quiet: bool, as_json: bool
) -> None:
    """Remove what can be made again: the logits of tiles, and with --stacks the stacks.

    Lakes, rasters, tables, keys, lists of scenes and what a person decided stay. The next predict makes the tiles again.

    \b
    Examples:
      cryosentinel clean --dry-run
      cryosentinel clean --stacks
    """
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.workflows.cleaning import clean as run_clean

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        home = Workspace(workspace_root(workspace))
        summary = run_clean(home, with_stacks=stacks, with_logs=logs, dry_run=dry_run, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
