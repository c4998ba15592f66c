"""What covers the simulated ground: rock, debris, grass, sand, glaciers, seasonal snow, and each year's water."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array, band_field, enlarge, make_generator, power_field, smoothstep
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.lakes import Lake
from cryosentinel_core.simulate.light import Relief
from cryosentinel_core.simulate.overlays import River, braids_of
from cryosentinel_core.simulate.shapes import fraction_of, window_of
from cryosentinel_core.simulate.spectra import BANDS, COVERS, gamma0_of, reflectance_of

Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Cover:
    """The ground without snow and water.

    Attributes:
        land: Reflectance x 10,000, uint16 `(12, H, W)`, in the order of `BANDS`.
        gamma0: Linear gamma nought float32 `(2, H, W)`, VV and VH, without speckle.
        grass: Share of grass, `(H, W)`.
        glacier: Share of glacier ice, `(H, W)`.
        snow_height: Height in metres `(H, W)` as snow feels it: raised on shaded, lowered on sunny and steep ground.
    """

    land: npt.NDArray[np.uint16]
    gamma0: Array
    grass: Array
    glacier: Array
    snow_height: Array

    def snow(self, line_m: float) -> Array:
        """Share of each pixel under seasonal snow for a snow line at `line_m`, `(H, W)`."""
        return smoothstep(self.snow_height, line_m - 45, line_m + 45)


@dataclass(frozen=True)
class Water:
    """One year's water and the shores about it, for the pixels that have any.

    Attributes:
        index: Flat indices of pixels with water, ascending.
        fraction: Share of water in each, 0 to 1.
        lake: Number of the lake in each.
        turbidity: 0 clear to 1 milky, in each.
        shore_m: Distance in metres to the shore, in each (0 at the shore).
        shore_index: Flat indices of dry ground beside water or on a lake bed that fell dry.
        wetness: How wet it is, 0 to 1.
        bed: Share of bare lake sediment, 0 to 1.
        white: How far the water in each pixel is whiter than milky, 0 to 1; None if nowhere.
        dark: How far it is darker than clear, 0 to 1; None if nowhere.
    """

    index: Index
    fraction: Array
    lake: npt.NDArray[np.int32]
    turbidity: Array
    shore_m: Array
    shore_index: Index
    wetness: Array
    bed: Array
    white: Array | None = None
    dark: Array | None = None


def draw_cover(seed: int, grid: Grid, relief: Relief) -> Cover:
    """The cover of the ground, from heights, slopes, aspects and noise."""
    rng = make_generator(seed, "cover")
    shape, pixel = grid.shape, grid.pixel_m
    coarse = grid.coarser(6)
    height, slope = relief.heights, relief.slope_deg()

    def broad(wavelength_m: float) -> Array:
        return enlarge(power_field(rng, coarse.shape, coarse.pixel_m, wavelength_m, 1.6), 6)

    patches = power_field(rng, shape, pixel, 900.0, 1.2)
    rock, moss, ice = broad(4_000), broad(2_500), broad(3_000)
    hollow = enlarge(_hollows(relief), 2)
    shade = enlarge(ndimage.gaussian_filter(relief.north[::6, ::6], 2.0), 6)  # rises to the north: faces south
    glacier_line = 3_900 + 150 * np.clip(shade, -1, 1) + 90 * ice - 380 * np.clip(hollow / 45, 0, 1)
    glacier = smoothstep(np.asarray(height - glacier_line + 25 * patches, np.float32), -25, 35) * (
        1 - smoothstep(slope, 31, 39)
    )
    grass = smoothstep(3_060 - height + 130 * moss + 70 * patches, -60, 120) * (1 - smoothstep(slope, 30, 42))
    sand = (1 - smoothstep(slope, 3.5, 8)) * smoothstep(patches + 0.5 * moss, 0.9, 1.6)
    debris = (1 - smoothstep(slope, 20, 33)) * smoothstep(patches + 0.4 * ice, -1.2, 0.2)
    left = 1 - glacier
    weights = {"glacier": glacier}
    for name, share in (("sand", 0.9 * sand), ("grass", 0.9 * grass), ("debris", 0.9 * debris)):
        weights[name] = left * share
        left = left - weights[name]
    granite = smoothstep(rock + 0.3 * patches, -0.35, 0.35)
    weights["granite"], weights["schist"] = left * granite, left * (1 - granite)
    texture = np.exp(0.10 * patches + 0.06 * band_field(rng, shape, pixel, 25.0) - 0.007).astype(np.float32)
    land = np.empty((len(BANDS), *shape), np.uint16)
    for i, band in enumerate(BANDS):
        land[i] = _mix(weights, texture, {name: 1e4 * reflectance_of(name, band) for name in COVERS})
    gamma0 = np.stack([_mix(weights, texture, {name: gamma0_of(name)[i] for name in COVERS}) for i in (0, 1)])
    snow_height = (
        height - 170 * np.clip(relief.north, -1, 1) + 100 * moss + 35 * patches - 900 * smoothstep(slope, 42, 56)
    )
    return Cover(land, gamma0, weights["grass"], glacier, snow_height)


def _mix(weights: dict[str, Array], texture: Array, values: dict[str, float]) -> Array:
    total = np.zeros(texture.shape, np.float32)
    for name, weight in weights.items():
        total += weight * np.float32(values[name])
    return total * texture


def _hollows(relief: Relief) -> Array:
    """By how many metres the ground lies below its surroundings (glacier tongues flow there), on 20 m pixels."""
    small = relief.coarse[::3, ::3]
    wide = ndimage.gaussian_filter(small, 8.0) - ndimage.gaussian_filter(small, 1.5)
    hollow = ndimage.zoom(wide, 3, order=1, mode="nearest", grid_mode=True)
    return np.asarray(hollow[: relief.coarse.shape[0], : relief.coarse.shape[1]], np.float32)


def draw_water(seed: int, grid: Grid, lakes: Sequence[Lake], year: int, rivers: Sequence[River] = ()) -> Water:
    """One year's water: exact shares of pixels from the outlines, and how each pixel of it looks.

    A river's water has the number -1: it belongs to no lake.
    """
    parts = [_water_of(seed, grid, number, lake, year) for number, lake in enumerate(lakes)]
    water = np.concatenate([part[0] for part in parts], axis=1) if parts else np.zeros((5, 0))
    shore = np.concatenate([part[1] for part in parts], axis=1) if parts else np.zeros((3, 0))
    for number, river in enumerate(rivers):
        braids, plain = _river_of(seed, grid, number, river, year)
        water = np.concatenate([water, braids[:, ~np.isin(braids[0], water[0])]], axis=1)
        shore = np.concatenate([shore, plain], axis=1)
    water = water[:, np.argsort(water[0], kind="stable")]
    shore = shore[:, np.unique(shore[0], return_index=True)[1]]
    f4 = np.float32
    return Water(
        water[0].astype(np.intp), water[1].astype(f4), water[2].astype(np.int32), water[3].astype(f4),
        water[4].astype(f4), shore[0].astype(np.intp), shore[1].astype(f4), shore[2].astype(f4),
        _of_lakes([lake.white for lake in lakes], water[2]), _of_lakes([lake.dark for lake in lakes], water[2]),
    )  # fmt: skip


def _of_lakes(values: list[float], number: npt.NDArray[np.float64]) -> Array | None:
    """A lake's value in each of its pixels, 0 in a river's; None if all are 0."""
    return np.array([*values, 0.0], np.float32)[number.astype(np.intp)] if any(values) else None


def _river_of(
    seed: int, grid: Grid, number: int, river: River, year: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns of a river's pixels as `_water_of` has them: milky braids in wet sand, elsewhere each year."""
    rng = make_generator(seed, "braids", number, year)
    plain = river.course.buffer(river.half_width_m)
    rows, columns = window_of(plain, grid, 30.0)
    window = grid.cut(rows, columns)
    fraction = fraction_of(braids_of(river, rng), window).ravel()
    sand = fraction_of([plain], window, 4).ravel()
    flat = (np.arange(rows.start, rows.stop)[:, None] * grid.width + np.arange(columns.start, columns.stop)).ravel()
    wet, dry = fraction > 0, (sand > 0) & (fraction < 1)
    turbidity = np.full(int(wet.sum()), float(rng.uniform(0.4, 0.9)))
    water = np.stack([flat[wet], fraction[wet], np.full(int(wet.sum()), -1.0), turbidity, np.zeros(int(wet.sum()))])
    return water, np.stack([flat[dry], np.full(int(dry.sum()), float(rng.uniform(0.2, 0.7))), 0.9 * sand[dry]])


