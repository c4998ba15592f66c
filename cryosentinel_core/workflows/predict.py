"""The corridor from stacks to lakes: fetch what is missing, segment tile by tile, mosaic by zone, vectorise.

Writes `<aoi>/<year>/<model>/`: `logit_<epsg>.tif`, `probability_<epsg>.tif`, `water_<epsg>.tif`, `lakes.gpkg`,
`lakes.parquet`, `run.json` and, where asked for, `spread_<epsg>.tif`. The logits of each tile stay in `tiles/`, so that a run
goes on where it stopped and a tile that changed is the only one done again; that folder may be deleted. Neighbours:
`engine.dispatch` runs the tiles; `predict_year` makes the year's files of them; `predict_summary` says what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cryosentinel_core.engine.dispatch import segment_tiles
from cryosentinel_core.engine.job_precision import choose_job_precision, sample_windows
from cryosentinel_core.engine.model_loading import build_segmenter, decide_threshold, devices_for
from cryosentinel_core.engine.threads import continue_with_threads
from cryosentinel_core.engine.tile_jobs import TileJob
from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.locks import hold_parts
from cryosentinel_core.io.workspace import Workspace, remove_leftovers
from cryosentinel_core.report.predict_summary import PredictSummary
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Segmenter
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.fetch import fetch
from cryosentinel_core.workflows.predict_year import finish_year
from cryosentinel_core.workflows.result_plan import YearPlan, YearStack, plan_year


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
    segmenter = build_segmenter(settings, reporter)
    settings = decide_threshold(settings, segmenter, reporter)
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
            plan_year(
                workspace,
                area,
                YearStack(
                    year=year,
                    folder=fetched.stacks[year],
                    tile_cells=fetching.tile_cells,
                    recipe=fetched.recipe,
                    warnings=tuple(warnings_of_years[year]),
                ),
                segmenter,
                settings,
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
            results.append(finish_year(plan, area, segmenter, settings, engine, reporter))
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
