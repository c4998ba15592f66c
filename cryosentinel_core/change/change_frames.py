"""The change table as data frames: one type a column, one order of rows; gained and lost ground; the series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from cryosentinel_core.change.lake_history import join_outlines
from cryosentinel_core.change.lake_keys import Key
from cryosentinel_core.change.pair_judgement import JudgedPair
from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.lakes.outlines import repair_polygon
from cryosentinel_core.lakes.tables import AGREEMENT, CHANGE_COLUMNS, SERIES_COLUMNS, TREND_COLUMNS, Status
from cryosentinel_core.scenes.registration import move_outline

_TEXT: Final = (
    "lake_key",
    "aliases",
    "pair",
    "status",
    "reason",
    "total_status",
    "glacier_contact_from",
    "glacier_contact_to",
    "lake_ids_from",
    "lake_ids_to",
)
_WHOLE: Final = ("year_from", "year_to")
LAKE: Final = "_lake"
"""Column of each row's lake, until the table is whole."""
_METRES_OF_DEGREE: Final = 111_320.0
_LAKES_A_BLOCK: Final = 2_000


def frame_of_pair(
    pair: JudgedPair,
    keys: Sequence[Key],
    ground: NDArray[np.object_],
    has_place: NDArray[np.bool_],
    *,
    is_only_pair: bool = False,
) -> gpd.GeoDataFrame:
    """The rows of a pair of years, in order of the lakes; `_lake` is each row's lake.

    Args:
        pair: The judged pair.
        keys: Keys of the lakes.
        ground: (L,) outlines of all years as one, or the place of a watched lake.
        has_place: (L,) True for watched lakes without an outline in any year.
        is_only_pair: True if no other year is compared: then the ground is both years' outlines as one.
    """
    first, second = pair.first, pair.second
    drawn = (first.n_outlines > 0) | (second.n_outlines > 0)
    says_nothing = (pair.status == str(Status.STABLE)) | (pair.reason == "not drawn")
    kept = np.flatnonzero(drawn | has_place | ~says_nothing)
    both = ground if is_only_pair else join_outlines(first.outline, second.outline)
    shown = np.where(drawn, both, ground)
    points = shapely.point_on_surface(shown)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = np.where(first.area_m2 > 0, 100.0 * pair.change_m2 / first.area_m2, np.nan)
    columns: dict[str, Any] = {
        LAKE: np.arange(len(keys)),
        "lake_key": [key.lake_key for key in keys],
        "aliases": [";".join(key.aliases) for key in keys],
        "pair": f"{first.year}-{second.year}",
        "status": pair.status,
        "reason": pair.reason,
        "year_from": first.year,
        "year_to": second.year,
        "area_from_m2": np.where(pair.is_comparable | (first.n_outlines > 0), first.area_m2, np.nan),
        "area_to_m2": np.where(pair.is_comparable | (second.n_outlines > 0), second.area_m2, np.nan),
        "change_m2": pair.change_m2,
        "change_percent": percent,
        "change_sigma_m2": pair.sigma_m2,
        "critical_change_m2": pair.critical_m2,
        "minimum_detectable_change_m2": pair.detectable_m2,
        "significant": pd.array(pair.significant.tolist(), dtype="boolean"),
        "q_value": pair.q_value,
        "rate_m2_per_year": pair.change_m2 / (second.year - first.year),
        "observed_from": first.observed_share,
        "observed_to": second.observed_share,
        "day_of_year_difference": second.day_of_year - first.day_of_year,
        "lake_ids_from": first.ids,
        "lake_ids_to": second.ids,
        "touches_edge": first.touches_edge | second.touches_edge,
        "elevation_m": np.where(first.area_m2 >= second.area_m2, first.elevation_m, second.elevation_m),
        "lon": shapely.get_x(points),
        "lat": shapely.get_y(points),
        "total_status": pair.total_status,
    }
    outlines = shown.copy()
    outlines[has_place] = None  # a place that is watched is no outline
    frame = pd.DataFrame(columns, index=range(len(keys))).iloc[kept].reset_index(drop=True)
    return gpd.GeoDataFrame(frame, geometry=outlines[kept], crs="EPSG:4326")


def as_change_frame(frames: Sequence[gpd.GeoDataFrame], trends: Mapping[str, NDArray[np.float64]]) -> gpd.GeoDataFrame:
    """The table of all pairs of years with one type a column.

    Args:
        frames: Rows of each pair, from `frame_of_pair`.
        trends: `TREND_COLUMNS`, (L,) each; empty with two years.
    """
    filled = [frame for frame in frames if len(frame)] or list(frames[:1])
    table = pd.concat(filled, ignore_index=True)
    for name, values in trends.items():
        table[name] = values[table[LAKE].to_numpy()]
    names = list(CHANGE_COLUMNS) + (list(TREND_COLUMNS) if trends else []) + ([AGREEMENT] if AGREEMENT in table else [])
    for name in names:
        if name in _TEXT:
            table[name] = table[name].astype(str)
        elif name in _WHOLE:
            table[name] = table[name].astype("int64")
        elif name == "touches_edge":
            table[name] = table[name].astype(bool)
        elif name != "significant":
            table[name] = table[name].astype("float64")
    return gpd.GeoDataFrame(table[[*names, "geometry"]], geometry="geometry", crs="EPSG:4326")


