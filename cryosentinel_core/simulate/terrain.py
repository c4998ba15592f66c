"""The shape of the simulated mountains: ridges and troughs, and basins moulded around lakes.

Heights are metres, arrays are `(H, W)` north up. Lakes come from `lakes`; what covers the ground from `cover`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array, band_field, enlarge, make_generator, power_field, smoothstep
from cryosentinel_core.simulate.fronts import raise_ice
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.lakes import Lake
from cryosentinel_core.simulate.light import COARSE
from cryosentinel_core.simulate.shapes import fraction_of, window_of

LOWEST_M: Final = 2_850.0
"""Height of the trough floors in metres."""

HIGHEST_M: Final = 4_200.0
"""Height of the highest ridges in metres."""

_OCTAVES_M: Final = (9_000, 4_500, 2_250, 1_100, 550, 270, 130)


def draw_heights(seed: int, grid: Grid) -> Array:
    """Heights in metres of a fractal mountain range on the ground's pixels of 20 m, before any lake.

    Ridged multifractal noise (Musgrave, Kolb and Mace 1989): each octave's ridges are rough only where the octave
    above is high, so troughs stay smooth. Trough floors are filled to a gentle surface, as ice and debris do.
    """
    rng = make_generator(seed, "heights")
    coarse = grid.coarser(COARSE)
    heights = np.zeros(coarse.shape, np.float32)
    weight = np.ones(coarse.shape, np.float32)
    for wavelength in _OCTAVES_M:
        noise = band_field(rng, coarse.shape, coarse.pixel_m, wavelength)
        if wavelength > 2_000:
            noise = _bent(rng, noise, coarse.pixel_m)
        ridge = np.power(1 - np.minimum(np.abs(noise) / 2.0, 1), np.float32(1.5))
        heights += np.float32(wavelength**1.1) * ridge * weight
        weight = np.clip(ridge * 1.5, 0.16, 1) * np.sqrt(weight)
    low, high = np.quantile(heights[::7, ::7], (0.02, 0.998))
    heights = LOWEST_M + (heights - low) * ((HIGHEST_M - LOWEST_M) / (high - low))
    rows = np.linspace(-1, 1, coarse.height, dtype=np.float32)[:, None]
    heights += 220 * rows + 60 * band_field(rng, coarse.shape, coarse.pixel_m, 9_000)
    floor = LOWEST_M + 130 + 190 * rows + 150 * power_field(rng, coarse.shape, coarse.pixel_m, 9_000, 2.6)
    return np.asarray(floor + 80 * np.logaddexp(0, (heights - floor) / 80), np.float32)


def _bent(rng: np.random.Generator, heights: Array, pixel_m: float) -> Array:
    """A field moved sideways by a few hundred metres, so that ridges wind as real ones do."""
    reach = np.float32(240 / pixel_m)
    moves = np.stack([band_field(rng, heights.shape, pixel_m, 2_400) for _ in range(2)])
    at = np.indices(heights.shape, np.float32) + reach * moves
    bent = ndimage.map_coordinates(heights, at, order=1, mode="reflect", output=np.float32)
    return np.asarray(bent, np.float32)


def refine_heights(seed: int, heights: Array) -> Array:
    """Heights on 10 m pixels from those on 20 m, with a little roughness of their own."""
    fine = ndimage.gaussian_filter(enlarge(heights, COARSE), 1.0)
    fine += 0.6 * band_field(make_generator(seed, "roughness"), fine.shape, 10.0, 60.0)
    return np.asarray(fine, np.float32)


def mould_basins(heights: Array, grid: Grid, lakes: Sequence[Lake], seed: int) -> Array:
    """Heights with a basin around each lake, the water surface flat where the first year has water.

    Elevation models hold one date: a lake that appears later is still rough ground in it, and ground that a growing
    lake takes later rises gently from the shore.
    """
    rng = make_generator(seed, "basins")
    hummocks = power_field(rng, heights.shape, grid.pixel_m, 150.0, 1.3)
    for lake in sorted(lakes, key=lambda lake: lake.wall_azimuth_deg is not None):
        if lake.front is not None:
            rows, columns = window_of(lake.front.tongue, grid, 520.0)
            heights[rows, columns] = raise_ice(
                heights[rows, columns], grid.cut(rows, columns), lake.front, lake.level_m
            )
        rows, columns = window_of(lake.union, grid, 520.0)
        window = grid.cut(rows, columns)
        heights[rows, columns] = _mould(heights[rows, columns], hummocks[rows, columns], window, lake)
    for lake in lakes:  # basins may reach into each other; water stays level
        rows, columns = window_of(lake.union, grid, 0.0)
        heights[rows, columns][_first_water(lake, grid.cut(rows, columns))] = lake.level_m
    return heights


def _first_water(lake: Lake, window: Grid) -> npt.NDArray[np.bool_]:
    """Pixels that are mostly water in the first year, or, before a glacier, when the elevation model was made."""
    if lake.front is not None:
        return fraction_of([lake.front.old_water], window, 2) >= 0.5
    return fraction_of([polygon for _, polygon in lake.outlines[min(lake.outlines)]], window, 2) >= 0.5


def _mould(heights: Array, hummocks: Array, window: Grid, lake: Lake) -> Array:
    union = fraction_of([lake.union], window, 1) > 0.5
    flat = _first_water(lake, window)
    away = _distance_outside(union, window.pixel_m)
    from_flat = _distance_outside(flat, window.pixel_m) if flat.any() else away + 40
    rise = 0.35 + 0.07 * np.minimum(from_flat, 250) + 0.6 * hummocks * smoothstep(from_flat, 0, 60)
    moraine = 9.0 * np.exp(-(((away - 70) / 30) ** 2)) * (1 + 0.5 * hummocks) * lake.moraine
    target = lake.level_m + np.where(flat, 0.0, rise + moraine)
    weight = 1 - smoothstep(away, 20, lake.basin_m)
    moulded = heights + weight * (target - heights)
    if lake.front is not None:
        return raise_ice(np.asarray(moulded, np.float32), window, lake.front, lake.level_m)
    if lake.wall_azimuth_deg is not None:
        moulded = np.maximum(moulded, _wall(window, lake, away))
    return np.asarray(moulded, np.float32)


def _wall(window: Grid, lake: Lake, away: Array) -> Array:
    """Heights of a headwall towards the morning sun, steep enough to keep its lake in shadow all summer."""
    assert lake.wall_azimuth_deg is not None
    x, y = window.centres()
    centre = lake.union.centroid
    bearing = np.degrees(np.arctan2(x[None, :] - centre.x, y[:, None] - centre.y))
    off = np.abs((bearing - lake.wall_azimuth_deg + 180) % 360 - 180)
    crest = 400.0 * (1 - smoothstep(off.astype(np.float32), 60, 110)) * (1 - smoothstep(away, 200, 440))
    return np.asarray(lake.level_m + np.minimum(np.maximum(away - 8, 0) * 4.6, crest) - 1e4 * (crest < 1), np.float32)


def _distance_outside(inside: npt.NDArray[np.bool_], pixel_m: float) -> Array:
    return np.asarray(ndimage.distance_transform_edt(~inside) * pixel_m, np.float32)
