"""Sub-pixel outlines: marching squares on the logits, for thousands of lakes at once.

The outline runs where the logit, interpolated linearly between pixel centres, crosses the level. Where four pixels meet
crosswise (two water pixels touching by a corner) the water is cut apart: outlines follow the 4-connected components of
`components` and neither touch themselves nor each other. Islands are holes. Against ground without a logit the outline runs
along the pixels' edge, since nothing is known of where the shore would lie. Nothing is smoothed: the area of an outline is
the area.

Source: Lorensen and Cline (1987), Marching cubes, SIGGRAPH 21(4), 163-169, in two dimensions, with the ambiguous case
resolved by connectivity instead of by the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.units import LOGIT_NODATA, LOGIT_STEP

ToLonLat = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Map x and y (metres) -> longitude and latitude (degrees)."""

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
_SEGMENTS: dict[int, tuple[tuple[int, int, int], ...]] = {
    1: ((_LEFT, _TOP, 0),),
    2: ((_TOP, _RIGHT, 1),),
    4: ((_RIGHT, _BOTTOM, 2),),
    8: ((_BOTTOM, _LEFT, 3),),
    3: ((_LEFT, _RIGHT, 0),),
    6: ((_TOP, _BOTTOM, 1),),
    12: ((_RIGHT, _LEFT, 2),),
    9: ((_BOTTOM, _TOP, 3),),
    7: ((_LEFT, _BOTTOM, 0),),
    14: ((_TOP, _LEFT, 1),),
    13: ((_RIGHT, _TOP, 2),),
    11: ((_BOTTOM, _RIGHT, 3),),
    5: ((_LEFT, _TOP, 0), (_RIGHT, _BOTTOM, 2)),
    10: ((_TOP, _RIGHT, 1), (_BOTTOM, _LEFT, 3)),
}
"""Case (bits: 1 upper left, 2 upper right, 4 lower right, 8 lower left corner is water) -> segments (from side, to side, a
corner of the lake that the segment belongs to), with water on the left hand on a map whose north is up. Corners count
clockwise from the upper left."""

_CORNER_ROW = np.array([0, 0, 1, 1])
_CORNER_COL = np.array([0, 1, 1, 0])


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """Outlines of labels 1..n of one window; sequences of length n.

    Attributes:
        polygons: (n,) object array of shapely polygons in pixel coordinates: x = column, y = row, a pixel's upper left corner
            lies at its address (col, row). Their y runs down: rings turn the other way than on a map.
        transition_px: (n,) pixels over which the logit changes by 1 across the shore, the reciprocal of the mean step between
            neighbours that the outline parts; small is sharp. Crossings against unobserved ground are left out; NaN where
            there are no others.
        unobserved_share: (n,) share of the outline's crossings that face ground without a logit.
    """

    polygons: NDArray[np.object_]
    transition_px: NDArray[np.float64]
    unobserved_share: NDArray[np.float64]


def trace_outlines(
    logits: NDArray[np.int16],
    labels: NDArray[np.integer],
    n_labels: int,
    level: float,
    corner: tuple[int, int] = (0, 0),
) -> Outlines:
    """Outlines of the labels of a window.

    Args:
        logits: (H, W) int16 stored logits, `LOGIT_NODATA` where unobserved.
        labels: (H, W) labels 1..n_labels of whole 4-connected components of `logits > level`, 0 elsewhere (also on components
            that are not asked for). The window's border counts as unobserved.
        n_labels: Highest label; each must occur.
        level: Contour level in counts of the stored logits; no stored logit may equal it.
        corner: (row, col) address of the window's upper left pixel. Coordinates are computed in addresses, so they do not
            depend on the window to the last bit.

    Returns:
        Valid polygons with holes, one a label.

    Raises:
        GridMismatch: If the shapes differ.
    """
    if logits.shape != labels.shape:
        raise GridMismatch(f"outlines: logits {logits.shape} and labels {labels.shape} differ in shape")
    if n_labels == 0:
        nothing = np.zeros(0)
        return Outlines(polygons=np.zeros(0, dtype=object), transition_px=nothing, unobserved_share=nothing)
    values = np.pad(logits, 1, constant_values=LOGIT_NODATA)
    owner = np.pad(labels, 1)
    start, end, lake, middle = _segments(owner, values, level, corner)
    edges, edge_xy, step, faces_nodata = _crossings(start, owner, values, level, corner)
    rings, ring_lake = _link_rings(start, end, lake, middle, edges, edge_xy)
    polygons = _assemble(rings, ring_lake, n_labels)
    lake_of_edge = lake[np.argsort(start, kind="stable")]
    transition, share = _sharpness(lake_of_edge, step, faces_nodata, n_labels)
    return Outlines(polygons=polygons, transition_px=transition, unobserved_share=share)


