"""The scene classification (SCL) of simulated scenes, with the errors that the real one makes in mountains."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from cryosentinel_core.simulate.fields import Array, block_mean, enlarge, make_generator, power_field
from cryosentinel_core.simulate.optical_view import OpticalView
from cryosentinel_core.simulate.projection import Projector
from cryosentinel_core.simulate.world import World

DARK, SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED, CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS, SNOW = range(2, 12)

CLOUD_CLASSES: Final = (CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS)
"""Classes that count towards `eo:cloud_cover`."""


def classify(world: World, view: OpticalView, projector: Projector) -> npt.NDArray[np.uint8]:
    """Classes `(H, W)` uint8 on a granule's 20 m pixels, nodata not yet cut out.

    Errors made: thin cloud edges missed, cloud shadow missed in patches, terrain shadow taken for water or for cloud
    shadow, bright turbid lakes for cloud, dark lakes for shadow, shores for anything, bright snow for cloud.
    """
    settings = world.settings
    coarse_shape = (world.ground.grid.height // 6, world.ground.grid.width // 6)
    rng = make_generator(settings.seed, "scl", view.scene.name)
    patches = enlarge(power_field(rng, coarse_shape, 60.0, 500.0, 0.9), 3)
    lit = block_mean(view.light.lit, 2)
    cloud, shadow = block_mean(view.sky.cloud, 2), block_mean(view.sky.shadow, 2)
    white = np.maximum(block_mean(view.snow, 2), block_mean(world.cover.glacier, 2))
    labels = np.full(lit.shape, BARE, np.uint8)
    labels[block_mean(world.cover.grass, 2) > 0.45] = VEGETATION
    labels[white > 0.45] = SNOW
    labels[(white > 0.9) & (patches > 2.3)] = CLOUD_MEDIUM
    dark = (lit < 0.35) & (white < 0.6)
    labels[dark] = np.where(patches > 0.75, WATER, np.where(patches < -0.9, SHADOW, DARK))[dark]
    _classify_water(world, view, labels, patches)
    labels[(shadow > 0.3) & (patches > -1.1) & (labels != SNOW)] = SHADOW
    if view.scene.haze > 0.03:
        labels[(block_mean(view.sky.haze, 2) > 0.85) & (labels != WATER)] = CIRRUS
    labels[cloud > 0.16] = CLOUD_MEDIUM
    labels[cloud > 0.5] = CLOUD_HIGH
    return _to_granule(labels, projector)


def _classify_water(world: World, view: OpticalView, labels: npt.NDArray[np.uint8], patches: Array) -> None:
    """Label lakes in place: mostly water, but each lake on each date may be mistaken as a whole or in part.

    One of the year's two clearest dates is right about each lake, so that every lake can be found with patience.
    """
    water, rate = view.water, world.settings.scl_errors
    if not water.index.size:
        return
    share = np.zeros(world.ground.grid.shape, np.float32)
    ice = np.zeros_like(share)
    share.reshape(-1)[water.index] = water.fraction
    ice.reshape(-1)[water.index] = water.fraction * view.ice
    number = np.full(labels.shape, -1, np.int32)
    rows, columns = np.divmod(water.index, world.ground.grid.width)
    number[rows // 2, columns // 2] = water.lake
    share, ice = block_mean(share, 2), block_mean(ice, 2)
    for at, lake in enumerate(world.lakes):
        here = (number == at) & (share > 0.5)
        if not here.any():
            continue
        rng = make_generator(world.settings.seed, "scl", view.scene.name, lake.name)
        mistake, draw = WATER, rng.random()
        if lake.turbidity > 0.6 and draw < 0.28 * rate:
            mistake = CLOUD_MEDIUM
        elif lake.turbidity < 0.3 and draw < 0.15 * rate:
            mistake = SHADOW if rng.random() < 0.5 else DARK
        spared = make_generator(world.settings.seed, "spared", lake.name, view.scene.when.year).integers(2)
        if view.scene.clear_rank == spared:
            mistake = WATER
        part = patches > (-0.6 if rng.random() < 0.5 else 0.6)
        labels[here] = WATER
        labels[here & part] = mistake
    shore = (share > 0.15) & (share <= 0.5)
    labels[shore] = np.where(patches > 0.4, UNCLASSIFIED, labels)[shore]
    labels[(ice > 0.4) & (share > 0.5)] = SNOW


def _to_granule(labels: npt.NDArray[np.uint8], projector: Projector) -> npt.NDArray[np.uint8]:
    ground, grid = projector.ground.coarser(2), projector.grid.coarser(2)
    x, y = projector.ground_coordinates(grid)
    rows = np.clip(((ground.top - y) // ground.pixel_m).astype(np.intp), 0, ground.height - 1)
    columns = np.clip(((x - ground.left) // ground.pixel_m).astype(np.intp), 0, ground.width - 1)
    return labels[rows, columns]
