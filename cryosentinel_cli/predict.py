"""`cryosentinel predict`: from stacks to lakes, fetching what is missing first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import (
    aoi_option,
    check_years,
    common,
    fetch_options,
    fetch_settings,
    predict_options,
    predict_settings,
    resolve_area,
    workspace_root,
)


@click.command()
@aoi_option
@click.option("--year", "year", type=int, multiple=True, metavar="Y", help="Year to map; give it again for more.")
@click.option(
    "--chips",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Map the lakes of a folder of chip GeoTIFFs (12 Sentinel-2 bands, VV, VH, DEM) instead of an area.",
)
@predict_options
@fetch_options
@common
def predict(
    aoi: str | None, yes: bool, year: tuple[int, ...], chips: Path | None, workspace: str | None, verbose: bool, quiet: bool,
    as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Find the lakes of an area in a year.

    Fetches the year's stack if it is missing, runs the network (or water-index) over it, and writes probability, water
    mask and one polygon a lake with its area and uncertainty. It maps lakes; it never forecasts outbursts.

    \b
    Examples:
      cryosentinel predict --aoi ile_alatau.geojson --year 2023
      cryosentinel predict --aoi ile_alatau --year 2023 --model water-index
      cryosentinel predict --chips ./chips --model water-index
    """
    settings = predict_settings(values)
    from cryosentinel_core.io.workspace import Workspace

    home = Workspace(workspace_root(workspace))
    if chips is not None:
        if aoi or year:
            raise click.UsageError("--chips takes no --aoi and no --year: each chip brings its own place")
        from cryosentinel_core.workflows.chips import predict_chips

        with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
            chip_summary = predict_chips(home, chips, settings, reporter=console)
        console.summary(chip_summary.as_dict(), chip_summary.as_text())
        return 3 if chip_summary.is_partial else 0
    years = check_years(tuple(sorted(set(year))), least=1)
    fetching = fetch_settings(values)
    area = resolve_area(aoi, workspace, yes=yes)
    from cryosentinel_core.workflows.predict import predict as run_predict

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = run_predict(home, area, years, settings, fetching, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0
