"""Small GeoTIFFs at a known place, and lattice grids counted from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from cryosentinel_core.ground.lattice import Grid

EPSG = 32643
LEFT, TOP = 300_000.0, 4_700_040.0
ROW, COL = -470_004, 30_000
"""Lattice address of (LEFT, TOP)."""


def write_tif(
    path: Path,
    array: np.ndarray[Any, Any],
    step: float,
    *,
    left: float = LEFT,
    top: float = TOP,
    epsg: int = EPSG,
    **more: Any,
) -> str:
    profile = {
        "driver": "GTiff", "count": 1, "height": array.shape[0], "width": array.shape[1], "dtype": array.dtype.name,
        "crs": f"EPSG:{epsg}", "transform": Affine(step, 0, left, 0, -step, top), "tiled": True, "blockxsize": 64,
        "blockysize": 64, "compress": "DEFLATE",
    }  # fmt: skip
    with rasterio.open(path, "w", **(profile | more)) as target:
        target.write(array, 1)
    return str(path)


def grid_at(row: int, col: int, height: int, width: int) -> Grid:
    return Grid(epsg=EPSG, row=ROW + row, col=COL + col, height=height, width=width)
