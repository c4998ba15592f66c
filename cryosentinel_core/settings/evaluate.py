"""Settings of `evaluate`: which chips judge a model, and what is drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cryosentinel_core.settings.frozen import Frozen

Split = Literal["train", "val", "test", "all"]
"""Chips of a data set that are judged on; `all` makes no difference between them."""


class EvaluateSettings(Frozen):
    """Which chips judge a model, and what is drawn from them.

    Attributes:
        split: Whose chips are judged on.
        regions: Only these; empty for all.
        years: Only these; empty for all.
        n_chips: At most so many chips of the split, the first; None for all.
        block_size_deg: Side of a block of the spatial split, degrees; `recorded` for what the data set says it was cut with, else
            the published 0.15; `column` takes the column `split` for all chips.
        block_buffer_deg: A chip whose centre is nearer to its block's edge than this belongs to no split.
        seen_sizes_deg: Block sizes of splits whose training part the weights have seen; empty where that is unknown.
        seen_splits: Such splits that are known whole, as plain data of `chips.split.BlockSplit`.
        confidence: Of intervals.
        with_water_index: Also judge the water index, on the same chips.
        exclude: A table of chips to leave out; None for none.
    """

    split: Split = "val"
    regions: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    n_chips: int | None = Field(default=None, ge=1)
    block_size_deg: float | Literal["recorded", "column"] = "recorded"
    block_buffer_deg: float = Field(default=0.02, ge=0)
    seen_sizes_deg: tuple[float, ...] = ()
    seen_splits: tuple[dict[str, Any], ...] = ()
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    with_water_index: bool = True
    exclude: Path | None = None
