"""`cryosentinel change`: how each lake changed between years."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.fetch import fetch_and_tell
from cryosentinel_cli.options import (
    aoi_option,
    build_settings,
    check_years,
    common,
    dry_run_option,
    fetch_options,
    fetch_settings,
    parse_inventories,
    predict_options,
    predict_settings,
    resolve_area,
    workspace_root,
)
from cryosentinel_cli.run_log import logged
from cryosentinel_core.units import CONFIDENCE, MIN_OBSERVED

if TYPE_CHECKING:
    from cryosentinel_core.lakes.tables import Inventory
    from cryosentinel_core.report.change_summary import ChangeSummary
    from cryosentinel_core.settings.change import ChangeSettings
    from cryosentinel_core.settings.predict import PredictSettings
    from cryosentinel_core.workflows.bulletin import Earlier


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
    "--glaciers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Vector file of outlines of glaciers (RGI, GLIMS): how far lakes are from them, and what low ice is a glacier's.",
)
@click.option(
    "--lakes",
    "inventories",
    multiple=True,
    metavar="YEAR=FILE@30m",
    callback=parse_inventories,
    help="Compare inventories instead of imagery: a vector file of lakes and the resolution it was drawn at, once a year. "
    "FILE?COLUMN=VALUE takes only the rows with that value, @30m±0.3px states the outlines' error. With YEARs too, an old "
    "inventory is compared with own years.",
)
@click.option("--layer", metavar="NAME", help="Layer of inventories that have several.")
@click.option("--crs", metavar="EPSG:N", help="Reference system of inventories that do not say theirs.")
@click.option(
    "--complete",
    type=int,
    multiple=True,
    metavar="YEAR",
    help="The inventory of that year draws every lake there was: one that it lacks was not there. Else it is unobserved.",
)
@click.option(
    "--errors",
    default="measured",
    show_default=True,
    metavar="measured, simulated or FILE",
    help="Error of a change: measured on the lakes that are compared, by constants set on simulated scenes, or stated in a JSON file.",
)
@click.option(
    "--check",
    metavar="MODEL",
    help="Map the years with another model too, such as water-index, and tell how far it agrees, lake by lake (check.csv).",
)
@click.option(
    "--since",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Tell what is new since an earlier comparison, whose results lie in this folder: lakes that it lacks, or of another status "
    "(since.csv).",
)
@predict_options
@fetch_options
@dry_run_option
@common
@logged
def change(
    years: tuple[int, ...], aoi: str | None, yes: bool, confidence: float, min_observed: float, watch: Path | None,
    glaciers: Path | None, inventories: tuple[Inventory, ...], layer: str | None, crs: str | None, complete: tuple[int, ...],
    errors: str, check: str | None, since: Path | None, workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
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
      cryosentinel change 2025 --lakes 2011=lakes_2011.gpkg@30m --aoi ile_alatau.geojson
      cryosentinel change 2017 2023 --check water-index
      cryosentinel change 2017 2024 --since ile_alatau/change_2017_2023_soup-1a2b3c4d
    """
    from dataclasses import replace

    from cryosentinel_core.settings.change import ChangeSettings

    settings = build_settings(
        ChangeSettings,
        {
            "confidence": confidence,
            "min_observed": min_observed,
            "watch": watch,
            "glaciers": glaciers,
            "min_area_m2": values["min_area"],
            "complete": tuple(sorted(set(complete))),
            "errors": errors,
        },
    )
    from cryosentinel_core.workflows.bulletin import read_earlier

    earlier = None if since is None else read_earlier(since)
    inventories = tuple(replace(one, layer=layer, crs=crs) for one in inventories)
    if inventories and not _is_typed("years") and values["dry_run"]:
        raise click.UsageError("--dry-run tells what would be fetched: for inventories alone nothing is")
    if inventories and not _is_typed("years") and check is not None:
        raise click.UsageError("--check maps years with another model: of inventories alone none is mapped")
    if inventories and not _is_typed("years"):
        named = aoi if _is_typed("aoi") else None
        with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
            return _compare_inventories(inventories, settings, named, workspace, console, earlier)
    asked = check_years(years, least=1 if inventories else 2)
    twice = set(asked) & {one.year for one in inventories}
    if twice:
        raise click.UsageError(f"{min(twice)} is given as a year and as an inventory: leave one away")
    predicting, fetching = predict_settings(values), fetch_settings(values)
    checking = None if check is None else _settings_of_check(predicting, check)
    area = resolve_area(aoi, values["area_layer"], workspace, yes=yes)
    from cryosentinel_core.io.tables.inventories import read_glaciers, read_watched

    if watch is not None:
        read_watched(watch)  # what cannot be read is told now, not after hours
    read_glaciers(glaciers)
    from cryosentinel_core.engine.model_loading import find_weights
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.workflows.change import change as run_change
    from cryosentinel_core.workflows.predict import predict as run_predict

    home = Workspace(workspace_root(workspace))
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        if fetching.dry_run:
            return fetch_and_tell(home, area, asked, fetching, console)
        console.note(area.as_text())
        if checking is not None:
            find_weights(checking)  # a model that is not there is told now, not after hours
        lakes = run_predict(home, area, asked, predicting, fetching, reporter=console)
        checked = (
            None if checking is None else run_predict(home, area, asked, checking, fetching, reporter=console).model
        )
        summary = run_change(
            home,
            area.name,
            asked,
            lakes.model,
            settings,
            reporter=console,
            inventories=inventories,
            check_model=checked,
        )
        _tell(summary, earlier, console)
    return 3 if lakes.is_partial else 0


