"""The lattice: where every pixel, cell, tile and window lies, in every year and for every asker.

Each UTM zone has one fixed lattice of 10 m pixels whose origin is the zone's own (easting 0, northing 0), a whole multiple of
2,240 m. A pixel's address is (row, col): its upper left corner lies at x = 10 col, y = -10 row, so rows grow southwards and are
negative in the north. A cell is 224 x 224 px, a tile `tile_cells` x `tile_cells` cells. Nothing here depends on an area of
interest, so two people who ask for different areas mean the same pixel by the same address.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from cryosentinel_core.errors import GridMismatch, InputError
from cryosentinel_core.ground.projection import Zone, transformer, zone_of_lonlat
from cryosentinel_core.units import CELL_PX, PIXEL_M, TILE_CELLS

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_TILE_NAME = re.compile(r"^n(-?\d+)e(-?\d+)$")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A rectangle of lattice pixels: the only georeference that travels.

    Attributes:
        epsg: UTM zone of the lattice.
        row: Lattice row of the upper left pixel (y of its upper edge is -10 row).
        col: Lattice column of the upper left pixel (x of its left edge is 10 col).
        height: Rows.
        width: Columns.
    """

    epsg: int
    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        Zone(self.epsg)
        if self.height <= 0 or self.width <= 0:
            raise InputError(f"a grid needs at least one pixel, got {self.height} x {self.width}")

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def crs(self) -> CRS:
        """The zone's CRS."""
        return CRS.from_epsg(self.epsg)

    @property
    def transform(self) -> Affine:
        """Pixel (col, row) counted from this grid's corner -> map (x, y) in metres."""
        return Affine(PIXEL_M, 0.0, self.col * PIXEL_M, 0.0, -PIXEL_M, -self.row * PIXEL_M)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(minx, miny, maxx, maxy) in metres."""
        return (
            float(self.col * PIXEL_M),
            float(-(self.row + self.height) * PIXEL_M),
            float((self.col + self.width) * PIXEL_M),
            float(-self.row * PIXEL_M),
        )

    @property
    def geobox(self) -> GeoBox:
        """The same pixels as odc-geo has them: `odc.stac.load(..., geobox=grid.geobox)` lands on the lattice."""
        from odc.geo.geobox import GeoBox

        return GeoBox(self.shape, self.transform, f"EPSG:{self.epsg}")

    @classmethod
    def from_geobox(cls, geobox: GeoBox) -> Grid:
        """The lattice pixels of odc-geo's geobox.

        Args:
            geobox: In a UTM zone, 10 m pixels, north up, its corner at whole multiples of 10 m.

        Raises:
            GridMismatch: If it lies otherwise.
        """
        epsg, step = (geobox.crs.epsg if geobox.crs is not None else None), geobox.affine
        if epsg is None or not (32601 <= epsg <= 32660 or 32701 <= epsg <= 32760):
            raise GridMismatch(
                f"the geobox lies in {geobox.crs}, wanted a UTM zone of WGS 84", "use EPSG 326.. or 327.."
            )
        grid = cls(
            epsg=int(epsg),
            row=round(-step.f / PIXEL_M),
            col=round(step.c / PIXEL_M),
            height=int(geobox.shape[0]),
            width=int(geobox.shape[1]),
        )
        if not grid.transform.almost_equals(step, 1e-6):
            raise GridMismatch(
                f"the geobox has the transform {tuple(step)[:6]}, wanted pixels of 10 m, north up, at multiples of 10 m",
                f"the nearest is {tuple(grid.transform)[:6]}",
            )
        return grid

    def intersection(self, other: Grid) -> Grid | None:
        """The pixels that both hold; None if there are none or the zones differ."""
        if self.epsg != other.epsg:
            return None
        row, col = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        if bottom <= row or right <= col:
            return None
        return Grid(epsg=self.epsg, row=row, col=col, height=bottom - row, width=right - col)

    def union(self, other: Grid) -> Grid:
        """The smallest grid that holds both (same zone)."""
        if self.epsg != other.epsg:
            raise InputError(f"grids of EPSG:{self.epsg} and EPSG:{other.epsg} have no common rectangle")
        row, col = min(self.row, other.row), min(self.col, other.col)
        bottom = max(self.row + self.height, other.row + other.height)
        right = max(self.col + self.width, other.col + other.width)
        return Grid(epsg=self.epsg, row=row, col=col, height=bottom - row, width=right - col)

    def grown(self, pixels: int) -> Grid:
        """This grid with `pixels` more (or, negative, fewer) on each side."""
        return Grid(
            epsg=self.epsg,
            row=self.row - pixels,
            col=self.col - pixels,
            height=self.height + 2 * pixels,
            width=self.width + 2 * pixels,
        )

    def slices_in(self, outer: Grid) -> tuple[slice, slice]:
        """(rows, cols) of this grid inside an array on `outer`, which must hold it wholly."""
        top, left = self.row - outer.row, self.col - outer.col
        if self.epsg != outer.epsg or top < 0 or left < 0:
            raise InputError(f"{self} does not lie inside {outer}")
        if top + self.height > outer.height or left + self.width > outer.width:
            raise InputError(f"{self} does not lie inside {outer}")
        return slice(top, top + self.height), slice(left, left + self.width)

    def pixel_centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x of each column (width,) and y of each row (height,) at the pixel centres, metres."""
        x = np.asarray((self.col + np.arange(self.width) + 0.5) * PIXEL_M, dtype=np.float64)
        y = np.asarray(-(self.row + np.arange(self.height) + 0.5) * PIXEL_M, dtype=np.float64)
        return x, y


