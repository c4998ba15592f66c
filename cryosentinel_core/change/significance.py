"""Significance of changes: tests, false discovery rate and trends, on plain arrays.

With 500 lakes and 95 % confidence 25 unchanged ones look changed, so beside each lake's own test stands its q-value within the
family of tests that it belongs to. Sources: Benjamini and Hochberg (1995), J. R. Statist. Soc. B 57, 289-300; Theil (1950) and
Sen (1968), J. Am. Statist. Assoc. 63, 1379-1389; Birge (1932), Phys. Rev. 40, 207-227 (inflation by the reduced chi-square).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cryosentinel_core.errors import InputError

POWER: Final = 0.8
"""Probability with which a change of the minimum detectable size is found."""

MIN_TREND_YEARS: Final = 3
"""Observed years that a trend wants."""

MIN_ROBUST_YEARS: Final = 6
"""Observed years from which the interval of a median slope says anything: of five, even all ten slopes cover too rarely."""


def normal_quantile(confidence: float) -> float:
    """Half-width, in standard deviations, of the central interval of a normal distribution: 1.96 for 0.95.

    Raises:
        InputError: If the confidence is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence {confidence:g}, wanted a value between 0 and 1", "the default is 0.95")
    return float(stats.norm.ppf(0.5 + confidence / 2.0))


def p_values(change: ArrayLike, sigma: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-values, (N,), of no change under normal errors; NaN where either is NaN, 1 where nothing changed.

    Args:
        change: (N,) differences.
        sigma: (N,) their standard deviations, same unit; with 0 every change but 0 is certain.
    """
    delta, spread = np.abs(np.asarray(change, dtype=float)), np.asarray(sigma, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(delta == 0, 0.0, delta / spread)
    unknown = np.isnan(delta) | np.isnan(spread)
    return np.asarray(np.where(unknown, np.nan, 2.0 * stats.norm.sf(z)), dtype=np.float64)


def q_values(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg adjusted p-values, (N,): the lowest false discovery rate at which each would be reported.

    Args:
        p: (N,) p-values; NaN rows were not tested, take no part and stay NaN.
    """
    values = np.asarray(p, dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    adjusted = np.full(values.shape, np.nan)
    order = tested[np.argsort(values[tested], kind="stable")]
    # Not scipy.stats.false_discovery_control: it multiplies by n / rank, and tables that exist would change in the last digit.
    raised = values[order] * order.size / np.arange(1, order.size + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return adjusted


def q_values_of_families(p: ArrayLike, family: ArrayLike) -> NDArray[np.float64]:
    """`q_values`, (N,), each within its own family of tests.

    Args:
        p: (N,) p-values; NaN rows were not tested.
        family: (N,) labels. A family must never be chosen by outcome: rows that are certain would thin out the others' alarms.
    """
    values, labels = np.asarray(p, dtype=float), np.asarray(family)
    adjusted = np.full(values.shape, np.nan)
    for label in np.unique(labels):
        members = labels == label
        adjusted[members] = q_values(values[members])
    return adjusted


def detectable_quantile(confidence: float, power: float = POWER) -> float:
    """Size of a change, in standard deviations, that a two-sided test finds with some power: 2.80 for 0.95 and 0.8."""
    return normal_quantile(confidence) + float(stats.norm.ppf(power))


@dataclass(frozen=True, eq=False)
class Trends:
    """Straight lines through the years of some lakes, (N,) each, per year, in the unit of the values.

    Attributes:
        slope: Weighted least squares; NaN with fewer than three observed years.
        low: Lower end of its interval.
        high: Upper end.
        robust_slope: Median slope of all pairs of years (Theil-Sen); NaN with fewer than three observed years.
        robust_low: Lower end of its interval after Sen (1968); NaN with fewer than six.
        robust_high: Upper end.
    """

    slope: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    robust_slope: NDArray[np.float64]
    robust_low: NDArray[np.float64]
    robust_high: NDArray[np.float64]


def estimate_trends(years: ArrayLike, values: ArrayLike, sigmas: ArrayLike, confidence: float) -> Trends:
    """Trends of some lakes, each over the years in which it was observed.

    Years are weighted by their own errors. Where they scatter about the line by more than these say, the slope's error is
    inflated by the root of the reduced chi-square; it is never made smaller. The interval is Student's with n - 2 degrees of
    freedom, so it is wide with three years: two of them make the line, and one is left to say how good it is.

    Args:
        years: (Y,) distinct years.
        values: (N, Y) areas; NaN = not observed, left out, never 0.
        sigmas: (N, Y) standard deviation of each, of what differs from year to year alone; where a lake has one of 0 or unknown
            its years weigh alike.
        confidence: Confidence of the intervals, 0..1.
    """
    x, y = np.asarray(years, dtype=float), np.atleast_2d(np.asarray(values, dtype=float))
    there = np.asarray(np.isfinite(y), dtype=bool)
    n = there.sum(axis=1)
    slope, sigma = _weighted_slopes(x, y, np.atleast_2d(np.asarray(sigmas, dtype=float)), there)
    enough = n >= MIN_TREND_YEARS
    slope, sigma = np.where(enough, slope, np.nan), np.where(enough, sigma, np.nan)
    half = stats.t.ppf(0.5 + confidence / 2.0, np.maximum(n - 2, 1)) * sigma
    robust = np.full((3, len(y)), np.nan)
    robust[0] = np.where(enough, _median_slopes(x, y), np.nan)
    for row in np.flatnonzero(n >= MIN_ROBUST_YEARS).tolist():
        kept = np.flatnonzero(np.isfinite(y[row]))
        found = stats.theilslopes(y[row, kept], x[kept], alpha=confidence)
        robust[1:, row] = found.low_slope, found.high_slope
    return Trends(slope, slope - half, slope + half, robust[0], robust[1], robust[2])


def _median_slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) median slope of all pairs of observed years; NaN where there is none."""
    first, second = np.triu_indices(x.size, 1)
    slopes = np.sort((y[:, second] - y[:, first]) / (x[second] - x[first]), axis=1)  # NaN last
    n = np.isfinite(slopes).sum(axis=1)
    rows = np.arange(len(y))
    middle = 0.5 * (slopes[rows, np.maximum(n - 1, 0) // 2] + slopes[rows, np.minimum(n // 2, slopes.shape[1] - 1)])
    return np.where(n > 0, middle, np.nan)


def _weighted_slopes(
    x: NDArray[np.float64], y: NDArray[np.float64], sigmas: NDArray[np.float64], there: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) slopes and their standard deviations; meaningless with fewer than three years."""
    known = np.all((np.isfinite(sigmas) & (sigmas > 0)) | ~there, axis=1)
    spread = np.where(np.reshape(known, (-1, 1)), sigmas, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(there, 1.0 / spread**2, 0.0)
        total = weight.sum(axis=1)
        filled = np.where(there, y, 0.0)
        mean_x, mean_y = (weight * x).sum(axis=1) / total, (weight * filled).sum(axis=1) / total
        off_x = x - mean_x[:, None]
        sxx = (weight * off_x**2).sum(axis=1)
        slope = (weight * off_x * (filled - mean_y[:, None])).sum(axis=1) / sxx
        residual = np.where(there, filled - mean_y[:, None] - slope[:, None] * off_x, 0.0)
        chi2 = (weight * residual**2).sum(axis=1) / np.maximum(there.sum(axis=1) - 2, 1)
    inflation = np.where(known, np.maximum(chi2, 1.0), chi2)
    return slope, np.sqrt(inflation / sxx)
