"""Lakes as connected pixels: 4-connected components of `logit > threshold` over a raster of any size.

The raster is read block by block and labels are joined across blocks as a graph, so memory is bounded by one row of blocks and
the number of components, and the components do not depend on how the raster was cut. Components are 4-connected
because 8-connected shapes make outlines that touch themselves; `outlines` follows the same rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.tables import LakeReaders
from cryosentinel_core.units import LOGIT_NODATA, LOGIT_STEP, MIN_CANDIDATE_PX

BLOCK_PX = 1120
"""Default side of a block of work: half a tile."""


def level_of_threshold(threshold: float) -> float:
    """The contour level, in counts of the stored int16 logits, of a probability from which a pixel is water.

    It lies half a count above a whole one, so that no stored logit lies on it: `count > level` is the same set of pixels as
    `logit > logit(threshold)`, and no outline runs through a pixel centre.

    Raises:
        InputError: If the threshold is not between 0 and 1.
    """
    if not 0.0 < threshold < 1.0:
        raise InputError(f"threshold {threshold:g}, wanted a probability between 0 and 1", "the default is 0.5")
    return math.floor(round(math.log(threshold / (1.0 - threshold)) / LOGIT_STEP, 6)) + 0.5


@dataclass(frozen=True, kw_only=True)
class Components:
    """All components of one zone, sorted by their first pixel in reading order; arrays of shape (N,).

    Attributes:
        row: Lattice row of the first pixel (row by row, then left to right).
        col: Lattice column of that pixel.
        n_pixels: Pixels in the component.
        top: First lattice row of its bounding rectangle.
        left: First lattice column.
        bottom: Row after its last.
        right: Column after its last.
        n_edge_sides: Pixel sides that face ground that was not processed.
        n_unobserved_sides: Pixel sides that face processed ground without a logit.
    """

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    n_pixels: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    bottom: NDArray[np.int64]
    right: NDArray[np.int64]
    n_edge_sides: NDArray[np.int64]
    n_unobserved_sides: NDArray[np.int64]

    def __len__(self) -> int:
        """How many components there are."""
        return len(self.row)

    def grid(self, index: int, epsg: int) -> Grid:
        """The bounding rectangle of one component."""
        top, left = int(self.top[index]), int(self.left[index])
        return Grid(
            epsg=epsg,
            row=top,
            col=left,
            height=int(self.bottom[index]) - top,
            width=int(self.right[index]) - left,
        )


_FIELDS = ("first", "n_pixels", "top", "left", "bottom", "right", "n_edge_sides", "n_unobserved_sides")
_REDUCE = dict(
    zip(_FIELDS, (np.minimum, np.add, np.minimum, np.minimum, np.maximum, np.maximum, np.add, np.add), strict=True)
)


def find_components(
    readers: LakeReaders,
    hull: Grid,
    level: float,
    *,
    block_px: int = BLOCK_PX,
    min_pixels: int = MIN_CANDIDATE_PX,
) -> Components:
    """The 4-connected components of `stored logit > level` with at least some pixels.

    Args:
        readers: `logits` and `processed` are read, each block once, with one pixel of margin inside the hull.
        hull: Grid that holds all processed ground of the zone.
        level: Contour level in counts of the stored logits, from `level_of_threshold`.
        block_px: Side of a block; never changes the result.
        min_pixels: Smaller components are noise and left out.
    """
    joins = _Joins()
    pieces: list[dict[str, NDArray[np.int64]]] = []
    above = np.zeros(hull.width, dtype=np.int64)
    n_labels = 0
    for row in range(0, hull.height, block_px):
        below = np.zeros(hull.width, dtype=np.int64)
        beside: NDArray[np.int64] | None = None
        for col in range(0, hull.width, block_px):
            inner = Grid(
                epsg=hull.epsg,
                row=hull.row + row,
                col=hull.col + col,
                height=min(block_px, hull.height - row),
                width=min(block_px, hull.width - col),
            )
            labels, table = _label_block(readers, hull, inner, level, n_labels, min_pixels)
            pieces.append(table)
            n_labels += len(table["n_pixels"])
            columns = slice(col, col + inner.width)
            joins.join(above[columns], labels[0])
            if beside is not None:
                joins.join(beside, labels[:, 0])
            below[columns], beside = labels[-1], labels[:, -1].copy()
        above = below
    return _gather(pieces, joins, hull, min_pixels)


def read_padded(readers: LakeReaders, hull: Grid, wanted: Grid) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Logits and the processed mask on a grid that may reach past the hull; nothing is processed there.

    Returns:
        (H, W) int16 logits, nodata wherever the ground was not processed, and (H, W) bool processed.
    """
    logits = np.full(wanted.shape, LOGIT_NODATA, dtype=np.int16)
    processed = np.zeros(wanted.shape, dtype=bool)
    inside = wanted.intersection(hull)
    if inside is not None:
        where = inside.slices_in(wanted)
        processed[where] = readers.processed(inside)
        if processed[where].any():
            logits[where] = readers.logits(inside)
            logits[~processed] = LOGIT_NODATA
    return logits, processed


