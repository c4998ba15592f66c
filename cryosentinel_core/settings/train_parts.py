"""Blocks of `train`'s settings: augmentation, sampler, averages, feed. The defaults are the published fine-tune's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cryosentinel_core.settings.frozen import Frozen


class JitterSettings(Frozen):
    """Gain of standardised values.

    Attributes:
        p: Probability of a chip.
        eps_s2: Largest departure from 1 in optical bands; likewise radar and heights.
    """

    p: float = Field(default=0.4, ge=0, le=1)
    eps_s2: float = Field(default=0.03, ge=0, lt=1)
    eps_s1: float = Field(default=0.07, ge=0, lt=1)
    eps_dem: float = Field(default=0.02, ge=0, lt=1)


class RescaleSettings(Frozen):
    """Enlargement and reduction about a chip's centre.

    Attributes:
        p: Probability of a chip.
        scale_min: Smallest factor.
        scale_max: Largest factor.
    """

    p: float = Field(default=0.4, ge=0, le=1)
    scale_min: float = Field(default=0.8, gt=0)
    scale_max: float = Field(default=1.2, gt=0)

    @model_validator(mode="after")
    def _range_ascends(self) -> RescaleSettings:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min:g} is above scale_max {self.scale_max:g}")
        return self


class CopyPasteSettings(Frozen):
    """Water of another chip of the batch.

    Attributes:
        p: Probability of a batch.
        min_donor_water_pixels: Of a donor.
        sub_sample_frac: Must be 1: all of the donor's water is pasted.
        relative_heights: Shift pasted heights to the receiver's; as published they are not.
    """

    p: float = Field(default=0.2, ge=0, le=1)
    min_donor_water_pixels: int = Field(default=32, ge=1)
    sub_sample_frac: float = Field(default=1.0, ge=1, le=1)
    relative_heights: bool = False


class MosaicSettings(Frozen):
    """Quarters of four chips.

    Attributes:
        p: Probability of a batch.
        jitter: How far the meeting point may lie from the centre, as a share of the side.
    """

    p: float = Field(default=0.3, ge=0, le=1)
    jitter: float = Field(default=0.2, ge=0, lt=1)


class SamplerSettings(Frozen):
    """Chips with water and without.

    Attributes:
        positive_to_negative_ratio: Draws of chips with water for each without.
        num_samples: Draws an epoch; None for as many as there are chips.
        replacement: Must be true.
        generator: Must be None: the order is a function of seed and epoch.
    """

    positive_to_negative_ratio: float = Field(default=3.0, gt=0)
    num_samples: int | None = Field(default=None, ge=1)
    replacement: Literal[True] = True
    generator: None = None


class EmaSettings(Frozen):
    """The moving average of the trained parameters.

    Attributes:
        decay: Of the average.
        apply_at_validation: Judge it, not the raw weights.
        apply_at_test: In the test.
        cpu_shadow: Keep it in the host's memory.
        skip_buffers: No effect: buffers are always the live network's.
    """

    decay: float = Field(default=0.999, ge=0, lt=1)
    apply_at_validation: bool = True
    apply_at_test: bool = True
    cpu_shadow: bool = True
    skip_buffers: Literal[True] = True


class SwaSettings(Frozen):
    """The last phase, with a flat learning rate, whose snapshots are averaged.

    Attributes:
        swa_epoch_start: A share of the epochs, or their number.
        swa_lrs: The flat rate.
        annealing_epochs: Epochs until it is reached.
        annealing_strategy: `cos` or `linear`.
        keep_decay: Scale it by each group's share of the highest peak; as published it is the same for all.
    """

    swa_epoch_start: int | float = 0.4
    swa_lrs: float = Field(default=1e-5, gt=0)
    annealing_epochs: int = Field(default=3, ge=0)
    annealing_strategy: Literal["cos", "linear"] = "cos"
    keep_decay: bool = False

    @model_validator(mode="after")
    def _start_is_a_share_or_a_number(self) -> SwaSettings:
        start = self.swa_epoch_start
        if (isinstance(start, float) and not 0 <= start <= 1) or (isinstance(start, int) and start < 1):
            raise ValueError(f"swa_epoch_start is {start}, wanted a share from 0.0 to 1.0 or an epoch from 1 on")
        return self


class FeedSettings(Frozen):
    """Where decoded chips lie.

    Attributes:
        place: On the `device`, `pinned` in the host's memory, on `disk`, or `auto`: the first that has room.
        cache_dir: Folder of the decoded file; None for `.cache` beside the shards.
    """

    place: Literal["auto", "device", "pinned", "disk"] = "auto"
    cache_dir: Path | None = None
