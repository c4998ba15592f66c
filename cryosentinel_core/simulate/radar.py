"""Sentinel-1 scenes of the simulated ground: radiometrically terrain-corrected gamma nought, linear, VV and VH."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from cryosentinel_core.simulate.cover import Water
from cryosentinel_core.simulate.fields import Array, blur_and_shift, make_generator
from cryosentinel_core.simulate.projection import Projector
from cryosentinel_core.simulate.schedule import RadarPass
from cryosentinel_core.simulate.spectra import gamma0_of
from cryosentinel_core.simulate.world import World

POLARISATIONS: Final = ("vv", "vh")
"""Asset keys of the two polarisations, in order."""

NODATA: Final = -32768.0
"""Stored where a swath does not reach."""

_KEPT_BITS: Final = np.uint32(0xFFFF8000)


def render_radar(world: World, scene: RadarPass) -> Iterator[tuple[str, Array]]:
    """The polarisations of a scene on the area's 10 m grid.

    Yields:
        Asset key and linear gamma nought float32 `(H, W)`, > 0, `NODATA` where the swath does not reach. The last 15
        bits of the mantissa are zero (relative step 0.4 %, far below the speckle), so that files stay small.
    """
    core = Projector(world.ground.grid, world.ground.core)
    for number, key in enumerate(POLARISATIONS):
        value = core.project(gamma0_in(world, scene, number))
        value = blur_and_shift(value, 0.5, (-scene.shift_m[1] / 10, scene.shift_m[0] / 10))
        value *= world.noise.speckle(value.shape, scene.name, key)
        value = ((np.maximum(value, 1e-5)).view(np.uint32) & _KEPT_BITS).view(np.float32)
        if scene.edge is not None:
            a, b, c = scene.edge
            x, y = core.ground_coordinates(core.grid)
            value[a * x + b * y > c] = NODATA
        yield key, value


def gamma0_in(world: World, scene: RadarPass, number: int) -> Array:
    """Linear gamma nought of a polarisation (0 VV, 1 VH) on the ground's 10 m pixels `(H, W)`, without speckle.

    Terrain flattening has removed the slopes' effect but for layover, which stays bright, and radar shadow, which is
    noise as dark as calm water. Summer snow is wet and dark; wind makes water as bright as rock.
    """
    levels = {name: np.float32(gamma0_of(name)[number]) for name in ("wet snow", "sand", "noise")}
    value = world.cover.gamma0[number].copy()
    snow = world.cover.snow(scene.snow_line_m)
    value += snow * (levels["wet snow"] - value)
    water = world.waters[scene.when.year]
    flat = value.reshape(-1)
    ice = world.ice.get(scene.when.year)
    if ice is not None and ice.index.size:
        bare, debris = (np.float32(gamma0_of(name)[number]) for name in ("glacier", "debris"))
        flat[ice.index] += ice.share * (bare + ice.debris * (debris - bare) - flat[ice.index])
    if water.shore_index.size:
        flat[water.shore_index] += water.bed * (levels["sand"] - flat[water.shore_index])
    if water.index.size:
        flat[water.index] += water.fraction * (_water_gamma0(world, scene, water, number) - flat[water.index])
    view = world.radar_views[scene.orbit_state]
    value *= 1 + 2.5 * view.layover
    value += view.shadow * (levels["noise"] - value)
    return np.asarray(value, np.float32)


def _water_gamma0(world: World, scene: RadarPass, water: Water, number: int) -> Array:
    """Gamma nought in each water pixel: calm or roughened by each lake's share of the wind, or lake ice."""
    calm, rough, ice = (gamma0_of(name)[number] for name in ("calm water", "rough water", "lake ice"))
    value = np.full(water.index.shape, calm, np.float32)
    for at, lake in enumerate(world.lakes):
        here = water.lake == at
        rng = make_generator(world.settings.seed, "wind", scene.name, lake.name)
        wind = np.clip(scene.wind * rng.uniform(0.5, 1.2), 0, 1)
        value[here] = 10 ** (np.log10(calm) + wind * (np.log10(rough) - np.log10(calm)))
        if lake.kind == "ice" and scene.when.year in lake.hidden_years:
            value[here] = ice
    return value
