"""Rasters of the lattice as lazy arrays with coordinates: nothing is read before it is computed.

Neighbours: `stacks` and `results` name the variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr
from dask import delayed
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Grid

Read = Callable[[Grid], NDArray[Any]]
"""Grid -> (C, H, W); must be picklable, so that clusters can read too."""


def lazy_bands(grid: Grid, chunk_px: int, n_bands: int, dtype: Any, read: Read) -> Any:
    """(C, H, W) dask array of a raster, a chunk for each square of the lattice of `chunk_px` that the grid touches.

    Args:
        grid: Wanted pixels.
        chunk_px: Side of a chunk; its borders lie at whole multiples, counted from the zone's origin.
        n_bands: C.
        dtype: Of what is read.
        read: Called for each chunk, when it is computed.
    """
    rows = [
        [
            da.from_delayed(delayed(read, pure=False)(part), (n_bands, part.height, part.width), dtype=dtype)
            for part in (_part(grid, row, col) for col in _cuts(grid.col, grid.width, chunk_px))
        ]
        for row in _cuts(grid.row, grid.height, chunk_px)
    ]
    return da.block(rows)


def _part(grid: Grid, rows: tuple[int, int], cols: tuple[int, int]) -> Grid:
    return Grid(epsg=grid.epsg, row=rows[0], col=cols[0], height=rows[1] - rows[0], width=cols[1] - cols[0])


def _cuts(first: int, size: int, step: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the pieces that the lattice cuts a row of pixels into."""
    for start in range(first // step * step, first + size, step):
        yield max(start, first), min(start + step, first + size)


def dataset_on_grid(variables: Mapping[str, Any], grid: Grid, attributes: Mapping[str, Any]) -> xr.Dataset:
    """A Dataset on a grid, with CRS and transform as the `rio` accessor has them.

    Args:
        variables: Name -> (H, W) array, or (array, attributes).
        grid: Of all of them.
        attributes: Of the Dataset.
    """
    x, y = grid.pixel_centres()
    named = {
        name: (("y", "x"), *value) if isinstance(value, tuple) else (("y", "x"), value)
        for name, value in variables.items()
    }
    found = xr.Dataset(named, coords={"y": y, "x": x}, attrs=dict(attributes))
    placed: xr.Dataset = found.rio.write_crs(grid.epsg).rio.write_transform(grid.transform)
    return placed


def where_stored(stored: Any, nodata: int, step: float) -> Any:
    """Stored steps as float32, NaN for nodata; the same arithmetic as `segment.windows.decode_logits`."""
    return da.where(stored == nodata, np.float32(np.nan), stored.astype(np.float32) * np.float32(step))
