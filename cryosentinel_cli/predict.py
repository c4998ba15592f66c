"""`cryosentinel predict`: from stacks to lakes, fetching what is missing first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.fetch import fetch_and_tell
from cryosentinel_cli.options import (
    aoi_option,
    check_years,
    common,
    dry_run_option,
    fetch_options,
    fetch_settings,
    is_said,
    predict_options,
    predict_settings,
    resolve_area,
    workspace_root,
)
from cryosentinel_cli.run_log import logged
from cryosentinel_cli.years_command import YearsCommand

if TYPE_CHECKING:
    from cryosentinel_core.settings.chips import ChipSelection


_HUB = "hf://"


def _check_chips(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A path that is there, or a data set of the hub."""
    if value is not None and not value.startswith(_HUB) and not Path(value).exists():
        raise click.BadParameter(f"Path {value!r} does not exist.", param_hint="--chips")
    return value


@click.command(cls=YearsCommand)
@aoi_option
@click.option(
    "--year",
    "year",
    type=int,
    multiple=True,
    metavar="Y",
    help="Year to map, or to take from a data set of chips; give it again for more.",
)
@click.option(
    "--chips",
    callback=_check_chips,
    metavar="PATH or hf://datasets/...",
    help="Map the lakes of chips instead of an area: a folder of GeoTIFFs of 224 x 224 px of 10 m (12 Sentinel-2 bands as "
    "reflectance x 10,000 and, as far as there are, VV and VH in dB, DEM in m), a larger GeoTIFF, or a data set of shards, "
    "FOLDER/REGION/YEAR/shard_*.parquet, or one on the Hugging Face hub, hf://datasets/OWNER/NAME, of which only the "
    "regions and years asked for are fetched.",
)
@click.option(
    "--region",
    "region",
    multiple=True,
    metavar="NAME",
    help="Region to take from a data set of chips; give it again for more.  [default: all]",
)
@click.option("--n-chips", type=click.IntRange(1), metavar="N", help="Take the first N chips alone.  [default: all]")
@predict_options
@fetch_options
@dry_run_option
@common
@logged
def predict(
    aoi: str | None, yes: bool, year: tuple[int, ...], chips: str | None, region: tuple[str, ...], n_chips: int | None,
    workspace: str | None, verbose: bool, quiet: bool, as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Find the lakes of an area in a year.

    Fetches the year's stack if it is missing, runs the network (or water-index) over it, and writes probability, water
    mask and one polygon a lake with its area and uncertainty. It maps lakes; it never forecasts outbursts.

    Chips are windows of their own, without an area. GeoTIFFs bring their place; a shard says no more than a chip's centre,
    so its rasters and outlines lie right to about a pixel, or nowhere if it says no centre. Where chips have labels, the
    summary says how well the answer agrees with them. Chips that are done already are kept. Results go to
    chip-results/SOURCE/MODEL in the workspace. Numbers in other units are put right with a warning, or the chip is skipped.

    \b
    Examples:
      cryosentinel predict --aoi ile_alatau.geojson --year 2023
      cryosentinel predict --aoi ile_alatau --year 2023 --model water-index
      cryosentinel predict --aoi ile_alatau --year 2023 --uncertainty
      cryosentinel predict --aoi ile_alatau --year 2023 --model a.ckpt --model b.ckpt
      cryosentinel predict --chips ./chips --model water-index
      cryosentinel predict --chips ./dataset --region pamir --year 2022 --n-chips 100
      cryosentinel predict --chips hf://datasets/abzal-glw/cryosentinel-glof-v3 --region ile_alatau --year 2022
    """
    settings = predict_settings(values)
    from cryosentinel_core.io.workspace import Workspace

    home = Workspace(workspace_root(workspace))
    if chips is not None and values["dry_run"]:
        raise click.UsageError("--dry-run goes with an area: of chips nothing is fetched")
    if chips is not None:
        chosen_years = year if is_said("year") else ()
        _check_chips_flags(chips, region, chosen_years)
        from cryosentinel_core.workflows.chips import predict_chips

        with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
            selection = _select_chips(chips, region, chosen_years, n_chips, console)
            chip_summary = predict_chips(home, selection, settings, reporter=console)
        console.summary(chip_summary.as_dict(), chip_summary.as_text())
        return 3 if chip_summary.is_partial else 0
    if region or n_chips:
        raise click.UsageError("--region and --n-chips go with --chips")
    years = check_years(tuple(sorted(set(year))), least=1)
    fetching = fetch_settings(values)
    area = resolve_area(aoi, values["area_layer"], workspace, yes=yes)
    if fetching.dry_run:
        with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
            return fetch_and_tell(home, area, years, fetching, console)
    from cryosentinel_core.workflows.predict import predict as run_predict

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        console.note(area.as_text())
        summary = run_predict(home, area, years, settings, fetching, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0


def _select_chips(
    chips: str, regions: tuple[str, ...], years: tuple[int, ...], n_chips: int | None, console: Console
) -> ChipSelection:
    """The chips that are meant; those of a data set on the hub are fetched first."""
    from cryosentinel_core.settings.chips import ChipSelection

    if not chips.startswith(_HUB):
        return ChipSelection(path=Path(chips), regions=regions, years=years, n_chips=n_chips)
    from cryosentinel_core.io.hub_datasets import DatasetReference, open_dataset

    found = open_dataset(chips, regions=regions, years=years, reporter=console)
    name = DatasetReference.parse(chips).repo.split("/")[1]
    return ChipSelection(path=found.root, regions=found.regions, years=found.years, n_chips=n_chips, name=name)


def _check_chips_flags(chips: str, regions: tuple[str, ...], years: tuple[int, ...]) -> None:
    """Refuse flags that mean nothing for these chips.

    Raises:
        click.UsageError: If there is one (exit code 2).
    """
    if is_said("aoi"):
        raise click.UsageError("--chips takes no --aoi: each chip brings its own place")
    if is_said("min_elevation"):
        raise click.UsageError("--min-elevation goes with an area: every chip is mapped")
    from cryosentinel_core.io.shards import find_shards

    if (regions or years) and not chips.startswith(_HUB) and not find_shards(Path(chips)):
        flag = "--region" if regions else "--year"
        raise click.UsageError(
            f"{flag} goes with a data set of shards, and {chips} is none: GeoTIFFs do not say theirs"
        )
