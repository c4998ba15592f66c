"""Memory that maps take turns in, so that none need be taken afresh.

Neighbours: `cpu_decoder` has it; `winograd` and `enlargement` use it.
"""

from __future__ import annotations

import math

from torch import Tensor


def take(shape: tuple[int, ...], memory: Tensor | None, like: Tensor) -> Tensor:
    """A tensor to be overwritten.

    Args:
        shape: Of it.
        memory: Flat; its beginning is used if it is large enough.
        like: Says type and device where there is none, or too little.
    """
    size = math.prod(shape)
    if memory is None or memory.numel() < size:
        return like.new_empty(shape)
    return memory[:size].view(shape)
