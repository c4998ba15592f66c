"""Whether the numbers of a chip are in the units that a segmenter reads: reflectance x 10,000, backscatter in dB, heights in metres.

What can be put right without doubt is put right with a note; what cannot is refused with what to do; nothing passes in silence.
Neighbours: `chip` makes chips of what comes out; `scenes.radiometry.check_offset` judges the +1000 of newer baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M
from cryosentinel_core.errors import BandError
from cryosentinel_core.scenes.radiometry import to_decibel
from cryosentinel_core.units import REFLECTANCE_SCALE

Array = NDArray[np.float32]

RADAR_RANGE_DB: Final = (-60.0, 40.0)
"""Backscatter outside this is no measurement: the noise of Sentinel-1 lies near -30 dB, its brightest corners below 40 dB."""

OPTICAL_RANGE: Final = (-2_000.0, 65_535.0)
"""Reflectance x 10,000 outside this is a fill value: atmospheric correction and offset take off no more than 0.2."""

HEIGHT_RANGE_M: Final = (-500.0, 9_000.0)
"""Heights of dry ground: the Dead Sea's shore to Mount Everest."""

_INT16_TOP: Final = 32_768.0

_REFLECTANCE_TOP: Final = 3.0
"""Largest number of reflectances as such: glint and snow pass 1, nothing passes this."""

_EIGHT_BIT_TOP: Final = 255.0
_MIN_PIXELS: Final = 1_000
"""Fewer numbers are not judged: a strip at a swath's edge may hold nothing but dark water."""

_DB_MEDIAN: Final = -2.0
"""Median of VV and VH in dB lies below this wherever there is no city over the whole chip; of linear power, above 0."""

_NOISE_POWER: Final = -0.5
"""Linear power from which the noise was taken off may lie a little below 0."""


@dataclass(frozen=True, kw_only=True)
class ChipNote:
    """One thing that was put right, or looks wrong, in a chip's numbers.

    Attributes:
        words: The same for every chip that it is true of.
        n_px: Pixels concerned.
    """

    words: str
    n_px: int


@dataclass(frozen=True, kw_only=True)
class ChipNumbers:
    """The numbers of a chip as its file has them, NaN where the file says nodata.

    Attributes:
        optical: (12, H, W) float32 in the order of `bands.S2_BANDS`.
        radar: (2, H, W) float32, VV and VH.
        elevation: (H, W) float32.
    """

    optical: Array
    radar: Array
    elevation: Array


def settle_units(numbers: ChipNumbers, name: str) -> tuple[ChipNumbers, tuple[ChipNote, ...]]:
    """The numbers in the units wanted, NaN also where a number is out of its range, and what was done.

    Args:
        numbers: As read.
        name: Of the chip, for messages.

    Raises:
        BandError: If a sensor's numbers are in no unit that could be put right.
    """
    optical, about_optical = _settle_optical(numbers.optical, name)
    radar, about_radar = _settle_radar(numbers.radar, name)
    elevation, about_heights = _settle_elevation(numbers.elevation, name)
    settled = ChipNumbers(optical=optical, radar=radar, elevation=elevation)
    return settled, (*about_optical, *about_radar, *about_heights)


def _settle_optical(optical: Array, name: str) -> tuple[Array, list[ChipNote]]:
    """Reflectance x 10,000."""
    notes: list[ChipNote] = []
    good = np.isfinite(optical)
    n_px = int(good.all(axis=0).sum())
    top = float(optical[good].max()) if good.any() else 0.0
    if n_px >= _MIN_PIXELS and 0 < top <= _EIGHT_BIT_TOP:
        if top > _REFLECTANCE_TOP or not (optical[good] % 1 != 0).any():
            raise BandError(
                f"the largest optical number of {name} is {top:g}: 8-bit or per cent? Wanted reflectance x 10,000",
                "write the Sentinel-2 bands as reflectance x 10,000 (or 0..1)",
            )
        words = "optical bands held reflectance of 0..1 and were multiplied by 10,000"
        optical, notes = optical * np.float32(REFLECTANCE_SCALE), [ChipNote(words=words, n_px=n_px)]
    settled, dropped = _drop_fill(optical, OPTICAL_RANGE, "optical", "(reflectance x 10,000)", name)
    seen = np.isfinite(settled)
    n_partial = int((seen.any(axis=0) & ~seen.all(axis=0)).sum())
    if n_partial:
        dropped.append(ChipNote(words="pixels with no data in some optical bands alone are unobserved", n_px=n_partial))
    return settled, notes + dropped


