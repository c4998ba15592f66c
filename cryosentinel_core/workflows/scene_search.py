"""Scenes that the catalogues have for an area: optical ones of one collection, terrain, radar, each from the first place that has it.

Neighbours: `io.catalogs.search` asks one catalogue; `scenes.collections` and `scenes.selection` choose; `scene_plan` enters the choice
into the lock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import CatalogError, DataError, NoScenes
from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.ground.season import OCTOBER, Season
from cryosentinel_core.io.catalogs.http import NoAnswer
from cryosentinel_core.io.catalogs.scenes_lock import Lock, reference_of
from cryosentinel_core.io.catalogs.search import Catalogues, products_in
from cryosentinel_core.reporter import Reporter, counted
from cryosentinel_core.scenes.collections import Candidate, CollectionChoice, candidates_of, choose_collection
from cryosentinel_core.scenes.items import scene_of_item, with_absolute_hrefs
from cryosentinel_core.scenes.providers import DEFAULT_CATALOGS, all_products
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import RADAR_DAYS, Rejection, SelectionRules, examples_in_words
from cryosentinel_core.settings.fetch import FetchSettings


@dataclass
class Search:
    """State of one planning: what was asked, and what was noticed.

    Attributes:
        settings: What to look for.
        catalogues: To ask.
        reporter: Hears what is noticed.
        warnings: Receives it.
        unusable: Calendar year, or None for terrain -> item -> why it cannot be used.
        other_collections: What catalogues without a wanted collection hold -> asset keys.
    """

    settings: FetchSettings
    catalogues: Catalogues
    reporter: Reporter
    warnings: list[str]
    unusable: dict[int | None, dict[str, Rejection]] = field(default_factory=dict)
    other_collections: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def warn(self, message: str) -> None:
        """Tell a warning, and keep it for the summary; each only once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.reporter.warn(message)


@dataclass(frozen=True, kw_only=True)
class FoundScenes:
    """Scenes of one role.

    Attributes:
        by_year: Calendar year (None where the year plays no part) -> scenes.
        items: Key of a scene -> its item as it goes into the lock.
        unanswered: Why no catalogue could be asked; empty if one answered, be it that there are none.
    """

    by_year: Mapping[int | None, Sequence[Scene]] = field(default_factory=dict)
    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    unanswered: str = ""

    @property
    def scenes(self) -> list[Scene]:
        """Scenes of all years."""
        return [scene for scenes in self.by_year.values() for scene in scenes]


def catalogs_of(settings: FetchSettings, role: Role) -> tuple[str, ...]:
    """Catalogues to ask for a role, in order."""
    if settings.from_items is not None:
        return (str(settings.from_items.resolve()),)
    asked = reference_of(getattr(settings, role) or settings.catalog)
    return (asked,) if asked else DEFAULT_CATALOGS[role]


def _find(
    search: Search, reference: str, role: Role, region: BaseGeometry, intervals: Mapping[int | None, str | None]
) -> FoundScenes:
    """Scenes of a catalogue by year; items that cannot be used are remembered with the reason."""
    names = tuple(dict.fromkeys(product.collection for product in products_in(reference, role)))
    by_year: dict[int | None, list[Scene]] = {}
    items: dict[str, dict[str, Any]] = {}
    for year, interval in intervals.items() if names else ():
        result = search.catalogues.search(reference, names, region, interval)
        unusable = search.unusable.setdefault(year, {})
        unusable.update({key: Rejection("unusable", why) for key, why in result.left_out.items()})
        search.other_collections.update(result.other_collections)
        scenes = by_year.setdefault(year, [])
        for found in result.items:
            try:
                scene = scene_of_item(found.item, role, found.base)
            except DataError as error:
                unusable[f"{found.item['collection']}/{found.item['id']}"] = Rejection("unusable", error.message)
                continue
            scenes.append(scene)
            items[scene.key] = with_absolute_hrefs(found.item, scene, role)
    return FoundScenes(by_year=by_year, items=items)


def tell_unusable(search: Search) -> None:
    """Note how many items were left out, with an example of each reason."""
    unusable = {key: why for found in search.unusable.values() for key, why in found.items()}
    if unusable:
        search.reporter.note(f"{counted(len(unusable), 'item')} cannot be used, as {examples_in_words(unusable)}")


def _rules(settings: FetchSettings) -> SelectionRules:
    return SelectionRules(
        season=Season.parse(settings.season),
        october_fallback=settings.october_fallback,
        max_cloud=settings.max_cloud,
        is_frozen_list=settings.from_items is not None,
    )


