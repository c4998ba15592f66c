"""Small lake tables for tests: boxes on a grid of thousandths of a degree near 77 E, 43 N."""

from __future__ import annotations

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import shapely
from hypothesis import strategies as st

from cryosentinel_core.ground.geodesic import lake_id_of, measure_geodesic
from cryosentinel_core.lakes.tables import LAKE_COLUMNS

Box = tuple[float, float, float, float]
"""(west, south, east, north) in thousandths of a degree from 77 E, 43 N: about 81 m by 111 m each."""


MIRRORED = {
    "new": "vanished", "vanished": "new", "grown": "shrunk", "shrunk": "grown", "merged": "split", "split": "merged",
    "stable": "stable", "complex": "complex",
}  # fmt: skip
"""A status -> what it is with time turned round."""


def box(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    return shapely.box(77 + west / 1000, 43 + south / 1000, 77 + east / 1000, 43 + north / 1000)


def table(year: int, boxes: Sequence[Box], *, date: str = "08-15", edge: Sequence[int] = ()) -> gpd.GeoDataFrame:
    """A lake table of some boxes; `edge` names the rows that touch the edge of the processed ground."""
    outlines = [box(*corners) for corners in boxes]
    area, perimeter = measure_geodesic(outlines)
    columns = {
        "lake_id": [lake_id_of(outline) for outline in outlines],
        "aoi": "test",
        "year": year,
        "area_m2": area,
        "area_sigma_random_m2": 3.0 * np.sqrt(40.0 * perimeter),
        "area_sigma_systematic_m2": 0.8 * perimeter,
        "area_sigma_m2": np.hypot(3.0 * np.sqrt(40.0 * perimeter), 0.8 * perimeter),
        "perimeter_m": perimeter,
        "elevation_m": 3300.0,
        "mean_probability": 0.95,
        "n_observations": 4,
        "median_date": f"{year}-{date}",
        "first_date": f"{year}-07-05",
        "last_date": f"{year}-09-20",
        "water_frequency": 1.0,
        "radar_used": True,
        "touches_edge": [row in edge for row in range(len(outlines))],
        "model": "water-index",
    }
    return gpd.GeoDataFrame(columns, geometry=outlines, crs="EPSG:4326")[[*LAKE_COLUMNS, "geometry"]]


@st.composite
def boxes_of_a_year(draw: st.DrawFn) -> list[Box]:
    """Boxes that lie apart, in three rows, of 0.04 to 20 ha: of two years some overlap, some merge or split, some stand alone."""
    found: list[Box] = []
    for south in (0.0, 3.0, 6.0):
        cuts = sorted(draw(st.lists(st.integers(0, 40), max_size=8, unique=True)))
        for west, east in zip(cuts[::2], cuts[1::2], strict=False):
            found.append((west / 4, south, east / 4, south + draw(st.integers(2, 20)) / 10))
    return found
