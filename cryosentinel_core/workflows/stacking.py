"""One tile from scenes to stack: the job that threads and clusters run.

load (native pixels -> lattice) -> judge each date -> composite -> write. Band after band, so that each asset is read once and
memory is bounded by a tile and its dates, never by the area. A scene that cannot be read is left out whole and named, and the
tile is marked partial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.ground.lattice import Cell, Grid, Tile, hull_of_cells, mask_of_cells
from cryosentinel_core.ground.season import days_of_date
from cryosentinel_core.io.catalogs.signing import TokenSigner
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.elevation import Relief
from cryosentinel_core.io.rasters.stack_files import write_stack_tile
from cryosentinel_core.io.scene_bands import Reading, Unreadable, read_band, read_bands, read_power, read_terrain
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.scenes.composite import (
    HALO_PX,
    Judgement,
    Seen,
    Spectrum,
    Verdict,
    classify_dates,
    flag_date,
    judge_pixels,
    median_of_dates,
)
from cryosentinel_core.scenes.providers import PLANETARY_COMPUTER, SCL
from cryosentinel_core.scenes.radiometry import JUDGED_BANDS, filter_lee, floor_of_band, judge_floors, to_decibel
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.selection import group_overpasses
from cryosentinel_core.scenes.terrain import cast_shadow, grid_azimuth, halo_of_shadow
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES
from cryosentinel_core.stack.recipe import Recipe
from cryosentinel_core.stack.stack import COUNT_NAMES, DATE_NAMES, Condition, Stack
from cryosentinel_core.units import CELL_PX

RADAR_HALO_PX: Final = 2
"""What the 5 x 5 speckle filter reaches."""

KEPT_PIXELS: Final = 80_000_000
"""Bands that judging a date needs are kept for the composite while their pixels number no more than this (2 bytes each)."""

_JUDGED: Final = ("B02", "B03", "B08", "B11")


@dataclass(frozen=True, kw_only=True)
class StackJob:
    """All that decides one tile of a stack.

    Attributes:
        folder: The year's stack.
        tile: Names the tile.
        cells: Its needed cells; the files cover their hull, other cells in it are nodata.
        recipe: How to make it.
        optical: Chosen Sentinel-2 scenes.
        radar: Chosen Sentinel-1 scenes.
        terrain: DEM tiles within reach of shadows.
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
    attempts: int = 4
    wait_s: float = 1.0

    @property
    def grid(self) -> Grid:
        """The hull of the needed cells."""
        return hull_of_cells(self.cells)

    def provenance(self, missing: Sequence[str] = (), warnings: Sequence[str] = ()) -> Provenance:
        """What the tile is made from.

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
            },
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, kw_only=True)
class StackOutcome:
    """What became of a job.

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
        reading = Reading(access=access, notes=[])
        try:
            stack = _build(job, reading, missing)
            break
        except Unreadable as error:
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
            "partial": bool(missing) or not job.optical,
            "radar_used": stack.s1 is not None,
            "has_data": bool(stack.s2.any()),
            "missing": missing,
        },
    )
    return StackOutcome(tile=job.tile, missing=missing, warnings=warnings, n_bytes=reading.n_bytes)


def _build(job: StackJob, reading: Reading, missing: dict[str, str]) -> Stack:
    """The tile's stack from the scenes that can be read."""
    grid = job.grid
    terrain = [scene for scene in job.terrain if scene.key not in missing]
    optical = [scene for scene in job.optical if scene.key not in missing]
    radar = [scene for scene in job.radar if scene.key not in missing]
    relief = read_terrain(terrain, grid, reading)
    s2, verdict = _composite(job, optical, relief, reading)
    s1 = None if job.recipe.radar == "none" else _mean_radar(job, radar, reading)
    return _only_cells(
        Stack(
            grid=grid,
            s2=s2,
            s1=s1,
            dem=relief.fine,
            counts=verdict.counts,
            condition=verdict.condition,
            dates=verdict.dates,
        ),
        job.cells,
        reading,
    )


def _only_cells(stack: Stack, cells: Sequence[Cell], reading: Reading) -> Stack:
    """The stack with nodata in cells of its hull that were not asked for."""
    wanted = mask_of_cells(cells, stack.grid)
    holes = float(np.isnan(stack.dem[wanted]).mean())
    if holes > 0:
        reading.notes.append(f"no terrain heights on {holes:.1%} of the tile: those pixels cannot be judged")
    if wanted.all():
        return stack
    other = ~wanted
    stack.s2[:, other] = 0
    if stack.s1 is not None:
        stack.s1[:, other] = np.nan
    stack.dem[other] = np.nan
    stack.counts[:, other] = 0
    stack.condition[other] = int(Condition.NODATA)
    stack.dates[:, other] = 0
    return stack


