"""Which outlines of different years are the same lake: by where they lie, never by their ids.

Outlines of all years are the nodes of a graph, overlaps its edges, and each connected part of it is one lake with its whole
history: 1-1, 1-n, n-1 or n-m. Outlines below the smallest area take part, so that a lake of 0.49 ha one year and 0.51 ha the
next does not appear out of nothing. Keys come from a registry of first outlines.

Two outlines overlap if they share at least a pixel's area (or half of the smaller one, if that is less) and 5 % of the
smaller one: shores that touch, or a shift of part of a pixel between years, do not join neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.lake import Status
from cryosentinel_core.measure import lake_id_of, measure_geodesic

MIN_OVERLAP_SHARE: Final = 0.05
"""Of the smaller outline, that two outlines must share to be one lake."""

REGISTRY_COLUMNS: Final = ("lake_key", "first_year", "aliases")
"""Columns of the registry, before the geometry (the first outline, EPSG:4326)."""


@dataclass(frozen=True)
class Match:
    """One lake with its outlines in all years.

    Attributes:
        members: Year -> rows of that year's table, ascending; years without an outline are absent.
        edges: Overlaps between years as ((year, row), (year, row)), the earlier year first, sorted.
        place: Where to look even if no year has an outline, EPSG:4326, for a lake that is watched; else None.
    """

    members: Mapping[int, tuple[int, ...]]
    edges: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    place: BaseGeometry | None = None

    def rows(self, year: int) -> tuple[int, ...]:
        """Rows of a year's table, none if the lake has no outline then."""
        return self.members.get(year, ())


@dataclass(frozen=True)
class Key:
    """The name of a lake over all years.

    Attributes:
        lake_key: Unique in the registry.
        aliases: Keys of lakes that merged into this one, sorted.
    """

    lake_key: str
    aliases: tuple[str, ...] = ()


def match_years(tables: Mapping[int, gpd.GeoDataFrame], *, pixel_m: float = 10.0) -> list[Match]:
    """Lakes as connected parts of the overlap graph of all years' outlines.

    Args:
        tables: Year -> outlines in EPSG:4326, candidates included, with the column `area_m2`.
        pixel_m: Of the coarsest of the years: an overlap below its area does not count.

    Returns:
        One match a lake, in order of the earliest year's rows; every row of every table is in exactly one.
    """
    years = sorted(tables)
    geometry = np.concatenate([tables[year].geometry.to_numpy() for year in years]) if years else np.zeros(0, object)
    area = np.concatenate([tables[year]["area_m2"].to_numpy(dtype=float) for year in years]) if years else np.zeros(0)
    node_year = np.repeat(years, [len(tables[year]) for year in years]).astype(int)
    node_row = np.concatenate([np.arange(len(tables[year])) for year in years]) if years else np.zeros(0, dtype=int)
    first, second = _overlaps(geometry, area, node_year, pixel_m**2)
    graph = coo_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(area.size, area.size))
    _, part = connected_components(graph, directed=False)
    members: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for node in range(area.size):
        members[int(part[node])][int(node_year[node])].append(int(node_row[node]))
    edges: dict[int, list[Any]] = defaultdict(list)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        ends = sorted((int(node_year[node]), int(node_row[node])) for node in (a, b))
        edges[int(part[a])].append(tuple(ends))
    return [
        Match({year: tuple(rows) for year, rows in found.items()}, tuple(sorted(edges[label])))
        for label, found in members.items()
    ]


def relation_of(
    match: Match, tables: Mapping[int, gpd.GeoDataFrame], year_from: int, year_to: int, min_area_m2: float
) -> Status:
    """Whether a lake merged, split or did both between two years; `STABLE` says neither, whatever its area did.

    Outlines count that reach the smallest area or a quarter of the lake's total of that year: a lake does not merge with a
    puddle beside it.

    Args:
        match: The lake.
        tables: Year -> outlines with the column `area_m2`.
        year_from: The earlier year.
        year_to: The later year.
        min_area_m2: Smallest lake in a table.
    """
    kept = {(year, row) for year in (year_from, year_to) for row in parts_that_count(match, tables, year, min_area_m2)}
    parts: dict[tuple[int, int], set[tuple[int, int]]] = {node: {node} for node in kept}
    for first, second in match.edges:
        if first in kept and second in kept and first[0] == year_from and second[0] == year_to:
            joined = parts[first] | parts[second]
            for node in joined:
                parts[node] = joined
    merged = split = several = False
    for group in parts.values():
        n_from = sum(year == year_from for year, _ in group)
        n_to = len(group) - n_from
        merged |= n_from > 1 and n_to == 1
        split |= n_from == 1 and n_to > 1
        several |= n_from > 1 and n_to > 1
    if several or (merged and split):
        return Status.COMPLEX
    return Status.MERGED if merged else Status.SPLIT if split else Status.STABLE


