"""Rasters written piece by piece and finished as cloud-optimised GeoTIFFs: the parts of tiles, and the mosaics of a zone.

Everything is written under a temporary name; bytes depend on the pixels and tags alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from cryosentinel_core.errors import OutputWrite, RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.lakes.water_mask import WATER_LAKE, WATER_LAND, WATER_SHADOW, WATER_SNOW_ICE, WATER_UNOBSERVED
from cryosentinel_core.units import (
    LOGIT_NODATA,
    LOGIT_STEP,
    PIXEL_M,
    PROBABILITY_NODATA,
    PROBABILITY_SCALE,
    SPREAD_NODATA,
    SPREAD_STEP,
)

BLOCK_PX: Final = 512
"""Side of a stored block."""

STRIP_PX: Final = 2048
"""Rows written at a time: a multiple of the block, so that each block is compressed once."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one single-band raster holds.

    Attributes:
        dtype: NumPy name.
        nodata: Stored number of a pixel without value; None where every number has a meaning.
        description: Band description with its unit.
        overview: Resampling of overviews: `nearest` for classes, `average` for measures.
        colours: Number -> (red, green, blue, alpha) for classes.
        scale: Stored number times this is the value.
    """

    dtype: str
    nodata: float | None
    description: str
    overview: str = "nearest"
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    scale: float = 1.0


LOGIT_LAYER: Final = Layer(
    dtype="int16",
    nodata=LOGIT_NODATA,
    description="logit of lake water, 0.001 a step",
    scale=LOGIT_STEP,
)
SPREAD_LAYER: Final = Layer(
    dtype="uint16",
    nodata=SPREAD_NODATA,
    description="standard deviation of the logit over flips, models and overlapping windows, 0.001 a step",
    scale=SPREAD_STEP,
)
PROBABILITY_LAYER: Final = Layer(
    dtype="uint8",
    nodata=PROBABILITY_NODATA,
    description="probability of lake water, 0..200 = 0..1",
    overview="average",
    scale=1.0 / PROBABILITY_SCALE,
)
WATER_LAYER: Final = Layer(
    dtype="uint8",
    nodata=None,
    description="0 land, 1 lake, 2 snow or ice, 3 terrain shadow, 255 unobserved",
    colours={
        WATER_LAND: (222, 214, 196, 255),
        WATER_LAKE: (0, 90, 181, 255),
        WATER_SNOW_ICE: (235, 247, 255, 255),
        WATER_SHADOW: (90, 90, 90, 255),
        WATER_UNOBSERVED: (230, 160, 0, 255),
    },
)


def _failed(path: Path, error: Exception) -> OutputWrite:
    return OutputWrite(f"could not write {path}: {error}", "check free space and rights of that disk, then run again")


def strips_of(grid: Grid, rows: int = STRIP_PX) -> Iterator[Grid]:
    """The grid from north to south in strips of some rows."""
    for top in range(0, grid.height, rows):
        yield Grid(
            epsg=grid.epsg,
            row=grid.row + top,
            col=grid.col,
            height=min(rows, grid.height - top),
            width=grid.width,
        )


def write_layer(
    path: Path,
    grid: Grid,
    layer: Layer,
    tags: Mapping[str, str],
    read: Callable[[Grid], NDArray[Any]],
    *,
    place: tuple[Any, Affine] | None = None,
) -> None:
    """One raster on a grid of any size, from strips; memory is bounded by a strip.

    Args:
        path: Final name; a COG with DEFLATE.
        grid: Its pixels.
        layer: What it holds.
        tags: Provenance.
        read: Grid of a strip -> (H, W) array of the layer's dtype.
        place: (CRS, transform) of a raster off the lattice; None for the grid's own.

    Raises:
        OutputWrite: If the disk refuses.
    """
    profile = {
        "driver": "GTiff",
        "dtype": layer.dtype,
        "count": 1,
        "height": grid.height,
        "width": grid.width,
        "crs": place[0] if place else f"EPSG:{grid.epsg}",
        "transform": place[1] if place else grid.transform,
        "nodata": layer.nodata,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
    }
    with writing(path) as temporary:
        draft = temporary.with_name(temporary.name + ".draft")
        try:
            with rasterio.open(draft, "w", **profile) as raster:
                for strip in strips_of(grid):
                    raster.write(read(strip), 1, window=Window(0, strip.row - grid.row, strip.width, strip.height))
                raster.set_band_description(1, layer.description)
                raster.scales = (layer.scale,)
                raster.update_tags(**tags)
                if layer.colours is not None:
                    raster.write_colormap(1, dict(layer.colours))
            _finish(draft, temporary, layer)
        except (RasterioError, RasterioIOError) as error:
            raise _failed(path, error) from error
        finally:
            draft.unlink(missing_ok=True)
            draft.with_name(draft.name + ".aux.xml").unlink(missing_ok=True)


def _finish(draft: Path, final: Path, layer: Layer) -> None:
    """The draft as a COG: same pixels and tags, overviews added."""
    from rasterio.shutil import copy

    copy(
        draft,
        final,
        driver="COG",
        compress="deflate",
        predictor="YES" if layer.colours is None else "NO",
        blocksize=BLOCK_PX,
        overview_resampling=layer.overview,
        bigtiff="if_safer",
    )
    final.with_name(final.name + ".aux.xml").unlink(missing_ok=True)


def read_part(path: Path, grid: Grid, fill: float) -> NDArray[Any]:
    """(H, W) of one band of a raster on the lattice, on any grid; `fill` outside the file.

    Raises:
        RasterError: If the file cannot be read.
    """
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            transform = raster.transform
            have = Grid(
                epsg=int(raster.crs.to_epsg()),
                row=round(-transform.f / PIXEL_M),
                col=round(transform.c / PIXEL_M),
                height=raster.height,
                width=raster.width,
            )
            out = np.full(grid.shape, fill, dtype=raster.dtypes[0])
            shared = have.intersection(grid)
            if shared is not None:
                window = Window(shared.col - have.col, shared.row - have.row, shared.width, shared.height)
                out[shared.slices_in(grid)] = raster.read(1, window=window)
            return out
    except (RasterioError, RasterioIOError) as error:
        raise RasterError(f"cannot read {path}: {error}", "delete that file and run again") from error
