"""The truth of a simulation: exact lakes of each year, what happened to them, and who could have seen it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import Geod
from shapely.geometry import Polygon
from shapely.geometry.polygon import orient

from cryosentinel_core.errors import DataError
from cryosentinel_core.io.tables.vector import LAKES_LAYER, write_geopackage
from cryosentinel_core.io.workspace import writing
from cryosentinel_core.simulate.grids import Grid, Ground
from cryosentinel_core.simulate.lakes import Lake
from cryosentinel_core.simulate.settings import SimulateSettings
from cryosentinel_core.simulate.shapes import fraction_of, window_of
from cryosentinel_core.units import MIN_OBSERVED

CLEAR, NODATA, CLOUD, SHADOW, ICE = range(5)
"""Why a place was not seen on a date; `CLEAR` where it was."""

REASONS: Final = {NODATA: "nodata", CLOUD: "cloud", SHADOW: "shadow", ICE: "ice"}
"""Words of the change table for them."""

_GEOD: Final = Geod(ellps="WGS84")
_STAMP: Final = dt.date(2000, 1, 1)
"""Date in place of the clock in a GeoPackage."""


@dataclass(frozen=True)
class Sight:
    """What one Sentinel-2 date could see of the lakes' ground.

    Attributes:
        year: Its year.
        usable: Whether it lies in the season with a cloud cover under 30 %.
        blocked: `CLEAR` or why not, uint8, for each pixel of `lake_ground`.
    """

    year: int
    usable: bool
    blocked: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LakeGround:
    """All pixels that any lake covers in any year: flat indices into the ground, and the number of the lake."""

    index: npt.NDArray[np.intp]
    lake: npt.NDArray[np.int32]


def lake_ground(grid: Grid, lakes: Sequence[Lake]) -> LakeGround:
    """The pixels of the ground that are mostly covered by a lake's union over the years."""
    indices, numbers = [np.empty(0, np.intp)], [np.empty(0, np.int32)]
    for number, lake in enumerate(lakes):
        rows, columns = window_of(lake.union, grid, 20.0)
        window = grid.cut(rows, columns)
        polygons = [polygon for parts in lake.outlines.values() for _, polygon in parts]
        row, column = np.nonzero(fraction_of(polygons, window, 1) > 0.5)
        indices.append(((row + rows.start) * grid.width + column + columns.start).astype(np.intp))
        numbers.append(np.full(row.size, number, np.int32))
    return LakeGround(np.concatenate(indices), np.concatenate(numbers))


def geodesic_area_m2(polygon: Polygon) -> float:
    """Area in square metres of a polygon in degrees, on the WGS 84 ellipsoid, holes left out."""
    area, _ = _GEOD.geometry_area_perimeter(
        orient(polygon)
    )  # unless shell and holes turn against each other, holes are added
    return abs(float(area))


def tabulate_lakes(ground: Ground, lakes: Sequence[Lake]) -> gpd.GeoDataFrame:
    """The true lakes: one row a lake and year, EPSG:4326, `truth_id year area_m2 kind plan` and the geometry."""
    rows = []
    for lake in lakes:
        for year, parts in lake.outlines.items():
            for name, polygon in parts:
                geometry = ground.geometry_to_lonlat(polygon)
                rows.append(
                    {
                        "truth_id": name, "year": year, "area_m2": geodesic_area_m2(geometry), "plan": lake.name,
                        "kind": lake.kind, "turbidity": round(lake.turbidity, 4), "elevation_m": lake.level_m,
                        "geometry": geometry,
                    }
                )  # fmt: skip
    frame = gpd.GeoDataFrame(rows, geometry="geometry", crs=4326)
    return frame.sort_values(["truth_id", "year"], kind="stable").reset_index(drop=True)


def tabulate_events(
    table: gpd.GeoDataFrame, lakes: Sequence[Lake], years: Sequence[int], seen: LakeGround, sights: Sequence[Sight]
) -> pd.DataFrame:
    """What truly happened to each lake between consecutive years and between the first and the last.

    Returns:
        `truth_ids year_from year_to status reason ids_from ids_to area_from_m2 area_to_m2 change_m2 change_percent
        observed_from observed_to kind`. `status` is in the words of the change table; a lake that less than 95 % of
        could be seen in either year, or not all of in a year in which it was not there, is `unobserved`, whatever
        happened, and `kind` says what did. The ground is all that the lake covers in any year; where it is no water, snow
        and glacier ice hide it.
    """
    pairs = list(pairwise(years))
    if len(years) > 2:
        pairs.append((years[0], years[-1]))
    areas = {(row.truth_id, row.year): row.area_m2 for row in table.itertuples()}
    rows = []
    for number, lake in enumerate(lakes):
        sightings = {year: _observed(seen, sights, number, year) for year in years}
        for first, last in pairs:
            before, after = ([name for name, _ in lake.outlines[year]] for year in (first, last))
            # Parts that stay apart are lakes of their own.
            groups = [([name], [name]) for name in before] if before == after else [(before, after)]
            for group in groups:
                rows.append(_event(lake, first, last, group, areas, sightings))
    return pd.DataFrame(rows).sort_values(["year_from", "year_to", "truth_ids"], ignore_index=True)


