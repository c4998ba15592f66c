"""Assets of scenes on a tile's grid: read, rid of the offset, counted; what cannot be read is named.

Neighbours: `io.rasters.source` reads one asset; `workflows.stacking` has what comes from here composited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.elevation import read_relief
from cryosentinel_core.io.rasters.source import read_on_grid
from cryosentinel_core.scenes.items import is_remote
from cryosentinel_core.scenes.providers import SCL
from cryosentinel_core.scenes.radiometry import remove_offset
from cryosentinel_core.scenes.relief import Relief
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.stack_assembly import fuse_scenes
from cryosentinel_core.scenes.terrain import SHADOW_STEP, halo_of_shadow

REMOTE_READS: Final = 4
"""Assets read side by side for one tile where they come over a network."""


class UnreadableScene(Exception):
    """A scene that must be left out, with the reason."""

    def __init__(self, scene: Scene, reason: str) -> None:
        super().__init__(f"{scene.key}: {reason}")
        self.scene = scene
        self.reason = reason


@dataclass
class TileReading:
    """State of the reading of one tile: how to reach assets, what was noticed, how much was read."""

    access: Access
    notes: list[str]
    n_bytes: int = 0


def read_terrain(scenes: Sequence[Scene], grid: Grid, reading: TileReading) -> Relief:
    """Heights of the tile and around it; if a tile of the DEM cannot be read, that one is named."""
    outer = halo_of_shadow(grid)
    try:
        relief = read_relief(scenes, grid, outer, SHADOW_STEP, reading.access)
    except RasterError as error:
        for scene in scenes:
            try:
                read_relief([scene], grid, outer, SHADOW_STEP, reading.access)
            except RasterError as again:
                raise UnreadableScene(scene, again.message) from again
        raise UnreadableScene(scenes[0], error.message) from error
    reading.n_bytes += relief.n_bytes
    return relief


def read_bands(scene: Scene, bands: Sequence[str], grid: Grid, reading: TileReading) -> list[Any]:
    """Some bands of one scene; see `read_many`."""
    return read_many([(scene, band) for band in bands], grid, reading)


def read_many(wanted: Sequence[tuple[Scene, str]], grid: Grid, reading: TileReading) -> list[Any]:
    """Bands of scenes on a grid without offset, 0 = nodata; side by side where they come over a network."""

    def read(one: tuple[Scene, str]) -> tuple[Any, int, int]:
        scene, band = one
        try:
            found = read_on_grid(
                scene.hrefs[band], grid, nearest=band == SCL, access=reading.access, footprint=scene.footprint
            )
        except RasterError as error:
            raise UnreadableScene(scene, error.message) from error
        values = found.values if band == SCL else remove_offset(found.values, scene.offset)
        return values, found.n_bytes, found.blank

    loaded = _side_by_side(read, wanted, any(is_remote(scene.hrefs[band]) for scene, band in wanted))
    for (scene, band), (_, n_bytes, blank) in zip(wanted, loaded, strict=True):
        reading.n_bytes += n_bytes
        if blank:
            reading.notes.append(f"{scene.key}: {band} has no data in {blank} blocks that its footprint promises")
    return [values for values, _, _ in loaded]


def _side_by_side(read: Callable[[Any], Any], wanted: Sequence[Any], is_far: bool) -> list[Any]:
    if not is_far or len(wanted) < 2:
        return [read(one) for one in wanted]
    with ThreadPoolExecutor(max_workers=REMOTE_READS) as pool:
        return list(pool.map(read, wanted))


def read_band(
    overpasses: Sequence[tuple[Scene, ...]],
    suppliers: Sequence[NDArray[np.uint8] | None],
    band: str,
    grid: Grid,
    kept: dict[tuple[str, str], NDArray[np.uint16]],
    reading: TileReading,
) -> list[NDArray[np.uint16]]:
    """One band of all overpasses, each pixel from the scene that supplies its overpass there."""
    wanted = [scene for overpass in overpasses for scene in overpass]
    missing = [(scene, band) for scene in wanted if (scene.key, band) not in kept]
    fresh = {scene.key: numbers for (scene, _), numbers in zip(missing, read_many(missing, grid, reading), strict=True)}
    planes = []
    for overpass, supplier in zip(overpasses, suppliers, strict=True):
        parts = [kept.pop((one.key, band)) if (one.key, band) in kept else fresh.pop(one.key) for one in overpass]
        planes.append(fuse_scenes(parts, supplier))
    return planes


def read_power(overpass: tuple[Scene, ...], band: str, halo: Grid, reading: TileReading) -> NDArray[np.float32]:
    """Linear power of one overpass, NaN = nodata; the first scene with data supplies a pixel."""
    power = np.full(halo.shape, np.nan, dtype=np.float32)
    for scene in overpass:
        try:
            one = read_on_grid(scene.hrefs[band], halo, above=0, access=reading.access)
        except RasterError as error:
            raise UnreadableScene(scene, error.message) from error
        reading.n_bytes += one.n_bytes
        np.copyto(power, one.values.astype(np.float32), where=one.valid & np.isnan(power))
    return power
