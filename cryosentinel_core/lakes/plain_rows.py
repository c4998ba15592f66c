"""Lake tables as plain data and back, for records that hold a chip's lakes; every number exact.

Neighbours: `extract` makes the tables; `tables` names their columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely

from cryosentinel_core.lakes.extract import merge_zones
from cryosentinel_core.lakes.tables import BAND_COLUMNS, LAKE_COLUMNS


def rows_of(table: geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    """A lake table as plain data: outlines as WKB in hex, what is unknown as None."""
    plain = pd.DataFrame(table.drop(columns="geometry")).astype(object)
    plain = plain.where(plain.notna(), None).assign(geometry=shapely.to_wkb(table.geometry.to_numpy(), hex=True))
    return [
        {str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        for row in plain.to_dict(orient="records")
    ]


def table_of(rows: Sequence[Mapping[str, Any]], *, with_band: bool = False) -> geopandas.GeoDataFrame:
    """The lake table that `rows_of` made plain.

    Args:
        rows: Its rows.
        with_band: Whether they have an area band; a table without a row then has its columns too.
    """
    lakes, _ = merge_zones([])
    band = dict.fromkeys(BAND_COLUMNS if with_band else (), "float64")
    kinds = {name: lakes[name].dtype for name in LAKE_COLUMNS} | band | {"is_lake": "bool", "epsg": "int64"}
    plain = pd.DataFrame(list(rows), columns=[*kinds, "geometry"])
    outlines = shapely.from_wkb(plain.pop("geometry").to_numpy())
    return geopandas.GeoDataFrame(plain.astype(kinds), geometry=outlines, crs="EPSG:4326")
