"""`cryosentinel train`: from shards to checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import workspace_root

if TYPE_CHECKING:
    from cryosentinel_core.settings.train import TrainSettings

_AUTO = "AUTO"


def _parse_seeds(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    try:
        seeds = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of seeds like 17,42,1337") from None
    if len(set(seeds)) != len(seeds) or len(seeds) < 2 or min(seeds) < 0:
        raise click.BadParameter(f"{value!r} has fewer than two different seeds from 0 on")
    return seeds


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Folder of shards.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one key, as trainer.max_epochs=10.")
@click.option(
    "--init",
    metavar="FILE, hf://REPO/FILE, terramind or none",
    help="Weights to begin with.  [default: TerraMind's own]",
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=_AUTO,
    metavar="[RUN]",
    help="Go on with a run: its folder or a last.ckpt; without a value the run that the settings name.",
)
@click.option(
    "--seeds",
    "many",
    callback=_parse_seeds,
    metavar="A,B,C",
    help="A run for each of these seeds, and a soup of them all.",
)
@click.option("--dry-run", is_flag=True, help="Parameter groups, one batch, memory and hours; nothing is trained.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Settings as YAML, with the keys of the published ones.  [default: the bundled recipe]",
)
@click.option(
    "-w",
    "--workspace",
    type=click.Path(file_okay=False),
    envvar="CRYOSENTINEL_WORKSPACE",
    show_envvar=True,
    help="Folder that output_dir is relative to.  [default: the current folder]",
)
@click.option("-v", "--verbose", is_flag=True, help="Say every step.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the final metrics as one JSON object on stdout.")
def train(
    data: Path | None, changes: tuple[str, ...], init: str | None, resume: str | None, many: tuple[int, ...], dry_run: bool,
    config: Path | None, workspace: str | None, verbose: bool, quiet: bool, as_json: bool,
) -> int:  # fmt: skip
    """Train a network on chips with labels.

    Without a settings file the published fine-tune's recipe is used. A run's folder holds its checkpoints, figures and settings; it is
    saved as it goes, and --resume goes on after a kill with the same numbers. The network maps lakes; it never forecasts outbursts.

    \b
    Examples:
      cryosentinel train --data chips
      cryosentinel train --data chips --dry-run
      cryosentinel train --config finetune.yaml --set trainer.max_epochs=10 --set run_name=short
      cryosentinel train --resume runs/lakes
    """
    home = workspace_root(workspace)
    settings, start = _resolve(config, data, changes, init, resume, home)
    with Console(verbose=verbose, quiet=quiet, as_json=as_json) as console:
        summary = _run(settings, home, console, start=start, seeds=many, dry_run=dry_run)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes the first one speaks
        console.summary(summary.as_dict(), summary.as_text())
    return 0


def _run(
    settings: TrainSettings, home: Path, console: Console, *, start: Path | None, seeds: tuple[int, ...], dry_run: bool
) -> Any:
    """The workflow that was asked for; its summary."""
    if dry_run:
        from cryosentinel_core.workflows.train import rehearse

        return rehearse(settings, reporter=console)
    if seeds:
        from cryosentinel_core.workflows.train_seeds import train_seeds

        return train_seeds(settings, home, seeds, reporter=console)
    from cryosentinel_core.workflows.train import train as run_train

    return run_train(settings, home, reporter=console, resume=start)


def _resolve(
    config: Path | None, data: Path | None, changes: tuple[str, ...], init: str | None, resume: str | None, home: Path
) -> tuple[TrainSettings, Path | None]:
    """The run's settings, and the checkpoint to go on from."""
    from cryosentinel_cli.train_settings import read_settings

    said: dict[str, Any] = {}
    if data is not None:
        said["data"] = {"data_dir": str(data)}
    if init is not None:
        said["init"] = init
    if resume is None:
        return read_settings(config, changes, said), None
    from cryosentinel_core.io.weights.run_folder import find_run

    if resume == _AUTO:
        named = read_settings(config, changes, said)
        folder, last = find_run(home / named.output_dir / named.run_name)
    else:
        folder, last = find_run(Path(resume))
    stored = folder / "config.yaml"
    if config is None and stored.is_file():
        config = stored
    said |= {"output_dir": str(folder.parent.resolve()), "run_name": folder.name}
    return read_settings(config, changes, said), last
