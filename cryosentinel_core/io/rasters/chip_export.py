"""Chips of a data set as GeoTIFFs of 15 bands, as `chip_files` reads them, and their labels beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from cryosentinel_core.chips.band_order import CHIP_BAND_NAMES
from cryosentinel_core.chips.place import Place
from cryosentinel_core.chips.shard_chip import DEM_LIMIT_M, ShardChip
from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.units import CELL_PX


def write_chip(path: Path, chip: ShardChip, place: Place) -> None:
    """A chip as a GeoTIFF of float32: 12 of Sentinel-2, VV, VH, elevation, each band described by its name.

    Args:
        path: Of the file.
        chip: What to write; what radar and terrain do not know becomes NaN.
        place: Where its pixels lie.

    Raises:
        OutputWrite: If the disk refuses.
    """
    heights = chip.dem.astype(np.float32)
    known = np.where(np.abs(heights) < DEM_LIMIT_M, heights, np.float32(np.nan))
    radar = np.where(np.isfinite(chip.s1), chip.s1, np.float32(np.nan))
    bands = np.concatenate([chip.s2.astype(np.float32), radar, known])
    _write(path, bands, place, CHIP_BAND_NAMES, {}, predictor=3)


def write_label(path: Path, chip: ShardChip, place: Place, provenance: Provenance) -> None:
    """A chip's label as a GeoTIFF of uint8: 1 lake, 0 none, 255 where a sensor is nodata; our tags keep it from being read as a chip.

    Raises:
        OutputWrite: If the disk refuses.
    """
    label = np.where(chip.valid, chip.mask, np.uint8(255)).astype(np.uint8)
    _write(path, label[None], place, ("label",), provenance.as_tags(), nodata=255)


def _write(
    path: Path,
    bands: NDArray[Any],
    place: Place,
    names: tuple[str, ...],
    tags: dict[str, str],
    **profile: Any,
) -> None:
    with writing(path) as temporary:
        try:
            with rasterio.open(
                temporary, "w", driver="GTiff", dtype=bands.dtype, count=len(bands), height=CELL_PX, width=CELL_PX,
                crs=place.crs, transform=place.transform, compress="deflate", interleave="band", **profile,
            ) as raster:  # fmt: skip
                raster.write(bands)
                raster.descriptions = names
                raster.update_tags(**tags)
        except RasterioError as error:
            raise OutputWrite(f"could not write {path}: {error}", "check the disk, then run again") from error
