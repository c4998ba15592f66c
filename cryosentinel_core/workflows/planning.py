"""Which scenes go into each year's stack, and the lock that says so.

search -> select per lattice tile -> `scenes.json`: a STAC ItemCollection of the chosen items whose member `cryosentinel` holds
the selection's settings and, for each lattice tile, the items of each role. Where the lock is there, catalogues are not asked
again, except for lattice tiles that it lacks or that it found empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import shapely

from cryosentinel_core.errors import InputError, NoScenes
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Tile, group_cells
from cryosentinel_core.ground.season import Season
from cryosentinel_core.io.catalogs.scenes_lock import Lock, differences_of, read_lock, selection_of
from cryosentinel_core.io.catalogs.search import Patience
from cryosentinel_core.io.workspace import Workspace, write_json
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import (
    Choice,
    choose_orbit,
    near_dates,
    outline_of_tile,
    select_radar,
    select_terrain,
)
from cryosentinel_core.scenes.terrain import SHADOW_HALO_PX
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.units import PIXEL_M
from cryosentinel_core.workflows.finding import Search, choose_optical, find_radar, find_terrain

TERRAIN_REACH_M: Final = float((SHADOW_HALO_PX + 10) * PIXEL_M)
"""The DEM is needed this far around a tile, for shadows from outside."""


def lattice_tiles(area: Area) -> tuple[Tile, ...]:
    """The lattice tiles that hold an area's ground."""
    return tuple(group_cells(area.ground))


def plan_years(
    workspace: Workspace,
    area: Area,
    years: Sequence[int],
    settings: FetchSettings,
    *,
    reporter: Reporter,
    warnings: list[str],
    patience: Patience = Patience(),  # noqa: B008
) -> dict[int, Lock]:
    """The lock of each year, from disk where it is there, from the catalogues where not; written unless it is a dry run.

    Args:
        workspace: Where locks lie.
        area: What is needed.
        years: Calendar years.
        settings: What to look for.
        reporter: Hears what is reused and searched.
        warnings: Receives what the reader of the result should know.
        patience: With services.

    Raises:
        InputError: If a lock was made with other settings than those asked for.
        NoScenes: If a year has no usable optical scene anywhere.
        CatalogError: If no catalogue of a role answers.
    """
    needed = lattice_tiles(area)
    locks = {} if settings.refresh or settings.from_items else _usable_locks(workspace, area, years, settings)
    search = Search(settings=settings, reporter=reporter, patience=patience, warnings=warnings)
    todo: dict[int, tuple[Tile, ...]] = {}
    for year in years:
        lock = locks.get(year)
        lacking = (
            needed if lock is None else tuple(tile for tile in needed if not lock.tiles.get(tile, {}).get("optical"))
        )
        if lacking:
            todo[year] = lacking
        if lock is not None and len(lacking) < len(needed):
            reporter.note(
                f"{year}: scenes.json is there, {len(needed) - len(lacking)} tiles taken from it (--refresh searches)"
            )
    if todo:
        others = [] if settings.refresh else _other_locks(workspace, area, years)
        _search_years(search, area, todo, locks, others)
    for year in years:
        _check_not_empty(locks[year], needed, settings, search.unusable)
        if not settings.dry_run and year in todo:
            write_json(workspace.scenes(area.name, year), locks[year].to_json())
    return {year: locks[year] for year in years}


def _usable_locks(workspace: Workspace, area: Area, years: Sequence[int], settings: FetchSettings) -> dict[int, Lock]:
    """Locks on disk that agree with what is asked for."""
    found = {}
    for year in years:
        path = workspace.scenes(area.name, year)
        lock = read_lock(path)
        if lock is None:
            continue
        for name, (recorded, asked) in differences_of(lock.selection, settings).items():
            raise InputError(
                f"{path} was made with {name} {recorded}, asked for is {asked}",
                "search again with --refresh, or leave the flag away",
            )
        found[year] = lock
    return found


def _other_locks(workspace: Workspace, area: Area, years: Sequence[int]) -> list[Lock]:
    """Locks of years that were not asked for: the new ones shall fit them."""
    found = []
    for path in sorted(workspace.area(area.name).glob("[0-9][0-9][0-9][0-9]/scenes.json")):
        if int(path.parent.name) not in years:
            try:
                lock = read_lock(path)
            except InputError:
                continue
            if lock is not None:
                found.append(lock)
    return found