def assign_keys(
    matches: Sequence[Match],
    tables: Mapping[int, gpd.GeoDataFrame],
    registry: gpd.GeoDataFrame,
    *,
    min_area_m2: float,
    pixel_m: float = 10.0,
) -> tuple[list[Key], gpd.GeoDataFrame]:
    """Keys of some lakes and the registry that knows them all.

    A lake that overlaps one registered outline has its key. One that overlaps several (they merged) has the key of the
    largest and the others as aliases. Where one registered outline lies under several lakes (it split), they have its key
    with the suffixes `-a`, `-b`, ..., largest first, and keep them. On unregistered ground every outline of a lake's first
    year is registered under its own id, `_2` added if another lake has that; the largest one's is the key. Asking again with
    the registry returned gives the same keys and the same registry.

    Args:
        matches: The lakes that need keys.
        tables: Year -> outlines in EPSG:4326 with the column `area_m2`.
        registry: `REGISTRY_COLUMNS` and geometry; may be empty.
        min_area_m2: Smallest lake in a table: of a lake's first outlines, smaller ones beside it are not registered.
        pixel_m: As in `match_years`.

    Returns:
        One key a match, and the registry with new rows and aliases, sorted by key.
    """
    whole = np.array([_whole(match, tables) for match in matches], dtype=object)
    alone, shared = _votes(whole, registry, pixel_m)
    known = registry["lake_key"].astype(str).tolist()
    registered_m2 = measure_geodesic(registry.geometry.to_numpy())[0] if len(registry) else np.zeros(0)
    size = [sum(_total_area(tables, year, match.rows(year)) for year in match.members) for match in matches]
    keys: dict[int, Key] = {}
    added: dict[str, tuple[int, BaseGeometry]] = {}
    taken = set(known)
    for index in sorted(range(len(matches)), key=lambda i: (-size[i], i)):
        match = matches[index]
        first = min(match.members, default=0)
        roots = _without_relatives([known[entry] for entry in alone[index]])
        if roots:
            entries = [entry for entry in alone[index] if known[entry] in roots]
            names = [known[entry] for entry in sorted(entries, key=lambda e: (-registered_m2[e], known[e]))]
        elif shared[index]:
            parent = known[max(shared[index], key=lambda e: (registered_m2[e], known[e]))]
            names = [_next_suffix(parent, taken)]
            added[names[0]] = first, shapely.union_all(tables[first].geometry.to_numpy()[list(match.rows(first))])
        elif not match.members:
            names = [_next_free(lake_id_of(whole[index]), taken)]
        else:
            names = []
            for row in parts_that_count(match, tables, first, min_area_m2):
                outline = tables[first].geometry.iloc[row]
                names.append(_next_free(lake_id_of(outline), taken.union(names)))
                added[names[-1]] = first, outline
        taken.update(names)
        keys[index] = Key(names[0], tuple(sorted(names[1:])))
    ordered = [keys[index] for index in range(len(matches))]
    return ordered, _extend_registry(registry, ordered, added)


def add_watched(
    kept: Sequence[Match],
    matches: Sequence[Match],
    tables: Mapping[int, gpd.GeoDataFrame],
    watched: Sequence[tuple[str, BaseGeometry]],
) -> tuple[list[Match], dict[int, tuple[str, ...]]]:
    """The lakes of a table with those added that are watched, whatever their size, seen or not.

    Args:
        kept: Lakes that are in the table anyway, of `matches`.
        matches: All lakes.
        tables: Year -> outlines in EPSG:4326.
        watched: Names and places in EPSG:4326; a lake is watched if it touches the place.

    Returns:
        The lakes of the table, and index -> names of those that are watched.
    """
    found, names = list(kept), dict[int, tuple[str, ...]]()
    if not watched:
        return found, names
    index_of = {id(match): index for index, match in enumerate(found)}
    tree = shapely.STRtree([_whole(match, tables) for match in matches])
    for name, place in watched:
        hits = [matches[hit] for hit in sorted(tree.query(place, predicate="intersects").tolist())]
        for match in hits or [Match({}, (), place)]:
            if id(match) not in index_of:
                index_of[id(match)] = len(found)
                found.append(match)
            index = index_of[id(match)]
            names[index] = (*names.get(index, ()), name)
    return found, names


