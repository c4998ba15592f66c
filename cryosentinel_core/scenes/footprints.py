"""Footprints of scenes and outlines of tiles on the globe: cut at the antimeridian, compared.

Pure functions on geometries in EPSG:4326. Neighbours: `items` reads footprints, `selection` compares them with tiles.
"""

from __future__ import annotations

from functools import lru_cache

import antimeridian
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.units import CELL_M

HALF_TURN_DEG = 180.0
"""No tile and no scene is wider than this: a geometry that seems to be goes the other way round."""


@lru_cache(maxsize=512)
def outline_of_tile(tile: Tile, reach_m: float = 0.0) -> BaseGeometry:
    """Outline of a tile grown by a reach, EPSG:4326, its edges densified to 2.2 km."""
    minx, miny, maxx, maxy = tile.grid.bounds
    outline = shapely.box(minx - reach_m, miny - reach_m, maxx + reach_m, maxy + reach_m)
    projected: BaseGeometry = project_geometry(shapely.segmentize(outline, float(CELL_M)), tile.epsg, 4326)
    return cut_at_antimeridian(projected)


def cut_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry of polygons whose longitudes jump from 180 to -180, as parts on both sides; any other as it is.

    Args:
        geometry: EPSG:4326; a part wider than half the globe is taken to be one that crosses the antimeridian.
    """
    west, _, east, _ = geometry.bounds
    if not east - west > HALF_TURN_DEG:
        return geometry
    parts = []
    for part in shapely.get_parts(geometry):
        is_wide = part.bounds[2] - part.bounds[0] > HALF_TURN_DEG
        # Edges are straight in longitude and latitude, as ours are densified and archives' footprints are small.
        parts.append(antimeridian.fix_polygon(part, fix_winding=True, great_circle=False) if is_wide else part)
    return shapely.union_all(parts)


def share_of_tile(footprint: BaseGeometry, tile: Tile) -> float:
    """Share 0..1 of a tile that a footprint (EPSG:4326) covers."""
    outline = outline_of_tile(tile)
    return float(shapely.intersection(outline, footprint).area / outline.area)
