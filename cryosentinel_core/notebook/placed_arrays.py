"""Where a user's xarray lies: CRS, pixels and the address of its corner on the lattice, or what is wrong with it.

Neighbours: `user_stacks` makes stacks of Datasets; `finding` draws lakes of logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from cryosentinel_core.errors import GridMismatch, InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import Zone
from cryosentinel_core.units import PIXEL_M

_STEP_TOLERANCE: Final = 1e-6
"""Share by which steps between coordinates may differ from 10 m: rounding alone."""

_SPATIAL: Final = {
    "y": ("y", "latitude", "lat", "northing", "Y"),
    "x": ("x", "longitude", "lon", "easting", "X"),
}
RESAMPLE: Final = (
    "give resample=True to have it resampled, or load it on such a grid (odc.stac.load(..., geobox=grid.geobox))"
)


@dataclass(frozen=True, kw_only=True)
class PlacedGrid:
    """A grid of 10 m pixels in a UTM zone, with any origin.

    Attributes:
        epsg: Of the zone.
        left: x of the left edge, metres.
        top: y of the upper edge, metres.
        height: Rows.
        width: Columns.
        is_flipped_y: True if the array's rows run from south to north.
        is_flipped_x: True if the array's columns run from east to west.
    """

    epsg: int
    left: float
    top: float
    height: int
    width: int
    is_flipped_y: bool = False
    is_flipped_x: bool = False

    @property
    def address(self) -> Grid:
        """The lattice pixels that lie nearest; the same ones where the origin is a multiple of 10 m."""
        return Grid(
            epsg=self.epsg,
            row=round(-self.top / PIXEL_M),
            col=round(self.left / PIXEL_M),
            height=self.height,
            width=self.width,
        )

    @property
    def is_on_lattice(self) -> bool:
        """True if its pixels are pixels of the lattice."""
        address = self.address
        apart = max(abs(address.col * PIXEL_M - self.left), abs(-address.row * PIXEL_M - self.top))
        return apart < 1e-3

    @property
    def transform_of_address(self) -> Affine:
        """Lattice (column, row) -> map metres of this grid."""
        address = self.address
        x, y = self.left - address.col * PIXEL_M, self.top + address.row * PIXEL_M
        return Affine(PIXEL_M, 0.0, x, 0.0, -PIXEL_M, y)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) in metres."""
        return self.left, self.top - self.height * PIXEL_M, self.left + self.width * PIXEL_M, self.top

    @property
    def key(self) -> tuple[float, ...]:
        """Equal for equal pixels, whichever way rows and columns run."""
        return self.epsg, round(self.left, 3), round(self.top, 3), self.height, self.width

    def north_up(self, array: Any) -> Any:
        """An array (y, x) as its rows run from north to south and its columns from west to east; and back again."""
        return array[:: -1 if self.is_flipped_y else 1, :: -1 if self.is_flipped_x else 1]

    def north_up_axis(self, values: NDArray[np.float64], axis: str) -> NDArray[np.float64]:
        """Coordinates of an axis as they run from north to south or west to east; and back again."""
        is_flipped = self.is_flipped_y if axis == "y" else self.is_flipped_x
        return values[::-1] if is_flipped else values


def spatial_dims(data: xr.Dataset | xr.DataArray, what: str) -> dict[str, str]:
    """Dimension -> `y` or `x`.

    Raises:
        InputError: If there are none.
    """
    found = {}
    for plain, names in _SPATIAL.items():
        present = [name for name in names if name in data.dims]
        if len(present) != 1:
            raise InputError(
                f"{what} has the dimensions {', '.join(map(str, data.dims))}, wanted {plain} among them",
                "rename its dimensions to y and x",
            )
        found[present[0]] = plain
    return found


def place_of(data: xr.Dataset | xr.DataArray, what: str) -> PlacedGrid:
    """Where an array lies.

    Args:
        data: With coordinates `y` and `x` at pixel centres and a CRS as `rio` reads it.
        what: It is, for messages.

    Raises:
        GridMismatch: If it has no CRS, none of UTM, or no pixels of 10 m.
        InputError: If it has no coordinates.
    """
    crs = crs_of(data, what)
    epsg = crs.to_epsg()
    if not is_utm(epsg):
        kind = "degrees" if crs.is_geographic else f"{crs.to_string()[:60]}"
        raise GridMismatch(f"{what} lies in {kind}, wanted a UTM zone of WGS 84 (EPSG:326.. or 327..)", RESAMPLE)
    x, y = axis_of(data, "x", what), axis_of(data, "y", what)
    steps = _step(x, "x", what), _step(y, "y", what)
    if any(abs(abs(step) - PIXEL_M) > _STEP_TOLERANCE * PIXEL_M for step in steps):
        raise GridMismatch(f"{what} has pixels of {abs(steps[0]):g} x {abs(steps[1]):g} m, wanted 10 x 10 m", RESAMPLE)
    return PlacedGrid(
        epsg=int(epsg),
        left=float(min(x[0], x[-1])) - PIXEL_M / 2,
        top=float(max(y[0], y[-1])) + PIXEL_M / 2,
        height=len(y),
        width=len(x),
        is_flipped_y=steps[1] > 0,
        is_flipped_x=steps[0] < 0,
    )


def crs_of(data: xr.Dataset | xr.DataArray, what: str) -> Any:
    """Its CRS as rasterio has it.

    Raises:
        GridMismatch: If it has none.
    """
    crs = data.rio.crs
    if crs is None:
        raise GridMismatch(f"{what} has no coordinate reference system", "say which: data.rio.write_crs(32643)")
    return crs


def is_utm(epsg: int | None) -> bool:
    """True for a UTM zone of WGS 84."""
    try:
        Zone(epsg or 0)
    except InputError:
        return False
    return True


def axis_of(data: xr.Dataset | xr.DataArray, name: str, what: str) -> NDArray[np.float64]:
    """Coordinates of the pixel centres along an axis.

    Raises:
        InputError: If it has none, or fewer than two.
    """
    if name not in data.coords or data.sizes[name] < 2:
        raise InputError(
            f"{what} has no coordinates {name} of two pixels or more", "give the map x and y of its pixels"
        )
    values = np.asarray(data[name].values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{what} has coordinates {name} that are no numbers", "give the map x and y of its pixels")
    return values


def _step(values: NDArray[np.float64], name: str, what: str) -> float:
    """Distance of two neighbours.

    Raises:
        GridMismatch: If it is not the same everywhere.
    """
    steps = np.diff(values)
    step = float(values[-1] - values[0]) / (len(values) - 1)
    if step == 0 or not math.isfinite(step) or np.abs(steps - step).max() > 1e-3 * abs(step):
        raise GridMismatch(
            f"{what} has coordinates {name} with gaps or out of order", f"sort it: data.sortby({name!r})"
        )
    return step


def without_dask(array: xr.DataArray) -> NDArray[Any]:
    """(y, x) values in memory, whatever the order of the dimensions."""
    return np.asarray(array.transpose("y", "x").values)