def _interval(settings: FetchSettings, year: int, *, days: int = 0) -> str:
    """STAC interval to ask a catalogue for: the season, October if it may be needed, and some days on both sides."""
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
    failures: list[CatalogError] = []
    for reference in catalogs_of(settings, "optical"):
        try:
            found = _find(search, reference, "optical", region, {year: _interval(settings, year) for year in todo})
        except CatalogError as error:
            failures.append(error)
            continue
        raw |= found.items
        preference = [product.name for product in products_in(reference, "optical")]
        candidates += candidates_of(found.scenes, wanted, rules, preference)
        if any(one.coverage == 1.0 for one in candidates):
            break
    if not candidates and failures:
        raise _all_failed(failures)
    for failure in failures:
        search.warn(failure.message)
    kept = next((lock.product for lock in known), None)
    choice = choose_collection(candidates, wanted, kept=kept, allow_mixed=settings.allow_mixed)
    for message in choice.warnings:
        search.warn(message)
    return choice, raw


def _all_failed(failures: Sequence[CatalogError]) -> CatalogError:
    """Several failures as one sentence; the reason stands there once where it is the same for all."""
    silent = [failure for failure in failures if isinstance(failure, NoAnswer)]
    if len(failures) > 1 and len(silent) == len(failures) and len({failure.reason for failure in silent}) == 1:
        addresses = " and ".join(failure.address for failure in silent)
        return CatalogError(f"the catalogues {addresses} do not answer: {silent[0].reason}", failures[0].hint)
    return CatalogError("; ".join(dict.fromkeys(failure.message for failure in failures)), failures[0].hint)


def find_terrain(search: Search, region: BaseGeometry, *, may_lack: bool) -> FoundScenes:
    """DEM tiles of the first catalogue that has them; none is an error, unless other tiles of the area have some.

    Raises:
        NoScenes: If every catalogue answers that it has none.
    """
    found = _first_that_has(search, "terrain", shapely.buffer(region, 0.1), {None: None})
    if found.scenes or found.unanswered:
        return found
    if not may_lack:
        asked = " and ".join(str(reference) for reference in catalogs_of(search.settings, "terrain"))
        west, south, east, north = region.bounds
        raise NoScenes(
            f"no tile of the Copernicus DEM in {asked} covers the area "
            f"(longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f})",
            "is the area where you meant it? if so, give a catalogue that covers it with --catalog, or with --terrain",
        )
    search.warn("no tile of the Copernicus DEM covers a part of the area")
    return found


def find_radar(search: Search, region: BaseGeometry, years: Sequence[int]) -> FoundScenes:
    """Radar scenes by year of the first catalogue that has any; none is a warning, not an error."""
    intervals: dict[int | None, str | None] = {
        year: _interval(search.settings, year, days=RADAR_DAYS) for year in years
    }
    found = _first_that_has(search, "radar", region, intervals)
    if not found.scenes and not found.unanswered:
        search.warn("no radar scene was found: lakes are mapped without radar")
    return found


def _first_that_has(
    search: Search, role: Role, region: BaseGeometry, intervals: Mapping[int | None, str | None]
) -> FoundScenes:
    """Scenes of the first catalogue that has any; where one could not be asked and no other had any, nobody answered."""
    failures: list[CatalogError] = []
    for reference in catalogs_of(search.settings, role):
        try:
            found = _find(search, reference, role, region, intervals)
        except CatalogError as error:
            failures.append(error)
            search.warn(f"{role}: {error.message}")
            continue
        if found.scenes:
            return found
    return FoundScenes(unanswered=_all_failed(failures).message if failures else "")


def collections_in_words(search: Search) -> str:
    """Collections that catalogues hold in place of Sentinel-2, for a refusal; empty if nothing is known of them."""
    known = list(dict.fromkeys(product.collection for product in all_products("optical")))
    others = sorted(search.other_collections.items())
    if not others or set(known) & set(search.other_collections):  # what is wanted is there, of other years or places
        return ""
    shown = others[:3]
    seen = "; ".join(f"{name!r} (assets {', '.join(sorted(keys)[:20]) or 'not named'})" for name, keys in shown)
    more = len(others) - len(shown)
    wanted = " or ".join(known)
    return f"the catalogue holds {seen}{f' and {more} more' if more else ''}; wanted is {wanted}"
