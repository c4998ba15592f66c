"""Keys of lakes: names that stay when years are added, kept with each lake's first outline in a registry.

A key is an id of the place where a lake was first seen, but lakes are never found by it: the registered outlines are matched
by overlap, like years are in `matching`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.matching import Match, overlap_pairs, parts_that_count, whole_outline, whole_outlines
from cryosentinel_core.ground.geodesic import lake_id_of, lake_ids_of, measure_geodesic

REGISTRY_COLUMNS: Final = ("lake_key", "first_year", "aliases")
"""Columns of the registry, before the geometry (the first outline, EPSG:4326)."""

_SAME_IOU: Final = 0.99
"""Intersection over union from which an outline is the registered one."""

_KEY: Final = re.compile(r"^GL\d{6}[EW]\d{5}[NS](_\d+)?(-[a-z]+)*$")


@dataclass(frozen=True)
class Key:
    """The name of a lake over all years.

    Attributes:
        lake_key: Unique in the registry.
        aliases: Keys of lakes that merged into this one, sorted.
    """

    lake_key: str
    aliases: tuple[str, ...] = ()


def name_keys(keys: Sequence[Key], names: Mapping[int, tuple[str, ...]]) -> list[Key]:
    """Keys with the names of watched lakes among their aliases.

    Args:
        keys: Keys of the lakes of a table.
        names: Index of a key -> names, from `matching.add_watched`.
    """
    return [Key(key.lake_key, (*key.aliases, *names.get(index, ()))) for index, key in enumerate(keys)]


def is_key(text: str) -> bool:
    """True for a key as it is given to lakes, False for a name."""
    return _KEY.match(text) is not None


def is_same_registry(first: gpd.GeoDataFrame, second: gpd.GeoDataFrame) -> bool:
    """True if two registries hold the same keys and aliases."""
    if len(first) != len(second):
        return False
    return all(list(first[name]) == list(second[name]) for name in ("lake_key", "aliases"))


def assign_keys(
    matches: Sequence[Match],
    tables: Mapping[int, gpd.GeoDataFrame],
    registry: gpd.GeoDataFrame,
    *,
    min_area_m2: float,
    pixel_m: float = 10.0,
) -> tuple[list[Key], gpd.GeoDataFrame]:
    """Keys of some lakes and the registry that knows them all.

    A lake that overlaps one registered outline has its key. One that overlaps several (they merged) has the key of the largest
    and the others as aliases. Where one registered outline lies under several lakes (it split), they have its key with the
    suffixes `-a`, `-b`, ..., largest first, and keep them; but a lake that was drawn as that outline in some year, or the only
    one that nothing else names, keeps the key as it is, for the others merely grew over its ground. On unregistered ground
    every outline of a lake's first year is registered under its own id, `_2` added if another lake has that; the largest one's
    is the key. Asking again with the registry returned gives the same keys and the same registry.

    Args:
        matches: The lakes that need keys.
        tables: Year -> outlines in EPSG:4326 with the column `area_m2`.
        registry: `REGISTRY_COLUMNS` and geometry; may be empty.
        min_area_m2: Smallest lake in a table: of a lake's first outlines, smaller ones beside it are not registered.
        pixel_m: Pixel side of the coarsest year, metres, as in `match_years`.

    Returns:
        One key a match, and the registry with new rows and aliases, sorted by key.
    """
    alone, shared = _votes(matches, tables, registry, pixel_m)
    known = registry["lake_key"].astype(str).tolist()
    registered_m2 = measure_geodesic(registry.geometry.to_numpy())[0] if len(registry) else np.zeros(0)
    area = {year: table["area_m2"].to_numpy(dtype=float).tolist() for year, table in tables.items()}
    outline = {year: table.geometry.to_numpy() for year, table in tables.items()}
    size = [sum(area[year][row] for year, rows in match.members.items() for row in rows) for match in matches]
    own_id = _ids_of_new(matches, outline, {*alone, *shared})
    keys: dict[int, Key] = {}
    added: dict[str, tuple[int, BaseGeometry]] = {}
    taken = set(known)
    for index in sorted(range(len(matches)), key=lambda i: (-size[i], i)):
        match = matches[index]
        first = min(match.members, default=0)
        roots = _without_relatives([known[entry] for entry in alone[index]]) if index in alone else set()
        if roots:
            entries = [entry for entry in alone[index] if known[entry] in roots]
            names = [known[entry] for entry in sorted(entries, key=lambda e: (-registered_m2[e], known[e]))]
        elif index in shared:
            parent = known[max(shared[index], key=lambda e: (registered_m2[e], known[e]))]
            names = [_next_suffix(parent, taken)]
            added[names[0]] = first, shapely.union_all(outline[first][list(match.rows(first))])
        elif not match.members:
            names = [_next_free(lake_id_of(whole_outline(match, tables)), taken)]
        else:
            names, rows = [], match.rows(first)
            for row in rows if len(rows) == 1 else parts_that_count(match, tables, first, min_area_m2):
                name = own_id[index] if index in own_id else lake_id_of(outline[first][row])
                names.append(_next_free(name, taken))
                taken.add(names[-1])
                added[names[-1]] = first, outline[first][row]
        taken.update(names)
        keys[index] = Key(names[0], tuple(sorted(names[1:])))
    ordered = [keys[index] for index in range(len(matches))]
    return ordered, _extend_registry(registry, ordered, added)


def count_known(tables: Mapping[int, gpd.GeoDataFrame], registry: gpd.GeoDataFrame, pixel_m: float) -> int:
    """How many registered outlines lie on ground that some years' outlines share, by the rule of `matching`."""
    known: set[int] = set()
    for table in tables.values():
        _, found = overlap_pairs(table.geometry.to_numpy(), registry.geometry.to_numpy(), pixel_m**2)
        known.update(found.tolist())
    return len(known)


