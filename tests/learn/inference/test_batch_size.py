"""Which batch size is found."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.batch_size import (
    LARGEST_BATCH,
    find_batch_size,
    largest_batch,
    most_windows,
    try_with_memory,
)


def card(fits: int, full_at: int, tried: list[int]) -> Callable[[int], float]:
    """A GPU with room for some windows, as fast as it gets with others."""

    def rate_of(size: int) -> float:
        tried.append(size)
        if size > fits:
            raise torch.cuda.OutOfMemoryError("no room")
        return min(size, full_at) * (1 + size * 1e-5)

    return rate_of


@pytest.mark.parametrize(
    ("fits", "full_at", "most", "found", "sizes"),
    [
        (999, 999, 256, 256, [4, 8, 16, 32, 64, 128, 256]),
        (999, 32, 256, 32, [4, 8, 16, 32, 64]),
        (40, 999, 256, 32, [4, 8, 16, 32, 64]),
        (999, 999, 50, 50, [4, 8, 16, 32, 50]),
        (999, 999, 3, 3, [3]),
        (3, 999, 256, 2, [4, 2]),
        (1, 999, 256, 1, [4, 2, 1]),
        (999, 4, 256, 4, [4, 8]),
    ],
)
def test_doubling(fits: int, full_at: int, most: int, found: int, sizes: list[int]) -> None:
    tried: list[int] = []
    assert find_batch_size(card(fits, full_at, tried), most) == found
    assert tried == sizes


def test_no_room_at_all() -> None:
    with pytest.raises(ModelError, match="one window"):
        find_batch_size(card(0, 9, []), 256)


@pytest.mark.parametrize(("n_windows", "most"), [(0, 4), (100, 6), (441, 27), (10**6, 128)])
def test_a_job_bounds_its_batch(n_windows: int, most: int) -> None:
    assert largest_batch(n_windows) == most


def test_the_finest_map_stays_below_what_32_bits_can_count() -> None:
    assert most_windows(256) == 167
    assert 167 * 256 * 224 * 224 < 2**31 <= 168 * 256 * 224 * 224
    assert most_windows(256) >= LARGEST_BATCH
    assert most_windows(10**9) == 1


@pytest.mark.parametrize(
    "said",
    [
        "GET was unable to find an engine to execute this computation",
        "upsample_bilinear2d_nhwc only supports output tensors with less than INT_MAX elements",
        "CUDA error: invalid configuration argument",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_what_a_card_says_where_a_smaller_batch_would_do(said: str) -> None:
    """No `OutOfMemoryError`, and the same remedy."""

    def rate_of(size: int) -> float:
        if size > 8:
            raise RuntimeError(said)
        return float(size)

    assert find_batch_size(rate_of, 128) == 8
    with pytest.raises(RuntimeError, match="misaligned"):
        find_batch_size(misaligned, 128)


def misaligned(size: int) -> float:
    raise RuntimeError("CUDA error: misaligned address")


def test_memory_is_given_back_when_the_failed_frames_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `except` the traceback still holds their tensors, and nothing would become free."""
    left: list[bool] = []
    refs: list[weakref.ref[torch.Tensor]] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(refs[0]() is not None))

    def take() -> torch.Tensor:
        large = torch.zeros(3)
        refs.append(weakref.ref(large))
        raise torch.cuda.OutOfMemoryError("no room")

    assert try_with_memory(take) is None
    assert left == [False]
