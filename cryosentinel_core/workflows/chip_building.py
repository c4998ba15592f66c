"""The corridor from stacks and outlines to a data set of chips: fetch what is missing, choose windows, cut shards.

Writes `<data_dir>/<region>/<year>/shard_<epsg>_<tile>.parquet`, a record beside each, and `dataset.json` over all. What is done and
unchanged is kept, so that a build goes on where it stopped. Neighbours: `chip_shards` makes one shard; `report.chip_build_summary`
says what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryosentinel_core.chips.corrections import WrongLabels
from cryosentinel_core.chips.cutting import (
    ChipIdentity,
    ChipWindow,
    centres_of,
    choose_windows,
    hull_of_windows,
    windows_of_area,
    windows_with_lake,
)
from cryosentinel_core.chips.labels import Outlines, label_year_of
from cryosentinel_core.chips.split import BUFFER, UNKNOWN, BlockSplit, warn_of_empty
from cryosentinel_core.engine.jobs import run_jobs
from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.io.dataset_record import (
    DATASET_RECORD,
    check_same_split,
    remove_other_shards,
    write_dataset_record,
)
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.rasters.stack_files import RECORD, folder_of_tile, tiles_under
from cryosentinel_core.io.tables.label_files import LabelSource
from cryosentinel_core.io.workspace import Workspace, read_json, remove_leftovers
from cryosentinel_core.provenance import Provenance, digest_of
from cryosentinel_core.report.chip_build_summary import ChipBuildSummary, ShardResult, count_splits
from cryosentinel_core.reporter import Reporter, counted
from cryosentinel_core.settings.chip_building import ChipBuildSettings
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.workflows.chip_shards import ShardJob, done_shard, make_shard
from cryosentinel_core.workflows.fetch import fetch


def build_chips(
    workspace: Workspace,
    root: Path,
    area: Area,
    years: Sequence[int],
    labels: LabelSource,
    settings: ChipBuildSettings,
    fetching: FetchSettings,
    *,
    reporter: Reporter,
    wrong: WrongLabels | None = None,
) -> ChipBuildSummary:
    """Chips of an area in some years; fetches missing stacks, keeps what is done.

    Args:
        workspace: Where the stacks lie.
        root: The data set; its region is the area's name.
        area: What to cut.
        years: Ascending and distinct.
        labels: Outlines of lakes.
        settings: Of the cut.
        fetching: Of the stacks.
        reporter: Hears progress, notes and warnings.
        wrong: Chips that a person left out, as their labels are wrong.

    Raises:
        InputError: If nothing is to be cut, or the data set was cut with another split.
        CryosentinelError: For anything else that a user can mend.
    """
    blocks = BlockSplit(**settings.split.model_dump())
    check_same_split(root, blocks)
    label_years = {year: _label_year(year, labels, settings) for year in years}
    fetched = fetch(workspace, area, years, fetching, reporter=reporter)
    if fetching.radar_kind == "none":
        raise InputError(
            "the stacks hold no radar, and a chip's pixel counts only where all three sensors saw it",
            "fetch with radar: leave --radar none out",
        )
    places = _place_windows(area, settings, blocks)
    jobs = []
    for year in years:
        source = _Source(
            year=year, label_year=label_years[year], labels=labels, stack=fetched.stacks[year], wrong=wrong
        )
        jobs += _jobs_of_year(root, area, source, places, settings, fetching.tile_cells)
    if not jobs:
        raise InputError(
            f"no chip to cut in {area.name}: {_why_nothing(area, settings, places)}",
            "give a larger area, smaller blocks (--block-size, --buffer), or --background all",
        )
    if wrong is not None:
        reporter.note(f"{counted(len(wrong) - len(wrong.unmet), 'chip')} left out: their labels are wrong")
        if wrong.unmet:
            reporter.warn(f"{len(wrong.unmet)} corrections are of no chip here, as {wrong.unmet[0]}")
    with hold_part(root / DATASET_RECORD, f"chips build {' '.join(map(str, years))} of {area.name}", reporter):
        check_same_split(root, blocks)
        results = _run(jobs, fetching, reporter)
        remove_other_shards(root, area.name, years, [job.path for job in jobs])
        write_dataset_record(root, blocks)
    empty = warn_of_empty(count_splits(results))
    if empty:
        reporter.warn(empty)
    return ChipBuildSummary(
        root=root,
        region=area.name,
        results={job.path: result for job, result in zip(jobs, results, strict=True)},
        label_years=label_years,
        warnings=(*fetched.warnings, *([empty] if empty else [])),
        is_partial=fetched.is_partial,
    )


def _label_year(year: int, labels: LabelSource, settings: ChipBuildSettings) -> int:
    """The year whose outlines label a year of imagery; the truth of a simulation speaks for its own years alone."""
    fixed = {year: year} if labels.kind == "truth" else dict(settings.label_years)
    return label_year_of(year, labels.outlines, fixed)


@dataclass(frozen=True)
class _Place:
    """A window, what its chip is for, and latitude and longitude of its centre."""

    window: ChipWindow
    split: str
    centre: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What the chips of a year are cut from."""

    year: int
    label_year: int
    labels: LabelSource
    stack: Path
    wrong: WrongLabels | None

    def is_wrong(self, region: str, place: _Place) -> bool:
        """Whether a person said that the chip's label is wrong."""
        name = ChipIdentity(region=region, year=self.year, split=place.split)
        return self.wrong is not None and self.wrong.has(name.chip_id(place.window), region, self.year)


