"""Every flag that more than one command has, declared once: one meaning per flag.

Settings come from three places, later ones winning: defaults, `cryosentinel.toml` (`settings_file`), flags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from cryosentinel_cli.settings_file import FILE_NAME, load_settings_file
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.units import MIN_AREA_M2

if TYPE_CHECKING:
    from cryosentinel_core.ground.area import Area
    from cryosentinel_core.lakes.tables import Inventory
    from cryosentinel_core.settings.fetch import FetchSettings
    from cryosentinel_core.settings.predict import PredictSettings

F = TypeVar("F", bound=Callable[..., Any])


def compose(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator of several; their options are listed in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


common = compose(
    click.option(
        "-w", "--workspace", type=click.Path(file_okay=False), is_eager=True, envvar="CRYOSENTINEL_WORKSPACE",
        show_envvar=True, help="Folder of all results; its folder logs keeps what commands said.  [default: the current folder]",
    ),
    click.option(
        "--config", type=click.Path(dir_okay=False), is_eager=True, callback=load_settings_file, expose_value=False,
        help=f"Settings file.  [default: {FILE_NAME} in the workspace]",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Say every step."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object on stdout."),
)  # fmt: skip

_BBOX = "cryosentinel.bbox"
"""Key of a box that was given in place of an area, in click's context."""


def _keep_bbox(context: click.Context, _: click.Parameter, value: str | None) -> None:
    """A box in degrees as GeoJSON text, for `resolve_area`."""
    if value is None:
        return
    try:
        west, south, east, north = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not WEST,SOUTH,EAST,NORTH") from None
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise click.BadParameter(f"{value!r} is no box: west below east, south below north, in degrees")
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    context.meta[_BBOX] = json.dumps({"type": "Polygon", "coordinates": [ring]})


aoi_option = compose(
    click.option(
        "--aoi", metavar="FILE or NAME",
        help="Area of interest: GeoJSON, GeoPackage, Shapefile, KML or another vector file, GeoJSON as text, or a name that "
        "`cryosentinel regions` lists, or that of an area in the workspace.  [default: the only area in the workspace]",
    ),
    click.option(
        "--bbox", metavar="WEST,SOUTH,EAST,NORTH", callback=_keep_bbox, expose_value=False,
        help="A box in degrees in place of --aoi; its results lie in a folder named by it.",
    ),
    click.option(
        "--area-layer", multiple=True, metavar="NAME",
        help="Take this layer of the area's file alone; give it again for more.  [default: all layers]",
    ),
    click.option("--yes", is_flag=True, help="Yes, the area is meant to be as large, or as far away, as it is."),
)  # fmt: skip

fetch_options = compose(
    click.option("--catalog", metavar="NAME, URL or PATH", help="STAC catalogue of all sensors: a provider's name "
                 "(earth-search, planetary-computer), an API's URL, or a path.  [default: Earth Search for optical and "
                 "terrain, Planetary Computer for radar]"),
    click.option("--optical", metavar="NAME, URL or PATH", help="Catalogue of Sentinel-2 alone."),
    click.option("--radar", metavar="NAME, URL, PATH or none", help="Catalogue of Sentinel-1 alone; none for no radar."),
    click.option("--terrain", metavar="NAME, URL or PATH", help="Catalogue of the Copernicus DEM alone."),
    click.option("--season", metavar="MM-DD:MM-DD", default="07-01:09-30", show_default=True,
                 help="Days of the year; October is the fallback where they hold no usable scene."),
    click.option("--max-cloud", type=click.FloatRange(0, 100, min_open=True), default=30.0, show_default=True,
                 metavar="PERCENT", help="Highest cloud cover of a scene."),
    click.option("--composite", type=click.Choice(["median", "best"]), default="median", show_default=True,
                 help="Median of the clear observations, or the best single date."),
    click.option("--radar-filter", type=click.Choice(["lee5", "none"]), default="lee5", show_default=True,
                 help="Speckle filter, in linear power."),
    click.option("--from-items", type=click.Path(exists=True, dir_okay=False), metavar="scenes.json",
                 help="Take exactly the scenes of this list; no search."),
    click.option("--refresh", is_flag=True, help="Search the catalogues again although scenes.json is there."),
    click.option("--allow-mixed", is_flag=True, help="Allow more than one optical collection for an area."),
    click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Tiles side by side."),
    click.option("--scheduler", metavar="tcp://...", help="Map tiles over a dask.distributed cluster."),
    click.option("--tile-cells", type=click.Choice(["1", "2", "5", "10"]), default="10", hidden=True),
)  # fmt: skip


