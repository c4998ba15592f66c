"""Composite of a late summer: what each date saw at each pixel, which dates count there, and the median of these.

A date's condition at a pixel comes from its scene classification, its own spectrum and the terrain's shadow. Pure functions on
arrays; a pixel's result depends on its surroundings within `HALO_PX` only, never on how the work was cut. Neighbours:
`radiometry` harmonises the numbers first, `terrain` casts the shadows, the fetch workflow reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryosentinel_core.stack.stack import COUNT_NAMES, DATE_NAMES, Condition

RESTORE_PX: Final = 128
"""Largest side of the box around a patch of cloud or cloud shadow that may turn out to be a lake (1,280 m)."""

RESTORE_SHARE: Final = 0.5
"""Share of a patch that must be stationary water for the patch to be taken for a lake."""

EDGE_PX: Final = 10
"""Pixels next to nodata that are given up: bands end at different places along a swath's edge."""

CLOUD_GROW_PX: Final = 6
"""By how much clouds are grown (60 m): their thin rims."""

CLOUD_SHADOW_GROW_PX: Final = 4
"""By how much cloud shadows are grown (40 m)."""

HALO_PX: Final = RESTORE_PX + max(CLOUD_GROW_PX, CLOUD_SHADOW_GROW_PX) + EDGE_PX + 2
"""Pixels around a grid on which `classify_dates` must be given data for its answer inside to be final."""

SNOW_SHARE: Final = 0.25
"""A pixel counts as seen snow-free only if at least this share of its clear and snowy dates were snow-free."""

BRIGHT_RATIO: Final = 0.55
"""Near infrared over green (B08 / B03) from which a surface is too bright there for water."""

SCL_NODATA: Final = (0, 1)
SCL_SHADOW: Final = (3,)
SCL_CLOUD: Final = (8, 9, 10)
SCL_SNOW: Final = 11
"""Classes of the scene classification (Sentinel-2 L2A ATBD): nodata, saturated; cloud shadow; clouds and cirrus; snow, ice."""


class DateClass(IntEnum):
    """Class of a pixel on one date; a higher number is worth more."""

    NODATA = 0
    CLOUD = 1
    SHADOW = 2
    SNOW = 3
    CLEAR = 4


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Bands that one date is classified by, reflectance x 10,000 without offset, 0 = nodata.

    Attributes:
        blue: (H, W) uint16, B02.
        green: (H, W) uint16, B03.
        nir: (H, W) uint16, B08.
        swir: (H, W) uint16, B11.
    """

    blue: NDArray[np.uint16]
    green: NDArray[np.uint16]
    nir: NDArray[np.uint16]
    swir: NDArray[np.uint16]


def is_water_like(spectrum: Spectrum) -> NDArray[np.bool_]:
    """Where one date's own spectrum says liquid water: NDWI > 0 and MNDWI > 0, and neither snow in the sun nor snow in the shade.

    Bright in the near infrared is B08 >= 0.11 and B08 >= 0.55 B03: milky lakes stay below, since water absorbs there, snow, ice
    and cloud above. Snow in the shade is lit by the blue sky: B02 >= 0.12 and B02 >= 1.15 B03, where milky lakes are greener and
    clear ones darker. A spectrum alone cannot tell a lake from deep shade on rock.

    Source: McFeeters (1996), NDWI; Xu (2006), MNDWI.
    """
    water = (spectrum.green > spectrum.nir) & (spectrum.green > spectrum.swir)
    return water & ~_is_bright(spectrum) & ~_is_sky_blue(spectrum)


def is_snow_like(spectrum: Spectrum) -> NDArray[np.bool_]:
    """Where one date's own spectrum says snow or ice: NDSI > 0.4, B03 >= 0.10, and bright in the near infrared or blue with sky.

    Source: Dozier (1989), NDSI; the near-infrared test keeps water out (as in Hall et al. 1995, SNOMAP).
    """
    g, s = spectrum.green.astype(np.float32), spectrum.swir.astype(np.float32)
    icy = (g - s > np.float32(0.4) * (g + s)) & (spectrum.green >= 1_000)
    return icy & (_is_bright(spectrum) | _is_sky_blue(spectrum))


def _is_bright(spectrum: Spectrum) -> NDArray[np.bool_]:
    nir = spectrum.nir.astype(np.float32)
    return np.asarray(
        (spectrum.nir >= 1_100) & (nir >= np.float32(BRIGHT_RATIO) * spectrum.green.astype(np.float32)), dtype=bool
    )


def _is_sky_blue(spectrum: Spectrum) -> NDArray[np.bool_]:
    blue = spectrum.blue.astype(np.float32)
    return np.asarray(
        (spectrum.blue >= 1_200) & (blue >= np.float32(1.15) * spectrum.green.astype(np.float32)), dtype=bool
    )


def _is_milky(spectrum: Spectrum) -> NDArray[np.bool_]:
    """Where water is no ice in the shade: B03 >= B02 and B08 < 0.55 B03.

    Shade is lit by the blue sky and makes snow and ice, white or bluish in the sun, bluer than green. Rock in half shade may stay
    greener than blue, but then it is about as bright in the near infrared.
    """
    nir = spectrum.nir.astype(np.float32)
    return np.asarray(
        (spectrum.green >= spectrum.blue) & (nir < np.float32(BRIGHT_RATIO) * spectrum.green.astype(np.float32)),
        dtype=bool,
    )


class Flag(IntFlag):
    """Flags of a pixel by one date's own data, before neighbours and other dates are asked."""

    DATA = 1
    WATER = 2
    SNOW = 4
    CLOUD = 8
    SHADE = 16
    OPEN = 32


