"""What all bands of one simulated acquisition share: light, weather, snow and lake ice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryosentinel_core.simulate.cover import Water
from cryosentinel_core.simulate.fields import Array, make_generator
from cryosentinel_core.simulate.schedule import OpticalPass
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


def view_of(world: World, scene: OpticalPass) -> OpticalView:
    """Light, weather, snow and lake ice of an acquisition."""
    relief, water = world.relief, world.waters[scene.when.year]
    facing = relief.facing(scene.sun_azimuth_deg, scene.sun_elevation_deg)
    lit = relief.lit(scene.sun_azimuth_deg, scene.sun_elevation_deg)
    # Level-2A corrects part of the topographic effect where the sun reaches.
    light = Light(np.minimum(1 + 0.7 * (facing - 1), 1.9), lit)
    sky = draw_sky(world.settings.seed, world.ground.grid, world.lakes, scene)
    return OpticalView(scene, water, light, sky, world.cover.snow(scene.snow_line_m), _lake_ice(world, scene, water))


def _lake_ice(world: World, scene: OpticalPass, water: Water) -> Array:
    """Share of ice on each water pixel: whole on frozen lakes, in floes on some high lakes early in July."""
    ice = np.zeros(water.index.shape, np.float32)
    early = scene.when.timetuple().tm_yday < 200
    for number, lake in enumerate(world.lakes):
        rng = make_generator(world.settings.seed, "ice", lake.name, scene.when.year)
        if lake.kind == "ice" and scene.when.year in lake.hidden_years:
            ice[water.lake == number] = 0.97
        elif early and lake.outlines[scene.when.year] and lake.level_m > HIGH_LAKE_M and rng.random() < 0.3:
            here = water.lake == number
            ice[here] = np.where(water.turbidity[here] > np.quantile(water.turbidity[here], 0.5), 0.9, 0.0)
    return ice
