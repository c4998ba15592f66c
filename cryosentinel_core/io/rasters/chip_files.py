"""Chips as GeoTIFFs of 15 bands: what is no chip is refused before its pixels are read, and the file's own nodata is honoured.

Neighbours: `chips.band_order`, `chips.place` and `chips.units_check` judge; `chip_sources` finds the files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from cryosentinel_core.chips.band_order import order_of_bands
from cryosentinel_core.chips.chip import Chip, ChipName, chip_of_numbers
from cryosentinel_core.chips.place import Place, check_place
from cryosentinel_core.chips.units_check import ChipNote, ChipNumbers
from cryosentinel_core.errors import BandError, RasterError
from cryosentinel_core.io.rasters.blocks import check_blocks
from cryosentinel_core.stack.bands import CHIP_BANDS, S2_BANDS
from cryosentinel_core.units import CELL_PX

MAX_SCENE_PX: Final = 12_000_000
"""Pixels of the largest file that is read whole: 3,464 x 3,464, some 3 GB while its units are settled."""

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


def read_chip(path: Path, name: ChipName) -> Chip:
    """One chip of 15 bands: 12 of Sentinel-2, VV, VH, elevation.

    Args:
        path: GeoTIFF of 10 m, 224 x 224 px or larger; what is larger is mapped window by window. Where it says nodata in any
            optical band, nothing was seen; bands may stand in another order if all of them are described by name; scale and offset
            of a band are applied.
        name: That the chip goes by.

    Raises:
        RasterError: If the file cannot be read.
        BandError: If it has another number of bands, is smaller than a window or too large, has no coordinate reference system,
            or numbers in no known unit.
        GridMismatch: If its pixels are not 10 m, north up.
    """
    label = name.source or path.name
    with _opened(path) as raster:
        place = _check_header(raster, label)
        order = order_of_bands(raster.descriptions, label)
        data = _read_numbers(raster)[list(order)]
    numbers = ChipNumbers(optical=data[:_N_S2], radar=data[_N_S2 : _N_S2 + 2], elevation=data[_N_S2 + 2])
    chip = chip_of_numbers(name, numbers, place)
    if order == tuple(range(CHIP_BANDS)):
        return chip
    note = ChipNote(
        words="bands stood in another order and were taken by their descriptions", n_px=place.height * place.width
    )
    return chip.with_note(note)


def _check_header(raster: Any, label: str) -> Place:
    """Where the pixels lie, once bands, size, blocks and pixel size are those of a chip."""
    shape = (raster.height, raster.width)
    if raster.count != CHIP_BANDS:
        raise BandError(f"{label} has {raster.count} bands, wanted {CHIP_BANDS}", "12 Sentinel-2 bands, VV, VH, DEM")
    if min(shape) < CELL_PX:
        raise BandError(
            f"{label} is {shape[0]} x {shape[1]} px, wanted at least {CELL_PX} x {CELL_PX}", "cut a larger piece"
        )
    if shape[0] * shape[1] > MAX_SCENE_PX:
        raise BandError(
            f"{label} has {shape[0] * shape[1]:,} pixels, more than {MAX_SCENE_PX:,}",
            "cut it (gdal_translate -srcwin), or open it lazily in Python: cryosentinel_core.segment_dataset",
        )
    if raster.crs is None:
        raise BandError(f"{label} has no coordinate reference system", "write it with one")
    if any(dtype.startswith("complex") for dtype in raster.dtypes):
        raise BandError(f"{label} holds complex numbers, wanted whole or decimal ones", "write it as float32")
    check_blocks(raster, label)
    place = Place(crs=raster.crs.to_string(), transform=raster.transform, height=shape[0], width=shape[1])
    check_place(place, label)
    return place


def _read_numbers(raster: Any) -> NDArray[np.float32]:
    """(15, H, W) float32, scales and offsets applied, NaN where the file's tag or mask says nodata."""
    data = raster.read().astype(np.float64)
    for band, flags in enumerate(raster.mask_flag_enums):
        if MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags:
            data[band][raster.read_masks(band + 1) == 0] = np.nan
        scale, offset = raster.scales[band], raster.offsets[band]
        if (scale, offset) != (1.0, 0.0):
            data[band] = data[band] * scale + offset
    with np.errstate(over="ignore"):
        return np.asarray(data.astype(np.float32))
