"""Which scenes go into each year's stack, and the lock that says so.

search -> select per lattice tile -> `scenes.json`: a STAC ItemCollection of the chosen items whose member `cryosentinel` holds
the selection's settings and, for each lattice tile, the items of each role. Where the lock is there, catalogues are not asked
again, except for lattice tiles that it lacks or that it found empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.area import Area
from cryosentinel_core.errors import CatalogError, CryosentinelError, DataError, InputError, NoScenes
from cryosentinel_core.io.catalog import Patience, products_in, search_items
from cryosentinel_core.io.items import scene_of_item, with_absolute_hrefs
from cryosentinel_core.io.providers import DEFAULT_CATALOGS
from cryosentinel_core.io.workspace import Workspace, write_json
from cryosentinel_core.lattice import Tile, group_cells
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.season import OCTOBER, Season
from cryosentinel_core.selection import (
    RADAR_DAYS,
    Choice,
    Role,
    Scene,
    SelectionRules,
    choose_orbit,
    coverage,
    near_dates,
    outline_of_tile,
    select_optical,
    select_radar,
    select_terrain,
)
from cryosentinel_core.settings import FetchSettings
from cryosentinel_core.terrain import SHADOW_HALO_PX
from cryosentinel_core.units import PIXEL_M
from cryosentinel_core.workflows.lock import Lock, differences_of, read_lock, reference_of, selection_of

TERRAIN_REACH_M: Final = float((SHADOW_HALO_PX + 10) * PIXEL_M)
"""The DEM is needed this far around a tile, for shadows from outside."""


def lattice_tiles(area: Area) -> tuple[Tile, ...]:
    """The lattice tiles that hold an area's ground."""
    return tuple(group_cells(area.ground))


