"""A chip of a data set: what a row of a shard is once it has been checked, and which of its pixels are good.

Neighbours: `shards` reads and writes the files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import InputError
from cryosentinel_core.stack.bands import S1_NAMES, S2_BANDS
from cryosentinel_core.units import CELL_PX

SPLITS: Final = ("train", "val", "test", "UNKNOWN")
"""Values of the column `split`."""

DEM_LIMIT_M: Final = 32_000
"""Elevation at or beyond plus or minus this is nodata."""

S2_OLD_NODATA: Final = 16_000
"""Older data hold nodata as this (after clipping) in all optical bands."""

CHIP_ID_LIMIT: Final = 500
"""Characters of a chip's id."""


@dataclass(frozen=True)
class ChipPart:
    """One array of a chip: its name, element type as stored, and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Length of the buffer."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def words(self) -> str:
        """For messages, as `uint8 of [224, 224]`."""
        return f"{np.dtype(self.dtype).name} of {list(self.shape)}"


CHIP_PARTS: Final = (
    ChipPart("s2", "<u2", (len(S2_BANDS), CELL_PX, CELL_PX)),
    ChipPart("s1", "<f4", (len(S1_NAMES), CELL_PX, CELL_PX)),
    ChipPart("dem", "<i2", (1, CELL_PX, CELL_PX)),
    ChipPart("mask", "|u1", (CELL_PX, CELL_PX)),
)


def find_observed(s2: NDArray[np.uint16], elevation: NDArray[Any]) -> NDArray[np.bool_]:
    """Where optical and terrain data of a chip are good.

    Args:
        s2: (12, H, W) uint16; nodata is 0 in all bands or, in older data, 16,000 and more (the clip) in all bands.
        elevation: (H, W), metres; nodata is NaN, or 32,000 and more to either side of 0.

    Returns:
        (H, W) bool, True where data are good.
    """
    seen = (s2 != 0).any(axis=0) & (s2 < S2_OLD_NODATA).any(axis=0)
    height = elevation.astype(np.float32)
    return np.asarray(seen & (np.abs(height) < DEM_LIMIT_M), dtype=bool)


@dataclass(frozen=True, kw_only=True)
class ShardChip:
    """One chip of a data set: 224 x 224 px of 10 m; axis order (C, H, W), row 0 north, column 0 west.

    Attributes:
        chip_id: Of the row; not a safe file name, and not always unique.
        split: `train`, `val`, `test` or `UNKNOWN`.
        region: Folder that it lies in.
        year: Of the imagery.
        lat: Chip centre, degrees north; None where the shard is too old to say.
        lon: Chip centre, degrees east; None likewise.
        water_frac: Share of the mask that is water, 0..1; None likewise.
        n_clear: Median number of clear dates of its pixels; None where the shard does not say, as published ones do not.
        s2: (12, 224, 224) uint16, reflectance x 10,000 in the order of `bands.S2_BANDS`; 0 in all = nodata.
        s1: (2, 224, 224) float32, VV and VH in dB; not finite = nodata.
        dem: (1, 224, 224) int16, metres; 32,000 and more to either side of 0 = nodata.
        mask: (224, 224) uint8, the label: 1 lake, 0 none.
    """

    chip_id: str
    split: str
    region: str
    year: int
    lat: float | None = None
    lon: float | None = None
    water_frac: float | None = None
    n_clear: float | None = None
    s2: NDArray[np.uint16]
    s1: NDArray[np.float32]
    dem: NDArray[np.int16]
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InputError(f"chip {self.chip_id!r}: {problem}")

    def _problem(self) -> str:
        """What is wrong, in words; empty if nothing is."""
        if not 0 < len(self.chip_id) <= CHIP_ID_LIMIT:
            return f"chip_id has {len(self.chip_id)} characters, wanted 1 to {CHIP_ID_LIMIT}"
        if self.split not in SPLITS:
            return f"split is {self.split!r}, wanted one of {', '.join(SPLITS)}"
        for name, value, low, high in (
            ("lat", self.lat, -90.0, 90.0),
            ("lon", self.lon, -180.0, 180.0),
            ("water_frac", self.water_frac, 0.0, 1.0),
            ("n_clear", self.n_clear, 0.0, 255.0),
        ):
            if value is not None and not low - 1e-6 <= value <= high + 1e-6:
                return f"{name} is {value:g}, wanted {low:g} to {high:g}"
        for part in CHIP_PARTS:
            array = getattr(self, part.name)
            if array.shape != part.shape or array.dtype != np.dtype(part.dtype):
                return f"{part.name} is {array.dtype} of {list(array.shape)}, wanted {part.words}"
        if self.mask.max() > 1:
            return f"mask holds {int(self.mask.max())}, wanted 0 and 1 alone"
        return ""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(224, 224) bool, True where none of the three sensors is nodata; others take part in no loss and no metric."""
        return np.asarray(find_observed(self.s2, self.dem[0]) & np.isfinite(self.s1).all(axis=0), dtype=bool)
