"""Whether a label and a water index of the same chip can both be right: chips whose label is plainly wrong are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

MNDWI_WATER: Final = 0.3
"""A pixel counts as water where MNDWI is above this (Xu 2006 has 0; the released code has 0.3)."""

MIN_IOU: Final = 0.20
"""Of label and index, with a lake."""

MAX_RATIO: Final = 3.0
"""Water pixels by the index for each by the label, with a lake."""

MAX_WATER_SHARE: Final = 0.05
"""Water by the index, without a lake."""

SanityReason = Literal["", "iou", "ratio", "water without lake"]
"""Why a chip is left out."""


@dataclass(frozen=True, kw_only=True)
class Sanity:
    """The verdict on a chip and what it stands on.

    Attributes:
        keep: Whether the chip is used.
        reason: Why not; empty if it is.
        n_mask: Pixels that the label calls lake.
        n_mndwi_water: Pixels that the index calls water.
        iou: Of the two; 0 without a lake.
        fp_ratio: `n_mndwi_water` / `n_mask`; 0 without a lake.
        bg_water_frac: Share of the chip that the index calls water; 0 with a lake.
    """

    keep: bool
    reason: SanityReason
    n_mask: int
    n_mndwi_water: int
    iou: float
    fp_ratio: float
    bg_water_frac: float


def judge_sanity(green: NDArray[np.uint16], swir: NDArray[np.uint16], mask: NDArray[np.uint8]) -> Sanity:
    """The released filter: MNDWI = (B03 - B11) / (B03 + B11) in float32, water above 0.3, all bounds inclusive.

    Args:
        green: (H, W) B03, reflectance x 10,000.
        swir: (H, W) B11.
        mask: (H, W) label, lake where above 0.

    Returns:
        The verdict. Nodata pixels (both bands 0) are no water, and count in the share's denominator.

    Source: Xu (2006), International Journal of Remote Sensing 27(14), for the index; the released code for limits.
    """
    b03, b11 = green.astype(np.float32), swir.astype(np.float32)
    total = b03 + b11
    index = np.divide(b03 - b11, total, out=np.zeros_like(total), where=total > 0)
    water, lake = index > np.float32(MNDWI_WATER), mask > 0
    n_water, n_lake = int(np.count_nonzero(water)), int(np.count_nonzero(lake))
    if n_lake == 0:
        share = n_water / mask.size
        keep = share <= MAX_WATER_SHARE
        return Sanity(
            keep=keep, reason="" if keep else "water without lake", n_mask=0, n_mndwi_water=n_water,
            iou=0.0, fp_ratio=0.0, bg_water_frac=share,
        )  # fmt: skip
    iou = int(np.count_nonzero(water & lake)) / int(np.count_nonzero(water | lake))
    ratio = n_water / n_lake
    reason: SanityReason = "iou" if iou < MIN_IOU else "ratio" if ratio > MAX_RATIO else ""
    return Sanity(
        keep=not reason, reason=reason, n_mask=n_lake, n_mndwi_water=n_water,
        iou=iou, fp_ratio=ratio, bg_water_frac=0.0,
    )  # fmt: skip