def _settings_of_check(predicting: PredictSettings, model: str) -> PredictSettings:
    """How the years are mapped with another model: as with the first, but for what belongs to that alone."""
    from cryosentinel_core.settings.predict import PredictSettings

    if predicting.models == (model,):
        raise click.UsageError(f"--check {model}: the lakes are found with it; name another model")
    own = {
        "model": model,
        "more_models": (),
        "threshold": None,
        "weights": "model",
        "modalities": None,
        "uncertainty": False,
    }
    return build_settings(PredictSettings, {**predicting.model_dump(), **own})


def _tell(summary: ChangeSummary, earlier: Earlier | None, console: Console) -> None:
    """The summary, and what is new since an earlier comparison."""
    data, text = summary.as_dict(), summary.as_text()
    if earlier is not None:
        from cryosentinel_core.workflows.bulletin import tell_news

        news = tell_news(summary.folder, earlier, console)
        data, text = {**data, "since": news.as_dict()}, f"{text}\n{news.as_text()}"
    console.summary(data, text)


def _is_typed(name: str) -> bool:
    """True if a value was typed; those of a settings file are for imagery."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _compare_inventories(
    inventories: tuple[Inventory, ...],
    settings: ChangeSettings,
    aoi: str | None,
    workspace: str | None,
    console: Console,
    earlier: Earlier | None,
) -> int:
    """The path without imagery; keys are those of the named area, else of the ground that the outlines share."""
    if len(inventories) < 2:
        raise click.UsageError("wanted at least 2 inventories, one --lakes YEAR=FILE@30m for each")
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.workflows.change import change_inventories

    home = Workspace(workspace_root(workspace))
    name = None if aoi is None else _name_of_area(aoi)
    folder = home.inventories(tuple(one.year for one in inventories), name)
    summary = change_inventories(
        inventories,
        folder,
        settings,
        reporter=console,
        registry=home.registry(name) if name else None,
        workspace=home,
    )
    _tell(summary, earlier, console)
    return 0


def _name_of_area(aoi: str) -> str:
    """The name of an area of inventories: a file's without its ending, or what was typed."""
    from cryosentinel_core.io.workspace import safe_name

    path = Path(aoi)
    return safe_name(path.stem if path.is_file() else aoi.strip("/"))
