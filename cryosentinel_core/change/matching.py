"""Matching of outlines of different years to lakes: by where they lie, never by their ids.

Outlines of all years are the nodes of a graph, overlaps its edges, and each connected part of it is one lake with its whole
history: 1-1, 1-n, n-1 or n-m. Outlines below the smallest area take part, so that a lake of 0.49 ha one year and 0.51 ha the
next does not appear out of nothing.

Two outlines overlap if they share at least a pixel's area (or half of the smaller one, if that is less) and 5 % of the
smaller one: shores that touch, or a shift of part of a pixel between years, do not join neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.lakes.tables import Status

MIN_OVERLAP_SHARE: Final = 0.05
"""Share of the smaller outline that two outlines must have in common to be one lake."""

_SURELY: Final = 1.001
"""Factor by which a lower bound must pass a limit, beyond all rounding."""

_MANY_CORNERS: Final = 5_000
"""Corners of two outlines beyond which no bound is looked for, unless they are in few pairs."""

_FEW_PAIRS: Final = 3


@dataclass(frozen=True)
class Match:
    """One lake with its outlines in all years.

    Attributes:
        members: Year -> rows of that year's table, ascending; years without an outline are absent.
        edges: Overlaps between years as ((year, row), (year, row)), the earlier year first, sorted.
        place: Place of a watched lake, EPSG:4326, looked at even if no year has an outline; None for other lakes.
    """

    members: Mapping[int, tuple[int, ...]]
    edges: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    place: BaseGeometry | None = None

    def rows(self, year: int) -> tuple[int, ...]:
        """Rows of a year's table, none if the lake has no outline then."""
        return self.members.get(year, ())


