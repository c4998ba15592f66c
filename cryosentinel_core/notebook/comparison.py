"""Comparison of lakes that lie in tables: the change table without a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource, prior_of_model
from cryosentinel_core.change.change_table import compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years, matches_in_table, rows_in_table
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.io.tables.error_files import read_stated_noise
from cryosentinel_core.lakes.observed_ground import ZoneClasses, observe_ground
from cryosentinel_core.lakes.pixel_classes import WATER_UNOBSERVED
from cryosentinel_core.lakes.tables import LAKE_COLUMNS, GroundSeen
from cryosentinel_core.notebook.placed_arrays import place_of
from cryosentinel_core.notebook.stacks import COUNT_VARIABLES
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.stack.stack import Condition

if TYPE_CHECKING:
    import geopandas as gpd


def compare_lakes(
    lakes: Mapping[int, gpd.GeoDataFrame],
    observed: Mapping[int, xr.Dataset] | None = None,
    settings: ChangeSettings | None = None,
    *,
    errors: UncertaintyModel = WATER_INDEX_ERRORS,
) -> gpd.GeoDataFrame:
    """The change table of some years' lakes: what `change` writes where it is given the same.

    Args:
        lakes: Year -> lakes, from `find_lakes` or `read_lakes`, two years or more, ascending. With candidates (a column `is_lake`) a
            lake near the smallest area is neither new nor gone by a hair; without them each outline counts.
        observed: Year -> Dataset with `water`, as `read_results` has it, and as far as there are, as `read_stack` has them,
            `condition`, which tells cloud from nodata, `dem` and the counts of dates, which tell ice that may lie on water from
            other ice; without them all ice on a lake hides it. All years in one UTM zone. Without it all ground counts
            as seen in every year, and what is missing in a table counts as dry.
        settings: How years are compared; None for the command's defaults.
        errors: Constants of the outlines' error, as the segmenter's `error_model`.

    Returns:
        GeoDataFrame, EPSG:4326, one row a lake and pair of years, with the columns of docs/data.md. Keys are made anew, not taken
        from a workspace's registry.

    Raises:
        InputError: If years do not ascend, or a table or Dataset is missing or lacks what is needed.
        GridMismatch: If a Dataset does not lie on the lattice.
    """
    rules = settings or ChangeSettings()
    if len(lakes) < 2 or list(lakes) != sorted(lakes):
        raise InputError(f"wanted two years or more, ascending, got {list(lakes)}")
    for year, table in lakes.items():
        missing = [name for name in LAKE_COLUMNS if name not in table.columns]
        if missing:
            raise InputError(
                f"the lakes of {year} lack {', '.join(missing)}", "take them from find_lakes or read_lakes"
            )
    in_table = {year: rows_in_table(table, rules.min_area_m2, _flags(table)) for year, table in lakes.items()}
    kept = matches_in_table(match_years(lakes), in_table)
    keys, _ = assign_keys(kept, lakes, empty_registry(), min_area_m2=rules.min_area_m2, pixel_m=10.0)
    basis = ComparisonBasis(
        settings=rules, observe_ground=_observer(lakes, observed), errors=_errors_of(rules, errors, list(lakes))
    )
    return compare_years(lakes, kept, keys, basis).change


def _errors_of(rules: ChangeSettings, model: UncertaintyModel, years: list[int]) -> ChangeErrors:
    """How the errors of changes are found, as the command finds them for years of imagery."""
    is_word = rules.errors in (ErrorSource.MEASURED, ErrorSource.SIMULATED)
    return ChangeErrors(
        source=ErrorSource(rules.errors) if is_word else ErrorSource.FILE,
        model=model,
        prior_m=dict.fromkeys(years, prior_of_model(model)),
        floor=WATER_INDEX_ERRORS,
        stated=None if is_word else read_stated_noise(Path(rules.errors)),
    )


def _flags(table: gpd.GeoDataFrame) -> Any:
    return table["is_lake"].to_numpy(dtype=bool) if "is_lake" in table.columns else None


def _observer(
    lakes: Mapping[int, gpd.GeoDataFrame], observed: Mapping[int, xr.Dataset] | None
) -> Callable[[BaseGeometry, int], Mapping[int, GroundSeen]]:
    """What each year saw of a piece of ground."""
    if observed is None:
        return lambda ground, grow_px: dict.fromkeys(lakes, GroundSeen(land=1))
    missing = [year for year in lakes if year not in observed]
    if missing:
        raise InputError(f"nothing says what {missing[0]} saw", "give a Dataset with `water` for every year, or none")
    zones = {year: _zone_classes(year, observed[year]) for year in lakes}
    if len({epsg for each in zones.values() for epsg in each}) > 1:
        raise DataError("the years' rasters lie in several UTM zones", "compare each zone by itself")
    return lambda ground, grow_px: observe_ground(zones, ground, grow_px)


def _zone_classes(year: int, dataset: xr.Dataset) -> dict[int, ZoneClasses]:
    """Readers of a year's classes.

    Raises:
        InputError: If there are none.
    """
    if "water" not in dataset:
        raise InputError(f"the Dataset of {year} has no `water`", "take it from read_results")
    placed = dataset["water"]
    place = place_of(placed, f"water of {year}")
    condition = _reader(placed, dataset["condition"], Condition.NODATA) if "condition" in dataset else None
    heights = _reader(placed, dataset["dem"], np.nan, np.float32) if "dem" in dataset else None
    counts = _counts_reader(dataset) if set(COUNT_VARIABLES) <= set(dataset) else None
    water = _reader(placed, placed, WATER_UNOBSERVED)
    return {place.epsg: ZoneClasses(water=water, condition=condition, heights=heights, counts=counts)}


def _counts_reader(dataset: xr.Dataset) -> Callable[[Grid], Any]:
    """Grid -> (5, H, W) uint8, dates by what they saw; 0 outside."""
    readers = [_reader(dataset["water"], dataset[name], 0) for name in COUNT_VARIABLES]
    return lambda grid: np.stack([read(grid) for read in readers])


def _reader(
    placed: xr.DataArray, array: xr.DataArray, outside: float, dtype: type[np.generic] = np.uint8
) -> Callable[[Grid], Any]:
    """Grid -> (H, W) of a type, computed once and kept; a number outside the array."""
    place = place_of(placed, "water")
    values = place.north_up(np.asarray(array.transpose("y", "x").values))
    held = place.address

    def read(grid: Grid) -> Any:
        out = np.full(grid.shape, outside, dtype=dtype)
        shared = held.intersection(grid)
        if shared is not None:
            out[shared.slices_in(grid)] = values[shared.slices_in(held)]
        return out

    return read
