"""Sentinel-2 Level-2A scenes of the simulated ground: reflectance as light, weather and instrument leave it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cryosentinel_core.simulate.classification import classify
from cryosentinel_core.simulate.fields import Array, block_mean, blur_and_shift, make_generator
from cryosentinel_core.simulate.grids import Grid
from cryosentinel_core.simulate.optical_view import OpticalView
from cryosentinel_core.simulate.projection import Projector
from cryosentinel_core.simulate.schedule import Edge, OpticalPass
from cryosentinel_core.simulate.spectra import BANDS, RESOLUTION_M, diffuse_share, reflectance_of, wet_loss
from cryosentinel_core.simulate.world import World

SCL = "SCL"
"""Name of the scene classification in `render_optical`'s answer."""

PSF_SIGMA: dict[int, float] = {10: 0.42, 20: 0.33, 60: 0.25}
"""Blur of each native resolution in its own pixels (about the modulation transfer of Sentinel-2's instrument)."""


CIRRUS_SHARE: dict[str, float] = {"B09": 0.3, "B11": 0.8, "B12": 0.6}
"""Cirrus in a band relative to the visible ones, where that is not 1: ice crystals absorb, and so does vapour."""


def render_optical(
    world: World, view: OpticalView, projector: Projector
) -> Iterator[tuple[str, npt.NDArray[np.uint16]]]:
    """The bands of a scene on a granule's grid, then its classification (as uint8).

    Yields:
        Band name and stored numbers `(H, W)` at the band's native resolution; 0 is nodata.
    """
    grid = projector.grid
    inside = _inside(view.scene.edge, projector)
    for band in BANDS:
        factor = RESOLUTION_M[band] // int(grid.pixel_m)
        reflectance = block_mean(projector.project(reflectance_in(world, view, band)), factor)
        yield band, _measure(world, view.scene, grid.coarser(factor), band, reflectance, inside)
    labels = classify(world, view, projector)
    labels[~inside(grid.coarser(2), 0.0)] = 0
    yield SCL, labels  # type: ignore[misc]


def reflectance_in(world: World, view: OpticalView, band: str) -> Array:
    """Surface reflectance in a band on the ground's 10 m pixels `(H, W)`, before the instrument."""
    light, sky, water = view.light, view.sky, view.water
    diffuse = np.float32(diffuse_share(band) * world.settings.hardships.sky_light)
    ground = world.cover.land[BANDS.index(band)] * np.float32(1e-4)
    flat = ground.reshape(-1)
    if water.shore_index.size:
        dry = flat[water.shore_index] * (1 - water.bed) + water.bed * np.float32(reflectance_of("sand", band))
        flat[water.shore_index] = dry * (1 - water.wetness * np.float32(wet_loss(band)))
    if view.rain is not None:
        ground *= 1 - view.rain * np.float32(wet_loss(band))
    _cover_with_ice(world, view, band, flat)
    ground += view.snow * (np.float32(reflectance_of("snow", band)) - ground)
    ground *= light.direct * light.lit * (1 - diffuse) + diffuse
    if water.index.size:
        level = light.lit.reshape(-1)[water.index] * (1 - diffuse) + diffuse
        flat[water.index] += water.fraction * (water_reflectance(view, band) * level - flat[water.index])
    ground *= 1 - sky.shadow * (1 - min(1.0, 2.2 * float(diffuse)))
    ground += sky.cloud * (np.float32(reflectance_of("cloud", band)) - ground)
    if view.scene.cirrus:
        ground += sky.haze * np.float32(view.scene.cirrus * CIRRUS_SHARE.get(band, 1.0))
    if view.scene.haze:
        ground += sky.haze * np.float32(view.scene.haze * (0.4 + 1.6 * float(diffuse)))
    return np.asarray(ground * np.float32(view.scene.gain), np.float32)


def _cover_with_ice(world: World, view: OpticalView, band: str, flat: Array) -> None:
    """Put the year's tongues, bare or under debris, on reflectance in flat order, in place."""
    ice = world.ice.get(view.scene.when.year)
    if ice is not None and ice.index.size:
        bare, debris = (np.float32(reflectance_of(name, band)) for name in ("glacier", "debris"))
        flat[ice.index] += ice.share * (bare + ice.debris * (debris - bare) - flat[ice.index])


def water_reflectance(view: OpticalView, band: str) -> Array:
    """Reflectance in a band of the water (or of the ice on it) in each of the year's water pixels."""
    water = view.water
    clear, milky = (np.float32(reflectance_of(name, band)) for name in ("clear water", "turbid water"))
    value = clear + water.turbidity**1.3 * (milky - clear)
    if water.white is not None:
        value = value + water.white * (np.float32(reflectance_of("white water", band)) - value)
    if water.dark is not None:
        value = value + water.dark * (np.float32(reflectance_of("black water", band)) - value)
    if band in ("B01", "B02", "B03", "B04"):
        bottom = 0.30 * np.exp(-water.shore_m / 14.0) * (1 - water.turbidity)
        value = value + bottom * np.float32(0.5 * reflectance_of("debris", band))
    if view.glint is not None:
        value = value + view.glint
    return np.asarray(value + view.ice * (np.float32(reflectance_of("lake ice", band)) - value), np.float32)


class _Inside:
    """Which pixels of a grid a swath reaches, its edge a little different in each band."""

    def __init__(self, edge: Edge | None, projector: Projector) -> None:
        self.edge = edge
        self.projector = projector

    def __call__(self, grid: Grid, stagger_m: float) -> npt.NDArray[np.bool_]:
        if self.edge is None:
            return np.ones(grid.shape, bool)
        a, b, c = self.edge
        x, y = self.projector.ground_coordinates(grid)
        return np.asarray(a * x + b * y <= c + stagger_m)


def _inside(edge: Edge | None, projector: Projector) -> _Inside:
    return _Inside(edge, projector)


def _measure(
    world: World, scene: OpticalPass, grid: Grid, band: str, reflectance: Array, inside: _Inside
) -> npt.NDArray[np.uint16]:
    """Stored numbers of a band: blurred, shifted, noisy, offset by baseline, 0 where the swath does not reach."""
    pixel = int(grid.pixel_m)
    east, north = scene.shift_m
    seen = blur_and_shift(reflectance, PSF_SIGMA[pixel], (-north / pixel, east / pixel))
    seen *= np.float32(1e4)
    rng = make_generator(world.settings.seed, "noise", scene.name, band, grid.epsg, grid.left, grid.top)
    if world.settings.noise > 0:
        spread = np.abs(seen)
        spread *= np.float32(0.008 * world.settings.noise)
        spread += np.float32(7.0 * world.settings.noise)
        spread *= world.noise.normal(grid.shape, scene.name, band, grid.epsg, grid.left, grid.top)
        seen += spread
    seen += np.float32(scene.offset + 0.5)
    stored = np.clip(seen, 1, 32_000).astype(np.uint16)
    if scene.edge is not None:
        stored[~inside(grid, float(rng.uniform(-45, 45)))] = 0
    return stored
