"""What the numbers of a chip say of their units, gathered piece by piece, so that a picture of any size is judged as a whole.

Neighbours: `units_check` concludes from it what is to be put right, and does so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M
from cryosentinel_core.units import REFLECTANCE_SCALE

Array = NDArray[np.float32]

RADAR_RANGE_DB: Final = (-60.0, 40.0)
"""Backscatter outside this is no measurement: the noise of Sentinel-1 lies near -30 dB, its brightest corners below 40 dB."""

OPTICAL_RANGE: Final = (-2_000.0, 65_535.0)
"""Reflectance x 10,000 outside this is a fill value: atmospheric correction and offset take off no more than 0.2."""

HEIGHT_RANGE_M: Final = (-500.0, 9_000.0)
"""Heights of dry ground: the Dead Sea's shore to Mount Everest."""

EIGHT_BIT_TOP: Final = 255.0
"""Largest number of 8 bits: no picture of reflectance x 10,000 stays below."""

SAMPLE_PX: Final = 100_000
"""Pixels of a larger picture that its medians are taken of."""

_COLUMNS: Final = 1_024
"""Columns that are looked at together."""

_INT16_TOP: Final = 32_768.0


@dataclass(frozen=True, kw_only=True)
class ChipNumbers:
    """The numbers of a chip, or of a part of it, as its file has them, NaN where the file says nodata.

    Attributes:
        optical: (12, H, W) float32 in the order of `bands.S2_BANDS`.
        radar: (2, H, W) float32, VV and VH.
        elevation: (H, W) float32.
    """

    optical: Array
    radar: Array
    elevation: Array


@dataclass
class Extent:
    """How many numbers there are, and from where to where they run.

    Attributes:
        n: Their count.
        low: The smallest; infinite where there are none.
        high: The largest.
    """

    n: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: NDArray[Any]) -> None:
        """Enter numbers, all finite."""
        if values.size:
            self.n += int(values.size)
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def with_(self, other: Extent) -> Extent:
        """Both together."""
        return Extent(n=self.n + other.n, low=min(self.low, other.low), high=max(self.high, other.high))


@dataclass
class FillEvidence:
    """Numbers of a sensor inside and outside of a range.

    Attributes:
        good: All that are finite.
        outside: Those of them outside the range.
        n_px: Pixels with one outside in any band.
        n_px_partial: Pixels with numbers inside in some bands alone.
        n_px_some: Pixels with a finite number in any band.
        n_nonzero: Numbers inside that are not 0.
    """

    good: Extent = field(default_factory=Extent)
    outside: Extent = field(default_factory=Extent)
    n_px: int = 0
    n_px_partial: int = 0
    n_px_some: int = 0
    n_nonzero: int = 0

    def add(self, array: Array, limits: tuple[float, float]) -> None:
        """Enter the bands (C, H, W) of a piece."""
        good = np.isfinite(array)
        outside = good & ((array < limits[0]) | (array > limits[1]))
        inside = good & ~outside
        self.good.add(array[good])
        self.outside.add(array[outside])
        self.n_px += int(outside.any(axis=0).sum())
        self.n_px_partial += int((inside.any(axis=0) & ~inside.all(axis=0)).sum())
        self.n_px_some += int(good.any(axis=0).sum())
        self.n_nonzero += int(np.count_nonzero(array[inside]))

    @property
    def is_another_unit(self) -> bool:
        """True if most numbers lie outside and differ: fill values are few or all alike."""
        return 2 * self.outside.n > self.good.n and self.outside.high > self.outside.low

    def with_(self, other: FillEvidence) -> FillEvidence:
        """Numbers of both together; counts of pixels cannot be added so, and are not."""
        return FillEvidence(good=self.good.with_(other.good), outside=self.outside.with_(other.outside))


class UnitEvidence:
    """Evidence of one chip, from any number of pieces that make it up.

    Args:
        n_px: Pixels of the whole chip.
    """

    def __init__(self, n_px: int) -> None:
        self.n_px = n_px
        self.n_px_seen = 0
        self.n_px_all_bands = 0
        self.has_fractions = False
        self.optical, self.optical_scaled = FillEvidence(), FillEvidence()
        self.radar, self.radar_bands = FillEvidence(), (FillEvidence(), FillEvidence())
        self.signal_bands = (Extent(), Extent())
        self.n_zero = [0, 0]
        self.n_px_zero = 0
        self.heights = FillEvidence()
        self._step = max(1, -(-n_px // SAMPLE_PX))
        self._samples: dict[str, list[Array]] = {}

    def add(self, numbers: ChipNumbers) -> None:
        """Enter a piece, some columns at a time, since each comparison takes as much memory again."""
        for left in range(0, numbers.elevation.shape[1], _COLUMNS):
            cols = (..., slice(left, left + _COLUMNS))
            self._add_optical(numbers.optical[cols])
            self._add_radar(numbers.radar[cols])
            self._add_heights(numbers.elevation[cols])

    def _add_heights(self, elevation: Array) -> None:
        self.n_px_seen += elevation.size
        self.heights.add(without_published_nodata(elevation)[None], HEIGHT_RANGE_M)
        self._keep("elevation", elevation)

    def sample(self, kind: str) -> Array:
        """Some finite numbers of `optical`, `radar 0`, `radar 1` or `elevation`; of a chip of one window all."""
        kept = self._samples.get(kind, [])
        return np.concatenate(kept) if kept else np.zeros(0, dtype=np.float32)

    def _keep(self, kind: str, array: Array) -> None:
        values = array.ravel()[:: self._step]
        self._samples.setdefault(kind, []).append(values[np.isfinite(values)])

    def _add_optical(self, optical: Array) -> None:
        good = np.isfinite(optical)
        self.n_px_all_bands += int(good.all(axis=0).sum())
        self.optical.add(optical, OPTICAL_RANGE)
        self._keep("optical", optical)
        if self.optical.good.high <= EIGHT_BIT_TOP:  # else they are no reflectances of 0..1, whatever comes
            self.optical_scaled.add(optical * np.float32(REFLECTANCE_SCALE), OPTICAL_RANGE)
            self.has_fractions |= bool((optical[good] % 1 != 0).any())

    def _add_radar(self, radar: Array) -> None:
        zero = radar == 0
        both = zero.all(axis=0)
        self.n_px_zero += int(both.sum())
        filled = np.where(both, np.float32(np.nan), radar)
        self.radar.add(filled, RADAR_RANGE_DB)
        for band in (0, 1):
            self.n_zero[band] += int(zero[band].sum())
            self.radar_bands[band].add(filled[band][None], RADAR_RANGE_DB)
            above = filled[band][np.isfinite(filled[band]) & (filled[band] > RADAR_RANGE_DB[0])]
            self.signal_bands[band].add(above)
            self._keep(f"radar {band}", filled[band])


def without_published_nodata(elevation: Array) -> Array:
    """Heights with NaN for the published nodata: what int16 holds from 32,000 to either side of 0."""
    size = np.abs(elevation)
    return np.where((size >= DEM_LIMIT_M) & (size <= _INT16_TOP), np.float32(np.nan), elevation)