def _composite(
    job: StackJob, scenes: Sequence[Scene], relief: Relief, reading: Reading
) -> tuple[NDArray[np.uint16], Verdict]:
    """The optical part: dates judged, then band after band."""
    grid = job.grid
    overpasses = group_overpasses(scenes, job.tile.lattice_tile)
    kept: dict[tuple[str, str], NDArray[np.uint16]] = {}
    keep = len(scenes) * len(_JUDGED) * grid.height * grid.width <= KEPT_PIXELS
    flags, suppliers = [], []
    halo = grid.grown(HALO_PX)
    inner = grid.slices_in(halo)
    for overpass in overpasses:
        flag, supplier = _flag_overpass(overpass, halo, inner, kept if keep else None, reading)
        flags.append(flag)
        suppliers.append(supplier)
    judgement = classify_dates(flags, inner)
    if not overpasses:
        judgement = Judgement(seen=np.zeros((0, *grid.shape), np.uint8), water=np.zeros((0, *grid.shape), bool))
    del flags
    _mark_shadows(judgement, overpasses, relief, job)
    days = [days_of_date(overpass[0].date) for overpass in overpasses]
    verdict = _judge_in_strips(judgement, days, best_only=job.recipe.composite == "best")
    del judgement
    s2 = np.zeros((len(S2_NAMES), *grid.shape), dtype=np.uint16)
    floors: list[dict[str, tuple[float, float]]] = [{} for _ in overpasses]
    for index, band in enumerate(S2_NAMES):
        numbers = read_band(overpasses, suppliers, band, grid, kept, reading)
        for date, plane in enumerate(numbers):
            if band in JUDGED_BANDS:
                floors[date][band] = floor_of_band(plane[::4, ::4])
        for top in range(0, grid.height, CELL_PX):
            rows = slice(top, top + CELL_PX)
            if numbers:
                s2[index, rows] = median_of_dates([plane[rows] for plane in numbers], verdict.used[:, rows])
    for overpass, found in zip(overpasses, floors, strict=True):
        if overpass[0].product and found and judge_floors(found).is_suspect:
            reading.notes.append(f"{overpass[0].key}: {judge_floors(found).message}")
    return s2, _without_gaps(s2, verdict)


def _judge_in_strips(judgement: Judgement, days: Sequence[int], *, best_only: bool) -> Verdict:
    """`judge_pixels`, one row of cells at a time: its intermediate masks are many."""
    n, height, width = judgement.seen.shape
    whole = Verdict(
        used=np.zeros((n, height, width), dtype=bool),
        counts=np.zeros((len(COUNT_NAMES), height, width), dtype=np.uint8),
        condition=np.zeros((height, width), dtype=np.uint8),
        dates=np.zeros((len(DATE_NAMES), height, width), dtype=np.uint16),
    )
    for top in range(0, height, CELL_PX):
        rows = slice(top, top + CELL_PX)
        strip = Judgement(seen=judgement.seen[:, rows], water=judgement.water[:, rows])
        part = judge_pixels(strip, days, best_only=best_only)
        for name in ("used", "counts", "condition", "dates"):
            getattr(whole, name)[..., rows, :] = getattr(part, name)
    return whole


def _without_gaps(s2: NDArray[np.uint16], verdict: Verdict) -> Verdict:
    """Pixels of which one band is missing become nodata in all, and are counted so."""
    seen = (s2 != 0).any(axis=0)
    whole = (s2 != 0).all(axis=0)
    broken = seen & ~whole
    s2[:, broken] = 0
    verdict.counts[:, broken] = 0
    verdict.dates[:, broken] = 0
    verdict.condition[broken] = int(Condition.NODATA)
    return verdict


def _flag_overpass(
    overpass: tuple[Scene, ...],
    halo: Grid,
    inner: tuple[slice, slice],
    kept: dict[tuple[str, str], NDArray[np.uint16]] | None,
    reading: Reading,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Flags of one overpass, and which of its scenes supplies each inner pixel (None if there is but one)."""
    flags = np.zeros(halo.shape, dtype=np.uint8)
    supplier = np.zeros(halo.shape, dtype=np.uint8)
    for number, scene in enumerate(overpass):
        scl, *bands = read_bands(scene, (SCL, *_JUDGED), halo, reading)
        blue, green, nir, swir = bands
        own = flag_date(scl, Spectrum(blue=blue, green=green, nir=nir, swir=swir))
        take = ((own & 1) != 0) & ((flags & 1) == 0)
        flags[take] = own[take]
        supplier[take] = number
        if kept is not None:
            for band, numbers in zip(_JUDGED, bands, strict=True):
                kept[scene.key, band] = numbers[inner].copy()
    return flags, supplier[inner].copy() if len(overpass) > 1 else None


def _mark_shadows(
    judgement: Judgement,
    overpasses: Sequence[tuple[Scene, ...]],
    relief: Relief,
    job: StackJob,
) -> None:
    """Terrain shadow of each date, in place: it ranks above cloud and nodata, below snow and clear."""
    outer = halo_of_shadow(job.grid)
    for index, overpass in enumerate(overpasses):
        azimuth = grid_azimuth(job.tile.lattice_tile.grid, overpass[0].sun_azimuth_deg)
        dark = cast_shadow(relief.coarse, outer, job.grid, azimuth, overpass[0].sun_elevation_deg)
        seen = judgement.seen[index]
        seen[dark & (seen > int(Seen.SHADOW))] = int(Seen.SHADOW)


def _mean_radar(job: StackJob, scenes: Sequence[Scene], reading: Reading) -> NDArray[np.float32] | None:
    """(2, H, W) dB: the mean over overpasses of filtered linear power; None if there are no scenes."""
    overpasses = group_overpasses(scenes, job.tile.lattice_tile)
    if not overpasses:
        reading.notes.append("no radar scene: this tile has no radar")
        return None
    grid = job.grid
    halo = grid.grown(RADAR_HALO_PX)
    inner = grid.slices_in(halo)
    s1 = np.full((len(S1_NAMES), *grid.shape), np.nan, dtype=np.float32)
    for index, band in enumerate(S1_NAMES):
        total = np.zeros(grid.shape, dtype=np.float64)
        count = np.zeros(grid.shape, dtype=np.uint8)
        for overpass in overpasses:
            power = read_power(overpass, band, halo, reading)
            if job.recipe.radar_filter == "lee5":
                power = filter_lee(power)
            good = np.isfinite(power[inner])
            total += np.where(good, power[inner], 0.0)
            count += good
        with np.errstate(divide="ignore", invalid="ignore"):
            s1[index] = to_decibel((total / count).astype(np.float32))
    return s1 if np.isfinite(s1).any() else None
