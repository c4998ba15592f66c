"""The change table as data frames: one type a column, one order of rows, q-values over the whole table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.significance import q_values
from cryosentinel_core.ground.geodesic import geodesic_area_m2
from cryosentinel_core.lakes.outlines import repair_polygon
from cryosentinel_core.lakes.tables import CHANGE_COLUMNS, TREND_COLUMNS

_TEXT: Final = ("lake_key", "aliases", "pair", "status", "reason", "lake_ids_from", "lake_ids_to")


def add_gained_and_lost(
    pieces: dict[str, list[dict[str, Any]]], row: dict[str, Any], before: BaseGeometry, after: BaseGeometry
) -> None:
    """Add the ground that a lake gained and lost."""
    for name, piece in (("gained", shapely.difference(after, before)), ("lost", shapely.difference(before, after))):
        polygons = repair_polygon(piece) if not piece.is_empty else piece
        area = geodesic_area_m2(polygons)
        if area > 0:
            pieces[name].append(
                {"lake_key": row["lake_key"], "pair": row["pair"], "area_m2": area, "geometry": polygons}
            )


def as_change_frame(rows: list[dict[str, Any]], pairs: Sequence[tuple[int, int]]) -> gpd.GeoDataFrame:
    """The table with q-values, in order of pairs and keys, with one type a column."""
    names = list(CHANGE_COLUMNS) + (list(TREND_COLUMNS) if len(pairs) > 1 else [])
    rank = {f"{a}-{b}": number for number, (a, b) in enumerate(pairs)}
    rows = sorted(rows, key=lambda row: (rank[row["pair"]], row["lake_key"]))
    adjusted = q_values(np.array([row["p"] for row in rows], dtype=float))
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names}
    columns["q_value"] = adjusted
    frame = pd.DataFrame(columns, columns=names)
    for name in names:
        if name == "significant":
            frame[name] = pd.array(columns[name], dtype="boolean")
        elif name in _TEXT:
            frame[name] = frame[name].astype(str)
        elif name in ("year_from", "year_to"):
            frame[name] = frame[name].astype("int64")
        elif name == "touches_edge":
            frame[name] = frame[name].astype(bool)
        else:
            frame[name] = frame[name].astype("float64")
    return gpd.GeoDataFrame(
        frame, geometry=gpd.GeoSeries([row["geometry"] for row in rows], crs="EPSG:4326"), crs="EPSG:4326"
    )


def as_piece_frame(rows: list[dict[str, Any]]) -> gpd.GeoDataFrame:
    """Gained or lost ground in order of pairs and keys."""
    rows = sorted(rows, key=lambda row: (row["pair"], row["lake_key"]))
    columns = {
        "lake_key": pd.Series([row["lake_key"] for row in rows], dtype="str"),
        "pair": pd.Series([row["pair"] for row in rows], dtype="str"),
        "area_m2": pd.Series([row["area_m2"] for row in rows], dtype="float64"),
    }
    return gpd.GeoDataFrame(
        columns, geometry=gpd.GeoSeries([row["geometry"] for row in rows], crs="EPSG:4326"), crs="EPSG:4326"
    )
