"""One tile from scenes to stack: the job that threads and clusters run.

load (native pixels -> lattice) -> classify each date -> composite -> write. Band after band, so that each asset is read once and
memory is bounded by a tile and its dates, never by the area. A scene that cannot be read is left out whole and named, and the
tile is marked partial. Neighbours: `io.scene_bands` reads, `scenes.stack_assembly` decides what becomes of what was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryosentinel_core.ground.lattice import Cell, Grid, Tile, hull_of_cells
from cryosentinel_core.ground.season import days_of_date
from cryosentinel_core.io.catalogs.signing import TokenSigner
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.stack_files import write_stack_tile
from cryosentinel_core.io.scene_bands import (
    TileReading,
    UnreadableScene,
    read_band,
    read_bands,
    read_power,
    read_terrain,
)
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.scenes.composite import HALO_PX, PixelPlan, Spectrum, classify_dates
from cryosentinel_core.scenes.providers import PLANETARY_COMPUTER, SCL
from cryosentinel_core.scenes.radiometry import JUDGED_BANDS, judge_floors
from cryosentinel_core.scenes.relief import Relief
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import group_overpasses
from cryosentinel_core.scenes.stack_assembly import (
    OverpassFlags,
    RadarMean,
    clear_other_cells,
    drop_incomplete,
    empty_bands,
    floor_of_plane,
    mark_shadows,
    median_in_strips,
    plan_in_strips,
    share_without_heights,
    stack_radar,
)
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.stack.stack import Stack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RADAR_HALO_PX: Final = 2
"""What the 5 x 5 speckle filter reaches."""

KEPT_PIXELS: Final = 80_000_000
"""Bands that judging a date needs are kept for the composite while their pixels number no more than this (2 bytes each)."""

_JUDGED: Final = ("B02", "B03", "B08", "B11")
"""Bands by which a date is classified, in the order of `composite.Spectrum`."""


@dataclass(frozen=True, kw_only=True)
class StackJob:
    """Job that makes one tile of a stack: all that decides it.

    Attributes:
        folder: The year's stack.
        tile: Names the tile.
        cells: Its needed cells; the files cover their hull, other cells in it are nodata.
        recipe: How to make it.
        optical: Chosen Sentinel-2 scenes.
        radar: Chosen Sentinel-1 scenes.
        terrain: DEM tiles within reach of shadows.
        unanswered: Roles that no catalogue could be asked for: the tile is partial until one answers.
        attempts: Times that a read is tried.
        wait_s: Seconds before the second attempt.
    """

    folder: Path
    tile: Tile
    cells: tuple[Cell, ...]
    recipe: Recipe
    optical: tuple[Scene, ...]
    radar: tuple[Scene, ...]
    terrain: tuple[Scene, ...]
    unanswered: tuple[Role, ...] = ()
    attempts: int = 4
    wait_s: float = 1.0

    @property
    def grid(self) -> Grid:
        """The hull of the needed cells."""
        return hull_of_cells(self.cells)

    def provenance(self, missing: Sequence[str] = (), warnings: Sequence[str] = ()) -> Provenance:
        """Provenance of the tile: what it is made from.

        Args:
            missing: Keys of planned scenes that are not in.
            warnings: What a reader should know.
        """
        roles = {"optical": self.optical, "radar": self.radar, "terrain": self.terrain}
        return Provenance(
            kind="stack tile",
            settings={"recipe": self.recipe.as_dict()},
            inputs={
                "items": {role: {one.key: dict(one.hrefs) for one in scenes} for role, scenes in roles.items()},
                "cells": [[cell.row, cell.col] for cell in self.cells],
                "missing": sorted(missing),
                **({"unanswered": sorted(self.unanswered)} if self.unanswered else {}),
            },
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, kw_only=True)
class StackOutcome:
    """Outcome of a job: what was left out, and what a reader should know.

    Attributes:
        tile: The tile.
        missing: Key of a planned scene that could not be read -> why.
        warnings: What a reader should know.
        n_bytes: Read from archives, uncompressed.
    """

    tile: Tile
    missing: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    n_bytes: int = 0


def make_stack_tile(job: StackJob) -> StackOutcome:
    """Read, composite and write one tile; scenes that cannot be read are left out and named.

    Raises:
        OutputWrite: If the disk refuses.
    """
    signer = TokenSigner(PLANETARY_COMPUTER.token_api or "", attempts=job.attempts, wait_s=job.wait_s)
    access = Access(signer=signer, attempts=job.attempts, wait_s=job.wait_s)
    missing: dict[str, str] = {}
    while True:
        reading = TileReading(access=access, notes=[])
        try:
            stack = _build(job, reading, missing)
            break
        except UnreadableScene as error:
            missing[error.scene.key] = error.reason
    warnings = tuple(
        dict.fromkeys([*reading.notes, *(f"left out {key}: {why}" for key, why in sorted(missing.items()))])
    )
    write_stack_tile(
        job.folder,
        job.tile,
        stack,
        job.provenance(tuple(missing), warnings),
        {
            "partial": bool(missing) or bool(job.unanswered) or not job.optical,
            "radar_used": stack.s1 is not None,
            "has_data": bool(stack.s2.any()),
            "missing": missing,
        },
    )
    return StackOutcome(tile=job.tile, missing=missing, warnings=warnings, n_bytes=reading.n_bytes)


def _build(job: StackJob, reading: TileReading, missing: dict[str, str]) -> Stack:
    """The tile's stack from the scenes that can be read."""
    terrain, optical, radar = (
        [scene for scene in scenes if scene.key not in missing] for scenes in (job.terrain, job.optical, job.radar)
    )
    relief = read_terrain(terrain, job.grid, reading)
    s2, plan = _composite(job, optical, relief, reading)
    s1 = None if job.recipe.radar == "none" else _mean_radar(job, radar, reading)
    stack = Stack(
        grid=job.grid,
        s2=s2,
        s1=s1,
        dem=relief.fine,
        counts=plan.counts,
        condition=plan.condition,
        dates=plan.dates,
    )
    holes = share_without_heights(stack, job.cells)
    if holes > 0:
        reading.notes.append(f"no terrain heights on {holes:.1%} of the tile: those pixels cannot be judged")
    clear_other_cells(stack, job.cells)
    return stack


