"""What the catalogues have for an area: optical scenes of one collection, terrain, radar, each from the first place that has it.

Neighbours: `io.catalogs.search` asks one catalogue; `selection` chooses among scenes; `planning` enters the choice into the lock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError, CryosentinelError, DataError, NoScenes
from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.ground.season import OCTOBER, Season
from cryosentinel_core.io.catalogs.scenes_lock import Lock, reference_of
from cryosentinel_core.io.catalogs.search import Patience, products_in, search_items
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.collections import Candidate, CollectionChoice, candidates_of, choose_collection
from cryosentinel_core.scenes.items import scene_of_item, with_absolute_hrefs
from cryosentinel_core.scenes.providers import DEFAULT_CATALOGS
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import RADAR_DAYS, SelectionRules
from cryosentinel_core.settings.fetch import FetchSettings


@dataclass
class Search:
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


def catalogs_of(settings: FetchSettings, role: Role) -> tuple[str, ...]:
    """Where to look for a role, in order."""
    if settings.from_items is not None:
        return (str(settings.from_items.resolve()),)
    asked = reference_of(getattr(settings, role) or settings.catalog)
    return (asked,) if asked else DEFAULT_CATALOGS[role]


def _find(
    search: Search, reference: str, role: Role, collections: Sequence[str], region: BaseGeometry, interval: str | None
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
    if settings.from_items is not None:
        return f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z"
    season = Season.parse(settings.season)
    last = max(season.last, OCTOBER.last) if settings.october_fallback else season.last
    first_day = dt.date(year, *season.first) - dt.timedelta(days=days)
    last_day = dt.date(year, *last) + dt.timedelta(days=days)
    return f"{first_day.isoformat()}T00:00:00Z/{last_day.isoformat()}T23:59:59Z"


def choose_optical(
    search: Search, region: BaseGeometry, todo: Mapping[int, tuple[Tile, ...]], known: Sequence[Lock]
) -> tuple[CollectionChoice, dict[str, dict[str, Any]]]:
    """Scenes per year and tile from one collection for all, and their items.

    The next catalogue is asked where one does not answer or has gaps.

    Raises:
        CatalogError: If none answers.
    """
    settings, rules = search.settings, _rules(search.settings)
    wanted = [(year, tile) for year, tiles in todo.items() for tile in tiles]
    candidates: list[Candidate] = []
    raw: dict[str, dict[str, Any]] = {}
    failures: list[CryosentinelError] = []
    for reference in catalogs_of(settings, "optical"):
        products = products_in(reference, "optical")
        names = tuple({one.collection: None for one in products})
        try:
            scenes = []
            for year in todo:
                found, items = _find(search, reference, "optical", names, region, _interval(settings, year))
                scenes += found
                raw |= items
        except CatalogError as error:
            failures.append(error)
            search.warn(f"optical catalogue {reference}: {error.message}")
            continue
        candidates += candidates_of(scenes, wanted, rules, [one.name for one in products])
        if any(one.coverage == 1.0 for one in candidates):
            break
    if not candidates and failures:
        raise failures[0]
    kept = next((lock.product for lock in known), None)
    choice = choose_collection(candidates, wanted, kept=kept, allow_mixed=settings.allow_mixed)
    for message in choice.warnings:
        search.warn(message)
    return choice, raw


def find_terrain(
    search: Search, region: BaseGeometry, *, may_lack: bool
) -> tuple[list[Scene], dict[str, dict[str, Any]]]:
    """DEM tiles of the first catalogue that has them; none is an error, unless other tiles of the area have some."""
    wide = shapely.buffer(region, 0.1)
    failures: list[CryosentinelError] = []
    for reference in catalogs_of(search.settings, "terrain"):
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


def find_radar(
    search: Search, region: BaseGeometry, todo: Mapping[int, tuple[Tile, ...]]
) -> tuple[dict[int, list[Scene]], dict[str, dict[str, Any]]]:
    """Radar scenes by year of the first catalogue that has any; none is a warning, not an error."""
    settings = search.settings
    for reference in catalogs_of(settings, "radar"):
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
