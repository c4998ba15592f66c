"""Plan of each year: the scenes that go into its stack, and the lock that says so.

search -> select per lattice tile -> `scenes.json`: a STAC ItemCollection of the chosen items whose member `cryosentinel` holds
the selection's settings and, for each lattice tile, the items of each role. Where the lock is there, catalogues are not asked
again, except for lattice tiles that it lacks or that it found empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import InputError, NoScenes
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import Tile, group_cells
from cryosentinel_core.ground.season import Season
from cryosentinel_core.io.catalogs.scenes_lock import ROLES, Lock, differences_of, read_lock, selection_of
from cryosentinel_core.io.catalogs.search import Catalogues
from cryosentinel_core.io.workspace import Workspace, write_json
from cryosentinel_core.reporter import Reporter, counted
from cryosentinel_core.scenes.footprints import outline_of_tile
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import (
    Choice,
    choose_orbit,
    misses_in_words,
    near_dates,
    select_radar,
    select_terrain,
)
from cryosentinel_core.scenes.terrain import SHADOW_HALO_PX
from cryosentinel_core.settings.fetch import FetchSettings
from cryosentinel_core.units import PIXEL_M
from cryosentinel_core.workflows.scene_search import (
    FoundScenes,
    Search,
    choose_optical,
    collections_in_words,
    find_radar,
    find_terrain,
    tell_unusable,
)

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
    catalogues: Catalogues | None = None,
) -> dict[int, Lock]:
    """The lock of each year, from disk where it is there, from the catalogues where not; written unless it is a dry run.

    A role that no catalogue could be asked for stands in the lock as unanswered, and the next run asks again.

    Args:
        workspace: Where locks lie.
        area: What is needed.
        years: Calendar years.
        settings: What to look for.
        reporter: Hears what is reused and searched.
        warnings: Receives what the reader of the result should know.
        catalogues: To ask; None for new ones.

    Raises:
        InputError: If a lock was made with other settings than those asked for.
        NoScenes: If a year has no usable optical scene anywhere.
        CatalogError: If no catalogue of optical scenes answers.
    """
    needed = lattice_tiles(area)
    locks = {} if settings.refresh or settings.from_items else _usable_locks(workspace, area, years, settings)
    search = Search(settings=settings, catalogues=catalogues or Catalogues(), reporter=reporter, warnings=warnings)
    todo = {role: _lacking(role, years, locks, needed) for role in roles_of(settings)}
    for year in locks:
        n_kept = len(needed) - len(todo["optical"].get(year, ()))
        if n_kept:
            reporter.note(f"{year}: scenes.json is there, {counted(n_kept, 'tile')} taken from it (--refresh searches)")
    if any(todo.values()):
        others = [] if settings.refresh else _other_locks(workspace, area, years)
        _search_years(search, area, todo, locks, others)
        tell_unusable(search)
    for year in years:
        _check_not_empty(locks[year], needed, search)
        if not settings.dry_run and any(year in lacking for lacking in todo.values()):
            write_json(workspace.scenes(area.name, year), locks[year].to_json())
    return {year: locks[year] for year in years}


def roles_of(settings: FetchSettings) -> tuple[Role, ...]:
    """The roles that a stack of these settings needs."""
    return tuple(role for role in ROLES if role != "radar" or settings.radar_kind != "none")


def _lacking(
    role: Role, years: Sequence[int], locks: Mapping[int, Lock], needed: Sequence[Tile]
) -> dict[int, tuple[Tile, ...]]:
    """Year -> tiles for which a role is still to be asked for."""
    found = {year: locks[year].lacking(role, needed) if year in locks else tuple(needed) for year in years}
    return {year: tiles for year, tiles in found.items() if tiles}


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
    search: Search,
    area: Area,
    todo: Mapping[Role, Mapping[int, tuple[Tile, ...]]],
    locks: dict[int, Lock],
    others: Sequence[Lock],
) -> None:
    """Fill the locks of some years for the tiles and roles that they lack."""
    if todo["optical"]:
        _search_optical(search, todo["optical"], locks, others)
    if todo["terrain"]:
        has_terrain = any(roles.get("terrain") for lock in locks.values() for roles in lock.tiles.values())
        found = find_terrain(search, _region_of(todo["terrain"]), may_lack=has_terrain)
        for year, tiles in todo["terrain"].items():
            for tile in tiles:
                _enter(locks[year], tile, "terrain", select_terrain(tile, found.scenes, TERRAIN_REACH_M), found)
    if todo.get("radar"):
        found = find_radar(search, _region_of(todo["radar"]), list(todo["radar"]))
        for tile in sorted({tile for tiles in todo["radar"].values() for tile in tiles}):
            _enter_radar(search, tile, todo["radar"], locks, others, found)
    for year, lock in locks.items():
        taken = {key for roles in lock.tiles.values() for keys in roles.values() for key in keys}
        noticed = {**search.unusable.get(None, {}), **search.unusable.get(year, {}), **lock.rejected}
        lock.rejected = {key: why for key, why in sorted(noticed.items()) if key not in taken}


def _region_of(todo: Mapping[int, Sequence[Tile]]) -> BaseGeometry:
    """Ground of some tiles, EPSG:4326."""
    return shapely.union_all(
        [outline_of_tile(tile) for tile in sorted({one for tiles in todo.values() for one in tiles})]
    )


def _search_optical(
    search: Search, todo: Mapping[int, tuple[Tile, ...]], locks: dict[int, Lock], others: Sequence[Lock]
) -> None:
    """Optical scenes of some years' tiles, into locks that are made where there is none."""
    settings = search.settings
    known = [lock for lock in [*locks.values(), *others] if lock.product]
    optical, items = choose_optical(search, _region_of(todo), todo, known)
    found = FoundScenes(items=items)
    for year, tiles in todo.items():
        if year not in locks:
            locks[year] = Lock(year=year, selection={**selection_of(settings), "product": optical.product})
        lock, frozen = locks[year], _frozen_tiles(settings, year)
        for tile in tiles:
            _enter(lock, tile, "optical", optical.choices[year, tile], found)
            if tile in frozen:
                lock.tiles[tile]["optical"] = tuple(key for key in frozen[tile]["optical"] if key in items)
                lock.items["optical"].update({key: items[key] for key in lock.tiles[tile]["optical"]})


