"""The corridor from catalogues to stacks: search, select, load, composite, write.

`scene_plan` decides which scenes go in and keeps the lock, `stacking` makes one tile; this room runs them, reuses what is done and
sums up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shapely.geometry import mapping

from cryosentinel_core.engine.jobs import run_jobs
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import group_cells
from cryosentinel_core.ground.season import OCTOBER
from cryosentinel_core.io.catalogs.scenes_lock import ROLES, Lock
from cryosentinel_core.io.locks import hold_parts
from cryosentinel_core.io.rasters.stack_files import RECORD, folder_of_tile
from cryosentinel_core.io.tables.area_loading import refuse_other_ground
from cryosentinel_core.io.workspace import Workspace, is_current, read_json, write_json
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.scene import Role
from cryosentinel_core.scenes.selection import Rejection
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.workflows.scene_plan import lattice_tiles, plan_years, roles_of
from cryosentinel_core.workflows.stacking import StackJob, make_stack_tile

_FILES = ("s2.tif", "dem.tif", "clear.tif", "class.tif", "dates.tif")

BYTES_OF_PIXEL: Mapping[Role, float] = {"optical": 2 * (4 + 6 / 4 + 2 / 36) + 1 / 4, "radar": 8.0, "terrain": 4 / 9}
"""Uncompressed bytes of one 10 m pixel of one scene: 4 bands at 10 m, 6 at 20 m, 2 at 60 m and the classification; VV and VH;
the DEM at about 30 m."""


@dataclass(frozen=True, kw_only=True)
class YearSummary:
    """Summary of one year: the scenes, and the tiles made of them.

    Attributes:
        year: Calendar year.
        chosen: Role -> keys of the scenes that go in.
        rejected: Key -> why a scene that was considered is not in.
        unanswered: Role that no catalogue could be asked for -> why; the next run asks again.
        gaps: Tiles (`<epsg>/<name>`) without any optical scene.
        done: Tiles made now.
        reused: Tiles that were there already.
        partial: Tile -> planned scenes that could not be read, with the reason.
        warnings: What the reader of this year's results should know; it depends on the year's own stack alone.
    """

    year: int
    chosen: dict[Role, tuple[str, ...]]
    rejected: Mapping[str, Rejection]
    unanswered: Mapping[Role, str] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    partial: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """True if a planned scene or a role is missing, or a tile has no optical scene."""
        return bool(self.partial or self.gaps or self.unanswered)


@dataclass(frozen=True, kw_only=True)
class FetchSummary:
    """Summary of a fetch: what it did, or would do.

    Attributes:
        recipe: How the stacks are made.
        stacks: Year -> folder of its stack.
        years: One entry a year.
        bytes_planned: Uncompressed size of the source windows still to be read, about.
        warnings: What the reader of a result should know, of all years and of this run.
        is_dry_run: True if nothing was read or written.
    """

    recipe: Recipe
    stacks: dict[int, Path]
    years: tuple[YearSummary, ...]
    bytes_planned: int
    warnings: tuple[str, ...]
    is_dry_run: bool = False

    @property
    def is_partial(self) -> bool:
        """True if a year is: run again to complete."""
        return any(year.is_partial for year in self.years)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "recipe": self.recipe.as_dict(),
            "stacks": {str(year): str(path) for year, path in self.stacks.items()},
            "years": [
                {
                    "year": one.year,
                    "chosen": {role: list(keys) for role, keys in one.chosen.items()},
                    "rejected": {key: why.reason for key, why in one.rejected.items()},
                    "unanswered": dict(one.unanswered),
                    "gaps": list(one.gaps),
                    "tiles_done": list(one.done),
                    "tiles_reused": list(one.reused),
                    "tiles_partial": one.partial,
                }
                for one in self.years
            ],
            "bytes_planned": self.bytes_planned,
            "warnings": list(self.warnings),
            "is_partial": self.is_partial,
            "is_dry_run": self.is_dry_run,
        }

    def as_text(self) -> str:
        """A few lines for a reader."""
        lines = []
        for one in self.years:
            counts = ", ".join(f"{len(one.chosen[role])} {role}" for role in ROLES)
            lines.append(f"{one.year}: {counts} scenes; {len(one.rejected)} left out")
            lines.append(
                f"  tiles: {len(one.done)} {'to make' if self.is_dry_run else 'made'}, {len(one.reused)} reused"
            )
            for name, missing in one.partial.items():
                lines.extend(f"  {name} is partial, lacks {key}: {why}" for key, why in missing.items())
            lines.extend(f"  {name} has no optical scene" for name in one.gaps)
            lines.extend(f"  {role} could not be asked for: {why}" for role, why in one.unanswered.items())
            lines.append(f"  {self.stacks[one.year]}")
        lines.append(
            f"about {self.bytes_planned / 1e6:,.0f} MB of pixels {'to read' if self.is_dry_run else 'planned'}"
        )
        if self.is_partial:
            lines.append("some tiles are incomplete: run the same command again to complete them")
        return "\n".join(lines)


def fetch(
    workspace: Workspace, area: Area, years: Sequence[int], settings: FetchSettings, *, reporter: Reporter
) -> FetchSummary:
    """Stacks of an area in some years; what is done and unchanged is kept.

    Args:
        workspace: Where results lie.
        area: Its ground is fetched, two cells beyond the cells that it touches.
        years: Calendar years.
        settings: What to look for and how to make the stacks.
        reporter: Hears progress and warnings.

    Raises:
        AreaError: If another area has this one's name in the workspace.
        InputError: If `scenes.json` was made with other settings.
        NoScenes: If a year has no usable optical scene.
        CatalogError: If no catalogue answers.
        OutputWrite: If the disk refuses.
        WorkspaceBusy: If another process goes on fetching one of the years.
    """
    refuse_other_ground(workspace.area(area.name) / "aoi.geojson", area)
    parts = () if settings.dry_run else [workspace.year(area.name, year) for year in years]
    with hold_parts(parts, f"fetch {' '.join(map(str, years))} of {area.name}", reporter):
        return _fetch_years(workspace, area, years, settings, reporter)


def _fetch_years(
    workspace: Workspace, area: Area, years: Sequence[int], settings: FetchSettings, reporter: Reporter
) -> FetchSummary:
    """The work of `fetch`, once nobody else fetches these years."""
    warnings: list[str] = []
    if not area.is_validated:
        warnings.append(f"{area.name} reaches outside High Mountain Asia, where nothing was validated")
        reporter.warn(warnings[-1])
    general = tuple(warnings)
    locks = plan_years(workspace, area, years, settings, reporter=reporter, warnings=warnings)
    recipe = settings.recipe
    stacks = {year: workspace.stack(area.name, year, recipe) for year in years}
    plans = {year: _jobs_of_year(area, locks[year], stacks[year], recipe, settings) for year in years}
    todo = [(year, job) for year in years for job in plans[year] if not _is_done(job)]
    bytes_planned = sum(_bytes_of_job(job) for _, job in todo)
    outcomes: dict[int, dict[str, dict[str, str]]] = {year: {} for year in years}
    if not settings.dry_run:
        _write_frame(workspace, area, stacks, recipe)
        jobs = [job for _, job in todo]
        reporter.progress("stack tiles", 0, len(jobs))
        running = run_jobs(make_stack_tile, jobs, workers=settings.workers, scheduler=settings.scheduler)
        for done, (index, outcome) in enumerate(running, start=1):
            if outcome.missing:
                outcomes[todo[index][0]][_name(jobs[index])] = outcome.missing
            reporter.progress("stack tiles", done, len(jobs))
    made = {id(job) for _, job in todo}
    summaries = tuple(
        replace(
            _summary_of_year(area, locks[year], plans[year], made, outcomes[year]),
            warnings=(*general, *_warnings_of_year(locks[year], plans[year], settings)),
        )
        for year in years
    )
    for message in dict.fromkeys(f"{one.year}: {text}" for one in summaries for text in one.warnings[len(general) :]):
        if message not in warnings:
            warnings.append(message)
            reporter.warn(message)
    return FetchSummary(
        recipe=recipe,
        stacks=stacks,
        years=summaries,
        bytes_planned=bytes_planned,
        warnings=tuple(warnings),
        is_dry_run=settings.dry_run,
    )


def _jobs_of_year(area: Area, lock: Lock, folder: Path, recipe: Recipe, settings: FetchSettings) -> list[StackJob]:
    """One job for each file tile of the area's ground."""
    scenes = {tile: {role: lock.scenes_of(tile, role) for role in ROLES} for tile in lattice_tiles(area)}
    jobs = []
    for tile, cells in group_cells(area.ground, settings.tile_cells).items():
        mine = scenes[tile.lattice_tile]
        jobs.append(
            StackJob(
                folder=folder,
                tile=tile,
                cells=cells,
                recipe=recipe,
                optical=mine["optical"],
                radar=() if recipe.radar == "none" else mine["radar"],
                terrain=mine["terrain"],
                unanswered=tuple(
                    role for role in roles_of(settings) if role in lock.unanswered.get(tile.lattice_tile, {})
                ),
            )
        )
    return jobs


