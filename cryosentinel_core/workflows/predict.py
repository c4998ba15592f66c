"""The corridor from stacks to lakes: fetch what is missing, segment tile by tile, mosaic by zone, vectorise.

Writes `<aoi>/<year>/<model>/`: `logit_<epsg>.tif`, `probability_<epsg>.tif`, `water_<epsg>.tif`, `lakes.gpkg`,
`lakes.parquet`, `run.json` and, where asked for, `spread_<epsg>.tif`. The logits of each tile stay in `tiles/`, so that a run
goes on where it stopped and a tile that changed is the only one done again; that folder may be deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.area import Area
from cryosentinel_core.area_band import BAND_REACH_PX
from cryosentinel_core.io.mosaic import (
    LOGIT_LAYER,
    PROBABILITY_LAYER,
    SPREAD_LAYER,
    WATER_LAYER,
    Layer,
    read_part,
    write_layer,
)
from cryosentinel_core.io.stack import Layer as StackLayer
from cryosentinel_core.io.stack import read_layer
from cryosentinel_core.io.workspace import Workspace, is_current, read_json, remove_leftovers, write_json
from cryosentinel_core.lake import LakeOrigin, LakeReaders
from cryosentinel_core.lattice import Cell, Grid, group_cells, hull_of_cells, mask_of_cells
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.recipe import Recipe
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scene import Condition
from cryosentinel_core.segmenter import Segmenter
from cryosentinel_core.settings import WATER_INDEX, FetchSettings, PredictSettings
from cryosentinel_core.stopwatch import Stopwatch
from cryosentinel_core.uncertainty import model_of_segmenter
from cryosentinel_core.units import LOGIT_NODATA, SPREAD_NODATA
from cryosentinel_core.water_mask import WATER_LAKE, WATER_LAND, classify_water, encode_probability
from cryosentinel_core.workflows.fetch import fetch
from cryosentinel_core.workflows.segment import TileJob
from cryosentinel_core.workflows.segmenters import build_segmenter, devices_of, plain_of
from cryosentinel_core.workflows.segmenting import segment_tiles
from cryosentinel_core.workflows.stream import SKIPPED_BECAUSE


@dataclass(frozen=True, kw_only=True)
class YearResult:
    """What one year came to.

    Attributes:
        year: Of the imagery.
        folder: Where the results lie.
        n_lakes: Lakes from the minimum area up.
        lake_area_m2: Their geodesic area together.
        observed_share: Share of the area of interest's cells that was seen free of cloud, snow and shadow.
        is_reused: True if everything was there already.
    """

    year: int
    folder: Path
    n_lakes: int
    lake_area_m2: float
    observed_share: float
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a run came to.

    Attributes:
        model: Name of the segmenter, as in folders and tables.
        years: One result a year.
        is_partial: True if a stack lacks planned scenes: run again to complete.
        engine: Windows, seconds, memory and conditions of this run, as in `run.json`.
        warnings: What a reader should know.
    """

    model: str
    years: tuple[YearResult, ...]
    is_partial: bool
    engine: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "model": self.model,
            "is_partial": self.is_partial,
            "engine": self.engine,
            "warnings": list(self.warnings),
            "years": [
                {
                    "year": year.year,
                    "folder": str(year.folder),
                    "n_lakes": year.n_lakes,
                    "lake_area_m2": year.lake_area_m2,
                    "observed_share": year.observed_share,
                    "is_reused": year.is_reused,
                }
                for year in self.years
            ],
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{year.year}: {year.n_lakes} lakes, {year.lake_area_m2 / 1e6:.3f} km2, "
            f"{100 * year.observed_share:.1f} % of the ground observed, in {year.folder}"
            for year in self.years
        ]
        if self.is_partial:
            lines.append("some planned scenes could not be read: run the same command again to complete the stacks")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _YearPlan:
    """One year's jobs and places."""

    year: int
    stack: Path
    folder: Path
    jobs: tuple[TileJob, ...]
    provenance: Provenance
    radar_used: bool


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
    if segmenter.recipe is not None:
        for difference in fetched.recipe.differences(segmenter.recipe):
            message = f"the stack is not what the weights were trained on: {difference}"
            warnings.append(message)
            reporter.warn(message)
    plans = [
        _plan_year(workspace, area, year, fetched.stacks[year], fetched.recipe, segmenter, settings, fetching, warnings)
        for year in years
    ]
    engine = _segment(plans, segmenter, settings, reporter)
    results = []
    for number, plan in enumerate(plans):
        reporter.progress("lakes", number, len(plans))
        results.append(_finish_year(plan, area, segmenter, settings, fetching.tile_cells, engine, reporter))
    reporter.progress("lakes", len(plans), len(plans))
    return PredictSummary(
        model=segmenter.name,
        years=tuple(results),
        is_partial=fetched.is_partial,
        engine=engine,
        warnings=tuple(warnings),
    )


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
) -> _YearPlan:
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
            "uncertainty": model_of_segmenter(segmenter.name != WATER_INDEX).as_dict(),
            "aoi": area.name,
            "area": digest_of(area.geometry.wkb_hex),
            "year": year,
            "radar_used": radar_used,
        },
        inputs={"parts": {f"{job.tile.epsg}/{job.tile.name}": job.provenance.digest for job in jobs}},
        warnings=tuple(warnings),
    )
    return _YearPlan(
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
    plans: list[_YearPlan], segmenter: Segmenter, settings: PredictSettings, reporter: Reporter
) -> dict[str, Any]:
    """Run the jobs that are not done, of all years together; what it cost, as plain data."""
    jobs = [job for plan in plans for job in plan.jobs]
    todo = [job for job in jobs if not job.is_done]
    if len(todo) < len(jobs):
        reporter.note(f"{len(jobs) - len(todo)} of {len(jobs)} tiles are segmented already")
    for plan in plans:
        remove_leftovers(plan.folder)
    began = time.perf_counter()
    work = segment_tiles(todo, segmenter, settings, reporter, devices_of(settings))
    return {"n_tiles": len(todo), "n_tiles_kept": len(jobs) - len(todo), **work.as_dict(time.perf_counter() - began)}


