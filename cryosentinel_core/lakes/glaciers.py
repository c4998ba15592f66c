"""Outlines of glaciers that a user gives (RGI, GLIMS): where they lie on a grid, and how far a lake is from the nearest.

Neighbours: `io.tables.inventories` reads them; `glacier_ice` lets them settle a doubt; `change` makes columns of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import project_geometry, zone_of_lonlat

FARTHEST_M: Final = 10_000.0
"""Distance beyond which a glacier is not looked for."""

TOUCHING_M: Final = 30.0
"""Distance up to which a lake touches a glacier: a pixel of the imagery that inventories are drawn on."""

_DEGREE_M: Final = 111_320.0


@dataclass(frozen=True, eq=False)
class GlacierOutlines:
    """Glaciers.

    Attributes:
        outlines: Polygons in EPSG:4326.
    """

    outlines: Sequence[BaseGeometry]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(list(self.outlines))

    def mask_on(self, grid: Grid) -> NDArray[np.bool_]:
        """(H, W) bool, True where a pixel's centre lies on a glacier."""
        frame = project_geometry(shapely.box(*grid.bounds), grid.epsg, 4326)
        near = [project_geometry(self.outlines[i], 4326, grid.epsg) for i in self._tree.query(frame)]
        if not near:
            return np.zeros(grid.shape, dtype=bool)
        burnt: NDArray[np.uint8] = rasterize(near, out_shape=grid.shape, transform=grid.transform, dtype=np.uint8)
        return burnt.astype(bool)

    def distance_m(self, lake: BaseGeometry) -> float:
        """Metres from a lake (EPSG:4326) to the nearest glacier, in the lake's UTM zone; NaN beyond `FARTHEST_M`."""
        if lake.is_empty:
            return float("nan")
        point = lake.centroid
        high = FARTHEST_M / _DEGREE_M
        wide = high / max(float(np.cos(np.radians(point.y))), 0.05)
        minx, miny, maxx, maxy = lake.bounds
        frame = shapely.box(minx - wide, miny - high, maxx + wide, maxy + high)
        near = self._tree.query(frame)
        if not near.size:
            return float("nan")
        epsg = zone_of_lonlat(point.x, point.y).epsg
        placed = project_geometry(lake, 4326, epsg)
        parts = [shapely.make_valid(self.outlines[i]).intersection(frame) for i in near]
        distances = [placed.distance(project_geometry(part, 4326, epsg)) for part in parts if not part.is_empty]
        nearest = min(distances, default=float("inf"))
        return float(nearest) if nearest <= FARTHEST_M else float("nan")
