"""Memory that a read would take, looked at before anything is read: a file's header may ask for any amount of memory.

A reader unpacks whole blocks, however small the window: a file of 224 x 224 pixels may state blocks of 16,384 x 16,384. Neighbours:
`io.rasters.access` checks scenes with it, `io.chip_sources` chips.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from rasterio.windows import Window

from cryosentinel_core.errors import RasterError

MAX_BLOCK_BYTES: Final = 128 * 2**20
"""Largest unpacked block that is read: four times what 2,048 x 2,048 pixels of two bands in float32 take."""

MAX_WINDOW_PIXELS: Final = 100_000_000
"""Most native pixels of one read: a tile of 22.4 km at 2.5 m has 80 million."""


class PermanentRasterError(RasterError):
    """A raster that trying again cannot help with: gone, of another kind, or too large to read."""


def check_blocks(dataset: Any, name: str, *, n_bands: int | None = None) -> None:
    """Refuse an open raster whose stored blocks are too large to unpack.

    Args:
        dataset: Open rasterio dataset.
        name: Path or address for the message.
        n_bands: Bands that will be read; None for all of them.

    Raises:
        RasterError: If one block takes more than `MAX_BLOCK_BYTES` of memory.
    """
    is_interleaved = str(dataset.profile.get("interleave", "pixel")).lower() == "pixel"
    bands = range(dataset.count if n_bands is None else min(n_bands, dataset.count))
    for band in bands:
        height, width = dataset.block_shapes[band]
        # Bands interleaved by pixel are unpacked together, whichever of them is wanted.
        depth = dataset.count if is_interleaved else 1
        size = height * width * depth * _bytes_of(dataset.dtypes[band])
        if size > MAX_BLOCK_BYTES:
            raise PermanentRasterError(
                f"{name} is stored in blocks of {width} x {height} pixels ({size / 1e9:.1f} GB unpacked), "
                f"wanted at most {MAX_BLOCK_BYTES / 1e9:.2f} GB",
                "store it in blocks of 512 x 512 (gdal_translate -of COG IN OUT)",
            )


def check_window(window: Window, name: str) -> None:
    """Refuse a native window of more pixels than any scene has on one tile.

    Args:
        window: Native pixels that would be read.
        name: Path or address for the message.

    Raises:
        RasterError: If it holds more than `MAX_WINDOW_PIXELS`.
    """
    n_pixels = int(window.height) * int(window.width)
    if n_pixels > MAX_WINDOW_PIXELS:
        raise PermanentRasterError(
            f"{name} has {n_pixels:,} pixels where {MAX_WINDOW_PIXELS:,} are read at most",
            "its pixels are too fine for this purpose: resample it to 10 m",
        )


def _bytes_of(dtype: str) -> int:
    """Bytes of one number; 16, the most there is, for GDAL's types that NumPy lacks."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return 16
