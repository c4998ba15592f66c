"""The lattice: addresses, cells, tiles and windows are the same for every asker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.errors import AreaError, InputError
from cryosentinel_core.ground.lattice import (
    Cell,
    Grid,
    Tile,
    cells_of_bounds,
    group_cells,
    hull_of_cells,
    mask_of_cells,
    owner_of_cell,
    tile_of_cell,
    windows_touching,
)
from cryosentinel_core.ground.projection import Zone, zone_of_lonlat
from cryosentinel_core.units import CELL_PX, TILE_PX

cells = st.builds(Cell, st.just(32643), st.integers(-2500, -1), st.integers(10, 400))


def test_zone_of_lonlat_knows_borders_and_hemispheres() -> None:
    assert zone_of_lonlat(77.0, 43.0) == Zone(32643)
    assert zone_of_lonlat(78.0, 43.0) == Zone(32644)
    assert zone_of_lonlat(77.999999, -1.0) == Zone(32743)
    assert zone_of_lonlat(180.0, 10.0) == Zone(32601)
    assert zone_of_lonlat(-180.0, 10.0) == Zone(32601)
    with pytest.raises(AreaError, match="latitude 85"):
        zone_of_lonlat(10.0, 85.0)


def test_pixel_addresses_are_metres_over_ten() -> None:
    grid = Grid(epsg=32643, row=-475000, col=66000, height=2, width=3)
    assert grid.bounds == (660000.0, 4749980.0, 660030.0, 4750000.0)
    assert tuple(grid.transform)[:6] == (10.0, 0.0, 660000.0, 0.0, -10.0, 4750000.0)
    x, y = grid.pixel_centres()
    assert x.tolist() == [660005.0, 660015.0, 660025.0]
    assert y.tolist() == [4749995.0, 4749985.0]


def test_grids_refuse_nonsense() -> None:
    with pytest.raises(InputError, match="3857"):
        Grid(epsg=3857, row=0, col=0, height=1, width=1)
    with pytest.raises(InputError, match="at least one pixel"):
        Grid(epsg=32643, row=0, col=0, height=0, width=1)


def test_slices_refuse_what_lies_outside() -> None:
    outer = Grid(epsg=32643, row=0, col=0, height=10, width=10)
    inner = Grid(epsg=32643, row=2, col=3, height=4, width=5)
    assert inner.slices_in(outer) == (slice(2, 6), slice(3, 8))
    for wrong in (outer.grown(1), Grid(epsg=32644, row=2, col=3, height=1, width=1)):
        with pytest.raises(InputError, match="does not lie inside"):
            wrong.slices_in(outer)


@given(cells, st.sampled_from([1, 2, 5, 10]))
def test_tiles_nest_and_names_come_back(cell: Cell, size: int) -> None:
    tile = tile_of_cell(cell, size)
    assert cell.grid.intersection(tile.grid) == cell.grid
    assert Tile.from_name(32643, tile.name, size) == tile
    assert tile.lattice_tile == tile_of_cell(cell, 10)
    assert tile.lattice_tile.grid.height == TILE_PX


def test_tile_of_three_cells_is_refused() -> None:
    with pytest.raises(InputError, match="nest"):
        Tile(32643, 0, 0, 3)
    with pytest.raises(InputError, match="not the name"):
        Tile.from_name(32643, "../../etc")


@settings(deadline=None, max_examples=30)
@given(st.sets(cells, min_size=1, max_size=4), st.sampled_from([224, 112, 56]))
def test_windows_cover_every_pixel_with_all_that_touch_it(chosen: set[Cell], stride: int) -> None:
    addresses = windows_touching(chosen, stride)
    assert addresses == sorted(set(addresses))
    assert all(row % stride == 0 and col % stride == 0 for row, col in addresses)
    one = min(chosen)
    corner = one.grid.row, one.grid.col
    touching = [
        (row, col) for row, col in addresses if row <= corner[0] < row + CELL_PX and col <= corner[1] < col + CELL_PX
    ]
    assert len(touching) == (CELL_PX // stride) ** 2


@settings(deadline=None, max_examples=25)
@given(st.sets(cells, min_size=2, max_size=6), st.sampled_from([224, 112, 56]))
def test_windows_of_a_union_are_the_union_of_windows(chosen: set[Cell], stride: int) -> None:
    listed = sorted(chosen)
    half = len(listed) // 2
    parts = set(windows_touching(listed[:half], stride)) | set(windows_touching(listed[half:], stride))
    assert parts == set(windows_touching(listed, stride))


def test_cells_of_bounds_touch_the_box() -> None:
    found = list(cells_of_bounds(32643, (2240.0 * 300 + 1, 2240.0 * 2100 + 1, 2240.0 * 301 - 1, 2240.0 * 2101 - 1)))
    assert found == [Cell(32643, -2101, 300)]


def test_owner_changes_at_the_zone_border() -> None:
    west = next(cells_of_bounds(32643, (700000.0, 4750000.0, 700000.0, 4750000.0)))
    east = next(cells_of_bounds(32643, (760000.0, 4750000.0, 760000.0, 4750000.0)))
    assert owner_of_cell(west) == Zone(32643)
    assert owner_of_cell(east) == Zone(32644)


def test_groups_hulls_and_masks() -> None:
    chosen = [Cell(32643, -2100, 300), Cell(32643, -2099, 302), Cell(32643, -2111, 300)]
    groups = group_cells(chosen, 10)
    assert [tile.name for tile in groups] == ["n0211e0030", "n0209e0030"]
    hull = hull_of_cells(chosen[:2])
    assert hull.shape == (2 * CELL_PX, 3 * CELL_PX)
    mask = mask_of_cells(chosen[:2], hull)
    assert int(mask.sum()) == 2 * CELL_PX**2
    assert bool(mask[0, 0])
    assert not bool(mask[0, -1])
    with pytest.raises(InputError, match="no cells"):
        hull_of_cells([])


def test_intersection_and_union() -> None:
    one = Grid(epsg=32643, row=0, col=0, height=4, width=4)
    two = Grid(epsg=32643, row=2, col=3, height=4, width=4)
    assert one.intersection(two) == Grid(epsg=32643, row=2, col=3, height=2, width=1)
    assert one.union(two) == Grid(epsg=32643, row=0, col=0, height=6, width=7)
    assert one.intersection(Grid(epsg=32643, row=4, col=0, height=1, width=1)) is None
    assert np.prod(one.union(two).shape) == 42
