"""Stored chips on their way to a device, and standardised once they are there.

Stored integers travel, not the floats made of them; to a GPU from pinned memory, so that the host need not wait. Neighbours:
`network_segmenter` runs the network on what comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.learn.model_spec import (
    DEM_CLIP_M,
    S1_FILL_DB,
    S1_FILL_HIGH_DB,
    S1_FILL_LOW_DB,
    S2_CLIP,
    Normalisation,
)
from cryosentinel_core.segment.segmenter import ChipBatch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, kw_only=True)
class StagedChips:
    """N chips in host memory, ready to travel.

    Attributes:
        s2: (N, 12, H, W) int16 that holds the bits of uint16, which few operations know.
        s1: (N, 2, H, W) float32, dB, NaN = nodata; None where no chip has radar.
        dem: (N, 1, H, W) float32, metres, NaN = nodata.
        has_radar: (N,) bool, True where a chip has a finite radar pixel.
    """

    s2: Tensor
    s1: Tensor | None
    dem: Tensor
    has_radar: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.s2.shape[0])


def allocate(shape: tuple[int, ...], dtype: DTypeLike, device: torch.device) -> NDArray[Any]:
    """Host memory, not set to anything; pinned where it feeds a GPU, so that `stage_chips` has nothing to copy.

    Args:
        shape: Of the array, C order.
        dtype: Of the array.
        device: Where its content will go.
    """
    if device.type != "cuda":
        return np.empty(shape, dtype=dtype)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with torch.cuda.device(device):
        held: NDArray[Any] = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy()
    return held.view(dtype).reshape(shape)


def stage_chips(batch: ChipBatch, device: torch.device) -> StagedChips:
    """The part of a batch that a network sees; pinned where it goes to a GPU, copied for that only if it is not yet.

    Args:
        batch: Stored chips.
        device: Where they will go.
    """

    def hold(array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        if device.type != "cuda":
            return tensor
        with torch.cuda.device(device):
            return tensor.pin_memory()

    nothing = np.zeros(len(batch), dtype=np.bool_)
    return StagedChips(
        s2=hold(np.ascontiguousarray(batch.s2).view(np.int16)),
        s1=None if batch.s1 is None else hold(batch.s1),
        dem=hold(batch.dem),
        has_radar=nothing if batch.s1 is None else np.asarray(np.isfinite(batch.s1).any(axis=(1, 2, 3))),
    )


def standardise(
    chips: ChipBatch | StagedChips, normalisation: Normalisation, device: torch.device
) -> dict[str, Tensor]:
    """Chips as the network wants them: clipped, filled, then `(x - mean) / std` per band.

    Sentinel-2 is clipped to 0..16,000, elevation to -500..9,000 m with missing ones at the lower end; in radar NaN becomes -25 dB,
    infinity 5 and negative infinity -30, as in training.

    Args:
        chips: Stored chips, staged or not.
        normalisation: Statistics of the weights.
        device: Where to compute.

    Returns:
        Modality -> (N, C, H, W) float32, finite; without S1GRD where the batch has no radar.
    """
    return Standardiser(normalisation, device)(chips if isinstance(chips, StagedChips) else stage_chips(chips, device))


class Standardiser:
    """Staged chips to standardised ones; the statistics stay on the device, since the host would wait for each that is sent.

    Args:
        normalisation: Statistics of the weights.
        device: Where to compute.
    """

    def __init__(self, normalisation: Normalisation, device: torch.device) -> None:
        self._device = device
        bands = {"S2L2A": normalisation.s2, "S1GRD": normalisation.s1, "DEM": normalisation.dem}
        self._statistics = {
            name: tuple(
                torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
                for values in (one.means, one.stds)
            )
            for name, one in bands.items()
        }

    def __call__(self, staged: StagedChips) -> dict[str, Tensor]:
        """See `standardise`."""
        device = self._device
        s2 = staged.s2.to(device, non_blocking=True).to(torch.int32).bitwise_and_(0xFFFF).float().clamp(*S2_CLIP)
        dem = torch.nan_to_num(staged.dem.to(device, non_blocking=True).float(), nan=DEM_CLIP_M[0]).clamp(*DEM_CLIP_M)
        found = {"S2L2A": self._scale("S2L2A", s2)}
        if staged.s1 is not None:
            s1 = staged.s1.to(device, non_blocking=True).float()
            s1 = torch.nan_to_num(s1, nan=S1_FILL_DB, posinf=S1_FILL_HIGH_DB, neginf=S1_FILL_LOW_DB)
            found["S1GRD"] = self._scale("S1GRD", s1)
        found["DEM"] = self._scale("DEM", dem)
        return found

    def _scale(self, name: str, x: Tensor) -> Tensor:
        mean, std = self._statistics[name]
        return (x - mean) / std


def send_rows(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """(N,) int64 indices on a device; to a GPU from pinned memory, so that the host does not wait."""
    index = torch.from_numpy(rows)
    if device.type != "cuda":
        return index
    with torch.cuda.device(device):
        return index.pin_memory().to(device, non_blocking=True)
