"""Clouds over the simulated ground, their shadows, and how both keep clear of lakes or hide them on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from cryosentinel_core.simulate.fields import Array, enlarge, make_generator, power_field, smoothstep
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.lakes import Lake
from cryosentinel_core.simulate.schedule import OpticalPass

FACTOR: Final = 6
"""Clouds are drawn on pixels this many times the ground's 10 m."""

CLOUD_BASE_M: Final = 1_700.0
"""Height of the clouds above the ground in metres."""


@dataclass(frozen=True)
class Sky:
    """Opacity of cloud, darkness of cloud shadow and thickness of unnoticed haze, each 0 to 1, `(H, W)` at 10 m."""

    cloud: Array
    shadow: Array
    haze: Array


def draw_sky(seed: int, grid: Grid, lakes: Sequence[Lake], scene: OpticalPass) -> Sky:
    """The weather of an acquisition: the same for every processing of it."""
    coarse = grid.coarser(FACTOR)
    rng = make_generator(seed, "sky", scene.when.isoformat())
    field = power_field(rng, coarse.shape, coarse.pixel_m, 7_000.0, 1.75)
    field -= np.quantile(field, 1 - scene.cloud) if scene.cloud > 0.002 else field.max() + 1
    opacity = smoothstep(field, -0.10, 0.45)
    haze = smoothstep(power_field(rng, coarse.shape, coarse.pixel_m, 9_000.0, 2.0), 0.0, 2.0)
    away_row, away_column = _displacement(scene)
    hidden = [lake for lake in lakes if lake.kind == "cloud" and scene.when.year in lake.hidden_years]
    ragged = power_field(rng, coarse.shape, coarse.pixel_m, 1_200.0, 1.6)
    if scene.clear_rank is not None:
        wide = 220 * np.abs(ragged)
        for lake in lakes:
            if lake not in hidden:
                opacity *= 1 - _spot(coarse, lake, 120.0, (0.0, 0.0), wide)
                opacity *= 1 - _spot(coarse, lake, 120.0, (-away_row, -away_column), wide)
    shadow = ndimage.shift(opacity, (away_row, away_column), order=1, mode="reflect", output=np.float32)
    for lake in hidden:  # under fog on the ground, which throws no shadow beside itself
        opacity = np.maximum(opacity, _spot(coarse, lake, 140.0, (0.0, 0.0), np.clip(110 * ragged, -110, 110)))
    shadow = np.clip(shadow * 1.15 - opacity, 0, 1)
    return Sky(enlarge(opacity, FACTOR), enlarge(shadow, FACTOR), enlarge(haze, FACTOR))


def _displacement(scene: OpticalPass) -> tuple[float, float]:
    """Pixels (rows, columns) from a cloud to its shadow."""
    far = CLOUD_BASE_M / np.tan(np.radians(scene.sun_elevation_deg)) / 60.0
    azimuth = np.radians(scene.sun_azimuth_deg)
    return float(np.cos(azimuth) * far), float(-np.sin(azimuth) * far)


def _spot(
    coarse: Grid, lake: Lake, margin_m: float, moved: tuple[float, float], ragged_m: Array | float = 0.0
) -> Array:
    """1 over a lake and some metres around it, falling to 0 beyond, moved by (rows, columns)."""
    minx, miny, maxx, maxy = lake.union.bounds
    x, y = coarse.centres()
    x = x[None, :] - moved[1] * coarse.pixel_m
    y = y[:, None] + moved[0] * coarse.pixel_m
    dx = np.maximum(np.maximum(minx - x, x - maxx), 0)
    dy = np.maximum(np.maximum(miny - y, y - maxy), 0)
    distance = np.hypot(dx, dy).astype(np.float32)
    return np.asarray(1 - smoothstep(distance - ragged_m * (distance > 60), margin_m, margin_m + 300), np.float32)