def match_years(tables: Mapping[int, gpd.GeoDataFrame], *, pixel_m: float = 10.0) -> list[Match]:
    """Lakes as connected parts of the overlap graph of all years' outlines.

    Args:
        tables: Year -> outlines in EPSG:4326, candidates included, with the column `area_m2`.
        pixel_m: Pixel side of the coarsest year, metres: an overlap below its area does not count.

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
    ends = sorted(zip(part[first].tolist(), first.tolist(), second.tolist(), strict=True))
    edges: dict[int, list[Any]] = defaultdict(list)
    place = list(zip(node_year.tolist(), node_row.tolist(), strict=True))
    for label, a, b in ends:  # nodes are ordered by year and row, so that edges come sorted
        edges[label].append((place[a], place[b]))
    order = np.argsort(part, kind="stable")
    begins = np.flatnonzero(np.diff(part[order], prepend=-1))
    groups = np.split(order, begins[1:]) if order.size else []
    matches = []
    for group in sorted(groups, key=lambda nodes: int(nodes[0])):
        members: dict[int, tuple[int, ...]] = {}
        for node in group.tolist():
            year, row = place[node]
            members[year] = (*members.get(year, ()), row)
        matches.append(Match(members, tuple(edges.get(int(part[group[0]]), ()))))
    return matches


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


def rows_in_table(
    table: gpd.GeoDataFrame, min_area_m2: float, is_lake: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """(N,) bool: True for outlines that earn their lake a row.

    Args:
        table: Outlines of one year, with the column `area_m2`.
        min_area_m2: Smallest lake of a table.
        is_lake: (N,) bool, False for candidates; None if the table has none.
    """
    large = table["area_m2"].to_numpy() >= min_area_m2
    return np.asarray(large if is_lake is None else large & is_lake, dtype=np.bool_)


def rows_in_area(table: gpd.GeoDataFrame, min_area_m2: float, area: BaseGeometry) -> NDArray[np.bool_]:
    """(N,) bool: True for outlines of an inventory that earn their lake a row in the table of an area (EPSG:4326)."""
    shapely.prepare(area)
    return rows_in_table(table, min_area_m2, np.asarray(shapely.intersects(area, table.geometry.to_numpy())))


def matches_in_table(matches: Sequence[Match], in_table: Mapping[int, NDArray[np.bool_]]) -> list[Match]:
    """The lakes of which at least one outline, in any year, earns them a row (see `rows_in_table`)."""
    return [
        match for match in matches if any(in_table[year][row] for year, rows in match.members.items() for row in rows)
    ]


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
    tree = shapely.STRtree(whole_outlines(matches, tables))
    for name, place in watched:
        hits = [matches[hit] for hit in sorted(tree.query(place, predicate="intersects").tolist())]
        for match in hits or [Match({}, (), place)]:
            if id(match) not in index_of:
                index_of[id(match)] = len(found)
                found.append(match)
            index = index_of[id(match)]
            names[index] = (*names.get(index, ()), name)
    return found, names


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
    first, second = shapely.STRtree(geometry).query(geometry)
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
    one, other = first[i], second[j]
    smaller = np.minimum(first_m2[i], second_m2[j])
    degrees = np.where(first_m2[i] <= second_m2[j], shapely.area(one), shapely.area(other))
    wanted = np.maximum(np.minimum(pixel_area_m2, 0.5 * smaller), MIN_OVERLAP_SHARE * smaller)
    # A square degree is worth the same number of square metres all over one lake.
    worth = np.divide(smaller, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    corners = np.stack([shapely.get_num_coordinates(one), shapely.get_num_coordinates(other)])
    kept = np.zeros(i.size, dtype=bool)
    is_lonely = (np.bincount(i)[i] <= _FEW_PAIRS) & (np.bincount(j)[j] <= _FEW_PAIRS)
    plain = np.flatnonzero((corners.sum(axis=0) <= _MANY_CORNERS) | is_lonely)
    kept[plain] = worth[plain] * _least_shared(one[plain], other[plain]) >= _SURELY * wanted[plain]
    close = np.flatnonzero(~kept)
    swapped = corners[1, close] > corners[0, close]
    large, small = np.where(swapped, other[close], one[close]), np.where(swapped, one[close], other[close])
    many = large[corners[:, close].max(axis=0, initial=0) > _MANY_CORNERS]
    shapely.prepare(many)  # one of these may have thousands of neighbours
    close = close[shapely.intersects(large, small)]
    shapely.destroy_prepared(many)
    shared_m2 = shapely.area(shapely.intersection(one[close], other[close])) * worth[close]
    kept[close] = (shared_m2 > 0) & (shared_m2 >= wanted[close])
    return np.asarray(kept & (smaller > 0), dtype=bool)


def _least_shared(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    """(P,) area that two outlines share at least, in their own unit: all of it where they are the same, else that of a circle.

    An overlay costs a hundred times as much, and most lakes lie where they lay.
    """
    found = np.where(shapely.equals_exact(one, other), shapely.area(one), 0.0)
    left = np.flatnonzero(found == 0)
    middle = shapely.centroid(one[left])
    inside = shapely.contains(one[left], middle) & shapely.contains(other[left], middle)
    left, middle = left[inside], middle[inside]
    reach = np.minimum(*(shapely.distance(middle, shapely.boundary(side[left])) for side in (one, other)))
    found[left] = np.pi * reach**2
    return np.asarray(found, dtype=np.float64)


def parts_that_count(match: Match, tables: Mapping[int, gpd.GeoDataFrame], year: int, min_area_m2: float) -> list[int]:
    """Rows of a year that count as parts of a lake, largest first: `min_area_m2` or a quarter of that year's total."""
    rows = match.rows(year)
    if not rows:
        return []
    area = tables[year]["area_m2"].to_numpy(dtype=float)
    total = total_area(tables, year, rows)
    kept = [row for row in rows if area[row] >= min_area_m2 or area[row] >= 0.25 * total]
    return sorted(kept or rows, key=lambda row: (-area[row], row))


def whole_outline(match: Match, tables: Mapping[int, gpd.GeoDataFrame]) -> BaseGeometry:
    """The outlines of all years as one geometry; of a watched lake without any, its place."""
    if not match.members:
        return match.place if match.place is not None else shapely.Polygon()
    outlines = [tables[year].geometry.to_numpy()[list(rows)] for year, rows in match.members.items()]
    return shapely.union_all(np.concatenate(outlines))


def whole_outlines(matches: Sequence[Match], tables: Mapping[int, gpd.GeoDataFrame]) -> NDArray[np.object_]:
    """(L,) `whole_outline` of many lakes; where one outline lies over itself or over one other alone, all at once."""
    outline = {year: table.geometry.to_numpy() for year, table in tables.items()}
    ends = []
    for match in matches:
        drawn = [outline[year][row] for year, rows in match.members.items() for row in rows]
        ends.append((drawn[0], drawn[-1]) if 1 <= len(drawn) <= 2 else (whole_outline(match, tables),) * 2)
    first, last = np.array(ends, dtype=object).reshape(-1, 2).T
    found = first.copy()
    differ = ~shapely.equals_exact(first, last)
    found[differ] = shapely.union(first[differ], last[differ])
    return found


def total_area(tables: Mapping[int, gpd.GeoDataFrame], year: int, rows: tuple[int, ...]) -> float:
    """Total area of some rows of a year."""
    return float(tables[year]["area_m2"].to_numpy(dtype=float)[list(rows)].sum())
