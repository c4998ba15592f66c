"""The area band of a lake: how far its outline moves if every logit is off by one standard deviation of the network's members.

With x the logit, s its spread over the members (flips, models, overlapping windows) and L the level of the outline,

    area_low   the part of the lake's own pixels where x - s > L, whatever pieces it falls into
    area_high  the lake grown through neighbouring pixels where x + s > L

both traced at sub-pixel position like the outline itself. Growing stops `BAND_REACH_PX` steps from the lake, and where another
body of water (of any size) is as near, or one step farther, in steps through such pixels: two lakes' bands never touch. Where
growing is stopped the outline follows the pixels' edge. So the band depends on the pixels within little more than twice the reach
alone, and not on how the work was cut.

All of a shore moves together here, as if the members' disagreement were the same everywhere along it. The band is one standard
deviation of the members, no calibrated interval: members that agree may all be wrong. Neighbours: `lakes` calls; `outlines` traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.components import read_padded
from cryosentinel_core.lakes.outlines import ToLonLat, place_outlines, trace_outlines
from cryosentinel_core.lakes.tables import LakeReaders
from cryosentinel_core.units import LOGIT_NODATA, SPREAD_NODATA

BAND_REACH_PX: Final = 10
"""Steps from pixel to pixel that a lake's band may reach beyond its shore: 100 m."""


def measure_band(
    readers: LakeReaders,
    spread: Callable[[Grid], NDArray[np.uint16]],
    hull: Grid,
    window: Grid,
    first: tuple[NDArray[np.int64], NDArray[np.int64]],
    level: float,
    transform: Affine,
    to_lonlat: ToLonLat,
) -> dict[str, list[float]]:
    """Low and high areas of some lakes.

    Args:
        readers: Readers of the zone's rasters.
        spread: Grid inside the hull -> (H, W) uint16 stored spreads.
        hull: Grid that holds all processed ground of the zone.
        window: Grid that holds the lakes wholly.
        first: (N,) rows and (N,) columns, lattice addresses of one pixel of each lake.
        level: Contour level in counts of the stored logits.
        transform: (column, row) of the hull's address -> map metres.
        to_lonlat: Map metres -> longitude and latitude.

    Returns:
        `area_low_m2` and `area_high_m2`, N geodesic areas each; 0 where no pixel is surely water.
    """
    wide = window.grown(2 * BAND_REACH_PX + 2)
    logits, _ = read_padded(readers, hull, wide)
    lower, upper = shift_logits(logits, _read_spread(spread, hull, wide))
    water, n_water = ndimage.label(logits > level)
    asked = water[first[0] - wide.row, first[1] - wide.col]
    claimed = claim_ground(water, n_water, upper > level, BAND_REACH_PX)
    upper[(upper > level) & (claimed == 0)] = LOGIT_NODATA
    areas = {}
    for name, shifted, owner in (("area_low_m2", lower, water), ("area_high_m2", upper, claimed)):
        held = np.where(shifted > level, owner, 0)
        areas[name] = _areas_of(asked, shifted, held, n_water, level, wide, transform, to_lonlat).tolist()
    return areas