def empty_registry() -> gpd.GeoDataFrame:
    """A registry that knows no lake."""
    columns = {"lake_key": [], "first_year": np.zeros(0, dtype=np.int64), "aliases": []}
    return gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries([], crs="EPSG:4326"), crs="EPSG:4326")


def overlap_pairs(
    first: NDArray[np.object_], second: NDArray[np.object_], pixel_area_m2: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (i, j) of outlines of two sets (EPSG:4326) that overlap by the rule of this module, sorted."""
    if not len(first) or not len(second):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    j, i = shapely.STRtree(first).query(second, predicate="intersects")
    i, j = i.astype(np.int64), j.astype(np.int64)
    kept = _share_enough(first, second, measure_geodesic(first)[0], measure_geodesic(second)[0], i, j, pixel_area_m2)
    i, j = i[kept], j[kept]
    order = np.lexsort((j, i))
    return i[order], j[order]


def _overlaps(
    geometry: NDArray[np.object_], area: NDArray[np.float64], year: NDArray[np.int64], pixel_area_m2: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of nodes of different years that overlap."""
    if not len(geometry):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    first, second = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    apart = (first < second) & (year[first] != year[second])
    first, second = first[apart].astype(np.int64), second[apart].astype(np.int64)
    kept = _share_enough(geometry, geometry, area, area, first, second, pixel_area_m2)
    return first[kept], second[kept]


def _share_enough(
    first: NDArray[np.object_],
    second: NDArray[np.object_],
    first_m2: NDArray[np.float64],
    second_m2: NDArray[np.float64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    pixel_area_m2: float,
) -> NDArray[np.bool_]:
    """(P,) True for pairs whose shared area counts as overlap."""
    if not i.size:
        return np.zeros(0, dtype=bool)
    shared = shapely.area(shapely.intersection(first[i], second[j]))
    smaller = np.minimum(first_m2[i], second_m2[j])
    degrees = np.where(first_m2[i] <= second_m2[j], shapely.area(first[i]), shapely.area(second[j]))
    # A square degree is worth the same number of square metres all over one lake.
    shared_m2 = np.divide(shared, degrees, out=np.zeros_like(shared), where=degrees > 0) * smaller
    wanted = np.maximum(np.minimum(pixel_area_m2, 0.5 * smaller), MIN_OVERLAP_SHARE * smaller)
    return np.asarray((shared_m2 > 0) & (shared_m2 >= wanted), dtype=bool)


def parts_that_count(match: Match, tables: Mapping[int, gpd.GeoDataFrame], year: int, min_area_m2: float) -> list[int]:
    """Rows of a year that count as parts of a lake, largest first: `min_area_m2` or a quarter of that year's total."""
    rows = match.rows(year)
    if not rows:
        return []
    area = tables[year]["area_m2"].to_numpy(dtype=float)
    total = _total_area(tables, year, rows)
    kept = [row for row in rows if area[row] >= min_area_m2 or area[row] >= 0.25 * total]
    return sorted(kept or rows, key=lambda row: (-area[row], row))


def _whole(match: Match, tables: Mapping[int, gpd.GeoDataFrame]) -> BaseGeometry:
    """The outlines of all years as one geometry; of a watched lake without any, its place."""
    if not match.members:
        return match.place if match.place is not None else shapely.Polygon()
    outlines = [tables[year].geometry.to_numpy()[list(rows)] for year, rows in match.members.items()]
    return shapely.union_all(np.concatenate(outlines))


def _votes(
    whole: NDArray[np.object_], registry: gpd.GeoDataFrame, pixel_m: float
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """For each lake the registered outlines that lie under it alone, and those that lie under several lakes."""
    i, j = overlap_pairs(whole, registry.geometry.to_numpy(), pixel_m**2)
    n_lakes = np.bincount(j, minlength=len(registry))
    alone: dict[int, list[int]] = defaultdict(list)
    shared: dict[int, list[int]] = defaultdict(list)
    for lake, entry in zip(i.tolist(), j.tolist(), strict=True):
        (alone if n_lakes[entry] == 1 else shared)[lake].append(entry)
    return alone, shared


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


def _total_area(tables: Mapping[int, gpd.GeoDataFrame], year: int, rows: tuple[int, ...]) -> float:
    """Total area of some rows of a year."""
    return float(tables[year]["area_m2"].to_numpy(dtype=float)[list(rows)].sum())


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
