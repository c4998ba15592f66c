"""Results of `predict` and `change` as Datasets and tables, to the bit what the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from cryosentinel_core.errors import DataError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.io.kept_results import as_attribute, one_of, open_model
from cryosentinel_core.io.rasters.mosaic import RESULT_LAYERS, grid_of_raster, read_part
from cryosentinel_core.io.tables.vector import read_lakes as read_lake_layers
from cryosentinel_core.io.tables.vector import read_layer
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.io.year_results import YearOfLakes
from cryosentinel_core.notebook.commands import PathLike
from cryosentinel_core.notebook.lazy_rasters import dataset_on_grid, lazy_bands, where_stored
from cryosentinel_core.settings.predict import DEFAULT_THRESHOLD
from cryosentinel_core.units import CELL_PX, TILE_CELLS

if TYPE_CHECKING:
    import geopandas as gpd

_CHUNK_PX: Final = TILE_CELLS * CELL_PX


def read_results(
    workspace: PathLike, area: Area | str, year: int, model: str | None = None, *, epsg: int | None = None
) -> xr.Dataset:
    """Rasters of a model's results, as `predict` left them; read when they are computed.

    Args:
        workspace: Folder of all results.
        area: The area or its name.
        year: Of the imagery.
        model: Name of the results' folder, as `water-index`; None for the only one.
        epsg: Zone to read, where the area lies in several.

    Returns:
        Dataset on (y, x), 10 m, UTM: `logit` float32 in steps of 0.001, `probability` float32 0..1, both NaN where unobserved;
        `water` uint8 (0 land, 1 lake, 2 snow or ice, 3 terrain shadow, 255 unobserved); with `uncertainty` also `spread`.
        Attributes, also of `logit`: `model`, `aoi`, `year`, `radar_used`, and as JSON `error_model` and `provenance`.

    Raises:
        DataError: If there are no results, or several and it was not said which.
        RasterError: When it is computed, if a file is damaged.
    """
    aoi = area if isinstance(area, str) else area.name
    name, folder = open_model(Workspace(Path(workspace)), aoi, year, model)
    held = YearOfLakes.open(folder, year)
    zones = {int(path.stem.removeprefix("logit_")): path for path in sorted(folder.glob("logit_*.tif"))}
    zone = one_of(zones, epsg, "zone", "epsg")
    grid = grid_of_raster(zones[zone])
    variables: dict[str, Any] = {}
    for kind, layer in RESULT_LAYERS.items():
        path = folder / f"{kind}_{zone}.tif"
        if not path.exists():
            continue
        read = partial(_read, str(path), int(layer.nodata or 0))
        stored = lazy_bands(grid, _CHUNK_PX, 1, np.dtype(layer.dtype), read)[0]
        is_class = layer.nodata is None
        variables[kind] = stored if is_class else where_stored(stored, int(layer.nodata or 0), layer.scale)
    said = {
        "model": name,
        "aoi": aoi,
        "year": year,
        "radar_used": int(held.radar_used),
        "threshold": float(held.run.get("settings", {}).get("threshold", DEFAULT_THRESHOLD)),
        "is_network": int(held.is_network),
        "error_model": as_attribute(held.error_model.as_dict()),
        "provenance": as_attribute({key: held.run[key] for key in ("digest", "settings", "inputs") if key in held.run}),
    }
    variables["logit"] = variables["logit"], said  # a variable alone must know as much: `find_lakes` asks
    return dataset_on_grid(variables, grid, said)


def read_lakes(
    workspace: PathLike, area: Area | str, year: int, model: str | None = None, *, with_candidates: bool = False
) -> gpd.GeoDataFrame:
    """Lakes of a year, as `predict` left them.

    Args:
        workspace: Folder of all results.
        area: The area or its name.
        year: Of the imagery.
        model: Name of the results' folder, as `water-index`; None for the only one.
        with_candidates: Also smaller outlines and those outside the area, as `compare_lakes` wants them: a column `is_lake` tells
            them apart.

    Returns:
        GeoDataFrame, EPSG:4326, with the columns of docs/data.md; areas in m2.

    Raises:
        DataError: If there are no results, or several and it was not said which.
    """
    aoi = area if isinstance(area, str) else area.name
    _, folder = open_model(Workspace(Path(workspace)), aoi, year, model)
    if not with_candidates:
        return read_lake_layers(folder)[0]
    table, is_lake = YearOfLakes.open(folder, year).read_outlines()
    return table.assign(is_lake=is_lake)


def read_change(
    workspace: PathLike, area: Area | str, years: Sequence[int], model: str | None = None
) -> gpd.GeoDataFrame:
    """The change table of some years, as `change` left it.

    Args:
        workspace: Folder of all results.
        area: The area or its name.
        years: As they were compared.
        model: Name of the model whose lakes were compared; None for the only one.

    Returns:
        GeoDataFrame, EPSG:4326, with the columns of docs/data.md.

    Raises:
        DataError: If there is no such table, or there are several and it was not said which.
    """
    aoi = area if isinstance(area, str) else area.name
    begin = f"change_{'_'.join(map(str, years))}_"
    home = Workspace(Path(workspace)).area(aoi)
    found = {path.parent.name.removeprefix(begin): path for path in sorted(home.glob(f"{begin}*/change.parquet"))}
    if not found:
        raise DataError(f"no change table of {' '.join(map(str, years))} in {home}", "run change for these years first")
    return read_layer(found[one_of(found, model, "model", "model")])


def _read(path: str, nodata: int, grid: Any) -> Any:
    return read_part(Path(path), grid, nodata)[None]
