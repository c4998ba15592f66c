"""What judging keeps of each chip: counts and sums alone, so that one pass over the logits serves every figure.

Logits are looked at once, chip by chip, and forgotten; memory holds some hundred numbers a chip and a histogram a block.
Neighbours: `metrics` counts one chip; `judgement` draws the figures from what is kept here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.bootstrap import sum_by_block
from cryosentinel_core.chips.metrics import (
    LAKE_CLASSES_M2,
    LOGIT_BINS,
    RELIABILITY_BINS,
    SWEEP_THRESHOLDS,
    bin_logits,
    bin_probabilities,
    count_at_thresholds,
    count_lakes,
    logit_of,
    undo_all_touched,
)
from cryosentinel_core.units import PIXEL_M

TP, FP, FN, TN = range(4)
"""Columns of counts."""

_PIXEL_M2: Final = float(PIXEL_M * PIXEL_M)


@dataclass(frozen=True, kw_only=True)
class ChipFacts:
    """What is known of a chip before anything is answered.

    Attributes:
        chip_id: As its shard names it.
        region: Folder that it lies in.
        year: Of the imagery.
        lat: Centre, degrees north; None where its shard does not say.
        lon: Centre, degrees east; None likewise.
        block: Name of the block of ground that it lies in; chips of one block are drawn together, whatever their year.
        n_clear: Median number of clear observations of its pixels; None where its shard does not say.
    """

    chip_id: str
    region: str
    year: int
    lat: float | None
    lon: float | None
    block: str
    n_clear: float | None = None


class Scores:
    """Counts of one model's answers over some chips.

    Args:
        threshold: Probability from which a pixel is water, for all that is not counted at every threshold.
        thresholds: Of the sweep.
    """

    def __init__(self, threshold: float = 0.5, thresholds: Sequence[float] = SWEEP_THRESHOLDS) -> None:
        self.threshold = threshold
        self.thresholds = tuple(sorted({*thresholds, threshold}))
        self.facts: list[ChipFacts] = []
        self.lakes: dict[str, NDArray[np.int64]] = defaultdict(
            lambda: np.zeros((len(LAKE_CLASSES_M2), 4), dtype=np.int64)
        )
        self.histograms: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros((2, LOGIT_BINS), dtype=np.int64))
        self.reliability = np.zeros((RELIABILITY_BINS, 4))
        self._counts: list[NDArray[np.int64]] = []
        self._outlined_px: list[float] = []

    def __len__(self) -> int:
        """Chips."""
        return len(self.facts)

    def add(
        self, facts: ChipFacts, logits: NDArray[np.float32], label: NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> None:
        """Count one chip.

        Args:
            facts: Of the chip.
            logits: (H, W) float32.
            label: (H, W) bool, True where the label says water.
            valid: (H, W) bool, True where data are good; all other pixels count nowhere.
        """
        self.facts.append(facts)
        self._counts.append(count_at_thresholds(logits, label, valid, self.thresholds))
        self._outlined_px.append(undo_all_touched(label & valid))
        answer = logits.astype(np.float64) >= logit_of(self.threshold)
        self.lakes[facts.block] += count_lakes(answer, label, valid, _PIXEL_M2)
        self.histograms[facts.block] += bin_logits(logits, label, valid)
        self.reliability += bin_probabilities(logits, label, valid)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N, T, 4) int64: tp, fp, fn, tn of each chip at each of `thresholds`."""
        if not self._counts:
            return np.zeros((0, len(self.thresholds), 4), dtype=np.int64)
        return np.stack(self._counts)

    @property
    def headline(self) -> NDArray[np.int64]:
        """(N, 4) int64: tp, fp, fn, tn of each chip at `threshold`."""
        return np.asarray(self.counts[:, self.thresholds.index(self.threshold)])

    @property
    def outlined_px(self) -> NDArray[np.float64]:
        """(N,) label area in pixels without what all_touched added; see `undo_all_touched`."""
        return np.array(self._outlined_px)

    def histogram(self) -> NDArray[np.int64]:
        """(2, LOGIT_BINS) int64: logits of all pixels, without water by the label and with."""
        total = np.zeros((2, LOGIT_BINS), dtype=np.int64)
        for one in self.histograms.values():
            total += one
        return total

    @property
    def blocks(self) -> list[str]:
        """N names of blocks."""
        return [facts.block for facts in self.facts]

    def by_block(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(M, ...) totals of each block of (N, ...) values; blocks in the order of their first chip."""
        return sum_by_block(values, self.blocks)

    def lakes_by_block(self) -> NDArray[np.float64]:
        """(M, classes, 4) lakes labelled, found, answered and true, blocks in the order of their first chip."""
        order = dict.fromkeys(self.blocks)
        nothing = np.zeros((0, len(LAKE_CLASSES_M2), 4))
        return np.stack([self.lakes[block] for block in order]).astype(float) if order else nothing
