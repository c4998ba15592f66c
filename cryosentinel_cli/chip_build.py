"""`cryosentinel chips build`: from stacks and outlines to a data set of chips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.chip_options import split_changes, split_options
from cryosentinel_cli.console import Console
from cryosentinel_cli.options import (
    aoi_option,
    build_settings,
    check_years,
    common,
    fetch_options,
    fetch_settings,
    resolve_area,
    workspace_root,
)
from cryosentinel_cli.run_log import logged

if TYPE_CHECKING:
    from cryosentinel_core.ground.area import Area
    from cryosentinel_core.settings.chip_building import ChipBuildSettings


@click.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The data set; chips of other regions and years in it stay.",
)
@click.option(
    "--truth",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Label with the truth of a simulated catalogue, which then is also the default of --catalog, --aoi "
    "and --year.",
)
@click.option(
    "--inventory",
    multiple=True,
    metavar="YEAR=FILE",
    help="Label with the lakes of a vector file, and say for which year they were drawn; give it again for more. "
    "FILE?COLUMN=VALUE takes only the rows with that value.",
)
@click.option(
    "--label-year",
    multiple=True,
    metavar="YEAR=YEAR",
    help="Label imagery of the first year with the inventory of the second.  [default: the nearest inventory, "
    "of two the later]",
)
@click.option(
    "--corrections",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Leave out the chips that this table calls wrong: CSV with chip_id and verdict, or one id a line.",
)
@click.option("--region", metavar="NAME", help="Folder of the chips in the data set.  [default: the area's name]")
@aoi_option
@click.option("--year", "year", type=int, multiple=True, metavar="Y", help="Year to cut; give it again for more.")
@click.option(
    "--overlap",
    type=click.Choice(["0", "0.5", "0.75"]),
    default="0.5",
    show_default=True,
    help="Overlap of neighbouring chips.",
)
@click.option(
    "--background", default="1", show_default=True, metavar="N or all", help="Chips without a lake for each with one."
)
@click.option(
    "--seed", type=click.IntRange(0), default=42, show_default=True, help="Of the draw of chips without a lake."
)
@click.option(
    "--min-valid",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Least share of a chip's pixels that all sensors saw.",
)
@click.option(
    "--sanity",
    type=click.Choice(["mndwi", "none"]),
    show_default="mndwi; none with --truth",
    help="Leave out chips whose label and water index contradict each other.",
)
@click.option("--keep-buffer", is_flag=True, help="Also write chips that the split drops, with the split UNKNOWN.")
@split_options
@fetch_options
@common
@logged
def build(
    out: Path, truth: Path | None, inventory: tuple[str, ...], corrections: Path | None, region: str | None,
    aoi: str | None, yes: bool,
    year: tuple[int, ...], workspace: str | None, verbose: bool, quiet: bool, as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Cut chips out of stacks, with labels from an inventory or from a simulation's truth.

    Fetches the stacks that are missing, burns the lakes' outlines into windows of 224 x 224 px, leaves out what is not to be
    trusted, and writes shards in the published layout, with dataset.json over all. Chips that are cut already are kept.

    \b
    Examples:
      cryosentinel chips build --truth demo-data -o chips --block-size 0.06 --buffer 0.002 --split-rule extents
      cryosentinel chips build --aoi ile_alatau --year 2017 --year 2023 -o chips \\
          --inventory 2016=lakes_2016.gpkg --inventory 2022=lakes_2022.gpkg
    """
    if bool(truth) == bool(inventory):
        raise click.UsageError("say what to label with: either --truth DIR or --inventory YEAR=FILE")
    settings = _build_settings(out, {**values, "sanity": values["sanity"] or ("none" if truth else "mndwi")})
    from cryosentinel_core.chips.corrections import WrongLabels
    from cryosentinel_core.io.tables.chip_corrections import read_corrections
    from cryosentinel_core.io.tables.label_files import parse_label_file, read_label_files, read_truth
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.workflows.chip_building import build_chips

    inventories = [parse_label_file(text) for text in inventory]
    if truth is not None and not any(values[name] for name in ("catalog", "optical", "from_items")):
        values["catalog"] = str(truth)
    fetching = fetch_settings(values)
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        labels = read_truth(truth) if truth is not None else read_label_files(inventories, console)
        years = check_years(tuple(sorted(set(year) or (set(labels.outlines) if truth is not None else set()))), least=1)
        area = _area_of(aoi, region, truth, values["area_layer"], workspace, yes=yes)
        console.note(area.as_text())
        wrong = WrongLabels(read_corrections(corrections)) if corrections is not None else None
        summary = build_chips(
            Workspace(workspace_root(workspace)),
            out,
            area,
            years,
            labels,
            settings,
            fetching,
            reporter=console,
            wrong=wrong,
        )
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0


def _area_of(
    aoi: str | None, region: str | None, truth: Path | None, layers: Sequence[str], workspace: str | None, *, yes: bool
) -> Area:
    """The area asked for, under the name of the region; of a simulated catalogue its own, under the catalogue's name."""
    from dataclasses import replace

    from cryosentinel_core.errors import InputError
    from cryosentinel_core.io.workspace import safe_name

    if region is not None and safe_name(region) != region:
        raise InputError(f"{region!r} cannot name a folder", "use letters, digits, _ and -")
    if aoi is None and truth is not None:
        found = resolve_area(str(truth / "aoi.geojson"), layers, workspace, yes=yes)
        return replace(found, name=region or safe_name(truth.resolve().name, "simulated"))
    found = resolve_area(aoi, layers, workspace, yes=yes)
    return replace(found, name=region) if region else found


def _build_settings(root: Path, values: dict[str, Any]) -> ChipBuildSettings:
    """The settings of a build from the command's parameters.

    Raises:
        click.BadParameter: If a flag has a value that it cannot have (exit code 2).
        ConfigError: If a value is not allowed.
    """
    from cryosentinel_core.chips.split import BlockSplit
    from cryosentinel_core.io.dataset_record import recorded_split
    from cryosentinel_core.settings.chip_building import ChipBuildSettings

    try:
        background = None if values["background"] == "all" else float(values["background"])
    except ValueError:
        raise click.BadParameter(
            f"{values['background']!r} is neither a number nor all", param_hint="--background"
        ) from None
    label_years = []
    for text in values["label_year"]:
        years = text.split("=")
        if len(years) != 2 or not all(one.isdigit() for one in years):
            raise click.BadParameter(f"{text!r} has another form than 2021=2016", param_hint="--label-year")
        label_years.append((int(years[0]), int(years[1])))
    return build_settings(
        ChipBuildSettings,
        {
            "overlap": float(values["overlap"]),
            "background_per_lake": background,
            "seed": values["seed"],
            "min_valid_share": values["min_valid"],
            "sanity": values["sanity"],
            "keep_buffer": values["keep_buffer"],
            "label_years": tuple(label_years),
            "split": (recorded_split(root) or BlockSplit()).changed(split_changes(values)).as_dict(),
        },
    )
