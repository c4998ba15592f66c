"""Outlines that others drew, put right as geometry: lakes cut at tile seams, rows of many lakes, lakes drawn over one another.

Neighbour: `inventory` makes a lake table of them and tells what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SAME_OUTLINE_IOU: Final = 0.95
"""Intersection over union from which two outlines of one year are one lake drawn twice."""

SHIFTED_OUTLINE_IOU: Final = 0.5
"""Intersection over union from which they are one lake drawn twice, the second time elsewhere."""

SAME_LAKE_PX: Final = 10.0
"""Distance in pixels up to which parts of one row are one lake."""

_OVERLAP_SHARE: Final = 0.05
_CROOKED: Final = 1e-3
"""Width over length from which a shared shore is no seam."""

_MANY_CORNERS: Final = 10_000
"""Corners from which an outline is clipped to where another one lies before the two are overlaid."""


def take_apart(geometry: NDArray[np.object_], gap: float) -> tuple[NDArray[np.object_], NDArray[np.int64], int]:
    """Rows whose parts lie far apart as several rows: a dissolved inventory is not one lake.

    Args:
        geometry: (N,) valid polygons and multipolygons.
        gap: Distance up to which parts belong together, in the geometries' unit.

    Returns:
        (M,) geometries, the row that each came from, and how many rows were taken apart.
    """
    n_parts = shapely.get_num_geometries(geometry)
    many = np.flatnonzero((shapely.get_type_id(geometry) == shapely.GeometryType.MULTIPOLYGON) & (n_parts > 1))
    if not many.size:
        return geometry, np.arange(len(geometry)), 0
    parts, row = shapely.get_parts(geometry[many], return_index=True)
    first, second = shapely.STRtree(parts).query(parts, predicate="dwithin", distance=gap)
    together = (first < second) & (row[first] == row[second])
    group = _components(first[together], second[together], parts.size)
    pieces, source = [], []
    for members in _members(group):
        inside = parts[members]
        pieces.append(inside[0] if len(inside) == 1 else shapely.MultiPolygon(list(inside)))
        source.append(int(many[row[members[0]]]))
    apart = np.flatnonzero(np.bincount(source, minlength=len(geometry)) > 1)
    moved = np.isin(source, apart)
    found = np.concatenate([np.delete(geometry, apart), np.array(pieces, dtype=object)[moved]])
    came_from = np.concatenate([np.delete(np.arange(len(geometry)), apart), np.array(source, dtype=np.int64)[moved]])
    order = np.argsort(came_from, kind="stable")
    return found[order], came_from[order], apart.size


def join_at_seams(geometry: NDArray[np.object_], least: float) -> tuple[NDArray[np.object_], NDArray[np.int64], int]:
    """Outlines that share a straight shore, joined: lakes that were cut along the edge of somebody's tile.

    Args:
        geometry: (N,) valid polygons and multipolygons.
        least: Length from which a shared shore counts, in the geometries' unit.

    Returns:
        (M,) geometries, the row that each stands for (its first piece's), and how many outlines were pieces.
    """
    first, second = neighbours_of(geometry)
    touching = _do_meet(shapely.touches, geometry, first, second)
    first, second = first[touching], second[touching]
    shared = _intersection(geometry, first, second)
    length, hull = shapely.length(shared), shapely.minimum_rotated_rectangle(shared) if shared.size else shared
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = (length >= least) & (shapely.area(hull) <= _CROOKED * length**2)
    if not straight.any():
        return geometry, np.arange(len(geometry)), 0
    groups = _members(_components(first[straight], second[straight], len(geometry)))
    joined, n_pieces = geometry.copy(), 0
    for members in groups:
        if members.size > 1:
            joined[members[0]] = shapely.union_all(geometry[members])
            n_pieces += members.size
    lead = np.sort(np.array([members[0] for members in groups], dtype=np.int64))
    return joined[lead], lead, n_pieces


def neighbours_of(geometry: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (P,) and later rows (P,) of geometries whose bounding boxes meet: the few pairs that need a closer look."""
    first, second = shapely.STRtree(geometry).query(geometry)
    later = first < second
    return first[later].astype(np.int64), second[later].astype(np.int64)


def is_drawn_twice(
    geometry: NDArray[np.object_],
    area: NDArray[np.float64],
    iou: float,
    neighbours: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> NDArray[np.bool_]:
    """(N,) True for outlines that an earlier one covers but for a share.

    Args:
        geometry: (N,) valid polygons and multipolygons.
        area: (N,) areas, any unit; rows with 0 take no part.
        iou: Intersection over union from which two are one.
        neighbours: From `neighbours_of`; None to find them.
    """
    first, second = neighbours if neighbours is not None else neighbours_of(geometry)
    near = (area[first] > 0) & (area[second] > 0)
    near &= np.minimum(area[first], area[second]) >= iou * np.maximum(area[first], area[second])
    first, second = first[near], second[near]
    meeting = _do_meet(shapely.intersects, geometry, first, second)
    first, second = first[meeting], second[meeting]
    shared = shapely.area(_intersection(geometry, first, second))
    either = shapely.area(geometry[first]) + shapely.area(geometry[second]) - shared
    twice = np.zeros(len(geometry), dtype=bool)
    for a, b in zip(first[shared >= iou * either].tolist(), second[shared >= iou * either].tolist(), strict=True):
        twice[b] |= not twice[a]
    return twice


def cut_overlaps(geometry: NDArray[np.object_]) -> tuple[NDArray[np.object_], int]:
    """Outlines without the ground that a larger one of them covers too, and how many lost some.

    What is left of one that lies under others by over half is no lake of its own: it is empty, and the larger one takes its ground.

    Args:
        geometry: (N,) valid polygons and multipolygons.
    """
    earlier, later = neighbours_of(geometry)
    meeting = _do_meet(shapely.intersects, geometry, earlier, later)
    earlier, later = earlier[meeting], later[meeting]
    size = shapely.area(geometry)
    swapped = size[later] > size[earlier]
    first, second = np.where(swapped, later, earlier), np.where(swapped, earlier, later)
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    over = shapely.area(_intersection(geometry, first, second)) > _OVERLAP_SHARE * size[second]
    first, second = first[over], second[over]
    found, touched = geometry.copy(), set()
    taken: dict[int, list[Any]] = {}  # row -> outlines that it takes over, joined to it once at the end
    for index in np.argsort(-size[first], kind="stable"):
        a, b = int(first[index]), int(second[index])
        if shapely.is_empty(found[a]) or shapely.is_empty(found[b]):
            continue
        left = shapely.difference(found[b], _clip(found[a], found[b]))
        for other in taken.get(a, ()):
            left = shapely.difference(left, other)
        touched.add(b)
        if shapely.area(left) < 0.5 * size[b]:
            taken.setdefault(a, []).extend([found[b], *taken.pop(b, ())])
            left = shapely.Polygon()
        found[b] = left
    for a, others in taken.items():
        found[a] = shapely.union_all([found[a], *others])
    return found, len(touched)


def _intersection(
    geometry: NDArray[np.object_], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.object_]:
    """(P,) intersections of some pairs, in time that does not grow with an outline's corners far from the other."""
    one, two = geometry[first], geometry[second]
    n_one, n_two = shapely.get_num_coordinates(one), shapely.get_num_coordinates(two)
    for index in np.flatnonzero(np.maximum(n_one, n_two) > _MANY_CORNERS).tolist():
        if n_one[index] >= n_two[index]:
            one[index] = _clip(one[index], two[index])
        else:
            two[index] = _clip(two[index], one[index])
    return np.asarray(shapely.intersection(one, two), dtype=object)


def _clip(large: Any, small: Any) -> Any:
    """The part of an outline around another one, which any overlay of the two sees alone; all of it where it has few corners."""
    if shapely.get_num_coordinates(large) <= _MANY_CORNERS:
        return large
    west, south, east, north = shapely.bounds(small)
    rim = 0.05 * max(east - west, north - south)
    part = shapely.clip_by_rect(large, west - rim, south - rim, east + rim, north + rim)
    return part if shapely.is_valid(part) else large


def _do_meet(
    predicate: Callable[[NDArray[np.object_], NDArray[np.object_]], NDArray[np.bool_]],
    geometry: NDArray[np.object_],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(P,) a symmetric predicate of some pairs; the one with more corners is prepared, as it may have many neighbours."""
    if not first.size:
        return np.zeros(0, dtype=bool)
    corners = shapely.get_num_coordinates(geometry)
    swapped = corners[second] > corners[first]
    large, small = np.where(swapped, second, first), np.where(swapped, first, second)
    prepared = geometry[np.unique(large)]
    shapely.prepare(prepared)
    found = predicate(geometry[large], geometry[small])
    shapely.destroy_prepared(prepared)
    return np.asarray(found, dtype=np.bool_)


def _components(first: NDArray[np.int64], second: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """(size,) number of the connected group of each."""
    graph = coo_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _members(group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each group, ascending."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if group.size else []
