"""Which windows of an area become chips, and how a chip is cut out of a stack.

Windows lie on the lattice, so the same ground has the same windows in every year and for whoever asks. Neighbours: `labels` says what
is lake; `sanity` refuses chips; `split` says what they are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.labels import Outlines
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Cell, Grid, Tile, tile_of_cell, windows_touching
from cryosentinel_core.ground.projection import Zone, transformer, zone_of_lonlat
from cryosentinel_core.stack.stack import COUNT_NAMES, Stack
from cryosentinel_core.units import CELL_M, CELL_PX, PIXEL_M

DEM_NODATA: Final = -32_768
"""Stored elevation of a pixel without one."""


@dataclass(frozen=True, order=True)
class ChipWindow:
    """A window of 224 x 224 px on the lattice of a zone; its centre lies in that zone.

    Attributes:
        epsg: Of the zone.
        row: Lattice row of the upper left pixel.
        col: Lattice column of it.
    """

    epsg: int
    row: int
    col: int

    @property
    def grid(self) -> Grid:
        """Its pixels."""
        return Grid(epsg=self.epsg, row=self.row, col=self.col, height=CELL_PX, width=CELL_PX)

    @property
    def name(self) -> str:
        """Zone and lower left corner in metres, as `43n_e512960_n4768960`."""
        south = "s" if self.epsg >= 32700 else "n"
        return f"{self.epsg % 100}{south}_e{self.col * PIXEL_M}_n{-(self.row + CELL_PX) * PIXEL_M}"

    @property
    def tile(self) -> Tile:
        """The lattice tile that holds its upper left pixel: its chips share a shard."""
        return tile_of_cell(Cell(self.epsg, self.row // CELL_PX, self.col // CELL_PX))

    def rank(self, seed: int) -> str:
        """A number without meaning, as hex, by which windows are drawn: equal for equal seeds and windows."""
        return hashlib.sha256(f"{seed}|{self.epsg}|{self.row}|{self.col}".encode()).hexdigest()


def centres_of(windows: Sequence[ChipWindow]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes and longitudes (N,) of the centres of some windows, degrees."""
    lat, lon = np.empty(len(windows)), np.empty(len(windows))
    zones = np.array([window.epsg for window in windows], dtype=np.int64)
    corner = np.array([(window.col, -window.row) for window in windows], dtype=np.float64).reshape(-1, 2) * PIXEL_M
    centre = corner + np.array([CELL_M / 2.0, -CELL_M / 2.0])
    for epsg in np.unique(zones):
        here = zones == epsg
        lon[here], lat[here] = transformer(int(epsg), 4326).transform(centre[here, 0], centre[here, 1])
    return lat, lon


def windows_of_area(area: Area, stride_px: int) -> list[ChipWindow]:
    """Every window of a stride that touches a cell of the area and whose centre lies in its own zone, sorted.

    They reach at most 112 px (at half overlap) out of the area's cells, into ground that is stacked with it.
    """
    found = []
    for zone in area.zones:
        cells = [cell for cell in area.touched if cell.epsg == zone.epsg]
        found += [ChipWindow(zone.epsg, row, col) for row, col in windows_touching(cells, stride_px)]
    lat, lon = centres_of(found)
    return sorted(
        window for window, y, x in zip(found, lat, lon, strict=True) if zone_of_lonlat(x, y) == Zone(window.epsg)
    )


def windows_with_lake(windows: Sequence[ChipWindow], outlines: Mapping[int, Outlines]) -> NDArray[np.bool_]:
    """(N,) True for windows that an outline touches.

    Args:
        windows: Of any zones.
        outlines: EPSG code -> lakes in that zone, for every zone of a window.
    """
    found = np.zeros(len(windows), dtype=bool)
    zones = np.array([window.epsg for window in windows], dtype=np.int64)
    for epsg in np.unique(zones):
        here = np.flatnonzero(zones == epsg)
        found[here] = outlines[int(epsg)].touched([windows[position].grid for position in here.tolist()])
    return found


def hull_of_windows(windows: Sequence[ChipWindow]) -> Grid:
    """The smallest grid that holds some windows of one zone, at least one."""
    grid = windows[0].grid
    for window in windows[1:]:
        grid = grid.union(window.grid)
    return grid


def choose_windows(
    windows: Sequence[ChipWindow], has_lake: NDArray[np.bool_], background_per_lake: float | None, seed: int
) -> list[ChipWindow]:
    """All windows with a lake, and some without, drawn by a hash of their address: the same ones whenever they are drawn.

    Args:
        windows: Sorted.
        has_lake: (N,) of each.
        background_per_lake: Windows without a lake for each with one; None takes all.
        seed: Of the draw.

    Returns:
        The chosen windows, sorted.
    """
    lakes = [window for window, is_lake in zip(windows, has_lake, strict=True) if is_lake]
    others = [window for window, is_lake in zip(windows, has_lake, strict=True) if not is_lake]
    wanted = len(others) if background_per_lake is None else round(background_per_lake * len(lakes))
    drawn = sorted(others, key=lambda window: window.rank(seed))[:wanted]
    return sorted([*lakes, *drawn])


@dataclass(frozen=True, kw_only=True)
class ChipIdentity:
    """What a chip is called and where it belongs.

    Attributes:
        region: Upper folder.
        year: Of the imagery.
        split: `train`, `val`, `test` or `UNKNOWN`.
    """

    region: str
    year: int
    split: str

    def chip_id(self, window: ChipWindow) -> str:
        """`<region>_<year>_<zone>_e<easting>_n<northing>`."""
        return f"{self.region}_{self.year}_{window.name}"


def cut_chip(
    stack: Stack, window: ChipWindow, label: NDArray[np.uint8], name: ChipIdentity, centre: tuple[float, float]
) -> ShardChip:
    """The chip of a window.

    Args:
        stack: Holds the window wholly.
        window: Where.
        label: (H, W) uint8 on the stack's grid, 1 lake.
        name: What it is called.
        centre: Latitude and longitude of its centre, degrees.

    Returns:
        The chip: heights rounded to metres, what is not known as nodata of the shard's layout.
    """
    rows, cols = window.grid.slices_in(stack.grid)
    dem = stack.dem[rows, cols]
    heights = np.where(np.isfinite(dem), np.rint(np.nan_to_num(dem)), DEM_NODATA)
    shape = (2, CELL_PX, CELL_PX)
    s1 = np.full(shape, np.nan, dtype=np.float32) if stack.s1 is None else stack.s1[:, rows, cols]
    mask = label[rows, cols]
    return ShardChip(
        chip_id=name.chip_id(window),
        split=name.split,
        region=name.region,
        year=name.year,
        lat=centre[0],
        lon=centre[1],
        water_frac=float(np.count_nonzero(mask)) / mask.size,
        n_clear=float(np.median(stack.counts[COUNT_NAMES.index("clear"), rows, cols])),
        s2=np.ascontiguousarray(stack.s2[:, rows, cols]),
        s1=np.ascontiguousarray(s1, dtype=np.float32),
        dem=heights.astype(np.int16)[None],
        mask=np.ascontiguousarray(mask),
    )
