"""Mosaics of a zone and the parts of tiles that they are made of: which rasters there are, and how a part is read back.

Neighbours: `io.rasters.cogs` writes them strip by strip.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.cogs import MOSAIC_BLOCK_PX, RasterFormat
from cryosentinel_core.lakes.pixel_classes import WATER_LAKE, WATER_LAND, WATER_SHADOW, WATER_SNOW_ICE, WATER_UNOBSERVED
from cryosentinel_core.units import (
    LOGIT_NODATA,
    LOGIT_STEP,
    PIXEL_M,
    PROBABILITY_NODATA,
    PROBABILITY_SCALE,
    SPREAD_NODATA,
    SPREAD_STEP,
)

LOGIT_LAYER: Final = RasterFormat(
    dtype="int16",
    nodata=LOGIT_NODATA,
    names=("logit of lake water, 0.001 a step",),
    scale=LOGIT_STEP,
    block_px=MOSAIC_BLOCK_PX,
)
SPREAD_LAYER: Final = RasterFormat(
    dtype="uint16",
    nodata=SPREAD_NODATA,
    names=("standard deviation of the logit over flips, models and overlapping windows, 0.001 a step",),
    scale=SPREAD_STEP,
    block_px=MOSAIC_BLOCK_PX,
)
PROBABILITY_LAYER: Final = RasterFormat(
    dtype="uint8",
    nodata=PROBABILITY_NODATA,
    names=("probability of lake water, 0..200 = 0..1",),
    overview="AVERAGE",
    scale=1.0 / PROBABILITY_SCALE,
    block_px=MOSAIC_BLOCK_PX,
)
WATER_LAYER: Final = RasterFormat(
    dtype="uint8",
    nodata=None,
    names=("0 land, 1 lake, 2 snow or ice, 3 terrain shadow, 255 unobserved",),
    colours={
        WATER_LAND: (222, 214, 196, 255),
        WATER_LAKE: (0, 90, 181, 255),
        WATER_SNOW_ICE: (235, 247, 255, 255),
        WATER_SHADOW: (90, 90, 90, 255),
        WATER_UNOBSERVED: (230, 160, 0, 255),
    },
    is_gradual=False,
    block_px=MOSAIC_BLOCK_PX,
)

RESULT_LAYERS: Final[Mapping[str, RasterFormat]] = {
    "logit": LOGIT_LAYER,
    "probability": PROBABILITY_LAYER,
    "water": WATER_LAYER,
    "spread": SPREAD_LAYER,
}
"""Kind of raster, as in file names -> what it holds; the last only where a spread was asked for."""


def read_part(path: Path, grid: Grid, fill: float) -> NDArray[Any]:
    """(H, W) of one band of a raster on the lattice, on any grid; `fill` outside the file.

    Raises:
        RasterError: If the file cannot be read.
    """
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            have = _grid_of(raster)
            out = np.full(grid.shape, fill, dtype=raster.dtypes[0])
            shared = have.intersection(grid)
            if shared is not None:
                window = Window(shared.col - have.col, shared.row - have.row, shared.width, shared.height)
                out[shared.slices_in(grid)] = raster.read(1, window=window)
            return out
    except (RasterioError, RasterioIOError) as error:
        raise RasterError(f"cannot read {path}: {error}", "delete that file and run again") from error


def grid_of_raster(path: Path) -> Grid:
    """The pixels that a raster on the lattice holds.

    Raises:
        RasterError: If the file cannot be read.
    """
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            return _grid_of(raster)
    except (RasterioError, RasterioIOError) as error:
        raise RasterError(f"cannot read {path}: {error}", "delete that file and run again") from error


def _grid_of(raster: Any) -> Grid:
    """The pixels of an open raster on the lattice."""
    transform = raster.transform
    return Grid(
        epsg=int(raster.crs.to_epsg()),
        row=round(-transform.f / PIXEL_M),
        col=round(transform.c / PIXEL_M),
        height=raster.height,
        width=raster.width,
    )
