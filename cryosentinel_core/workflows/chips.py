"""The corridor for chips: single windows, from a folder of GeoTIFFs or a data set of shards; no catalogue and no lattice.

A chip has 15 bands: 12 of Sentinel-2 L2A (reflectance x 10,000), VV and VH (dB), elevation (m). Results lie under
`<workspace>/chips/`: `<name>_logit.tif`, `<name>_probability.tif`, `<name>_water.tif`, where asked for `<name>_spread.tif`, and one
`lakes.gpkg` and `run.json` for all. A chip's record, its lakes in it, stays in `parts/`, so that a run goes on where it stopped and
does nothing twice; that folder may be deleted. Chips are read in a thread, and a batch is written while a GPU computes the next.
Neighbours: `chip_sources` reads the chips, `chip_results` holds what they come to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from cryosentinel_core.chips.metrics import Counts, count_pixels
from cryosentinel_core.engine.model_loading import build_segmenter, plain_of
from cryosentinel_core.engine.precision import SAMPLE_WINDOWS, settle_precision
from cryosentinel_core.engine.prefetch import ahead
from cryosentinel_core.errors import CryosentinelError, InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.chip_sources import Chip, ChipSource, open_chips
from cryosentinel_core.io.rasters.cogs import write_cog_in_strips
from cryosentinel_core.io.rasters.mosaic import LOGIT_LAYER, PROBABILITY_LAYER, SPREAD_LAYER, WATER_LAYER
from cryosentinel_core.io.tables.vector import write_lakes
from cryosentinel_core.io.workspace import Workspace, is_current, read_json, remove_leftovers, safe_name, write_json
from cryosentinel_core.lakes.area_band import BAND_REACH_PX
from cryosentinel_core.lakes.components import level_of_threshold
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders
from cryosentinel_core.lakes.uncertainty import model_of_segmenter
from cryosentinel_core.lakes.water_mask import WATER_LAKE, WATER_LAND, WATER_UNOBSERVED, encode_probability
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.report.chip_summary import ChipResult, ChipsSummary, rows_of, table_of, warnings_of
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.radiometry import check_offset
from cryosentinel_core.segment.batches import begin_batch, stage_batch
from cryosentinel_core.segment.segmenter import Engine, Segmenter, has_spread
from cryosentinel_core.segment.windows import encode_logits, encode_spread, join_batches, pad_halo
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings
from cryosentinel_core.units import LOGIT_NODATA, PIXEL_M

_LAYERS: Final = {"logit": LOGIT_LAYER, "probability": PROBABILITY_LAYER, "water": WATER_LAYER, "spread": SPREAD_LAYER}
"""Kind of raster, as in file names -> how it is stored; the last only where there is a spread."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One chip and where its results go."""

    name: str
    chip: Chip
    folder: Path
    provenance: Provenance
    has_spread: bool

    @property
    def record(self) -> Path:
        return self.folder / "parts" / f"{self.name}.json"

    def raster(self, kind: str) -> Path:
        return self.folder / f"{self.name}_{kind}.tif"

    def done(self) -> ChipResult | None:
        """The result on disk if it is the one asked for and whole."""
        kinds = [kind for kind in _LAYERS if self.has_spread or kind != "spread"]
        if not is_current(self.record, self.provenance, *map(self.raster, kinds)):
            return None
        return ChipResult.from_record(read_json(self.record))


