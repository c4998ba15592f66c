"""Selection of the scenes of a stack, per lattice tile, by rules that look at the whole tile and never at an area of interest.

Pure functions on scenes that were found. `io.catalogs.search` finds them, the fetch workflow records the choice in `scenes.json`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.ground.season import OCTOBER, Season
from cryosentinel_core.scenes.footprints import outline_of_tile, share_of_tile
from cryosentinel_core.scenes.scene import Scene

RADAR_DAYS: Final = 7
"""Sentinel-1 is taken within this many days of a chosen Sentinel-2 date, where there is one."""

MIN_TILE_SHARE: Final = 0.001
"""A scene that covers less of a tile than this is not taken for it."""

_COVERED: Final = 0.999


@dataclass(frozen=True, kw_only=True)
class SelectionRules:
    """Rules that a scene must meet.

    Attributes:
        season: Days of the year.
        october_fallback: Take October for a tile whose season holds no usable scene.
        max_cloud: Highest cloud cover of an optical scene, per cent.
        is_frozen_list: True if a list of items shall be taken as it is: neither cloud nor season count.
    """

    season: Season
    october_fallback: bool = True
    max_cloud: float = 30.0
    is_frozen_list: bool = False


RejectionKind = Literal["season", "cloud", "no cloud cover", "cover", "duplicate", "orbit", "unusable", "unknown"]


@dataclass(frozen=True)
class Rejection:
    """Reason why a scene that was considered is not in.

    Attributes:
        kind: Which rule it failed.
        reason: In words.
        number: What was seen, in the rule's unit (cloud cover in per cent, share of the tile 0..1); None where there is none.
    """

    kind: RejectionKind
    reason: str
    number: float | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The scenes of one role for one tile.

    Attributes:
        scenes: Chosen, in order of time, then of `fusing_order`.
        rejected: Key of a scene that was considered -> why it is not in.
        note: The season used, or the radar geometry.
    """

    scenes: tuple[Scene, ...] = ()
    rejected: Mapping[str, Rejection] = field(default_factory=dict)
    note: str = ""


def fusing_order(scene: Scene, tile: Tile) -> tuple[int, int, bool, str, str]:
    """Sort key of items of one overpass: newest baseline first, then the tile's own zone, then by name.

    Where two of them have data at a pixel, the first in this order supplies it.
    """
    major, minor = scene.baseline
    return -major, -minor, scene.epsg != tile.epsg, scene.collection, scene.id


def group_overpasses(scenes: Iterable[Scene], tile: Tile) -> list[tuple[Scene, ...]]:
    """Scenes by overpass in order of time, each overpass's items in fusing order."""
    found: dict[tuple[dt.date, str, int], list[Scene]] = {}
    for scene in scenes:
        found.setdefault(scene.acquisition, []).append(scene)
    return [tuple(sorted(found[key], key=lambda scene: fusing_order(scene, tile))) for key in sorted(found)]


def select_optical(tile: Tile, scenes: Sequence[Scene], year: int, rules: SelectionRules) -> Choice:
    """Sentinel-2 scenes of a tile: in season, under the cloud limit, one item for each part of an overpass.

    Args:
        tile: A lattice tile.
        scenes: Of one collection; any that may touch the tile.
        year: Calendar year.
        rules: What may go in.
    """
    near, slivers = _covering(tile, [scene for scene in scenes if scene.moment.year == year])
    if rules.is_frozen_list:
        return Choice(scenes=_without_duplicates(tile, near, {}), rejected=slivers, note="as listed")
    season = str(rules.season)
    chosen, rejected = _in_season(near, year, rules.season, rules)
    if not chosen and rules.october_fallback:
        chosen, again = _in_season(near, year, OCTOBER, rules)
        if chosen:
            season, rejected = str(OCTOBER), {key: why for key, why in again.items() if key in rejected} | again
    return Choice(scenes=_without_duplicates(tile, chosen, rejected), rejected=slivers | rejected, note=season)


def _covering(tile: Tile, scenes: Sequence[Scene]) -> tuple[list[Scene], dict[str, Rejection]]:
    """Scenes that cover enough of a tile to be taken for it; those that only graze it are rejected."""
    near, rejected = [], {}
    for scene in scenes:
        share = share_of_tile(scene.footprint, tile)
        if share >= MIN_TILE_SHARE:
            near.append(scene)
        elif share > 0:
            rejected[scene.key] = Rejection(
                "cover", f"covers {share:.2%} of tile {tile.name}, wanted at least {MIN_TILE_SHARE:.1%}", share
            )
    return near, rejected


def _in_season(
    scenes: Sequence[Scene], year: int, season: Season, rules: SelectionRules
) -> tuple[list[Scene], dict[str, Rejection]]:
    chosen: list[Scene] = []
    rejected: dict[str, Rejection] = {}
    for scene in scenes:
        if not season.contains(scene.moment, year):
            rejected[scene.key] = Rejection("season", f"outside the season {season}")
        elif scene.cloud_percent is None:
            rejected[scene.key] = Rejection("no cloud cover", "no cloud cover given")
        elif scene.cloud_percent > rules.max_cloud:
            rejected[scene.key] = Rejection(
                "cloud", f"cloud cover {scene.cloud_percent:.1f} % over {rules.max_cloud:g} %", scene.cloud_percent
            )
        else:
            chosen.append(scene)
    return chosen, rejected