def _composite(
    job: StackJob, scenes: Sequence[Scene], relief: Relief, reading: TileReading
) -> tuple[NDArray[np.uint16], PixelPlan]:
    """The optical part: dates classified, then band after band."""
    grid = job.grid
    halo = grid.grown(HALO_PX)
    inner = grid.slices_in(halo)
    overpasses = group_overpasses(scenes, job.tile.lattice_tile)
    keep = len(scenes) * len(_JUDGED) * grid.height * grid.width <= KEPT_PIXELS
    kept: dict[tuple[str, str], NDArray[np.uint16]] = {}
    flags, suppliers = [], []
    for overpass in overpasses:
        own = _flag_overpass(overpass, halo, inner, kept if keep else None, reading)
        flags.append(own.flags)
        suppliers.append(own.supplier[inner].copy() if len(overpass) > 1 else None)
    classes = classify_dates(flags, inner)
    del flags
    mark_shadows(classes, overpasses, relief.coarse, grid, job.tile.lattice_tile.grid)
    days = [days_of_date(overpass[0].date) for overpass in overpasses]
    plan = plan_in_strips(classes, days, best_only=job.recipe.composite == "best")
    del classes
    s2 = empty_bands(len(S2_NAMES), grid)
    floors: list[dict[str, tuple[float, float]]] = [{} for _ in overpasses]
    for index, band in enumerate(S2_NAMES):
        planes = read_band(overpasses, suppliers, band, grid, kept, reading)
        if band in JUDGED_BANDS:
            for found, plane in zip(floors, planes, strict=True):
                found[band] = floor_of_plane(plane)
        s2[index] = median_in_strips(planes, plan.used)
    for overpass, found in zip(overpasses, floors, strict=True):
        if overpass[0].product and found and judge_floors(found).is_suspect:
            reading.notes.append(f"{overpass[0].key}: {judge_floors(found).message}")
    drop_incomplete(s2, plan)
    return s2, plan


def _flag_overpass(
    overpass: tuple[Scene, ...],
    halo: Grid,
    inner: tuple[slice, slice],
    kept: dict[tuple[str, str], NDArray[np.uint16]] | None,
    reading: TileReading,
) -> OverpassFlags:
    """Flags of one overpass; the bands read for them are kept, if there is a place."""
    flags = OverpassFlags.empty(halo)
    for number, scene in enumerate(overpass):
        scl, *bands = read_bands(scene, (SCL, *_JUDGED), halo, reading)
        blue, green, nir, swir = bands
        flags.add(number, scl, Spectrum(blue=blue, green=green, nir=nir, swir=swir))
        if kept is not None:
            kept.update({(scene.key, band): plane[inner].copy() for band, plane in zip(_JUDGED, bands, strict=True)})
    return flags


def _mean_radar(job: StackJob, scenes: Sequence[Scene], reading: TileReading) -> NDArray[np.float32] | None:
    """(2, H, W) dB: the mean over overpasses of filtered linear power; None if there are no scenes."""
    overpasses = group_overpasses(scenes, job.tile.lattice_tile)
    if not overpasses:
        could_ask = "radar" not in job.unanswered
        reading.notes.append(
            "no radar scene: this tile has no radar"
            if could_ask
            else "radar could not be asked for: this tile has none"
        )
        return None
    halo = job.grid.grown(RADAR_HALO_PX)
    bands = []
    for band in S1_NAMES:
        mean = RadarMean(halo, job.grid, job.recipe.radar_filter)
        for overpass in overpasses:
            mean.add(read_power(overpass, band, halo, reading))
        bands.append(mean.in_decibel())
    return stack_radar(bands)
