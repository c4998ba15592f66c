"""Glacier ice told from ice that may lie on water, around one lake, from heights, slope, dates and what other years saw.

Glacier ice is ground: a lake that lies where a glacier stood has grown. Only ice that may lie on water hides a lake: at the lake's
level, and there on ground that is lake in another year, or beside open water. Pure functions on arrays; `observed` reads the window
and counts. Where radar is no help: melting ice is dark and rough ice bright, on a lake as on a glacier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.lakes.pixel_classes import WATER_LAKE, WATER_SNOW_ICE, WATER_UNOBSERVED
from cryosentinel_core.stack.stack import COUNT_NAMES
from cryosentinel_core.units import PIXEL_M

LEVEL_M: Final = 5.0
"""Height above the lake up to which ice may lie on water: error of the elevation model, and of the lake's level."""

MOST_LEVEL_M: Final = 15.0
"""The same, of ice that has thinned for years since the elevation model was made."""

THINNING_M_PER_YEAR: Final = 1.0
"""Thinning of a tongue that ends in a lake, on the safe side (King et al. 2019: 0.5 to 1 m a year in the Himalaya)."""

DEM_YEAR: Final = 2013
"""Middle of the years in which the Copernicus elevation model was measured (2011 to 2015)."""

STEEP_DEGREES: Final = 10.0
"""Slope beyond which ice that stands over the lake is no cover of it."""

SHORE_M: Final = 2.0
"""Height up to which a slope proves nothing: a coarse elevation model tilts the rim of every lake."""

LEVEL_SHARE: Final = 0.2
"""Share of a lake's water that must lie within `SHORE_M` of height for that height to be its level."""

OPEN_SHARE: Final = 0.25
"""Share of the water of all years that must be open for ice beside it to be no frozen lake."""

CONTACT_PX: Final = 3
"""Pixels of a glacier beside a lake's water from which the two touch."""

CONTEXT_PX: Final = 12
"""Pixels around a lake in which ice is followed up its glacier (120 m)."""

_CLEAR, _WATER = COUNT_NAMES.index("clear"), COUNT_NAMES.index("water")
_SQUARE: Final = np.ones((3, 3), dtype=bool)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class LakeWindow:
    """Everything known around a lake, on one grid.

    Attributes:
        ground: (H, W) bool, True on the ground that is asked for: the lake's, grown by some pixels.
        lake: (H, W) bool, True inside the lake's outlines of all years.
        water: Year -> (H, W) uint8, codes of `water_mask`.
        heights: (H, W) float32 metres, NaN = unknown; None if nothing is known.
        counts: Year -> (5, H, W) uint8, dates by `stack.stack.COUNT_NAMES`; a year may be missing.
        glaciers: (H, W) bool, True inside the outlines of glaciers; None if nobody gave any.
    """

    ground: Mask
    lake: Mask
    water: Mapping[int, NDArray[np.uint8]]
    heights: NDArray[np.float32] | None = None
    counts: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    glaciers: Mask | None = None


def find_hiding_ice(window: LakeWindow) -> dict[int, Mask]:
    """Snow or ice under which nobody can tell whether there is water, by year; all other snow and ice is ground.

    Ice may lie on water, and hides it, if it lies on ground that is lake in another year, or next to the year's own open water, and
    no higher than `LEVEL_M` over the lake. Where a date saw water, ice drifts on it. Above that level and up to
    `tolerance_m` it is in doubt, as the glacier may have thinned; and it is in doubt at any height where an earlier year saw
    water, as the ice of the elevation model was gone by then. What settles a doubt is an outline of a glacier (not of ground
    that was water since), or that the ice lasted through all dates, hangs together with ice over the level outside the lake, and
    that the lake was open that year. Ice beside the lake in every year that saw it is a glacier's edge or a snow bank.

    Returns:
        Year -> (H, W) bool, True where ice hides.
    """
    lakes = {year: classes == WATER_LAKE for year, classes in window.water.items()}
    wet = np.logical_or.reduce([window.lake, *lakes.values()])
    none = np.zeros(wet.shape, dtype=bool)
    rise = _rise_above_lake(window, wet)
    bank = _lasting_bank(window, wet)
    hiding = {}
    for year, classes in window.water.items():
        ice = classes == WATER_SNOW_ICE
        if not (ice & window.ground).any():
            hiding[year] = none
            continue
        before = np.logical_or.reduce([none, *(lake for other, lake in lakes.items() if other < year)])
        beside = ndimage.binary_dilation(lakes[year], structure=_SQUARE) & ~bank
        low, doubtful = _may_float(rise, before, year, window.heights)
        doubtful &= ~_is_glacier(window, year, ice, wet, rise, before)
        hiding[year] = ice & ((low | doubtful) & (wet | beside) | _drifts(window, year))
    return hiding


