"""Which chips are to be mapped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ChipSelection:
    """Chips of a folder of GeoTIFFs, of one GeoTIFF, or of a data set of shards.

    Attributes:
        path: Where they lie.
        regions: Only these, of a data set; empty for all.
        years: Only these, of a data set; empty for all.
        n_chips: At most so many, the first; None for all.
        name: That results go by; empty for the name of the folder or file.
    """

    path: Path
    regions: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    n_chips: int | None = None
    name: str = ""
