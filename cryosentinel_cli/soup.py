"""`cryosentinel soup`: checkpoints averaged into one."""

from __future__ import annotations

from pathlib import Path

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import build_settings, common


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="CKPT...")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .ckpt file to write."
)
@click.option("--greedy", is_flag=True, help="Take only what does not lower the score on the validation split.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Shards to judge by; without them nothing is measured.",
)
@click.option(
    "--weights",
    type=click.Choice(["model", "ema"]),
    default="model",
    show_default=True,
    help="Raw weights, or their moving averages.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["averaged", "estimated"]),
    default="averaged",
    show_default=True,
    help="Average batch-norm statistics, or estimate them anew on training chips.",
)
@common
def soup(
    sources: tuple[Path, ...], output: Path, greedy: bool, data: Path | None, weights: str, batch_norm: str,
    workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Average the weights of checkpoints, or of a run's snapshots.

    Checkpoints that differ in architecture, band statistics or stack recipe are refused. The soup lists what went into it, which
    `cryosentinel model info` shows. Counts of batches are not averaged.

    \b
    Examples:
      cryosentinel soup runs/lakes -o soup.ckpt
      cryosentinel soup a.ckpt b.ckpt c.ckpt -o soup.ckpt --greedy --data chips
    """
    from cryosentinel_core.settings.soup import SoupSettings

    values = {
        "sources": sources, "output": output, "greedy": greedy, "data_dir": data, "weights": weights,
        "batch_norm": batch_norm,
    }  # fmt: skip
    settings = build_settings(SoupSettings, values)
    from cryosentinel_core.workflows.soup import soup as run_soup

    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = run_soup(settings, reporter=console)
    console.summary(summary.as_dict(), summary.as_text())
