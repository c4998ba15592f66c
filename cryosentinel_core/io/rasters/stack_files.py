"""Stacks on disk: one folder a tile, one COG a kind of band, read back as any rectangle of the lattice.

`<stack>/<epsg>/<tile>/` holds `s2.tif` (12 bands uint16), `s1.tif` (2 bands float32 dB; absent without radar), `dem.tif`
(float32), `clear.tif` (5 bands uint8, `stack.stack.COUNT_NAMES`), `class.tif` (uint8, `stack.stack.Condition`), `dates.tif` (3 bands
uint16, `stack.stack.DATE_NAMES`) and `tile.json` (the record: digest, cells, items). The record is written last: without it, or
with another digest, the tile is not done.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid, Tile
from cryosentinel_core.io.rasters.cogs import RasterFormat, write_cog
from cryosentinel_core.io.workspace import read_json, remove_leftovers, write_json
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.scenes.resampling import Numbers
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES
from cryosentinel_core.stack.stack import COUNT_NAMES, DATE_NAMES, Condition, Stack
from cryosentinel_core.units import CELL_PX, PIXEL_M, REFLECTANCE_SCALE

Layer = Literal["s2", "s1", "dem", "clear", "class", "dates"]
"""One raster of a stack tile, by file name."""

RECORD: Final = "tile.json"

READERS: Final = min(8, os.cpu_count() or 1)
"""Threads that unpack a stack's rasters side by side: a GPU asks for windows faster than one of them can."""

_COLOURS: Final = {
    int(Condition.CLEAR): (222, 214, 196, 255),
    int(Condition.SNOW_ICE): (190, 225, 255, 255),
    int(Condition.TERRAIN_SHADOW): (70, 60, 110, 255),
    int(Condition.CLOUD): (200, 200, 200, 255),
    int(Condition.NODATA): (0, 0, 0, 255),
}

FORMATS: Final[Mapping[Layer, RasterFormat]] = {
    "s2": RasterFormat(names=S2_NAMES, unit="reflectance", nodata=0, overview="AVERAGE", scale=1.0 / REFLECTANCE_SCALE),
    "s1": RasterFormat(names=S1_NAMES, unit="dB", nodata=float("nan"), overview="AVERAGE"),
    "dem": RasterFormat(names=("elevation above EGM2008",), unit="metre", nodata=float("nan"), overview="AVERAGE"),
    "clear": RasterFormat(names=COUNT_NAMES, unit="dates"),
    "class": RasterFormat(names=("condition",), nodata=int(Condition.NODATA), colours=_COLOURS),
    "dates": RasterFormat(names=DATE_NAMES, unit="days since 1970-01-01", nodata=0),
}
"""How each raster is stored."""

_EMPTY: Final[Mapping[Layer, tuple[str, float]]] = {
    "s2": ("uint16", 0),
    "s1": ("float32", float("nan")),
    "dem": ("float32", float("nan")),
    "clear": ("uint8", 0),
    "class": ("uint8", int(Condition.NODATA)),
    "dates": ("uint16", 0),
}


def folder_of_tile(folder: Path, tile: Tile) -> Path:
    """`<stack>/<epsg>/<tile>`."""
    return folder / str(tile.epsg) / tile.name


def write_stack_tile(
    folder: Path, tile: Tile, stack: Stack, provenance: Provenance, extra: Mapping[str, Any] | None = None
) -> None:
    """All files of one tile, each whole or not at all, the record last.

    Args:
        folder: The year's stack.
        tile: Names the tile's folder; `stack.grid` lies inside it.
        stack: What was seen.
        provenance: Goes into every raster's tags and into `tile.json`.
        extra: More members of `tile.json`, as `partial` and `radar_used`.

    Raises:
        OutputWrite: If the disk refuses.
    """
    home = folder_of_tile(folder, tile)
    remove_leftovers(home)
    (home / RECORD).unlink(missing_ok=True)
    tags = provenance.as_tags()
    layers: dict[Layer, Numbers] = {
        "s2": stack.s2,
        "dem": stack.dem[None],
        "clear": stack.counts,
        "class": stack.condition[None],
        "dates": stack.dates,
    }
    if stack.s1 is None:
        (home / "s1.tif").unlink(missing_ok=True)
    else:
        layers["s1"] = stack.s1
    for layer, values in layers.items():
        write_cog(home / f"{layer}.tif", values, stack.grid, FORMATS[layer], tags)
    write_json(home / RECORD, {**provenance.as_dict(), "tile": tile.name, "epsg": tile.epsg, **(extra or {})})


