"""Extraction of lakes: from logits to a table with components, outlines, areas and what the stack says about the ground inside them.

The rasters of a zone are read through callables, window by window, so memory is bounded by a block or by the largest lake's
bounding rectangle. Neighbours: `components` finds, `outlines` draws, `measure` and `uncertainty` weigh.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.geodesic import lake_id_of, measure_geodesic
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import Zone, transformer
from cryosentinel_core.ground.season import date_of_days
from cryosentinel_core.lakes.area_band import measure_band, widen_sigma
from cryosentinel_core.lakes.components import (
    BLOCK_PX,
    Components,
    find_components,
    label_water,
    level_of_threshold,
    read_padded,
)
from cryosentinel_core.lakes.outlines import place_outlines, trace_outlines
from cryosentinel_core.lakes.pixel_groups import PixelGroups
from cryosentinel_core.lakes.tables import BAND_COLUMNS, LAKE_COLUMNS, LakeOrigin, LakeReaders
from cryosentinel_core.lakes.uncertainty import area_sigmas
from cryosentinel_core.stack.stack import COUNT_NAMES
from cryosentinel_core.units import LOGIT_STEP, MIN_AREA_M2


def extract_lakes(
    readers: LakeReaders,
    hull: Grid,
    area: BaseGeometry,
    origin: LakeOrigin,
    *,
    threshold: float = 0.5,
    min_area_m2: float = MIN_AREA_M2,
    transform: Affine | None = None,
    crs: Any = None,
    block_px: int = BLOCK_PX,
) -> gpd.GeoDataFrame:
    """All components of one zone of at least 10 px, whole, as rows of a lake table.

    Args:
        readers: Readers of the zone's rasters.
        hull: Grid that holds all processed ground of the zone.
        area: Area of interest, EPSG:4326: a lake is in the table if it intersects it, and is never cut at its edge.
        origin: Year, area and model that all lakes of the run have in common.
        threshold: Probability from which a pixel is water.
        min_area_m2: Smallest lake in the table; smaller ones stay candidates.
        transform: (column, row) of the hull's address -> map metres, for a raster off the lattice; None for the lattice's
            own.
        crs: Reference system of the map metres of `transform` (anything pyproj takes); None for the hull's zone.
        block_px: Side of a block of work; never changes the result.

    Returns:
        GeoDataFrame in EPSG:4326 with the columns `LAKE_COLUMNS`, with a spread also `BAND_COLUMNS`, `is_lake` (bool: belongs
        to the layer `lakes`, else to `candidates`), `epsg` (the zone), and geometry. Give all zones' to `merge_zones`. Rows in
        order of the components.
    """
    level = level_of_threshold(threshold)
    found = find_components(readers, hull, level, block_px=block_px)
    place = transform if transform is not None else _lattice_transform()
    lonlat = _to_lonlat(hull.epsg, crs)
    columns: dict[str, list[Any]] = defaultdict(list)
    index: list[int] = []
    for members, window in _windows(found, hull, block_px):
        rows = _measure_window(readers, hull, found, members, window, level, place, lonlat)
        index.extend(members.tolist())
        for name, values in rows.items():
            columns[name].extend(values)
    if not index:
        return _empty(BAND_COLUMNS if readers.spread is not None else ())
    order = np.argsort(np.array(index), kind="stable")
    table = pd.DataFrame({name: [values[i] for i in order] for name, values in columns.items()})
    return _finish(table, hull.epsg, area, origin, min_area_m2)


def merge_zones(frames: Sequence[gpd.GeoDataFrame]) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Lakes and candidates of all zones, each lake once.

    Where outlines of two zones overlap, the one with more area in its own zone stays (tie: lower zone). Rasters are never
    merged.

    Args:
        frames: Tables from `extract_lakes`, one a zone; none gives empty tables.

    Returns:
        (lakes, candidates): GeoDataFrames with the columns `LAKE_COLUMNS`, `BAND_COLUMNS` if they were given, and geometry,
        EPSG:4326, sorted by id and size.
    """
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        nothing = frames[0] if len(frames) else _empty()
        return _columns_of_contract(nothing), _columns_of_contract(nothing)
    merged = gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), crs="EPSG:4326")
    if len(filled) > 1:
        merged = merged[~_is_doubled(merged)]
    merged = merged.sort_values(["lake_id", "area_m2", "epsg"], ascending=[True, False, True], kind="stable")
    lakes, candidates = merged[merged["is_lake"]], merged[~merged["is_lake"]]
    return _columns_of_contract(lakes), _columns_of_contract(candidates)


