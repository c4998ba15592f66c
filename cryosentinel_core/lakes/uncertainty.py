"""Uncertainty of areas: random and systematic parts apart, because the one adds in quadrature and the other
cancels.

An outline is displaced, here a little outwards, there a little inwards. With `s` the standard deviation of that
displacement, `L` the length along the shore over which it stays the same, and `P` the perimeter, the shore falls into `P /
L` independent pieces of area error `s L` each, so the random part is

    sigma_shore = s sqrt(L P)

A lake's own water and surroundings (turbidity, the brightness of its shores) displace all of its outline alike, by `l` from
lake to lake and year to year, which adds `l P`; together

    sigma_random = sqrt(s^2 L P + l^2 P^2)

and a displacement `d` common to all shores of a run (threshold, labels, mixed pixels), and one `p` that a lake keeps in all years (its
bed, the brightness of its banks), make the systematic part

    sigma_systematic = sqrt(d^2 + p^2) P

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

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.units import PIXEL_M

ONE_SIGMA_SHARE: Final = 0.6872
"""Share of shore pixels within one standard deviation in the equation of Hanshaw and Bookhagen (2014), as printed there."""


INVENTORY_ERRORS: Final = replace(WATER_INDEX_ERRORS, registration_m=0.0, systematic_change_share=0.0)
"""Constants for outlines that others drew: half a pixel along the perimeter is the whole error of a year."""


def area_sigmas(
    perimeter_m: ArrayLike,
    transition_px: ArrayLike,
    unobserved_share: ArrayLike,
    n_observations: ArrayLike,
    *,
    lacks_radar: bool = False,
    model: UncertaintyModel = WATER_INDEX_ERRORS,
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
    return random, factor * np.hypot(model.systematic_displacement_m, model.persistent_displacement_m) * perimeter


def change_sigma(
    random_from_m2: ArrayLike,
    random_to_m2: ArrayLike,
    systematic_from_m2: ArrayLike,
    systematic_to_m2: ArrayLike,
    perimeter_from_m: ArrayLike,
    perimeter_to_m: ArrayLike,
    *,
    model: UncertaintyModel = WATER_INDEX_ERRORS,
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


def displacement_of(model: UncertaintyModel, perimeter_m: float = 1000.0) -> float:
    """Displacement of a shore from year to year by an error model, metres, one standard deviation: of a sharp shore of some length."""
    own = model.displacement_m + model.transition_share * PIXEL_M
    along = (own**2 + 0.5 * model.registration_m**2) * model.correlation_length_m / perimeter_m
    lasting = np.hypot(model.systematic_displacement_m, model.persistent_displacement_m)
    common = 0.5 * (model.systematic_change_share * lasting) ** 2
    return float(np.sqrt(along + model.lake_displacement_m**2 + common))


def half_pixel_m(resolution_m: float) -> float:
    """Displacement of a shore drawn on pixels, metres, one standard deviation: half a pixel after Hanshaw and Bookhagen (2014)."""
    return resolution_m / 2.0 * ONE_SIGMA_SHARE


def inventory_sigma(perimeter_m: ArrayLike, resolution_m: float) -> NDArray[np.float64]:
    """Standard deviation in m2, (N,), of areas of outlines that others drew: half a pixel along the perimeter, one sigma.

    Source: Hanshaw and Bookhagen (2014), equation 1: (perimeter / G) x G^2 / 2 x 0.6872 with G the resolution.

    Args:
        perimeter_m: (N,) geodesic perimeters.
        resolution_m: Pixel side of the imagery that they were drawn at.
    """
    return np.asarray(perimeter_m, dtype=np.float64) * half_pixel_m(resolution_m)
