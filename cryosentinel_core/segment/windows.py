"""Windows on the lattice: cut chips from a stack, store logits.

A window's address and content depend on the lattice alone. Neighbours: `segmenter` says what a chip holds;
`window_blending` blends the logits of windows; the predict workflow feeds both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.stack.stack import Stack
from cryosentinel_core.units import LOGIT_CLIP, LOGIT_NODATA, LOGIT_STEP, SPREAD_NODATA, SPREAD_STEP


def window_grid(epsg: int, address: tuple[int, int], size_px: int, halo_px: int = 0) -> Grid:
    """The pixels of a window with its halo."""
    row, col = address
    side = size_px + 2 * halo_px
    return Grid(epsg=epsg, row=row - halo_px, col=col - halo_px, height=side, width=side)


def hull_of_windows(epsg: int, addresses: Sequence[tuple[int, int]], size_px: int, halo_px: int) -> Grid:
    """The smallest grid that holds some windows with their halos."""
    rows, cols = [row for row, _ in addresses], [col for _, col in addresses]
    return Grid(
        epsg=epsg,
        row=min(rows) - halo_px,
        col=min(cols) - halo_px,
        height=max(rows) - min(rows) + size_px + 2 * halo_px,
        width=max(cols) - min(cols) + size_px + 2 * halo_px,
    )


def cut_chips(stack: Stack, addresses: Sequence[tuple[int, int]], size_px: int, halo_px: int) -> ChipBatch:
    """The chips of some windows.

    Args:
        stack: Must hold all windows with their halos.
        addresses: Lattice (row, col) of the windows' upper left pixels, without halo.
        size_px: Side of a window.
        halo_px: Pixels around it.

    Raises:
        InputError: If a window leaves the stack or there is none.
    """
    filling = BatchFilling(len(addresses), size_px, halo_px)
    filling.add(stack, addresses)
    return filling.finish()


class BatchFilling:
    """A batch of chips that windows of several stacks are cut into, each copied once; its memory may be used again.

    Args:
        n: Windows at most.
        size_px: Side of a window.
        halo_px: Pixels around it.
        allocate: (shape, dtype) -> an array of that, not set to anything.
        with_dates: False for chips whose shares of dates nobody will look at: they are NaN and take no memory.
    """

    def __init__(
        self,
        n: int,
        size_px: int,
        halo_px: int,
        allocate: Callable[[tuple[int, ...], DTypeLike], NDArray[Any]] = np.empty,
        *,
        with_dates: bool = True,
    ) -> None:
        side = size_px + 2 * halo_px
        self._size_px, self._halo_px = size_px, halo_px
        self._addresses: list[tuple[int, int]] = []
        self._s2 = allocate((n, 12, side, side), np.uint16)
        self._s1 = allocate((n, 2, side, side), np.float32)
        self._dem = allocate((n, 1, side, side), np.float32)
        self._valid = np.empty((n, side, side), dtype=np.bool_)
        shape = (3, n, side, side)
        self._with_dates = with_dates
        self._shares = np.empty(shape, np.float32) if with_dates else np.broadcast_to(np.float32(np.nan), shape)
        self._has_radar = False

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def capacity(self) -> int:
        """Windows at most."""
        return len(self._s2)

    def clear(self) -> None:
        """Forget all windows; what `finish` gave is overwritten from now on."""
        self._addresses = []
        self._has_radar = False

    def add(self, stack: Stack, addresses: Sequence[tuple[int, int]]) -> None:
        """Cut some windows; without radar they get NaN.

        Args:
            stack: Must hold all windows with their halos.
            addresses: Lattice (row, col) of the windows' upper left pixels, without halo.

        Raises:
            InputError: If a window leaves the stack.
        """
        for address in addresses:
            place = window_grid(stack.grid.epsg, address, self._size_px, self._halo_px)
            rows, cols = place.slices_in(stack.grid)
            at = len(self._addresses)
            self._s2[at] = stack.s2[:, rows, cols]
            self._s1[at] = np.float32(np.nan) if stack.s1 is None else stack.s1[:, rows, cols]
            self._dem[at] = stack.dem[rows, cols]
            self._valid[at] = stack.valid[rows, cols]
            if self._with_dates:
                self._shares[:, at] = stack.date_shares[:, rows, cols]
            self._addresses.append(address)
        self._has_radar |= bool(addresses) and stack.s1 is not None

    def finish(self) -> ChipBatch:
        """The chips so far, no copies; radar is None if no stack had any.

        Raises:
            InputError: If there is none.
        """
        n = len(self)
        if not n:
            raise InputError("no windows to cut")
        shadow, snow, water = self._shares[:, :n]
        return ChipBatch(
            s2=self._s2[:n],
            s1=self._s1[:n] if self._has_radar else None,
            dem=self._dem[:n],
            valid=self._valid[:n],
            shadow=shadow,
            snow=snow,
            water=water,
            addresses=np.asarray(self._addresses, dtype=np.int64),
        )


def join_batches(batches: Sequence[ChipBatch]) -> ChipBatch:
    """One batch of several, in order; chips without radar get NaN beside others that have some.

    Args:
        batches: Of chips of one size; at least one.
    """
    if len(batches) == 1:
        return batches[0]
    radar = None
    if any(batch.s1 is not None for batch in batches):
        radar = np.concatenate(
            [
                np.full((len(batch), 2, *batch.s2.shape[-2:]), np.nan, dtype=np.float32)
                if batch.s1 is None
                else batch.s1
                for batch in batches
            ]
        )
    return ChipBatch(
        s2=np.concatenate([batch.s2 for batch in batches]),
        s1=radar,
        dem=np.concatenate([batch.dem for batch in batches]),
        valid=np.concatenate([batch.valid for batch in batches]),
        shadow=np.concatenate([batch.shadow for batch in batches]),
        snow=np.concatenate([batch.snow for batch in batches]),
        water=np.concatenate([batch.water for batch in batches]),
        addresses=np.concatenate([batch.addresses for batch in batches]),
    )


def pad_batch(batch: ChipBatch, size: int) -> ChipBatch:
    """The batch with its last chip repeated up to `size` chips: networks round otherwise in batches of other sizes."""
    missing = size - len(batch)
    if missing <= 0:
        return batch

    def pad(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return ChipBatch(
        s2=pad(batch.s2),  # type: ignore[arg-type]
        s1=None if batch.s1 is None else pad(batch.s1),  # type: ignore[arg-type]
        dem=pad(batch.dem),  # type: ignore[arg-type]
        valid=pad(batch.valid),  # type: ignore[arg-type]
        shadow=pad(batch.shadow),  # type: ignore[arg-type]
        snow=pad(batch.snow),  # type: ignore[arg-type]
        water=pad(batch.water),  # type: ignore[arg-type]
        addresses=pad(batch.addresses),  # type: ignore[arg-type]
    )


def pad_halo(batch: ChipBatch, halo_px: int) -> ChipBatch:
    """The chips with a halo of nodata around them, for chips that come without their surroundings."""
    if halo_px == 0:
        return batch
    around = (halo_px, halo_px)

    def pad(array: NDArray[np.generic], fill: float) -> NDArray[np.generic]:
        widths = [(0, 0)] * (array.ndim - 2) + [around, around]
        return np.pad(array, widths, constant_values=fill)

    return ChipBatch(
        s2=pad(batch.s2, 0),  # type: ignore[arg-type]
        s1=None if batch.s1 is None else pad(batch.s1, np.nan),  # type: ignore[arg-type]
        dem=pad(batch.dem, np.nan),  # type: ignore[arg-type]
        valid=pad(batch.valid, False),  # type: ignore[arg-type]
        shadow=pad(batch.shadow, 0),  # type: ignore[arg-type]
        snow=pad(batch.snow, 0),  # type: ignore[arg-type]
        water=pad(batch.water, np.nan),  # type: ignore[arg-type]
        addresses=batch.addresses,
    )


def encode_logits(logits: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Logits as they are stored: int16, 0.001 a step, clipped to +-16, -32768 where not valid or not finite.

    Args:
        logits: (H, W) float32.
        valid: (H, W) bool, True where the logit means something.
    """
    good = valid & np.isfinite(logits)
    clipped = np.clip(np.where(good, logits, 0.0), -LOGIT_CLIP, LOGIT_CLIP)
    counts = np.rint(clipped.astype(np.float64) / LOGIT_STEP).astype(np.int16)
    return np.where(good, counts, np.int16(LOGIT_NODATA)).astype(np.int16)


def decode_logits(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    """Stored logits as float32, NaN where not observed."""
    return np.where(stored == LOGIT_NODATA, np.float32(np.nan), stored.astype(np.float32) * np.float32(LOGIT_STEP))


def encode_spread(spread: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Spreads as they are stored: uint16, 0.001 of a logit a step, at most 65.534, 65535 where not valid or not finite.

    Args:
        spread: (H, W) float32, standard deviation of logits, at least 0.
        valid: (H, W) bool, True where the logit means something.
    """
    good = valid & np.isfinite(spread)
    counts = np.rint(np.where(good, spread, 0.0).astype(np.float64) / SPREAD_STEP)
    return np.where(good, np.minimum(counts, SPREAD_NODATA - 1), SPREAD_NODATA).astype(np.uint16)
