"""Cutting chips and storing logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Cell, Grid, hull_of_cells
from cryosentinel_core.segment.windows import (
    cut_chips,
    decode_logits,
    encode_logits,
    encode_spread,
    hull_of_windows,
    pad_batch,
)
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import CELL_PX, LOGIT_NODATA, SPREAD_NODATA


def make_stack(grid: Grid, seed: int = 0, *, radar: bool = True) -> Stack:
    rng = np.random.default_rng(seed)
    return Stack(
        grid=grid,
        s2=rng.integers(1, 9000, (12, *grid.shape)).astype(np.uint16),
        s1=rng.normal(-12, 3, (2, *grid.shape)).astype(np.float32) if radar else None,
        dem=rng.normal(4000, 10, grid.shape).astype(np.float32),
        counts=rng.integers(0, 4, (5, *grid.shape)).astype(np.uint8),
        condition=np.zeros(grid.shape, dtype=np.uint8),
        dates=np.zeros((3, *grid.shape), dtype=np.uint16),
    )


def test_spreads_are_stored_in_steps_and_stop_below_nodata() -> None:
    spread = np.array([[0.0, 0.0004, 1.2346, 65.534, 70.0, np.nan, 3.0]], dtype=np.float32)
    valid = np.array([[True] * 6 + [False]])
    stored = encode_spread(spread, valid)
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[0, 0, 1235, 65534, 65534, SPREAD_NODATA, SPREAD_NODATA]]


@given(arrays(np.float32, (3, 4), elements=st.floats(-40, 40, width=32)))
def test_storing_costs_half_a_step_at_most(logits: np.ndarray) -> None:
    stored = encode_logits(logits, np.ones(logits.shape, dtype=bool))
    assert stored.dtype == np.int16
    assert np.abs(decode_logits(stored) - np.clip(logits, -16, 16)).max() <= 0.00051


def test_invalid_and_nan_are_stored_as_nodata() -> None:
    logits = np.array([[1.0, np.nan, 3.0]], dtype=np.float32)
    stored = encode_logits(logits, np.array([[False, True, True]]))
    assert stored.tolist() == [[LOGIT_NODATA, LOGIT_NODATA, 3000]]
    assert np.isnan(decode_logits(stored)[0, :2]).all()


def test_chips_hold_what_the_stack_holds() -> None:
    cell = Cell(32643, -2100, 300)
    addresses = [(cell.grid.row, cell.grid.col)]
    stack = make_stack(hull_of_windows(32643, addresses, CELL_PX, 16))
    batch = cut_chips(stack, addresses, CELL_PX, 16)
    assert len(batch) == 1
    np.testing.assert_array_equal(batch.s2[0], stack.s2)
    clear, water, snow, shadow = stack.counts[:4].astype(float)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(batch.water[0], np.where(clear > 0, water / clear, np.nan), rtol=1e-6)
        np.testing.assert_allclose(batch.snow[0], np.where(clear + snow > 0, snow / (clear + snow), 0), rtol=1e-6)
        usable = clear + snow + shadow
        np.testing.assert_allclose(batch.shadow[0], np.where(usable > 0, shadow / usable, 0), rtol=1e-6)
    padded = pad_batch(batch, 3)
    assert len(padded) == 3
    np.testing.assert_array_equal(padded.s2[2], batch.s2[0])
    assert pad_batch(batch, 1) is batch


def test_a_window_outside_the_stack_is_refused() -> None:
    stack = make_stack(hull_of_cells([Cell(32643, -2100, 300)]))
    with pytest.raises(InputError, match="does not lie inside"):
        cut_chips(stack, [(stack.grid.row, stack.grid.col)], CELL_PX, 1)
    with pytest.raises(InputError, match="no windows"):
        cut_chips(stack, [], CELL_PX, 0)