def _device_name(value: str) -> str:
    """A device's name as it is; what there cannot be is refused before anything is fetched for it."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is None:
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda and cuda:NUMBER")
    return value


predict_options = compose(
    click.option("--model", multiple=True, metavar="hf://REPO/FILE, FILE or water-index",
                 show_default="the published weights",
                 help="Network weights (.ckpt or .safetensors), or the baseline water-index, which needs none. Give it again "
                 "to average the logits of several weights."),
    click.option("--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True),
                 show_default="that of the calibration beside the weights, else 0.5",
                 help="Probability from which a pixel is water. One given here leaves the calibration out."),
    click.option("--overlap", type=click.Choice(["0", "0.5", "0.75"]), default="0.5", show_default=True,
                 help="Overlap of a network's windows."),
    click.option("--tta/--no-tta", default=True, show_default=True, help="Average logits over the four flips."),
    click.option("--device", default="auto", show_default=True, type=_device_name, metavar="auto, cpu or cuda",
                 help="Where to compute; cuda:1 is the second GPU."),
    click.option("--precision", type=click.Choice(["auto", "float32", "bf16"]), default="auto", show_default=True,
                 help="Of the network's arithmetic; auto takes bf16 where it is fast and costs next to nothing."),
    click.option("--batch-size", default="auto", show_default=True, metavar="auto or N", help="Windows per pass."),
    click.option("--threads", type=click.IntRange(1, 256), default=2, show_default=True,
                 help="CPU threads of a network. They change the last bits of a result: compare results of one number; a run "
                 "that was interrupted goes on with the number that it began with."),
    click.option("--compile", "compiling", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True,
                 help="Compile the network first; auto does so for large jobs on a GPU. On a CPU it is slower."),
    click.option("--min-area", type=click.FloatRange(0, min_open=True), default=MIN_AREA_M2, show_default=True, metavar="M2",
                 help="Smallest lake in the tables, m2."),
    click.option("--min-elevation", type=float, metavar="METRES", show_default="no limit",
                 help="Pass over windows that lie wholly below; their ground stays unobserved."),
    click.option("--weights", type=click.Choice(["model", "ema"]), default="model", show_default=True,
                 help="Which copy in the checkpoint: the model's, or the moving average."),
    click.option("--uncertainty/--no-uncertainty", default=False, show_default=True,
                 help="Also write how far logits spread over the flips and over several models, and give lakes an area band."),
)  # fmt: skip


def fetch_settings(values: dict[str, Any]) -> FetchSettings:
    """The settings of fetch from a command's parameters.

    Raises:
        ConfigError: If a value is not allowed.
    """
    from cryosentinel_core.settings.fetch import FetchSettings

    names = set(FetchSettings.model_fields) & set(values)
    picked = {name: values[name] for name in names}
    picked["tile_cells"] = int(values.get("tile_cells", 10))
    return build_settings(FetchSettings, picked)


dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Say which scenes, tiles and bytes would be fetched for it, and which are there; read and write nothing.",
)
"""`--dry-run` of commands that fetch first: the plan of that fetch alone."""


def predict_settings(values: dict[str, Any]) -> PredictSettings:
    """The settings of predict from a command's parameters.

    Raises:
        ConfigError: If a value is not allowed.
        click.UsageError: If values do not go together (exit code 2).
    """
    from cryosentinel_core.settings.predict import DEFAULT_MODEL, PredictSettings

    batch = values["batch_size"]
    if batch != "auto" and (not batch.isdecimal() or int(batch) < 1):
        raise click.BadParameter(f"{batch!r} is neither auto nor a number from 1 up", param_hint="--batch-size")
    batch_size = None if batch == "auto" else int(batch)
    picked = {
        name: values[name]
        for name in (
            "threshold",
            "tta",
            "device",
            "precision",
            "weights",
            "workers",
            "threads",
            "scheduler",
            "compiling",
        )
    }
    models = values["model"] or (DEFAULT_MODEL,)
    _check_members(models, tta=values["tta"], uncertainty=values["uncertainty"])
    picked |= {
        "model": models[0],
        "more_models": tuple(models[1:]),
        "uncertainty": values["uncertainty"],
        "overlap": float(values["overlap"]),
        "batch_size": batch_size,
        "min_area_m2": values["min_area"],
        "min_elevation_m": values["min_elevation"],
        "tile_cells": int(values.get("tile_cells", 10)),
    }
    return build_settings(PredictSettings, picked)


def _check_members(models: Sequence[str], *, tta: bool, uncertainty: bool) -> None:
    """Refuse to average what is no network, and to look for a spread where nothing can differ.

    Raises:
        click.UsageError: If so (exit code 2).
    """
    from cryosentinel_core.settings.predict import WATER_INDEX

    if len(models) > 1 and WATER_INDEX in models:
        raise click.UsageError(f"{WATER_INDEX} is no network: several --model take weights alone")
    if not uncertainty:
        return
    if WATER_INDEX in models:
        raise click.UsageError(
            f"--uncertainty is for networks: {WATER_INDEX} has no members that could differ; use --no-uncertainty"
        )
    if not tta and len(models) == 1:
        raise click.UsageError("--uncertainty with --no-tta leaves one member, which has no spread: use --tta")


S = TypeVar("S")


def build_settings(kind: type[S], values: dict[str, Any]) -> S:
    """A settings object; pydantic's complaint becomes one sentence.

    Raises:
        ConfigError: If a value is not allowed.
    """
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{field} is {first.get('input')!r}: {first['msg'].removeprefix('Value error, ')}",
            f"see the flag --{field.replace('_', '-').removesuffix('-m2').removesuffix('-m')} in --help",
        ) from None


def parse_inventories(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Inventory, ...]:
    """Each `2010=FILE@30m` as an inventory; years once each, ascending."""
    if not values:
        return ()
    from cryosentinel_core.errors import InputError
    from cryosentinel_core.lakes.tables import Inventory

    found: dict[int, Inventory] = {}
    for value in values:
        try:
            inventory = Inventory.parse(value)
        except InputError as error:
            raise click.BadParameter(error.message, param_hint="--lakes") from None
        if inventory.year in found:
            raise click.BadParameter(f"two inventories of {inventory.year}", param_hint="--lakes")
        found[inventory.year] = inventory
    return tuple(found[year] for year in sorted(found))


def is_said(name: str) -> bool:
    """True if a parameter stands on the command line: a settings file's area and years are not meant for chips."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def workspace_root(workspace: str | None) -> Path:
    """The workspace's folder: the flag, else the environment (click has merged the two), else the current folder."""
    return Path(workspace) if workspace else Path.cwd()


