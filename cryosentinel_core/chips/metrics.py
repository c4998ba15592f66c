"""How well an answer agrees with labels: counts of pixels first, ratios of counts second.

Counts add, so that the score of many chips is the score of all their pixels together, not a mean of ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pixels by what was answered and what the label says.

    Attributes:
        tp: Water by both.
        fp: Water by the answer alone.
        fn: Water by the label alone.
        tn: Water by neither.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        """The counts of both sets of pixels together."""
        return Counts(tp=self.tp + other.tp, fp=self.fp + other.fp, fn=self.fn + other.fn, tn=self.tn + other.tn)

    @property
    def intersection(self) -> int:
        """Pixels that are water by both."""
        return self.tp

    @property
    def union(self) -> int:
        """Pixels that are water by either."""
        return self.tp + self.fp + self.fn

    @property
    def iou(self) -> float | None:
        """Intersection over union, 0..1; None where neither holds any water, as there is nothing to agree about."""
        return self.tp / self.union if self.union else None


def count_pixels(answer: NDArray[np.bool_], label: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Counts:
    """The counts of an answer against a label.

    Args:
        answer: Any shape, bool, True where water was found.
        label: The same shape, bool, True where the label says water.
        valid: The same shape, bool, True where data are good; all other pixels count nowhere.
    """
    found, true = answer[valid], label[valid]
    tp = int(np.count_nonzero(found & true))
    n_found, n_true = int(np.count_nonzero(found)), int(np.count_nonzero(true))
    return Counts(tp=tp, fp=n_found - tp, fn=n_true - tp, tn=int(found.size) - n_found - n_true + tp)


SWEEP_THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Probabilities of the published threshold sweep."""

RELIABILITY_BINS: Final = 20
"""Bins of equal width that probabilities are put into for the reliability curve."""

LOGIT_BINS: Final = 641
"""Bins of the histogram of logits: 0.05 a bin, from -16 to 16; what lies beyond counts in the outermost."""

LOGIT_BIN_WIDTH: Final = 0.05
"""Logits a bin of that histogram spans."""

LAKE_CLASSES_M2: Final = (0.0, 5_000.0, 10_000.0, 50_000.0, 200_000.0)
"""Lower bounds of the size classes of lakes; the first lies below what the published model is for."""

FOUND_SHARE: Final = 0.5
"""Of a lake's valid pixels that the other side must call water, so that it counts as found."""


def smoothed_iou(intersection: ArrayLike, union: ArrayLike) -> NDArray[np.float64]:
    """IoU of single chips as the released code has it, smoothed by 1: (I + 1) / (U + 1).

    An empty chip answered empty counts 1, and one with k false pixels alone 1 / (k + 1).

    Args:
        intersection: (N,) pixels that are water by both.
        union: (N,) pixels that are water by either.
    """
    return np.asarray((np.asarray(intersection) + 1.0) / (np.asarray(union) + 1.0), dtype=np.float64)


def logit_of(probability: float) -> float:
    """Natural logarithm of the odds of a probability, 0..1 exclusive."""
    return math.log(probability / (1.0 - probability))


