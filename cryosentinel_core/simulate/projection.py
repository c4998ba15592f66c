"""From the ground's own grid to a granule's: a plain cut in the ground's zone, bilinear resampling in another."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array
from cryosentinel_core.simulate.grids import Grid

Coordinates = npt.NDArray[np.float64]


class Projector:
    """Brings arrays `(H, W)` on the ground's 10 m grid to another 10 m grid.

    Args:
        ground: The ground's grid.
        grid: The wanted grid; in the ground's zone it is a part of the ground's.
    """

    def __init__(self, ground: Grid, grid: Grid) -> None:
        self.ground = ground
        self.grid = grid

    @property
    def same_zone(self) -> bool:
        """Whether both grids have the same CRS, so that pixels fall on pixels."""
        return self.ground.epsg == self.grid.epsg

    def project(self, array: Array) -> Array:
        """An array of the ground's grid on the wanted one."""
        if self.same_zone:
            row = round((self.ground.top - self.grid.top) / self.ground.pixel_m)
            column = round((self.grid.left - self.ground.left) / self.ground.pixel_m)
            return array[row : row + self.grid.height, column : column + self.grid.width]
        result = ndimage.map_coordinates(array, self._positions, order=1, mode="nearest", output=np.float32)
        return np.asarray(result, np.float32)

    def ground_coordinates(self, grid: Grid) -> tuple[Coordinates, Coordinates]:
        """Ground CRS x and y of a grid's pixel centres (in the wanted grid's zone), broadcastable to `(H, W)`."""
        x, y = grid.centres()
        if self.same_zone:
            return x[None, :], y[:, None]
        # Straight lines between points 600 m apart are within millimetres of the projection.
        step = max(1, int(600 // grid.pixel_m))
        columns = np.append(np.arange(0, grid.width - 1, step), grid.width - 1)
        rows = np.append(np.arange(0, grid.height - 1, step), grid.height - 1)
        xs, ys = np.meshgrid(x[columns], y[rows])
        to_ground = Transformer.from_crs(grid.epsg, self.ground.epsg, always_xy=True)
        return tuple(_refined(values, rows, columns, grid) for values in to_ground.transform(xs, ys))  # type: ignore[return-value]

    @cached_property
    def _positions(self) -> npt.NDArray[np.float32]:
        x, y = self.ground_coordinates(self.grid)
        rows = (self.ground.top - y) / self.ground.pixel_m - 0.5
        columns = (x - self.ground.left) / self.ground.pixel_m - 0.5
        return np.stack([rows, columns]).astype(np.float32)


def _refined(values: Coordinates, rows: Coordinates, columns: Coordinates, grid: Grid) -> Coordinates:
    at = np.arange(grid.width)
    across = np.stack([np.interp(at, columns, line) for line in values])
    low = np.clip(np.searchsorted(rows, np.arange(grid.height), side="right") - 1, 0, len(rows) - 2)
    weight = ((np.arange(grid.height) - rows[low]) / (rows[low + 1] - rows[low]))[:, None]
    return across[low] * (1 - weight) + across[low + 1] * weight