def _finish_year(
    plan: _YearPlan,
    area: Area,
    segmenter: Segmenter,
    settings: PredictSettings,
    tile_cells: int,
    engine: dict[str, Any],
    reporter: Reporter,
) -> YearResult:
    """Mosaics, lakes and the record of one year; kept if they are current."""
    zones = sorted({job.tile.epsg for job in plan.jobs})
    record = plan.folder / "run.json"
    results = [plan.folder / "lakes.gpkg", plan.folder / "lakes.parquet"]
    kinds = ["logit", "probability", "water", *(["spread"] if settings.uncertainty else [])]
    results += [plan.folder / f"{kind}_{epsg}.tif" for epsg in zones for kind in kinds]
    if is_current(record, plan.provenance, *results):
        data = read_json(record)
        reporter.note(f"{plan.year}: lakes are there already, in {plan.folder}")
        return _result_of(plan, data["result"], is_reused=True)
    watch = Stopwatch()
    with watch.stage("mosaic"):
        observed = {epsg: _write_mosaics(plan, epsg, settings, tile_cells) for epsg in zones}
    with watch.stage("lakes"):
        lakes, candidates = _find_lakes(plan, area, zones, segmenter, settings, tile_cells)
        from cryosentinel_core.io.vector import write_lakes

        write_lakes(plan.folder, lakes, candidates, plan.provenance)
    n_seen, n_all = (sum(values) for values in zip(*observed.values(), strict=True))
    result = {
        "n_lakes": len(lakes),
        "n_candidates": len(candidates),
        "lake_area_m2": float(lakes["area_m2"].sum()),
        "observed_share": n_seen / n_all if n_all else 0.0,
    }
    write_json(
        record,
        {
            **plan.provenance.as_dict(),
            "stack": plan.stack.name,
            "stack_tile_cells": tile_cells,
            "zones": zones,
            "result": result,
            **_count_windows(plan),
            "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
            "engine": engine,
        },
    )
    return _result_of(plan, result, is_reused=False)


def _count_windows(plan: _YearPlan) -> dict[str, Any]:
    """Windows of all tiles of a year, also of those kept from an earlier run; skipped ones by reason."""
    counts = [read_json(job.record)["counts"] for job in plan.jobs]
    return {
        "n_windows": sum(count["n_windows"] for count in counts),
        "n_windows_skipped": {
            reason: sum(count.get(f"n_{reason}", 0) for count in counts) for reason in SKIPPED_BECAUSE
        },
    }


def _result_of(plan: _YearPlan, result: dict[str, Any], *, is_reused: bool) -> YearResult:
    return YearResult(
        year=plan.year,
        folder=plan.folder,
        n_lakes=int(result["n_lakes"]),
        lake_area_m2=float(result["lake_area_m2"]),
        observed_share=float(result["observed_share"]),
        is_reused=is_reused,
    )