def _search_years(
    search: Search, area: Area, todo: Mapping[int, tuple[Tile, ...]], locks: dict[int, Lock], others: Sequence[Lock]
) -> None:
    """Fill the locks of some years for the tiles that they lack."""
    settings = search.settings
    tiles = sorted({tile for lacking in todo.values() for tile in lacking})
    region = shapely.union_all([outline_of_tile(tile) for tile in tiles])
    known = [lock for lock in [*locks.values(), *others] if lock.product]
    optical, raw = choose_optical(search, region, todo, known)
    has_terrain = any(roles.get("terrain") for lock in locks.values() for roles in lock.tiles.values())
    terrain, raw_terrain = find_terrain(search, region, may_lack=has_terrain)
    radar, raw_radar = find_radar(search, region, todo) if settings.radar != "none" else ({}, {})
    for year, lacking in todo.items():
        lock = locks.get(year)
        if lock is None:
            lock = locks[year] = Lock(year=year, selection={**selection_of(settings), "product": optical.product})
        frozen = _frozen_tiles(settings, year)
        for tile in lacking:
            lock.tiles[tile], lock.notes[tile] = {}, {}
            _enter(lock, tile, "optical", optical.choices[year, tile], raw)
            _enter(lock, tile, "terrain", select_terrain(tile, terrain, TERRAIN_REACH_M), raw_terrain)
            if tile in frozen:
                lock.tiles[tile]["optical"] = tuple(key for key in frozen[tile]["optical"] if key in raw)
                lock.items["optical"].update({key: raw[key] for key in lock.tiles[tile]["optical"]})
    for tile in tiles:
        _enter_radar(search, tile, todo, locks, others, radar, raw_radar)
    for year in todo:
        taken = {key for roles in locks[year].tiles.values() for keys in roles.values() for key in keys}
        locks[year].rejected = {key: why for key, why in sorted(locks[year].rejected.items()) if key not in taken}


def _frozen_tiles(settings: FetchSettings, year: int) -> Mapping[Tile, Mapping[Role, tuple[str, ...]]]:
    """What `--from-items` says tile by tile, if it is a lock of this year."""
    if settings.from_items is None:
        return {}
    try:
        lock = read_lock(settings.from_items)
    except InputError:
        return {}
    return lock.tiles if lock is not None and lock.year == year else {}


def _enter(lock: Lock, tile: Tile, role: Role, choice: Choice, raw: Mapping[str, dict[str, Any]]) -> None:
    lock.tiles[tile][role] = tuple(scene.key for scene in choice.scenes)
    lock.notes[tile][role] = choice.note
    lock.items[role].update({scene.key: raw[scene.key] for scene in choice.scenes})
    lock.rejected.update(choice.rejected)


def _enter_radar(
    search: Search,
    tile: Tile,
    todo: Mapping[int, tuple[Tile, ...]],
    locks: Mapping[int, Lock],
    others: Sequence[Lock],
    radar: Mapping[int, Sequence[Scene]],
    raw: Mapping[str, dict[str, Any]],
) -> None:
    """Radar of one tile in all years that lack it: one geometry for all of them."""
    season = Season.parse(search.settings.season)
    wanted: dict[int, list[Scene]] = {}
    for year, lacking in todo.items():
        if tile in lacking:
            dates = [scene.date for scene in locks[year].scenes_of(tile, "optical")]
            wanted[year] = near_dates(radar.get(year, ()), dates, season, year)
    settled: Iterable[str | None] = [lock.orbit_of(tile) for lock in [*locks.values(), *others]]
    orbit = choose_orbit(tile, wanted, [name for name in settled if name])
    for year, scenes in wanted.items():
        _enter(locks[year], tile, "radar", select_radar(tile, scenes, orbit), raw)


def _check_not_empty(lock: Lock, needed: Sequence[Tile], settings: FetchSettings, unusable: Mapping[str, str]) -> None:
    """Refuse a year without any optical scene, with the closest misses."""
    if any(lock.tiles.get(tile, {}).get("optical") for tile in needed):
        return
    cloudy = sorted(why for why in lock.rejected.values() if why.startswith("cloud cover"))
    outside = sum(why.startswith("outside the season") for why in lock.rejected.values())
    hints = []
    if cloudy:
        least = min(float(why.split()[2]) for why in cloudy)
        hints.append(
            f"{len(cloudy)} scenes were over the cloud limit, the clearest with {least:.1f} %: raise --max-cloud"
        )
    if outside:
        hints.append(f"{outside} scenes lie outside the season {settings.season}: widen --season")
    if unusable:
        key, why = next(iter(sorted(unusable.items())))
        hints.append(f"{len(unusable)} items cannot be used, as {key}: {why}")
    raise NoScenes(
        f"no usable Sentinel-2 scene of {lock.year} for this area "
        f"(season {settings.season}, cloud up to {settings.max_cloud:g} %)",
        "; ".join(hints) or "check that the area lies where the catalogue has scenes, or give another --catalog",
    )
