"""`cryosentinel model`: what a checkpoint holds, and its safe form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.evaluate import chips_options, evaluate_settings, judging_options, judging_settings
from cryosentinel_cli.groups import CommonFirst
from cryosentinel_cli.options import common, parse_inventories

if TYPE_CHECKING:
    from cryosentinel_core.lakes.tables import Inventory


@click.group(cls=CommonFirst)
def model() -> None:
    """Look into network weights and convert them."""


@model.command()
@click.argument("reference", metavar="hf://REPO/FILE or FILE")
@common
def info(reference: str, workspace: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Say what a checkpoint holds: architecture, statistics, recipe, training, ingredients, SHA-256.

    Nothing in the file is ever executed.

    \b
    Example:
      cryosentinel model info soup.ckpt
    """
    from cryosentinel_core.io.weights.model_card import describe_checkpoint
    from cryosentinel_core.io.weights.model_files import resolve_model

    data = describe_checkpoint(resolve_model(reference))
    width = max(len(key) for key in data)
    text = "\n".join(f"{key:{width}}  {value}" for key, value in data.items())
    Console(as_json=as_json).summary(data, text)


@model.command()
@click.argument("reference", metavar="hf://REPO/FILE or FILE")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .safetensors file."
)
@common
def convert(reference: str, output: Path, workspace: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """Write a checkpoint as safetensors, with its statistics, recipe and origin in the metadata.

    \b
    Example:
      cryosentinel model convert soup.ckpt -o soup.safetensors
    """
    from cryosentinel_core.io.weights.model_card import convert_checkpoint
    from cryosentinel_core.io.weights.model_files import resolve_model

    path = convert_checkpoint(resolve_model(reference), output)
    Console(as_json=as_json).summary({"output": str(path)}, f"wrote {path}")


@model.command()
@click.argument("reference", metavar="hf://REPO/FILE or FILE")
@click.option("--lakes", "inventories", multiple=True, required=True, metavar="YEAR=FILE[?COLUMN=VALUE]@METRESm",
              callback=parse_inventories, help="Polygons of the chips' lakes: a vector file, and the resolution that it was drawn "
              "at; give it again for more years. One alone serves every year.")  # fmt: skip
@chips_options
@judging_options
@common
def calibrate(
    reference: str, inventories: tuple[Inventory, ...], data: str | None, output: Path | None, workspace: str | None,
    verbose: bool, quiet: bool, as_json: bool, **values: Any,
) -> int:  # fmt: skip
    """Learn how large a network draws lakes, and how far that may be trusted.

    Writes FILE.calibration.json beside the weights: the threshold whose areas are unbiased against polygons, the constants of the
    area's error fitted on them and judged on blocks of ground held out, and slope and intercept of the logits. `predict` and `change`
    use it unless --threshold is given. No logit is computed again.

    \b
    Example:
      cryosentinel model calibrate soup.ckpt --data ./dataset --split val --lakes 2022=inventory.gpkg@10m
    """
    if data is None:
        raise click.UsageError("say which chips with --data DIR")
    if output is not None:
        raise click.UsageError("--output: the file always lies beside the weights")
    values["weights"] = "model" if values["weights"] == "auto" else values["weights"]
    from cryosentinel_core.workflows.calibrate import calibrate as run_calibrate

    predicting, settings = judging_settings((reference,), values), evaluate_settings(values)
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = run_calibrate(data, inventories, predicting, settings, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
    return 3 if summary.is_partial else 0
