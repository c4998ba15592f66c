"""Lakes in a DataArray of logits: the same extraction as `predict`'s, on whatever grid the logits lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import xarray as xr

from cryosentinel_core.errors import GridMismatch
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import mask_of_cells
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.lakes.extract import extract_lakes, merge_zones
from cryosentinel_core.lakes.pixel_classes import keep_clear
from cryosentinel_core.lakes.tables import LakeOrigin, LakeReaders
from cryosentinel_core.notebook.placed_arrays import PlacedGrid, place_of, without_dask
from cryosentinel_core.notebook.stacks import COUNT_VARIABLES, DATE_VARIABLES
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.windows import encode_logits
from cryosentinel_core.settings.predict import DEFAULT_THRESHOLD, PredictSettings

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd


def find_lakes(
    logits: xr.DataArray,
    stack: xr.Dataset | None = None,
    area: Area | None = None,
    settings: PredictSettings | None = None,
    *,
    year: int | None = None,
    with_candidates: bool = False,
) -> gpd.GeoDataFrame:
    """Lakes in logits, each whole, with areas and their sigmas; what `predict` writes where it is given the same.

    Args:
        logits: (y, x), NaN where unobserved, 10 m UTM, from `segment_dataset` or `read_results`. Its attributes say the model and
            its error; without them outlines count as a network's.
        stack: On the same grid, from `read_stack`: tells snow, shadow and cloud (`condition`), heights and dates. None where there
            is none: then those columns are empty.
        area: Lakes that intersect it are kept, and ground beyond its core counts as not processed; None for all of the grid.
        settings: Their `threshold` and `min_area_m2`; None for the command's defaults, with the
            threshold that the logits' attributes say.
        year: Of the imagery; None for the one that the logits' attributes say, 0 where they say none.
        with_candidates: Also smaller outlines and those outside the area: a column `is_lake` tells them apart.

    Returns:
        GeoDataFrame, EPSG:4326, with the columns of docs/data.md; `touches_edge` where the logits end.

    Raises:
        GridMismatch: If the logits lie on no 10 m UTM grid, or the stack on another.
    """
    asked = settings or PredictSettings()
    place = place_of(logits, "the logits")
    values = place.north_up(without_dask(logits))
    stored = encode_logits(values.astype(np.float32), np.isfinite(values))
    readers = _readers(stored, place, stack, area)
    table = extract_lakes(
        readers,
        place.address,
        area.geometry if area is not None else _ground_of(place),
        _origin(logits, year),
        threshold=_threshold(logits, asked),
        min_area_m2=asked.min_area_m2,
        transform=None if place.is_on_lattice else place.transform_of_address,
    )
    lakes, candidates = merge_zones([table])
    if not with_candidates:
        return lakes
    return _with_flag(lakes, candidates)


def _with_flag(lakes: gpd.GeoDataFrame, candidates: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Lakes, then candidates, and a column `is_lake`."""
    import geopandas as gpd
    import pandas as pd

    filled: list[pd.DataFrame] = [frame for frame in (lakes, candidates) if len(frame)]
    table = gpd.GeoDataFrame(pd.concat(filled, ignore_index=True) if filled else lakes, crs="EPSG:4326")
    return table.assign(is_lake=np.arange(len(table)) < len(lakes))


def _readers(stored: Any, place: PlacedGrid, stack: xr.Dataset | None, area: Area | None) -> LakeReaders:
    """Readers of arrays in memory; a stack's variables are read when they are asked for."""
    grid = place.address

    def part(array: Any) -> Any:
        return lambda asked: array[(..., *asked.slices_in(grid))]

    def variables(names: tuple[str, ...]) -> Any:
        if stack is None or any(name not in stack for name in names):
            return None
        chosen = [place.north_up(stack[name].transpose("y", "x")) for name in names]
        return lambda asked: np.stack([np.asarray(each[asked.slices_in(grid)]) for each in chosen])

    if stack is not None and place_of(stack, "the stack").key != place.key:
        raise GridMismatch("the stack lies on another grid than the logits", "cut both to the same x and y")
    condition, dem = variables(("condition",)), variables(("dem",))
    cells = None if area is None or not place.is_on_lattice else [one for one in area.core if one.epsg == grid.epsg]
    return LakeReaders(
        logits=part(stored)
        if condition is None
        else lambda asked: keep_clear(part(stored)(asked), condition(asked)[0]),
        processed=lambda asked: np.ones(asked.shape, dtype=bool) if cells is None else mask_of_cells(cells, asked),
        dem=None if dem is None else lambda asked: dem(asked)[0],
        counts=variables(COUNT_VARIABLES),
        dates=variables(DATE_VARIABLES),
    )


def _threshold(logits: xr.DataArray, asked: PredictSettings) -> float:
    """The threshold that was asked for, else the one that goes with the logits."""
    return asked.threshold if asked.threshold is not None else float(logits.attrs.get("threshold", DEFAULT_THRESHOLD))


def _origin(logits: xr.DataArray, year: int | None) -> LakeOrigin:
    """What the logits' attributes say of where they come from."""
    said = logits.attrs
    errors = UncertaintyModel(**json.loads(said["error_model"])) if "error_model" in said else NETWORK_ERRORS
    return LakeOrigin(
        aoi=str(said.get("aoi", "")),
        year=int(said.get("year", 0)) if year is None else year,
        model=str(said.get("model", "")),
        radar_used=bool(said.get("radar_used", False)),
        is_network=bool(said.get("is_network", True)),
        error_model=errors,
    )


def _ground_of(place: PlacedGrid) -> shapely.Geometry:
    """The ground of a grid, EPSG:4326, grown by a pixel or two so that lakes on its edge lie inside."""
    box = shapely.box(*place.bounds)
    return project_geometry(shapely.segmentize(shapely.buffer(box, 20.0), 1_000.0), place.epsg, 4326)
