"""A batch on its way through any segmenter: staged in whatever thread cut it, then begun, then waited for.

A segmenter that computes on a device does the three side by side for three batches; one that knows no beginning gets full batches and
answers at once. Neighbours: `tile_stream` and `chips` make the batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.segment.arrays import HOST, Arrays
from cryosentinel_core.segment.segmenter import ChipBatch, Engine, Segmenter
from cryosentinel_core.segment.windows import pad_batch


def stage_batch(segmenter: Segmenter, batch: ChipBatch) -> Any:
    """The batch, as far on its way as it can be without the device.

    Args:
        segmenter: That it is for.
        batch: At most `batch_size` chips.
    """
    return segmenter.stage(batch) if isinstance(segmenter, Engine) else pad_batch(batch, segmenter.batch_size)


def begin_batch(segmenter: Segmenter, staged: Any) -> Callable[[], NDArray[np.float32]]:
    """Start computing; the returned function waits for the logits, (N, H, W) or as `has_spread` says, N as staged.

    Args:
        segmenter: That staged it.
        staged: From `stage_batch`.

    Raises:
        ModelError: If the network fails, here or when its answer is asked for.
    """
    if isinstance(segmenter, Engine):
        return segmenter.begin(staged)
    logits = segmenter.segment(staged)
    return lambda: logits


def begin_for_sums(segmenter: Segmenter, staged: Any) -> Callable[[], Any]:
    """Start computing as `begin_batch` does; the logits are left where `arrays_of` keeps sums of them."""
    return segmenter.begin_on_device(staged) if isinstance(segmenter, Engine) else begin_batch(segmenter, staged)


def arrays_of(segmenter: Segmenter) -> Arrays:
    """Arrays that sums of a segmenter's logits are kept in."""
    return segmenter.arrays if isinstance(segmenter, Engine) else HOST
