"""The corridor for chips: single windows or larger pictures, from GeoTIFFs or a data set of shards; no catalogue and no lattice.

A chip has 15 bands: 12 of Sentinel-2 L2A (reflectance x 10,000), VV and VH (dB), elevation (m). Chips are read in a thread, and a
batch is written while a GPU computes the next. Neighbours: `io.chip_sources` reads the chips, `chips.chip_answer` says what their
logits come to, `io.chip_results` keeps it, `report.chip_summary` tells it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final

from cryosentinel_core.chips.chip import UNKNOWN_YEAR, Chip
from cryosentinel_core.chips.chip_answer import answer_of, lakes_of, lakes_on, nothing_seen, origin_of, result_of
from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.chip_scene import ChipScene, ChipSource
from cryosentinel_core.chips.scene_answer import SceneAnswer
from cryosentinel_core.engine.array_stream import segment_bands
from cryosentinel_core.engine.chip_stream import segment_chips
from cryosentinel_core.engine.job_precision import SAMPLE_WINDOWS, choose_job_precision
from cryosentinel_core.engine.model_loading import build_segmenter, decide_threshold, plain_of
from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.errors import BandError, CryosentinelError, InputError, RasterError
from cryosentinel_core.io.chip_results import ChipResults, NameList, open_results
from cryosentinel_core.io.chip_sources import open_chips
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.workspace import Workspace, remove_leftovers
from cryosentinel_core.lakes.area_band import BAND_REACH_PX
from cryosentinel_core.lakes.plain_rows import rows_of
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.report.chip_summary import ChipsSummary, summarise
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import ChipBatch, Engine, Segmenter, has_spread
from cryosentinel_core.segment.windows import join_batches
from cryosentinel_core.settings.chips import ChipSelection
from cryosentinel_core.settings.predict import PredictSettings


def predict_chips(
    workspace: Workspace, selection: ChipSelection, settings: PredictSettings, *, reporter: Reporter
) -> ChipsSummary:
    """Lakes of the chips of a folder of GeoTIFFs, of one GeoTIFF, or of a data set of shards; what is done is kept.

    Args:
        workspace: Results go to its folder `chip-results`.
        selection: Where the chips lie, and which to take.
        settings: Of prediction; overlap is for what is larger than a window; tiles play no part.
        reporter: Hears progress and warnings.

    Raises:
        InputError: If there is no chip, or none can be used.
        WorkspaceBusy: If another process goes on with the same chips and model.
    """
    # Before weights are looked for, and downloaded.
    source = open_chips(selection)
    segmenter = build_segmenter(settings, reporter)
    settings = decide_threshold(settings, segmenter, reporter)
    results = open_results(
        workspace, selection.path, segmenter.name, with_spread=has_spread(segmenter), name=selection.name
    )
    remove_leftovers(results.folder)

    @cache
    def first_chips() -> list[Chip | ChipScene]:
        """Some in which something was seen."""
        with closing(source.read(lambda name, error: None)) as chips:
            return list(islice((chip for chip in chips if _middle_of(chip) is not None), SAMPLE_WINDOWS))

    choose_job_precision(
        segmenter,
        is_begun=lambda: any(
            _Run(results, segmenter, settings, reporter, source).plan(chip).done for chip in first_chips()
        ),
        sample=lambda: (
            join_batches([batch for chip in first_chips() if (batch := _middle_of(chip)) is not None])
            if first_chips()
            else None
        ),
        reporter=reporter,
    )
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(source.n_chips)
    run = _Run(results, segmenter, settings, reporter, source)
    with hold_part(results.folder, f"predict --chips {selection.path}", reporter):
        run.map_all()
        if not run.found:
            raise InputError(f"none of the {source.words} is a chip", next(iter(run.failed.values()), "it is empty"))
        return run.finish()


_NO_HEIGHTS: Final = (
    "the file has no elevation, which networks look at",
    "add it as the last of 15 bands, or use --model water-index, or cryosentinel_core.segment_dataset, which does without",
)


def _middle_of(chip: Chip | ChipScene) -> ChipBatch | None:
    """One window of a chip; None if nothing was seen there."""
    if isinstance(chip, ChipScene):
        return chip.middle_window()
    return chip.batch if chip.is_observed else None


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One chip, the name that its results go by, and its result if it is done already."""

    name: str
    chip: Chip | ChipScene
    provenance: Provenance
    done: ChipResult | None


