"""Whether the numbers of a chip are in the units that a segmenter reads: reflectance x 10,000, backscatter in dB, heights in metres.

What can be put right without doubt is put right with a note; what cannot is refused with what to do; nothing passes in silence.
Neighbours: `unit_evidence` gathers what the numbers say; `chip` and `chip_scene` use what comes out; `scenes.radiometry.check_offset`
judges the +1000 of newer baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cryosentinel_core.chips.unit_evidence import (
    EIGHT_BIT_TOP,
    HEIGHT_RANGE_M,
    OPTICAL_RANGE,
    RADAR_RANGE_DB,
    Array,
    ChipNumbers,
    Extent,
    FillEvidence,
    UnitEvidence,
    without_published_nodata,
)
from cryosentinel_core.errors import BandError
from cryosentinel_core.scenes.radiometry import to_decibel
from cryosentinel_core.units import REFLECTANCE_SCALE

_REFLECTANCE_TOP: Final = 3.0
"""Largest number of reflectances as such: glint and snow pass 1, nothing passes this."""

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
class Settlement:
    """How the numbers of a chip are brought into the units wanted; the same for every part of it.

    Attributes:
        is_fraction: True if optical numbers are 0..1.
        blank_radar: For VV and VH, True if the band holds nothing but 0.
        is_power: True if radar is linear power.
        has_radar: True if any number of radar is left.
        notes: What is put right, or looks wrong.
    """

    is_fraction: bool
    blank_radar: tuple[bool, bool]
    is_power: bool
    has_radar: bool
    notes: tuple[ChipNote, ...]

    def apply(self, numbers: ChipNumbers) -> ChipNumbers:
        """The numbers of a part in the units wanted, NaN also where one is out of its range."""
        optical = numbers.optical * np.float32(REFLECTANCE_SCALE) if self.is_fraction else numbers.optical
        return ChipNumbers(
            optical=_inside(optical, OPTICAL_RANGE),
            radar=self._settle_radar(numbers.radar),
            elevation=self.settle_heights(numbers.elevation),
        )

    def settle_heights(self, elevation: Array) -> Array:
        """The heights of a part in metres, NaN where there are none."""
        return _inside(without_published_nodata(elevation), HEIGHT_RANGE_M)

    def _settle_radar(self, radar: Array) -> Array:
        filled = (radar == 0).all(axis=0)[None] | np.array(self.blank_radar)[:, None, None]
        radar = np.where(filled, np.float32(np.nan), radar)
        return to_decibel(radar) if self.is_power else _inside(radar, RADAR_RANGE_DB)


def settle_units(numbers: ChipNumbers, name: str) -> tuple[ChipNumbers, tuple[ChipNote, ...]]:
    """The numbers of a whole chip in the units wanted, NaN also where a number is out of its range, and what was done.

    Args:
        numbers: As read.
        name: Of the chip, for messages.

    Raises:
        BandError: If a sensor's numbers are in no unit that could be put right.
    """
    evidence = UnitEvidence(numbers.elevation.size)
    evidence.add(numbers)
    settlement = conclude_units(evidence, name)
    return settlement.apply(numbers), settlement.notes


def conclude_units(evidence: UnitEvidence, name: str) -> Settlement:
    """How a chip's numbers are brought into the units wanted.

    Args:
        evidence: Of all of its pieces.
        name: Of the chip, for messages.

    Raises:
        BandError: If a sensor's numbers are in no unit that could be put right.
    """
    is_fraction, about_optical = _conclude_optical(evidence, name)
    blank = tuple(n == evidence.n_px_seen for n in evidence.n_zero)
    is_power, has_radar, about_radar = _conclude_radar(evidence, (blank[0], blank[1]), name)
    return Settlement(
        is_fraction=is_fraction,
        blank_radar=(blank[0], blank[1]),
        is_power=is_power,
        has_radar=has_radar,
        notes=(*about_optical, *about_radar, *_conclude_heights(evidence, name)),
    )


def _conclude_optical(evidence: UnitEvidence, name: str) -> tuple[bool, list[ChipNote]]:
    """Whether reflectance is 0..1, and notes."""
    notes: list[ChipNote] = []
    found, n_px = evidence.optical, evidence.n_px_all_bands
    top = found.good.high if found.good.n else 0.0
    is_fraction = n_px >= _MIN_PIXELS and 0 < top <= EIGHT_BIT_TOP
    if is_fraction:
        if top > _REFLECTANCE_TOP or not evidence.has_fractions:
            raise BandError(
                f"the largest optical number of {name} is {top:g}: 8-bit or per cent? Wanted reflectance x 10,000",
                "write the Sentinel-2 bands as reflectance x 10,000 (or 0..1)",
            )
        words = "optical bands held reflectance of 0..1 and were multiplied by 10,000"
        found, notes = evidence.optical_scaled, [ChipNote(words=words, n_px=n_px)]
    if found.is_another_unit:
        raise _no_unit("optical", found.good, evidence.sample("optical"), "(reflectance x 10,000)", name)
    notes += _note_of_fill(found, OPTICAL_RANGE, "optical", "(reflectance x 10,000)")
    if found.n_px_partial:
        words = "pixels with no data in some optical bands alone are unobserved"
        notes.append(ChipNote(words=words, n_px=found.n_px_partial))
    return is_fraction, notes


def _conclude_radar(evidence: UnitEvidence, blank: tuple[bool, bool], name: str) -> tuple[bool, bool, list[ChipNote]]:
    """Whether radar is linear power, whether any is there, and notes."""
    notes: list[ChipNote] = []
    n_filled = evidence.n_px_seen if any(blank) else evidence.n_px_zero
    if n_filled:
        notes.append(ChipNote(words="radar of exactly 0 was taken as no data", n_px=n_filled))
    used = [band for band in (0, 1) if not blank[band]]
    found, signal, values = FillEvidence(), Extent(), np.zeros(0, dtype=np.float32)
    for band in used:
        found = found.with_(evidence.radar_bands[band])
        signal = signal.with_(evidence.signal_bands[band])
        values = np.concatenate([values, evidence.sample(f"radar {band}")])
    above = values[values > RADAR_RANGE_DB[0]]
    median = float(np.median(above)) if above.size else _DB_MEDIAN
    if signal.n >= _MIN_PIXELS and 0 < median <= 1 and signal.low > _NOISE_POWER:
        words = "radar held linear power and was turned into dB (if yours is amplitude, square it first)"
        n_px = evidence.radar.n_px_some if len(used) == 2 else evidence.radar_bands[used[0]].n_px_some
        return True, True, [*notes, ChipNote(words=words, n_px=n_px)]
    is_there = found.good.n > found.outside.n
    if found.is_another_unit or (signal.n >= _MIN_PIXELS and median > _DB_MEDIAN and is_there):
        raise _no_unit("radar", found.good, values, "dB", name)
    return False, is_there, notes + _note_of_fill(evidence.radar, RADAR_RANGE_DB, "radar", "dB")


def _conclude_heights(evidence: UnitEvidence, name: str) -> list[ChipNote]:
    """Notes; the published nodata needs none."""
    found = evidence.heights
    if found.is_another_unit:
        raise _no_unit("elevation", found.good, evidence.sample("elevation"), "m", name)
    notes = _note_of_fill(found, HEIGHT_RANGE_M, "elevation", "m")
    n_good = found.good.n - found.outside.n
    if n_good and not found.n_nonzero:
        words = "no elevation, or 0 everywhere: the ground counts as flat"
        notes.append(ChipNote(words=words, n_px=n_good))
    return notes


def _inside(array: Array, limits: tuple[float, float]) -> Array:
    """NaN for numbers outside some limits."""
    return np.where((array < limits[0]) | (array > limits[1]), np.float32(np.nan), array)


def _note_of_fill(found: FillEvidence, limits: tuple[float, float], sensor: str, unit: str) -> list[ChipNote]:
    """The note that numbers outside some limits are taken as fill values; none where there are none."""
    if not found.n_px:
        return []
    words = f"{sensor} outside {limits[0]:g} to {limits[1]:g} {unit} was taken as no data (tag nodata in the file to be sure)"
    return [ChipNote(words=words, n_px=found.n_px)]


def _no_unit(sensor: str, good: Extent, values: Array, unit: str, name: str) -> BandError:
    seen = f"{sensor} of {name} runs from {good.low:.5g} to {good.high:.5g} (median {np.median(values):.5g})"
    hint = (
        "write VV and VH as 10 log10 of sigma or gamma nought, or NaN where there is no radar"
        if sensor == "radar"
        else "write heights in metres, and tag the file's nodata"
    )
    return BandError(f"{seen}, wanted {unit}", hint)