def _place_windows(area: Area, settings: ChipBuildSettings, blocks: BlockSplit) -> list[_Place]:
    """The windows of an area that the split keeps, sorted; with `keep_buffer` the others too, as `UNKNOWN`."""
    windows = windows_of_area(area, settings.stride_px)
    lat, lon = centres_of(windows)
    places = []
    for window, split, y, x in zip(windows, blocks.assign(lat, lon).tolist(), lat.tolist(), lon.tolist(), strict=True):
        if split != BUFFER:
            places.append(_Place(window, split, (y, x)))
        elif settings.keep_buffer:
            places.append(_Place(window, UNKNOWN, (y, x)))
    return places


def _why_nothing(area: Area, settings: ChipBuildSettings, places: Sequence[_Place]) -> str:
    n_windows = len(windows_of_area(area, settings.stride_px))
    if not places:
        return f"all {n_windows} windows lie too near to the edge of a block"
    return f"none of {n_windows} windows has a lake, and windows without are drawn for those with"


def _jobs_of_year(
    root: Path,
    area: Area,
    source: _Source,
    places: Sequence[_Place],
    settings: ChipBuildSettings,
    tile_cells: int,
) -> list[ShardJob]:
    """One job for each lattice tile that a chosen window begins in."""
    zones = sorted({place.window.epsg for place in places})
    lonlat = source.labels.outlines[source.label_year]
    outlines = {epsg: Outlines.project(lonlat, epsg) for epsg in zones}
    windows = [place.window for place in places]
    chosen = set(
        choose_windows(windows, windows_with_lake(windows, outlines), settings.background_per_lake, settings.seed)
    )
    by_tile: dict[Tile, list[_Place]] = {}
    for place in places:
        if place.window in chosen and not source.is_wrong(area.name, place):
            by_tile.setdefault(place.window.tile, []).append(place)
    return [
        _job_of_tile(root, area, source, tile, by_tile[tile], outlines[tile.epsg], settings, tile_cells)
        for tile in sorted(by_tile)
    ]


def _job_of_tile(
    root: Path,
    area: Area,
    source: _Source,
    tile: Tile,
    places: Sequence[_Place],
    outlines: Outlines,
    settings: ChipBuildSettings,
    tile_cells: int,
) -> ShardJob:
    """The job of one shard, with the digest of all that decides its chips."""
    near = outlines.near(hull_of_windows([place.window for place in places]))
    provenance = Provenance(
        kind="shard of chips",
        settings={
            "region": area.name,
            "year": source.year,
            **settings.model_dump(mode="json", exclude={"label_years"}),
        },
        inputs={
            "labels": source.labels.describe(source.label_year),
            "outlines": near.digest,
            "recipe": read_json(source.stack / "recipe.json"),
            "stack_tiles": _digests_under([place.window for place in places], source.stack, tile_cells),
            "windows": digest_of([[place.window.row, place.window.col, place.split] for place in places]),
        },
    )
    return ShardJob(
        path=root / area.name / str(source.year) / f"shard_{tile.epsg}_{tile.name}.parquet",
        region=area.name,
        year=source.year,
        stack=source.stack,
        tile_cells=tile_cells,
        windows=tuple(place.window for place in places),
        splits=tuple(place.split for place in places),
        centres=tuple(place.centre for place in places),
        outlines=near,
        settings=settings,
        provenance=provenance,
    )


def _digests_under(windows: Sequence[ChipWindow], stack: Path, tile_cells: int) -> dict[str, str]:
    """`<epsg>/<tile>` -> digest of each stack tile that some windows touch."""
    found: dict[str, str] = {}
    for tile in sorted({tile for window in windows for tile in tiles_under(window.grid, tile_cells)}):
        record = read_json(folder_of_tile(stack, tile) / RECORD)
        if isinstance(record, dict):
            found[f"{tile.epsg}/{tile.name}"] = str(record.get("digest"))
    return found


def _run(jobs: Sequence[ShardJob], fetching: FetchSettings, reporter: Reporter) -> list[ShardResult]:
    """Cut the shards that are not done; the results of all, in their order."""
    found = {index: done for index, job in enumerate(jobs) if (done := done_shard(job)) is not None}
    todo = [index for index in range(len(jobs)) if index not in found]
    if found:
        reporter.note(f"{len(found)} of {len(jobs)} shards were cut already")
    for folder in {jobs[index].path.parent for index in todo}:
        remove_leftovers(folder)
    reporter.progress("shards", 0, len(todo))
    running = run_jobs(
        make_shard, [jobs[index] for index in todo], workers=fetching.workers, scheduler=fetching.scheduler
    )
    for n_done, (index, result) in enumerate(running, start=1):
        found[todo[index]] = result
        reporter.progress("shards", n_done, len(todo))
    return [found[index] for index in range(len(jobs))]
