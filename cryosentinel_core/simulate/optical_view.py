"""What all bands of one simulated acquisition share: light, weather, snow and lake ice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cryosentinel_core.simulate.cover import Water
from cryosentinel_core.simulate.fields import Array, enlarge, make_generator, power_field, smoothstep
from cryosentinel_core.simulate.fronts import ice_beside
from cryosentinel_core.simulate.schedule import OpticalPass
from cryosentinel_core.simulate.shapes import window_of
from cryosentinel_core.simulate.weather import Sky, draw_sky
from cryosentinel_core.simulate.world import World

HIGH_LAKE_M = 3_050.0
"""Height in metres from which some lakes still carry ice early in July."""


@dataclass(frozen=True)
class Light:
    """How a scene is lit, on the ground's 10 m pixels: `direct` relative to level ground, `lit` share in sunlight."""

    direct: Array
    lit: Array


@dataclass(frozen=True)
class OpticalView:
    """Everything about one acquisition that its bands share."""

    scene: OpticalPass
    water: Water
    light: Light
    sky: Sky
    snow: Array
    ice: Array
    """Share of ice on each pixel of `water`."""
    glint: Array | None = None
    """Reflectance of glint on each pixel of `water`; None where there is none."""
    rain: Array | None = None
    """How wet the ground is, 0 to 1 `(H, W)`; None on dry dates."""


def view_of(world: World, scene: OpticalPass) -> OpticalView:
    """Light, weather, snow and lake ice of an acquisition."""
    relief, water = world.relief, world.waters[scene.when.year]
    facing = relief.facing(scene.sun_azimuth_deg, scene.sun_elevation_deg)
    lit = relief.lit(scene.sun_azimuth_deg, scene.sun_elevation_deg)
    # Level-2A corrects part of the topographic effect where the sun reaches.
    light = Light(np.minimum(1 + 0.7 * (facing - 1), 1.9), lit)
    sky = draw_sky(world.settings.seed, world.ground.grid, world.lakes, scene)
    return OpticalView(
        scene, water, light, sky, world.cover.snow(scene.snow_line_m), _lake_ice(world, scene, water),
        glint=_glint(world, scene, water), rain=_rain(world, scene),
    )  # fmt: skip


def _glint(world: World, scene: OpticalPass, water: Water) -> Array | None:
    """Glint on each water pixel: each lake has its share of the wind, and gusts are seen."""
    if scene.glint == 0:
        return None
    share = [
        make_generator(world.settings.seed, "glint", scene.when.isoformat(), lake.name).random() for lake in world.lakes
    ]
    gusts = make_generator(world.settings.seed, "gusts", scene.when.isoformat()).uniform(0.85, 1.15, water.index.size)
    lakes = np.array([*share, 0.5], np.float32)[water.lake]
    return np.asarray(scene.glint * lakes * gusts, np.float32)


def _rain(world: World, scene: OpticalPass) -> Array | None:
    """Where the ground is wet after rain or melt: patches of a kilometre or so."""
    if scene.rain == 0:
        return None
    coarse = world.ground.grid.coarser(6)
    rng = make_generator(world.settings.seed, "rain", scene.when.isoformat())
    field = power_field(rng, coarse.shape, coarse.pixel_m, 1_500.0, 1.6)
    return enlarge(smoothstep(field - np.quantile(field, 1 - scene.rain), -0.3, 0.3), 6)


def _lake_ice(world: World, scene: OpticalPass, water: Water) -> Array:
    """Share of ice on each water pixel: whole on frozen lakes, in floes on some high lakes early in July."""
    ice = np.zeros(water.index.shape, np.float32)
    early = scene.when.timetuple().tm_yday < 200
    for number, lake in enumerate(world.lakes):
        rng = make_generator(world.settings.seed, "ice", lake.name, scene.when.year)
        if lake.kind == "ice" and scene.when.year in lake.hidden_years:
            ice[water.lake == number] = 0.97
        elif lake.front is not None:
            ice[water.lake == number] = _melange(world, scene, water, number)
        elif early and lake.outlines[scene.when.year] and lake.level_m > HIGH_LAKE_M and rng.random() < 0.3:
            here = water.lake == number
            ice[here] = np.where(water.turbidity[here] > np.quantile(water.turbidity[here], 0.5), 0.9, 0.0)
    return ice


def _melange(world: World, scene: OpticalPass, water: Water, number: int) -> Array:
    """Ice on the pixels of a lake before a calving front: bergs and brash, thick at the front and gone 300 m from it."""
    lake, grid = world.lakes[number], world.ground.grid
    assert lake.front is not None
    here = water.index[water.lake == number]
    rows, columns = window_of(lake.union, grid, 40.0)
    window = grid.cut(rows, columns)
    front = ice_beside(lake.front, [polygon for _, polygon in lake.outlines[scene.when.year]], window) > 0.5
    rng = make_generator(world.settings.seed, "melange", scene.when.isoformat(), lake.name)
    share = world.settings.hardships.melange * rng.random()
    if share == 0 or not front.any():
        return np.zeros(here.shape, np.float32)
    distance = ndimage.distance_transform_edt(~front) * grid.pixel_m
    blocks = ndimage.gaussian_filter(rng.standard_normal(window.shape, dtype=np.float32), 1.2)
    near = np.exp(-distance / 120.0) * (distance < 300)
    row, column = np.divmod(here, grid.width)
    at = (row - rows.start, column - columns.start)
    score = (blocks / max(float(blocks.std()), 1e-6) + 3.0 * near)[at]
    count = int(share * here.size)
    chosen = np.zeros(here.shape, np.float32)
    chosen[np.argsort(-np.where(near[at] > 0, score, -np.inf), kind="stable")[:count]] = 0.9
    return np.where(near[at] > 0, chosen, np.float32(0.0)).astype(np.float32)
