"""Settings of `chips build`: how chips are cut, and which of them train, choose and judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cryosentinel_core.settings.frozen import Frozen
from cryosentinel_core.units import STRIDE_OF_OVERLAP


class SplitSettings(Frozen):
    """The block split; `chips.split.BlockSplit` explains and checks.

    Attributes:
        size_deg: Side of a block, degrees.
        buffer_deg: Centres nearer than this to a block's edge are dropped.
        salt: Of the hash.
        rule: `published`, or `extents`, which also drops chips that touch ground of another split.
        train_below: Buckets 0..99 below this train.
        val_below: Buckets from there to below this validate.
    """

    size_deg: float = 0.15
    buffer_deg: float = 0.02
    salt: str = "cryosentinel-blocks-v1"
    rule: Literal["published", "extents"] = "published"
    train_below: int = 80
    val_below: int = 90


class ChipBuildSettings(Frozen):
    """How chips are cut out of stacks.

    Attributes:
        overlap: Of neighbouring windows: 0, 0.5 or 0.75.
        background_per_lake: Windows without a lake for each with one; None for all of them.
        seed: Of the draw of windows without a lake.
        min_valid_share: Chips with a smaller share of pixels in which no sensor is nodata are left out.
        sanity: `mndwi`, the released filter, or `none`.
        keep_buffer: Also write chips that the split drops, as `UNKNOWN`.
        label_years: (year of imagery, year of inventory) where another inventory than the nearest is wanted.
        split: Of the blocks.
    """

    overlap: float = 0.5
    background_per_lake: float | None = Field(default=1.0, ge=0, le=1000)
    seed: int = Field(default=42, ge=0)
    min_valid_share: float = Field(default=0.5, ge=0, le=1)
    sanity: Literal["mndwi", "none"] = "mndwi"
    keep_buffer: bool = False
    label_years: tuple[tuple[int, int], ...] = ()
    split: SplitSettings = SplitSettings()

    @field_validator("overlap")
    @classmethod
    def _overlap_is_on_lattice(cls, value: float) -> float:
        if value not in STRIDE_OF_OVERLAP:
            raise ValueError(f"overlap {value:g} leaves the lattice: use 0, 0.5 or 0.75")
        return value

    @property
    def stride_px(self) -> int:
        """Pixels from one window's start to the next."""
        return STRIDE_OF_OVERLAP[self.overlap]
