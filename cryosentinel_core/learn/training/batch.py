"""A batch of stored chips, and the same chips standardised: the two nouns that the feed and the task share.

Neighbours: `feed` gathers; `augment` changes standardised chips; `task` runs the network on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M, S2_OLD_NODATA
from cryosentinel_core.learn.model_spec import (
    DEM_CLIP_M,
    S1_FILL_DB,
    S1_FILL_HIGH_DB,
    S1_FILL_LOW_DB,
    S2_CLIP,
    BandStatistics,
    Normalisation,
)


@dataclass(frozen=True, kw_only=True)
class StoredChips:
    """N chips as shards store them, on any device.

    Attributes:
        s2: (N, 12, H, W) int16 that holds the bits of uint16, which few operations know.
        s1: (N, 2, H, W) float32, dB; not finite = nodata.
        dem: (N, 1, H, W) int16, metres.
        mask: (N, H, W) uint8, 1 lake.
    """

    s2: Tensor
    s1: Tensor
    dem: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return int(self.s2.shape[0])

    def to(self, device: torch.device) -> StoredChips:
        """The same chips on a device; from pinned memory without waiting."""
        s2, s1, dem, mask = (x.to(device, non_blocking=True) for x in (self.s2, self.s1, self.dem, self.mask))
        return StoredChips(s2=s2, s1=s1, dem=dem, mask=mask)


@dataclass(frozen=True, kw_only=True)
class TrainingChips:
    """N chips as the network and the losses want them.

    Attributes:
        inputs: Modality -> (N, C, H, W) float32, standardised, finite.
        label: (N, H, W) float32, 1 water, 0 none.
        valid: (N, H, W) bool, True where data are good.
    """

    inputs: dict[str, Tensor]
    label: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return int(self.label.shape[0])


def standardise_chips(chips: StoredChips, normalisation: Normalisation, modalities: tuple[str, ...]) -> TrainingChips:
    """Clip, fill, `(x - mean) / std`; and say which pixels are good.

    Sentinel-2 is clipped to 0..16,000 and elevation to -500..9,000 m; in radar NaN becomes -25 dB, infinity 5 and negative infinity
    -30 dB. Invalid pixels keep what they are filled with. A pixel is invalid where all optical bands are 0, or 16,000 and more, where
    a radar band is not finite, or where elevation is 32,000 and more to either side of 0.

    Args:
        chips: As stored, on any device.
        normalisation: Statistics of the weights.
        modalities: Those that the network has; validity is told by all three all the same.
    """
    s2 = chips.s2.to(torch.int32).bitwise_and_(0xFFFF)
    dem = chips.dem.float()
    seen = (s2 != 0).any(dim=1) & (s2 < S2_OLD_NODATA).any(dim=1)
    valid = seen & torch.isfinite(chips.s1).all(dim=1) & (dem[:, 0].abs() < DEM_LIMIT_M)
    s1 = torch.nan_to_num(chips.s1, nan=S1_FILL_DB, posinf=S1_FILL_HIGH_DB, neginf=S1_FILL_LOW_DB)
    inputs = {
        "S2L2A": _scale(s2.float().clamp_(*S2_CLIP), normalisation.s2),
        "S1GRD": _scale(s1, normalisation.s1),
        "DEM": _scale(dem.clamp_(*DEM_CLIP_M), normalisation.dem),
    }
    return TrainingChips(
        inputs={name: inputs[name] for name in modalities}, label=(chips.mask > 0).float(), valid=valid
    )


def _scale(x: Tensor, bands: BandStatistics) -> Tensor:
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=x.device)[:, None, None]
        for values in (bands.means, bands.stds)
    )
    return (x - mean).div_(std)
