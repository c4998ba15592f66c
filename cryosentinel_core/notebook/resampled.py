"""Datasets on other grids resampled to the lattice, where the user asks for it: odc-geo does the work.

Reflectance, radar and heights are bilinear, classes and masks nearest; nodata is NaN before and never takes part. It is done in
blocks of the lattice, each with more of the source around than the interpolation reaches: odc-geo's own way with dask cuts the source
where its chunks end, and a pixel there loses its neighbours. Neighbours: `user_stacks` calls it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import zone_of_lonlat
from cryosentinel_core.notebook.placed_arrays import RESAMPLE, axis_of, crs_of, is_utm, place_of
from cryosentinel_core.units import PIXEL_M

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK_PX: Final = 1_120
"""Side of a block that is resampled at a time."""

_MARGIN_PX: Final = 8
"""Source pixels around a block, more than bilinear interpolation reaches."""


def resample_to_lattice(data: xr.Dataset) -> xr.Dataset:
    """The Dataset on 10 m pixels of the lattice, in its own UTM zone or that of its middle; as it is if it lies on 10 m UTM already.

    Args:
        data: On (y, x), with a CRS.

    Raises:
        GridMismatch: If it has no CRS.
    """
    import odc.geo.xr  # noqa: F401 the `odc` accessor, by which the grid of what comes out is asked for

    crs = crs_of(data, "the dataset")
    try:
        place_of(data, "the dataset")
        return data
    except GridMismatch as error:
        if error.hint != RESAMPLE:
            raise
    ready = data.sortby("y", ascending=False).sortby("x").rio.write_crs(crs)
    grid = _grid_around(ready, crs)
    moved = {
        name: _move(_with_nan(ready[name]), crs, grid, "nearest" if name == "valid" else "bilinear")
        for name in ready.data_vars
    }
    x, y = grid.pixel_centres()
    found = xr.Dataset(
        {name: (("y", "x"), band) for name, band in moved.items()}, coords={"y": y, "x": x}, attrs=data.attrs
    )
    if "valid" in found:
        found["valid"] = found["valid"] == 1
    placed: xr.Dataset = found.rio.write_crs(grid.epsg)
    return placed


def _move(band: xr.DataArray, crs: Any, grid: Grid, method: str) -> Any:
    """(H, W) float32 of a band on a grid, lazy where the band is; the same numbers however it is chunked."""
    import dask.array

    source = _geobox_of(band, crs)
    blocks = [[_move_block(band, source, block, method) for block in line] for line in _blocks_of(grid)]
    return np.block(blocks) if band.chunks is None else dask.array.block(blocks)


def _move_block(band: xr.DataArray, source: GeoBox, block: Grid, method: str) -> Any:
    """(H, W) float32 of one block, lazy where the band is."""
    import dask.array

    window = _window_around(source, block)
    if window is None:
        return np.full(block.shape, np.nan, dtype=np.float32)
    part, box = band.data[window], source[window]
    if band.chunks is None:
        return _warp(part, box, block, method)
    return dask.array.from_delayed(dask.delayed(_warp)(part, box, block, method), block.shape, np.float32)


def _warp(part: NDArray[np.float32], source: GeoBox, block: Grid, method: str) -> NDArray[np.float32]:
    """(H, W) float32 of a block, NaN where the source has nothing."""
    from odc.geo.warp import rio_reproject

    out = np.full(block.shape, np.nan, dtype=np.float32)
    rio_reproject(np.ascontiguousarray(part), out, source, block.geobox, method, src_nodata=np.nan, dst_nodata=np.nan)
    return out


def _geobox_of(band: xr.DataArray, crs: Any) -> GeoBox:
    """Where a band lies, north up."""
    from odc.geo.geobox import GeoBox

    x, y = axis_of(band, "x", "the dataset"), axis_of(band, "y", "the dataset")
    step = (float(x[-1] - x[0]) / (len(x) - 1), float(y[-1] - y[0]) / (len(y) - 1))
    corner = float(x[0]) - step[0] / 2, float(y[0]) - step[1] / 2
    return GeoBox(band.shape, Affine(step[0], 0.0, corner[0], 0.0, step[1], corner[1]), crs)


def _window_around(source: GeoBox, block: Grid) -> tuple[slice, slice] | None:
    """Rows and columns of the source under a block and around it; None where it has none."""
    from pyproj import Transformer

    bounds = Transformer.from_crs(block.epsg, source.crs.to_wkt(), always_xy=True).transform_bounds(*block.bounds)
    if not all(math.isfinite(value) for value in bounds):
        return None
    corners = [~source.affine * (bounds[0], bounds[3]), ~source.affine * (bounds[2], bounds[1])]
    slices = []
    for axis, size, wanted in ((1, source.shape[0], block.height), (0, source.shape[1], block.width)):
        first, last = corners[0][axis], corners[1][axis]
        margin = _MARGIN_PX * max(
            1, math.ceil((last - first) / wanted)
        )  # GDAL's kernel widens where pixels are smaller
        start, stop = max(0, math.floor(first) - margin), min(size, math.ceil(last) + margin)
        if start >= stop:
            return None
        slices.append(slice(start, stop))
    return slices[0], slices[1]


def _blocks_of(grid: Grid) -> list[list[Grid]]:
    """A grid in blocks, row by row."""
    return [
        [
            Grid(
                epsg=grid.epsg, row=grid.row + top, col=grid.col + left,
                height=min(BLOCK_PX, grid.height - top), width=min(BLOCK_PX, grid.width - left),
            )
            for left in range(0, grid.width, BLOCK_PX)
        ]
        for top in range(0, grid.height, BLOCK_PX)
    ]  # fmt: skip


def _with_nan(band: xr.DataArray) -> xr.DataArray:
    """A band as float32, NaN where it has no data: 0 of integers, and what it calls nodata itself."""
    nodata = band.rio.nodata
    values = band.astype(np.float32)
    if nodata is not None and np.isfinite(nodata):
        values = values.where(band != nodata)
    if np.issubdtype(band.dtype, np.integer):
        values = values.where(band != 0)
    placed: xr.DataArray = values.rio.write_nodata(np.nan)
    return placed


def _grid_around(data: xr.Dataset, crs: Any) -> Grid:
    """The lattice pixels that a Dataset covers."""
    from pyproj import Transformer

    x, y = axis_of(data, "x", "the dataset"), axis_of(data, "y", "the dataset")
    half = abs(x[1] - x[0]) / 2.0, abs(y[1] - y[0]) / 2.0
    box = float(x.min() - half[0]), float(y.min() - half[1]), float(x.max() + half[0]), float(y.max() + half[1])
    epsg = crs.to_epsg()
    if not is_utm(epsg):
        middle = (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0
        lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(*middle)
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise GridMismatch("the dataset lies outside its coordinate reference system", "check its x, y and CRS")
        epsg = zone_of_lonlat(lon, lat).epsg
        box = Transformer.from_crs(crs, epsg, always_xy=True).transform_bounds(*box)
    left, top = math.floor(box[0] / PIXEL_M), math.floor(-box[3] / PIXEL_M)
    return Grid(
        epsg=int(epsg),
        row=top,
        col=left,
        height=math.ceil(-box[1] / PIXEL_M) - top,
        width=math.ceil(box[2] / PIXEL_M) - left,
    )
