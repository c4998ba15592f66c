"""Plan of one year: its tiles, where its results go, and the digests of all that decides them.

Neighbours: `predict` has the tiles segmented; `predict_year` makes the year's results of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.engine.model_loading import plain_of
from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import group_cells
from cryosentinel_core.io.stack_records import StackRecords
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lakes.area_band import BAND_REACH_PX
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class YearPlan:
    """One year's jobs and places.

    Attributes:
        year: Of the imagery.
        stack: Folder of the year's stack.
        stack_tile_cells: Cells along a tile of that stack.
        folder: Where the results go.
        jobs: One a tile.
        provenance: Digest of all that decides the results.
        radar_used: Whether every stack tile that has data has radar.
    """

    year: int
    stack: Path
    stack_tile_cells: int
    folder: Path
    jobs: tuple[TileJob, ...]
    provenance: Provenance
    radar_used: bool


@dataclass(frozen=True, kw_only=True)
class YearStack:
    """Stack of one year.

    Attributes:
        year: Of the imagery.
        folder: Of the stack.
        tile_cells: Cells along one of its tiles.
        recipe: That it was made by.
        warnings: What a reader of the results should know.
    """

    year: int
    folder: Path
    tile_cells: int
    recipe: Recipe
    warnings: tuple[str, ...]


def plan_year(
    workspace: Workspace, area: Area, stack: YearStack, segmenter: Segmenter, settings: PredictSettings
) -> YearPlan:
    """Jobs of one year, each with the digest of all that decides its pixels.

    Args:
        workspace: Where everything lies.
        area: Of interest.
        stack: Of the year.
        segmenter: Of the run, in the precision that it has now.
        settings: Of prediction.
    """
    folder = workspace.model(area.name, stack.year, segmenter.name)
    records = StackRecords.read(stack.folder, area.ground, stack.tile_cells)
    plain = {**plain_of(segmenter), "overlap": settings.overlap if segmenter.blended else 0}
    if settings.min_elevation_m is not None:
        plain["min_elevation_m"] = settings.min_elevation_m
    jobs = tuple(
        TileJob(
            stack=stack.folder,
            stack_tile_cells=stack.tile_cells,
            tile=tile,
            cells=cells,
            part=folder / "tiles" / str(tile.epsg) / f"{tile.name}.tif",
            settings=settings,
            provenance=Provenance(
                kind="logits of a tile",
                settings=plain,
                inputs={
                    "stack_tiles": records.digests_around(cells),
                    "cells": digest_of([(cell.row, cell.col) for cell in cells]),
                },
            ),
        )
        for tile, cells in group_cells(area.core, settings.tile_cells).items()
    )
    provenance = Provenance(
        kind="lakes",
        settings={
            **plain,
            **({"area_band": {"reach_px": BAND_REACH_PX}} if settings.uncertainty else {}),
            **_plain_of_lakes(settings),
            "recipe": stack.recipe.as_dict(),
            "uncertainty": segmenter.error_model.as_dict(),
            "aoi": area.name,
            "area": digest_of(area.geometry.wkb_hex),
            "year": stack.year,
            "radar_used": records.radar_used,
        },
        inputs={"parts": {f"{job.tile.epsg}/{job.tile.name}": job.provenance.digest for job in jobs}},
        warnings=stack.warnings,
    )
    return YearPlan(
        year=stack.year,
        stack=stack.folder,
        stack_tile_cells=stack.tile_cells,
        folder=folder,
        jobs=jobs,
        provenance=provenance,
        radar_used=records.radar_used,
    )


def _plain_of_lakes(settings: PredictSettings) -> dict[str, Any]:
    """Settings that decide which lakes are found."""
    return {
        "model": sorted(settings.models) if settings.more_models else settings.model,
        "threshold": settings.water_threshold,
        "min_area_m2": settings.min_area_m2,
        "tta": settings.tta,
        "weights": settings.weights,
    }
