"""`cryosentinel evaluate`: how good a model is, on chips whose truth is known, or a map against an inventory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import aoi_option, build_settings, common, compose, is_said, resolve_area, workspace_root
from cryosentinel_cli.run_log import logged

if TYPE_CHECKING:
    from cryosentinel_core.settings.evaluate import EvaluateSettings
    from cryosentinel_core.settings.predict import PredictSettings

judging_options = compose(
    click.option("--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.5, show_default=True,
                 help="Probability from which a pixel is water, for all figures but the sweep."),
    click.option("--tta/--no-tta", default=True, show_default=True, help="Average logits over the four flips."),
    click.option("--modalities", metavar="A,B", help="Let the network see these alone, as S2L2A,DEM; without S1GRD, pixels "
                 "count wherever optical and terrain data are good.  [default: all that it was trained with]"),
    click.option("--device", default="auto", show_default=True, metavar="auto, cpu or cuda", help="Where to compute."),
    click.option("--precision", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True,
                 help="Of the network's arithmetic."),
    click.option("--batch-size", default="auto", show_default=True, metavar="auto or N", help="Chips per pass."),
    click.option("--threads", type=click.IntRange(1, 256), default=2, show_default=True, help="Of a network on a CPU."),
    click.option("--compile", "compiling", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True,
                 help="Compile the network first; auto does so for large jobs on a GPU."),
    click.option("--weights", type=click.Choice(["auto", "model", "ema"]), default="auto", show_default=True,
                 help="Which copy in the checkpoint; auto takes the moving average where there is one, of a soup its own."),
)  # fmt: skip

chips_options = compose(
    click.option("--data", metavar="DIR or hf://datasets/OWNER/NAME",
                 help="A data set of chips: FOLDER/REGION/YEAR/shard_*.parquet, or one of the hub."),
    click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="val", show_default=True,
                 help="Whose chips are judged on."),
    click.option("--region", "region", multiple=True, metavar="NAME",
                 help="Region of the data set; give it again for more.  [default: all]"),
    click.option("--year", "year", type=int, multiple=True, metavar="Y",
                 help="Year of the data set (give it again for more), or of the map.  [default: all]"),
    click.option("--n-chips", type=click.IntRange(1), metavar="N", help="Take the first N chips of the split.  [default: all]"),
    click.option("--block-size", show_default="what the data set says, else 0.15", metavar="DEGREES or column",
                 help="Side of the blocks that divide the ground into splits and that intervals draw; 'column' believes what the "
                 "shards say of each chip's split."),
    click.option("--block-buffer", type=click.FloatRange(0), default=0.02, show_default=True, metavar="DEGREES",
                 help="Chips whose centre is nearer to the edge of their block belong to no split."),
    click.option("--seen-blocks", type=float, multiple=True, metavar="DEGREES",
                 help="Block size of a split that the weights were trained by; give it again for more. Tells how much of the ground "
                 "they have seen.  [default: what the checkpoint says]"),
    click.option("--exclude", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
                 help="CSV with a column chip_id (as `audit` writes it, or a plain list): chips whose label is wrong are left out."),
    click.option("--water-index/--no-water-index", "with_water_index", default=True, show_default=True,
                 help="Judge the water index on the same chips, beside the network."),
    click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.95, show_default=True,
                 help="Of the intervals."),
    click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
                 help="Where the files go.  [default: evaluation/MODEL in the workspace]"),
)  # fmt: skip


@click.command()
@click.option("--model", multiple=True, metavar="hf://REPO/FILE, FILE or water-index", show_default="the published weights",
              help="Network weights (.ckpt or .safetensors), or the baseline water-index. Give it again to judge the mean of the "
              "logits of several weights.")  # fmt: skip
@click.option(
    "--published",
    is_flag=True,
    help="Fetch the released weights and chips from the hub, judge them on validation and "
    "test, and compare with the published table to four decimals; exit code 1 if a figure differs.",
)
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --published: JSON of another table to compare with.",
)
@click.option(
    "--lakes", metavar="FILE[?COLUMN=VALUE][@METRESm]", help="An inventory: judge the map of --aoi and --year by it."
)
@aoi_option
@chips_options
@judging_options
@common
@logged
def evaluate(
    model: tuple[str, ...], data: str | None, lakes: str | None, published: bool, table: Path | None, aoi: str | None, yes: bool,
    output: Path | None, workspace: str | None, verbose: bool, quiet: bool, as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Judge a model on chips whose lakes are known, or a mapped area by an inventory.

    The published protocol: moving-average weights where there are some, logits averaged over four flips, counts of pixels summed
    over all chips before any ratio is taken, thresholds 0.1 to 0.9. Beside each figure stands an interval that draws whole blocks
    of ground, since chips of one block share their lakes; with fewer than 8 blocks it is withheld. The water index is judged on
    the same chips.

    With --aoi, --year and --lakes the lakes that `predict` left in the workspace are judged by an inventory: which are matched,
    missed and invented, and how far their areas agree.

    With --published it is the released weights on the released chips, beside the published table. That takes a network (30 GB for all
    regions, less for the three that were judged) and, at 0.1 s a chip, minutes on a GPU.

    \b
    Examples:
      cryosentinel evaluate --model soup.ckpt --data ./dataset --split test
      cryosentinel evaluate --model soup.ckpt --data ./dataset --modalities S2L2A,DEM
      cryosentinel evaluate --model water-index --data ./dataset --split all
      cryosentinel evaluate --model soup.ckpt --data ./dataset --split test --exclude wrong.csv --json
      cryosentinel evaluate --aoi ile_alatau --year 2022 --lakes inventory.gpkg@10m
      cryosentinel evaluate --published
    """
    if lakes is not None:
        if data is not None:
            raise click.UsageError("--lakes judges a map, --data chips: give one of them")
        return _judge_map(
            model, lakes, aoi, yes, output, workspace, Console(verbose=verbose, quiet=quiet, as_json=as_json), values
        )
    if published:
        console = Console(verbose=verbose, quiet=quiet, as_json=as_json)
        return _reproduce(
            model, data, table, output or workspace_root(workspace) / "evaluation" / "published", console, values
        )
    if data is None:
        raise click.UsageError("say which chips with --data DIR, or which map with --aoi, --year and --lakes")
    settings = evaluate_settings(values)
    predicting = judging_settings(model, values)
    from cryosentinel_core.workflows.evaluate import evaluate_chips
    from cryosentinel_core.workflows.judged_model import choose_judged

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        judged = choose_judged(predicting, settings, is_auto=values["weights"] == "auto")
        folder = output or workspace_root(workspace) / "evaluation"
        summary = evaluate_chips(data, *judged, folder, is_parent=output is None, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0


def _reproduce(
    model: tuple[str, ...], data: str | None, table: Path | None, folder: Path, console: Console, values: dict[str, Any]
) -> int:
    """Judge the released weights beside the published table."""
    from cryosentinel_core.chips.published import PUBLISHED_DATA, PUBLISHED_REGIONS
    from cryosentinel_core.workflows.evaluate_published import evaluate_published
    from cryosentinel_core.workflows.judged_model import choose_judged

    settings, predicting = evaluate_settings(values), judging_settings(model, values)
    if data is None:
        regions = settings.regions or PUBLISHED_REGIONS
        settings = settings.model_copy(update={"regions": regions, "block_size_deg": settings.block_size_deg})
    with console:
        judged = choose_judged(predicting, settings, is_auto=values["weights"] == "auto")
        summary = evaluate_published(data or PUBLISHED_DATA, *judged, folder, table=table, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.failed else 0 if summary.agrees else 1


def _judge_map(
    model: tuple[str, ...], lakes: str, aoi: str | None, yes: bool, output: Path | None, workspace: str | None, console: Console,
    values: dict[str, Any],
) -> int:  # fmt: skip
    """Judge one year's map of an area."""
    if len(values["year"]) != 1:
        raise click.UsageError(f"a map is of one --year, got {len(values['year'])}")
    if len(model) > 1:
        raise click.UsageError("a map is of one --model")
    from cryosentinel_core.errors import InputError
    from cryosentinel_core.io.workspace import Workspace
    from cryosentinel_core.lakes.tables import Inventory
    from cryosentinel_core.workflows.evaluate_map import evaluate_map

    year = values["year"][0]
    text = f"{year}={lakes.removeprefix(f'{year}=')}"
    try:
        inventory = Inventory.parse(text if "@" in text else f"{text}@10m")
    except InputError as error:
        raise click.BadParameter(error.message, param_hint="--lakes") from None
    area = resolve_area(aoi, values["area_layer"], workspace, yes=yes)
    with console:
        summary = evaluate_map(
            Workspace(workspace_root(workspace)), area, inventory, output, model=model[0] if model else "",
            confidence=values["confidence"], reporter=console,
        )  # fmt: skip
    console.summary(summary.as_dict(), summary.as_text())
    return 0


def evaluate_settings(values: dict[str, Any]) -> EvaluateSettings:
    """The settings of judging from a command's parameters.

    Raises:
        ConfigError: If a value is not allowed.
        click.UsageError: If a size is no number (exit code 2).
    """
    from cryosentinel_core.settings.evaluate import EvaluateSettings

    size = values["block_size"]
    try:
        block_size = size or "recorded"
        if block_size not in ("column", "recorded"):
            block_size = float(size)
    except ValueError:
        raise click.BadParameter(f"{size!r} is neither a number nor column", param_hint="--block-size") from None
    names = ("split", "n_chips", "confidence", "with_water_index", "exclude")
    picked = {name: values[name] for name in names}
    picked |= {
        "regions": values["region"],
        "years": values["year"] if is_said("year") else (),
        "block_size_deg": block_size,
        "block_buffer_deg": values["block_buffer"],
        "seen_sizes_deg": values["seen_blocks"],
    }
    return build_settings(EvaluateSettings, picked)


def judging_settings(model: tuple[str, ...], values: dict[str, Any]) -> PredictSettings:
    """Which model is judged and how it computes.

    Raises:
        ConfigError: If a value is not allowed.
    """
    from cryosentinel_core.settings.predict import DEFAULT_MODEL, PredictSettings

    batch = values["batch_size"]
    if batch != "auto" and (not batch.isdecimal() or int(batch) < 1):
        raise click.BadParameter(f"{batch!r} is neither auto nor a number from 1 up", param_hint="--batch-size")
    batch_size = None if batch == "auto" else int(batch)
    models = model or (DEFAULT_MODEL,)
    asked = values["modalities"]
    picked = {name: values[name] for name in ("threshold", "tta", "device", "precision", "threads", "compiling")}
    picked |= {
        "model": models[0],
        "more_models": tuple(models[1:]),
        "batch_size": batch_size,
        "weights": "model" if values["weights"] == "auto" else values["weights"],
        "modalities": None if asked is None else tuple(name.strip() for name in asked.split(",") if name.strip()),
    }
    return build_settings(PredictSettings, picked)
