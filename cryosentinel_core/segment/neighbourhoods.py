"""Means over neighbourhoods of pixels, and what is made of them: smooth backscatter, slope.

Nothing here reaches farther than its radius, and no running sum carries a hole along a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.units import PIXEL_M

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def filled_mean(values: NDArray[np.float64], first: Mask, second: Mask, radius_px: int) -> NDArray[np.float64]:
    """Local mean over the first mask, over the second where the first holds nowhere near."""
    mean = local_mean(values, first, radius_px)
    return np.where(np.isnan(mean), local_mean(values, second, radius_px), mean).astype(np.float64)


def smooth_db(backscatter: Array) -> Array:
    """Mean of 3 x 3 pixels in linear power, back in dB; (H, W), NaN where nothing was seen (then no comparison holds)."""
    with np.errstate(divide="ignore"):
        power = np.power(np.float32(10.0), np.clip(backscatter, -60.0, 40.0) / np.float32(10.0))
        return np.asarray(10.0 * np.log10(local_mean(power, np.isfinite(backscatter), 1)), dtype=np.float32)


def local_mean(values: NDArray[np.floating[Any]], mask: Mask, radius_px: int) -> Array:
    """Mean over the square of 2 radius + 1 pixels of the values where a mask holds; NaN where it holds nowhere.

    Args:
        values: (H, W); not read where the mask is False.
        mask: (H, W) bool, True where a value counts.
        radius_px: Half the side of the square.
    """
    size = 2 * radius_px + 1
    weights = np.ones(size, dtype=np.float64)

    def box_sum(array: NDArray[np.float64]) -> NDArray[np.float64]:
        once = ndimage.correlate1d(array, weights, axis=0, mode="constant")
        return np.asarray(ndimage.correlate1d(once, weights, axis=1, mode="constant"), dtype=np.float64)

    total = box_sum(np.where(mask, values, 0.0).astype(np.float64))
    count = box_sum(mask.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(count > 0.5, total / count, np.nan), dtype=np.float32)


def slope_degrees(dem: Array) -> Array:
    """Slope of the ground over 60 m (Horn 1981 on the smoothed DEM); (H, W) degrees, NaN where the DEM is.

    Args:
        dem: (H, W) metres on 10 m pixels.
    """
    # Means and differences that look at their neighbours alone: a running sum would carry one NaN along a whole row.
    smooth = local_mean(dem, np.isfinite(dem), 1).astype(np.float64)
    dy = ndimage.sobel(smooth, axis=0, mode="nearest") / (8.0 * PIXEL_M)
    dx = ndimage.sobel(smooth, axis=1, mode="nearest") / (8.0 * PIXEL_M)
    return np.asarray(np.degrees(np.arctan(np.hypot(dx, dy))), dtype=np.float32)
