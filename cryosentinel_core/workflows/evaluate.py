"""The corridor of judging: chips of a split through a model and the water index once, and every figure from what they leave.

Writes `per_chip_<split>.parquet`, `per_region_breakdown.json`, `threshold_sweep.json`, `evaluation_<split>.json` and a picture of
each kind. Nothing is kept of the logits. Neighbours: `chips.judgement` makes the figures, `report.evaluation` the files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryosentinel_core.chips.chip import Chip, chip_of_row
from cryosentinel_core.chips.chip_index import ChipIndex
from cryosentinel_core.chips.corrections import WrongLabels
from cryosentinel_core.chips.judged_chips import facts_of_row, leave_out_wrong, take_split
from cryosentinel_core.chips.judgement import compare, judge, judge_seen, rows_of_scores
from cryosentinel_core.chips.scores import ChipFacts, Scores
from cryosentinel_core.chips.split import BlockSplit
from cryosentinel_core.engine.chip_logits import logits_of_chips
from cryosentinel_core.engine.model_loading import build_segmenter, plain_of
from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.errors import CryosentinelError, InputError
from cryosentinel_core.io.dataset_record import recorded_split
from cryosentinel_core.io.hub_datasets import open_dataset
from cryosentinel_core.io.shards import ShardDataset
from cryosentinel_core.io.tables.chip_corrections import read_corrections
from cryosentinel_core.io.workspace import safe_name
from cryosentinel_core.report.evaluation import EvaluationSummary, write_evaluation
from cryosentinel_core.report.evaluation_pictures import draw_evaluation
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine, Segmenter
from cryosentinel_core.segment.water_index import WaterIndex
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings


def evaluate_chips(
    data: str | Path,
    predicting: PredictSettings,
    settings: EvaluateSettings,
    folder: Path,
    *,
    reporter: Reporter,
    is_parent: bool = False,
) -> EvaluationSummary:
    """Judge a model on the chips of a data set.

    Args:
        data: Folder of shards, or `hf://datasets/...`.
        predicting: Which model, and how it computes.
        settings: Which chips.
        folder: Where the files go.
        reporter: Hears progress and warnings.
        is_parent: Whether the files go into a folder of the model's name below `folder`.

    Raises:
        InputError: If no chip is of the split.
        ModelError: If the weights cannot be had, read or run.
    """
    dataset = open_dataset(data, regions=settings.regions, years=settings.years, reporter=reporter)
    chips = SplitChips(dataset, settings, reporter)
    segmenter = build_segmenter(predicting)
    judged: list[Segmenter] = [segmenter]
    if settings.with_water_index and segmenter.name != WATER_INDEX:
        judged.append(WaterIndex())
    scores = {one.name: Scores(predicting.water_threshold) for one in judged}
    needs_radar = predicting.modalities is None or "S1GRD" in predicting.modalities
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(len(chips.index))
    with closing(prefetch(chips.read(), "chips")) as coming:
        for chip, answers in logits_of_chips(coming, judged):
            facts = chips.facts.popleft()
            valid = chip.measured if needs_radar else chip.batch.valid[0]
            if chip.label is None:
                raise AssertionError(f"chip {chip.name.chip_id} of a shard has no label")
            for one, logits in zip(judged, answers, strict=True):
                scores[one.name].add(facts, logits, chip.label, valid)
            reporter.progress("chips", chips.n_read, len(chips.index))
    reporter.progress("chips", len(chips.index), len(chips.index))
    where = folder / safe_name(segmenter.name) if is_parent else folder
    return _finish(segmenter, scores, chips, predicting, settings, data, where, reporter)


class SplitChips:
    """The chips of one split, in the order of their shards, and what became of the others.

    Args:
        dataset: Of shards.
        settings: Which chips.
        reporter: Hears what cannot be read.
    """

    def __init__(self, dataset: ShardDataset, settings: EvaluateSettings, reporter: Reporter) -> None:
        self.dataset, self.settings, self.reporter = dataset, settings, reporter
        self.blocks = _blocks_of(dataset.root, settings)
        self.wrong = WrongLabels(read_corrections(settings.exclude) if settings.exclude else ())
        self.facts: deque[ChipFacts] = deque()
        self.failed: dict[str, str] = {}
        self.n_read = self.n_excluded = 0
        self.index = self._choose()
        self.n_unplaced = self.index.n_unplaced

    def _choose(self) -> ChipIndex:
        """The rows that are judged on, from what shards say without their pixels."""
        settings = self.settings
        index = self.dataset.read_index(settings.regions, settings.years, on_error=self._fail)
        of_split = take_split(index, settings.split, self.blocks)
        right = leave_out_wrong(of_split, self.wrong)
        self.n_excluded = len(of_split) - len(right)
        return right.first(settings.n_chips)

    def read(self) -> Generator[Chip, None, None]:
        """The chips; facts of each are put behind those in `facts`."""
        for _, row in self.dataset.read_indexed(self.index, on_error=self._fail):
            self.n_read += 1
            try:
                chip = chip_of_row(row)
            except InputError as error:
                self._fail(f"{row.region}/{row.year}#{row.chip_id}", error)
                continue
            self.facts.append(facts_of_row(row, self.blocks))
            yield chip

    def _fail(self, name: str, error: CryosentinelError) -> None:
        self.failed[name] = error.message
        self.reporter.warn(f"{name} skipped: {error.message}")


def _blocks_of(root: Path, settings: EvaluateSettings) -> BlockSplit | None:
    """The block split that is meant; None for the column."""
    size = settings.block_size_deg
    if size == "column":
        return None
    if size == "recorded":
        return recorded_split(root) or BlockSplit()
    return BlockSplit(size_deg=size, buffer_deg=settings.block_buffer_deg)


def _seen_splits(settings: EvaluateSettings) -> list[BlockSplit]:
    """The splits by which the weights were trained, as far as that is known."""
    return [
        *(BlockSplit(**split) for split in settings.seen_splits),
        *(BlockSplit.of_size(size) for size in settings.seen_sizes_deg),
    ]


def _finish(
    segmenter: Segmenter,
    scores: dict[str, Scores],
    chips: SplitChips,
    predicting: PredictSettings,
    settings: EvaluateSettings,
    data: str | Path,
    folder: Path,
    reporter: Reporter,
) -> EvaluationSummary:
    """Figures, files and pictures of what was counted."""
    own = scores[segmenter.name]
    if not len(own):
        asked = f"no chip of {data} is of the split {settings.split!r}"
        raise InputError(asked, "try another --split, --split all, or --block-size column")
    figures = {name: judge(one, confidence=settings.confidence) for name, one in scores.items()}
    warnings = _warnings(chips, figures[segmenter.name])
    for warning in warnings:
        reporter.warn(warning)
    summary = EvaluationSummary(
        folder=folder,
        data=data,
        split=settings.split,
        model=segmenter.name,
        about=_about(segmenter, predicting, settings, chips),
        figures=figures,
        differences={
            name: compare(own, other, confidence=settings.confidence).as_dict()
            for name, other in scores.items()
            if name != segmenter.name
        },
        seen=judge_seen(own, _seen_splits(settings), confidence=settings.confidence),
        n_excluded=chips.n_excluded,
        failed=chips.failed,
        warnings=tuple(warnings),
    )
    others = {name.replace("-", "_"): one for name, one in scores.items() if name != segmenter.name}
    files = write_evaluation(summary, rows_of_scores(own, others))
    return replace(summary, files={**files, **draw_evaluation(folder, settings.split, figures)})


def _about(
    segmenter: Segmenter, predicting: PredictSettings, settings: EvaluateSettings, chips: SplitChips
) -> dict[str, Any]:
    """How it was judged, as plain data."""
    return {
        **plain_of(segmenter),
        "weights": predicting.weights,
        "tta": predicting.tta,
        "precision": predicting.precision,
        "modalities": None if predicting.modalities is None else list(predicting.modalities),
        "blocks": None if chips.blocks is None else chips.blocks.as_dict(),
        "confidence": settings.confidence,
        "intervals": "studentised bootstrap of blocks of ground, each with all its chips of all years",
    }


def _warnings(chips: SplitChips, figures: dict[str, Any]) -> list[str]:
    """What a reader should know."""
    found = []
    if chips.n_unplaced:
        found.append(
            f"{chips.n_unplaced} chips have no latitude and longitude: their split is that of the column, and those of one region "
            "count as one block"
        )
    if figures["n_without_pixels"]:
        found.append(
            f"{figures['n_without_pixels']} of {figures['n_chips']} chips have no pixel that all sensors saw: they count in no ratio "
            "of pixels, and 1 in the mean per chip"
        )
    if chips.wrong.unmet:
        found.append(f"not in this split, so not left out: {', '.join(chips.wrong.unmet[:20])}")
    return found
