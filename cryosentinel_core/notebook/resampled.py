"""Datasets on other grids resampled to the lattice, where the user asks for it: odc-geo does the work.

Reflectance, radar and heights are bilinear, classes and masks nearest; nodata is NaN before and never takes part. Neighbours:
`user_stacks` calls it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import zone_of_lonlat
from cryosentinel_core.notebook.placed_arrays import RESAMPLE, axis_of, crs_of, is_utm, place_of
from cryosentinel_core.units import PIXEL_M


def resample_to_lattice(data: xr.Dataset) -> xr.Dataset:
    """The Dataset on 10 m pixels of the lattice, in its own UTM zone or that of its middle; as it is if it lies on 10 m UTM already.

    Args:
        data: On (y, x), with a CRS.

    Raises:
        GridMismatch: If it has no CRS.
    """
    import odc.geo.xr  # noqa: F401 the `odc` accessor

    crs = crs_of(data, "the dataset")
    try:
        place_of(data, "the dataset")
        return data
    except GridMismatch as error:
        if error.hint != RESAMPLE:
            raise
    ready = data.sortby("y", ascending=False).sortby("x").rio.write_crs(crs)
    grid = _grid_around(ready, crs)
    bands = {name: _with_nan(ready[name]) for name in ready.data_vars}
    moved = {
        name: band.odc.reproject(
            grid.geobox, resampling="nearest" if name == "valid" else "bilinear", dst_nodata=float("nan")
        )
        for name, band in bands.items()
    }
    x, y = grid.pixel_centres()
    found = xr.Dataset(
        {name: (("y", "x"), band.data) for name, band in moved.items()}, coords={"y": y, "x": x}, attrs=data.attrs
    )
    if "valid" in found:
        found["valid"] = found["valid"] == 1
    placed: xr.Dataset = found.rio.write_crs(grid.epsg)
    return placed


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
