"""`cryosentinel change`: how each lake changed between years."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import (
    aoi_option,
    build_settings,
    check_years,
    common,
    fetch_options,
    fetch_settings,
    parse_inventories,
    predict_options,
    predict_settings,
    resolve_area,
    workspace_root,
)
from cryosentinel_core.units import CONFIDENCE, MIN_OBSERVED

if TYPE_CHECKING:
    from cryosentinel_core.lakes.tables import Inventory
    from cryosentinel_core.settings.change import ChangeSettings


@click.command()
@click.argument("years", type=int, nargs=-1, metavar="YEAR YEAR [YEAR]...")
@aoi_option
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=CONFIDENCE,
    show_default=True,
    help="Confidence of intervals and of the significance of a change.",
)
@click.option(
    "--min-observed",
    type=click.FloatRange(0, 1, min_open=True),
    default=MIN_OBSERVED,
    show_default=True,
    help="Share of a lake's ground that must be seen in a year for its area to count.",
)
@click.option(
    "--watch",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Vector file of named lakes that always get a row.",
)
@click.option(
    "--lakes",
    "inventories",
    multiple=True,
    metavar="YEAR=FILE@30m",
    callback=parse_inventories,
    help="Compare inventories instead of imagery: a vector file of lakes and the resolution it was drawn at, once a year. "
    "FILE?COLUMN=VALUE takes only the rows with that value.",
)
@predict_options
@fetch_options
@common
def change(
    years: tuple[int, ...], aoi: str | None, yes: bool, confidence: float, min_observed: float, watch: Path | None,
    inventories: tuple[Inventory, ...], workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
    **values: Any,
) -> int:  # fmt: skip
    """Compare the lakes of two or more years.

    Predicts the years that are missing (and fetches their scenes), then writes a table with one row a lake and pair of
    years: areas, change, its uncertainty, whether it is significant, and why a lake could not be judged.
    A lake that was not seen is `unobserved`, never gone.

    \b
    Examples:
      cryosentinel change 2017 2023 --aoi ile_alatau.geojson
      cryosentinel change 2017 2021 2022 2023
      cryosentinel change --lakes 2010=lakes_2010.shp@30m --lakes 2020=lakes_2020.shp@30m
    """
    from cryosentinel_core.settings.change import ChangeSettings

    settings = build_settings(
        ChangeSettings,
        {"confidence": confidence, "min_observed": min_observed, "watch": watch, "min_area_m2": values["min_area"]},
    )
    if inventories:
        if click.get_current_context().get_parameter_source("years") is not click.core.ParameterSource.COMMANDLINE:
            years = ()  # those of a settings file are for imagery
        return _compare_inventories(years, inventories, settings, workspace, verbose, quiet, as_json)
    asked = check_years(years, least=2)
    predicting, fetching = predict_settings(values), fetch_settings(values)
    area = resolve_area(aoi, values["area_layer"], workspace, yes=yes)
    if watch is not None:
        from cryosentinel_core.io.tables.inventories import read_watched

        read_watched(watch)  # what cannot be read is told now, not after hours
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.workflows.change import change as run_change
    from cryosentinel_core.workflows.predict import predict as run_predict

    home = Workspace(workspace_root(workspace))
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        console.note(area.as_text())
        lakes = run_predict(home, area, asked, predicting, fetching, reporter=console)
        summary = run_change(home, area.name, asked, lakes.model, settings, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if lakes.is_partial else 0


def _compare_inventories(
    years: tuple[int, ...],
    inventories: tuple[Inventory, ...],
    settings: ChangeSettings,
    workspace: str | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """The path without imagery."""
    if years:
        raise click.UsageError("--lakes brings its own years: give no others")
    if len(inventories) < 2:
        raise click.UsageError("wanted at least 2 inventories, one --lakes YEAR=FILE@30m for each")
    from cryosentinel_core.workflows.change import change_inventories

    folder = workspace_root(workspace) / f"change_{'_'.join(str(one.year) for one in inventories)}_inventories"
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = change_inventories(inventories, folder, settings, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 0
