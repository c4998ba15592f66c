"""Settings of `soup`: what is averaged, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cryosentinel_core.settings.frozen import Frozen


class SoupSettings(Frozen):
    """What is averaged, and how.

    Attributes:
        sources: Checkpoints, or runs' folders, whose snapshots are then taken.
        output: The file to write.
        weights: `model` for raw weights, `ema` for their moving averages.
        greedy: Begin with the best and take what does not lower the score on the validation split.
        data_dir: Shards to judge by, and to estimate batch-norm statistics with; None for none.
        batch_norm: Average the statistics, or estimate them anew on training chips.
        n_batches: Batches that they are estimated with.
    """

    sources: tuple[Path, ...] = Field(min_length=1)
    output: Path
    weights: Literal["model", "ema"] = "model"
    greedy: bool = False
    data_dir: Path | None = None
    batch_norm: Literal["averaged", "estimated"] = "averaged"
    n_batches: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _data_are_there(self) -> SoupSettings:
        if self.data_dir is None and (self.greedy or self.batch_norm == "estimated"):
            what = "a greedy soup is judged" if self.greedy else "batch-norm statistics are estimated"
            raise ValueError(f"{what} on chips: say where they lie with --data DIR")
        return self
