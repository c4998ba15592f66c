"""A stack: what was seen of a rectangle of the lattice in one late summer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.ground.lattice import Grid

_CHUNK_ROWS = 32


class Condition(IntEnum):
    """Why a pixel can or cannot be judged; the numbers stand in `class.tif`."""

    CLEAR = 0
    """Seen free of cloud, snow, ice and terrain shadow on at least one date."""
    SNOW_ICE = 1
    """Seen, but under snow or ice."""
    TERRAIN_SHADOW = 2
    """Never seen in the sun: terrain shadow on every usable date."""
    CLOUD = 3
    """Under cloud or cloud shadow on every date."""
    NODATA = 255
    """No acquisition covers it."""


COUNT_NAMES = ("clear", "water", "snow", "shadow", "cloud")
"""Bands of `clear.tif`: dates used; of these with water; and dates under snow or ice, terrain shadow, cloud."""

DATE_NAMES = ("first", "median", "last")
"""Bands of `dates.tif`: days since 1970-01-01 of the dates used; 0 where none."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All bands of one year on one grid.

    Attributes:
        grid: Where it lies.
        s2: (12, H, W) uint16, reflectance x 10,000 without offset, order of `bands.S2_BANDS`; 0 in all bands = nodata,
            never 0 where data are.
        s1: (2, H, W) float32, VV and VH in dB, NaN = nodata; None where the stack holds no radar.
        dem: (H, W) float32, metres above EGM2008, NaN = nodata.
        counts: (5, H, W) uint8, dates by `COUNT_NAMES`.
        condition: (H, W) uint8, values of `Condition`.
        dates: (3, H, W) uint16, days since 1970-01-01 by `DATE_NAMES`.
    """

    grid: Grid
    s2: NDArray[np.uint16]
    s1: NDArray[np.float32] | None
    dem: NDArray[np.float32]
    counts: NDArray[np.uint8]
    condition: NDArray[np.uint8]
    dates: NDArray[np.uint16]

    def __post_init__(self) -> None:
        h, w = self.grid.shape
        wanted = {"s2": (12, h, w), "dem": (h, w), "counts": (5, h, w), "condition": (h, w), "dates": (3, h, w)}
        if self.s1 is not None:
            wanted["s1"] = (2, h, w)
        for name, shape in wanted.items():
            seen = getattr(self, name).shape
            if seen != shape:
                raise GridMismatch(f"stack: {name} has shape {seen}, its grid wants {shape}")

    @cached_property
    def has_optical(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where a band of Sentinel-2 has data."""
        found: NDArray[np.bool_] = (self.s2 != 0).any(axis=0)
        return found

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where optical and terrain data are good (snow, ice and shadow are data)."""
        return np.asarray(self.has_optical & np.isfinite(self.dem), dtype=bool)

    @cached_property
    def date_shares(self) -> NDArray[np.float32]:
        """(3, H, W) float32: shares 0..1 of dates, as `segment.segmenter.ChipBatch` has them: `shadow`, `snow`, `water`."""
        shares = np.zeros((3, *self.grid.shape), dtype=np.float32)
        shares[2] = np.nan
        for top in range(0, self.grid.height, _CHUNK_ROWS):  # what fits a processor's cache takes a quarter of the time
            rows = slice(top, top + _CHUNK_ROWS)
            clear, water, snow, shadow = self.counts[:4, rows].astype(np.float32)
            judged = clear + snow
            usable = judged + shadow
            np.divide(shadow, usable, out=shares[0, rows], where=usable > 0)
            np.divide(snow, judged, out=shares[1, rows], where=judged > 0)
            np.divide(water, clear, out=shares[2, rows], where=clear > 0)
        return shares

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(H, W) bool: True where the ground itself was seen, free of cloud, snow, ice and terrain shadow."""
        observed: NDArray[np.bool_] = self.valid & (self.condition == int(Condition.CLEAR))
        return observed