def _event(
    lake: Lake,
    first: int,
    last: int,
    names: tuple[list[str], list[str]],
    areas: Mapping[tuple[str, int], float],
    seen: Mapping[int, tuple[float, str]],
) -> dict[str, Any]:
    before, after = names
    area_before = sum(areas[name, first] for name in before)
    area_after = sum(areas[name, last] for name in after)
    change = area_after - area_before
    status = _status(len(before), len(after), change)
    needed = {first: MIN_OBSERVED if before else 1.0, last: MIN_OBSERVED if after else 1.0}
    reason = next((seen[year][1] for year in (first, last) if seen[year][0] < needed[year]), "")
    return {
        "truth_ids": ";".join(sorted({*before, *after})),
        "year_from": first,
        "year_to": last,
        "status": "unobserved" if reason else status,
        "reason": reason,
        "ids_from": ";".join(before),
        "ids_to": ";".join(after),
        "area_from_m2": round(area_before, 3),
        "area_to_m2": round(area_after, 3),
        "change_m2": round(change, 3),
        "change_percent": round(100 * change / area_before, 4) if before else None,
        "observed_from": round(seen[first][0], 4),
        "observed_to": round(seen[last][0], 4),
        "kind": lake.kind,
        "true_status": status,
    }


def _status(n_before: int, n_after: int, change_m2: float) -> str:
    if n_before == 0 or n_after == 0:
        return "new" if n_before == 0 else "vanished"
    if n_before == n_after == 1:
        return "stable" if abs(change_m2) < 0.01 else "grown" if change_m2 > 0 else "shrunk"
    if n_before > 1 and n_after > 1:
        return "complex"
    return "merged" if n_before > 1 else "split"


def _observed(seen: LakeGround, sights: Sequence[Sight], number: int, year: int) -> tuple[float, str]:
    """Share of a lake's ground that some usable date of the year saw, and the commonest reason why not."""
    here = seen.lake == number
    codes = [sight.blocked[here] for sight in sights if sight.year == year and sight.usable]
    if not codes or not here.any():
        return 0.0, "cloud"
    stacked = np.stack(codes)
    missed = (stacked != CLEAR).all(axis=0)
    if not missed.any():
        return 1.0, ""
    counts = np.bincount(stacked[:, missed].ravel(), minlength=5)
    return float(1 - missed.mean()), REASONS[int(np.argmax(counts[1:])) + 1]


def write_truth(
    directory: Path,
    settings: SimulateSettings,
    lakes: gpd.GeoDataFrame,
    events: pd.DataFrame,
    scenes: Sequence[dict[str, Any]],
) -> None:
    """Write `truth/`: `lakes.gpkg`, `events.csv`, `settings.json` and `scenes.json`."""
    folder = directory / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    write_geopackage(folder / "lakes.gpkg", {LAKES_LAYER: lakes}, stamp=_STAMP)
    write_text(folder / "events.csv", events.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "settings.json", json.dumps(settings.to_dict(), indent=2) + "\n")
    write_text(folder / "scenes.json", json.dumps(list(scenes), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def load_truth(directory: Path) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """The truth that a simulation left in a folder.

    Returns:
        Lakes (EPSG:4326; see `tabulate_lakes`) and events (see `tabulate_events`).

    Raises:
        DataError: The folder holds no truth.
    """
    folder = Path(directory) / "truth"
    if not (folder / "lakes.gpkg").is_file() or not (folder / "events.csv").is_file():
        raise DataError(f"no truth in {directory}", "Give the folder that `cryosentinel simulate` wrote.")
    words: dict[str, Any] = dict.fromkeys(("truth_ids", "ids_from", "ids_to", "reason"), "string")
    events = pd.read_csv(folder / "events.csv", dtype=words)
    events[list(words)] = events[list(words)].fillna("")
    return gpd.read_file(folder / "lakes.gpkg", layer="lakes"), events
