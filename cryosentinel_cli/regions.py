"""`cryosentinel regions`: the areas that have a name."""

from __future__ import annotations

from typing import Any

import click

from cryosentinel_cli.console import Console
from cryosentinel_cli.options import common
from cryosentinel_core.ground.regions import REGIONS


@click.command()
@common
def regions(workspace: str | None, verbose: bool, quiet: bool, as_json: bool) -> None:
    """List the named areas and their bounds.

    \b
    Example:
      cryosentinel regions
      cryosentinel predict --aoi ile_alatau --year 2023
    """
    data: dict[str, Any] = {
        name: {"west": west, "south": south, "east": east, "north": north}
        for name, (west, south, east, north) in REGIONS.items()
    }
    lines = [f"{'name':28}{'west':>8}{'south':>8}{'east':>8}{'north':>8}"]
    lines += [f"{name:28}" + "".join(f"{value:8.2f}" for value in box) for name, box in REGIONS.items()]
    Console(as_json=as_json).summary({"regions": data}, "\n".join(lines))
