from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid, Tile
from cryosentinel_core.io.rasters.stack_files import (
    folder_of_tile,
    read_layer,
    read_stack,
    tiles_under,
    write_stack_tile,
)
from cryosentinel_core.io.workspace import read_json, write_json
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.stack.stack import Condition, Stack

TILE = Tile(32643, -2130, 295, 1)
PROVENANCE = Provenance(kind="stack tile", inputs={"items": ["a"]})


def stack_on(grid: Grid, seed: int = 0, *, radar: bool = True) -> Stack:
    rng = np.random.default_rng(seed)
    h, w = grid.shape
    return Stack(
        grid=grid,
        s2=rng.integers(1, 9_000, (12, h, w), dtype=np.uint16),
        s1=rng.normal(-12, 3, (2, h, w)).astype(np.float32) if radar else None,
        dem=rng.normal(4_000, 90, (h, w)).astype(np.float32),
        counts=rng.integers(0, 9, (5, h, w), dtype=np.uint8),
        condition=rng.integers(0, 4, (h, w), dtype=np.uint8),
        dates=rng.integers(17_000, 19_000, (3, h, w), dtype=np.uint16),
    )


def assert_same(a: Stack, b: Stack) -> None:
    for name in ("s2", "s1", "dem", "counts", "condition", "dates"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def part(stack: Stack, grid: Grid) -> Stack:
    rows, cols = grid.slices_in(stack.grid)
    cut = {name: getattr(stack, name)[..., rows, cols] for name in ("s2", "s1", "dem", "counts", "condition", "dates")}
    return Stack(grid=grid, **cut)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    stack = stack_on(TILE.grid)
    write_stack_tile(tmp_path, TILE, stack, PROVENANCE, {"partial": False})
    assert_same(read_stack(tmp_path, 32643, TILE.grid, tile_cells=1), stack)
    record = read_json(folder_of_tile(tmp_path, TILE) / "tile.json")
    assert record["digest"] == PROVENANCE.digest
    assert record["partial"] is False


def test_layers_left_out_are_nodata_and_not_opened(tmp_path: Path) -> None:
    stack = stack_on(TILE.grid)
    write_stack_tile(tmp_path, TILE, stack, PROVENANCE)
    for layer in ("clear", "class", "dates"):
        (folder_of_tile(tmp_path, TILE) / f"{layer}.tif").write_bytes(b"damaged")
    got = read_stack(tmp_path, 32643, TILE.grid, tile_cells=1, without=("clear", "class", "dates"))
    np.testing.assert_array_equal(got.s2, stack.s2)
    np.testing.assert_array_equal(got.s1, stack.s1)
    np.testing.assert_array_equal(got.dem, stack.dem)
    assert not got.counts.any()
    assert not got.dates.any()
    assert (got.condition == Condition.NODATA).all()
    assert got.counts.strides == (0, 0, 0), "no memory"


def test_any_rectangle_across_tiles(tmp_path: Path) -> None:
    right = replace(TILE, col=TILE.col + 1)
    both = stack_on(TILE.grid.union(right.grid))
    for tile in (TILE, right):
        write_stack_tile(tmp_path, tile, part(both, tile.grid), PROVENANCE)
    wanted = Grid(epsg=32643, row=TILE.grid.row + 31, col=TILE.grid.col + 150, height=100, width=201)
    assert_same(read_stack(tmp_path, 32643, wanted, tile_cells=1), part(both, wanted))


@pytest.mark.parametrize("rows", [(0, 1120), (500, 30), (511, 1), (512, 608), (100, 950)])
def test_rasters_of_several_blocks_are_unpacked_side_by_side(tmp_path: Path, rows: tuple[int, int]) -> None:
    tile = Tile(32643, -426, 59, 5)
    stack = stack_on(tile.grid)
    write_stack_tile(tmp_path, tile, stack, PROVENANCE)
    wanted = replace(tile.grid, row=tile.grid.row + rows[0], height=rows[1])
    assert_same(read_stack(tmp_path, 32643, wanted, tile_cells=5), part(stack, wanted))
    np.testing.assert_array_equal(read_layer(tmp_path, "s2", wanted, tile_cells=5), part(stack, wanted).s2)
    path = folder_of_tile(tmp_path, tile) / "s2.tif"
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 5])  # the last blocks
    with pytest.raises(RasterError, match=r"s2\.tif is damaged"):
        read_stack(tmp_path, 32643, tile.grid, tile_cells=5)


