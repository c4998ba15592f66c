"""Error of a segmenter's outlines: the constants that `lakes.uncertainty` makes sigmas of areas from.

Each segmenter names its own (`Segmenter.error_model`). Neighbours: `segmenter` is the protocol; `lakes.uncertainty` holds the formulas
and their sources.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Final

from cryosentinel_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class UncertaintyModel:
    """The constants of the error model, all in one place to be calibrated on simulated scenes.

    Attributes:
        displacement_m: Standard deviation of a sharp shore's displacement, metres.
        transition_share: More of it per metre of transition width (over which the logit changes by 1), dimensionless.
        max_transition_m: Widths beyond this count as this.
        correlation_length_m: Along the shore, over which the displacement stays the same.
        lake_displacement_m: Standard deviation of a displacement that one lake's whole shore has in common in one year.
        reference_observations: Number of clear dates that the displacement holds for; it falls with the fourth root of more,
            since shores share their mixed pixels, and rises likewise with fewer.
        persistent_displacement_m: Standard deviation of one that one lake's whole shore has in all years: its water, bed and shores
            stay what they are. It cancels in changes.
        systematic_displacement_m: Common to all shores of a run.
        no_radar_factor: On both, for a network that had to do without radar.
        unobserved_displacement_m: Of the part of an outline that faces unobserved ground, fully correlated.
        systematic_change_share: Share of the systematic and persistent parts together that differs from year to year.
        registration_m: Shift between two years' images, as a random displacement of the shores.
    """

    displacement_m: float = 0.2
    transition_share: float = 0.05
    max_transition_m: float = 20.0
    correlation_length_m: float = 40.0
    lake_displacement_m: float = 0.25
    persistent_displacement_m: float = 0.0
    reference_observations: float = 4.0
    systematic_displacement_m: float = 0.55
    no_radar_factor: float = 1.3
    unobserved_displacement_m: float = 3.0
    systematic_change_share: float = 0.35
    registration_m: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"uncertainty: {field.name} is {value}, wanted a number of at least 0")
        if self.correlation_length_m == 0 or self.reference_observations == 0:
            raise ConfigError("uncertainty: correlation_length_m and reference_observations must be above 0")

    def as_dict(self) -> dict[str, float]:
        """Plain data for a settings digest."""
        return asdict(self)


WATER_INDEX_ERRORS: Final = UncertaintyModel(
    lake_displacement_m=0.4, persistent_displacement_m=0.7, systematic_change_share=0.22
)
"""The constants of the water index. On ten simulated areas at `real` (605 areas of lakes, 249 lakes in both years) whole outlines are
off by 0.94 m, one sigma of greatest likelihood, rounded up here to 0.98; a lake's errors in both years correlate by 0.66."""

NETWORK_ERRORS: Final = UncertaintyModel(lake_displacement_m=1.42, systematic_displacement_m=3.13)
"""For networks, whose outlines nobody has calibrated on areas yet: together half a pixel of 10 m along the perimeter, one sigma
(Hanshaw and Bookhagen 2014: 5 m x 0.6872), of which as much persists from year to year as of the water index's error."""