def name_of_ground(tables: Mapping[int, gpd.GeoDataFrame]) -> str:
    """A name for the ground of some years' outlines: the id of the largest one's place; `no-lakes` without any."""
    largest = [table.loc[table["area_m2"].idxmax()] for table in tables.values() if len(table)]
    if not largest:
        return "no-lakes"
    return lake_id_of(max(largest, key=lambda row: float(row["area_m2"])).geometry)


def empty_registry() -> gpd.GeoDataFrame:
    """A registry that knows no lake."""
    columns = {"lake_key": [], "first_year": np.zeros(0, dtype=np.int64), "aliases": []}
    return gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries([], crs="EPSG:4326"), crs="EPSG:4326")


def _votes(
    matches: Sequence[Match], tables: Mapping[int, gpd.GeoDataFrame], registry: gpd.GeoDataFrame, pixel_m: float
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """For each lake the registered outlines that lie under it alone, and those that lie under several lakes."""
    if not len(registry):
        return defaultdict(list), defaultdict(list)
    whole = whole_outlines(matches, tables)
    i, j = overlap_pairs(whole, registry.geometry.to_numpy(), pixel_m**2)
    owner = _owners(i, j, matches, tables, registry)
    alone: dict[int, list[int]] = defaultdict(list)
    shared: dict[int, list[int]] = defaultdict(list)
    for lake, entry in zip(i.tolist(), j.tolist(), strict=True):
        if owner[entry] is None:
            shared[lake].append(entry)
        elif owner[entry] == lake:
            alone[lake].append(entry)
    return alone, shared


def _owners(
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    matches: Sequence[Match],
    tables: Mapping[int, gpd.GeoDataFrame],
    registry: gpd.GeoDataFrame,
) -> dict[int, int | None]:
    """Registered outline -> the one lake that it names; None where several have as good a claim: it split.

    Of several lakes over one registered outline the one has it that is drawn so in some year, for the others have merely grown over
    its ground; else the only one that no other registered outline names, unless the outline has split before.
    """
    lakes_of: dict[int, list[int]] = defaultdict(list)
    for lake, entry in zip(i.tolist(), j.tolist(), strict=True):
        lakes_of[entry].append(lake)
    owner: dict[int, int | None] = {entry: lakes[0] for entry, lakes in lakes_of.items() if len(lakes) == 1}
    several = {entry: lakes for entry, lakes in lakes_of.items() if len(lakes) > 1}
    geometry = registry.geometry.to_numpy()
    for entry, lakes in several.items():
        drawn = [lake for lake in lakes if _is_drawn_as(matches[lake], tables, geometry[entry])]
        owner[entry] = drawn[0] if len(drawn) == 1 else None
    named = {lake for lake in owner.values() if lake is not None}
    known = registry["lake_key"].astype(str).tolist()
    for entry, lakes in several.items():
        unnamed = [lake for lake in lakes if lake not in named]
        has_split = any(name.startswith(f"{known[entry]}-") for name in known)
        if owner[entry] is None and len(unnamed) == 1 and not has_split:
            owner[entry] = unnamed[0]
    return owner


def _is_drawn_as(match: Match, tables: Mapping[int, gpd.GeoDataFrame], outline: BaseGeometry) -> bool:
    """True if one of a lake's outlines is a registered one."""
    for year, rows in match.members.items():
        members = tables[year].geometry.to_numpy()[list(rows)]
        shared = shapely.area(shapely.intersection(members, outline))
        if (shared >= _SAME_IOU * shapely.area(shapely.union(members, outline))).any():
            return True
    return False


def _ids_of_new(
    matches: Sequence[Match], outline: Mapping[int, NDArray[np.object_]], known: set[int]
) -> dict[int, str]:
    """Lake -> id of its outline, for unregistered lakes that have one in their first year."""
    new = []
    for index, match in enumerate(matches):
        if match.members and index not in known:
            year = min(match.members)
            if len(match.members[year]) == 1:
                new.append((index, outline[year][match.members[year][0]]))
    if not new:
        return {}
    lakes, outlines = zip(*new, strict=True)
    return dict(zip(lakes, lake_ids_of(np.array(outlines, dtype=object)), strict=True))


def _without_relatives(names: Iterable[str]) -> set[str]:
    """Names of which none is a split part of another: a lake over one part is that part, over several it is their parent."""
    found = set(names)
    for name in sorted(found):
        children = [other for other in found if other.startswith(f"{name}-") and "-" not in other[len(name) + 1 :]]
        if len(children) == 1:
            found.discard(name)
    return {name for name in found if not any(name.startswith(f"{other}-") for other in found)}


def _next_suffix(parent: str, taken: set[str]) -> str:
    """The parent's first free `-a`, `-b`, ..., `-z`, `-aa`, ..."""
    number = 0
    while True:
        letters, rest = "", number
        while True:
            letters = chr(ord("a") + rest % 26) + letters
            rest = rest // 26 - 1
            if rest < 0:
                break
        if f"{parent}-{letters}" not in taken:
            return f"{parent}-{letters}"
        number += 1


def _next_free(name: str, taken: set[str]) -> str:
    """The name, or with `_2`, `_3`, ... if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _extend_registry(
    registry: gpd.GeoDataFrame, keys: Sequence[Key], added: Mapping[str, tuple[int, BaseGeometry]]
) -> gpd.GeoDataFrame:
    """The registry with new rows, and aliases added to known ones, sorted by key."""
    rows: dict[str, tuple[int, set[str], BaseGeometry]] = {}
    for name, year, aliases, outline in zip(
        registry["lake_key"], registry["first_year"], registry["aliases"], registry.geometry, strict=True
    ):
        rows[str(name)] = (int(year), {alias for alias in str(aliases or "").split(";") if alias}, outline)
    for name, (year, outline) in added.items():
        rows[name] = (year, set(), outline)
    for key in keys:
        if key.lake_key in rows:
            rows[key.lake_key][1].update(key.aliases)
    names = sorted(rows)
    if not names:
        return empty_registry()
    return gpd.GeoDataFrame(
        {
            "lake_key": names,
            "first_year": [rows[name][0] for name in names],
            "aliases": [";".join(sorted(rows[name][1])) for name in names],
        },
        geometry=[rows[name][2] for name in names],
        crs="EPSG:4326",
    )