def predict_chips(
    workspace: Workspace,
    path: Path,
    settings: PredictSettings,
    *,
    reporter: Reporter,
    regions: Sequence[str] = (),
    years: Sequence[int] = (),
    n_chips: int | None = None,
) -> ChipsSummary:
    """Lakes of the chips of a folder of GeoTIFFs, of one GeoTIFF, or of a data set of shards; what is done is kept.

    Args:
        workspace: Results go to its folder `chips`.
        path: Of the chips.
        settings: Of prediction; overlap and tiles play no part.
        reporter: Hears progress and warnings.
        regions: Only these, of a data set; empty for all.
        years: Only these, of a data set; empty for all.
        n_chips: At most so many chips, the first.

    Raises:
        InputError: If there is no chip, or none can be used.
    """
    # Before weights are looked for, and downloaded.
    source = open_chips(path, regions=regions, years=years, n_chips=n_chips)
    segmenter = build_segmenter(settings)
    folder = workspace.root / "chips"
    remove_leftovers(folder)

    @cache
    def first_chips() -> list[Chip]:
        """Some in which something was seen."""
        with closing(source.read(lambda name, error: None)) as chips:
            return list(islice((chip for chip in chips if chip.batch.valid.any()), SAMPLE_WINDOWS))

    settle_precision(
        segmenter,
        is_begun=lambda: any(
            task.done() for task in map(_Run(folder, segmenter, settings, reporter, source).plan, first_chips())
        ),
        sample=lambda: join_batches([chip.batch for chip in first_chips()]) if first_chips() else None,
        reporter=reporter,
    )
    if isinstance(segmenter, Engine):
        segmenter.prepare_for(source.n_chips)
    run = _Run(folder, segmenter, settings, reporter, source)
    run.read_all()
    if not run.results:
        reason = next(iter(run.failed.values()), "it is empty")
        raise InputError(f"none of the {source.words} is a chip", reason)
    return run.finish()


