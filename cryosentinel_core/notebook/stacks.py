"""A year's stack as a Dataset: bands, radar, terrain, what the dates saw of each pixel. Read lazily, tile by tile."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.kept_results import as_attribute, open_stack
from cryosentinel_core.io.rasters.stack_files import FORMATS, Layer, has_radar, read_layer
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.notebook.commands import PathLike
from cryosentinel_core.notebook.lazy_rasters import dataset_on_grid, lazy_bands
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES
from cryosentinel_core.stack.stack import COUNT_NAMES, DATE_NAMES
from cryosentinel_core.units import CELL_PX, REFLECTANCE_SCALE

COUNT_VARIABLES: Final = tuple(f"n_{name}" for name in COUNT_NAMES)
"""Variables of the counts of dates: used; with water; under snow or ice, terrain shadow, cloud."""

DATE_VARIABLES: Final = tuple(f"{name}_date" for name in DATE_NAMES)
"""Variables of the dates used."""

REFLECTANCE_ATTRIBUTE: Final = "reflectance_of_one"
"""Attribute of a Dataset: the number that a reflectance of 1 is stored as."""

_LAYERS: Final[dict[Layer, tuple[tuple[str, ...], Any]]] = {
    "s2": (S2_NAMES, np.uint16),
    "s1": (S1_NAMES, np.float32),
    "dem": (("dem",), np.float32),
    "clear": (COUNT_VARIABLES, np.uint8),
    "class": (("condition",), np.uint8),
    "dates": (DATE_VARIABLES, np.uint16),
}
"""Layer on disk -> variables and type."""


def read_stack(
    workspace: PathLike, area: Area | str, year: int, *, epsg: int | None = None, recipe: str | None = None
) -> xr.Dataset:
    """The stack of an area and year, as `fetch` left it; the numbers are those of the files, read when they are computed.

    Args:
        workspace: Folder of all results.
        area: The area or its name.
        year: Of the imagery.
        epsg: Zone to read, where the area lies in several.
        recipe: First 8 digits of the recipe's digest, where the year has several stacks.

    Returns:
        Dataset on (y, x), 10 m, UTM. `B01` .. `B12` uint16, reflectance x 10,000, 0 in all = nodata; `VV`, `VH` float32 dB, NaN =
        nodata (absent without radar); `dem` float32 metres; `n_clear`, `n_water`, `n_snow`, `n_shadow`, `n_cloud` uint8 dates;
        `condition` uint8, values of `stack.stack.Condition`; `first_date`, `median_date`, `last_date` uint16 days since
        1970-01-01, 0 where none. Attributes: `recipe` and `provenance` as JSON, `aoi`, `year`.

    Raises:
        DataError: If there is no stack, or several and it was not said which.
        RasterError: When it is computed, if a file is damaged.
    """
    name = area if isinstance(area, str) else area.name
    kept = open_stack(Workspace(Path(workspace)), name, year, recipe)
    grid = kept.grid_of(epsg)
    variables: dict[str, Any] = {}
    for layer, (names, dtype) in _LAYERS.items():
        if layer == "s1" and not has_radar(kept.folder):
            continue
        read = partial(_read, str(kept.folder), layer, kept.tile_cells)
        bands = lazy_bands(grid, kept.tile_cells * CELL_PX, len(names), dtype, read)
        attributes = {"units": unit} if (unit := FORMATS[layer].unit) else {}
        variables.update({each: (bands[index], attributes) for index, each in enumerate(names)})
    return dataset_on_grid(
        variables,
        grid,
        {
            "aoi": name,
            "year": year,
            "recipe": as_attribute(kept.recipe),
            "provenance": as_attribute({"stack": kept.folder.name, "tiles": kept.digests}),
            REFLECTANCE_ATTRIBUTE: REFLECTANCE_SCALE,
            "radar_used": int(kept.radar_used),
        },
    )


def _read(folder: str, layer: Layer, tile_cells: int, grid: Any) -> Any:
    return read_layer(Path(folder), layer, grid, tile_cells=tile_cells)
