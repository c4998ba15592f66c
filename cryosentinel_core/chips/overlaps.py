"""Proof, chip by chip, that no two chips of different splits share ground: real extents against real extents."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_footprints import footprints
from cryosentinel_core.chips.split import KEPT
from cryosentinel_core.units import CELL_M

TOUCH_M: Final = 0.2
"""Chips that share less than this across an edge only touch: rounded centres of neighbours that were cut edge to edge."""


def find_overlaps(lat: NDArray[np.float64], lon: NDArray[np.float64], split: NDArray[np.str_]) -> NDArray[np.int64]:
    """Pairs of kept chips of different splits whose extents share ground, of whatever years.

    Args:
        lat: (N,) centres, degrees north.
        lon: (N,) centres, degrees east.
        split: (N,) of each; only those of `KEPT` are looked at.

    Returns:
        (K, 2) positions, the first of a pair being the smaller, sorted; empty if the split is sound.
    """
    kept = np.flatnonzero(np.isin(split, KEPT) & np.isfinite(lat) & np.isfinite(lon))
    # The same place in several years is one outline for each split that it has: a year's copies would be met in pairs.
    number = np.array([KEPT.index(str(one)) for one in split[kept]], dtype=np.int64)
    _, first = np.unique(np.column_stack([lat[kept], lon[kept], number]), axis=0, return_index=True)
    which, number = kept[first], number[first]
    boxes = shapely.polygons(footprints(lat[which], lon[which], float(CELL_M) - TOUCH_M))
    found = [np.empty((0, 2), dtype=np.int64)]
    for one, other in combinations(range(len(KEPT)), 2):
        mine, theirs = np.flatnonzero(number == one), np.flatnonzero(number == other)
        asked, hit = shapely.STRtree(boxes[theirs]).query(boxes[mine], predicate="intersects")
        found.append(np.column_stack([which[mine[asked]], which[theirs[hit]]]))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], dtype=np.int64)
