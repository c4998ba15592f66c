"""Errors of changes: which source they come from, and the standard deviation of each.

By default each run measures its own noise (`shore_noise`); the constants set on simulated scenes are then the least that a sigma
can be. Neighbours: `lakes.uncertainty` holds the formulas of single areas and of simulated constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.change.lake_history import LakesInYear
from cryosentinel_core.change.shore_noise import ShoreNoise, measure_noise, noise_of_prior
from cryosentinel_core.lakes.uncertainty import area_sigmas, change_sigma, displacement_of, half_pixel_m
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.units import PIXEL_M

_TYPICAL_DATES: Final = WATER_INDEX_ERRORS.reference_observations


def prior_of_model(model: UncertaintyModel) -> float:
    """Displacement of an own year's shores before anything is measured: as calibrated on polygons, else half a pixel."""
    is_calibrated = model not in (WATER_INDEX_ERRORS, NETWORK_ERRORS)
    return displacement_of(model) if is_calibrated else half_pixel_m(PIXEL_M)


class ErrorSource(StrEnum):
    """Where the error of a change comes from."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    FILE = "file"


@dataclass(frozen=True, kw_only=True)
class ChangeErrors:
    """How the errors of changes are found.

    Attributes:
        source: Where they come from.
        model: Constants that the years' own sigmas were made with.
        prior_m: Year -> one outline's displacement before anything is measured, metres, one standard deviation; other years half
            a pixel of 10 m.
        floor: Constants that no sigma of a change falls below while it is measured; None for outlines that others drew.
        stated: Noise that a file states, for all pairs; None without one. With `MEASURED` it is the prior.
    """

    source: ErrorSource = ErrorSource.MEASURED
    model: UncertaintyModel = WATER_INDEX_ERRORS
    prior_m: Mapping[int, float] = field(default_factory=dict)
    floor: UncertaintyModel | None = WATER_INDEX_ERRORS
    stated: ShoreNoise | None = None

    def prior_of(self, *years: int) -> float:
        """Displacement expected of a change between some years, metres of shore."""
        if self.stated is not None:
            return self.stated.shore_m
        return float(np.sqrt(sum(self.prior_m.get(year, half_pixel_m(PIXEL_M)) ** 2 for year in years)))

    def prior_of_years(self, years: Iterable[int]) -> dict[int, float]:
        """Year -> displacement expected of one outline, metres: what all shores of that year may have in common."""
        return {year: self.prior_m.get(year, half_pixel_m(PIXEL_M)) for year in years}

    def noise_of(self, first: LakesInYear, second: LakesInYear, is_measurable: NDArray[np.bool_]) -> ShoreNoise | None:
        """The noise of a pair of years; None where the simulated constants alone are asked for.

        Args:
            first: The earlier year.
            second: The later year.
            is_measurable: (L,) True for lakes matched one to one that both years saw, exact copies left out.
        """
        if self.source is ErrorSource.SIMULATED:
            return None
        if self.source is ErrorSource.FILE and self.stated is not None:
            return self.stated
        prior = self.prior_of(first.year, second.year)
        if not is_measurable.any():
            return noise_of_prior(prior)
        change = (second.area_m2 - first.area_m2)[is_measurable]
        return measure_noise(change, 0.5 * (first.perimeter_m + second.perimeter_m)[is_measurable], prior)

    def sigma_of_change(self, first: LakesInYear, second: LakesInYear, noise: ShoreNoise | None) -> NDArray[np.float64]:
        """(L,) standard deviation of the later year's areas minus the earlier one's, m2."""
        if noise is None:
            return _sigma_by_constants(first, second, self.model)
        measured = np.sqrt(noise.area_variance(first.perimeter_m) + noise.area_variance(second.perimeter_m))
        if self.source is ErrorSource.FILE or self.floor is None:
            return measured
        if self.floor == self.model:
            return np.maximum(measured, _sigma_by_constants(first, second, self.floor))
        least = _sigma_by_constants(_as_by(first, self.floor), _as_by(second, self.floor), self.floor)
        return np.maximum(measured, least)

    def own_sigma(self, lakes: LakesInYear, noises: list[ShoreNoise | None]) -> NDArray[np.float64]:
        """(L,) standard deviation of a year's areas by what differs from year to year alone, m2.

        Args:
            lakes: The year.
            noises: Noise of the pairs of years that it is in.
        """
        model = self.model
        constant = (
            lakes.random_m2**2
            + 0.5 * model.registration_m**2 * model.correlation_length_m * lakes.perimeter_m
            + 0.5 * (model.systematic_change_share * lakes.systematic_m2) ** 2
        )
        measured = [noise.area_variance(lakes.perimeter_m) for noise in noises if noise is not None]
        if not measured:
            return np.asarray(np.sqrt(constant))
        variance = np.mean(measured, axis=0)
        keeps_floor = self.source is ErrorSource.MEASURED and self.floor == model
        return np.asarray(np.sqrt(np.maximum(variance, constant) if keeps_floor else variance))

    def as_plain(self) -> dict[str, Any]:
        """Plain data of all that changes a result."""
        return {
            "errors": str(self.source),
            "uncertainty": self.model.as_dict(),
            "prior_m": {str(year): metres for year, metres in self.prior_m.items()},
            "stated": self.stated.as_dict() if self.stated is not None else None,
        }


@dataclass(frozen=True)
class _Sigmas:
    """What the error model's constants say of a year's areas."""

    random_m2: NDArray[np.float64]
    systematic_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]


def _as_by(lakes: LakesInYear, model: UncertaintyModel) -> _Sigmas:
    """Sigmas of a year's areas by other constants, for sharp shores seen on as many dates as these hold for."""
    random, systematic = area_sigmas(lakes.perimeter_m, 1.0, 0.0, _TYPICAL_DATES, model=model)
    return _Sigmas(random, systematic, lakes.perimeter_m)


def _sigma_by_constants(
    first: LakesInYear | _Sigmas, second: LakesInYear | _Sigmas, model: UncertaintyModel
) -> NDArray[np.float64]:
    """(L,) standard deviation of changes by the constants of an error model."""
    return change_sigma(
        first.random_m2,
        second.random_m2,
        first.systematic_m2,
        second.systematic_m2,
        first.perimeter_m,
        second.perimeter_m,
        model=model,
    )
