"""`cryosentinel model`: what a checkpoint holds, and its safe form."""

from __future__ import annotations

from pathlib import Path

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.groups import CommonFirst
from cryosentinel_cli.options import common


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
