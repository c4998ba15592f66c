"""Settings of `change`: how years are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from cryosentinel_core.settings.frozen import Frozen
from cryosentinel_core.units import CONFIDENCE, MIN_AREA_M2, MIN_OBSERVED


class ChangeSettings(Frozen):
    """How years are compared.

    Attributes:
        confidence: Confidence of intervals and of the `significant` flag, 0..1.
        min_observed: Share of a lake's ground that must be seen in a year for its area to count.
        max_day_difference: Days between the dates of two years beyond which a pair is `unobserved` for season.
        min_area_m2: Area that a lake must reach in any year to have a row.
        watch: Vector file of named lakes that always get a row.
        glaciers: Vector file of outlines of glaciers.
        errors: Where the error of a change comes from: `measured` (on the lakes that are compared), `simulated` (constants), or the
            path of a JSON file that states it.
        complete: Years of inventories that draw every lake there was: what they do not draw was not there.
    """

    confidence: float = Field(default=CONFIDENCE, gt=0.5, lt=1)
    min_observed: float = Field(default=MIN_OBSERVED, gt=0, le=1)
    max_day_difference: float = Field(default=30.0, gt=0)
    min_area_m2: float = Field(default=MIN_AREA_M2, gt=0)
    watch: Path | None = None
    glaciers: Path | None = None
    errors: str = "measured"
    complete: tuple[int, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """Plain data of all that changes a result."""
        return self.model_dump(mode="json")