def _settle_radar(radar: Array, name: str) -> tuple[Array, list[ChipNote]]:
    """Backscatter in dB."""
    notes: list[ChipNote] = []
    zero = radar == 0
    filled = zero.all(axis=0)[None] | zero.all(axis=(1, 2))[:, None, None]
    if filled.any():
        words = "radar of exactly 0 was taken as no data"
        notes.append(ChipNote(words=words, n_px=int(filled.any(axis=0).sum())))
        radar = np.where(filled, np.float32(np.nan), radar)
    values = radar[np.isfinite(radar) & (radar > RADAR_RANGE_DB[0])]
    median = float(np.median(values)) if values.size else _DB_MEDIAN
    if values.size >= _MIN_PIXELS and 0 < median <= 1 and values.min() > _NOISE_POWER:
        words = "radar held linear power and was turned into dB (if yours is amplitude, square it first)"
        notes.append(ChipNote(words=words, n_px=int(np.isfinite(radar).any(axis=0).sum())))
        return to_decibel(radar), notes
    settled, dropped = _drop_fill(radar, RADAR_RANGE_DB, "radar", "dB", name)
    if values.size >= _MIN_PIXELS and median > _DB_MEDIAN and np.isfinite(settled).any():
        raise _no_unit("radar", radar, "dB", name)
    return settled, notes + dropped


def _settle_elevation(elevation: Array, name: str) -> tuple[Array, list[ChipNote]]:
    """Heights in metres; the published nodata, what int16 holds from 32,000 to either side of 0, needs no note."""
    size = np.abs(elevation)
    elevation = np.where((size >= DEM_LIMIT_M) & (size <= _INT16_TOP), np.float32(np.nan), elevation)
    settled, notes = _drop_fill(elevation, HEIGHT_RANGE_M, "elevation", "m", name)
    good = np.isfinite(settled)
    if good.any() and not settled[good].any():
        words = "elevation is 0 everywhere, as if it were missing: slopes play no part"
        notes.append(ChipNote(words=words, n_px=int(good.sum())))
    return settled, notes


def _drop_fill(
    array: Array, limits: tuple[float, float], sensor: str, unit: str, name: str
) -> tuple[Array, list[ChipNote]]:
    """NaN for numbers outside some limits, where they are few or all alike, as fill values are.

    Raises:
        BandError: If most numbers lie outside and differ: then they are in another unit.
    """
    low, high = limits
    good = np.isfinite(array)
    outside = good & ((array < low) | (array > high))
    if not outside.any():
        return array, []
    if 2 * outside.sum() > good.sum() and np.ptp(array[outside]) > 0:
        raise _no_unit(sensor, array, unit, name)
    px = outside if outside.ndim == 2 else outside.any(axis=0)
    words = f"{sensor} outside {low:g} to {high:g} {unit} was taken as no data (tag nodata in the file to be sure)"
    return np.where(outside, np.float32(np.nan), array), [ChipNote(words=words, n_px=int(px.sum()))]


def _no_unit(sensor: str, array: Array, unit: str, name: str) -> BandError:
    good = array[np.isfinite(array)]
    seen = f"{sensor} of {name} runs from {good.min():.5g} to {good.max():.5g} (median {np.median(good):.5g})"
    hint = (
        "write VV and VH as 10 log10 of sigma or gamma nought, or NaN where there is no radar"
        if sensor == "radar"
        else "write heights in metres, and tag the file's nodata"
    )
    return BandError(f"{seen}, wanted {unit}", hint)