def _without_duplicates(tile: Tile, scenes: Sequence[Scene], rejected: dict[str, Rejection]) -> tuple[Scene, ...]:
    """Items whose part of the tile no earlier item of their overpass covers; the others join the rejected."""
    outline = outline_of_tile(tile)
    kept: list[Scene] = []
    for overpass in group_overpasses(scenes, tile):
        covered: BaseGeometry | None = None
        for scene in overpass:
            part = shapely.intersection(scene.footprint, outline)
            if covered is not None and shapely.intersection(part, covered).area >= _COVERED * part.area:
                rejected[scene.key] = Rejection(
                    "duplicate", f"the same ground of the same overpass is in {kept[-1].id}"
                )
                continue
            kept.append(scene)
            covered = part if covered is None else shapely.union_all([covered, part])
    return tuple(kept)


def choose_orbit(
    tile: Tile, scenes_by_year: Mapping[int, Sequence[Scene]], preferred: Iterable[str] = ()
) -> str | None:
    """The one radar geometry of a tile for all years, as `descending-165`; None if there is no scene.

    The geometry seen in most of the years wins, then the one already used in an earlier fetch, then the one that covers most
    of the tile (in tenths), then the one with most overpasses, then the first by name.

    Args:
        tile: A lattice tile.
        scenes_by_year: Radar scenes of each year asked for, already limited to the days wanted.
        preferred: Geometries of other years' locks.
    """
    used = Counter(preferred)
    found: dict[str, dict[int, list[Scene]]] = {}
    for year, scenes in scenes_by_year.items():
        for scene in scenes:
            if scene.orbit is not None and scene.orbit_state and share_of_tile(scene.footprint, tile) >= MIN_TILE_SHARE:
                found.setdefault(scene.orbit_name, {}).setdefault(year, []).append(scene)

    def rank(name: str) -> tuple[int, int, float, int, str]:
        years = found[name]
        cover = min(
            share_of_tile(shapely.union_all([one.footprint for one in scenes]), tile) for scenes in years.values()
        )
        passes = sum(len({scene.acquisition for scene in scenes}) for scenes in years.values())
        return -len(years), -used[name], -round(cover, 1), -passes, name

    return min(found, key=rank) if found else None


def near_dates(scenes: Sequence[Scene], dates: Iterable[dt.date], season: Season, year: int) -> list[Scene]:
    """Radar scenes within seven days of one of the dates; all of the season if there is none."""
    days = {date.toordinal() for date in dates}
    near = [one for one in scenes if any(abs(one.date.toordinal() - day) <= RADAR_DAYS for day in days)]
    return near or [one for one in scenes if season.contains(one.moment, year)]


def select_radar(tile: Tile, scenes: Sequence[Scene], orbit: str | None) -> Choice:
    """The scenes of one geometry that touch a tile; directions and orbits are never mixed.

    Args:
        tile: A lattice tile.
        scenes: Limited to the days wanted.
        orbit: Of `choose_orbit`; None if there is none.
    """
    near, rejected = _covering(tile, scenes)
    for one in near:
        if one.orbit_name != orbit:
            rejected[one.key] = Rejection("orbit", f"orbit {one.orbit_name}, chosen is {orbit}")
    chosen = [one for one in near if one.orbit_name == orbit]
    return Choice(scenes=_without_duplicates(tile, chosen, rejected), rejected=rejected, note=orbit or "")


def select_terrain(tile: Tile, scenes: Sequence[Scene], reach_m: float) -> Choice:
    """DEM tiles within a reach of a tile, in order of name; one for each footprint."""
    outline = outline_of_tile(tile, reach_m)
    near = sorted((one for one in scenes if shapely.intersects(one.footprint, outline)), key=lambda one: one.key)
    kept: dict[str, Scene] = {}
    for scene in near:
        kept.setdefault(scene.id, scene)
    return Choice(scenes=tuple(kept.values()))


def misses_in_words(rejected: Mapping[str, Rejection], season: str) -> list[str]:
    """The closest misses of a year without any scene, each with what to try.

    Args:
        rejected: Scenes that were considered.
        season: As it was asked for.
    """
    by_kind: dict[str, dict[str, Rejection]] = {}
    for key, why in sorted(rejected.items()):
        by_kind.setdefault(why.kind, {})[key] = why
    hints = []
    cloudy = [why.number for why in by_kind.get("cloud", {}).values() if why.number is not None]
    if cloudy:
        hints.append(
            f"{len(cloudy)} scenes were over the cloud limit, the clearest with {min(cloudy):.1f} %: raise --max-cloud"
        )
    if "season" in by_kind:
        hints.append(f"{len(by_kind['season'])} scenes lie outside the season {season}: widen --season")
    for kind, words in (
        ("no cloud cover", "scenes say no cloud cover"),
        ("cover", "scenes only graze the area"),
        ("unusable", "items cannot be used"),
    ):
        if kind in by_kind:
            hints.append(f"{len(by_kind[kind])} {words}, as {examples_in_words(by_kind[kind])}")
    return hints


def examples_in_words(rejected: Mapping[str, Rejection], n: int = 3) -> str:
    """One item for each of the first few different reasons."""
    by_reason: dict[str, str] = {}
    for key, why in sorted(rejected.items()):
        by_reason.setdefault(why.reason, key)
    return "; ".join(f"{key}: {reason}" for reason, key in list(by_reason.items())[:n])
