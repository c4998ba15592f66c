"""Rasters that are stored beside the logits: probabilities to look at, and the class of each pixel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.lakes.components import level_of_threshold
from cryosentinel_core.segment.windows import decode_logits
from cryosentinel_core.stack.stack import Condition
from cryosentinel_core.units import LOGIT_NODATA, PROBABILITY_NODATA, PROBABILITY_SCALE

WATER_LAND: Final = 0
WATER_LAKE: Final = 1
WATER_SNOW_ICE: Final = 2
WATER_SHADOW: Final = 3
WATER_UNOBSERVED: Final = 255


def encode_probability(stored: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Stored logits as stored probabilities: (H, W) uint8, 0..200 = 0..1, 255 where not observed."""
    logits = decode_logits(stored).astype(np.float64)
    with np.errstate(invalid="ignore"):
        probability = np.rint(PROBABILITY_SCALE / (1.0 + np.exp(-logits)))
    return np.where(np.isnan(probability), PROBABILITY_NODATA, probability).astype(np.uint8)


def classify_water(stored: NDArray[np.int16], condition: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
    """The class of each pixel: unobserved before terrain shadow before snow or ice before lake before land.

    Args:
        stored: (H, W) int16 logits.
        condition: (H, W) values of `Condition`.
        threshold: Probability from which a pixel is water.

    Returns:
        (H, W) uint8: 0 land, 1 lake, 2 snow or ice, 3 terrain shadow, 255 unobserved.
    """
    water = np.where(stored > level_of_threshold(threshold), WATER_LAKE, WATER_LAND).astype(np.uint8)
    water[condition == int(Condition.SNOW_ICE)] = WATER_SNOW_ICE
    water[condition == int(Condition.TERRAIN_SHADOW)] = WATER_SHADOW
    unseen = (condition == int(Condition.CLOUD)) | (condition == int(Condition.NODATA)) | (stored == LOGIT_NODATA)
    water[unseen] = WATER_UNOBSERVED
    return water


def count_observed(water: NDArray[np.uint8]) -> int:
    """Pixels seen free of cloud, snow and shadow, as land or as lake."""
    return int(np.count_nonzero((water == WATER_LAND) | (water == WATER_LAKE)))


def keep_clear(stored: NDArray[np.int16], condition: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Logits of clear ground alone: under snow, ice, terrain shadow or cloud nobody has seen whether there is a lake.

    Args:
        stored: (H, W) int16 logits.
        condition: (H, W) values of `Condition`.

    Returns:
        (H, W) int16, `LOGIT_NODATA` wherever the ground was not clear.
    """
    return np.where(condition == int(Condition.CLEAR), stored, np.int16(LOGIT_NODATA)).astype(np.int16)


def keep_processed(
    cells: NDArray[np.bool_], stored: NDArray[np.int16], heights: NDArray[np.float32], min_elevation_m: float
) -> NDArray[np.bool_]:
    """Pixels that got their full answer: those of the cells, without low ground that no window covered.

    Args:
        cells: (H, W) bool, True within segmented cells.
        stored: (H, W) int16 logits.
        heights: (H, W) metres, NaN = nodata.
        min_elevation_m: Limit below which windows were passed over.
    """
    passed_over: NDArray[np.bool_] = (stored == LOGIT_NODATA) & (heights < min_elevation_m)
    return cells & ~passed_over
