"""Batch size: how many windows go through the network at once.

On a CPU always `CPU_BATCH`: a batch's size is part of the last bits of a logit, so that there it must depend neither on the job nor
on the machine, and matrix products of one window already fill the cores. On a GPU the size that is fastest is tried out. Neighbours:
`network_segmenter` measures and runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TypeVar

import torch

from cryosentinel_core.errors import ModelError
from cryosentinel_core.units import CELL_PX

T = TypeVar("T")

CPU_BATCH: Final = 4
"""Windows a pass on a CPU."""

FIRST_BATCH: Final = 4
"""Windows a pass that are tried first on a GPU."""

LARGEST_BATCH: Final = 128
"""Windows a pass at most, where the size is found: beyond, a map of 256 channels nears the limit of `most_windows`."""

_MOST_NUMBERS: Final = 2**31 - 1
"""Numbers in a tensor that is enlarged channels last on a GPU: its index is a 32-bit integer (PyTorch, UpSampleBilinear2d.cu)."""

_SIGNS_OF_SHORTAGE: Final = (
    "out of memory",
    "unable to find an engine",  # cuDNN, where no algorithm's workspace fits what is left
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "less than INT_MAX elements",  # enlargement channels last, before and after PyTorch's check was dropped
    "invalid configuration argument",
)
"""Messages of a GPU's libraries where a smaller batch would do, and PyTorch raises no `OutOfMemoryError`."""

SHARE_OF_JOB: Final = 16
"""A batch is at most one part in so many of the job, so that trying out (twice each size) costs a quarter of it at most."""

LEAST_GAIN: Final = 1.03
"""A larger batch takes more memory, and is kept only if it is faster by this factor."""

SUMS_MIB: Final = 512
"""Memory of a GPU that is left free for sums: three tiles of ten cells, with the spread, and the windows kept for others."""


def largest_batch(n_windows: int) -> int:
    """The largest batch worth trying for a job."""
    return max(FIRST_BATCH, min(LARGEST_BATCH, n_windows // SHARE_OF_JOB))


def most_windows(decoder_channels: int) -> int:
    """Windows a pass that a GPU can take, however much memory it has: the decoder's finest map must stay below 2^31 numbers.

    Args:
        decoder_channels: Of the decoder's maps, which are as large as the window.
    """
    return max(1, _MOST_NUMBERS // (decoder_channels * CELL_PX * CELL_PX))


def is_shortage(error: RuntimeError) -> bool:
    """True if an error of a GPU says that the batch is too large for it."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS_OF_SHORTAGE)


def try_with_memory(call: Callable[[], T]) -> T | None:
    """Result of a call; None where the GPU's memory does not suffice, with what was taken given back.

    Memory is given back here, after the exception is gone: its traceback holds the tensors of all frames that failed.

    Raises:
        RuntimeError: If it fails for another reason.
    """
    try:
        return call()
    except RuntimeError as error:
        if not is_shortage(error):
            raise
    torch.cuda.empty_cache()
    return None


def find_batch_size(rate_of: Callable[[int], float], most: int) -> int:
    """The batch size that is fastest: doubled while that pays and fits.

    Args:
        rate_of: Batch size -> windows a second; raises `torch.cuda.OutOfMemoryError`, or as `is_shortage` says, where the memory does
            not suffice.
        most: Never tried beyond.

    Returns:
        `most`, or `FIRST_BATCH` doubled or halved some times.

    Raises:
        ModelError: If not even one window fits.
    """
    best, best_rate = 0, 0.0
    size = min(FIRST_BATCH, most)
    while True:
        rate = try_with_memory(partial(rate_of, size))
        if rate is None:
            if best:
                return best
            if size == 1:
                raise no_room()
            size = most = size // 2
            continue
        if rate < LEAST_GAIN * best_rate:
            return best
        best, best_rate = size, rate
        if size >= most:
            return best
        size = min(2 * size, most)


@contextmanager
def keep_free(mib: int, device: torch.device) -> Iterator[None]:
    """Hold some memory of a GPU for a while, so that it is free afterwards; none where there is less."""
    held: torch.Tensor | None = None
    if device.type == "cuda":
        with suppress(torch.cuda.OutOfMemoryError):
            held = torch.empty(mib * 2**20, dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del held


def no_room() -> ModelError:
    """The error where not even one window fits."""
    return ModelError("one window does not fit the GPU's memory", "try --device cpu")
