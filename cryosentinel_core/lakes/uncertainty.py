"""How far an area can be trusted: random and systematic parts apart, because the one adds in quadrature and the other
cancels.

An outline is displaced, here a little outwards, there a little inwards. With `s` the standard deviation of that
displacement, `L` the length along the shore over which it stays the same, and `P` the perimeter, the shore falls into `P /
L` independent pieces of area error `s L` each, so the random part is

    sigma_shore = s sqrt(L P)

A lake's own water and surroundings (turbidity, the brightness of its shores) displace all of its outline alike, by `l` from
lake to lake and year to year, which adds `l P`; together

    sigma_random = sqrt(s^2 L P + l^2 P^2)

and a displacement `d` common to all shores of a run (threshold, labels, mixed pixels) is the systematic part

    sigma_systematic = d P

`s` grows with the width of the transition from water to land in the logits, measured on each outline: a sharp shore is known
better than one that fades over several pixels. Between two years random parts add in quadrature; the systematic part cancels
but for what differs, the perimeters and the share that differs from year to year; a shift between the years' images
displaces shores once more. For outlines that others drew, half a pixel along the perimeter is customary and is taken as the
total error of a year.

Sources: Hanshaw and Bookhagen (2014), The Cryosphere 8, 359-376, equation 1 (error = perimeter / pixel x 0.6872 x pixel^2 /
2, one sigma); Krumwiede et al. (2014), in Global Land Ice Measurements from Space (the Gaussian reading of it); Salerno et
al. (2012), Global and Planetary Change 92-93, 30-39 (linear resolution error times perimeter; co-registration of two dates).
We depart from them by splitting the error into a part that averages out along the shore and one that does not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.units import PIXEL_M

ONE_SIGMA_SHARE: Final = 0.6872
"""Share of shore pixels within one standard deviation in the equation of Hanshaw and Bookhagen (2014), as printed there."""


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
        systematic_displacement_m: Common to all shores of a run.
        no_radar_factor: On both, for a network that had to do without radar.
        unobserved_displacement_m: Of the part of an outline that faces unobserved ground, fully correlated.
        systematic_change_share: Share of the systematic part that differs from year to year.
        registration_m: Shift between two years' images, as a random displacement of the shores.
    """

    displacement_m: float = 0.2
    transition_share: float = 0.05
    max_transition_m: float = 20.0
    correlation_length_m: float = 40.0
    lake_displacement_m: float = 0.25
    reference_observations: float = 4.0
    systematic_displacement_m: float = 0.55
    no_radar_factor: float = 1.3
    unobserved_displacement_m: float = 3.0
    systematic_change_share: float = 0.35
    registration_m: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise ConfigError(f"uncertainty: {field.name} is {value}, wanted a number of at least 0")
        if self.correlation_length_m == 0 or self.reference_observations == 0:
            raise ConfigError("uncertainty: correlation_length_m and reference_observations must be above 0")

    def as_dict(self) -> dict[str, float]:
        """Plain data for a settings digest."""
        return asdict(self)


DEFAULT_MODEL: Final = UncertaintyModel()
"""The constants of the water index, set by maximum likelihood on simulated scenes."""

NETWORK_MODEL: Final = UncertaintyModel(lake_displacement_m=1.42, systematic_displacement_m=3.13)
"""For networks, whose outlines nobody has calibrated on areas yet: together half a pixel of 10 m along the perimeter, one sigma
(Hanshaw and Bookhagen 2014: 5 m x 0.6872), of which as much persists from year to year as of the water index's error."""


def model_of_segmenter(is_network: bool) -> UncertaintyModel:
    """The constants for a network's outlines, or for the water index's."""
    return NETWORK_MODEL if is_network else DEFAULT_MODEL


