"""Noise of a pair of years, measured on the lakes that are compared: how far shores scatter that should not have moved.

Most lakes hardly change between two years, so the spread of their changes about zero is what two outlines of one lake differ
by, whoever drew them. A change divided by the shore is a displacement, here a little outwards, there a little inwards:

    d = change / perimeter,        var(d) = c^2 + r^2 (1 km / perimeter)

c is what one lake's whole shore has in common, r (of a lake with 1 km of shore) what averages out along it; both are found by
the median of d^2 in classes of size. The median is taken about zero and weighted by perimeter: a centre other than zero may be
a real change of all lakes, so it is told and never taken out. Few lakes say little: on a logarithmic scale the measurement is
shrunk towards a prior, by default half a pixel along both years' perimeters.

What it does not do: where more than a third of the lakes really change, their changes count as noise, and it is too wide.

Sources: Hanshaw and Bookhagen (2014), The Cryosphere 8, 359-376, equation 1 (the prior); Rousseeuw and Croux (1993), J. Am.
Statist. Assoc. 88, 1273-1283 (median absolute deviation and its efficiency).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.stats import norm

PRIOR_LAKES: Final = 10.0
"""Lakes that the prior counts for: with as many of equal size, measurement and prior weigh alike."""

REFERENCE_SHORE_M: Final = 1000.0
"""Perimeter that the part which averages out along the shore is given for."""

_LAKES_IN_CLASS: Final = 25
"""Lakes that a class of size wants, so that its median means something."""

_MAX_CLASSES: Final = 8
_NORMAL_MEDIAN: Final = float(norm.ppf(0.75))
"""Median of the absolute value of a standard normal."""
_NORMAL_QUARTER: Final = float(norm.ppf(0.625))
"""Lower quartile of it."""


@dataclass(frozen=True, kw_only=True)
class ShoreNoise:
    """Noise of a change between two years, as a displacement of shores, one standard deviation.

    Attributes:
        shore_m: Of the measured lakes' typical one (the median metre of shore lies on it); what is reported.
        lake_m: Part that a lake's whole shore has in common.
        along_m: Part that averages out along the shore, for a perimeter of `REFERENCE_SHORE_M`.
        n_lakes: Lakes that it was measured on.
        weight: Share of the measurement, 0..1; the rest is the prior's.
        measured_m: The measurement alone, as `shore_m`; None without lakes.
        prior_m: The prior, as `shore_m`.
        centre_m: Median displacement, outwards; None without lakes. It is in no area, sigma or status.
        centre_sigma_m: Its standard deviation; None without lakes.
        quiet_m: The measurement by the lower quarter of displacements in place of their half; None without lakes. Much less
            than `measured_m` where many lakes really changed.
    """

    shore_m: float
    lake_m: float
    along_m: float
    n_lakes: int = 0
    weight: float = 0.0
    measured_m: float | None = None
    prior_m: float
    centre_m: float | None = None
    centre_sigma_m: float | None = None
    quiet_m: float | None = None

    @property
    def has_common_displacement(self) -> bool:
        """True if the median displacement is over three of its standard deviations."""
        return self.centre_m is not None and abs(self.centre_m) > 3.0 * (self.centre_sigma_m or np.inf)

    @property
    def is_too_wide(self) -> bool:
        """True if displacements scatter as they would where many lakes really changed: the quiet half is over 1.6 times quieter."""
        return self.measured_m is not None and self.measured_m > 1.6 * (self.quiet_m or 0.0)

    def area_variance(self, perimeter_m: ArrayLike) -> NDArray[np.float64]:
        """(N,) m4: variance that one year's outlines of these perimeters bring to a change; both years' add up."""
        shore = np.asarray(perimeter_m, dtype=float)
        return np.asarray(0.5 * (self.lake_m**2 * shore**2 + self.along_m**2 * REFERENCE_SHORE_M * shore))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the record."""
        return asdict(self)


def noise_of_prior(prior_m: float) -> ShoreNoise:
    """The noise of a pair of years that nothing was measured of."""
    return ShoreNoise(shore_m=prior_m, lake_m=prior_m, along_m=0.0, prior_m=prior_m)


