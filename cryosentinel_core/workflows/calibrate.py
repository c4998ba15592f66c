"""The corridor from chips with polygons to a calibration beside the weights: logits once, then outlines at every threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd

from cryosentinel_core.chips.scores import Scores
from cryosentinel_core.engine.chip_logits import logits_of_chips
from cryosentinel_core.engine.model_loading import build_segmenter
from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.errors import InputError
from cryosentinel_core.io.hub_datasets import open_dataset
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.io.weights.calibration_files import digest_of_weights, write_calibration
from cryosentinel_core.io.weights.model_files import resolve_model
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.learn.calibration import (
    CALIBRATION_THRESHOLDS,
    Calibration,
    fit_errors,
    fit_logits,
    fit_threshold,
    judge_held_out,
)
from cryosentinel_core.learn.calibration_pairs import MeasuredLake, measure_lakes, pairs_of
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.calibration import CalibrationSummary
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.evaluate import SplitChips


@dataclass(frozen=True)
class _Polygons:
    """Lakes with polygons, by year; one inventory alone serves every year."""

    tables: Mapping[int, gpd.GeoDataFrame]

    def of(self, year: int) -> gpd.GeoDataFrame | None:
        """The year's own; None where there are several and none is of the year."""
        if year in self.tables:
            return self.tables[year]
        return next(iter(self.tables.values())) if len(self.tables) == 1 else None


def calibrate(
    data: str | Path,
    inventories: Sequence[Inventory],
    predicting: PredictSettings,
    settings: EvaluateSettings,
    *,
    reporter: Reporter,
) -> CalibrationSummary:
    """Learn a network's calibration from chips whose lakes have polygons, and keep it beside the weights.

    Args:
        data: Folder of shards, or `hf://datasets/...`.
        inventories: Polygons of one year or several.
        predicting: Which weights, and how they compute.
        settings: Which chips.
        reporter: Hears progress and warnings.

    Raises:
        InputError: If too few lakes have a polygon and an outline.
        ModelError: If the weights cannot be had, read or run.
    """
    path = resolve_model(predicting.model)
    polygons = _Polygons({one.year: read_inventory(one, reporter) for one in inventories})
    dataset = open_dataset(data, regions=settings.regions, years=settings.years, reporter=reporter)
    chips = SplitChips(dataset, settings, reporter)
    predicting = predicting.model_copy(update={"threshold": predicting.water_threshold})
    segmenter = build_segmenter(predicting)
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(len(chips.index))
    scores, lakes = Scores(), list[MeasuredLake]()
    with closing(prefetch(chips.read(), "chips")) as coming:
        for chip, (logits,) in logits_of_chips(coming, [segmenter]):
            facts = chips.facts.popleft()
            if chip.label is not None:
                scores.add(facts, logits, chip.label, chip.measured)
            table = polygons.of(chip.year)
            if table is not None:
                lakes += measure_lakes(chip, logits, table, segmenter, facts.block, CALIBRATION_THRESHOLDS)
            reporter.progress("chips", chips.n_read, len(chips.index))
    if not lakes:
        raise InputError("no polygon lies wholly inside a chip", "do the inventory and the chips show the same ground?")
    pairs = pairs_of(lakes, CALIBRATION_THRESHOLDS)
    threshold = fit_threshold(pairs)
    slope, intercept = fit_logits(scores.histogram())
    found = Calibration(
        tensors_sha256=digest_of_weights(path, predicting.weights),
        slope=slope,
        intercept=intercept,
        threshold=threshold,
        error_model=fit_errors(pairs, threshold),
        evidence={"held_out": judge_held_out(pairs), **_origin(data, inventories, predicting, settings)},
    )
    return CalibrationSummary(path=write_calibration(path, found), calibration=found, failed=chips.failed)


def _origin(
    data: str | Path, inventories: Sequence[Inventory], predicting: PredictSettings, settings: EvaluateSettings
) -> dict[str, Any]:
    """What the calibration was made from, as plain data."""
    provenance = Provenance(
        kind="calibration",
        settings={"split": settings.split, "weights": predicting.weights, "tta": predicting.tta},
        inputs={"data": Path(data).name, "lakes": [Path(one.path).name for one in inventories]},
    )
    return {"origin": provenance.as_dict()}
