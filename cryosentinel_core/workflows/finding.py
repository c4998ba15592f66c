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
from cryosentinel_core.scenes.items import scene_of_item, with_absolute_hrefs
from cryosentinel_core.scenes.providers import DEFAULT_CATALOGS
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import RADAR_DAYS, Choice, SelectionRules, coverage, select_optical
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
) -> tuple[dict[tuple[int, Tile], Choice], dict[str, dict[str, Any]], str | None]:
    """Choices per year and tile from one collection for all: the one with most tiles and years covered, then by preference.

    A collection that an earlier fetch of this area used is kept, so that years stay comparable, unless mixing is allowed.
    """
    settings, rules = search.settings, _rules(search.settings)
    kept = next((lock.product for lock in known), None)
    candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]] = []
    raw: dict[str, dict[str, Any]] = {}
    failures: list[CryosentinelError] = []
    for reference in catalogs_of(settings, "optical"):
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
    search: Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
) -> list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]]:
    ranked = sorted(candidates, key=lambda one: (-one[0], -one[1]))
    if kept is not None and not search.settings.allow_mixed:
        same = [one for one in ranked if one[2] == kept]
        return same or ranked
    return ranked


def _name_of_best(
    search: Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
) -> str:
    return _ranked(search, candidates, kept)[0][2]


def _best_collection(
    search: Search, candidates: list[tuple[float, float, str, dict[tuple[int, Tile], Choice]]], kept: str | None
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
