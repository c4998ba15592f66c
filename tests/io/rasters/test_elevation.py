from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.elevation import read_relief
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.terrain import SHADOW_STEP, halo_of_shadow

POSTS = 3_600
PART = 300
"""Posts along the side of a cut-out at a corner where four tiles meet."""


def height_at(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """A smooth surface, so that bilinear interpolation is off by centimetres only."""
    return np.asarray(3_000 + 4_000 * (lon - 77) + 2_500 * (lat - 43) + 80 * np.sin(60 * lon) * np.cos(60 * lat))


def write_dem(path: Path, west: int, north: int, *, right: bool, bottom: bool) -> Scene:
    """The part of a 1-degree tile next to its corner at 77 E, 43 N, point-registered as GLO-30 is: posts on whole seconds."""
    col0, row0 = (POSTS - PART if right else 0), (POSTS - PART if bottom else 0)
    lon = west + (col0 + np.arange(PART)) / POSTS
    lat = north - (row0 + np.arange(PART)) / POSTS
    heights = height_at(lon[None, :], lat[:, None]).astype(np.float32)
    half = 0.5 / POSTS
    with rasterio.open(
        path, "w", driver="GTiff", width=PART, height=PART, count=1, dtype="float32", crs="EPSG:4326",
        transform=Affine(1 / POSTS, 0, lon[0] - half, 0, -1 / POSTS, lat[0] + half),
    ) as target:  # fmt: skip
        target.write(heights, 1)
        target.update_tags(AREA_OR_POINT="Point")
    return Scene(
        id=path.stem, collection="cop-dem-glo-30", product="cop-dem-glo-30", role="terrain", hrefs={"DEM": str(path)},
        moment=dt.datetime(2021, 4, 22, tzinfo=dt.UTC),
        footprint=shapely.box(lon[0] - half, lat[-1] - half, lon[-1] + half, lat[0] + half),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    folder = tmp_path_factory.mktemp("dem")
    return [
        write_dem(folder / f"{name}.tif", west, north, right=right, bottom=bottom)
        for name, west, north, right, bottom in (
            ("nw", 76, 44, True, True), ("ne", 77, 44, False, True), ("sw", 76, 43, True, False), ("se", 77, 43, False, False),
        )
    ]  # fmt: skip


def grid_at_corner(size: int = 40) -> Grid:
    x, y = transformer(4326, 32643).transform(77.0, 43.0)
    return Grid(epsg=32643, row=round(-y / 10) - size // 2, col=round(x / 10) - size // 2, height=size, width=size)


def exact(grid: Grid) -> np.ndarray:
    lon, lat = transformer(grid.epsg, 4326).transform(*np.meshgrid(*grid.pixel_centres()))
    return height_at(lon, lat)


def test_four_tiles_make_one_surface_without_a_seam_or_a_shift(tiles: list[Scene]) -> None:
    grid = grid_at_corner()
    relief = read_relief(tiles, grid, halo_of_shadow(grid), SHADOW_STEP, Access())
    assert np.isfinite(relief.fine).all()
    # A shift of half a post (15 m) would be a metre here.
    assert np.abs(relief.fine - exact(grid)).max() < 0.15


def test_coarse_heights_lie_at_the_centres_of_the_squares(tiles: list[Scene]) -> None:
    grid = grid_at_corner(8)
    outer = halo_of_shadow(grid)
    relief = read_relief(tiles, grid, outer, SHADOW_STEP, Access())
    rows, cols = grid.slices_in(outer)
    fine = exact(outer).reshape(outer.height // 2, 2, outer.width // 2, 2).mean(axis=(1, 3))
    near = slice(rows.start // 2, rows.stop // 2), slice(cols.start // 2, cols.stop // 2)
    assert np.abs(relief.coarse[near] - fine[near]).max() < 0.15


def test_heights_do_not_depend_on_the_cutting_or_on_tiles_not_touched(tiles: list[Scene]) -> None:
    grid = grid_at_corner(60)
    whole = read_relief(tiles, grid, halo_of_shadow(grid), SHADOW_STEP, Access()).fine
    for row, col, height, width in ((0, 0, 20, 20), (13, 29, 31, 11), (59, 59, 1, 1)):
        part = Grid(epsg=grid.epsg, row=grid.row + row, col=grid.col + col, height=height, width=width)
        for order in (tiles, tiles[::-1]):
            got = read_relief(order, part, halo_of_shadow(part), SHADOW_STEP, Access()).fine
            np.testing.assert_array_equal(got, whole[part.slices_in(grid)])


def test_missing_column_is_filled_and_missing_tile_is_not(tiles: list[Scene], tmp_path: Path) -> None:
    path = tmp_path / "ne.tif"
    with rasterio.open(tiles[1].hrefs["DEM"]) as source:
        heights, profile = source.read(), source.profile
    heights[:, :, 0] = np.nan
    with rasterio.open(path, "w", **profile) as target:
        target.write(heights)
    torn = Scene(**{**tiles[1].__dict__, "hrefs": {"DEM": str(path)}})
    grid = grid_at_corner()
    relief = read_relief([tiles[0], torn, *tiles[2:]], grid, halo_of_shadow(grid), SHADOW_STEP, Access())
    assert np.abs(relief.fine - exact(grid)).max() < 1.5
    without = read_relief(tiles[:3], grid, halo_of_shadow(grid), SHADOW_STEP, Access()).fine
    assert np.isnan(without[25:, 25:]).all()
    assert np.isfinite(without[:18, :18]).all()


def test_no_tiles_no_heights() -> None:
    grid = grid_at_corner(8)
    assert np.isnan(read_relief([], grid, halo_of_shadow(grid), SHADOW_STEP, Access()).fine).all()


def test_real_tile_is_read_at_its_posts(shared_data: Path) -> None:
    path = shared_data / "dem" / "los_angeles_dem_geoid.tif"
    with rasterio.open(path) as source:
        heights, transform = source.read(1), source.transform
    scene = Scene(
        id="la", collection="cop-dem-glo-30", product="cop-dem-glo-30", role="terrain", hrefs={"DEM": str(path)},
        moment=dt.datetime(2021, 4, 22, tzinfo=dt.UTC), footprint=shapely.box(-119, 33, -117, 35),
    )  # fmt: skip
    lon, lat = transform.c + 180.5 * transform.a, transform.f + 180.5 * transform.e
    x, y = transformer(4326, 32611).transform(lon, lat)
    grid = Grid(epsg=32611, row=int(-y // 10), col=int(x // 10), height=1, width=1)
    got = float(read_relief([scene], grid, halo_of_shadow(grid), SHADOW_STEP, Access()).fine[0, 0])
    around = heights[179:182, 179:182]
    assert around.min() <= got <= around.max()


def test_unreadable_tile_is_an_error(tiles: list[Scene], tmp_path: Path) -> None:
    gone = Scene(**{**tiles[0].__dict__, "hrefs": {"DEM": str(tmp_path / "gone.tif")}})
    grid = grid_at_corner(8)
    with pytest.raises(RasterError, match=r"gone\.tif"):
        read_relief([gone], grid, halo_of_shadow(grid), SHADOW_STEP, Access())
