"""What a workspace keeps of an area and year: its stacks by zone, and the folders of its models. Read only.

Neighbours: `rasters.stack_files` reads a stack's pixels; `year_results` reads a model's lakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.errors import DataError
from cryosentinel_core.ground.lattice import Cell, Grid, Tile, hull_of_cells
from cryosentinel_core.io.rasters.stack_files import RECORD
from cryosentinel_core.io.workspace import Workspace, read_json
from cryosentinel_core.units import TILE_CELLS


@dataclass(frozen=True, kw_only=True)
class KeptStack:
    """A year's stack in a workspace.

    Attributes:
        folder: Where it lies.
        recipe: How it was made, plain data.
        cells: EPSG -> cells that it holds, sorted.
        tile_cells: Cells along a tile.
        digests: `<epsg>/<tile>` -> digest of the tile's inputs.
        radar_used: True if every tile that has data has radar.
    """

    folder: Path
    recipe: Mapping[str, Any]
    cells: Mapping[int, tuple[Cell, ...]]
    tile_cells: int
    digests: Mapping[str, str]
    radar_used: bool

    def grid_of(self, epsg: int | None) -> Grid:
        """The smallest grid that holds one zone's cells; see `one_of`.

        Raises:
            DataError: If there is no such zone, or it was not said which.
        """
        return hull_of_cells(self.cells[one_of(self.cells, epsg, "zone", "epsg")])


def one_of(listed: Mapping[Any, Any], asked: Any, noun: str, parameter: str) -> Any:
    """The one that was asked for, or the only one that there is.

    Args:
        listed: What there is.
        asked: One of its keys, or None.
        noun: What they are, for messages.
        parameter: By which one is asked for.

    Raises:
        DataError: If it is not there, or nothing was asked for and there are several.
    """
    names = ", ".join(map(str, listed)) or "none"
    if asked is None:
        if len(listed) == 1:
            return next(iter(listed))
        raise DataError(f"there are {len(listed)} {noun}s ({names})", f"say which with {parameter}=")
    if asked not in listed:
        raise DataError(f"there is no {noun} {asked}", f"there is {names}")
    return asked


def open_stack(workspace: Workspace, area: str, year: int, recipe: str | None = None) -> KeptStack:
    """The stack of a year.

    Args:
        workspace: That it lies in.
        area: Name of the area.
        year: Of the imagery.
        recipe: First 8 digits of the recipe's digest, as in the folder's name; None for the only one.

    Raises:
        DataError: If there is none, or there are several and it was not said which.
    """
    home = workspace.year(area, year)
    folders = {path.name.removeprefix("stack-"): path for path in sorted(home.glob("stack-*")) if path.is_dir()}
    if not folders:
        raise DataError(f"no stack of {year} in {home}", "fetch that year first")
    folder = folders[one_of(folders, recipe, "stack", "recipe")]
    records = [record for path in sorted(folder.glob(f"*/*/{RECORD}")) if isinstance(record := read_json(path), dict)]
    cells: dict[int, set[Cell]] = {}
    for record in records:
        found = (Cell(int(record["epsg"]), *place) for place in record["inputs"].get("cells", []))
        cells.setdefault(int(record["epsg"]), set()).update(found)
    if not any(cells.values()):
        raise DataError(f"the stack in {folder} holds nothing", "fetch that year again")
    with_data = [record for record in records if record.get("has_data", True)]
    return KeptStack(
        folder=folder,
        recipe=read_json(folder / "recipe.json") or {},
        cells={epsg: tuple(sorted(cells[epsg])) for epsg in sorted(cells) if cells[epsg]},
        tile_cells=_tile_cells_of(records),
        digests={f"{record['epsg']}/{record['tile']}": str(record["digest"]) for record in records},
        radar_used=bool(with_data) and all(bool(record.get("radar_used")) for record in with_data),
    )


def _tile_cells_of(records: list[dict[str, Any]]) -> int:
    """Cells along a tile: the size by which every cell lies in the tile that it is recorded for."""
    for size in (TILE_CELLS, 5, 2, 1):
        tiles = ((record, Tile.from_name(int(record["epsg"]), record["tile"], size)) for record in records)
        if all(
            (row // size, col // size) == (tile.row, tile.col)
            for record, tile in tiles
            for row, col in record["inputs"].get("cells", [])
        ):
            return size
    raise DataError("the records of the stack contradict one another", "fetch that year again")


def open_model(workspace: Workspace, area: str, year: int, model: str | None = None) -> tuple[str, Path]:
    """Name and folder of a model's results of a year.

    Args:
        workspace: That they lie in.
        area: Name of the area.
        year: Of the imagery.
        model: Name of the folder, as `water-index`; None for the only one.

    Raises:
        DataError: If there is none, or there are several and it was not said which.
    """
    home = workspace.year(area, year)
    found = {path.parent.name: path.parent for path in sorted(home.glob("*/run.json"))}
    if not found:
        raise DataError(f"no lakes of {year} in {home}", f"run predict for {year} first")
    name = one_of(found, model, "model", "model")
    return name, found[name]


def as_attribute(data: Any) -> str:
    """Plain data as one line of JSON: attributes of a Dataset must be texts or numbers to be written to a file."""
    return json.dumps(data, sort_keys=True)
