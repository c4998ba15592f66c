"""The chip that is mapped: one window as a segmenter takes it, with its name, place and label, from whatever file it came.

Neighbours: `chip_scene` is what is larger; `units_check` settles the numbers' units; `place` says where it lies;
`io.rasters.chip_files` and `io.shards` read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.place import Place, place_of_centre
from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M, ShardChip, find_observed
from cryosentinel_core.chips.unit_evidence import ChipNumbers
from cryosentinel_core.chips.units_check import ChipNote, settle_units
from cryosentinel_core.errors import CryosentinelError
from cryosentinel_core.segment.segmenter import ChipBatch

UNKNOWN_YEAR: Final = 0
"""Year of a chip whose source does not say."""

OnError = Callable[[str, CryosentinelError], None]
"""Hears which chip or file could not be read, and why."""


@dataclass(frozen=True, kw_only=True)
class ChipName:
    """What a source calls a chip.

    Attributes:
        chip_id: File name without its ending, or the row's id; neither safe for file names nor always unique.
        folders: Folders below the source that it lies in, from the top; none of a shard's.
        source: Where in the source it lies, as `north/a.tif` or `pamir/2022#c0`.
    """

    chip_id: str
    folders: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip as read.

    Attributes:
        name: As its source has it.
        year: Of the imagery, or `UNKNOWN_YEAR`.
        batch: One chip.
        place: None where its source does not say.
        label: (H, W) bool, True where the label says lake; None where there is no label.
        measured: (H, W) bool, True where no sensor is nodata: the pixels that count in metrics.
        notes: What was put right in its numbers.
        has_heights: False if its source has no elevation.
    """

    name: ChipName
    year: int
    batch: ChipBatch
    place: Place | None
    label: NDArray[np.bool_] | None
    measured: NDArray[np.bool_]
    notes: tuple[ChipNote, ...] = ()
    has_heights: bool = True

    def with_note(self, note: ChipNote) -> Chip:
        """The same chip with one note more."""
        return replace(self, notes=(*self.notes, note))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.batch.valid.shape[1:]
        return int(height), int(width)

    @property
    def is_observed(self) -> bool:
        """True if a pixel of it has good optical and terrain data."""
        return bool(self.batch.valid.any())

    @property
    def digest(self) -> str:
        """SHA-256 of all that results depend on: pixels, label, place, year and what was put right."""
        place = None if self.place is None else [self.place.crs, *self.place.transform[:6]]
        parts: list[tuple[str, NDArray[Any] | None]] = [
            ("s2", self.batch.s2), ("s1", self.batch.s1), ("dem", self.batch.dem), ("valid", self.batch.valid),
            ("measured", self.measured), ("label", self.label),
        ]  # fmt: skip
        have = {name: None if array is None else list(array.shape) for name, array in parts}
        notes = [[note.words, note.n_px] for note in self.notes]
        found = hashlib.sha256(json.dumps([self.year, place, have, notes], sort_keys=True).encode())
        for _, array in parts:
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def chip_of_numbers(
    name: ChipName,
    numbers: ChipNumbers,
    place: Place | None,
    *,
    year: int = UNKNOWN_YEAR,
    label: NDArray[np.bool_] | None = None,
) -> Chip:
    """The chip of stored numbers: units settled, nodata of radar and terrain NaN, and all radar absent no radar.

    Args:
        name: As its source has it.
        numbers: As read, NaN where the source says nodata.
        place: None where its source does not say.
        year: Of the imagery.
        label: (H, W) bool, True where the label says lake.

    Raises:
        BandError: If the numbers are in no unit that could be put right.
    """
    settled, notes = settle_units(numbers, name.source or name.chip_id)
    optical = stored_optical(settled.optical)
    elevation, radar = settled.elevation, settled.radar
    observed = find_observed(optical, elevation)
    has_radar = np.isfinite(radar)
    none = np.zeros((1, *elevation.shape), dtype=np.float32)
    batch = ChipBatch(
        s2=optical[None],
        s1=np.where(has_radar, radar, np.float32(np.nan))[None] if has_radar.any() else None,
        dem=np.where(np.abs(elevation) < DEM_LIMIT_M, elevation, np.float32(np.nan)).astype(np.float32)[None, None],
        valid=observed[None],
        shadow=none,
        snow=none,
        water=np.full_like(none, np.nan),
        addresses=np.zeros((1, 2), dtype=np.int64),
    )
    measured = np.asarray(observed & has_radar.all(axis=0), dtype=bool)
    return Chip(name=name, year=year, batch=batch, place=place, label=label, measured=measured, notes=notes)


def chip_of_row(row: ShardChip) -> Chip:
    """The chip of a shard's row, placed by its centre; without a centre, or with one outside UTM, it has no place.

    Raises:
        BandError: If its numbers are in no unit that could be put right.
    """
    numbers = ChipNumbers(optical=row.s2.astype(np.float32), radar=row.s1, elevation=row.dem[0].astype(np.float32))
    name = ChipName(chip_id=row.chip_id, source=f"{row.region}/{row.year}#{row.chip_id}")
    return chip_of_numbers(name, numbers, place_of_centre(row.lat, row.lon), year=row.year, label=row.mask > 0)


def stored_optical(reflectance: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(12, H, W) uint16 of settled reflectance, 0 in all bands where any band has no number: one band missing is no darkness."""
    seen = np.isfinite(reflectance).all(axis=0)
    whole = np.rint(np.clip(np.where(seen, reflectance, 0.0), 0, np.iinfo(np.uint16).max))
    return np.asarray(whole, dtype=np.uint16)