def touch_glaciers(window: LakeWindow, hiding: Mapping[int, Mask]) -> dict[int, bool]:
    """Whether a year's water ends at a glacier: ice over the lake's level, or a glacier's outline, within two pixels of it."""
    wet = np.logical_or.reduce([window.lake, *(classes == WATER_LAKE for classes in window.water.values())])
    high = _rise_above_lake(window, wet) > LEVEL_M
    touching = {}
    for year, classes in window.water.items():
        own = (classes == WATER_LAKE) & window.lake
        glacier = (classes == WATER_SNOW_ICE) & ~hiding[year] & high
        if window.glaciers is not None:
            glacier |= window.glaciers & (classes != WATER_LAKE)
        near = ndimage.binary_dilation(own, structure=_SQUARE, iterations=2)
        touching[year] = int(np.count_nonzero(near & glacier)) >= CONTACT_PX
    return touching


def tolerance_m(year: int) -> float:
    """Height over the lake, in metres, up to which a year's ice may lie on water."""
    thinned = THINNING_M_PER_YEAR * max(year - DEM_YEAR, 0)
    return min(LEVEL_M + thinned, MOST_LEVEL_M)


def level_of_lake(heights: NDArray[np.float32]) -> float:
    """Level of a lake, in metres, from the heights of its water, of which a glacier may have covered a part when they were measured.

    The lowest two metres that hold a fifth of the heights are the water's surface; where none do, the lowest tenth is the level.

    Args:
        heights: (N,) metres, NaN = unknown.

    Returns:
        NaN if no height is known.
    """
    known = np.sort(heights[np.isfinite(heights)])
    if not known.size:
        return float("nan")
    within = np.searchsorted(known, known + SHORE_M, side="right") - np.arange(known.size)
    full = np.flatnonzero(within >= LEVEL_SHARE * known.size)
    if not full.size:
        return float(np.quantile(known, 0.1))
    first = int(full[0])
    return float(np.median(known[first : first + int(within[first])]))


def _rise_above_lake(window: LakeWindow, wet: Mask) -> NDArray[np.float32]:
    """(H, W) metres over the lake's level, NaN where that is unknown."""
    if window.heights is None:
        return np.full(wet.shape, np.nan, dtype=np.float32)
    return np.asarray(window.heights - level_of_lake(window.heights[wet & window.ground]), dtype=np.float32)


def _lasting_bank(window: LakeWindow, wet: Mask) -> Mask:
    """Ground that is no year's lake and under snow or ice in every year that saw it, two at least."""
    icy = [classes == WATER_SNOW_ICE for classes in window.water.values()]
    blind = [classes == WATER_UNOBSERVED for classes in window.water.values()]
    lasting = np.logical_and.reduce([ice | unseen for ice, unseen in zip(icy, blind, strict=True)])
    return np.asarray(lasting & (np.sum(icy, axis=0) >= min(2, len(icy))) & ~wet)


def _may_float(
    rise: NDArray[np.float32], before: Mask, year: int, heights: NDArray[np.float32] | None
) -> tuple[Mask, Mask]:
    """Ground at the lake's level or of unknown height, and ground over it where ice may have come down to it since."""
    steep = np.zeros(rise.shape, dtype=bool) if heights is None else slope_degrees(heights) > STEEP_DEGREES
    leaning = steep & (rise > SHORE_M)
    low = ~(rise > LEVEL_M) & ~leaning
    thinned = ~low & ~leaning & (rise <= tolerance_m(year))
    return low, thinned | (before & ~low)


def _is_glacier(window: LakeWindow, year: int, ice: Mask, wet: Mask, rise: NDArray[np.float32], before: Mask) -> Mask:
    """Ice that is a glacier's although it stands low enough to have come down to the lake, or where water was before."""
    proven = np.zeros(ice.shape, dtype=bool)
    if window.glaciers is not None:
        proven |= window.glaciers & ~before
    is_open = np.count_nonzero((window.water[year] == WATER_LAKE) & window.ground)
    if is_open < OPEN_SHARE * np.count_nonzero(wet & window.ground):
        return proven
    lasting = ice
    if year in window.counts:
        lasting = ice & (window.counts[year][_CLEAR] == 0)
    labels, _ = ndimage.label(lasting, structure=_SQUARE)
    bodies = np.unique(labels[lasting & ~wet & (rise > LEVEL_M)])
    return np.asarray(proven | (lasting & np.isin(labels, bodies)))


def _drifts(window: LakeWindow, year: int) -> Mask:
    """Ice where a date of the same season saw water: floes, bergs, melange, or a lake that thawed late."""
    if year not in window.counts:
        return np.zeros(window.ground.shape, dtype=bool)
    return np.asarray(window.counts[year][_WATER] > 0)


def slope_degrees(heights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Slope of the ground over 30 m; (H, W) degrees, NaN where a height is unknown."""
    south, east = np.gradient(heights.astype(np.float64), PIXEL_M) if min(heights.shape) > 1 else (0 * heights,) * 2
    return np.degrees(np.arctan(np.hypot(south, east))).astype(np.float32)