class _Run:
    """One run over a source: chips in, logits through the segmenter, results out."""

    def __init__(
        self,
        results: ChipResults,
        segmenter: Segmenter,
        settings: PredictSettings,
        reporter: Reporter,
        source: ChipSource,
    ) -> None:
        self.results, self.segmenter, self.settings = results, segmenter, settings
        self.reporter, self.source = reporter, source
        self.found: dict[str, ChipResult | None] = {}
        self.digests: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.n_reused = 0
        self._names = NameList()
        self._n_done = 0
        self._total = source.n_chips

    def plan(self, chip: Chip | ChipScene) -> _Task:
        """What is to be done for the next chip, under a name of its own."""
        name = self._names.take(chip.name)
        provenance = Provenance(
            kind="chip",
            settings={**_plain(self.segmenter, self.settings), **self._plain_of_windows(chip)},
            inputs={"chip": name, "source": chip.name.source, "sha256": chip.digest},
        )
        return _Task(name=name, chip=chip, provenance=provenance, done=self.results.read_done(name, provenance))

    def _plain_of_windows(self, chip: Chip | ChipScene) -> dict[str, Any]:
        """Settings that change what comes out of a picture of several windows."""
        if isinstance(chip, Chip):
            return {}
        overlap = self.settings.overlap if self.segmenter.blended else 0
        return {"overlap": overlap, "min_elevation_m": self.settings.min_elevation_m, "reading": "piece by piece"}

    def map_all(self) -> None:
        """Every chip: kept if done, else segmented in batches."""
        self._progress()
        with closing(self._todo()) as todo:
            for (task, chip), logits in segment_chips(self.segmenter, todo, lambda item: item[1].batch):
                self._save(task, chip, logits)
        self.reporter.progress("chips", self._total, self._total)
        if self.n_reused:
            self.reporter.note(f"{self.n_reused} of {len(self.found)} chips were done already")

    def _todo(self) -> Generator[tuple[_Task, Chip], None, None]:
        """Chips of one window that the segmenter is to see; the others get their result at once."""
        with closing(prefetch(self.source.read(self._fail), "chips")) as chips:
            for chip in chips:
                if self.segmenter.is_network and not chip.has_heights:
                    self._fail(chip.name.source, BandError(*_NO_HEIGHTS))
                    continue
                task = self.plan(chip)
                self.digests[task.name] = task.provenance.digest
                self.found[task.name] = task.done
                if task.done is not None:
                    self.n_reused += 1
                    self._progress(1)
                elif isinstance(chip, ChipScene):
                    self._map_scene(task, chip)
                elif chip.is_observed:
                    yield task, chip
                else:
                    self._save(task, chip, nothing_seen(chip, with_spread=self.results.with_spread))

    def _save(self, task: _Task, chip: Chip, logits: Any) -> None:
        """Write one chip's rasters, lakes and, last, its record."""
        answer = answer_of(chip, logits, self.settings.water_threshold)
        lakes = lakes_of(chip, answer, task.name, self.segmenter, self.settings)
        self.results.write_rasters(task.name, answer.layers(), chip.place, task.provenance)
        self._record(task, result_of(chip, answer, len(lakes)), lakes)

    def _map_scene(self, task: _Task, scene: ChipScene) -> None:
        """The same of a picture that is larger than a window, band by band over the disk."""
        try:
            with self.results.draft_planes(task.name, scene.grid) as (logit, spread):
                answer = SceneAnswer(scene, logit, spread, self.settings.water_threshold)
                bands = segment_bands(self.segmenter, scene.grid, scene.read, self.settings, self.reporter)
                for band in bands:
                    answer.add(band.logits, band.valid)
                origin = origin_of(task.name, UNKNOWN_YEAR, self.segmenter, radar_used=scene.has_radar)
                lakes = lakes_on(scene.place, answer.readers(), origin, self.settings)
                self.results.write_rasters(task.name, answer.layers(), scene.place, task.provenance)
        except RasterError as error:
            del self.found[task.name], self.digests[task.name]
            self._fail(scene.name.source, error)
            return
        self._record(task, answer.result(len(lakes)), lakes)

    def _record(self, task: _Task, result: ChipResult, lakes: Any) -> None:
        self.results.write_record(task.name, result, rows_of(lakes), task.provenance)
        self.found[task.name] = result
        self._progress(1)

    def _fail(self, name: str, error: CryosentinelError) -> None:
        self.failed[name] = f"{error.message}; {error.hint}" if error.hint else error.message
        self.reporter.warn(f"{name} skipped: {self.failed[name]}")

    def _progress(self, more: int = 0) -> None:
        self._n_done += more
        done = self._n_done + len(self.failed)
        self.reporter.progress("chips", done, max(self._total, done))

    def finish(self) -> ChipsSummary:
        """Write the table of lakes and the run's record."""
        found = {name: result for name, result in self.found.items() if result is not None}
        summary = summarise(self.results.folder, found, self.failed, self.n_reused)
        for warning in summary.warnings:
            self.reporter.warn(warning)
        provenance = Provenance(
            kind="lakes of chips",
            settings=_plain(self.segmenter, self.settings),
            inputs={"source": self.source.describe(), "n_chips": len(found), "chips": digest_of(self.digests)},
            warnings=summary.warnings,
        )
        with_lakes = [name for name, result in found.items() if result.n_components]
        summary = summary.with_lakes(self.results.write_tables(with_lakes, provenance))
        self.results.write_run(provenance, summary.as_dict())
        return summary


def _plain(segmenter: Segmenter, settings: PredictSettings) -> dict[str, Any]:
    """All settings that change what comes out."""
    band = {"area_band": {"reach_px": BAND_REACH_PX}} if has_spread(segmenter) else {}
    return {
        **plain_of(segmenter),
        **band,
        "threshold": settings.water_threshold,
        "min_area_m2": settings.min_area_m2,
        "uncertainty": segmenter.error_model.as_dict(),
    }
