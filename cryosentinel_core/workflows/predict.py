"""The corridor from stacks to lakes: fetch what is missing, segment tile by tile, mosaic by zone, vectorise.

Writes `<aoi>/<year>/<model>/`: `logit_<epsg>.tif`, `probability_<epsg>.tif`, `water_<epsg>.tif`, `lakes.gpkg`,
`lakes.parquet`, `run.json` and, where asked for, `spread_<epsg>.tif`. The logits of each tile stay in `tiles/`, so that a run
goes on where it stopped and a tile that changed is the only one done again; that folder may be deleted. Neighbours:
`engine.dispatch` runs the tiles; `predict_year` makes the year's files of them; `predict_summary` says what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryosentinel_core.engine.dispatch import segment_tiles
from cryosentinel_core.engine.model_loading import build_segmenter, devices_for, plain_of
from cryosentinel_core.engine.precision import choose_job_precision, sample_windows
from cryosentinel_core.engine.threads import continue_with_threads
from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Cell, group_cells
from cryosentinel_core.io.locks import hold_parts
from cryosentinel_core.io.workspace import Workspace, read_json, remove_leftovers
from cryosentinel_core.lakes.area_band import BAND_REACH_PX
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.workflows.fetch import fetch
from cryosentinel_core.workflows.predict_year import YearPlan, finish_year


def predict(
    workspace: Workspace,
    area: Area,
    years: Sequence[int],
    settings: PredictSettings,
    fetching: FetchSettings,
    *,
    reporter: Reporter,
) -> PredictSummary:
    """Lakes of an area in some years; fetches what is missing, keeps what is done.

    Args:
        workspace: Where everything lies.
        area: Of interest.
        years: Ascending and distinct.
        settings: Of prediction.
        fetching: Of the stacks.
        reporter: Hears progress, notes and warnings.

    Raises:
        CryosentinelError: For anything a user can mend.
    """
    segmenter = build_segmenter(settings)
    fetched = fetch(workspace, area, years, fetching, reporter=reporter)
    warnings = list(fetched.warnings)
    warnings_of_years = {one.year: list(one.warnings) for one in fetched.years}
    if segmenter.recipe is not None:
        for difference in fetched.recipe.differences(segmenter.recipe):
            message = f"the stack is not what the weights were trained on: {difference}"
            for texts in (warnings, *warnings_of_years.values()):
                texts.append(message)
            reporter.warn(message)

    def plan_years() -> list[YearPlan]:
        return [
            _plan_year(
                workspace,
                area,
                year,
                fetched.stacks[year],
                fetched.recipe,
                segmenter,
                settings,
                fetching,
                warnings_of_years[year],
            )
            for year in years
        ]

    choose_job_precision(
        segmenter,
        is_begun=lambda: any(job.is_done for job in _jobs_of(plan_years())),
        sample=lambda: sample_windows(_jobs_of(plan_years()), segmenter),
        reporter=reporter,
    )
    plans = plan_years()
    task = f"predict {' '.join(map(str, years))} of {area.name}"
    results = []
    with hold_parts((plan.folder for plan in plans), task, reporter):
        continue_with_threads(segmenter, _jobs_of(plans), reporter)
        engine = _segment(plans, segmenter, settings, reporter)
        for number, plan in enumerate(plans):
            reporter.progress("lakes", number, len(plans))
            results.append(finish_year(plan, area, segmenter, settings, fetching.tile_cells, engine, reporter))
    reporter.progress("lakes", len(plans), len(plans))
    return PredictSummary(
        model=segmenter.name,
        years=tuple(results),
        is_partial=fetched.is_partial,
        engine=engine,
        warnings=tuple(warnings),
    )


def _jobs_of(plans: Sequence[YearPlan]) -> list[TileJob]:
    """The tiles of all years."""
    return [job for plan in plans for job in plan.jobs]


def _plan_year(
    workspace: Workspace,
    area: Area,
    year: int,
    stack: Path,
    recipe: Recipe,
    segmenter: Segmenter,
    settings: PredictSettings,
    fetching: FetchSettings,
    warnings: list[str],
) -> YearPlan:
    """Jobs of one year, each with the digest of all that decides its pixels."""
    folder = workspace.model(area.name, year, segmenter.name)
    records = _stack_records(stack, area, fetching.tile_cells)
    plain = {
        **plain_of(segmenter),
        "overlap": settings.overlap if segmenter.blended else 0,
    }
    if settings.min_elevation_m is not None:
        plain["min_elevation_m"] = settings.min_elevation_m
    jobs = []
    for tile, cells in group_cells(area.core, settings.tile_cells).items():
        parents = _parents_of(cells, records, fetching.tile_cells)
        jobs.append(
            TileJob(
                stack=stack,
                stack_tile_cells=fetching.tile_cells,
                tile=tile,
                cells=cells,
                part=folder / "tiles" / str(tile.epsg) / f"{tile.name}.tif",
                settings=settings,
                provenance=Provenance(
                    kind="logits of a tile",
                    settings=plain,
                    inputs={"stack_tiles": parents, "cells": digest_of([(cell.row, cell.col) for cell in cells])},
                ),
            )
        )
    used = [record for record in records.values() if record.get("has_data", True)]
    radar_used = bool(used) and all(bool(record.get("radar_used")) for record in used)
    band = {"area_band": {"reach_px": BAND_REACH_PX}} if settings.uncertainty else {}
    provenance = Provenance(
        kind="lakes",
        settings={
            **plain,
            **band,
            "model": sorted(settings.models) if settings.more_models else settings.model,
            "threshold": settings.threshold,
            "min_area_m2": settings.min_area_m2,
            "tta": settings.tta,
            "weights": settings.weights,
            "recipe": recipe.as_dict(),
            "uncertainty": segmenter.error_model.as_dict(),
            "aoi": area.name,
            "area": digest_of(area.geometry.wkb_hex),
            "year": year,
            "radar_used": radar_used,
        },
        inputs={"parts": {f"{job.tile.epsg}/{job.tile.name}": job.provenance.digest for job in jobs}},
        warnings=tuple(warnings),
    )
    return YearPlan(
        year=year, stack=stack, folder=folder, jobs=tuple(jobs), provenance=provenance, radar_used=radar_used
    )


def _stack_records(stack: Path, area: Area, tile_cells: int) -> dict[str, dict[str, Any]]:
    """`<epsg>/<tile>` -> the record of each stack tile of the area."""
    found = {}
    for tile in group_cells(area.ground, tile_cells):
        record = read_json(stack / str(tile.epsg) / tile.name / "tile.json")
        if isinstance(record, dict):
            found[f"{tile.epsg}/{tile.name}"] = record
    return found


def _parents_of(cells: tuple[Cell, ...], records: dict[str, dict[str, Any]], tile_cells: int) -> dict[str, str]:
    """Digests of the stack tiles that some cells' windows and halos reach."""
    reached = {neighbour for cell in cells for neighbour in cell.neighbours(1)}
    names = (f"{tile.epsg}/{tile.name}" for tile in group_cells(reached, tile_cells))
    return {name: str(records[name]["digest"]) for name in names if name in records}


def _segment(
    plans: list[YearPlan], segmenter: Segmenter, settings: PredictSettings, reporter: Reporter
) -> dict[str, Any]:
    """Run the jobs that are not done, of all years together; what it cost, as plain data."""
    jobs = _jobs_of(plans)
    todo = [job for job in jobs if not job.is_done]
    if len(todo) < len(jobs):
        reporter.note(f"{len(jobs) - len(todo)} of {len(jobs)} tiles are segmented already")
    for plan in plans:
        remove_leftovers(plan.folder)
    began = time.perf_counter()
    work = segment_tiles(todo, segmenter, settings, reporter, devices_for(segmenter, settings))
    return {"n_tiles": len(todo), "n_tiles_kept": len(jobs) - len(todo), **work.as_dict(time.perf_counter() - began)}
