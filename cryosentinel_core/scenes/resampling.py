"""Resampling from an archive's pixels to the lattice's, exactly: the same numbers whatever rectangle is asked for.

A lattice pixel's place in a source raster is a pure function of its address. In the same CRS it is plain arithmetic per row and
per column; in another it is projected at nodes fixed to the lattice (every 32 px) and interpolated between them, so that no window
has an approximation of its own. Nodata never takes part in interpolation. `io.rasters.source` reads the pixels.

Against GDAL's warper: its approximating transformer is fitted to each window, and a source without a nodata tag leaks zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.units import PIXEL_M

NODE_PX: Final = 32
"""Lattice pixels between two nodes at which positions are projected; over 320 m a straight line is off by under a millimetre."""

STRIP_PX: Final = 256
"""Rows worked on at a time where every pixel has a position of its own."""

Numbers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the pixels of a north-up raster lie.

    Attributes:
        epsg: Its CRS.
        left: x of the left edge of its first column.
        top: y of the upper edge of its first row.
        step_x: Width of a pixel in units of the CRS, > 0.
        step_y: Height of a pixel, > 0.
        height: Rows.
        width: Columns.
    """

    epsg: int
    left: float
    top: float
    step_x: float
    step_y: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if not (self.step_x > 0 and self.step_y > 0 and self.height > 0 and self.width > 0):
            raise RasterError(f"raster of {self.height} x {self.width} px with pixels of {self.step_x} x {self.step_y}")


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Fractional source pixels of lattice pixel centres; 0 is the centre of the first row or column.

    Attributes:
        rows: (H, 1) or (H, W) float64.
        cols: (1, W) or (H, W) float64.
        is_separable: True if rows and columns are (H, 1) and (1, W), of a source on the grid's own axes. Not told from the shapes:
            a grid one pixel wide has (H, 1) either way.
    """

    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    is_separable: bool = False

    @property
    def window(self) -> tuple[int, int, int, int]:
        """First row, row after the last, first column, column after the last that bilinear interpolation reaches."""
        return (
            int(np.floor(self.rows.min())),
            int(np.floor(self.rows.max())) + 2,
            int(np.floor(self.cols.min())),
            int(np.floor(self.cols.max())) + 2,
        )


def positions_in(source: Source, grid: Grid, every: int = 1) -> Positions:
    """Where the pixels of a grid lie in a source.

    Args:
        source: The raster.
        grid: Lattice pixels; with `every`, its height and width are multiples of that.
        every: Side in lattice pixels of the squares whose centres are wanted; 1 for the pixels themselves.
    """
    at_row = np.arange(grid.height // every, dtype=np.float64) * every + (grid.row + (every - 1) / 2.0)
    at_col = np.arange(grid.width // every, dtype=np.float64) * every + (grid.col + (every - 1) / 2.0)
    if source.epsg == grid.epsg:
        cols = ((at_col + 0.5) * PIXEL_M - source.left) / source.step_x - 0.5
        rows = (source.top + (at_row + 0.5) * PIXEL_M) / source.step_y - 0.5
        return Positions(rows=np.asarray(rows[:, None]), cols=np.asarray(cols[None, :]), is_separable=True)
    first_row, first_col = grid.row // NODE_PX, grid.col // NODE_PX
    last_row, last_col = (grid.row + grid.height - 1) // NODE_PX + 1, (grid.col + grid.width - 1) // NODE_PX + 1
    node_x = (np.arange(first_col, last_col + 1) * NODE_PX + 0.5) * PIXEL_M
    node_y = -(np.arange(first_row, last_row + 1) * NODE_PX + 0.5) * PIXEL_M
    mesh_x, mesh_y = np.meshgrid(node_x, node_y)
    x, y = transformer(grid.epsg, source.epsg).transform(mesh_x, mesh_y)
    cols = (np.asarray(x) - source.left) / source.step_x - 0.5
    rows = (source.top - np.asarray(y)) / source.step_y - 0.5
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        raise RasterError(f"{grid} cannot be projected to EPSG:{source.epsg}", "the scene lies too far from its zone")
    node = (first_row, first_col)
    return Positions(rows=_between_nodes(rows, at_row, at_col, node), cols=_between_nodes(cols, at_row, at_col, node))


def _between_nodes(
    nodes: NDArray[np.float64], at_row: NDArray[np.float64], at_col: NDArray[np.float64], first: tuple[int, int]
) -> NDArray[np.float64]:
    """(H, W) values between lattice nodes, linear along rows, then along columns; `first` is the first node's number."""
    row, col = np.floor(at_row / NODE_PX).astype(np.intp), np.floor(at_col / NODE_PX).astype(np.intp)
    part_row = (at_row / NODE_PX - row)[:, None]
    part_col = (at_col / NODE_PX - col)[None, :]
    row, col = row - first[0], col - first[1]
    lines = nodes[row] + (nodes[row + 1] - nodes[row]) * part_row
    return np.asarray(lines[:, col] + (lines[:, col + 1] - lines[:, col]) * part_col)


