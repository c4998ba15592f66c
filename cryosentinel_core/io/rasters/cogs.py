"""Cloud-optimised GeoTIFFs: the one writer of our rasters, from an array or strip by strip.

Everything is written under a temporary name; bytes depend on the pixels, the format and the tags alone. Neighbours: `stack_files` and
`mosaic` say which rasters there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.windows import Window

from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.scenes.resampling import Numbers
from cryosentinel_core.units import CELL_PX

BLOCK_PX: Final = CELL_PX
"""Side of a stored block of a stack: windows begin and end on blocks or their middle, so that few are unpacked twice."""

MOSAIC_BLOCK_PX: Final = 512
"""Side of a stored block of a mosaic, which people look at."""

STRIP_PX: Final = 2048
"""Rows written at a time: a multiple of the mosaic's block, so that each block is compressed once."""


@dataclass(frozen=True, kw_only=True)
class RasterFormat:
    """How one raster of ours is stored.

    Attributes:
        names: Band descriptions, one a band.
        dtype: NumPy name of what is stored; None takes the array's.
        unit: Of all bands; empty for none.
        nodata: Stored number of a pixel without value, or None where every number has a meaning.
        overview: Resampling of overviews: `NEAREST` for classes, `AVERAGE` for measures.
        scale: Stored number times this is the value.
        colours: Number -> (red, green, blue, alpha) for classes.
        is_gradual: Neighbours differ little, so that their differences are what is packed.
        block_px: Side of a stored block.
    """

    names: Sequence[str]
    dtype: str | None = None
    unit: str = ""
    nodata: float | None = None
    overview: str = "NEAREST"
    scale: float = 1.0
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    is_gradual: bool = True
    block_px: int = BLOCK_PX


def write_cog(path: Path, values: Numbers, grid: Grid, form: RasterFormat, tags: Mapping[str, str]) -> None:
    """A cloud-optimised GeoTIFF of an array, whole or not at all, made in memory so that the disk's refusal is an honest error.

    Args:
        path: Final name.
        values: (C, H, W) on `grid`.
        grid: Its pixels.
        form: How it is stored.
        tags: Provenance, as `Provenance.as_tags` gives it.

    Raises:
        OutputWrite: If the disk refuses.
    """
    profile = {
        "count": values.shape[0],
        "height": grid.height,
        "width": grid.width,
        "dtype": values.dtype.name,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "nodata": form.nodata,
        **_cog_options(form, values.dtype.name),
    }
    with writing(path) as temporary, rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(values)
            _describe(target, form, tags)
        temporary.write_bytes(bytes(memory.read()))


def write_cog_in_strips(
    path: Path,
    grid: Grid,
    form: RasterFormat,
    tags: Mapping[str, str],
    read: Callable[[Grid], NDArray[Any]],
    *,
    place: tuple[Any, Affine] | None = None,
) -> None:
    """A cloud-optimised GeoTIFF of one band on a grid of any size; memory is bounded by a strip.

    Args:
        path: Final name.
        grid: Its pixels.
        form: How it is stored; its dtype is given.
        tags: Provenance.
        read: Grid of a strip -> (H, W) array of the format's dtype.
        place: (CRS, transform) of a raster off the lattice; None for the grid's own.

    Raises:
        OutputWrite: If the disk refuses.
    """
    profile = {
        "driver": "GTiff",
        "dtype": form.dtype,
        "count": 1,
        "height": grid.height,
        "width": grid.width,
        "crs": place[0] if place else f"EPSG:{grid.epsg}",
        "transform": place[1] if place else grid.transform,
        "nodata": form.nodata,
        "tiled": True,
        "blockxsize": form.block_px,
        "blockysize": form.block_px,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "if_safer",
    }
    with writing(path) as temporary:
        draft = temporary.with_name(temporary.name + ".draft")
        try:
            with rasterio.Env(GDAL_PAM_ENABLED="NO"):
                with rasterio.open(draft, "w", **profile) as target:
                    for strip in strips_of(grid):
                        target.write(read(strip), 1, window=Window(0, strip.row - grid.row, strip.width, strip.height))
                    _describe(target, form, tags)
                copy(draft, temporary, **_cog_options(form, str(form.dtype)))
        except (RasterioError, RasterioIOError) as error:
            raise OutputWrite(
                f"could not write {path}: {error}", "check free space and rights of that disk, then run again"
            ) from error
        finally:
            draft.unlink(missing_ok=True)


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


def _cog_options(form: RasterFormat, dtype: str) -> dict[str, Any]:
    predictor = "FLOATING_POINT" if np.issubdtype(np.dtype(dtype), np.floating) else "STANDARD"
    return {
        "driver": "COG",
        "compress": "ZSTD",  # against deflate half the time to write, two thirds to read, and a tenth less of real reflectances
        "level": 1,
        "predictor": predictor if form.is_gradual else "NO",
        "blocksize": form.block_px,
        "overview_resampling": form.overview,
        "num_threads": "1",
        "bigtiff": "IF_SAFER",
    }


def _describe(target: Any, form: RasterFormat, tags: Mapping[str, str]) -> None:
    """Names, units, scale, colours and tags of an open raster."""
    target.descriptions = tuple(form.names)
    if form.unit:
        target.units = (form.unit,) * len(form.names)
    if form.scale != 1.0:
        target.scales = (form.scale,) * len(form.names)
    if form.colours:
        target.write_colormap(1, dict(form.colours))
    target.update_tags(**tags)