def _frozen_tiles(settings: FetchSettings, year: int) -> Mapping[Tile, Mapping[Role, tuple[str, ...]]]:
    """Scenes of a frozen list tile by tile, if it is a lock of this year."""
    if settings.from_items is None:
        return {}
    try:
        lock = read_lock(settings.from_items)
    except InputError:
        return {}
    return lock.tiles if lock is not None and lock.year == year else {}


def _enter(lock: Lock, tile: Tile, role: Role, choice: Choice, found: FoundScenes) -> None:
    """Enter a choice into a lock; where nobody answered, what an earlier run found stays."""
    kept = lock.tiles.setdefault(tile, {}).get(role)
    if found.unanswered and not kept:
        lock.unanswered.setdefault(tile, {})[role] = found.unanswered
    if found.unanswered and kept:
        return
    if not found.unanswered:
        lock.unanswered.get(tile, {}).pop(role, None)
    lock.tiles[tile][role] = tuple(scene.key for scene in choice.scenes)
    lock.notes.setdefault(tile, {})[role] = choice.note
    lock.items[role].update({scene.key: found.items[scene.key] for scene in choice.scenes})
    lock.rejected.update(choice.rejected)


def _enter_radar(
    search: Search,
    tile: Tile,
    todo: Mapping[int, tuple[Tile, ...]],
    locks: Mapping[int, Lock],
    others: Sequence[Lock],
    found: FoundScenes,
) -> None:
    """Radar of one tile in all years that lack it: one geometry for all of them."""
    season = Season.parse(search.settings.season)
    wanted: dict[int, list[Scene]] = {}
    for year, lacking in todo.items():
        if tile in lacking:
            dates = [scene.date for scene in locks[year].scenes_of(tile, "optical")]
            wanted[year] = near_dates(found.by_year.get(year, ()), dates, season, year)
    used: Iterable[str | None] = [lock.orbit_of(tile) for lock in [*locks.values(), *others]]
    orbit = choose_orbit(tile, wanted, [name for name in used if name])
    for year, scenes in wanted.items():
        _enter(locks[year], tile, "radar", select_radar(tile, scenes, orbit), found)


def _check_not_empty(lock: Lock, needed: Sequence[Tile], search: Search) -> None:
    """Refuse a year without any optical scene, with the closest misses."""
    if any(lock.tiles.get(tile, {}).get("optical") for tile in needed):
        return
    settings = search.settings
    hints = misses_in_words(lock.rejected, settings.season)
    others = collections_in_words(search)
    raise NoScenes(
        f"no usable Sentinel-2 scene of {lock.year} for this area "
        f"(season {settings.season}, cloud up to {settings.max_cloud:g} %)",
        "; ".join([*([others] if others else []), *hints])
        or "check that the catalogue has scenes of that year and place, or give another --catalog",
    )
