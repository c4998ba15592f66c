"""`cryosentinel simulate`: a catalogue of scenes whose lakes are known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import common
from cryosentinel_core.reporter import counted

if TYPE_CHECKING:
    from cryosentinel_core.simulate import SimulationSummary


def _parse_years(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        years = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of years", param_hint="--years") from None
    from cryosentinel_cli.options import check_years

    return check_years(years, least=2)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same files.")
@click.option("--years", default="2017,2023", show_default=True, callback=_parse_years, help="Comma between.")
@click.option("--size-km", type=click.FloatRange(2, 60), default=12.0, show_default=True, help="Side of the area.")
@click.option("--margin-km", type=click.FloatRange(0.5, 20), default=7.0, show_default=True,
              help="How far scenes reach beyond the area on each side; less of it is made sooner.")  # fmt: skip
@click.option("--lakes", "n_lakes", type=click.IntRange(1), help="How many lakes.  [default: by the area]")
@click.option(
    "--cloud", type=click.FloatRange(0, 0.9), default=0.25, show_default=True, help="Mean cloud share of a date."
)
@click.option(
    "--like",
    type=click.Choice(["planetary-computer", "earth-search"]),
    default="planetary-computer",
    show_default=True,
    help="Whose collections, asset names and metadata to imitate.",
)
@click.option(
    "--difficulty",
    type=click.Choice(["easy", "real", "hard"]),
    default="easy",
    show_default=True,
    help="real and hard add white flour, black water, glint, cirrus, wet rock, rough shores, lakes at calving glaciers, "
    "braided rivers, and an elevation model that is older than the lakes, noisier and has holes.",
)
@click.option("--zone-border", is_flag=True, help="Put the area across the border of two UTM zones.")
@common
def simulate(
    directory: Path, seed: int, years: tuple[int, ...], size_km: float, margin_km: float, n_lakes: int | None, cloud: float,
    like: str, difficulty: str, zone_border: bool, workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a STAC catalogue of simulated scenes with known lakes.

    A static catalogue with Sentinel-1, Sentinel-2 and DEM files as archives hold them, the area of interest, and the truth:
    to try everything offline, to prove an installation, and to measure how good a method is.

    \b
    Example:
      cryosentinel simulate demo-data --seed 1
      cryosentinel change 2017 2023 --aoi demo-data/aoi.geojson --catalog demo-data --model water-index
    """
    from cryosentinel_core.simulate import SimulateSettings
    from cryosentinel_core.simulate import simulate as run_simulate

    settings = SimulateSettings(
        seed=seed, years=years, size_km=size_km, margin_km=margin_km, n_lakes=n_lakes, cloud=cloud,
        like=cast(Literal["planetary-computer", "earth-search"], like), zone_border=zone_border,
        difficulty=cast(Literal["easy", "real", "hard"], difficulty),
    )  # fmt: skip
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = run_simulate(directory, settings, progress=console.progress)
    console.summary(asdict(summary), _in_words(summary))


def _in_words(summary: SimulationSummary) -> str:
    """What was written, and what happens to the lakes, in two lines."""
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    return (
        f"{summary.n_optical_items} Sentinel-2, {summary.n_radar_items} Sentinel-1 and {summary.n_terrain_items} DEM items, "
        f"{summary.bytes_written / 1e6:.0f} MB, in {summary.directory}\n"
        f"{counted(summary.n_events, 'lake and pair', 'lakes and pairs')} of years: {kinds}"
    )