def _write_mosaics(plan: _YearPlan, epsg: int, settings: PredictSettings, tile_cells: int) -> tuple[int, int]:
    """Logit, probability, water and, where asked for, spread rasters of one zone.

    Returns:
        Pixels of processed cells that were seen free of cloud, snow and shadow; and all of them.
    """
    jobs = [job for job in plan.jobs if job.tile.epsg == epsg]
    cells = [cell for job in jobs for cell in job.cells]
    hull = hull_of_cells(cells)
    tags = plan.provenance.as_tags()

    logit_path = plan.folder / f"logit_{epsg}.tif"
    logit_parts = [(job.part, hull_of_cells(job.cells)) for job in jobs]
    write_layer(logit_path, hull, LOGIT_LAYER, tags, _mosaic_of(logit_parts, LOGIT_LAYER))
    if settings.uncertainty:
        spread_parts = [(job.spread_part, hull_of_cells(job.cells)) for job in jobs]
        spread_path = plan.folder / f"spread_{epsg}.tif"
        write_layer(spread_path, hull, SPREAD_LAYER, tags, _mosaic_of(spread_parts, SPREAD_LAYER))

    def read_probability(grid: Grid) -> NDArray[np.uint8]:
        stored = read_part(logit_path, grid, LOGIT_NODATA)
        return encode_probability(stored)

    write_layer(plan.folder / f"probability_{epsg}.tif", hull, PROBABILITY_LAYER, tags, read_probability)
    seen = 0

    def read_water(grid: Grid) -> NDArray[np.uint8]:
        nonlocal seen
        stored = read_part(logit_path, grid, LOGIT_NODATA)
        condition = read_layer(plan.stack, "class", grid, tile_cells=tile_cells)[0]
        water = classify_water(stored, condition, settings.threshold)
        seen += int(np.count_nonzero((water == WATER_LAND) | (water == WATER_LAKE)))
        return water

    write_layer(plan.folder / f"water_{epsg}.tif", hull, WATER_LAYER, tags, read_water)
    return seen, len(cells) * cells[0].grid.height * cells[0].grid.width


def _mosaic_of(parts: list[tuple[Path, Grid]], layer: Layer) -> Callable[[Grid], NDArray[Any]]:
    """A reader of some tiles' rasters as one; each tile has nodata outside its own cells."""
    nodata = int(layer.nodata or 0)

    def read(grid: Grid) -> NDArray[Any]:
        out = np.full(grid.shape, nodata, dtype=layer.dtype)
        for path, hull in parts:
            shared = hull.intersection(grid)
            if shared is not None:
                piece = read_part(path, shared, nodata)
                np.copyto(out[shared.slices_in(grid)], piece, where=piece != nodata)
        return out

    return read


def _find_lakes(
    plan: _YearPlan, area: Area, zones: list[int], segmenter: Segmenter, settings: PredictSettings, tile_cells: int
) -> tuple[Any, Any]:
    """Lakes and candidates of all zones, each lake once."""
    from cryosentinel_core.lakes import extract_lakes, merge_zones

    origin = LakeOrigin(
        aoi=area.name,
        year=plan.year,
        model=segmenter.name,
        radar_used=plan.radar_used,
        is_network=segmenter.name != WATER_INDEX,
    )
    found = []
    for epsg in zones:
        cells = [cell for job in plan.jobs if job.tile.epsg == epsg for cell in job.cells]
        logit_path = plan.folder / f"logit_{epsg}.tif"
        readers = lake_readers(logit_path, plan.stack, cells, tile_cells, settings.min_elevation_m)
        if settings.uncertainty:
            readers = replace(readers, spread=_spread_reader(plan.folder / f"spread_{epsg}.tif"))
        found.append(
            extract_lakes(
                readers,
                hull_of_cells(cells),
                area.geometry,
                origin,
                threshold=settings.threshold,
                min_area_m2=settings.min_area_m2,
            )
        )
    return merge_zones(found)


def _spread_reader(path: Path) -> Callable[[Grid], NDArray[np.uint16]]:
    return lambda grid: read_part(path, grid, SPREAD_NODATA)


def lake_readers(
    logit_path: Path, stack: Path, cells: list[Cell], tile_cells: int, min_elevation_m: float | None
) -> LakeReaders:
    """Readers of one zone's rasters: snow, ice and terrain shadow count as unobserved, low ground passed over as not processed."""

    def read(layer: StackLayer, grid: Grid) -> Any:
        return read_layer(stack, layer, grid, tile_cells=tile_cells)

    def read_logits(grid: Grid) -> NDArray[np.int16]:
        stored = read_part(logit_path, grid, LOGIT_NODATA)
        return np.where(read("class", grid)[0] == int(Condition.CLEAR), stored, np.int16(LOGIT_NODATA)).astype(np.int16)

    def read_processed(grid: Grid) -> NDArray[np.bool_]:
        mask = mask_of_cells(cells, grid)
        if min_elevation_m is not None:
            missing = read_part(logit_path, grid, LOGIT_NODATA) == LOGIT_NODATA
            mask &= ~(missing & (read("dem", grid)[0] < min_elevation_m))
        return mask

    return LakeReaders(
        logits=read_logits,
        processed=read_processed,
        dem=lambda grid: read("dem", grid)[0],
        counts=lambda grid: read("clear", grid),
        dates=lambda grid: read("dates", grid),
    )
