"""Light upon the simulated mountains: slopes that face it, shadows that ridges cast, and what a radar sees.

Arrays are `(H, W)`, north up; bearings are degrees clockwise from north, towards the light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array, block_mean, enlarge, smoothstep

COARSE: Final = 2
"""Light is cast on pixels this many times the ground's 10 m."""

INCIDENCE_DEG: Final = 39.0
"""Incidence angle of the radar at the middle of its swath, in degrees."""


class Relief:
    """A DEM prepared for light: normals on 10 m pixels and heights on 20 m pixels.

    Args:
        heights: Heights in metres `(H, W)` on 10 m pixels.
        pixel_m: Pixel side in metres.
    """

    def __init__(self, heights: Array, pixel_m: float) -> None:
        self.heights = heights
        self.pixel_m = pixel_m
        self.coarse = block_mean(heights, COARSE)
        smooth = ndimage.gaussian_filter(heights, 0.8)
        south, self.east = np.gradient(smooth, np.float32(pixel_m))
        self.north = -south
        self.norm = 1 / np.sqrt(1 + self.east**2 + self.north**2)

    def slope_deg(self) -> Array:
        """Slope in degrees, `(H, W)`."""
        return np.asarray(np.degrees(np.arctan(np.hypot(self.east, self.north))), np.float32)

    def facing(self, azimuth_deg: float, elevation_deg: float) -> Array:
        """Cosine of the angle between the ground's normal and a direction, over that of level ground; 0 if averted."""
        azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
        flat = np.float32(np.cos(elevation) / np.sin(elevation))
        towards = self.east * np.float32(np.sin(azimuth)) + self.north * np.float32(np.cos(azimuth))
        return np.asarray(np.maximum((1 - towards * flat) * self.norm, 0), np.float32)

    def lit(self, azimuth_deg: float, elevation_deg: float) -> Array:
        """Share of each 10 m pixel `(H, W)` that the sun reaches past the terrain around it, 0 to 1."""
        depth = shadow_depth(self.coarse, self.pixel_m * COARSE, azimuth_deg, elevation_deg)
        return np.asarray(np.clip(0.5 - enlarge(depth, COARSE) / 8.0, 0, 1), np.float32)


@dataclass(frozen=True)
class RadarView:
    """The relief as a radar sees it from one side: shares of layover and of radar shadow, `(H, W)` at 10 m."""

    layover: Array
    shadow: Array

    @classmethod
    def of(cls, relief: Relief, look_azimuth_deg: float) -> RadarView:
        """The view of a radar that looks in a direction at `INCIDENCE_DEG`."""
        towards, pixel_m = look_azimuth_deg + 180, relief.pixel_m * COARSE
        shadow = shadow_depth(relief.coarse, pixel_m, towards, 90 - INCIDENCE_DEG)
        layover = layover_depth(relief.coarse, pixel_m, towards, INCIDENCE_DEG)
        return cls(enlarge(smoothstep(layover, 2, 30), COARSE), enlarge(smoothstep(shadow, -1, 6), COARSE))


def shadow_depth(heights: Array, pixel_m: float, azimuth_deg: float, elevation_deg: float) -> Array:
    """How many metres each pixel lies below the rays that graze the terrain towards a light; negative where lit.

    The heights are turned so that light runs down the rows, one sweep carries the highest ray along, and the result
    is turned back: exact up to bilinear interpolation, and no slower for a low light than for a high one.
    """
    turned, back = _turn(heights, azimuth_deg)
    drop = np.float32(pixel_m * np.tan(np.radians(elevation_deg)))
    ray = np.full(turned.shape[1], -1e5, np.float32)
    depth = np.empty_like(turned)
    for i, row in enumerate(turned):
        np.subtract(ray, row, out=depth[i])
        np.maximum(ray, row, out=ray)
        ray -= drop
    return back(np.maximum(depth, -200))


def layover_depth(heights: Array, pixel_m: float, azimuth_deg: float, incidence_deg: float) -> Array:
    """How far in metres of slant range each pixel is overlaid by others for a radar in direction `azimuth_deg`.

    Positive in layover, passive or active: where slant range does not grow with distance from the radar.
    """
    turned, back = _turn(heights, azimuth_deg)
    angle = np.radians(incidence_deg)
    along = np.arange(turned.shape[0], dtype=np.float32)[:, None] * np.float32(pixel_m * np.sin(angle))
    slant = along - turned * np.float32(np.cos(angle))
    nearer = np.maximum.accumulate(slant, axis=0) - slant
    farther = slant - np.minimum.accumulate(slant[::-1], axis=0)[::-1]
    return back(np.maximum(nearer, farther))


def _turn(heights: Array, azimuth_deg: float) -> tuple[Array, Callable[[Array], Array]]:
    """Heights turned so that rows run away from `azimuth_deg`, and the function that turns an array back."""
    azimuth = np.radians(azimuth_deg)
    # In (row, col): away from the light is (cos, -sin); across it is (sin, cos).
    matrix = np.array([[np.cos(azimuth), np.sin(azimuth)], [-np.sin(azimuth), np.cos(azimuth)]])
    side = int(np.ceil(np.hypot(*heights.shape))) + 2
    middle, here = np.full(2, (side - 1) / 2), (np.array(heights.shape) - 1) / 2
    turned = ndimage.affine_transform(
        heights, matrix, here - matrix @ middle, (side, side), order=1, mode="nearest", output=np.float32
    )

    def back(array: Array) -> Array:
        offset = middle - matrix.T @ here
        result = ndimage.affine_transform(
            array, matrix.T, offset, heights.shape, order=1, mode="nearest", output=np.float32
        )
        return np.asarray(result, np.float32)

    return turned, back