def resolve_area(reference: str | None, layers: Sequence[str], workspace: str | None, *, yes: bool) -> Area:
    """The area asked for, or the only one that the workspace holds.

    A reference is a file, else a region's name, else the name of an area in the workspace.

    Args:
        reference: As typed; None if it was not.
        layers: Of the file; empty for all.
        workspace: As typed; None if it was not.
        yes: True if the area is meant to be as large, or as far away, as it is.

    Raises:
        AreaError: If there is none, or several.
    """
    from dataclasses import replace

    from cryosentinel_core.errors import AreaError
    from cryosentinel_core.io.tables.area_loading import is_geojson_text, load_area

    context = click.get_current_context(silent=True)
    if context is not None and _BBOX in context.meta:
        if is_said("aoi"):
            raise click.UsageError("--aoi and --bbox both name an area: give one")
        reference = str(context.meta[_BBOX])
    if reference is not None and is_geojson_text(reference):
        return load_area(reference, layers=layers, allow_large=yes)
    kept = kept_areas(workspace)
    if reference is None:
        if len(kept) != 1:
            names = ", ".join(kept) or "none"
            raise AreaError(
                f"no --aoi given, and the workspace {workspace_root(workspace)} holds {len(kept)} areas ({names})",
                "say which with --aoi, or go to the folder in which you ran before",
            )
        reference = next(iter(kept))
        return replace(load_area(str(kept[reference]), allow_large=True), name=reference)
    from cryosentinel_core.ground.regions import REGIONS

    name = reference.rstrip("/") if reference.isprintable() else reference
    if name in kept and name not in REGIONS and not Path(reference).is_file():
        return replace(load_area(str(kept[name]), layers=layers, allow_large=True), name=name)
    area = load_area(name if name in REGIONS else reference, layers=layers, allow_large=yes)
    for name, path in kept.items():
        if Path(reference).resolve() == path.resolve():
            return replace(area, name=name)
    return area


def kept_areas(workspace: str | None) -> dict[str, Path]:
    """Name -> `aoi.geojson` of each area in a workspace; a catalogue that happens to hold such a file is none."""
    found = sorted(workspace_root(workspace).glob("*/aoi.geojson"))
    return {path.parent.name: path for path in found if not (path.parent / "catalog.json").exists()}


def check_years(years: tuple[int, ...], *, least: int) -> tuple[int, ...]:
    """Years as given, if they are plausible, ascending and distinct.

    Raises:
        click.UsageError: If not (exit code 2).
    """
    if len(years) < least:
        raise click.UsageError(f"wanted at least {least} year{'s' if least > 1 else ''}, got {len(years)}")
    for year in years:
        if not 2015 <= year <= 2100:
            raise click.UsageError(f"{year} is no year of Sentinel-2 (2015 to 2100)")
    if list(years) != sorted(set(years)):
        raise click.UsageError(f"years must ascend and differ, got {' '.join(map(str, years))}")
    return years
