"""The simulated ground as a whole: what scenes are views of."""

from __future__ import annotations

from dataclasses import dataclass

from cryosentinel_core.simulate.cover import Cover, Water, draw_cover, draw_water
from cryosentinel_core.simulate.grids import Ground, build_ground
from cryosentinel_core.simulate.lakes import Lake, plan_lakes
from cryosentinel_core.simulate.light import COARSE, RadarView, Relief
from cryosentinel_core.simulate.noise import NoisePool
from cryosentinel_core.simulate.overlays import IceOverlay, draw_ice, draw_rivers
from cryosentinel_core.simulate.schedule import LOOK_AZIMUTH_DEG, OrbitState
from cryosentinel_core.simulate.settings import SimulateSettings
from cryosentinel_core.simulate.terrain import draw_heights, mould_basins, refine_heights


@dataclass(frozen=True)
class World:
    """Ground, relief, cover, lakes and each year's water; made once, only read afterwards."""

    settings: SimulateSettings
    ground: Ground
    lakes: tuple[Lake, ...]
    relief: Relief
    cover: Cover
    waters: dict[int, Water]
    radar_views: dict[OrbitState, RadarView]
    noise: NoisePool
    ice: dict[int, IceOverlay]
    """Tongues that end in lakes, by year; empty where there are none."""


def build_world(settings: SimulateSettings) -> World:
    """The world of a simulation."""
    ground = build_ground(settings)
    grid = ground.grid
    coarse = draw_heights(settings.seed, grid)
    lakes = plan_lakes(settings, ground, coarse, grid.pixel_m * COARSE)
    heights = mould_basins(refine_heights(settings.seed, coarse), grid, lakes, settings.seed)
    relief = Relief(heights, grid.pixel_m)
    cover = draw_cover(settings.seed, grid, relief)
    hardships = settings.hardships
    n_rivers = round(hardships.rivers * (settings.size_km / 12.0) ** 2)
    rivers = draw_rivers(settings.seed, grid, heights, lakes, n_rivers) if n_rivers else ()
    waters = {year: draw_water(settings.seed, grid, lakes, year, rivers) for year in settings.years}
    has_ice = any(lake.front is not None for lake in lakes)
    ice = {year: draw_ice(settings.seed, grid, lakes, year) for year in settings.years} if has_ice else {}
    views = {state: RadarView.of(relief, azimuth) for state, azimuth in LOOK_AZIMUTH_DEG.items()}
    noise = NoisePool(settings.seed, grid.shape, settings.speckle_looks)
    return World(settings, ground, lakes, relief, cover, waters, views if settings.radar_dates else {}, noise, ice)