def _columns_of_contract(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Only the columns that the files hold, in their order."""
    return frame[[*LAKE_COLUMNS, *_band_of(frame), "geometry"]].reset_index(drop=True)


def _band_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """The band's columns, if a table has them."""
    return tuple(name for name in BAND_COLUMNS if name in frame.columns)


def _is_doubled(merged: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """(N,) True for outlines that give way to a larger one of another zone."""
    epsg = merged["epsg"].to_numpy()
    geometry = merged.geometry.to_numpy()
    first, second = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    near = (first < second) & (epsg[first] != epsg[second])
    first, second = first[near], second[near]
    overlaps = shapely.area(shapely.intersection(geometry[first], geometry[second])) > 0
    rivals: dict[int, list[int]] = defaultdict(list)
    for a, b in zip(first[overlaps].tolist(), second[overlaps].tolist(), strict=True):
        rivals[a].append(b)
        rivals[b].append(a)
    own = {index: _area_in_zone(geometry[index], int(epsg[index])) for index in rivals}
    doubled = np.zeros(len(merged), dtype=bool)
    kept: set[int] = set()
    for index in sorted(rivals, key=lambda i: (-own[i], int(epsg[i]), i)):
        if any(rival in kept for rival in rivals[index]):
            doubled[index] = True
        else:
            kept.add(index)
    return doubled


def _area_in_zone(geometry: BaseGeometry, epsg: int) -> float:
    """Geodesic area (m2) of the part of an outline that lies in a zone."""
    zone = Zone(epsg)
    south, north = (-80.0, 0.0) if zone.is_south else (0.0, 84.0)
    inside = shapely.intersection(geometry, shapely.box(zone.west, south, zone.east, north))
    return float(measure_geodesic([inside])[0][0])


def _lattice_transform() -> Affine:
    """Lattice (column, row) -> metres of the zone."""
    return Grid(epsg=32643, row=0, col=0, height=1, width=1).transform


def _to_lonlat(epsg: int, crs: Any) -> Any:
    """A function map (x, y) -> (longitude, latitude)."""
    if crs is None:
        return transformer(epsg, 4326).transform
    from pyproj import Transformer

    return Transformer.from_crs(crs, 4326, always_xy=True).transform


def _windows(found: Components, hull: Grid, block_px: int) -> Iterator[tuple[NDArray[np.int64], Grid]]:
    """Components in groups, each with the grid (one pixel larger, it may reach past the hull) that holds them wholly.

    Small ones go together by the block of their upper left corner; one that is larger than a block goes alone.
    """
    if not len(found):
        return
    tall, wide = found.bottom - found.top, found.right - found.left
    alone = (tall > block_px) | (wide > block_px)
    block = ((found.top - hull.row) // block_px) * (hull.width // block_px + 1) + (found.left - hull.col) // block_px
    key = np.where(alone, -1 - np.arange(len(found)), block)
    order = np.argsort(key, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        top, left = int(found.top[members].min()), int(found.left[members].min())
        bottom, right = int(found.bottom[members].max()), int(found.right[members].max())
        grid = Grid(epsg=hull.epsg, row=top, col=left, height=bottom - top, width=right - left)
        yield np.sort(members), grid.grown(1)


def _measure_window(
    readers: LakeReaders,
    hull: Grid,
    found: Components,
    members: NDArray[np.int64],
    window: Grid,
    level: float,
    transform: Affine,
    to_lonlat: Any,
) -> dict[str, list[Any]]:
    """Outlines and figures of the components of one window, in the order of `members`."""
    logits, _ = read_padded(readers, hull, window)
    places, numbered, n_raw = label_water(logits > level)
    address = (found.row[members] - window.row) * window.width + found.col[members] - window.col
    number = np.zeros(n_raw + 1, dtype=np.int32)
    number[numbered[np.searchsorted(places, address)]] = np.arange(1, len(members) + 1)
    labels = np.zeros(logits.shape, dtype=np.int32)
    labels.ravel()[places] = number[numbered]
    traced = trace_outlines(logits, labels, len(members), level, (window.row, window.col))
    rows: dict[str, list[Any]] = {
        "geometry": list(place_outlines(traced.polygons, transform, to_lonlat)),
        "transition_px": traced.transition_px.tolist(),
        "unobserved_share": traced.unobserved_share.tolist(),
        "touches_edge": (found.n_edge_sides[members] > 0).tolist(),
    }
    rows.update(_read_inside(readers, hull, window, labels, logits, len(members)))
    if readers.spread is not None:
        first = (found.row[members], found.col[members])
        rows.update(measure_band(readers, readers.spread, hull, window, first, level, transform, to_lonlat))
    return rows


def _read_inside(
    readers: LakeReaders,
    hull: Grid,
    window: Grid,
    labels: NDArray[np.integer],
    logits: NDArray[np.int16],
    n_labels: int,
) -> dict[str, list[Any]]:
    """Figures of the pixels inside each label 1..n: probability, height, observations, dates, water frequency."""
    inside = window.intersection(hull)
    if inside is None:
        raise ValueError(f"{window} lies outside {hull}")
    cut = inside.slices_in(window)
    groups = PixelGroups(labels[cut], n_labels)
    wet = groups.pick(logits[cut]).astype(np.float64) * LOGIT_STEP
    figures: dict[str, list[Any]] = {"mean_probability": groups.mean(1.0 / (1.0 + np.exp(-wet))).tolist()}
    nan = [np.nan] * n_labels
    figures["elevation_m"] = nan
    if readers.dem is not None:
        figures["elevation_m"] = groups.median(groups.pick(readers.dem(inside)).astype(np.float64)).tolist()
    figures["n_observations"], figures["water_frequency"] = nan, nan
    if readers.counts is not None:
        counts = readers.counts(inside)
        clear = groups.pick(counts[COUNT_NAMES.index("clear")]).astype(np.float64)
        water = groups.pick(counts[COUNT_NAMES.index("water")]).astype(np.float64)
        figures["n_observations"] = np.floor(groups.median(clear)).tolist()
        total = groups.sum(clear)
        share = np.full(n_labels, np.nan)
        np.divide(groups.sum(water), total, out=share, where=total > 0)
        figures["water_frequency"] = share.tolist()
    names = ("first_date", "median_date", "last_date")
    for name in names:
        figures[name] = [""] * n_labels
    if readers.dates is not None:
        dates = readers.dates(inside)
        for band, (name, choose) in enumerate(zip(names, (groups.minimum, groups.median, groups.maximum), strict=True)):
            days = groups.pick(dates[band]).astype(np.float64)
            days[days == 0] = np.nan
            figures[name] = [_iso(day) for day in choose(days)]
    return figures


def _iso(day: float) -> str:
    """ISO date of days since 1970-01-01, empty if unknown."""
    return date_of_days(int(day)).isoformat() if np.isfinite(day) else ""


def _finish(
    table: pd.DataFrame, epsg: int, area: BaseGeometry, origin: LakeOrigin, min_area_m2: float
) -> gpd.GeoDataFrame:
    """Add what follows from the geometry and the run."""
    geometry = table["geometry"].to_numpy()
    area_m2, perimeter_m = measure_geodesic(geometry)
    random, systematic = area_sigmas(
        perimeter_m,
        table["transition_px"].to_numpy(),
        table["unobserved_share"].to_numpy(),
        table["n_observations"].to_numpy(),
        lacks_radar=origin.is_network and not origin.radar_used,
        model=origin.error_model,
    )
    band = {name: table[name].to_numpy() for name in _band_of(table)}
    if band:
        band, random = widen_sigma(band, area_m2, random)
    shapely.prepare(area)
    added: dict[str, Any] = {
        "lake_id": [lake_id_of(polygon) for polygon in geometry],
        "aoi": origin.aoi,
        "year": origin.year,
        "area_m2": area_m2,
        "area_sigma_random_m2": random,
        "area_sigma_systematic_m2": systematic,
        "area_sigma_m2": np.hypot(random, systematic),
        "perimeter_m": perimeter_m,
        "radar_used": origin.radar_used,
        "model": origin.model,
        "epsg": epsg,
        **band,
        "is_lake": (area_m2 >= min_area_m2) & shapely.intersects(area, geometry),
        "n_observations": pd.array(table["n_observations"].to_numpy(), dtype="Int64"),
    }
    frame = gpd.GeoDataFrame(table.assign(**added), geometry="geometry", crs="EPSG:4326")
    return frame[[*LAKE_COLUMNS, *band, "is_lake", "epsg", "geometry"]]


def _empty(band: tuple[str, ...] = ()) -> gpd.GeoDataFrame:
    """A table without a lake, all columns with their types."""
    texts = {"lake_id", "aoi", "model", "median_date", "first_date", "last_date"}
    flags = {"radar_used", "touches_edge", "is_lake"}
    wholes = {"year", "epsg"}
    columns: dict[str, Any] = {}
    for name in (*LAKE_COLUMNS, *band, "is_lake", "epsg"):
        dtype = "str" if name in texts else "bool" if name in flags else "int64" if name in wholes else "float64"
        columns[name] = pd.Series([], dtype="Int64" if name == "n_observations" else dtype)
    return gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries([], crs="EPSG:4326"), crs="EPSG:4326")
