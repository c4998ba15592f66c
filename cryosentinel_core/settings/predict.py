"""Settings of `predict`: how lakes are found in a stack."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from cryosentinel_core.settings.frozen import Frozen
from cryosentinel_core.units import MIN_AREA_M2, STRIDE_OF_OVERLAP, TILE_CELLS

DEFAULT_MODEL = "hf://abzal-glw/cryosentinel-terramind-v3/terramind_v3_finetune_almaty_v2/checkpoints/soup.ckpt"
"""The published soup."""

DEFAULT_THRESHOLD = 0.5
"""Probability from which a pixel is water where nobody has said another."""

WATER_INDEX = "water-index"
"""The baseline that needs no weights."""


class PredictSettings(Frozen):
    """How lakes are found in a stack.

    Attributes:
        model: `hf://...`, a checkpoint's path, or `water-index`.
        more_models: Checkpoints whose logits are averaged with those of `model`: an ensemble; empty for one model.
        threshold: Probability from which a pixel is water; None for the calibrated one of the weights, 0.5 where there is none.
        overlap: Of windows: 0, 0.5 or 0.75.
        tta: Average logits over the four flips.
        device: `auto`, `cpu`, `cuda` or `cuda:0`.
        precision: `auto`, `float32` or `bf16`.
        batch_size: Windows per call, or None for automatic.
        min_area_m2: Smallest lake in the table.
        min_elevation_m: Windows whose heights all lie below are not segmented and stay unobserved; None for no limit.
        workers: Tiles at work side by side (water index only; a network has one process).
        threads: CPU threads of one network process; a run that was interrupted goes on with the number that it began with.
        compiling: Whether the network is compiled: `on`, `off`, or `auto` for large jobs on a GPU.
        weights: `model`, or `ema` for the averaged copy that a checkpoint may hold.
        modalities: The network sees these alone, of those that it was trained with, S2L2A among them; None for all.
        uncertainty: Write the spread of the members' logits, and give lakes an area band.
        scheduler: Address of a dask.distributed scheduler, or None.
        tile_cells: Cells along a tile of work; never changes a result.
    """

    model: str = DEFAULT_MODEL
    more_models: tuple[str, ...] = ()
    threshold: float | None = Field(default=None, gt=0, lt=1)
    overlap: float = 0.5
    tta: bool = True
    device: str = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    batch_size: int | None = Field(default=None, ge=1)
    min_area_m2: float = Field(default=MIN_AREA_M2, gt=0)
    min_elevation_m: float | None = Field(default=None, allow_inf_nan=False)
    workers: int = Field(default=2, ge=1, le=256)
    threads: int = Field(default=2, ge=1, le=256)
    compiling: Literal["auto", "on", "off"] = "auto"
    weights: Literal["model", "ema"] = "model"
    modalities: tuple[str, ...] | None = None
    uncertainty: bool = False
    scheduler: str | None = None
    tile_cells: Literal[1, 2, 5, 10] = TILE_CELLS

    @field_validator("overlap")
    @classmethod
    def _overlap_is_on_lattice(cls, value: float) -> float:
        if value not in STRIDE_OF_OVERLAP:
            raise ValueError(f"overlap {value:g} leaves the lattice: use 0, 0.5 or 0.75")
        return value

    @model_validator(mode="after")
    def _members_are_networks(self) -> PredictSettings:
        if self.more_models and WATER_INDEX in self.models:
            raise ValueError(f"{WATER_INDEX} is no network: an ensemble takes weights alone")
        if self.uncertainty and self.model == WATER_INDEX:
            raise ValueError(f"{WATER_INDEX} has no members whose logits could differ: leave --uncertainty out")
        if self.uncertainty and not self.tta and not self.more_models:
            raise ValueError("without flips one model has one member, and no spread: use --tta")
        return self

    @property
    def water_threshold(self) -> float:
        """Probability from which a pixel is water, once it is decided: 0.5 where nothing was said."""
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    @property
    def models(self) -> tuple[str, ...]:
        """All models, one or several."""
        return (self.model, *self.more_models)

    @property
    def stride_px(self) -> int:
        """Pixels from one window's start to the next."""
        return STRIDE_OF_OVERLAP[self.overlap]
