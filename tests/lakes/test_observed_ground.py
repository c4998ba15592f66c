"""What a year saw of a piece of ground, on rasters that a reader can count."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.lakes.observed_ground import ReadClasses, ZoneClasses, observe_ground, rasterise_ground
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.stack.stack import Condition

EPSG = 32643
HULL = Grid(epsg=EPSG, row=-476_000, col=60_000, height=20, width=20)


def reader(pixels: NDArray[np.uint8], outside: int = 255) -> ReadClasses:
    def read(grid: Grid) -> NDArray[np.uint8]:
        out = np.full(grid.shape, outside, dtype=np.uint8)
        shared = grid.intersection(HULL)
        if shared is not None:
            out[shared.slices_in(grid)] = pixels[shared.slices_in(HULL)]
        return out

    return read


def look(zones: dict[int, ZoneClasses], place: BaseGeometry, grow_px: int) -> GroundSeen:
    """What the only year saw."""
    return observe_ground({2023: zones}, place, grow_px)[2023]


def ground(top: int, left: int, bottom: int, right: int, epsg: int = EPSG) -> shapely.Polygon:
    """Pixels of the hull as a polygon in EPSG:4326, a metre smaller than they are so that rounding moves no centre."""
    x0, y0 = HULL.bounds[0], HULL.bounds[3]
    square = shapely.box(x0 + 10 * left + 1, y0 - 10 * bottom + 1, x0 + 10 * right - 1, y0 - 10 * top - 1)
    to_lonlat = transformer(epsg, 4326)
    return shapely.transform(square, lambda xy: np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1])))


def test_pixels_are_counted_by_class() -> None:
    water = np.zeros(HULL.shape, dtype=np.uint8)
    water[5, 5:9] = [1, 2, 3, 255]
    zones = {EPSG: ZoneClasses(water=reader(water))}
    assert look(zones, ground(5, 5, 6, 9), 0) == GroundSeen(lake=1, ice=1, shadow=1, nodata=1)
    grown = look(zones, ground(5, 5, 6, 9), 1)
    assert (grown.total, grown.land) == (3 * 6, 14)


def test_the_stack_tells_cloud_from_nodata() -> None:
    water = np.full(HULL.shape, 255, dtype=np.uint8)
    condition = np.full(HULL.shape, int(Condition.NODATA), dtype=np.uint8)
    condition[5, 5:8] = int(Condition.CLOUD)
    condition[5, 8] = int(Condition.SNOW_ICE)
    zones = {EPSG: ZoneClasses(water=reader(water), condition=reader(condition))}
    assert look(zones, ground(5, 5, 6, 10), 0) == GroundSeen(cloud=3, ice=1, nodata=1)


def test_ground_outside_the_raster_was_not_seen() -> None:
    zones = {EPSG: ZoneClasses(water=reader(np.zeros(HULL.shape, dtype=np.uint8)))}
    assert look(zones, ground(18, 0, 22, 1), 0) == GroundSeen(land=2, nodata=2)


def test_the_zone_that_saw_most_answers() -> None:
    seen = np.zeros(HULL.shape, dtype=np.uint8)
    # The same ground in the neighbouring zone lies outside its hull and counts as unseen there.
    zones = {
        32644: ZoneClasses(water=lambda grid: np.full(grid.shape, 255, dtype=np.uint8)),
        EPSG: ZoneClasses(reader(seen)),
    }
    assert look(zones, ground(2, 2, 4, 4), 0) == GroundSeen(land=4)


def test_a_point_is_the_pixel_that_holds_it() -> None:
    water = np.zeros(HULL.shape, dtype=np.uint8)
    water[7, 3] = 1
    x, y = HULL.bounds[0] + 10 * 3 + 4, HULL.bounds[3] - 10 * 7 - 4
    point = shapely.Point(*transformer(EPSG, 4326).transform(x, y))
    assert look({EPSG: ZoneClasses(reader(water))}, point, 0) == GroundSeen(lake=1)
    assert look({EPSG: ZoneClasses(reader(water))}, point, 1).total >= 2


@pytest.mark.parametrize("grow", [0, 1, 3])
def test_the_grid_holds_the_ground(grow: int) -> None:
    grid, mask = rasterise_ground(ground(3, 4, 9, 12), EPSG, grow)
    assert mask.shape == grid.shape
    inner = Grid(epsg=EPSG, row=HULL.row + 3, col=HULL.col + 4, height=6, width=8)
    assert mask[inner.slices_in(grid)].all()
    if not grow:
        assert mask.sum() == 48


def test_ice_of_every_year_around_a_lake_is_a_glacier_not_a_frozen_lake() -> None:
    always, once = np.zeros(HULL.shape, dtype=np.uint8), np.zeros(HULL.shape, dtype=np.uint8)
    for classes in (always, once):
        classes[5:8, 5:8] = 1
    always[:, 8:] = once[:, 8:] = 2
    once[4] = 2
    years = {2017: {EPSG: ZoneClasses(reader(once))}, 2023: {EPSG: ZoneClasses(reader(always))}}
    found = observe_ground(years, ground(5, 5, 8, 8), 1)
    # A ring of 16 pixels: 5 on lasting ice in the east, of the 4 others in the north all under snow in 2017 alone.
    assert found[2017] == GroundSeen(lake=9, land=12, ice=4)
    assert found[2023] == GroundSeen(lake=9, land=16)


def test_ice_on_the_lake_itself_always_hides_it() -> None:
    frozen = np.full(HULL.shape, 2, dtype=np.uint8)
    years = {year: {EPSG: ZoneClasses(reader(frozen))} for year in (2017, 2023)}
    found = observe_ground(years, ground(5, 5, 8, 8), 1)
    assert found[2017].ice == 9
    assert found[2017].observed_share == 16 / 25
