"""Chips through a segmenter in full batches: while a device computes one, the answers of the one before are used.

Neighbours: `tile_stream` does the same for windows of tiles; `segment.batches` begins and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.segment.batches import begin_batch, stage_batch
from cryosentinel_core.segment.segmenter import ChipBatch, Segmenter
from cryosentinel_core.segment.windows import join_batches, pad_halo

T = TypeVar("T")


def segment_chips(
    segmenter: Segmenter, items: Iterable[T], batch_of: Callable[[T], ChipBatch]
) -> Iterator[tuple[T, NDArray[np.float32]]]:
    """Each item with its logits, in order; memory is bounded by two batches.

    Args:
        segmenter: Of the job.
        items: Taken one by one, as far as one batch ahead of the answers.
        batch_of: Item -> its chip, without the halo that the segmenter wants: nothing was seen around it.

    Yields:
        (item, logits (H, W) float32, or (2, H, W) as `has_spread` says).

    Raises:
        ModelError: If the network fails.
    """
    late: tuple[list[T], Callable[[], NDArray[np.float32]]] | None = None
    for group in _groups_of(items, segmenter.batch_size):
        batch = pad_halo(join_batches([batch_of(item) for item in group]), segmenter.halo_px)
        coming = begin_batch(segmenter, stage_batch(segmenter, batch))
        if late is not None:
            yield from zip(late[0], late[1](), strict=False)
        late = group, coming
    if late is not None:
        yield from zip(late[0], late[1](), strict=False)


def _groups_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) >= size:
            yield group
            group = []
    if group:
        yield group