def _name(job: StackJob) -> str:
    return f"{job.tile.epsg}/{job.tile.name}"


def _is_done(job: StackJob) -> bool:
    """True if the tile is there, whole, and made from the same scenes by the same recipe."""
    home = folder_of_tile(job.folder, job.tile)
    record = home / RECORD
    if not is_current(record, job.provenance(), *(home / name for name in _FILES)):
        return False
    data = read_json(record)
    return not (data.get("radar_used") and not (home / "s1.tif").exists())


def _bytes_of_job(job: StackJob) -> int:
    """Uncompressed size of the source windows of a tile, about."""
    pixels = job.grid.height * job.grid.width
    scenes: Mapping[Role, int] = {"optical": len(job.optical), "radar": len(job.radar), "terrain": 1}
    return round(sum(pixels * BYTES_OF_PIXEL[role] * n for role, n in scenes.items()))


def _write_frame(workspace: Workspace, area: Area, stacks: Mapping[int, Path], recipe: Recipe) -> None:
    """The area's outline and each stack's recipe."""
    outline = {"type": "Feature", "properties": {"name": area.name}, "geometry": mapping(area.geometry)}
    path = workspace.area(area.name) / "aoi.geojson"
    plain = json.loads(json.dumps(outline))
    if read_json(path) != plain:
        write_json(path, plain)
    for folder in stacks.values():
        if read_json(folder / "recipe.json") != recipe.as_dict():
            write_json(folder / "recipe.json", recipe.as_dict())