def flag_date(scl: NDArray[np.uint8], spectrum: Spectrum) -> NDArray[np.uint8]:
    """One byte a pixel of what one overpass says.

    Args:
        scl: (H, W) uint8, scene classification, 0 = nodata.
        spectrum: Of the same pixels.

    Returns:
        (H, W) uint8 of `Flag`. DATA: the classification is neither 0 nor 1 and no band is 0. WATER: `is_water_like`. SNOW: the
        classification says snow, or `is_snow_like`. CLOUD and SHADE: the classification. OPEN: WATER that the classification does
        not call snow, or that is milky (B03 >= B02, B08 < 0.55 B03), so that it is no ice in the shade.
    """
    data = ~np.isin(scl, SCL_NODATA)
    for band in (spectrum.blue, spectrum.green, spectrum.nir, spectrum.swir):
        data &= band > 0
    water = is_water_like(spectrum) & data
    called_snow = scl == SCL_SNOW
    flags = np.zeros(scl.shape, dtype=np.uint8)
    for flag, mask in (
        (Flag.DATA, data),
        (Flag.WATER, water),
        (Flag.SNOW, called_snow | is_snow_like(spectrum)),
        (Flag.CLOUD, np.isin(scl, SCL_CLOUD)),
        (Flag.SHADE, np.isin(scl, SCL_SHADOW)),
        (Flag.OPEN, water & (~called_snow | _is_milky(spectrum))),
    ):
        flags |= mask.astype(np.uint8) * np.uint8(flag)
    return flags


@dataclass(frozen=True, kw_only=True)
class DateClasses:
    """Classes of the pixels on each of T dates.

    Attributes:
        seen: (T, H, W) uint8 of `DateClass`.
        water: (T, H, W) bool, True where the date's own index said water (looked at where `seen` is CLEAR).
    """

    seen: NDArray[np.uint8]
    water: NDArray[np.bool_]


def classify_dates(flags: Sequence[NDArray[np.uint8]], inner: tuple[slice, slice]) -> DateClasses:
    """Classes of each date, before terrain shadow.

    Rules, date by date: nodata where there are no data, grown by 100 m. Cloud where the classification says cloud, cirrus or
    cloud shadow, grown by 60 and 40 m. Snow where the classification or the spectrum says so. The classification errs over
    lakes: it calls bright ones cloud and dark ones cloud shadow. So a pixel called cloud or shadow whose own spectrum says water
    on that date and on at least half of all dates with data, and on at least two, is a lake; and a whole patch of cloud or shadow
    of at most 1,280 m across of which at least half is such a lake is given back with its rim. True clouds over a lake are bright
    in the short-wave infrared and stay cloud.

    The classification calls lakes snow, too, but ice in the shade has the spectrum of clear water, on one date or on all. So where
    it says snow and the spectrum water, the spectrum decides by itself if it is milky, and otherwise if at least half of the dates
    that saw the pixel, neither under cloud nor in its shadow, have it OPEN. A clear lake that was called snow on its only date is
    thus snow: the classification wants brightness for snow, which clear water lacks and ice in the shade may owe to a neighbour.

    Args:
        flags: Of T dates on one grid (`flag_date`), `HALO_PX` larger on each side than the part wanted.
        inner: (rows, cols) of the part wanted.
    """
    n_rows, n_cols = inner[0].stop - inner[0].start, inner[1].stop - inner[1].start
    seen = np.empty((len(flags), n_rows, n_cols), dtype=np.uint8)
    water = np.empty(seen.shape, dtype=bool)
    if not flags:
        return DateClasses(seen=seen, water=water)
    n_water, n_open, n_data, n_seen = (np.zeros(flags[0].shape, dtype=np.uint8) for _ in range(4))
    for date in flags:
        n_water += _has(date, Flag.WATER)
        n_open += _has(date, Flag.OPEN)
        n_data += _has(date, Flag.DATA)
        n_seen += _has(date, Flag.DATA) & (_has(date, Flag.WATER) | ~_has(date, Flag.CLOUD | Flag.SHADE))
    lasting = (n_water >= 2) & _is_half(n_water, n_data)
    mostly_open = (n_open >= 1) & _is_half(n_open, n_seen)
    for index, date in enumerate(flags):
        seen[index] = _classify_date(date, lasting, mostly_open)[inner]
        water[index] = _has(date[inner], Flag.WATER)
    return DateClasses(seen=seen, water=water)