def widen_sigma(
    band: Mapping[str, NDArray[np.float64]], area_m2: NDArray[np.float64], random_m2: NDArray[np.float64]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """The band made to hold its area, and random standard deviations of at least its longer side.

    The larger of the two counts, not their sum in quadrature: what makes members disagree (a shore hard to place) is among what the
    error model stands for already, and would count twice.

    Args:
        band: `area_low_m2` and `area_high_m2`, (N,) each.
        area_m2: (N,) areas inside the outlines.
        random_m2: (N,) random standard deviations by the error model.

    Returns:
        The band with low <= area <= high, and the standard deviations.
    """
    low = np.minimum(band["area_low_m2"], area_m2)
    high = np.maximum(band["area_high_m2"], area_m2)
    sigma = np.maximum(random_m2, np.maximum(area_m2 - low, high - area_m2))
    return {"area_low_m2": low, "area_high_m2": high}, sigma


def shift_logits(logits: NDArray[np.int16], spread: NDArray[np.uint16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Stored logits less and plus their stored spread, clipped to what int16 holds; nodata stays nodata.

    Args:
        logits: (H, W), `LOGIT_NODATA` where unobserved.
        spread: (H, W), `SPREAD_NODATA` where unobserved, which counts as 0.
    """
    missing = logits == LOGIT_NODATA
    step = np.where(spread == SPREAD_NODATA, 0, spread).astype(np.int32)
    shifted = []
    for moved in (logits - step, logits + step):
        held = np.clip(moved, LOGIT_NODATA + 1, np.iinfo(np.int16).max)
        shifted.append(np.where(missing, LOGIT_NODATA, held).astype(np.int16))
    return shifted[0], shifted[1]


def claim_ground(
    water: NDArray[np.integer], n_water: int, allowed: NDArray[np.bool_], reach_px: int
) -> NDArray[np.int32]:
    """Body of water that each allowed pixel belongs to: the nearest in steps through allowed pixels.

    Args:
        water: (H, W) labels 1..n_water of 4-connected bodies, 0 elsewhere.
        n_water: Highest label.
        allowed: (H, W) bool, True where a body may grow.
        reach_px: Steps at most.

    Returns:
        (H, W) labels; 0 where nobody reaches, and where another body is not at least two steps farther: so pixels of two bodies are
        never neighbours, and each body's pixels hang together.
    """
    nobody, contested = n_water + 2, n_water + 1
    owner = np.where(water > 0, water, nobody).astype(np.int32)
    dropped = np.zeros(owner.shape, dtype=bool)  # owned, but another body is one step farther only
    before = np.zeros(owner.shape, dtype=bool)  # of these, the ones of the last step
    for _ in range(reach_px):
        lowest, highest = _extremes_beside(owner, nobody)
        reached = allowed & (owner == nobody) & (lowest != nobody)
        if not reached.any():
            break
        owner[reached] = np.where(lowest == highest, lowest, contested)[reached]
        lowest, highest = _extremes_beside(np.where(reached, owner, nobody).astype(np.int32), nobody)
        meets = (highest > 0) & ((lowest != owner) | (highest != owner))
        before = reached & (meets | ndimage.binary_dilation(before))
        dropped |= before
    return np.where((owner >= contested) | dropped, 0, owner).astype(np.int32)


def _extremes_beside(owner: NDArray[np.int32], nobody: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(H, W) each: lowest and highest label among a pixel's four neighbours, `nobody` and 0 where they have none."""
    padded = np.pad(owner, 1, constant_values=nobody)
    lowest = np.full(owner.shape, nobody, dtype=np.int32)
    highest = np.zeros(owner.shape, dtype=np.int32)
    for beside in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        np.minimum(lowest, beside, out=lowest)
        np.maximum(highest, np.where(beside == nobody, 0, beside), out=highest)
    return lowest, highest


def _read_spread(spread: Callable[[Grid], NDArray[np.uint16]], hull: Grid, wanted: Grid) -> NDArray[np.uint16]:
    """Spreads on a grid that may reach past the hull."""
    out = np.full(wanted.shape, SPREAD_NODATA, dtype=np.uint16)
    inside = wanted.intersection(hull)
    if inside is not None:
        out[inside.slices_in(wanted)] = spread(inside)
    return out


def _areas_of(
    asked: NDArray[np.integer],
    logits: NDArray[np.int16],
    owner: NDArray[np.integer],
    n_owners: int,
    level: float,
    window: Grid,
    transform: Affine,
    to_lonlat: ToLonLat,
) -> NDArray[np.float64]:
    """(N,) geodesic area of all pieces of each label asked for; pieces of unlike labels must not be neighbours.

    Pieces of other labels are traced too, as an outline may depend on whether a pixel that it meets at a corner is water.
    """
    pieces, n_pieces = ndimage.label(owner > 0)
    owner_of_piece = np.zeros(n_pieces + 1, dtype=np.int64)
    owner_of_piece[pieces.ravel()] = owner.ravel()
    traced = trace_outlines(logits, pieces, n_pieces, level, (window.row, window.col))
    wanted = np.isin(owner_of_piece[1:], asked)
    area_m2, _ = measure_geodesic(place_outlines(traced.polygons[wanted], transform, to_lonlat))
    by_owner = np.bincount(owner_of_piece[1:][wanted], weights=area_m2, minlength=n_owners + 1)
    return np.asarray(by_owner[asked], dtype=np.float64)
