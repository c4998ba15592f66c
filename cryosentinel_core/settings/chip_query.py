"""Which chips of which data set `chips stats`, `split`, `export` and `info` look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ChipQuery:
    """Which chips of which data set are meant.

    Attributes:
        reference: Folder, or `hf://datasets/...`.
        regions: Only these, names or patterns; empty for all.
        years: Only these; empty for all.
        split: `train`, `val`, `test`, or `all` for every chip, also those that the split drops.
        blocks: (setting, value) of the block split where it shall differ from the one that the data set was cut with, or, of a
            data set that does not say, from the published one.
        by_column: Take the column `split` for all chips.
    """

    reference: str
    regions: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    split: str = "all"
    blocks: tuple[tuple[str, Any], ...] = ()
    by_column: bool = False