def pieces_between(
    pair: JudgedPair, keys: Sequence[Key], shift: tuple[float, float] | None, pixel_m: float
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """The ground that each observed lake gained and lost between two years.

    Args:
        pair: The judged pair.
        keys: Keys of the lakes.
        shift: Shift (east, north) in metres of the later year's images, taken out; None without one.
        pixel_m: Side of the coarsest year's pixels: pieces smaller than one are no ground that changed.
    """
    lakes = np.flatnonzero(pair.status != str(Status.UNOBSERVED))
    before, after = pair.first.outline[lakes], pair.second.outline[lakes]
    if shift is not None:
        after = np.array([move_outline(outline, -shift[0], -shift[1]) for outline in after], dtype=object)
    differ = ~shapely.equals_exact(before, after)
    lakes, before, after = lakes[differ], before[differ], after[differ]
    found = []
    for one, other in ((after, before), (before, after)):
        index, polygons = _differences(one, other, pixel_m**2)
        area, _ = measure_geodesic(polygons)
        columns = {
            "lake_key": pd.Series([keys[lake].lake_key for lake in lakes[index]], dtype="str"),
            "pair": pd.Series([f"{pair.first.year}-{pair.second.year}"] * index.size, dtype="str"),
            "area_m2": pd.Series(area, dtype="float64"),
        }
        found.append(gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(polygons, crs="EPSG:4326"), crs="EPSG:4326"))
    return found[0], found[1]


def as_piece_frame(frames: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Gained or lost ground of all pairs of years, in their order by name and that of the keys."""
    filled = sorted((frame for frame in frames if len(frame)), key=lambda frame: str(frame["pair"].iloc[0]))
    return gpd.GeoDataFrame(pd.concat(filled or list(frames[:1]), ignore_index=True), crs="EPSG:4326")


def series_frame(keys: Sequence[Key], years: Mapping[int, Mapping[str, NDArray[Any]]]) -> pd.DataFrame:
    """One row a lake and year, in their order.

    Args:
        keys: Keys of the lakes.
        years: Year -> columns of the series, (L,) each.
    """
    columns: dict[str, Any] = {"lake_key": np.repeat([key.lake_key for key in keys], len(years))}
    columns["year"] = np.tile(np.array(list(years), dtype=np.int64), len(keys))
    for name in SERIES_COLUMNS[2:]:
        columns[name] = np.stack([year[name] for year in years.values()], axis=1).ravel() if years else []
    return pd.DataFrame(columns, columns=list(SERIES_COLUMNS))


def _differences(
    one: NDArray[np.object_], other: NDArray[np.object_], least_m2: float
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Rows where one outline reaches beyond the other, and where, without parts under `least_m2`; block by block, to save memory."""
    starts = range(0, len(one), _LAKES_A_BLOCK)
    blocks = [
        _pieces(shapely.difference(one[at : at + _LAKES_A_BLOCK], other[at : at + _LAKES_A_BLOCK]), least_m2)
        for at in starts
    ]
    if not blocks:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object)
    rows = np.concatenate([at + found for at, (found, _) in zip(starts, blocks, strict=True)])
    return rows, np.concatenate([polygons for _, polygons in blocks])


def _pieces(differences: NDArray[np.object_], least_m2: float) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Rows that have ground left, and their polygons without parts under `least_m2`."""
    parts, row = shapely.get_parts(differences, return_index=True)
    bounds = shapely.bounds(parts)
    scale = _METRES_OF_DEGREE**2 * np.nan_to_num(np.cos(np.radians(0.5 * (bounds[:, 1] + bounds[:, 3]))))
    # A part whose box is smaller than a pixel is too: most parts are slivers, and looking at their boxes costs nothing.
    wide = scale * (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1]) >= least_m2
    parts, row, scale = parts[wide], row[wide], scale[wide]
    broken = ~shapely.is_valid(parts)
    parts[broken] = [repair_polygon(part) for part in parts[broken]]
    is_ground = np.isin(shapely.get_type_id(parts), (3, 6)) & (scale * shapely.area(parts) >= least_m2)
    parts, row = parts[is_ground], row[is_ground]
    rows, first, number = np.unique(row, return_index=True, return_counts=True)
    polygons = parts[first]
    many = np.flatnonzero(number > 1)
    several = np.isin(row, rows[many])
    polygons[many] = shapely.multipolygons(parts[several], indices=np.repeat(np.arange(many.size), number[many]))
    return rows, polygons
