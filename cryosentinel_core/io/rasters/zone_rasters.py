"""Result rasters of one zone and year: the tiles' parts joined to mosaics, and mosaics read back piece by piece.

Neighbours: `mosaic` says which kinds of raster there are; `lakes.extraction_readers` says what of them counts as observed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.cogs import write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import RESULT_LAYERS, read_part
from cryosentinel_core.io.rasters.stack_files import Layer as StackLayer
from cryosentinel_core.io.rasters.stack_files import read_layer


@dataclass(frozen=True, kw_only=True)
class ZoneRasters:
    """Rasters of one zone of a year's results, and the stack that they were made from.

    Attributes:
        folder: Of the results.
        epsg: Of the zone.
        hull: Pixels that every mosaic holds.
        stack: Folder of the year's stack.
        stack_tile_cells: Cells along a tile of that stack.
    """

    folder: Path
    epsg: int
    hull: Grid
    stack: Path
    stack_tile_cells: int

    def path(self, kind: str) -> Path:
        """File of one kind of raster, a key of `RESULT_LAYERS`."""
        return self.folder / f"{kind}_{self.epsg}.tif"

    def join(self, kind: str, parts: Sequence[tuple[Path, Grid]], tags: Mapping[str, str]) -> None:
        """Write the mosaic of some tiles' parts, each with the pixels that it holds; outside its own cells a part has nodata.

        Raises:
            OutputWrite: If the disk refuses.
            RasterError: If a part cannot be read.
        """
        layer = RESULT_LAYERS[kind]
        nodata = int(layer.nodata or 0)

        def read(grid: Grid) -> NDArray[Any]:
            out = np.full(grid.shape, nodata, dtype=layer.dtype)
            for path, hull in parts:
                shared = hull.intersection(grid)
                if shared is not None:
                    piece = read_part(path, shared, nodata)
                    np.copyto(out[shared.slices_in(grid)], piece, where=piece != nodata)
            return out

        self.write(kind, read, tags)

    def write(self, kind: str, make: Callable[[Grid], NDArray[Any]], tags: Mapping[str, str]) -> None:
        """Write a mosaic strip by strip, each made when its turn comes.

        Raises:
            OutputWrite: If the disk refuses.
        """
        write_cog_in_strips(self.path(kind), self.hull, RESULT_LAYERS[kind], tags, make)

    def read(self, kind: str, grid: Grid) -> NDArray[Any]:
        """(H, W) as stored; nodata outside the file.

        Raises:
            RasterError: If the file cannot be read.
        """
        return read_part(self.path(kind), grid, int(RESULT_LAYERS[kind].nodata or 0))

    def read_stack(self, layer: StackLayer, grid: Grid) -> NDArray[Any]:
        """(C, H, W) of a layer of the stack.

        Raises:
            RasterError: If the stack is damaged.
        """
        return read_layer(self.stack, layer, grid, tile_cells=self.stack_tile_cells)
