"""Which batch size is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.batch_size import find_batch_size, largest_batch


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


@pytest.mark.parametrize(("n_windows", "most"), [(0, 4), (100, 6), (441, 27), (10**6, 256)])
def test_a_job_bounds_its_batch(n_windows: int, most: int) -> None:
    assert largest_batch(n_windows) == most
