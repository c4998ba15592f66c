"""Which band of a chip file is which, by what the file says of them.

Neighbours: `stack.bands` names the bands; `io.rasters.chip_files` asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cryosentinel_core.errors import BandError
from cryosentinel_core.stack.bands import S1_NAMES, S2_BANDS, S2_NAMES

CHIP_BAND_NAMES: Final = (*S2_NAMES, *S1_NAMES, "DEM")
"""The bands of a chip in their order."""

_WORDS: Final = {
    **{name: name for name in CHIP_BAND_NAMES},
    **{band.common_name.upper(): band.name for band in S2_BANDS},
    **{f"B{int(name[1:])}": name for name in S2_NAMES if name[1:].isdigit()},
    "B10": "B10",
    "CIRRUS": "B10",
    "ELEVATION": "DEM",
    "HEIGHT": "DEM",
}
"""Word of a band's description, in capitals -> band; B10 is one, though no chip has it."""


def band_of_description(description: str | None) -> str | None:
    """The band that a description names, as `B03 (green)` or `Sigma0_VV`; None if it names none, or two."""
    words = re.findall(r"[A-Z0-9]+", (description or "").upper())
    found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def order_of_bands(descriptions: Sequence[str | None], name: str) -> tuple[int, ...]:
    """Index in the file of each of the first bands of `CHIP_BAND_NAMES`; the file's own order where it says nothing of its bands.

    Args:
        descriptions: Of the file's bands: as many as a chip has, or without the last ones.
        name: Of the file, for the message.

    Raises:
        BandError: If some descriptions name bands that are elsewhere in a chip, and the rest do not say where the others are.
    """
    said = [band_of_description(text) for text in descriptions]
    names = CHIP_BAND_NAMES[: len(said)]
    if sorted(band or "" for band in said) == sorted(names):
        return tuple(said.index(band) for band in names)
    for number, (band, wanted) in enumerate(zip(said, names, strict=True), start=1):
        if band is not None and band != wanted:
            raise BandError(
                f"band {number} of {name} is described as {descriptions[number - 1]!r}, wanted {wanted}",
                f"write the bands in the order {' '.join(names)}, or describe each of them by its name",
            )
    return tuple(range(len(names)))