class _Run:
    """One run over a source: chips in, batches through the segmenter, results out."""

    def __init__(
        self, folder: Path, segmenter: Segmenter, settings: PredictSettings, reporter: Reporter, source: ChipSource
    ) -> None:
        self.folder, self.segmenter, self.settings = folder, segmenter, settings
        self.reporter, self.source = reporter, source
        self.results: dict[str, ChipResult | None] = {}
        self.digests: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.n_reused = 0
        self._names: set[str] = set()
        self._waiting: list[_Task] = []
        self._late: tuple[list[_Task], Callable[[], NDArray[np.float32]]] | None = None
        self._total = source.n_chips

    def read_all(self) -> None:
        """Every chip: kept if done, else segmented in batches."""
        self._progress()
        with closing(ahead(self.source.read(self._fail), "chips")) as chips:
            for chip in chips:
                self._take(chip)
                self._progress()
        self._segment()
        self._write_late()
        self.reporter.progress("chips", self._total, self._total)
        if self.n_reused:
            self.reporter.note(f"{self.n_reused} of {len(self.results)} chips were done already")

    def _progress(self) -> None:
        done = len(self.results) + len(self.failed) - len(self._waiting)
        if self._late is not None:
            done -= len(self._late[0])
        self.reporter.progress("chips", done, max(self._total, done))

    def _fail(self, name: str, error: CryosentinelError) -> None:
        self.failed[name] = error.message
        self.reporter.warn(f"{name} skipped: {error.message}")

    def plan(self, chip: Chip) -> _Task:
        """What is to be done for the next chip, under a name of its own."""
        name = self._free_name(chip.chip_id)
        provenance = Provenance(
            kind="chip",
            settings=_plain(self.segmenter, self.settings),
            inputs={"chip": name, "sha256": chip.digest},
        )
        return _Task(
            name=name, chip=chip, folder=self.folder, provenance=provenance, has_spread=has_spread(self.segmenter)
        )

    def _take(self, chip: Chip) -> None:
        task = self.plan(chip)
        self.digests[task.name] = task.provenance.digest
        self.results[task.name] = task.done()
        if self.results[task.name] is not None:
            self.n_reused += 1
        elif not chip.batch.valid.any():
            nothing = np.zeros(chip.batch.valid.shape[1:], dtype=np.float32)
            self._write(task, np.stack([nothing, nothing]) if task.has_spread else nothing)
        else:
            self._waiting.append(task)
            if len(self._waiting) >= self.segmenter.batch_size:
                self._segment()

    def _free_name(self, chip_id: str) -> str:
        """A file name that no other chip of this run has, not even on a disk that ignores case."""
        wanted = safe_name(chip_id, "chip")
        name, number = wanted, 1
        while name.casefold() in self._names:
            number += 1
            name = f"{wanted}-{number}"
        self._names.add(name.casefold())
        return name

    def _segment(self) -> None:
        """Start the waiting chips through the segmenter; then write the batch before."""
        if not self._waiting:
            return
        tasks, self._waiting = self._waiting, []
        batch = pad_halo(join_batches([task.chip.batch for task in tasks]), self.segmenter.halo_px)
        coming = begin_batch(self.segmenter, stage_batch(self.segmenter, batch))
        self._write_late()
        self._late = tasks, coming

    def _write_late(self) -> None:
        """Write the chips whose batch was started last."""
        if self._late is None:
            return
        (tasks, coming), self._late = self._late, None
        for task, logits in zip(tasks, coming(), strict=False):
            self._write(task, logits)

    def _write(self, task: _Task, logits: NDArray[np.float32]) -> None:
        self.results[task.name] = _write_chip(task, logits, self.segmenter, self.settings)

    def finish(self) -> ChipsSummary:
        """Write the table of lakes and the run's record."""
        results = {name: result for name, result in self.results.items() if result is not None}
        warnings = warnings_of(results)
        for warning in warnings:
            self.reporter.warn(warning)
        provenance = Provenance(
            kind="lakes of chips",
            settings=_plain(self.segmenter, self.settings),
            inputs={"source": self.source.describe(), "n_chips": len(results), "chips": digest_of(self.digests)},
            warnings=tuple(warnings),
        )
        n_lakes = self._write_lakes(results, provenance)
        labelled = [result.counts for result in results.values() if result.counts is not None]
        summary = ChipsSummary(
            folder=self.folder,
            water_share={name: result.water_share for name, result in results.items()},
            n_lakes=n_lakes,
            n_reused=self.n_reused,
            n_labelled=len(labelled),
            counts=sum(labelled, Counts()),
            failed=self.failed,
            warnings=tuple(warnings),
        )
        told = {name: value for name, value in summary.as_dict().items() if name not in ("folder", "n_reused")}
        write_json(self.folder / "run.json", {**provenance.as_dict(), **told, "nodata_logit": LOGIT_NODATA})
        return summary

    def _write_lakes(self, results: Mapping[str, ChipResult], provenance: Provenance) -> int:
        """One lakes file for all chips, unless it is there; how many lakes are in it."""
        record = self.folder / "run.json"
        if is_current(record, provenance, self.folder / "lakes.gpkg", self.folder / "lakes.parquet"):
            n_lakes = read_json(record).get("n_lakes")
            if isinstance(n_lakes, int):
                return n_lakes
        record.unlink(missing_ok=True)
        rows: list[dict[str, Any]] = []
        for name, result in results.items():
            if result.n_components:
                rows += read_json(self.folder / "parts" / f"{name}.json")["lakes"]
        lakes, candidates = merge_zones([table_of(rows, with_band=has_spread(self.segmenter))])
        write_lakes(self.folder, lakes, candidates, provenance)
        return len(lakes)


def _plain(segmenter: Segmenter, settings: PredictSettings) -> dict[str, Any]:
    """All settings that change what comes out."""
    band = {"area_band": {"reach_px": BAND_REACH_PX}} if has_spread(segmenter) else {}
    return {
        **plain_of(segmenter),
        **band,
        "threshold": settings.threshold,
        "min_area_m2": settings.min_area_m2,
        "uncertainty": model_of_segmenter(segmenter.name != WATER_INDEX).as_dict(),
    }