def label_water(water: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Pixels of the 4-connected components of a mask, as `scipy.ndimage.label` numbers them.

    Runs of water in a row are joined where they meet one of the row above, so the time grows with the shores and not with the ground.

    Args:
        water: (H, W) bool.

    Returns:
        (P,) flat indices of the water's pixels, ascending; (P,) their labels 1..n in the order of first pixels; n.
    """
    width = water.shape[1] + 1  # a dry column ends each row's last run
    flat = np.zeros(water.shape[0] * width + 1, dtype=np.bool_)
    flat[1:].reshape(-1, width)[:, :-1] = water
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    begin, end = turns[::2], turns[1::2]
    first = np.searchsorted(end, begin + width, side="right")
    n_met = np.searchsorted(begin, end + width, side="left") - first
    above = np.repeat(np.arange(begin.size), n_met)
    below = np.arange(above.size) - np.repeat(np.cumsum(n_met) - n_met, n_met) + np.repeat(first, n_met)
    graph = coo_array((np.ones(above.size, dtype=np.int8), (above, below)), shape=(begin.size, begin.size))
    n_labels, of_run = connected_components(graph, directed=False) if begin.size else (0, np.zeros(0, dtype=np.int64))
    length = end - begin
    places = np.arange(length.sum()) + np.repeat(begin - (np.cumsum(length) - length), length)
    return places - places // width, np.repeat(of_run.astype(np.int64) + 1, length), int(n_labels)


def _sides_facing(
    places: NDArray[np.int64], labels: NDArray[np.int64], target: NDArray[np.bool_], n_labels: int
) -> NDArray[np.int64]:
    """How many pixel sides of each label face a pixel of a target mask.

    Args:
        places: (P,) labelled pixels, as indices into the flat target.
        labels: (P,) their labels 1..n_labels.
        target: (H + 2, W + 2) bool, the mask with a margin of one pixel.
        n_labels: Highest label.

    Returns:
        (n_labels,) counts.
    """
    flat, width = target.ravel(), target.shape[1]
    sides = sum(flat[places + step].astype(np.int64) for step in (-width, width, -1, 1))
    return np.asarray(np.rint(np.bincount(labels, weights=sides, minlength=n_labels + 1)[1:]), dtype=np.int64)


def _label_block(
    readers: LakeReaders, hull: Grid, inner: Grid, level: float, offset: int, min_pixels: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Labels of one block, numbered from `offset + 1`, and a row of figures for each.

    Components too small to be kept that do not reach the block's border get no label. Water is a small share of most ground: once
    it is labelled, its pixels alone are looked at.
    """
    logits, processed = read_padded(readers, hull, inner.grown(1))
    water = logits[1:-1, 1:-1] > level
    labels = np.zeros(inner.shape, dtype=np.int64)
    places, numbered, n_labels = label_water(water)
    rows, cols = np.divmod(places, inner.width)
    is_on_border = (rows == 0) | (rows == inner.height - 1) | (cols == 0) | (cols == inner.width - 1)
    kept = np.asarray(np.bincount(numbered, minlength=n_labels + 1) >= min_pixels)
    kept[numbered[is_on_border]] = True
    kept[0] = False
    n_labels = int(kept.sum())
    if not n_labels:
        return labels, {name: np.zeros(0, dtype=np.int64) for name in _FIELDS}
    stays = kept[numbered]
    places, rows, cols, numbered = (
        places[stays],
        rows[stays],
        cols[stays],
        np.cumsum(kept, dtype=np.int64)[numbered[stays]],
    )
    labels.ravel()[places] = numbered + offset
    table = _measure_block(places, numbered, n_labels, inner, hull)
    padded = (rows + 1) * (inner.width + 2) + cols + 1
    table["n_edge_sides"] = _sides_facing(padded, numbered, ~processed, n_labels)
    table["n_unobserved_sides"] = _sides_facing(padded, numbered, processed & (logits == LOGIT_NODATA), n_labels)
    return labels, table


def _measure_block(
    places: NDArray[np.int64], labels: NDArray[np.int64], n_labels: int, inner: Grid, hull: Grid
) -> dict[str, NDArray[np.int64]]:
    """Size, first pixel and bounding rectangle of each label 1..n of a block, from its pixels in reading order."""
    rows, cols = np.divmod(places, inner.width)
    first, last = np.zeros(n_labels + 1, dtype=np.int64), np.zeros(n_labels + 1, dtype=np.int64)
    first[labels[::-1]], last[labels] = np.arange(places.size)[::-1], np.arange(places.size)
    first, last = first[1:], last[1:]
    left, right = np.full(n_labels + 1, inner.width), np.zeros(n_labels + 1, dtype=np.int64)
    np.minimum.at(left, labels, cols)
    np.maximum.at(right, labels, cols)
    return {
        "first": (rows[first] + inner.row - hull.row) * hull.width + cols[first] + inner.col - hull.col,
        "n_pixels": np.bincount(labels, minlength=n_labels + 1)[1:].astype(np.int64),
        "top": rows[first] + inner.row,
        "left": left[1:] + inner.col,
        "bottom": rows[last] + 1 + inner.row,
        "right": right[1:] + 1 + inner.col,
    }


def _gather(pieces: list[dict[str, NDArray[np.int64]]], joins: _Joins, hull: Grid, min_pixels: int) -> Components:
    """One row a component from one row a block's label."""
    table = {name: np.concatenate([piece[name] for piece in pieces]) for name in _FIELDS}
    member = joins.members(len(table["first"]))
    lowest = np.unique(member, return_index=True)[1]
    whole: dict[str, NDArray[np.int64]] = {}
    for name in _FIELDS:
        start = table[name][lowest].copy()
        reduce = _REDUCE[name]
        if reduce is np.add:
            start[:] = 0
        reduce.at(start, member, table[name])
        whole[name] = start
    order = np.argsort(whole["first"], kind="stable")
    order = order[whole["n_pixels"][order] >= min_pixels]
    rows, cols = np.divmod(whole.pop("first")[order], hull.width)
    return Components(
        row=rows + hull.row, col=cols + hull.col, **{name: values[order] for name, values in whole.items()}
    )


class _Joins:
    """Labels 1..n of all blocks, and which of them stand side by side across a block's border."""

    def __init__(self) -> None:
        self._pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), dtype=np.int64)]

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Join labels that stand side by side in two arrays of equal shape; 0 joins nothing."""
        both = (first > 0) & (second > 0)
        if both.any():
            self._pairs.append(np.unique(np.stack([first[both], second[both]], axis=1), axis=0))

    def members(self, n_labels: int) -> NDArray[np.int64]:
        """(n_labels,) number of the component of each label, from 0 in the order of their lowest labels."""
        first, second = np.concatenate(self._pairs).T - 1
        graph = coo_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(n_labels, n_labels))
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