def sample_nearest(
    values: Numbers, valid: NDArray[np.bool_], positions: Positions, origin: tuple[int, int]
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Numbers of the nearest source pixels (halves go up: to the south and east).

    Args:
        values: (h, w), the source's pixels from `origin` on.
        valid: (h, w) bool, True where data are good.
        positions: Of H x W lattice pixels, within the array.
        origin: (row, col) of the array in the source.

    Returns:
        (H, W) numbers of the same dtype and (H, W) bool; 0 where not valid.
    """
    rows = np.floor(positions.rows + 0.5).astype(np.intp) - origin[0]
    cols = np.floor(positions.cols + 0.5).astype(np.intp) - origin[1]
    good = valid[rows, cols]
    return np.where(good, values[rows, cols], values.dtype.type(0)), good


def sample_bilinear(
    values: Numbers, valid: NDArray[np.bool_], positions: Positions, origin: tuple[int, int], *, fill_half: bool = False
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Numbers interpolated between the four nearest source pixels, of which only valid ones take part.

    Args:
        values: (h, w), the source's pixels from `origin` on; integers are rounded half up, to at least 1.
        valid: (h, w) bool, True where data are good.
        positions: Of H x W lattice pixels, within the array.
        origin: (row, col) of the array in the source.
        fill_half: True if any valid neighbour is enough; else the nearest one must be valid.

    Returns:
        (H, W) numbers of the same dtype and (H, W) bool; 0 where not valid.
    """
    if positions.is_separable:
        return _bilinear_separable(values, valid, positions, origin, fill_half)
    strips = []
    for start in range(0, positions.rows.shape[0], STRIP_PX):
        part = slice(start, start + STRIP_PX)
        strips.append(_bilinear_full(values, valid, positions.rows[part], positions.cols[part], origin, fill_half))
    return np.concatenate([one[0] for one in strips]), np.concatenate([one[1] for one in strips])


def _bilinear_separable(
    values: Numbers, valid: NDArray[np.bool_], positions: Positions, origin: tuple[int, int], fill_half: bool
) -> tuple[Numbers, NDArray[np.bool_]]:
    rows, cols = positions.rows[:, 0], positions.cols[0]
    r0, c0 = np.floor(rows).astype(np.intp), np.floor(cols).astype(np.intp)
    part_row = (rows - r0).astype(np.float32)[:, None]
    part_col = (cols - c0).astype(np.float32)[None, :]
    r0, c0 = r0 - origin[0], c0 - origin[1]
    if not part_row.any() and not part_col.any():
        good = valid[r0][:, c0]
        return np.where(good, values[r0][:, c0], values.dtype.type(0)), good

    def mix(array: NDArray[np.float32]) -> NDArray[np.float32]:
        lines = array[r0] * (1 - part_row) + array[r0 + 1] * part_row
        return np.asarray(lines[:, c0] * (1 - part_col) + lines[:, c0 + 1] * part_col, dtype=np.float32)

    if valid.all():
        return _as_dtype(mix(values.astype(np.float32)), values.dtype), np.ones((len(rows), len(cols)), dtype=bool)
    total = mix(np.where(valid, values, 0).astype(np.float32))
    weight = mix(valid.astype(np.float32))
    whole = valid[r0][:, c0] & valid[r0 + 1][:, c0] & valid[r0][:, c0 + 1] & valid[r0 + 1][:, c0 + 1]
    if fill_half:
        good = weight > 0
    else:
        near_row, near_col = (
            np.floor(rows + 0.5).astype(np.intp) - origin[0],
            np.floor(cols + 0.5).astype(np.intp) - origin[1],
        )
        good = valid[near_row][:, near_col]
    return _finish(total, weight, whole, good, values.dtype), good


def _bilinear_full(
    values: Numbers,
    valid: NDArray[np.bool_],
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    origin: tuple[int, int],
    fill_half: bool,
) -> tuple[Numbers, NDArray[np.bool_]]:
    r0, c0 = np.floor(rows).astype(np.intp), np.floor(cols).astype(np.intp)
    part_row, part_col = (rows - r0).astype(np.float32), (cols - c0).astype(np.float32)
    near_row, near_col = (
        np.floor(rows + 0.5).astype(np.intp) - origin[0],
        np.floor(cols + 0.5).astype(np.intp) - origin[1],
    )
    r0, c0 = r0 - origin[0], c0 - origin[1]
    total = np.zeros(rows.shape, dtype=np.float32)
    weight = np.zeros(rows.shape, dtype=np.float32)
    whole = np.ones(rows.shape, dtype=bool)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (part_row if down else 1 - part_row) * (part_col if right else 1 - part_col)
        good = valid[r0 + down, c0 + right]
        share = np.where(good, share, np.float32(0))
        total += share * np.where(good, values[r0 + down, c0 + right], 0).astype(np.float32)
        weight += share
        whole &= good
    good = weight > 0 if fill_half else valid[near_row, near_col]
    return _finish(total, weight, whole, good, values.dtype), good


def _finish(
    total: NDArray[np.float32],
    weight: NDArray[np.float32],
    whole: NDArray[np.bool_],
    good: NDArray[np.bool_],
    dtype: np.dtype[Any],
) -> Numbers:
    """Weighted sums -> numbers: divided only where a neighbour was missing, so that all-valid windows agree to the last bit."""
    mended = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return np.where(good, _as_dtype(np.where(whole, total, mended), dtype), dtype.type(0))


def _as_dtype(numbers: NDArray[np.float32], dtype: np.dtype[Any]) -> Numbers:
    if np.issubdtype(dtype, np.integer):
        rounded: Numbers = np.maximum(np.floor(numbers + np.float32(0.5)), 1).astype(dtype)
        return rounded
    cast: Numbers = numbers.astype(dtype)
    return cast