def _water_of(
    seed: int, grid: Grid, number: int, lake: Lake, year: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns of a lake's pixels: (index, fraction, lake, turbidity, shore) and (index, wetness, bed)."""
    rows, columns = window_of(lake.union, grid, 120.0)
    window = grid.cut(rows, columns)
    fraction = fraction_of([polygon for _, polygon in lake.outlines[year]], window)
    union = fraction_of([polygon for parts in lake.outlines.values() for _, polygon in parts], window)
    rng = make_generator(seed, "colour", lake.name)
    plume = power_field(rng, window.shape, grid.pixel_m, 700.0, 2.2)
    turbidity = np.clip(lake.turbidity + 0.10 * plume, 0, 1)
    inside = ndimage.distance_transform_edt(fraction > 0.5) * grid.pixel_m
    outside = (
        ndimage.distance_transform_edt(fraction <= 0.5) * grid.pixel_m if fraction.any() else np.full(window.shape, 1e3)
    )
    wetness = np.exp(-outside / (9.0 + 4.0 * rng.random()))
    earlier = any(lake.outlines[y] for y in lake.outlines if y < year)
    bed = np.where(earlier, np.clip(union - fraction, 0, 1), 0) * (0.85 if lake.kind != "grown" else 0.0)
    wetness = np.maximum(wetness, 0.55 * bed)
    flat = (np.arange(rows.start, rows.stop)[:, None] * grid.width + np.arange(columns.start, columns.stop)).ravel()
    wet = fraction.ravel() > 0
    shore = (fraction.ravel() < 1) & (wetness.ravel() > 0.02)
    same = np.full(wet.sum(), float(number))
    water = np.stack([flat[wet], fraction.ravel()[wet], same, turbidity.ravel()[wet], inside.ravel()[wet]])
    return water, np.stack([flat[shore], wetness.ravel()[shore], bed.ravel()[shore]])