@dataclass
class _Search:
    """State of one planning: what was asked, and what was noticed."""

    settings: FetchSettings
    reporter: Reporter
    patience: Patience
    warnings: list[str]
    unusable: dict[str, str] = field(default_factory=dict)

    def warn(self, message: str) -> None:
        """Once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.reporter.warn(message)


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
    search = _Search(settings=settings, reporter=reporter, patience=patience, warnings=warnings)
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


def _catalogs(settings: FetchSettings, role: Role) -> tuple[str, ...]:
    """Where to look for a role, in order."""
    if settings.from_items is not None:
        return (str(settings.from_items.resolve()),)
    asked = reference_of(getattr(settings, role) or settings.catalog)
    return (asked,) if asked else DEFAULT_CATALOGS[role]


def _search_years(
    search: _Search, area: Area, todo: Mapping[int, tuple[Tile, ...]], locks: dict[int, Lock], others: Sequence[Lock]
) -> None:
    """Fill the locks of some years for the tiles that they lack."""
    settings = search.settings
    tiles = sorted({tile for lacking in todo.values() for tile in lacking})
    region = shapely.union_all([outline_of_tile(tile) for tile in tiles])
    known = [lock for lock in [*locks.values(), *others] if lock.product]
    choices, raw, product = _choose_optical(search, region, todo, known)
    has_terrain = any(roles.get("terrain") for lock in locks.values() for roles in lock.tiles.values())
    terrain, raw_terrain = _find_terrain(search, region, may_lack=has_terrain)
    radar, raw_radar = _find_radar(search, region, todo) if settings.radar != "none" else ({}, {})
    for year, lacking in todo.items():
        lock = locks.get(year)
        if lock is None:
            lock = locks[year] = Lock(year=year, selection={**selection_of(settings), "product": product})
        frozen = _frozen_tiles(settings, year)
        for tile in lacking:
            lock.tiles[tile], lock.notes[tile] = {}, {}
            choice = choices[year, tile]
            _enter(lock, tile, "optical", choice, raw)
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


def _find(
    search: _Search, reference: str, role: Role, collections: Sequence[str], region: BaseGeometry, interval: str | None
) -> tuple[list[Scene], dict[str, dict[str, Any]]]:
    """Scenes of a catalogue and their items; items that cannot be used are remembered with the reason."""
    scenes, raw = [], {}
    for found in search_items(reference, collections, region, interval, search.patience):
        try:
            scene = scene_of_item(found.item, role, found.base)
        except DataError as error:
            search.unusable[f"{found.item.get('collection')}/{found.item.get('id')}"] = error.message
            continue
        scenes.append(scene)
        raw[scene.key] = with_absolute_hrefs(found.item, scene, role)
    return scenes, raw


def _rules(settings: FetchSettings) -> SelectionRules:
    return SelectionRules(
        season=Season.parse(settings.season),
        october_fallback=settings.october_fallback,
        max_cloud=settings.max_cloud,
        is_frozen_list=settings.from_items is not None,
    )


def _interval(settings: FetchSettings, year: int, *, days: int = 0) -> str:
    """The days to ask a catalogue for: the season, October if it may be needed, and some days on both sides."""
    import datetime as dt

    if settings.from_items is not None:
        return f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z"
    season = Season.parse(settings.season)
    last = max(season.last, OCTOBER.last) if settings.october_fallback else season.last
    first_day = dt.date(year, *season.first) - dt.timedelta(days=days)
    last_day = dt.date(year, *last) + dt.timedelta(days=days)
    return f"{first_day.isoformat()}T00:00:00Z/{last_day.isoformat()}T23:59:59Z"


def _choose_optical(
    search: _Search, region: BaseGeometry, todo: Mapping[int, tuple[Tile, ...]], known: Sequence[Lock]
) -> tuple[dict[tuple[int, Tile], Choice], dict[str, dict[str, Any]], str | None]:
    """Choices per year and tile from one collection for all: the one with most tiles and years covered, then by preference.

    A collection that an earlier fetch of this area used is kept, so that years stay comparable, unless mixing is allowed.
    """
    settings, rules = search.settings, _rules(search.settings)
    kept = next((lock.product for lock in known), None)
    candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]] = []
    raw: dict[str, dict[str, Any]] = {}
    failures: list[CryosentinelError] = []
    for reference in _catalogs(settings, "optical"):
        products = {one.collection: one for one in products_in(reference, "optical")}
        try:
            scenes = []
            for year in todo:
                found, items = _find(search, reference, "optical", tuple(products), region, _interval(settings, year))
                scenes += found
                raw |= items
        except CatalogError as error:
            failures.append(error)
            search.warn(f"optical catalogue {reference}: {error.message}")
            continue
        by_product: dict[str, list[Scene]] = {}
        for scene in scenes:
            by_product.setdefault(scene.product, []).append(scene)
        for product in sorted(by_product, key=_preference_of(reference)):
            choices = {
                (year, tile): select_optical(tile, by_product[product], year, rules)
                for year, tiles in todo.items()
                for tile in tiles
            }
            thin = {key: choice if len(choice.scenes) >= 3 else Choice() for key, choice in choices.items()}
            candidates.append((coverage(choices), coverage(thin), product, choices))
        if any(cover == 1.0 for cover, *_ in candidates):
            break
    if not candidates:
        if failures:
            raise failures[0]
        return {(year, tile): Choice() for year, tiles in todo.items() for tile in tiles}, raw, None
    return _best_collection(search, candidates, kept), raw, _name_of_best(search, candidates, kept)


def _preference_of(reference: str) -> Any:
    order = [product.name for product in products_in(reference, "optical")]
    return lambda name: (order.index(name) if name in order else len(order), name)


def _ranked(
    search: _Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
) -> list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]]:
    ranked = sorted(candidates, key=lambda one: (-one[0], -one[1]))
    if kept is not None and not search.settings.allow_mixed:
        same = [one for one in ranked if one[2] == kept]
        return same or ranked
    return ranked


def _name_of_best(
    search: _Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
) -> str:
    return _ranked(search, candidates, kept)[0][2]


def _best_collection(
    search: _Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
) -> dict[tuple[int, Tile], Choice]:
    ranked = _ranked(search, candidates, kept)
    best = dict(ranked[0][3])
    if kept is not None and ranked[0][2] != kept:
        search.warn(
            f"earlier years came from {kept}, which has nothing here; {ranked[0][2]} is used: years may not compare"
        )
    if search.settings.allow_mixed:
        for _, _, product, choices in ranked[1:]:
            for key, choice in choices.items():
                if not best[key].scenes and choice.scenes:
                    best[key] = choice
                    search.warn(f"{key[0]}: tile {key[1].name} comes from {product}, others from {ranked[0][2]}")
    return best


def _find_terrain(
    search: _Search, region: BaseGeometry, *, may_lack: bool
) -> tuple[list[Scene], dict[str, dict[str, Any]]]:
    """DEM tiles of the first catalogue that has them; none is an error, unless other tiles of the area have some."""
    wide = shapely.buffer(region, 0.1)
    failures: list[CryosentinelError] = []
    for reference in _catalogs(search.settings, "terrain"):
        names = tuple(product.collection for product in products_in(reference, "terrain"))
        try:
            scenes, raw = _find(search, reference, "terrain", names, wide, None)
        except CatalogError as error:
            failures.append(error)
            search.warn(f"terrain catalogue {reference}: {error.message}")
            continue
        if scenes:
            return scenes, raw
    if failures:
        raise failures[0]
    if may_lack:
        search.warn("no tile of the Copernicus DEM covers a part of the area")
        return [], {}
    raise NoScenes("no tile of the Copernicus DEM covers the area", "give another catalogue with --terrain")


def _find_radar(
    search: _Search, region: BaseGeometry, todo: Mapping[int, tuple[Tile, ...]]
) -> tuple[dict[int, list[Scene]], dict[str, dict[str, Any]]]:
    """Radar scenes by year of the first catalogue that has any; none is a warning, not an error."""
    settings = search.settings
    for reference in _catalogs(settings, "radar"):
        names = tuple(product.collection for product in products_in(reference, "radar"))
        if not names:
            continue
        try:
            found: dict[int, list[Scene]] = {}
            raw: dict[str, dict[str, Any]] = {}
            for year in todo:
                found[year], items = _find(
                    search, reference, "radar", names, region, _interval(settings, year, days=RADAR_DAYS)
                )
                raw |= items
        except CatalogError as error:
            search.warn(f"radar catalogue {reference}: {error.message}")
            continue
        if any(found.values()):
            return found, raw
    search.warn("no radar scene was found: lakes are mapped without radar")
    return {}, {}


def _enter_radar(
    search: _Search,
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
