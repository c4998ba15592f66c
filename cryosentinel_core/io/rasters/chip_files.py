"""Chips as GeoTIFFs: what is no chip is refused before its pixels are read, and the file's own nodata is honoured.

A file of one window is read whole. A larger one is read once in strips, to judge its units and take its SHA-256, and then wherever
pixels are asked for. Neighbours: `chips.band_order`, `chips.place` and `chips.units_check` judge; `chip_sources` finds the files.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from cryosentinel_core.chips.band_order import CHIP_BAND_NAMES, order_of_bands
from cryosentinel_core.chips.chip import Chip, ChipName, chip_of_numbers
from cryosentinel_core.chips.chip_scene import ChipScene, grid_of_shape
from cryosentinel_core.chips.place import Place, check_place
from cryosentinel_core.chips.unit_evidence import ChipNumbers, UnitEvidence
from cryosentinel_core.chips.units_check import ChipNote, conclude_units
from cryosentinel_core.errors import BandError, RasterError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.rasters.blocks import check_blocks
from cryosentinel_core.io.rasters.cogs import strips_of
from cryosentinel_core.stack.bands import CHIP_BANDS, S2_BANDS
from cryosentinel_core.units import CELL_PX

STRIP_ROWS: Final = 256
"""Rows of a large file that are read at a time to judge it; part of its SHA-256."""

THINNED_PX: Final = 250_000
"""Pixels of a large file that its dark-pixel floor is taken of."""

BAND_COUNTS: Final = (12, 14, 15)
"""Bands of a chip's file: Sentinel-2 alone, with VV and VH, with elevation, too."""

_OWN_TAG: Final = "CRYOSENTINEL_KIND"
_N_S2: Final = len(S2_BANDS)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The raster, only as a GeoTIFF; a mask beside it is its own.

    Raises:
        RasterError: If it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # A file without a place is refused in our own words, or looked at for its tags alone.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as raster:
                yield raster
    except (RasterioError, RasterioIOError) as error:
        # rasterio says no more than "read failed" and keeps GDAL's words in the cause.
        raise RasterError(f"cannot read {path}: {error.__cause__ or error}", "is it a GeoTIFF, and whole?") from error


def is_own_raster(path: Path) -> bool:
    """True if a GeoTIFF is a result of this software, by its tags, and no chip; False for what cannot be read."""
    try:
        with _opened(path) as raster:
            return _OWN_TAG in raster.tags() and raster.count != CHIP_BANDS
    except RasterError:
        return False


def read_chip(path: Path, name: ChipName) -> Chip | ChipScene:
    """One chip of 15 bands: 12 of Sentinel-2, VV, VH, elevation. Without elevation the ground counts as flat.

    Args:
        path: GeoTIFF of 10 m, 224 x 224 px or larger; what is larger is not read whole. Where it says nodata in any optical band,
            nothing was seen; bands may stand in another order if all of them are described by name; scale and offset of a band are
            applied.
        name: That the chip goes by.

    Raises:
        RasterError: If the file cannot be read.
        BandError: If it has another number of bands, is smaller than a window, has no coordinate reference system, or numbers in no
            known unit.
        GridMismatch: If its pixels are not 10 m, north up.
    """
    label = name.source or path.name
    with _opened(path) as raster:
        place = _check_header(raster, label)
        order = order_of_bands(raster.descriptions, label)
        reader = _ChipReader(path=path, order=order, shape=(place.height, place.width))
        is_window = reader.shape == (CELL_PX, CELL_PX)
        numbers = reader.of(raster, grid_of_shape(*reader.shape)) if is_window else None
    notes = _notes_of_header(order, place)
    has_heights = len(order) == len(CHIP_BAND_NAMES)
    if numbers is None:
        return _scene_of(name, place, reader, notes)
    chip = replace(chip_of_numbers(name, numbers, place), has_heights=has_heights)
    for note in notes:
        chip = chip.with_note(note)
    return chip


def _notes_of_header(order: tuple[int, ...], place: Place) -> tuple[ChipNote, ...]:
    """What the file's bands are taken for, where that is not plain."""
    if order == tuple(range(len(order))):
        return ()
    words = "bands stood in another order and were taken by their descriptions"
    return (ChipNote(words=words, n_px=place.height * place.width),)