def area_sigmas(
    perimeter_m: ArrayLike,
    transition_px: ArrayLike,
    unobserved_share: ArrayLike,
    n_observations: ArrayLike,
    *,
    lacks_radar: bool = False,
    model: UncertaintyModel = DEFAULT_MODEL,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random and systematic standard deviations of areas, both (N,) in m2.

    Args:
        perimeter_m: (N,) geodesic perimeters.
        transition_px: (N,) pixels over which the logit changes by 1 across the shore; NaN = unknown, taken as the widest.
        unobserved_share: (N,) share of the outline that faces unobserved ground, 0..1.
        n_observations: (N,) clear dates; 0 or NaN = unknown, taken as one.
        lacks_radar: True for a network that was trained with radar and had none.
        model: The constants.
    """
    perimeter = np.asarray(perimeter_m, dtype=np.float64)
    width_m = np.nan_to_num(np.asarray(transition_px, dtype=np.float64), nan=np.inf) * PIXEL_M
    blind = np.asarray(unobserved_share, dtype=np.float64)
    dates = np.maximum(np.nan_to_num(np.asarray(n_observations, dtype=np.float64), nan=1.0), 1.0)
    factor = model.no_radar_factor if lacks_radar else 1.0
    spread = model.displacement_m + model.transition_share * np.minimum(width_m, model.max_transition_m)
    spread = factor * spread * (model.reference_observations / dates) ** 0.25
    shore_part = spread * np.sqrt(model.correlation_length_m * perimeter * (1.0 - blind))
    lake_part = factor * model.lake_displacement_m * perimeter
    blind_part = model.unobserved_displacement_m * perimeter * blind
    random = np.sqrt(shore_part**2 + lake_part**2 + blind_part**2)
    return random, factor * model.systematic_displacement_m * perimeter


def change_sigma(
    random_from_m2: ArrayLike,
    random_to_m2: ArrayLike,
    systematic_from_m2: ArrayLike,
    systematic_to_m2: ArrayLike,
    perimeter_from_m: ArrayLike,
    perimeter_to_m: ArrayLike,
    *,
    model: UncertaintyModel = DEFAULT_MODEL,
) -> NDArray[np.float64]:
    """Standard deviation of the difference of two areas, (N,) in m2.

    Random parts and the registration of the two years add in quadrature. Of the systematic parts remains their difference
    (unlike perimeters) and the share that changes from year to year.

    Args:
        random_from_m2: (N,) random sigma of the first year's areas.
        random_to_m2: (N,) of the second year's.
        systematic_from_m2: (N,) systematic sigma of the first year's areas.
        systematic_to_m2: (N,) of the second year's.
        perimeter_from_m: (N,) perimeters of the first year.
        perimeter_to_m: (N,) of the second.
        model: The constants.
    """
    random_from, random_to = np.asarray(random_from_m2, dtype=float), np.asarray(random_to_m2, dtype=float)
    common_from, common_to = np.asarray(systematic_from_m2, dtype=float), np.asarray(systematic_to_m2, dtype=float)
    perimeter = 0.5 * (np.asarray(perimeter_from_m, dtype=float) + np.asarray(perimeter_to_m, dtype=float))
    registration = model.registration_m**2 * model.correlation_length_m * perimeter
    left = model.systematic_change_share**2 * 0.5 * (common_from**2 + common_to**2) + (common_to - common_from) ** 2
    return np.asarray(np.sqrt(random_from**2 + random_to**2 + registration + left), dtype=np.float64)


def inventory_sigma(perimeter_m: ArrayLike, resolution_m: float) -> NDArray[np.float64]:
    """Standard deviation in m2, (N,), of areas of outlines that others drew: half a pixel along the perimeter, one sigma.

    Source: Hanshaw and Bookhagen (2014), equation 1: (perimeter / G) x G^2 / 2 x 0.6872 with G the resolution.

    Args:
        perimeter_m: (N,) geodesic perimeters.
        resolution_m: Of the imagery that they were drawn at.
    """
    return np.asarray(perimeter_m, dtype=np.float64) * resolution_m / 2.0 * ONE_SIGMA_SHARE
