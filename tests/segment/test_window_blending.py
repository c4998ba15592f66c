"""Blending windows of logits: weights, order, spread, and the same bits wherever the sums are kept."""

from __future__ import annotations

import numpy as np
import pytest

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Cell, Grid, windows_touching
from cryosentinel_core.segment.window_blending import LogitCanvas, gaussian_weights
from cryosentinel_core.units import CELL_PX


def test_weights_are_a_gaussian_of_a_quarter_window() -> None:
    weights = gaussian_weights(8)
    assert weights.max() == 1.0
    assert weights[3, 3] / weights[3, 0] == pytest.approx(np.exp(-0.5 * (0.5**2 - 3.5**2) / 2.0**2))
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])


@pytest.mark.parametrize("stride", [224, 112, 56])
def test_a_constant_stays_that_constant(stride: int) -> None:
    cell = Cell(32643, -2100, 300)
    canvas = LogitCanvas(cell.grid, CELL_PX, blended=True)
    for address in windows_touching([cell], stride):
        canvas.add(address, np.full((CELL_PX, CELL_PX), 2.5, dtype=np.float32))
    np.testing.assert_allclose(canvas.mean(), 2.5, rtol=1e-6)


def test_two_windows_blend_by_their_weights() -> None:
    grid = Grid(epsg=32643, row=0, col=4, height=8, width=4)
    canvas = LogitCanvas(grid, 8, blended=True)
    canvas.add((0, 0), np.full((8, 8), 1.0, dtype=np.float32))
    canvas.add((0, 4), np.full((8, 8), 3.0, dtype=np.float32))
    weights = gaussian_weights(8).astype(np.float64)
    expected = (weights[:, 4:] * 1.0 + weights[:, :4] * 3.0) / (weights[:, 4:] + weights[:, :4])
    np.testing.assert_allclose(canvas.mean(), expected, rtol=1e-6)


def test_windows_out_of_order_are_refused() -> None:
    canvas = LogitCanvas(Grid(epsg=32643, row=0, col=0, height=8, width=8), 8, blended=False)
    canvas.add((0, 4), np.zeros((8, 8), dtype=np.float32))
    with pytest.raises(InputError, match="lattice order"):
        canvas.add((0, 0), np.zeros((8, 8), dtype=np.float32))


def test_pixels_without_a_window_are_nan() -> None:
    canvas = LogitCanvas(Grid(epsg=32643, row=0, col=0, height=8, width=16), 8, blended=False)
    canvas.add((0, 0), np.ones((8, 8), dtype=np.float32))
    assert np.isnan(canvas.mean()[:, 8:]).all()
    assert (canvas.mean()[:, :8] == 1).all()


def test_the_spread_is_that_of_all_members_of_all_windows() -> None:
    """Two windows of two members each, overlapping by half: first and second moments by hand, in float64."""
    weights = gaussian_weights(8).astype(np.float64)
    members = np.random.default_rng(3).normal(20, 4, (2, 2, 8, 8))
    canvas = LogitCanvas(Grid(epsg=32643, row=0, col=0, height=8, width=12), 8, blended=True, with_spread=True)
    first, second, total = (np.zeros((8, 12)) for _ in range(3))
    for col, window in zip((0, 4), members, strict=True):
        canvas.add((0, col), window.mean(axis=0).astype(np.float32), window.var(axis=0).astype(np.float32))
        there = slice(col, col + 8)
        total[:, there] += weights
        first[:, there] += weights * window.mean(axis=0)
        second[:, there] += weights * (window**2).mean(axis=0)
    mean = first / total
    np.testing.assert_allclose(canvas.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(canvas.spread(), np.sqrt(second / total - mean**2), rtol=1e-4)
    np.testing.assert_allclose(canvas.spread()[:, :4], members[0].std(axis=0)[:, :4], rtol=1e-5)


def test_the_spread_by_counting() -> None:
    """Equal weights: members 1, 3 and 5, 7 have mean 4 and variance 5; with one window alone 1 about 2."""
    grid = Grid(epsg=32643, row=0, col=0, height=2, width=3)
    canvas = LogitCanvas(grid, 2, blended=False, with_spread=True)
    ones = np.ones((2, 2), dtype=np.float32)
    canvas.add((0, 0), 2 * ones, ones)
    canvas.add((0, 1), 6 * ones, ones)
    np.testing.assert_array_equal(canvas.mean(), [[2, 4, 6]] * 2)
    np.testing.assert_allclose(canvas.spread(), [[1, np.sqrt(5), 1]] * 2, rtol=1e-6)


def test_the_mean_is_the_same_bits_with_and_without_the_spread() -> None:
    cell = Cell(32643, -2100, 300)
    plain, both = (LogitCanvas(cell.grid, CELL_PX, blended=True, with_spread=wanted) for wanted in (False, True))
    rng = np.random.default_rng(0)
    for address in windows_touching([cell], 112):
        logits = rng.normal(0, 9, (CELL_PX, CELL_PX)).astype(np.float32)
        plain.add(address, logits)
        both.add(address, logits, np.zeros_like(logits))
    np.testing.assert_array_equal(both.mean(), plain.mean())


def test_windows_that_agree_have_no_spread() -> None:
    cell = Cell(32643, -2100, 300)
    canvas = LogitCanvas(cell.grid, CELL_PX, blended=True, with_spread=True)
    flat = np.full((CELL_PX, CELL_PX), 15.9, dtype=np.float32)
    for address in windows_touching([cell], 56):
        canvas.add(address, flat, np.zeros_like(flat))
    assert canvas.spread().max() < 1e-4, "no difference of large squares"


def test_a_canvas_has_the_spread_that_it_was_made_for() -> None:
    grid = Grid(epsg=32643, row=0, col=0, height=8, width=16)
    flat = np.ones((8, 8), dtype=np.float32)
    with pytest.raises(InputError, match="without a spread"):
        LogitCanvas(grid, 8, blended=False).spread()
    canvas = LogitCanvas(grid, 8, blended=False, with_spread=True)
    with pytest.raises(InputError, match="without the variance"):
        canvas.add((0, 0), flat)
    canvas.add((0, 1), flat, flat)
    assert np.isnan(canvas.spread()[:, 9:]).all()