def _scene_of(name: ChipName, place: Place, reader: _ChipReader, notes: tuple[ChipNote, ...]) -> ChipScene:
    """A large file, judged strip by strip."""
    whole = grid_of_shape(*reader.shape)
    evidence = UnitEvidence(whole.height * whole.width)
    found = hashlib.sha256(json.dumps([place.crs, *place.transform[:6], list(reader.order), *whole.shape]).encode())
    step = max(1, math.isqrt(whole.height * whole.width // THINNED_PX))
    thinned: list[ChipNumbers] = []
    with _opened(reader.path) as raster:
        for strip in strips_of(whole, STRIP_ROWS):
            numbers = reader.of(raster, strip)
            evidence.add(numbers)
            for array in (numbers.optical, numbers.radar, numbers.elevation):
                found.update(np.ascontiguousarray(array).data)
            first = -strip.row % step
            thinned.append(
                ChipNumbers(**{key: value[..., first::step, ::step].copy() for key, value in vars(numbers).items()})
            )
    settlement = conclude_units(evidence, name.source or name.chip_id)
    keys = ("optical", "radar", "elevation")
    return ChipScene(
        name=name,
        place=place,
        digest=found.hexdigest(),
        settlement=settlement,
        thinned=ChipNumbers(**{key: np.concatenate([getattr(one, key) for one in thinned], axis=-2) for key in keys}),
        read_numbers=reader.read,
        read_heights=reader.read_heights,
        more_notes=notes,
        has_heights=reader.has_heights,
    )


@dataclass(frozen=True, kw_only=True)
class _ChipReader:
    """Reads parts of a chip's file.

    Attributes:
        path: Of the file.
        order: Index in the file of each band that it has, in the order of `CHIP_BAND_NAMES`.
        shape: (height, width) of the file.
    """

    path: Path
    order: tuple[int, ...]
    shape: tuple[int, int]

    @property
    def has_heights(self) -> bool:
        """True if the file has elevation."""
        return len(self.order) == len(CHIP_BAND_NAMES)

    def read(self, grid: Grid) -> ChipNumbers:
        """The numbers of a rectangle inside the file.

        Raises:
            RasterError: If the file cannot be read.
        """
        with _opened(self.path) as raster:
            return self.of(raster, grid)

    def read_heights(self, grid: Grid) -> NDArray[np.float32]:
        """(H, W) elevation of a rectangle inside the file as it stands there; 0 where the file has none."""
        if not self.has_heights:
            return np.zeros(grid.shape, dtype=np.float32)
        with _opened(self.path) as raster:
            (heights,) = _read_bands(raster, self.order[-1:], grid)
            return np.asarray(heights, dtype=np.float32)

    def of(self, raster: Any, grid: Grid) -> ChipNumbers:
        """The same of the opened file."""
        data = _read_bands(raster, self.order, grid)
        has_radar = len(self.order) > _N_S2
        return ChipNumbers(
            optical=data[:_N_S2],
            radar=data[_N_S2 : _N_S2 + 2] if has_radar else np.full((2, *grid.shape), np.nan, dtype=np.float32),
            elevation=data[_N_S2 + 2] if self.has_heights else np.zeros(grid.shape, dtype=np.float32),
        )


def _check_header(raster: Any, label: str) -> Place:
    """Where the pixels lie, once bands, size, blocks and pixel size are those of a chip."""
    shape = (raster.height, raster.width)
    if raster.count not in BAND_COUNTS:
        raise BandError(
            f"{label} has {raster.count} bands, wanted 12, 14 or 15",
            "12 Sentinel-2 bands (no B10), or these with VV and VH, or these with VV, VH and elevation",
        )
    if min(shape) < CELL_PX:
        raise BandError(
            f"{label} is {shape[0]} x {shape[1]} px, wanted at least {CELL_PX} x {CELL_PX}", "cut a larger piece"
        )
    if raster.crs is None:
        raise BandError(f"{label} has no coordinate reference system", "write it with one")
    if any(dtype.startswith("complex") for dtype in raster.dtypes):
        raise BandError(f"{label} holds complex numbers, wanted whole or decimal ones", "write it as float32")
    check_blocks(raster, label)
    place = Place(crs=raster.crs.to_string(), transform=raster.transform, height=shape[0], width=shape[1])
    check_place(place, label)
    return place


def _read_bands(raster: Any, order: Sequence[int], grid: Grid) -> NDArray[np.float32]:
    """(C, H, W) float32, scales and offsets applied, NaN where the file's tag or mask says nodata."""
    window = Window(grid.col, grid.row, grid.width, grid.height)
    out = np.empty((len(order), *grid.shape), dtype=np.float32)
    data = raster.read([band + 1 for band in order], window=window)
    for plane, stored, band in zip(out, data, order, strict=True):
        values = stored.astype(np.float64)
        flags = raster.mask_flag_enums[band]
        if MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags:
            values[raster.read_masks(band + 1, window=window) == 0] = np.nan
        scale, offset = raster.scales[band], raster.offsets[band]
        if (scale, offset) != (1.0, 0.0):
            values = values * scale + offset
        with np.errstate(over="ignore"):
            plane[:] = values
    return out