def place_outlines(polygons: NDArray[np.object_], transform: Affine, to_lonlat: ToLonLat) -> NDArray[np.object_]:
    """Polygons in pixel coordinates -> polygons in EPSG:4326, vertex by vertex.

    Args:
        polygons: (N,) polygons, x = column, y = row.
        transform: (column, row) -> map (x, y) in metres.
        to_lonlat: Map (x, y) -> (longitude, latitude).

    Returns:
        (N,) valid polygons or multipolygons, exteriors counter-clockwise.
    """

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x = transform.a * xy[:, 0] + transform.b * xy[:, 1] + transform.c
        y = transform.d * xy[:, 0] + transform.e * xy[:, 1] + transform.f
        return np.column_stack(to_lonlat(x, y))

    if not len(polygons):
        return polygons.copy()
    placed = np.asarray(shapely.transform(polygons, move), dtype=object)
    for index in np.flatnonzero(~shapely.is_valid(placed)):
        placed[index] = repair_polygon(placed[index])
    return placed


def repair_polygon(geometry: BaseGeometry) -> BaseGeometry:
    """The polygonal part of a geometry made valid (structure method: holes stay holes); empty if none is left."""
    valid = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = [part for part in shapely.get_parts(valid) if part.geom_type in ("Polygon", "MultiPolygon")]
    if not parts:
        return shapely.Polygon()
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def _segments(
    owner: NDArray[np.integer], values: NDArray[np.int16], level: float, origin: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Directed pieces of outline in every square of four pixel centres.

    Returns:
        (S,) edge where each begins, (S,) edge where it ends, (S,) its lake, and (S, 2) a point (x, y) that it passes between
        (NaN where it is straight): the corner of a pixel where both sides of the corner are unobserved.
    """
    width = owner.shape[1]
    active, active_case = _active_squares(owner)
    found: list[list[NDArray[np.int64]]] = [[], [], []]
    middles: list[NDArray[np.float64]] = []
    for which, segments in _SEGMENTS.items():
        rows, cols = np.divmod(active[active_case == which], width)
        if not rows.size:
            continue
        for side_from, side_to, corner_index in segments:
            found[0].append(_edge(side_from, rows, cols, width))
            found[1].append(_edge(side_to, rows, cols, width))
            found[2].append(owner[rows + _CORNER_ROW[corner_index], cols + _CORNER_COL[corner_index]].astype(np.int64))
            middles.append(_pixel_corner(which, rows, cols, values, level) + np.array(origin[::-1]))
    return (*(np.concatenate(parts) for parts in found), np.concatenate(middles))  # type: ignore[return-value]


def _active_squares(owner: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Squares of four pixel centres that the outline crosses: (A,) flat index of their upper left pixel, ascending, and their cases.

    Water is a small share of most windows: its pixels alone are looked at, and their neighbours.
    """
    width, water = owner.shape[1], owner.ravel() > 0
    places = np.flatnonzero(water)
    inner = water[places - width] & water[places + width] & water[places - 1] & water[places + 1]
    inner &= (
        water[places - width - 1] & water[places - width + 1] & water[places + width - 1] & water[places + width + 1]
    )
    rim = places[~inner]  # all squares of the others are full
    squares = np.unique(np.concatenate([rim, rim - 1, rim - width, rim - width - 1]))
    case = np.zeros(squares.shape, dtype=np.uint8)
    for bit, corner in enumerate(_CORNER_ROW * width + _CORNER_COL):
        case |= water[squares + corner].astype(np.uint8) << np.uint8(bit)
    crossed = case < 15
    return squares[crossed], case[crossed]


def _pixel_corner(
    which: int,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    values: NDArray[np.int16],
    level: float,
) -> NDArray[np.float64]:
    """(S, 2) the shared corner of four pixels where the outline turns there along pixel edges, else NaN.

    It does not turn where water meets water at the corner, whether or not the other one's outline is asked for.
    """
    middle = np.full((rows.size, 2), np.nan)
    corner = {1: 0, 14: 0, 2: 1, 13: 1, 4: 2, 11: 2, 8: 3, 7: 3}.get(which)
    if corner is None:
        return middle
    single_is_water = which in (1, 2, 4, 8)
    beside = ((corner + 1) % 4, (corner + 3) % 4)
    asked = beside if single_is_water else (corner,)
    turns = np.ones(rows.size, dtype=bool)
    for index in asked:
        turns &= values[rows + _CORNER_ROW[index], cols + _CORNER_COL[index]] == LOGIT_NODATA
    if single_is_water:
        across = (corner + 2) % 4
        turns &= ~(values[rows + _CORNER_ROW[across], cols + _CORNER_COL[across]] > level)
    # Padded pixel (r, c) has its centre at (c - 0.5, r - 0.5) of the window; the four meet half a pixel on.
    middle[turns, 0], middle[turns, 1] = cols[turns], rows[turns]
    return middle


def _edge(side: int, rows: NDArray[np.int64], cols: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Number of the edge between two pixel centres: even = to the right of a pixel, odd = below it."""
    if side == _TOP:
        return 2 * (rows * width + cols)
    if side == _BOTTOM:
        return 2 * ((rows + 1) * width + cols)
    if side == _LEFT:
        return 2 * (rows * width + cols) + 1
    return 2 * (rows * width + cols + 1) + 1


def _crossings(
    start: NDArray[np.int64],
    owner: NDArray[np.integer],
    values: NDArray[np.int16],
    level: float,
    origin: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Crossings of the outline with each edge.

    Returns:
        (E,) edges, sorted; (E, 2) crossing (x, y) in pixel coordinates; (E,) logit step across the edge in counts; (E,) True
        where the dry side is unobserved.
    """
    width = owner.shape[1]
    edges = np.sort(start)
    rows, cols = np.divmod(edges // 2, width)
    down = (edges % 2).astype(np.int64)
    first, second = (values[at].astype(np.float64) for at in ((rows, cols), (rows + down, cols + 1 - down)))
    wet_first = owner[rows, cols] > 0
    wet, dry = np.where(wet_first, first, second), np.where(wet_first, second, first)
    faces_nodata = dry == LOGIT_NODATA
    share = np.where(faces_nodata, 0.5, (wet - level) / (wet - dry))
    along = np.where(wet_first, share, 1.0 - share)
    # Padded pixel (r, c) has its centre at (c - 0.5, r - 0.5) of the window.
    xy = np.column_stack([cols + origin[1] - 0.5 + along * (1 - down), rows + origin[0] - 0.5 + along * down])
    return edges, xy, wet - dry, faces_nodata


def _link_rings(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    lake: NDArray[np.int64],
    middle: NDArray[np.float64],
    edges: NDArray[np.int64],
    edge_xy: NDArray[np.float64],
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Closed rings of (x, y) from pieces that each begin where another ends, and the lake of each ring."""
    order = np.argsort(start, kind="stable")
    following = np.searchsorted(edges, end[order]).tolist()
    turn = middle[order]
    has_turn = np.isfinite(turn[:, 0])
    lakes = lake[order]
    seen = bytearray(len(following))
    rings, ring_lake = [], []
    for first in range(len(following)):
        if seen[first]:
            continue
        chain, here = [], first
        while not seen[here]:
            seen[here] = 1
            chain.append(here)
            here = following[here]
        index = np.array(chain)
        pairs = np.stack([edge_xy[index], turn[index]], axis=1).reshape(-1, 2)
        keep = np.ones(2 * index.size, dtype=bool)
        keep[1::2] = has_turn[index]
        rings.append(np.concatenate([pairs[keep], pairs[:1]]))
        ring_lake.append(int(lakes[first]))
    return rings, ring_lake


def _assemble(rings: list[NDArray[np.float64]], ring_lake: list[int], n_labels: int) -> NDArray[np.object_]:
    """One polygon a label: its one outer ring, and its islands as holes."""
    shells: dict[int, NDArray[np.float64]] = {}
    holes: dict[int, list[NDArray[np.float64]]] = {}
    sizes: dict[int, float] = {}
    for ring, lake in zip(rings, ring_lake, strict=True):
        size = float(np.ptp(ring[:, 0]) + np.ptp(ring[:, 1]))
        if lake in shells and size <= sizes[lake]:
            holes.setdefault(lake, []).append(ring)
            continue
        if lake in shells:
            holes.setdefault(lake, []).append(shells[lake])
        shells[lake], sizes[lake] = ring, size
    polygons = np.empty(n_labels, dtype=object)
    for label in range(1, n_labels + 1):
        polygons[label - 1] = shapely.Polygon(shells[label], holes.get(label, []))
    return polygons


def _sharpness(
    lake: NDArray[np.int64], step: NDArray[np.float64], faces_nodata: NDArray[np.bool_], n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels a unit of logit, and the share of crossings that face unobserved ground, of each label."""
    total = np.bincount(lake, minlength=n_labels + 1)[1:]
    blind = np.bincount(lake[faces_nodata], minlength=n_labels + 1)[1:]
    seen = ~faces_nodata
    steps = np.bincount(lake[seen], weights=step[seen] * LOGIT_STEP, minlength=n_labels + 1)[1:]
    width = np.full(n_labels, np.nan)
    np.divide(total - blind, steps, out=width, where=total > blind)
    return width, blind / np.maximum(total, 1)
