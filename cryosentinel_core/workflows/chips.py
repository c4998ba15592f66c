"""The corridor for chips: single windows or larger pictures, from GeoTIFFs or a data set of shards; no catalogue and no lattice.

A chip has 15 bands: 12 of Sentinel-2 L2A (reflectance x 10,000), VV and VH (dB), elevation (m). Chips are read in a thread, and a
batch is written while a GPU computes the next. Neighbours: `io.chip_sources` reads the chips, `chips.chip_answer` says what their
logits come to, `io.chip_results` keeps it, `report.chip_summary` tells it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

from cryosentinel_core.chips.chip import Chip, ChipSource
from cryosentinel_core.chips.chip_answer import answer_of, lakes_of, nothing_seen, result_of
from cryosentinel_core.chips.chip_result import ChipResult
from cryosentinel_core.chips.scene_pixels import grid_of_chip, middle_window, read_pixels
from cryosentinel_core.engine.array_stream import segment_grid
from cryosentinel_core.engine.chip_stream import segment_chips
from cryosentinel_core.engine.job_precision import SAMPLE_WINDOWS, choose_job_precision
from cryosentinel_core.engine.model_loading import build_segmenter, decide_threshold, plain_of
from cryosentinel_core.engine.prefetch import prefetch
from cryosentinel_core.errors import CryosentinelError, InputError
from cryosentinel_core.io.chip_results import ChipResults, NameList, open_results
from cryosentinel_core.io.chip_sources import open_chips
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.workspace import Workspace, remove_leftovers
from cryosentinel_core.lakes.area_band import BAND_REACH_PX
from cryosentinel_core.lakes.plain_rows import rows_of
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.report.chip_summary import ChipsSummary, summarise
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.segment.segmenter import Engine, Segmenter, has_spread
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
    def first_chips() -> list[Chip]:
        """Some in which something was seen."""
        with closing(source.read(lambda name, error: None)) as chips:
            return list(islice((chip for chip in chips if chip.is_observed), SAMPLE_WINDOWS))

    choose_job_precision(
        segmenter,
        is_begun=lambda: any(
            _Run(results, segmenter, settings, reporter, source).plan(chip).done for chip in first_chips()
        ),
        sample=lambda: join_batches([middle_window(chip) for chip in first_chips()]) if first_chips() else None,
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


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One chip, the name that its results go by, and its result if it is done already."""

    name: str
    chip: Chip
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

    def plan(self, chip: Chip) -> _Task:
        """What is to be done for the next chip, under a name of its own."""
        name = self._names.take(chip.name)
        provenance = Provenance(
            kind="chip",
            settings={**_plain(self.segmenter, self.settings), **self._plain_of_windows(chip)},
            inputs={"chip": name, "source": chip.name.source, "sha256": chip.digest},
        )
        return _Task(name=name, chip=chip, provenance=provenance, done=self.results.read_done(name, provenance))

    def _plain_of_windows(self, chip: Chip) -> dict[str, Any]:
        """Settings that change what comes out of a chip of several windows."""
        if not chip.is_scene:
            return {}
        overlap = self.settings.overlap if self.segmenter.blended else 0
        return {"overlap": overlap, "min_elevation_m": self.settings.min_elevation_m}

    def map_all(self) -> None:
        """Every chip: kept if done, else segmented in batches."""
        self._progress()
        with closing(self._todo()) as todo:
            for task, logits in segment_chips(self.segmenter, todo, lambda task: task.chip.batch):
                self._save(task, logits)
        self.reporter.progress("chips", self._total, self._total)
        if self.n_reused:
            self.reporter.note(f"{self.n_reused} of {len(self.found)} chips were done already")

    def _todo(self) -> Generator[_Task, None, None]:
        """Chips that the segmenter is to see; the others get their result at once."""
        with closing(prefetch(self.source.read(self._fail), "chips")) as chips:
            for chip in chips:
                task = self.plan(chip)
                self.digests[task.name] = task.provenance.digest
                self.found[task.name] = task.done
                if task.done is not None:
                    self.n_reused += 1
                    self._progress(1)
                elif chip.is_observed and chip.is_scene:
                    self._save(task, self._segment_scene(chip))
                elif chip.is_observed:
                    yield task
                else:
                    self._save(task, nothing_seen(chip, with_spread=self.results.with_spread))

    def _segment_scene(self, chip: Chip) -> Any:
        """Logits of a chip that is larger than a window."""
        read = partial(read_pixels, chip)
        return segment_grid(self.segmenter, grid_of_chip(chip), read, self.settings, self.reporter).logits

    def _save(self, task: _Task, logits: Any) -> None:
        """Write one chip's rasters, lakes and, last, its record."""
        chip = task.chip
        answer = answer_of(chip, logits, self.settings.water_threshold)
        lakes = rows_of(lakes_of(chip, answer, task.name, self.segmenter, self.settings))
        result = result_of(chip, answer, len(lakes))
        self.results.write_rasters(task.name, answer, chip.place, task.provenance)
        self.results.write_record(task.name, result, lakes, task.provenance)
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
