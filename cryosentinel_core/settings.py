"""The settings of each workflow: frozen, checked once, handed in; no room reads flags, files or the environment.

Every field's `title` is its unit or form; messages of pydantic are turned into `ConfigError` by the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cryosentinel_core.recipe import Composite, RadarFilter, RadarKind, Recipe
from cryosentinel_core.season import Season
from cryosentinel_core.units import MIN_AREA_M2, STRIDE_OF_OVERLAP, TILE_CELLS

DEFAULT_MODEL = "hf://abzal-glw/cryosentinel-terramind-v3/terramind_v3_finetune_almaty_v2/checkpoints/soup.ckpt"
"""The published soup."""

WATER_INDEX = "water-index"
"""The baseline that needs no weights."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class FetchSettings(_Frozen):
    """What to look for in which catalogues, and how to make a stack of it.

    Attributes:
        catalog: Provider name, STAC API URL, or path of a static catalogue for all sensors; None takes the defaults.
        optical: The same for Sentinel-2 alone.
        radar: The same for Sentinel-1 alone; `none` for no radar.
        terrain: The same for the Copernicus DEM alone.
        season: Days of the year, as `07-01:09-30`.
        october_fallback: Take October where the season holds no usable scene.
        max_cloud: Highest `eo:cloud_cover` of a scene, per cent.
        composite: `median` or `best`.
        radar_filter: Speckle filter.
        from_items: A frozen ItemCollection to use in place of a search.
        refresh: Search again although `scenes.json` is there.
        dry_run: Plan only: nothing is read or written but the plan.
        allow_mixed: Allow more than one optical collection.
        workers: Tiles at work side by side.
        scheduler: Address of a dask.distributed scheduler, or None.
        tile_cells: Cells along a tile of work: 1, 2, 5 or 10; never changes a result.
    """

    catalog: str | None = None
    optical: str | None = None
    radar: str | None = None
    terrain: str | None = None
    season: str = "07-01:09-30"
    october_fallback: bool = True
    max_cloud: float = Field(default=30.0, gt=0, le=100, title="per cent")
    composite: Composite = "median"
    radar_filter: RadarFilter = "lee5"
    from_items: Path | None = None
    refresh: bool = False
    dry_run: bool = False
    allow_mixed: bool = False
    workers: int = Field(default=2, ge=1, le=256)
    scheduler: str | None = None
    tile_cells: Literal[1, 2, 5, 10] = TILE_CELLS

    @field_validator("season")
    @classmethod
    def _season_is_one(cls, value: str) -> str:
        return str(Season.parse(value))

    @property
    def radar_kind(self) -> RadarKind:
        """The radar part of the recipe that these settings ask for."""
        return "none" if self.radar == "none" else "gamma0-rtc"

    @property
    def recipe(self) -> Recipe:
        """The recipe of the stacks that these settings make."""
        kind = self.radar_kind
        return Recipe(
            composite=self.composite,
            season=self.season,
            radar=kind,
            radar_filter="none" if kind == "none" else self.radar_filter,
        )


class PredictSettings(_Frozen):
    """How lakes are found in a stack.

    Attributes:
        model: `hf://...`, a checkpoint's path, or `water-index`.
        more_models: Checkpoints whose logits are averaged with those of `model`: an ensemble; empty for one model.
        threshold: Probability from which a pixel is water.
        overlap: Of windows: 0, 0.5 or 0.75.
        tta: Average logits over the four flips.
        device: `auto`, `cpu`, `cuda` or `cuda:0`.
        precision: `auto`, `float32` or `bf16`.
        batch_size: Windows per call, or None for automatic.
        min_area_m2: Smallest lake in the table.
        min_elevation_m: Windows whose heights all lie below are not segmented and stay unobserved; None for no limit.
        workers: Tiles at work side by side (water index only; a network has one process).
        threads: Threads of one network process on the CPU.
        compiling: Whether the network is compiled: `on`, `off`, or `auto` for large jobs on a GPU.
        weights: `model`, or `ema` for the averaged copy that a checkpoint may hold.
        uncertainty: Write the spread of the members' logits, and give lakes an area band.
        scheduler: Address of a dask.distributed scheduler, or None.
        tile_cells: Cells along a tile of work; never changes a result.
    """

    model: str = DEFAULT_MODEL
    more_models: tuple[str, ...] = ()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    overlap: float = 0.5
    tta: bool = True
    device: str = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    batch_size: int | None = Field(default=None, ge=1)
    min_area_m2: float = Field(default=MIN_AREA_M2, gt=0)
    min_elevation_m: float | None = Field(default=None, allow_inf_nan=False)
    workers: int = Field(default=2, ge=1, le=256)
    threads: int = Field(default=2, ge=1)
    compiling: Literal["auto", "on", "off"] = "auto"
    weights: Literal["model", "ema"] = "model"
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
    def models(self) -> tuple[str, ...]:
        """All models, one or several."""
        return (self.model, *self.more_models)

    @property
    def stride_px(self) -> int:
        """Pixels from one window's start to the next."""
        return STRIDE_OF_OVERLAP[self.overlap]


class ChangeSettings(_Frozen):
    """How years are compared.

    Attributes:
        confidence: Of intervals and of the `significant` flag.
        min_observed: Share of a lake's ground that must be seen in a year for its area to count.
        max_day_difference: Days between the dates of two years beyond which a pair is `unobserved` for season.
        min_area_m2: A row is kept if any year reaches this.
        watch: A vector file of named lakes that always get a row.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_observed: float = Field(default=0.95, gt=0, le=1)
    max_day_difference: float = Field(default=30.0, gt=0)
    min_area_m2: float = Field(default=MIN_AREA_M2, gt=0)
    watch: Path | None = None

    def as_plain(self) -> dict[str, Any]:
        """Plain data of all that changes a result."""
        return self.model_dump(mode="json")