@dataclass(frozen=True, order=True)
class Cell:
    """A cell of a zone's lattice: rows 224 row .. 224 row + 223, columns likewise."""

    epsg: int
    row: int
    col: int

    @property
    def grid(self) -> Grid:
        """The cell's pixels."""
        return Grid(epsg=self.epsg, row=self.row * CELL_PX, col=self.col * CELL_PX, height=CELL_PX, width=CELL_PX)

    def neighbours(self, rings: int) -> Iterator[Cell]:
        """This cell and all within `rings` cells of it (Chebyshev distance)."""
        for row in range(self.row - rings, self.row + rings + 1):
            for col in range(self.col - rings, self.col + rings + 1):
                yield Cell(self.epsg, row, col)


@dataclass(frozen=True, order=True)
class Tile:
    """A square of `cells` x `cells` cells: the unit of work and of files.

    The lattice's own tiles have ten cells; smaller ones (1, 2, 5) cut the same lattice finer and never change a result.
    `row` and `col` count tiles of this size from the zone's origin.
    """

    epsg: int
    row: int
    col: int
    cells: int = TILE_CELLS

    def __post_init__(self) -> None:
        if self.cells not in (1, 2, 5, 10):
            raise InputError(
                f"a tile of {self.cells} x {self.cells} cells does not nest in the lattice", "use 1, 2, 5 or 10"
            )

    @property
    def name(self) -> str:
        """File name of the tile: northing and easting of its lower left corner in tiles, as `n0212e0030`."""
        return f"n{-(self.row + 1):04d}e{self.col:04d}"

    @classmethod
    def from_name(cls, epsg: int, name: str, cells: int = TILE_CELLS) -> Tile:
        """The tile of a name.

        Raises:
            InputError: If the name is not a tile's.
        """
        found = _TILE_NAME.match(name)
        if found is None:
            raise InputError(f"{name!r} is not the name of a tile", "tiles are named as n0212e0030")
        return cls(epsg, -int(found[1]) - 1, int(found[2]), cells)

    @property
    def grid(self) -> Grid:
        """The tile's pixels."""
        side = self.cells * CELL_PX
        return Grid(epsg=self.epsg, row=self.row * side, col=self.col * side, height=side, width=side)

    @property
    def lattice_tile(self) -> Tile:
        """The tile of ten cells that holds this one: scenes are chosen for that."""
        shrink = TILE_CELLS // self.cells
        return Tile(self.epsg, self.row // shrink, self.col // shrink)


def tile_of_cell(cell: Cell, cells: int = TILE_CELLS) -> Tile:
    """The tile of `cells` x `cells` cells that holds a cell."""
    return Tile(cell.epsg, cell.row // cells, cell.col // cells, cells)


def group_cells(cells: Iterable[Cell], tile_cells: int = TILE_CELLS) -> dict[Tile, tuple[Cell, ...]]:
    """Cells by the tile that holds them; tiles and cells in lattice order."""
    found: dict[Tile, list[Cell]] = {}
    for cell in sorted(set(cells)):
        found.setdefault(tile_of_cell(cell, tile_cells), []).append(cell)
    return {tile: tuple(found[tile]) for tile in sorted(found)}


def hull_of_cells(cells: Iterable[Cell]) -> Grid:
    """The smallest grid that holds some cells of one zone.

    Raises:
        InputError: Without a cell.
    """
    listed = list(cells)
    if not listed:
        raise InputError("no cells, so no grid")
    rows, cols = [cell.row for cell in listed], [cell.col for cell in listed]
    return Grid(
        epsg=listed[0].epsg,
        row=min(rows) * CELL_PX,
        col=min(cols) * CELL_PX,
        height=(max(rows) - min(rows) + 1) * CELL_PX,
        width=(max(cols) - min(cols) + 1) * CELL_PX,
    )


def owner_of_cell(cell: Cell) -> Zone:
    """The zone that a cell's centre lies in: it may not be the cell's own near a border."""
    grid = cell.grid
    minx, miny, maxx, maxy = grid.bounds
    lon, lat = transformer(cell.epsg, 4326).transform((minx + maxx) / 2.0, (miny + maxy) / 2.0)
    return zone_of_lonlat(lon, lat)


def mask_of_cells(cells: Iterable[Cell], grid: Grid) -> NDArray[np.bool_]:
    """(height, width) bool on `grid`: True where one of the cells lies."""
    mask = np.zeros(grid.shape, dtype=bool)
    for cell in cells:
        shared = cell.grid.intersection(grid)
        if shared is not None:
            mask[shared.slices_in(grid)] = True
    return mask


def windows_touching(cells: Iterable[Cell], stride: int) -> list[tuple[int, int]]:
    """Lattice addresses of every 224 px window of a stride that touches at least one pixel of the cells.

    Args:
        cells: Cells of one zone.
        stride: 224, 112 or 56; starts are whole multiples of it, counted from the zone's origin.

    Returns:
        (row, col) of the upper left pixels, sorted: the order in which windows are added.
    """
    if CELL_PX % stride:
        raise InputError(f"a stride of {stride} px leaves the lattice", "use an overlap of 0, 0.5 or 0.75")
    starts: set[tuple[int, int]] = set()
    first = -(CELL_PX - stride)
    for cell in cells:
        for row in range(cell.row * CELL_PX + first, (cell.row + 1) * CELL_PX, stride):
            for col in range(cell.col * CELL_PX + first, (cell.col + 1) * CELL_PX, stride):
                starts.add((row, col))
    return sorted(starts)


def cells_of_bounds(epsg: int, bounds: tuple[float, float, float, float]) -> Iterator[Cell]:
    """Every cell of a zone's lattice that a box (minx, miny, maxx, maxy in metres of the zone) touches."""
    minx, miny, maxx, maxy = bounds
    side = CELL_PX * PIXEL_M
    for row in range(math.floor(-maxy / side), math.floor(-miny / side) + 1):
        for col in range(math.floor(minx / side), math.floor(maxx / side) + 1):
            yield Cell(epsg, row, col)
