"""From the segmented tiles of one year to its results: mosaics by zone, lakes, and the record that is written last.

Neighbours: `result_plan` says what there is to do; `io.rasters.zone_rasters` writes and reads the rasters; `lakes` finds the lakes in
them.
"""

from __future__ import annotations

from typing import Any

from cryosentinel_core.engine.stopwatch import Stopwatch
from cryosentinel_core.engine.threads import threads_of
from cryosentinel_core.engine.tile_stream import SKIPPED_BECAUSE
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Cell, Grid, hull_of_cells
from cryosentinel_core.io.rasters.zone_rasters import ZoneRasters
from cryosentinel_core.io.workspace import is_current, read_json, write_json
from cryosentinel_core.lakes.extraction_readers import ZoneSources, make_lake_readers
from cryosentinel_core.lakes.pixel_classes import classify_water, count_observed, encode_probability
from cryosentinel_core.lakes.tables import LakeOrigin
from cryosentinel_core.report.predict_summary import YearResult
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.units import CELL_PX
from cryosentinel_core.workflows.result_plan import YearPlan


def finish_year(
    plan: YearPlan,
    area: Area,
    segmenter: Segmenter,
    settings: PredictSettings,
    engine: dict[str, Any],
    reporter: Reporter,
) -> YearResult:
    """Mosaics, lakes and the record of one year; kept if they are current.

    Args:
        plan: The year, its tiles segmented.
        area: Of interest.
        segmenter: That segmented them.
        settings: Of prediction.
        engine: What segmenting took, for the record.
        reporter: Told where nothing was to be done.

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
        observed = {epsg: _write_mosaics(plan, epsg, settings) for epsg in zones}
    with watch.stage("lakes"):
        lakes, candidates = _find_lakes(plan, area, zones, segmenter, settings)
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
            "stack_tile_cells": plan.stack_tile_cells,
            "zones": zones,
            "is_network": segmenter.is_network,
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


def _cells_of(plan: YearPlan, epsg: int) -> list[Cell]:
    """The cells of one zone that were segmented."""
    return [cell for job in plan.jobs if job.tile.epsg == epsg for cell in job.cells]


def _rasters_of(plan: YearPlan, epsg: int) -> ZoneRasters:
    return ZoneRasters(
        folder=plan.folder,
        epsg=epsg,
        hull=hull_of_cells(_cells_of(plan, epsg)),
        stack=plan.stack,
        stack_tile_cells=plan.stack_tile_cells,
    )


def _write_mosaics(plan: YearPlan, epsg: int, settings: PredictSettings) -> tuple[int, int]:
    """Write the logit, probability, water and, where asked for, spread rasters of one zone.

    Returns:
        Pixels of processed cells that were seen free of cloud, snow and shadow; and all of them.
    """
    rasters, tags = _rasters_of(plan, epsg), plan.provenance.as_tags()
    jobs = [job for job in plan.jobs if job.tile.epsg == epsg]
    rasters.join("logit", [(job.part, hull_of_cells(job.cells)) for job in jobs], tags)
    if settings.uncertainty:
        rasters.join("spread", [(job.spread_part, hull_of_cells(job.cells)) for job in jobs], tags)
    rasters.write("probability", lambda grid: encode_probability(rasters.read("logit", grid)), tags)
    seen = 0

    def make_water(grid: Grid) -> Any:
        nonlocal seen
        water = classify_water(
            rasters.read("logit", grid), rasters.read_stack("class", grid)[0], settings.water_threshold
        )
        seen += count_observed(water)
        return water

    rasters.write("water", make_water, tags)
    return seen, sum(len(job.cells) for job in jobs) * CELL_PX**2


def _find_lakes(
    plan: YearPlan, area: Area, zones: list[int], segmenter: Segmenter, settings: PredictSettings
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
        cells, rasters = _cells_of(plan, epsg), _rasters_of(plan, epsg)
        sources = zone_sources(rasters, has_spread=settings.uncertainty)
        found.append(
            extract_lakes(
                make_lake_readers(sources, cells, settings.min_elevation_m),
                rasters.hull,
                area.geometry,
                origin,
                threshold=settings.water_threshold,
                min_area_m2=settings.min_area_m2,
            )
        )
    return merge_zones(found)


def zone_sources(rasters: ZoneRasters, *, has_spread: bool = False) -> ZoneSources:
    """Readers of a zone's rasters as they are stored."""
    return ZoneSources(
        logits=lambda grid: rasters.read("logit", grid),
        condition=lambda grid: rasters.read_stack("class", grid),
        dem=lambda grid: rasters.read_stack("dem", grid),
        counts=lambda grid: rasters.read_stack("clear", grid),
        dates=lambda grid: rasters.read_stack("dates", grid),
        spread=(lambda grid: rasters.read("spread", grid)) if has_spread else None,
    )