def read_stack(folder: Path, epsg: int, grid: Grid, *, tile_cells: int, without: Collection[Layer] = ()) -> Stack:
    """Any rectangle of a stack, put together from its tiles.

    Args:
        folder: The year's stack.
        epsg: Zone; that of `grid`.
        grid: Wanted pixels; nodata where there is no tile.
        tile_cells: Cells along a side of the tiles that the stack was written with.
        without: Layers that nobody will look at: they are not read, and hold nodata that takes no memory.

    Returns:
        The stack; `s1` is None if the stack's recipe has no radar, and NaN where a tile of a stack with radar has none.

    Raises:
        RasterError: If a file is damaged, or `grid` lies in another zone.
    """
    if epsg != grid.epsg:
        raise RasterError(f"asked for a stack of EPSG:{epsg} on a grid of EPSG:{grid.epsg}")
    layers: list[Layer] = [layer for layer in FORMATS if layer != "s1" or has_radar(folder)]
    found = {layer: _no_memory(layer, grid) if layer in without else _nothing(layer, grid) for layer in layers}
    homes = [folder_of_tile(folder, tile) for tile in tiles_under(grid, tile_cells)]
    with ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="stack") as pool:
        copies = [
            pool.submit(_copy_into, found[layer], path, grid, part)
            for layer in layers
            if layer not in without
            for path in (home / f"{layer}.tif" for home in homes)
            if path.exists()
            for part in (_rows_of_blocks(path, grid) if layer == "s2" else [grid])
        ]
        for copy in copies:
            copy.result()
    return Stack(
        grid=grid,
        s2=found["s2"],
        s1=found.get("s1"),
        dem=found["dem"][0],
        counts=found["clear"],
        condition=found["class"][0],
        dates=found["dates"],
    )


def has_radar(folder: Path) -> bool:
    """True if a stack's recipe has radar (single tiles may still be without)."""
    recipe = read_json(folder / "recipe.json")
    return not (isinstance(recipe, dict) and recipe.get("radar") == "none")


def read_layer(folder: Path, layer: Layer, grid: Grid, *, tile_cells: int) -> Numbers:
    """One kind of band of a rectangle of a stack: (C, H, W), the layer's nodata where there is no tile.

    Raises:
        RasterError: If a file is damaged.
    """
    out = _nothing(layer, grid)
    for tile in tiles_under(grid, tile_cells):
        path = folder_of_tile(folder, tile) / f"{layer}.tif"
        if path.exists():
            _copy_into(out, path, grid, grid)
    return out


def _nothing(layer: Layer, grid: Grid) -> Numbers:
    """(C, H, W) of a layer's nodata."""
    dtype, nodata = _EMPTY[layer]
    return np.full((len(FORMATS[layer].names), *grid.shape), nodata, dtype=dtype)


def _no_memory(layer: Layer, grid: Grid) -> Numbers:
    """The same, all of it one number; cannot be written to."""
    dtype, nodata = _EMPTY[layer]
    return np.broadcast_to(np.array(nodata, dtype=dtype), (len(FORMATS[layer].names), *grid.shape))


def tiles_under(grid: Grid, tile_cells: int) -> list[Tile]:
    """The tiles of a size that a grid touches, in lattice order."""
    side = tile_cells * CELL_PX
    return [
        Tile(grid.epsg, row, col, tile_cells)
        for row in range(grid.row // side, (grid.row + grid.height - 1) // side + 1)
        for col in range(grid.col // side, (grid.col + grid.width - 1) // side + 1)
    ]


def _copy_into(out: Numbers, path: Path, grid: Grid, part: Grid) -> None:
    """What a file holds of a part of a grid, copied to its place in the grid's array."""
    with _opened(path) as dataset:
        held = _grid_of(dataset, grid.epsg)
        shared = held.intersection(part)
        if shared is None:
            return
        rows, cols = shared.slices_in(held)
        window = Window(cols.start, rows.start, shared.width, shared.height)
        there_rows, there_cols = shared.slices_in(grid)
        dataset.read(window=window, out=out[:, there_rows, there_cols])


def _rows_of_blocks(path: Path, grid: Grid) -> list[Grid]:
    """The grid's part of a file in pieces that share no stored block, so that several threads may unpack them."""
    with _opened(path) as dataset:
        held, step = _grid_of(dataset, grid.epsg), dataset.block_shapes[0][0]
    rows = (
        replace(held, row=held.row + top, height=min(step, held.height - top)) for top in range(0, held.height, step)
    )
    return [part for part in (each.intersection(grid) for each in rows) if part is not None]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A raster of a stack, open.

    Raises:
        RasterError: If it is damaged, also while it is read.
    """
    try:
        with rasterio.open(path) as dataset:
            yield dataset
    except RasterioError as error:
        raise RasterError(f"{path} is damaged: {error}", f"delete {path.parent} and run again") from error


def _grid_of(dataset: Any, epsg: int) -> Grid:
    t = dataset.transform
    return Grid(
        epsg=epsg, row=round(-t.f / PIXEL_M), col=round(t.c / PIXEL_M), height=dataset.height, width=dataset.width
    )
