"""How well an answer agrees with labels: counts of pixels first, ratios of counts second.

Counts add, so that the score of many chips is the score of all their pixels together, not a mean of ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
