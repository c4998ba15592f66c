"""Records of a stack's tiles: what each was made of, for the digests of results that are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.ground.lattice import Cell, group_cells
from cryosentinel_core.io.workspace import read_json


@dataclass(frozen=True)
class StackRecords:
    """Records of the tiles of one stack.

    Attributes:
        tile_cells: Cells along a tile of the stack.
        records: `<epsg>/<tile>` -> what stands in its `tile.json`.
    """

    tile_cells: int
    records: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, stack: Path, cells: Iterable[Cell], tile_cells: int) -> StackRecords:
        """The records of the tiles that some cells lie in; a tile without one is left out.

        Args:
            stack: Folder of the stack.
            cells: Of any zones.
            tile_cells: Cells along a tile of the stack.
        """
        found = {}
        for tile in group_cells(cells, tile_cells):
            record = read_json(stack / str(tile.epsg) / tile.name / "tile.json")
            if isinstance(record, dict):
                found[f"{tile.epsg}/{tile.name}"] = record
        return cls(tile_cells, found)

    @property
    def radar_used(self) -> bool:
        """True if every tile that has data has radar."""
        used = [record for record in self.records.values() if record.get("has_data", True)]
        return bool(used) and all(bool(record.get("radar_used")) for record in used)

    def digests_around(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Digests of the tiles that some cells' windows and halos reach."""
        reached = {neighbour for cell in cells for neighbour in cell.neighbours(1)}
        names = (f"{tile.epsg}/{tile.name}" for tile in group_cells(reached, self.tile_cells))
        return {name: str(self.records[name]["digest"]) for name in names if name in self.records}
