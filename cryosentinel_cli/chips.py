"""`cryosentinel chips`: data sets of chips to train and judge with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cryosentinel_cli.chip_build import build
from cryosentinel_cli.chip_options import chip_query, query_options, split_options
from cryosentinel_cli.console import Console
from cryosentinel_cli.groups import CommonFirst
from cryosentinel_cli.options import common


@click.group(cls=CommonFirst)
def chips() -> None:
    """Cut chips for training, look into data sets of them, and prove their split."""


chips.add_command(build)


@chips.command()
@query_options
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    default="train",
    show_default=True,
    help="Whose chips are counted.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The statistics.  [default: dataset_stats.json in the data set's folder]",
)
@split_options
@common
def stats(
    data: str, split: str, output: Path | None, workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
    **values: Any,
) -> int:  # fmt: skip
    """Measure mean and standard deviation of each band, by which chips are standardised.

    One pass over the pixels in which no sensor is nodata. Means stand beside year by year, and a year whose numbers look as if
    the +1000 of newer Sentinel-2 processing were still in them is warned of.

    \b
    Example:
      cryosentinel chips stats chips
    """
    query = chip_query(data, values, split)
    from cryosentinel_core.workflows.chip_sets import measure_stats

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = measure_stats(query, output, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.failed else 0


@chips.command(name="split")
@query_options
@click.option("--check", is_flag=True, help="Prove that no two chips of different splits share ground, or fail.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="CSV: a row a chip."
)
@split_options
@common
def show_split(
    data: str, check: bool, output: Path | None, workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
    **values: Any,
) -> None:  # fmt: skip
    """Say which chips train, validate and test, and prove that they share no ground.

    The split is by blocks of ground, never by year; only chips that do not say where they lie are split by the column.

    \b
    Examples:
      cryosentinel chips split chips --check
      cryosentinel chips split chips --block-size 0.25 -o split.csv
    """
    query = chip_query(data, values)
    from cryosentinel_core.workflows.chip_sets import examine_split

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = examine_split(query, output, check=check, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())


@chips.command()
@query_options
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the GeoTIFFs.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    default="all",
    show_default=True,
    help="Only chips of this split.",
)
@click.option("--n-chips", type=click.IntRange(1), metavar="N", help="The first N chips alone.  [default: all]")
@click.option("--labels", is_flag=True, help="Also write each label, as NAME_label.tif.")
@split_options
@common
def export(
    data: str, out: Path, split: str, n_chips: int | None, labels: bool, workspace: str | None, verbose: bool, quiet: bool,
    as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Write chips as GeoTIFFs of 15 bands, to look at or to map with `predict --chips`.

    \b
    Example:
      cryosentinel chips export chips -o tifs --split val --n-chips 20
    """
    query = chip_query(data, values, split)
    from cryosentinel_core.workflows.chip_sets import export_chips

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = export_chips(query, out, n_chips=n_chips, with_labels=labels, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.failed else 0


@chips.command()
@click.argument("data", metavar="DIR or hf://datasets/OWNER/NAME")
@split_options
@common
def info(data: str, workspace: str | None, verbose: bool, quiet: bool, as_json: bool, **values: Any) -> int:
    """Say what a data set holds: regions, years, splits, water, bytes, and what is missing or damaged.

    Of a data set on the hub the listing is told, and how much of it is in the cache; nothing is downloaded.

    \b
    Examples:
      cryosentinel chips info chips
      cryosentinel chips info hf://datasets/abzal-glw/cryosentinel-glof-v3
    """
    query = chip_query(data, {**values, "region": (), "year": (), "by_column": False})
    from cryosentinel_core.workflows.chip_sets import describe_dataset

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = describe_dataset(query, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.problems else 0
