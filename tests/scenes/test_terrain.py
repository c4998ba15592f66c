from __future__ import annotations

import numpy as np
import pytest

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.scenes.terrain import (
    SHADOW_MARGIN_DEG,
    SHADOW_REACH_PX,
    SHADOW_STEP,
    cast_shadow,
    grid_azimuth,
    halo_of_shadow,
    slope_degrees,
)

GRID = Grid(epsg=32643, row=-470_000, col=30_001, height=150, width=170)


def coarse_dem(outer: Grid, height_at: object) -> np.ndarray:
    """Heights at the centres of the squares, from a function of lattice (row, col)."""
    rows = outer.row + np.arange(outer.height // SHADOW_STEP) * SHADOW_STEP + (SHADOW_STEP - 1) / 2
    cols = outer.col + np.arange(outer.width // SHADOW_STEP) * SHADOW_STEP + (SHADOW_STEP - 1) / 2
    return np.asarray(height_at(rows[:, None], cols[None, :]), dtype=np.float32)  # type: ignore[operator]


@pytest.mark.parametrize(("dx", "dy", "degrees"), [(1, 0, 45.0), (0, 1, 45.0), (0.5, 0, 26.565), (0, 0, 0.0)])
def test_slope_of_a_plane(dx: float, dy: float, degrees: float) -> None:
    rows, cols = np.mgrid[0:9, 0:9]
    slope = slope_degrees((10.0 * (dx * cols + dy * rows)).astype(np.float32))
    np.testing.assert_allclose(slope[1:-1, 1:-1], degrees, atol=0.01)


def test_wall_casts_a_shadow_of_the_right_length() -> None:
    # A wall 500 m high along a meridian; the sun in the east at 45 degrees: shadow over 500 m to the west.
    wall_col = GRID.col + 120
    outer = halo_of_shadow(GRID)
    dem = coarse_dem(outer, lambda rows, cols: 500.0 * (np.abs(cols - wall_col) <= 2) + 0 * rows)
    dark = cast_shadow(dem, outer, GRID, 90.0, 45.0)
    length_px = 50 / np.tan(np.radians(45.0 - SHADOW_MARGIN_DEG))
    first = wall_col - GRID.col - length_px
    columns = np.flatnonzero(dark.all(axis=0))
    assert abs(columns.min() - first) <= 2 + 2 * SHADOW_STEP
    assert not dark[:, : columns.min()].any()
    assert not dark[:, 126 + SHADOW_STEP :].any()


@pytest.mark.parametrize("azimuth", [0.0, 37.0, 90.0, 135.0, 162.5, 180.0, 251.0, 315.0])
def test_shadow_falls_away_from_the_sun(azimuth: float) -> None:
    centre = GRID.row + 75, GRID.col + 85
    outer = halo_of_shadow(GRID)
    dem = coarse_dem(
        outer, lambda rows, cols: 400.0 * ((np.abs(rows - centre[0]) < 6) & (np.abs(cols - centre[1]) < 6))
    )
    dark = cast_shadow(dem, outer, GRID, azimuth, 45.0)
    rows, cols = np.nonzero(dark)
    away = np.array([rows.mean() - 75, cols.mean() - 85])
    sun = np.array([-np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))])
    assert away @ sun < -0.95 * np.linalg.norm(away)


def test_shadow_does_not_depend_on_the_cutting() -> None:
    rng = np.random.default_rng(0)
    waves = rng.random((6, 3)) * [0.1, 0.1, 6.0]

    def height(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return sum(150 * np.sin(a * (rows + 470_000) + b * (cols - 30_000) + c) for a, b, c in waves)  # type: ignore[return-value]

    outer = halo_of_shadow(GRID)
    whole = cast_shadow(coarse_dem(outer, height), outer, GRID, 143.0, 35.0)
    assert 0.02 < whole.mean() < 0.9
    for row, col, h, w in ((0, 0, 70, 90), (33, 51, 60, 41), (1, 1, 1, 1), (80, 3, 70, 160)):
        part = Grid(epsg=GRID.epsg, row=GRID.row + row, col=GRID.col + col, height=h, width=w)
        around = halo_of_shadow(part)
        np.testing.assert_array_equal(
            cast_shadow(coarse_dem(around, height), around, part, 143.0, 35.0), whole[part.slices_in(GRID)]
        )


def test_ridges_outside_the_tile_count_up_to_the_reach() -> None:
    outer = halo_of_shadow(GRID)
    south = GRID.row + GRID.height + SHADOW_REACH_PX // 2
    dem = coarse_dem(outer, lambda rows, cols: 3_000.0 * (rows >= south) + 0 * cols)
    assert cast_shadow(dem, outer, GRID, 180.0, 30.0).any()


def test_nodata_casts_no_shadow() -> None:
    outer = halo_of_shadow(GRID)
    dem = coarse_dem(outer, lambda rows, cols: np.nan * rows * cols)
    assert not cast_shadow(dem, outer, GRID, 120.0, 30.0).any()


@pytest.mark.parametrize("elevation", [0.0, -5.0, 91.0])
def test_sun_below_the_horizon_is_refused(elevation: float) -> None:
    outer = halo_of_shadow(GRID)
    with pytest.raises(InputError, match="sun"):
        cast_shadow(np.zeros((outer.height // 2, outer.width // 2), np.float32), outer, GRID, 120.0, elevation)


def test_grid_azimuth_follows_the_meridian() -> None:
    # The direction of true north on the grid: project two points of one meridian.
    x, y = transformer(4326, 32643).transform(77.9, 43.0)
    grid = Grid(epsg=32643, row=round(-y / 10) - 50, col=round(x / 10) - 50, height=100, width=100)
    x1, y1 = transformer(4326, 32643).transform(77.9, 43.01)
    north = np.degrees(np.arctan2(x1 - x, y1 - y)) % 360
    assert grid_azimuth(grid, 0.0) == pytest.approx(north, abs=0.02)
    assert abs(grid_azimuth(grid, 90.0) - 90.0) > 1.5
