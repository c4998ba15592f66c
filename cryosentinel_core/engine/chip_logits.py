"""Chips through several segmenters at once: each chip is read once, and its logits come back beside it.

Batches are those of the first segmenter; memory holds two of them. Neighbours: `segment.batches` starts a batch;
`chips.scores` counts what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip import Chip
from cryosentinel_core.segment.batches import begin_batch, stage_batch
from cryosentinel_core.segment.segmenter import ChipBatch, Segmenter, has_spread
from cryosentinel_core.segment.windows import join_batches, pad_halo

Logits = NDArray[np.float32]
"""(224, 224) float32 of one chip."""


def logits_of_chips(
    chips: Iterable[Chip], segmenters: Sequence[Segmenter], *, without_radar: bool = False
) -> Iterator[tuple[Chip, tuple[Logits, ...]]]:
    """Each chip with the logits of every segmenter, in the order in which they come.

    While a device computes one batch the next is read.

    Args:
        chips: To be segmented.
        segmenters: One or more; the first one's batch size is kept.
        without_radar: Whether radar is withheld from the first.

    Raises:
        ModelError: If a network fails.
    """
    waiting: list[Chip] = []
    late: tuple[list[Chip], list[Callable[[], Logits]]] | None = None
    for chip in chips:
        waiting.append(chip)
        if len(waiting) >= segmenters[0].batch_size:
            begun = waiting, _begin(waiting, segmenters, without_radar)
            if late is not None:
                yield from _finish(*late)
            late, waiting = begun, []
    if late is not None:
        yield from _finish(*late)
    if waiting:
        yield from _finish(waiting, _begin(waiting, segmenters, without_radar))


def _begin(chips: list[Chip], segmenters: Sequence[Segmenter], without_radar: bool) -> list[Callable[[], Logits]]:
    """Start every segmenter on some chips, each in batches of its own size."""
    batch = join_batches([chip.batch for chip in chips])
    first = replace(batch, s1=None) if without_radar else batch
    return [_begin_one(segmenter, first if index == 0 else batch) for index, segmenter in enumerate(segmenters)]


def _begin_one(segmenter: Segmenter, batch: ChipBatch) -> Callable[[], Logits]:
    size = segmenter.batch_size
    coming = []
    for start in range(0, len(batch), size):
        part = pad_halo(_cut(batch, start, start + size), segmenter.halo_px)
        coming.append((len(part), begin_batch(segmenter, stage_batch(segmenter, part))))

    def wait() -> Logits:
        logits = np.concatenate([answer()[:n] for n, answer in coming])
        return logits[:, 0] if has_spread(segmenter) else logits

    return wait


def _cut(batch: ChipBatch, start: int, stop: int) -> ChipBatch:
    """Some chips of a batch."""
    names = ("s2", "dem", "valid", "shadow", "snow", "water", "addresses")
    parts = {name: getattr(batch, name)[start:stop] for name in names}
    return ChipBatch(**parts, s1=None if batch.s1 is None else batch.s1[start:stop])


def _finish(chips: list[Chip], coming: list[Callable[[], Logits]]) -> Iterator[tuple[Chip, tuple[Logits, ...]]]:
    answers = [answer() for answer in coming]
    for index, chip in enumerate(chips):
        yield chip, tuple(answer[index] for answer in answers)
