"""What one chip came to, as its record holds it. Neighbours: `chip_answer` makes it, `io.chip_results` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cryosentinel_core.chips.metrics import Counts
from cryosentinel_core.chips.units_check import ChipNote


@dataclass(frozen=True, kw_only=True)
class ChipResult:
    """What one chip came to.

    Attributes:
        source: Where in its source it lies, as `north/a.tif`.
        n_water_px: Pixels of lake.
        n_observed_px: Pixels with good optical and terrain data.
        n_components: Lakes and candidates in its record.
        is_placed: False if its source does not say where it lies.
        offset_warning: What is suspect about its numbers; empty if nothing is.
        notes: What was put right in its numbers.
        counts: Against its label, over the pixels where no sensor is nodata; None if it has none.
    """

    source: str
    n_water_px: int
    n_observed_px: int
    n_components: int
    is_placed: bool
    offset_warning: str
    notes: tuple[ChipNote, ...]
    counts: Counts | None

    @property
    def water_share(self) -> float | None:
        """Share of the observed pixels that is water; None if none was observed, which is not the same as dry."""
        return self.n_water_px / self.n_observed_px if self.n_observed_px else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for its record."""
        return asdict(self)

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> ChipResult | None:
        """The result in a record; None if it is not whole."""
        try:
            plain = dict(data["result"])
            counts, notes = plain.pop("counts"), plain.pop("notes")
            result = cls(
                **plain,
                notes=tuple(ChipNote(**note) for note in notes),
                counts=None if counts is None else Counts(**counts),
            )
            return result if len(data["lakes"]) == result.n_components else None
        except (KeyError, TypeError, ValueError):
            return None
