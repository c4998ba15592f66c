"""Where chips lie while a network is trained, and how a batch of them comes to the device.

Decoded chips are four arrays of stored numbers, 1.76 MB a chip: on the device itself where it has room, else in pinned memory of the
host, else in their file on disk. Neighbours: `io.chip_cache` makes the file; `batch_order` says which rows; `batch` standardises.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosentinel_core.learn.training.batch import StoredChips

Place = Literal["auto", "device", "pinned", "disk"]
"""Where decoded chips lie."""

DEVICE_RESERVE_BYTES: Final = 24 * 2**30
"""Memory of a GPU that weights, optimiser and activations may need: chips lie on it only where this much stays free."""

HOST_SHARE: Final = 0.6
"""Of the host's free memory, what pinned chips may take."""


@dataclass(frozen=True, kw_only=True)
class ChipArrays:
    """Decoded chips as arrays, a row a chip; memory-mapped or not.

    Attributes:
        s2: (N, 12, H, W) uint16.
        s1: (N, 2, H, W) float32.
        dem: (N, 1, H, W) int16.
        mask: (N, H, W) uint8.
    """

    s2: NDArray[np.uint16]
    s1: NDArray[np.float32]
    dem: NDArray[np.int16]
    mask: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def n_bytes(self) -> int:
        """Of all chips."""
        return sum(array.nbytes for array in self.parts)

    @property
    def parts(self) -> tuple[NDArray[Any], ...]:
        """The four arrays, optical numbers as int16 of the same bits."""
        return self.s2.view(np.int16), self.s1, self.dem, self.mask


def choose_place(n_bytes: int, device: torch.device, host_free_bytes: int) -> Literal["device", "pinned", "disk"]:
    """Where chips of so many bytes go if nobody says: the device, else the host's memory, else the disk."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if n_bytes + DEVICE_RESERVE_BYTES <= free:
            return "device"
        return "pinned" if n_bytes <= HOST_SHARE * host_free_bytes else "disk"
    return "device" if n_bytes <= 0.5 * HOST_SHARE * host_free_bytes else "disk"


class Feed:
    """Batches of stored chips on a device.

    Args:
        chips: All chips that may be asked for.
        place: Where they lie; they are copied there now.
        device: That batches are wanted on.

    Attributes:
        place: As given.
    """

    def __init__(self, chips: ChipArrays, place: Literal["device", "pinned", "disk"], device: torch.device) -> None:
        self.place, self._device = place, device
        self._arrays = chips.parts
        self._held: tuple[Tensor, ...] | None = None
        if place == "device":
            self._held = tuple(_load(part, device) for part in self._arrays)
        elif place == "pinned":
            self._held = tuple(_load(part, torch.device("cpu"), pinned=device.type == "cuda") for part in self._arrays)
        self._reader = ThreadPoolExecutor(1, "chips") if place != "device" else None
        self._ahead: tuple[tuple[int, ...], Future[StoredChips]] | None = None

    def gather(self, rows: Tensor, then: Callable[[], Tensor] | None = None) -> StoredChips:
        """Some chips on the device, also twice the same.

        Args:
            rows: (N,) int64 on the CPU.
            then: Gives the rows that will be asked for next, so that they are read meanwhile where chips are not on the device.
        """
        if self._reader is None:
            return self._take(rows)
        key = tuple(rows.tolist())
        ahead, self._ahead = self._ahead, None
        chips = ahead[1].result() if ahead is not None and ahead[0] == key else self._take(rows)
        if then is not None and len(following := then()):
            self._ahead = tuple(following.tolist()), self._reader.submit(self._take, following)
        return chips.to(self._device)

    def close(self) -> None:
        """End the reading thread."""
        if self._reader is not None:
            self._reader.shutdown(wait=True, cancel_futures=True)
            self._ahead = None

    def _take(self, rows: Tensor) -> StoredChips:
        if self._held is not None:
            at = rows.to(self._held[0].device)
            s2, s1, dem, mask = (part.index_select(0, at) for part in self._held)
        else:
            index = rows.numpy()
            s2, s1, dem, mask = (torch.from_numpy(np.ascontiguousarray(part[index])) for part in self._arrays)
        chips = StoredChips(s2=s2, s1=s1, dem=dem, mask=mask)
        if self._device.type == "cuda" and self.place != "device":
            s2, s1, dem, mask = (part.pin_memory() for part in (chips.s2, chips.s1, chips.dem, chips.mask))
            chips = StoredChips(s2=s2, s1=s1, dem=dem, mask=mask)
        return chips


def _load(array: NDArray[Any], device: torch.device, *, pinned: bool = False) -> Tensor:
    """An array's content in one tensor, copied in pieces so that a mapped file need not fit the memory twice."""
    kind = torch.from_numpy(np.zeros(0, dtype=array.dtype)).dtype
    held = torch.empty(array.shape, dtype=kind, device=device, pin_memory=pinned)
    for start in range(0, len(array), 64):
        held[start : start + 64].copy_(torch.from_numpy(np.array(array[start : start + 64])))
    return held
