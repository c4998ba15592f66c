"""Settings of `fetch`: what to look for in which catalogues, and how to make a stack of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from cryosentinel_core.ground.season import Season
from cryosentinel_core.settings.frozen import Frozen
from cryosentinel_core.stack.recipe import Composite, RadarFilter, RadarKind, Recipe
from cryosentinel_core.units import TILE_CELLS


class FetchSettings(Frozen):
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
