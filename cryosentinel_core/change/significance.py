"""Significance of changes: tests, false discovery rate and trends, on plain arrays.

With 500 lakes and 95 % confidence 25 unchanged ones look changed, so beside each lake's own test stands its q-value over the
table. Sources: Benjamini and Hochberg (1995), J. R. Statist. Soc. B 57, 289-300; Theil (1950) and Sen (1968), J. Am. Statist.
Assoc. 63, 1379-1389.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cryosentinel_core.errors import InputError


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


@dataclass(frozen=True)
class Trend:
    """A straight line through a lake's years.

    Attributes:
        slope: Per year, in the unit of the values; NaN with fewer than three values.
        low: Lower end of the slope's interval.
        high: Upper end.
    """

    slope: float
    low: float
    high: float


def estimate_trend(years: ArrayLike, values: ArrayLike, confidence: float) -> Trend:
    """The median slope of all pairs of years (Theil-Sen) with its interval after Sen (1968).

    With three or four years the interval is wider than any pair's slope could show; it then spans all pairs' slopes.

    Args:
        years: (N,) distinct years.
        values: (N,) areas; NaN = not observed, left out.
        confidence: Confidence of the interval, 0..1.
    """
    x, y = np.asarray(years, dtype=float), np.asarray(values, dtype=float)
    there = np.isfinite(y)
    if there.sum() < 3:
        return Trend(np.nan, np.nan, np.nan)
    found = stats.theilslopes(y[there], x[there], alpha=confidence)
    return Trend(float(found.slope), float(found.low_slope), float(found.high_slope))
