"""What a person decided of single chips: whose label is wrong, and what to do about it.

`audit` writes the table with empty verdicts; a person fills them in; `evaluate --exclude` leaves those out that are called wrong, and
building chips leaves them out or burns them anew. Neighbours: `io.tables.chip_corrections` reads and writes the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryosentinel_core.errors import InputError

CORRECTION_COLUMNS: Final = ("chip_id", "region", "year", "verdict", "note")
"""Columns that such a table may hold; `chip_id` it must."""

WRONG, RIGHT, UNDECIDED = "wrong", "right", ""
VERDICTS: Final = (WRONG, RIGHT, UNDECIDED)
"""What may stand in `verdict`: the label is wrong, it is right, or nobody has looked."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A verdict on one chip's label.

    Attributes:
        chip_id: As its shard names it.
        region: Of the chip; empty for any.
        year: Of the chip; None for any.
        verdict: `wrong`, `right` or empty.
        note: A person's words.
    """

    chip_id: str
    region: str = ""
    year: int | None = None
    verdict: str = WRONG
    note: str = ""

    def __post_init__(self) -> None:
        if not self.chip_id:
            raise InputError("a correction without a chip_id", "each row names its chip")
        if self.verdict not in VERDICTS:
            raise InputError(
                f"chip {self.chip_id!r}: the verdict is {self.verdict!r}", "write wrong, right, or nothing at all"
            )


class WrongLabels:
    """The chips of a table whose label is wrong.

    Args:
        corrections: Rows of the table; only those with the verdict `wrong` count.
    """

    def __init__(self, corrections: Iterable[Correction]) -> None:
        self._wrong = [one for one in corrections if one.verdict == WRONG]
        self._by_id: dict[str, list[Correction]] = {}
        for one in self._wrong:
            self._by_id.setdefault(one.chip_id, []).append(one)
        self._met: set[Correction] = set()

    def __len__(self) -> int:
        """Rows that say wrong."""
        return len(self._wrong)

    def has(self, chip_id: str, region: str, year: int) -> bool:
        """Whether this chip's label is wrong; the answer is remembered for `unmet`."""
        for one in self._by_id.get(chip_id, ()):
            if one.region in ("", region) and one.year in (None, year):
                self._met.add(one)
                return True
        return False

    @property
    def unmet(self) -> list[str]:
        """Ids of rows that no chip was asked about for."""
        return sorted(one.chip_id for one in self._wrong if one not in self._met)
