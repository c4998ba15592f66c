"""From the segmented tiles of one year to its results: mosaics by zone, lakes, and the record that is written last.

Neighbours: `predict` plans and segments; `io.rasters.mosaic` writes the rasters; `lakes` finds the lakes in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.engine.stopwatch import Stopwatch
from cryosentinel_core.engine.stream import SKIPPED_BECAUSE
from cryosentinel_core.engine.threads import threads_of
from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Cell, Grid, hull_of_cells, mask_of_cells
from cryosentinel_core.io.rasters.cogs import RasterFormat, write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import (
    LOGIT_LAYER,
    PROBABILITY_LAYER,
    SPREAD_LAYER,
    WATER_LAYER,
    read_part,
)
from cryosentinel_core.io.rasters.stack_files import Layer as StackLayer
from cryosentinel_core.io.rasters.stack_files import read_layer
from cryosentinel_core.io.workspace import is_current, read_json, write_json
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders
from cryosentinel_core.lakes.water_mask import WATER_LAKE, WATER_LAND, classify_water, encode_probability
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.predict_summary import YearResult
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.stack.stack import Condition
from cryosentinel_core.units import LOGIT_NODATA, SPREAD_NODATA


@dataclass(frozen=True, kw_only=True)
class YearPlan:
    """One year's jobs and places.

    Attributes:
        year: Of the imagery.
        stack: Folder of the year's stack.
        folder: Where the results go.
        jobs: One a tile.
        provenance: Digest of all that decides the results.
        radar_used: Whether every stack tile that has data has radar.
    """

    year: int
    stack: Path
    folder: Path
    jobs: tuple[TileJob, ...]
    provenance: Provenance
    radar_used: bool


def finish_year(
    plan: YearPlan,
    area: Area,
    segmenter: Segmenter,
    settings: PredictSettings,
    tile_cells: int,
    engine: dict[str, Any],
    reporter: Reporter,
) -> YearResult:
    """Mosaics, lakes and the record of one year; kept if they are current.

    Args:
        plan: The year, its tiles segmented.
        area: Of interest.
        segmenter: That segmented them.
        settings: Of prediction.
        tile_cells: Cells along a tile of the stack.
        engine: What segmenting took, for the record.
        reporter: Hears that nothing was to be done.

    Raises:
        OutputWrite: If the disk refuses.
    """
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
        from cryosentinel_core.io.tables.vector import write_lakes

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
            **({"threads": threads} if (threads := threads_of(plan.jobs)) else {}),
            "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
            "engine": engine,
        },
    )
    return _result_of(plan, result, is_reused=False)


def _count_windows(plan: YearPlan) -> dict[str, Any]:
    """Windows of all tiles of a year, also of those kept from an earlier run; skipped ones by reason."""
    counts = [read_json(job.record)["counts"] for job in plan.jobs]
    return {
        "n_windows": sum(count["n_windows"] for count in counts),
        "n_windows_skipped": {
            reason: sum(count.get(f"n_{reason}", 0) for count in counts) for reason in SKIPPED_BECAUSE
        },
    }


def _result_of(plan: YearPlan, result: dict[str, Any], *, is_reused: bool) -> YearResult:
    return YearResult(
        year=plan.year,
        folder=plan.folder,
        n_lakes=int(result["n_lakes"]),
        lake_area_m2=float(result["lake_area_m2"]),
        observed_share=float(result["observed_share"]),
        is_reused=is_reused,
    )


def _write_mosaics(plan: YearPlan, epsg: int, settings: PredictSettings, tile_cells: int) -> tuple[int, int]:
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
    write_cog_in_strips(logit_path, hull, LOGIT_LAYER, tags, _mosaic_of(logit_parts, LOGIT_LAYER))
    if settings.uncertainty:
        spread_parts = [(job.spread_part, hull_of_cells(job.cells)) for job in jobs]
        spread_path = plan.folder / f"spread_{epsg}.tif"
        write_cog_in_strips(spread_path, hull, SPREAD_LAYER, tags, _mosaic_of(spread_parts, SPREAD_LAYER))

    def read_probability(grid: Grid) -> NDArray[np.uint8]:
        stored = read_part(logit_path, grid, LOGIT_NODATA)
        return encode_probability(stored)

    write_cog_in_strips(plan.folder / f"probability_{epsg}.tif", hull, PROBABILITY_LAYER, tags, read_probability)
    seen = 0

    def read_water(grid: Grid) -> NDArray[np.uint8]:
        nonlocal seen
        stored = read_part(logit_path, grid, LOGIT_NODATA)
        condition = read_layer(plan.stack, "class", grid, tile_cells=tile_cells)[0]
        water = classify_water(stored, condition, settings.threshold)
        seen += int(np.count_nonzero((water == WATER_LAND) | (water == WATER_LAKE)))
        return water

    write_cog_in_strips(plan.folder / f"water_{epsg}.tif", hull, WATER_LAYER, tags, read_water)
    return seen, len(cells) * cells[0].grid.height * cells[0].grid.width


def _mosaic_of(parts: list[tuple[Path, Grid]], layer: RasterFormat) -> Callable[[Grid], NDArray[Any]]:
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
    plan: YearPlan, area: Area, zones: list[int], segmenter: Segmenter, settings: PredictSettings, tile_cells: int
) -> tuple[Any, Any]:
    """Lakes and candidates of all zones, each lake once."""
    from cryosentinel_core.lakes.extract import extract_lakes, merge_zones

    origin = LakeOrigin(
        aoi=area.name,
        year=plan.year,
        model=segmenter.name,
        radar_used=plan.radar_used,
        is_network=segmenter.is_network,
        error_model=segmenter.error_model,
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
