"""Archive bands on lattice pixels: a native window read, checked on arrival, and sampled.

A broken connection can yield blank pixels and no error, so blank blocks where the item's footprint promises data are read a second
time. The sampling is `scenes.resampling`'s; GDAL's warper is not used. Neighbours: `io.rasters.access` opens and retries,
`io.rasters.cogs` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.io.rasters.access import Access, describe_raster, dtype_of_raster, read_window
from cryosentinel_core.scenes.resampling import Numbers, Source, positions_in, sample_bilinear, sample_nearest

VERIFY_BLOCK: Final = 256
"""Side of the blocks that are checked for being blank, in source pixels."""


@dataclass(frozen=True, kw_only=True)
class GridBand:
    """One band on a grid.

    Attributes:
        values: (H, W), of the source's dtype; 0 where not valid.
        valid: (H, W) bool, True where data are good.
        blank: Source blocks that hold no data although the footprint says otherwise, also at a second look.
        n_bytes: Size of the source window, uncompressed.
    """

    values: Numbers
    valid: NDArray[np.bool_]
    blank: int = 0
    n_bytes: int = 0


def read_on_grid(
    href: str,
    grid: Grid,
    *,
    nearest: bool = False,
    above: float | None = 0,
    access: Access | None = None,
    footprint: BaseGeometry | None = None,
) -> GridBand:
    """The first band of a GeoTIFF on lattice pixels.

    Args:
        href: Path or http(s) address.
        grid: Wanted pixels; those outside the raster come back as not valid.
        nearest: For classes; else mask-aware bilinear.
        above: Numbers up to this are no data, whatever the file says; None if all are. NaN is never data.
        access: How to reach it.
        footprint: EPSG:4326; where the item says it has data. Blank blocks inside are read a second time.

    Raises:
        RasterError: If it cannot be read: gone, damaged, no GeoTIFF, no known CRS, or not north-up.
    """
    way = access or Access()
    source = describe_raster(href, way)
    positions = positions_in(source, grid)
    r0, r1, c0, c1 = positions.window
    top, bottom, left, right = max(r0, 0), min(r1, source.height), max(c0, 0), min(c1, source.width)
    if top >= bottom or left >= right:
        dtype = np.dtype(dtype_of_raster(href, way))
        return GridBand(values=np.zeros(grid.shape, dtype), valid=np.zeros(grid.shape, dtype=bool))
    window = Window(left, top, right - left, bottom - top)
    numbers = read_window(href, window, way)
    numbers, blank = _verified(href, numbers, window, source, above, footprint, way)
    values = np.zeros((r1 - r0, c1 - c0), dtype=numbers.dtype)
    valid = np.zeros(values.shape, dtype=bool)
    place = slice(top - r0, bottom - r0), slice(left - c0, right - c0)
    valid[place] = _is_data(numbers, above)
    values[place] = np.where(valid[place], numbers, numbers.dtype.type(0))
    sample = sample_nearest if nearest else sample_bilinear
    out, good = sample(values, valid, positions, (r0, c0))
    return GridBand(values=out, valid=good, blank=blank, n_bytes=numbers.nbytes)


def _is_data(numbers: Numbers, above: float | None) -> NDArray[np.bool_]:
    good = np.isfinite(numbers) if np.issubdtype(numbers.dtype, np.floating) else np.ones(numbers.shape, dtype=bool)
    return good if above is None else np.asarray(good & (numbers > above), dtype=bool)


def _verified(
    href: str,
    numbers: Numbers,
    window: Window,
    source: Source,
    above: float | None,
    footprint: BaseGeometry | None,
    way: Access,
) -> tuple[Numbers, int]:
    """The window, read again by a fresh open if blocks are blank where the footprint promises data; and how many stay so."""
    if footprint is None:
        return numbers, 0
    blank = _blank_blocks(numbers, above)
    if not blank:
        return numbers, 0
    ground = project_geometry(shapely.segmentize(footprint, 0.05), 4326, source.epsg)
    shapely.prepare(ground)
    suspect = [block for block in blank if shapely.contains_properly(ground, _outline(block, window, source))]
    if not suspect:
        return numbers, 0
    again = read_window(href, window, way)
    still = set(_blank_blocks(again, above)) & set(suspect)
    return again, len(still)


def _blank_blocks(numbers: Numbers, above: float | None) -> list[tuple[int, int, int, int]]:
    """(first row, row after, first column, column after) of the window's blocks without any data."""
    found = []
    for row in range(0, numbers.shape[0], VERIFY_BLOCK):
        for col in range(0, numbers.shape[1], VERIFY_BLOCK):
            block = numbers[row : row + VERIFY_BLOCK, col : col + VERIFY_BLOCK]
            if not _is_data(block, above).any():
                found.append((row, row + block.shape[0], col, col + block.shape[1]))
    return found


def _outline(block: tuple[int, int, int, int], window: Window, source: Source) -> BaseGeometry:
    top, bottom, left, right = block
    x0 = source.left + (window.col_off + left) * source.step_x
    x1 = source.left + (window.col_off + right) * source.step_x
    y0 = source.top - (window.row_off + bottom) * source.step_y
    y1 = source.top - (window.row_off + top) * source.step_y
    outline: BaseGeometry = shapely.box(x0, y0, x1, y1)
    return outline
