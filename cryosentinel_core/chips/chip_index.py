"""What a data set says of its chips without their pixels: a row each, in the order in which they are read.

Neighbours: `io.shards` reads it; `split` gives each row its split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.split import TRAIN, UNKNOWN, BlockSplit


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipIndex:
    """Rows of a data set; all arrays have one entry a chip.

    Attributes:
        region: (N,) text, the upper folder.
        year: (N,) int64, of the imagery.
        shard: (N,) text, file name of the shard.
        row: (N,) int64, from 0 in its shard.
        chip_id: (N,) text; neither a safe file name nor always unique.
        stored_split: (N,) text, the column `split`: `train`, `val`, `test` or `UNKNOWN`.
        lat: (N,) float64, centre, degrees north; NaN where the shard does not say.
        lon: (N,) float64, centre, degrees east; NaN likewise.
        water_frac: (N,) float64, share of the mask that is water; NaN likewise.
    """

    region: NDArray[np.str_]
    year: NDArray[np.int64]
    shard: NDArray[np.str_]
    row: NDArray[np.int64]
    chip_id: NDArray[np.str_]
    stored_split: NDArray[np.str_]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    water_frac: NDArray[np.float64]

    def __len__(self) -> int:
        """Chips."""
        return len(self.chip_id)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> ChipIndex:
        """Some of the rows: a mask, or positions in the wanted order."""
        return ChipIndex(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def first(self, n_chips: int | None) -> ChipIndex:
        """The first rows; all of them for None."""
        return self if n_chips is None else self.take(np.arange(min(n_chips, len(self))))

    @property
    def n_unplaced(self) -> int:
        """Chips whose centre is not known or lies outside UTM."""
        return int((~self.has_centre).sum())

    @property
    def has_centre(self) -> NDArray[np.bool_]:
        """(N,) True where the centre is known and lies within UTM."""
        known = np.isfinite(self.lat) & np.isfinite(self.lon)
        with np.errstate(invalid="ignore"):
            return np.asarray(known & (self.lat >= -80.0) & (self.lat <= 84.0), dtype=bool)


def join_indices(parts: Sequence[ChipIndex]) -> ChipIndex:
    """The rows of several indices, one after the other; none for no part."""
    if not parts:
        return empty_index()
    return ChipIndex(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(ChipIndex)}
    )


def empty_index() -> ChipIndex:
    """An index without a row."""
    texts = np.empty(0, dtype="<U1")
    whole, real = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    return ChipIndex(
        region=texts, year=whole, shard=texts, row=whole, chip_id=texts, stored_split=texts, lat=real, lon=real,
        water_frac=real,
    )  # fmt: skip


def assign_splits(index: ChipIndex, blocks: BlockSplit | None, *, unknown_trains: bool = True) -> NDArray[np.str_]:
    """The split of every chip: by its block where its centre is known, else by the column.

    Args:
        index: Of the data set.
        blocks: The block split; None takes the column for all.
        unknown_trains: What the column calls `UNKNOWN` trains, as published; else it keeps that word and is not used.

    Returns:
        (N,) `train`, `val`, `test`, `BUFFER` (dropped) or `UNKNOWN`.
    """
    found = np.asarray(index.stored_split, dtype="<U7").copy()
    if unknown_trains:
        found[found == UNKNOWN] = TRAIN
    if blocks is not None:
        placed = index.has_centre
        found[placed] = blocks.assign(index.lat[placed], index.lon[placed])
    return found


def find_duplicates(index: ChipIndex) -> NDArray[np.int64]:
    """Positions of chips that were there before: same region, year and id, and same centre where both say one."""
    seen: set[tuple[str, int, str, str, str]] = set()
    again = []
    for position in range(len(index)):
        key = (
            str(index.region[position]),
            int(index.year[position]),
            str(index.chip_id[position]),
            repr(float(index.lat[position])),
            repr(float(index.lon[position])),
        )
        if key in seen:
            again.append(position)
        seen.add(key)
    return np.array(again, dtype=np.int64)