def _is_half(part: NDArray[np.uint8], whole: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(part >= whole // 2 + whole % 2, dtype=bool)


def _has(flags: NDArray[np.uint8], flag: Flag) -> NDArray[np.bool_]:
    return np.asarray((flags & np.uint8(flag)) != 0, dtype=bool)


def _classify_date(
    flags: NDArray[np.uint8], lasting: NDArray[np.bool_], mostly_open: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """One date's `DateClass`, before terrain shadow."""
    lake = _has(flags, Flag.WATER) & lasting
    cloud = _without_lakes(_has(flags, Flag.CLOUD), lake)
    shade = _without_lakes(_has(flags, Flag.SHADE), lake)
    seen = np.full(flags.shape, int(DateClass.CLEAR), dtype=np.uint8)
    no_snow = _has(flags, Flag.OPEN) | (_has(flags, Flag.WATER) & mostly_open)
    seen[_has(flags, Flag.SNOW) & ~no_snow] = int(DateClass.SNOW)
    seen[grow(cloud, CLOUD_GROW_PX) | grow(shade, CLOUD_SHADOW_GROW_PX)] = int(DateClass.CLOUD)
    seen[grow(~_has(flags, Flag.DATA), EDGE_PX)] = int(DateClass.NODATA)
    return seen


def _without_lakes(patches: NDArray[np.bool_], lake: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of cloud or shadow without what is a lake: its lake pixels, and small patches that are mostly lake."""
    wrong = patches & lake
    if not wrong.any():
        return patches
    labels, n = ndimage.label(patches, structure=np.ones((3, 3), dtype=bool))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    lakes = np.bincount(labels[wrong], minlength=n + 1)
    given_back = np.zeros(n + 1, dtype=bool)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        side = max(box[0].stop - box[0].start, box[1].stop - box[1].start)
        given_back[label] = side <= RESTORE_PX and lakes[label] >= RESTORE_SHARE * sizes[label]
    return np.asarray(patches & ~wrong & ~given_back[labels], dtype=bool)


def grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """A mask grown by some pixels in all eight directions (a square of 2 pixels + 1); outside the array nothing is set."""
    if pixels == 0 or not mask.any():
        return mask
    side = 2 * pixels + 1
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), size=side, mode="constant", cval=0).view(bool))


@dataclass(frozen=True, kw_only=True)
class PixelPlan:
    """Plan of a composite: which dates count at each pixel, and what the stack says about it.

    Attributes:
        used: (T, H, W) bool, True for the dates whose numbers go into the composite.
        counts: (5, H, W) uint8 by `stack.stack.COUNT_NAMES`.
        condition: (H, W) uint8 of `stack.stack.Condition`.
        dates: (3, H, W) uint16 by `stack.stack.DATE_NAMES`.
    """

    used: NDArray[np.bool_]
    counts: NDArray[np.uint8]
    condition: NDArray[np.uint8]
    dates: NDArray[np.uint16]


def plan_pixels(classes: DateClasses, days: Sequence[int], *, best_only: bool = False) -> PixelPlan:
    """Plan of the composite: the dates that make each pixel, and its condition.

    The best kind that any date saw is used and nothing else: clear; if there is none snow or ice; if there is none terrain
    shadow; else none. A pixel is CLEAR only if at least a quarter of its clear and snowy dates, and at least one, were free
    of snow (so a lake that was frozen once and open later is open); else SNOW_ICE if any was clear or snowy.

    Args:
        classes: Of T dates, terrain shadow included.
        days: Day of each date since 1970-01-01, ascending.
        best_only: Use a single date: of the best kind, the one nearest to the middle of all that kind's dates there, the
            earlier one in a tie; so that the `best` composite shows the same season as the median.
    """
    seen = classes.seen
    clear, snow = seen == int(DateClass.CLEAR), seen == int(DateClass.SNOW)
    shadow, cloud = seen == int(DateClass.SHADOW), seen == int(DateClass.CLOUD)
    n_clear, n_snow, n_shadow, n_cloud = (_count(mask) for mask in (clear, snow, shadow, cloud))
    used = np.where(n_clear > 0, clear, np.where(n_snow > 0, snow, shadow & (n_shadow > 0)))
    if best_only:
        used = _middle_only(used, _median_day(used, days), days)
    condition = np.full(n_clear.shape, int(Condition.NODATA), dtype=np.uint8)
    condition[n_cloud > 0] = int(Condition.CLOUD)
    condition[n_shadow > 0] = int(Condition.TERRAIN_SHADOW)
    condition[(n_snow > 0) | (n_clear > 0)] = int(Condition.SNOW_ICE)
    enough = np.maximum(1, -(-(n_clear.astype(np.int16) + n_snow) // round(1 / SNOW_SHARE)))
    condition[n_clear >= enough] = int(Condition.CLEAR)
    wet = _count(classes.water & used & (n_clear > 0))
    counts = np.stack([_count(used & clear) if best_only else n_clear, wet, n_snow, n_shadow, n_cloud])
    assert len(counts) == len(COUNT_NAMES)
    return PixelPlan(used=used, counts=counts, condition=condition, dates=_dates_used(used, days))


def _count(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.asarray(np.minimum(mask.sum(axis=0, dtype=np.uint16), 255).astype(np.uint8))


def _middle_only(used: NDArray[np.bool_], middle: NDArray[np.uint16], days: Sequence[int]) -> NDArray[np.bool_]:
    """Of the dates used at each pixel the one nearest to the middle day, the earlier in a tie."""
    far = np.iinfo(np.int32).max
    away = np.full(middle.shape, far, dtype=np.int32)
    which = np.full(middle.shape, -1, dtype=np.int16)
    for index, day in enumerate(days):
        distance = np.abs(middle.astype(np.int32) - day)
        nearer = used[index] & (distance < away)
        away[nearer] = distance[nearer]
        which[nearer] = index
    return np.stack([which == index for index in range(len(days))]) if len(days) else used


def _median_day(used: NDArray[np.bool_], days: Sequence[int]) -> NDArray[np.uint16]:
    """The median day of the dates used (the earlier of two middle ones); 0 where none."""
    n = used.sum(axis=0, dtype=np.int16)
    wanted = (n + 1) // 2
    so_far = np.zeros(n.shape, dtype=np.int16)
    median = np.zeros(n.shape, dtype=np.uint16)
    for index, day in enumerate(days):
        so_far += used[index]
        median[used[index] & (so_far == wanted)] = day
    return median


def _dates_used(used: NDArray[np.bool_], days: Sequence[int]) -> NDArray[np.uint16]:
    """(3, H, W) uint16: first, median, last day of the dates used; 0 where none."""
    dates = np.zeros((len(DATE_NAMES), *used.shape[1:]), dtype=np.uint16)
    for index, day in enumerate(days):
        dates[0][used[index] & (dates[0] == 0)] = day
        dates[2][used[index]] = day
    dates[1] = _median_day(used, days)
    return dates


def median_of_dates(numbers: Sequence[NDArray[np.uint16]], used: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Per-pixel median of the numbers on the dates used.

    Args:
        numbers: T arrays (H, W) uint16; a 0 (nodata) never counts.
        used: (T, H, W) bool.

    Returns:
        (H, W) uint16; the mean of the two middle numbers, rounded half up, where their count is even; 0 where there is none.
    """
    if not numbers:
        raise ValueError("no dates")
    planes = [np.where(mask & (plane > 0), plane, np.uint16(65_535)) for plane, mask in zip(numbers, used, strict=True)]
    n = np.zeros(planes[0].shape, dtype=np.uint8)
    for plane in planes:
        n += plane != 65_535
    sort_planes(planes)
    low, high = np.zeros(n.shape, dtype=np.uint16), np.zeros(n.shape, dtype=np.uint16)
    for index, plane in enumerate(planes):
        np.copyto(low, plane, where=(n > 0) & ((n - 1) // 2 == index))
        np.copyto(high, plane, where=(n > 0) & (n // 2 == index))
    return ((low.astype(np.uint32) + high + 1) // 2).astype(np.uint16)


def sort_planes(planes: list[NDArray[np.uint16]]) -> None:
    """Sort T arrays in place at each pixel, ascending: Batcher's odd-even merge network, whole arrays at a time.

    Source: Knuth, The Art of Computer Programming 3, section 5.2.2, algorithm M.
    """
    n = len(planes)
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top if n > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    low = np.minimum(planes[i], planes[i + d])
                    np.maximum(planes[i], planes[i + d], out=planes[i + d])
                    planes[i] = low
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