def measure_noise(change_m2: ArrayLike, perimeter_m: ArrayLike, prior_m: float) -> ShoreNoise:
    """The noise of a pair of years.

    Args:
        change_m2: (N,) changes of lakes matched one to one that both years saw, exact copies left out.
        perimeter_m: (N,) mean perimeter of both years' outlines, above 0.
        prior_m: Noise expected without a measurement, metres of shore of a change.
    """
    shore = np.asarray(perimeter_m, dtype=float)
    moved = np.asarray(change_m2, dtype=float) / shore
    if not moved.size:
        return noise_of_prior(prior_m)
    n_effective = float(shore.sum() ** 2 / (shore**2).sum())
    weight = n_effective / (n_effective + PRIOR_LAKES)
    lake, along = _parts_of_noise(moved, shore)
    typical = weighted_median(shore, shore)
    measured = float(np.sqrt(lake**2 + along**2 * REFERENCE_SHORE_M / typical))
    # Copies to the last centimetre scatter by nothing; a thousandth of the prior keeps the logarithm finite.
    shrunk = float(np.exp(weight * np.log(max(measured, 1e-3 * prior_m)) + (1.0 - weight) * np.log(prior_m)))
    factor = shrunk / measured if measured > 0 else 0.0
    centre = weighted_median(moved, shore)
    return ShoreNoise(
        shore_m=shrunk,
        lake_m=factor * lake if measured > 0 else shrunk,
        along_m=factor * along,
        n_lakes=int(moved.size),
        weight=weight,
        measured_m=measured,
        prior_m=prior_m,
        centre_m=centre,
        centre_sigma_m=float(np.sqrt(np.pi / 2.0 / n_effective))
        * weighted_median(np.abs(moved - centre), shore)
        / _NORMAL_MEDIAN,
        quiet_m=measured * _quietness(moved, shore),
    )


def _parts_of_noise(moved: NDArray[np.float64], shore: NDArray[np.float64]) -> tuple[float, float]:
    """What a whole shore has in common, and what averages out along 1 km of it, metres; the latter 0 with too few lakes."""
    order = np.argsort(shore, kind="stable")
    classes = np.array_split(order, int(np.clip(shore.size // _LAKES_IN_CLASS, 1, _MAX_CLASSES)))
    scale = np.array([weighted_median(np.abs(moved[one]), shore[one]) / _NORMAL_MEDIAN for one in classes])
    if len(classes) == 1 or not scale.all():
        return weighted_median(np.abs(moved), shore) / _NORMAL_MEDIAN, 0.0
    middle = np.array([weighted_median(shore[one], shore[one]) for one in classes])
    # Relative residuals: a class of small lakes with their large displacements must not decide alone.
    terms = np.stack([np.ones(len(classes)), REFERENCE_SHORE_M / middle], axis=1) / scale[:, None] ** 2
    parts, _ = nnls(terms, np.ones(len(classes)))
    return float(np.sqrt(parts[0])), float(np.sqrt(parts[1]))


def _quietness(moved: NDArray[np.float64], shore: NDArray[np.float64]) -> float:
    """Scale by the lower quarter of displacements over that by their half: 1 for normal ones, less where many lakes changed."""
    half = weighted_median(np.abs(moved), shore) / _NORMAL_MEDIAN
    return weighted_quantile(np.abs(moved), shore, 0.25) / _NORMAL_QUARTER / half if half > 0 else 1.0


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The value that half of the weight lies below, halfway between two neighbours where the half falls between them."""
    return weighted_quantile(values, weights, 0.5)


def weighted_quantile(values: NDArray[np.float64], weights: NDArray[np.float64], level: float) -> float:
    """The value that a share of the weight lies below, halfway between two neighbours where it falls between them."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    half = level * share[-1]
    first = int(np.searchsorted(share, half * (1.0 - 1e-12)))
    last = int(np.searchsorted(share, half * (1.0 + 1e-12), side="right"))
    return float(0.5 * (values[order[first]] + values[order[min(last, values.size - 1)]]))