def _write_chip(
    task: _Task, logits: NDArray[np.float32], segmenter: Segmenter, settings: PredictSettings
) -> ChipResult:
    """Write one chip's rasters, lakes and, last, its record.

    Args:
        task: The chip.
        logits: (H, W) float32, or with a spread (2, H, W), mean and variance over the members.
        segmenter: That gave them.
        settings: Of prediction.
    """
    chip, valid = task.chip, task.chip.batch.valid[0]
    mean, variance = logits if task.has_spread else (logits, None)
    stored = encode_logits(mean, valid)
    spread = None if variance is None else encode_spread(np.sqrt(variance), valid)
    is_water = stored > level_of_threshold(settings.threshold)
    water = np.where(valid, np.where(is_water, WATER_LAKE, WATER_LAND), WATER_UNOBSERVED).astype(np.uint8)
    grid = Grid(epsg=32601, row=0, col=0, height=valid.shape[0], width=valid.shape[1])
    # Without a place: metres from the upper left corner, in no coordinate reference system.
    nowhere = (None, Affine(PIXEL_M, 0.0, 0.0, 0.0, -PIXEL_M, 0.0))
    place = nowhere if chip.place is None else (chip.place.crs, chip.place.transform)
    task.record.unlink(missing_ok=True)
    arrays: dict[str, NDArray[Any] | None] = {
        "logit": stored,
        "probability": encode_probability(stored),
        "water": water,
        "spread": spread,
    }
    for kind, layer in _LAYERS.items():
        array = arrays[kind]
        if array is None:
            task.raster(kind).unlink(missing_ok=True)  # of an earlier run
            continue
        write_cog_in_strips(
            task.raster(kind), grid, layer, task.provenance.as_tags(), _reader(array, grid), place=place
        )
    lakes: list[dict[str, Any]] = []
    if chip.place is not None and is_water.any():
        lakes = rows_of(_lakes_of(task, stored, spread, grid, segmenter, settings))
    suspect = check_offset(chip.batch.s2[0])
    result = ChipResult(
        n_water_px=int((water == WATER_LAKE).sum()),
        n_observed_px=int(valid.sum()),
        n_components=len(lakes),
        is_placed=chip.place is not None,
        offset_warning=suspect.message if suspect.is_suspect else "",
        counts=None if chip.label is None else count_pixels(water == WATER_LAKE, chip.label, chip.measured),
    )
    write_json(task.record, {**task.provenance.as_dict(), "result": asdict(result), "lakes": lakes})
    return result


def _reader(array: NDArray[Any], grid: Grid) -> Any:
    return lambda strip: array[strip.slices_in(grid)]


def _lakes_of(
    task: _Task,
    stored: NDArray[np.int16],
    spread: NDArray[np.uint16] | None,
    grid: Grid,
    segmenter: Segmenter,
    settings: PredictSettings,
) -> geopandas.GeoDataFrame:
    """Lakes of one placed chip; its edge counts as the edge of the processed ground."""
    chip, place = task.chip, task.chip.place
    if place is None:
        raise ValueError(f"chip {task.name} has no place")
    corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
    a, b, c, d, e, f = tuple(place.transform)[:6]
    xy = np.array([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])
    lon, lat = Transformer.from_crs(place.crs, 4326, always_xy=True).transform(xy[:, 0], xy[:, 1])
    readers = LakeReaders(
        logits=lambda part: stored[part.slices_in(grid)],
        processed=lambda part: np.ones(part.shape, dtype=bool),
        dem=lambda part: chip.batch.dem[0, 0][part.slices_in(grid)],
        spread=None if spread is None else _reader(spread, grid),
    )
    origin = LakeOrigin(
        aoi=task.name,
        year=chip.year,
        model=segmenter.name,
        radar_used=chip.batch.s1 is not None,
        is_network=segmenter.name != WATER_INDEX,
    )
    return extract_lakes(
        readers,
        grid,
        shapely.buffer(shapely.Polygon(np.column_stack([lon, lat])), 1e-3),
        origin,
        threshold=settings.threshold,
        min_area_m2=settings.min_area_m2,
        transform=place.transform,
        crs=place.crs,
    )