def test_nodata_where_there_is_no_tile_and_files_smaller_than_the_tile(tmp_path: Path) -> None:
    tile = Tile(32643, -213, 29)
    small = Grid(epsg=32643, row=tile.grid.row + 224, col=tile.grid.col + 448, height=224, width=448)
    stack = stack_on(small)
    write_stack_tile(tmp_path, tile, stack, PROVENANCE)
    wide = read_stack(tmp_path, 32643, small.grown(300), tile_cells=10)
    assert_same(part(wide, small), stack)
    inside = np.zeros(wide.grid.shape, bool)
    inside[small.slices_in(wide.grid)] = True
    assert not wide.s2[:, ~inside].any()
    assert wide.s1 is not None
    assert np.isnan(wide.s1[:, ~inside]).all()
    assert np.isnan(wide.dem[~inside]).all()
    assert (wide.condition[~inside] == Condition.NODATA).all()
    assert not wide.valid[~inside].any()


def test_radar_absent_by_recipe_or_in_one_tile(tmp_path: Path) -> None:
    write_stack_tile(tmp_path, TILE, stack_on(TILE.grid), PROVENANCE)
    write_stack_tile(tmp_path, TILE, stack_on(TILE.grid, radar=False), PROVENANCE)
    assert not (folder_of_tile(tmp_path, TILE) / "s1.tif").exists()
    with_radar = read_stack(tmp_path, 32643, TILE.grid, tile_cells=1)
    assert with_radar.s1 is not None
    assert np.isnan(with_radar.s1).all()
    write_json(tmp_path / "recipe.json", Recipe(radar="none", radar_filter="none").as_dict())
    assert read_stack(tmp_path, 32643, TILE.grid, tile_cells=1).s1 is None


def test_files_open_anywhere(tmp_path: Path) -> None:
    write_stack_tile(tmp_path, TILE, stack_on(TILE.grid), PROVENANCE)
    home = folder_of_tile(tmp_path, TILE)
    with rasterio.open(home / "s2.tif") as dataset:
        assert dataset.transform == TILE.grid.transform
        assert dataset.nodata == 0
        assert dataset.scales[0] == pytest.approx(1e-4)
        assert dataset.tags()["CRYOSENTINEL_DIGEST"] == PROVENANCE.digest
    with rasterio.open(home / "class.tif") as dataset:
        assert dataset.colormap(1)[int(Condition.SNOW_ICE)] == (190, 225, 255, 255)
    with rasterio.open(home / "clear.tif") as dataset:
        assert dataset.descriptions == ("clear", "water", "snow", "shadow", "cloud")


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_stack_tile(tmp_path / name, TILE, stack_on(TILE.grid), PROVENANCE)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_damaged_file_is_named(tmp_path: Path) -> None:
    write_stack_tile(tmp_path, TILE, stack_on(TILE.grid), PROVENANCE)
    path = folder_of_tile(tmp_path, TILE) / "s2.tif"
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(RasterError, match=r"s2\.tif"):
        read_stack(tmp_path, 32643, TILE.grid, tile_cells=1)
    assert read_layer(tmp_path, "class", TILE.grid, tile_cells=1).shape == (1, 224, 224)


def test_zone_must_agree(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="32644"):
        read_stack(tmp_path, 32644, TILE.grid, tile_cells=1)


@pytest.mark.parametrize("cells", [1, 2, 5, 10])
def test_tiles_under_a_grid_cover_it(cells: int) -> None:
    grid = Grid(epsg=32643, row=-477_001, col=66_001, height=500, width=700)
    tiles = tiles_under(grid, cells)
    shared = [tile.grid.intersection(grid) for tile in tiles]
    assert sum(one.height * one.width for one in shared if one) == 500 * 700
    assert all(shared)