def _summary_of_year(
    area: Area, lock: Lock, jobs: Sequence[StackJob], made: set[int], missing: dict[str, dict[str, str]]
) -> YearSummary:
    tiles = lattice_tiles(area)
    chosen = {
        role: tuple(sorted({key for tile in tiles for key in lock.tiles.get(tile, {}).get(role, ())})) for role in ROLES
    }
    return YearSummary(
        year=lock.year,
        chosen=chosen,
        rejected=lock.rejected,
        unanswered={role: lock.unanswered[job.tile.lattice_tile][role] for job in jobs for role in job.unanswered},
        gaps=tuple(_name(job) for job in jobs if not job.optical),
        done=tuple(_name(job) for job in jobs if id(job) in made),
        reused=tuple(_name(job) for job in jobs if id(job) not in made),
        partial=missing,
    )


def _warnings_of_year(lock: Lock, jobs: Sequence[StackJob], settings: FetchSettings) -> tuple[str, ...]:
    """Warnings of a year's lock and of all its tiles' records, those of reused tiles too, each once."""
    found: list[str] = []
    for tile in sorted({job.tile.lattice_tile for job in jobs}):
        season = lock.notes.get(tile, {}).get("optical", "")
        if season == str(OCTOBER) != settings.season:
            found.append(f"tile {tile.epsg}/{tile.name} has no usable scene in season, October was taken")
        products = sorted({scene.product for scene in lock.scenes_of(tile, "optical")} - {lock.product})
        if products and lock.product is not None:
            found.append(f"tile {tile.epsg}/{tile.name} comes from {', '.join(products)}, others from {lock.product}")
    for job in jobs:
        record = read_json(folder_of_tile(job.folder, job.tile) / RECORD)
        found += record.get("warnings", []) if isinstance(record, dict) else []
    return tuple(dict.fromkeys(found))