def count_at_thresholds(
    logits: NDArray[np.float32], label: NDArray[np.bool_], valid: NDArray[np.bool_], thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Counts of one chip at several thresholds.

    A pixel is water where its probability reaches the threshold, as the released code has it (not: exceeds it).

    Args:
        logits: (H, W) float32.
        label: (H, W) bool, True where the label says water.
        valid: (H, W) bool, True where data are good; all other pixels count nowhere.
        thresholds: Of probability, 0..1 exclusive.

    Returns:
        (T, 4) int64: tp, fp, fn, tn, a row a threshold.
    """
    counted, true = logits[valid].astype(np.float64), label[valid]
    found = (count_pixels(counted >= logit_of(level), true, np.ones_like(true)) for level in thresholds)
    return np.array([(one.tp, one.fp, one.fn, one.tn) for one in found], dtype=np.int64).reshape(len(thresholds), 4)


def bin_probabilities(
    logits: NDArray[np.float32], label: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What a reliability curve needs of one chip.

    Args:
        logits: (H, W) float32.
        label: (H, W) bool, True where the label says water.
        valid: (H, W) bool, True where data are good.

    Returns:
        (RELIABILITY_BINS, 4) float64, a row a bin of probability: pixels, sum of probabilities, pixels of water, sum of
        squared differences between probability and label.
    """
    probability = 1.0 / (1.0 + np.exp(-logits[valid].astype(np.float64)))
    true = label[valid].astype(np.float64)
    index = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    sums = np.zeros((RELIABILITY_BINS, 4))
    for column, values in enumerate((np.ones_like(true), probability, true, (probability - true) ** 2)):
        sums[:, column] = np.bincount(index, values, RELIABILITY_BINS)
    return sums


def bin_logits(logits: NDArray[np.float32], label: NDArray[np.bool_], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Histogram of one chip's logits, (2, LOGIT_BINS) int64: pixels without water by the label, and with; see `logit_centres`."""
    index = np.rint(logits[valid].astype(np.float64) / LOGIT_BIN_WIDTH) + LOGIT_BINS // 2
    index = np.clip(index, 0, LOGIT_BINS - 1).astype(np.int64)
    true = label[valid]
    return np.stack([np.bincount(index[true == side], minlength=LOGIT_BINS) for side in (False, True)]).astype(np.int64)


def logit_centres() -> NDArray[np.float64]:
    """(LOGIT_BINS,) logit in the middle of each bin of `bin_logits`."""
    return np.asarray((np.arange(LOGIT_BINS) - LOGIT_BINS // 2) * LOGIT_BIN_WIDTH, dtype=np.float64)


def count_lakes(
    answer: NDArray[np.bool_], label: NDArray[np.bool_], valid: NDArray[np.bool_], pixel_area_m2: float
) -> NDArray[np.int64]:
    """Lakes of one chip by size class: how many are labelled and found, answered and true.

    Lakes are 4-connected groups of pixels; one that the chip's edge cuts counts as the part that lies inside. A labelled lake
    is found where at least half of its valid pixels are answered water, an answered one is true where at least half of them
    are labelled water. Groups without a valid pixel count nowhere; the size is that of the valid pixels.

    Args:
        answer: (H, W) bool, True where water was found.
        label: (H, W) bool, True where the label says water.
        valid: (H, W) bool, True where data are good.
        pixel_area_m2: Of one pixel.

    Returns:
        (len(LAKE_CLASSES_M2), 4) int64: labelled, found of them, answered, true of them, a row a size class.
    """
    columns = []
    for own, other in ((label, answer), (answer, label)):
        groups, n_groups = ndimage.label(own & valid)
        size = np.bincount(groups.ravel(), minlength=n_groups + 1)[1:]
        shared = np.bincount(groups[other & valid], minlength=n_groups + 1)[1:]
        index = np.searchsorted(LAKE_CLASSES_M2, size * pixel_area_m2, side="right") - 1
        hit = shared >= FOUND_SHARE * size
        columns += [np.bincount(index[kept], minlength=len(LAKE_CLASSES_M2)) for kept in (slice(None), hit)]
    return np.stack(columns, axis=1).astype(np.int64)


def undo_all_touched(label: NDArray[np.bool_]) -> float:
    """Pixels' worth of the outline that a label was burned from with all_touched: the edge of it counts half.

    A polygon that touches a pixel takes all of it, so that labels are larger than their lakes by half a pixel's share along
    the shore. Of the pixels that a shore crosses half the area lies inside on average, and those are, but for corners, the
    label's pixels with a neighbour (of eight) outside; one on the chip's edge counts by its neighbours within.

    Args:
        label: (H, W) bool.
    """
    padded = np.pad(label, 1, mode="edge")
    inner = ndimage.binary_erosion(padded, structure=np.ones((3, 3), dtype=bool), border_value=1)[1:-1, 1:-1]
    n_inner = int(np.count_nonzero(inner & label))
    return n_inner + 0.5 * (int(np.count_nonzero(label)) - n_inner)
