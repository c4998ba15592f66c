"""Cloud-optimised GeoTIFFs with the same bytes for the same pixels, never half-written under their final name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.io.workspace import writing


def write_cog(
    path: Path,
    array: npt.NDArray[np.generic],
    affine: Affine,
    epsg: int,
    *,
    nodata: float | None = None,
    pixel_is_point: bool = False,
) -> None:
    """Write one band `(H, W)` as a deflated COG with 512 px blocks, via a temporary name.

    Args:
        path: Where; its folder exists.
        array: uint8, uint16 or float32.
        affine: Pixel corner to map.
        epsg: CRS.
        nodata: Value of the nodata tag; None for no tag.
        pixel_is_point: Whether the file says that its heights are of points (pixel centres), as elevation models do.

    Raises:
        OutputWrite: The disk refused.
    """
    profile = {
        "driver": "COG",
        "height": array.shape[0],
        "width": array.shape[1],
        "count": 1,
        "dtype": array.dtype.name,
    }
    creation = {
        "compress": "DEFLATE",
        "level": 1,
        "predictor": "NO",
        "blocksize": 512,
        "num_threads": 2,
    }
    try:
        with (
            writing(path) as temporary,
            rasterio.open(
                temporary,
                "w",
                crs=f"EPSG:{epsg}",
                transform=affine,
                nodata=nodata,
                overviews="NONE",
                **profile,
                **creation,
            ) as out,
        ):
            if pixel_is_point:
                out.update_tags(AREA_OR_POINT="Point")
            out.write(array, 1)
    except RasterioError as error:
        raise OutputWrite(f"could not write {path}: {error}", "Free space or choose another folder.") from error
