"""Sums, medians and extremes of the pixels under each label of a window, all labels at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PixelGroups:
    """Pixels of a window grouped by label, for figures that leave NaN out.

    Args:
        labels: (H, W) labels 1..n_labels, 0 = none.
        n_labels: Highest label.
    """

    def __init__(self, labels: NDArray[np.integer], n_labels: int) -> None:
        flat = labels.ravel()
        self._places = np.flatnonzero(flat)
        self._label = flat[self._places]
        self._n = n_labels

    def pick(self, band: NDArray[Any]) -> NDArray[Any]:
        """(P,) values of a band (H, W) at all labelled pixels."""
        picked: NDArray[Any] = band.ravel()[self._places]
        return picked

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) sums."""
        return np.asarray(np.bincount(self._label, weights=values, minlength=self._n + 1)[1:], dtype=np.float64)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) means; every label has a pixel."""
        return self.sum(values) / np.bincount(self._label, minlength=self._n + 1)[1:]

    def median(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) medians of the values that are there, NaN where none is."""
        return self._ranked(values, lambda first, count: (first + (count - 1) // 2, first + count // 2))

    def minimum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) least values, NaN where none is there."""
        return self._ranked(values, lambda first, count: (first, first))

    def maximum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) greatest values, NaN where none is there."""
        return self._ranked(values, lambda first, count: (first + count - 1, first + count - 1))

    def _ranked(self, values: NDArray[np.float64], ranks: Any) -> NDArray[np.float64]:
        """(n,) mean of the values at two ranks of each label."""
        there = np.isfinite(values)
        label, value = self._label[there], values[there]
        value = value[np.lexsort((value, label))]
        count = np.bincount(label, minlength=self._n + 1)[1:]
        first = np.cumsum(count) - count
        result = np.full(self._n, np.nan)
        some = count > 0
        low, high = ranks(first[some], count[some])
        result[some] = (value[low] + value[high]) / 2.0
        return result
