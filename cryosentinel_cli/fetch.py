"""`cryosentinel fetch`: from catalogues to stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import (
    aoi_option,
    check_years,
    common,
    fetch_options,
    fetch_settings,
    resolve_area,
    workspace_root,
)
from cryosentinel_cli.run_log import logged
from cryosentinel_cli.years_command import YearsCommand

if TYPE_CHECKING:
    from cryosentinel_core.ground.area import Area
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.settings.fetch import FetchSettings


@click.command(cls=YearsCommand)
@aoi_option
@click.option("--year", "year", type=int, multiple=True, metavar="Y", help="Year to fetch; give it again for more.")
@fetch_options
@click.option("--dry-run", is_flag=True, help="Say which scenes, gaps and bytes there are; read and write nothing.")
@common
@logged
def fetch(
    aoi: str | None,
    yes: bool,
    year: tuple[int, ...],
    workspace: str | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> int:
    """Search late-summer scenes and stack them at 10 m.

    Finds Sentinel-1, Sentinel-2 and Copernicus DEM scenes of each year, removes cloud, snow and shadow date by date, and
    writes one stack a year. What is already there is kept; scenes.json is the list of what went in.

    \b
    Examples:
      cryosentinel fetch --aoi ile_alatau --year 2017 --year 2023 --dry-run
      cryosentinel fetch --aoi lakes.geojson --year 2023 --catalog ./my-catalogue
    """
    years = check_years(tuple(sorted(set(year))), least=1)
    settings = fetch_settings(values)
    area = resolve_area(aoi, values["area_layer"], workspace, yes=yes)
    from cryosentinel_core.io.workspace import Workspace

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        return fetch_and_tell(Workspace(workspace_root(workspace)), area, years, settings, console)


def fetch_and_tell(
    home: Workspace, area: Area, years: tuple[int, ...], settings: FetchSettings, console: Console
) -> int:
    """Fetch, or with `dry_run` plan it, say what came of it, and give the exit code."""
    from cryosentinel_core.workflows.fetch import fetch as run_fetch

    console.note(area.as_text())
    summary = run_fetch(home, area, years, settings, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0
