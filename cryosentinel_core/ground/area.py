"""The area of interest as cells of the lattice. Pure geometry; `io.tables.area_loading` reads the files.

Three sets of cells, each fixed by the area alone: the cells that it *touches*; the *core*, one ring more, in which every pixel
gets its full answer (so that a lake that leaves the area is followed for at least 2,240 m); the *ground*, two rings more, which
is what must be fetched (windows and neighbourhoods of core pixels reach no farther).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.errors import AreaError
from cryosentinel_core.ground.geodesic import geodesic_area_m2
from cryosentinel_core.ground.lattice import Cell, cells_of_bounds, group_cells, owner_of_cell
from cryosentinel_core.ground.projection import Zone, project_geometry, zone_of_lonlat
from cryosentinel_core.reporter import counted

HIGH_MOUNTAIN_ASIA = (67.0, 26.0, 104.0, 45.6)
"""(west, south, east, north): the hull of the published regions; nothing is validated outside."""

_NOUNS = {"Point": "point", "LineString": "line"}

CORE_RINGS = 1
GROUND_RINGS = 2


@dataclass(frozen=True, kw_only=True)
class AreaSource:
    """What an area was read from.

    Attributes:
        label: The file as it was given, or the region's name.
        n_layers: Layers with polygons; 0 where there are no layers, as in GeoJSON.
        n_polygons: Polygons drawn in it, each part of a multipolygon counted.
        left_out: Kind of geometry, such as `Point` -> how many were left out because they have no area.
    """

    label: str
    n_layers: int = 0
    n_polygons: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Area:
    """A named area of interest.

    Attributes:
        name: Safe to name a folder.
        geometry: Valid, non-empty polygon or multipolygon, EPSG:4326, longitudes in -180..180.
        source: What it was read from; None where it was made in memory.
    """

    name: str
    geometry: BaseGeometry
    source: AreaSource | None = None

    def __post_init__(self) -> None:
        if self.geometry.is_empty or self.geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise AreaError(
                f"area {self.name!r} is {self.geometry.geom_type}, wanted a polygon", "draw it as a polygon"
            )
        if not self.geometry.is_valid:
            reason = shapely.is_valid_reason(self.geometry)
            raise AreaError(f"area {self.name!r} is not valid: {reason}", "repair it, in QGIS with Fix geometries")

    @cached_property
    def touched(self) -> tuple[Cell, ...]:
        """Cells of the zone of their centre that the area touches, sorted."""
        found: set[Cell] = set()
        for zone in self._zones():
            found.update(cell for cell in _cells_touching(self.geometry, zone) if owner_of_cell(cell) == zone)
        return tuple(sorted(found))

    @cached_property
    def core(self) -> tuple[Cell, ...]:
        """Cells in which every pixel gets its full answer: one ring around the touched cells, per zone.

        At a zone's border this is the cell by which the zone is processed past its border.
        """
        return _grow(self.touched, CORE_RINGS)

    @cached_property
    def ground(self) -> tuple[Cell, ...]:
        """Cells that must be fetched: two rings around the touched cells, per zone."""
        return _grow(self.touched, GROUND_RINGS)

    @property
    def zones(self) -> tuple[Zone, ...]:
        """Zones with at least one touched cell."""
        return tuple(Zone(epsg) for epsg in sorted({cell.epsg for cell in self.touched}))

    @property
    def area_km2(self) -> float:
        """Geodesic area in square kilometres."""
        return geodesic_area_m2(self.geometry) / 1e6

    @property
    def is_validated(self) -> bool:
        """True if the whole area lies in High Mountain Asia."""
        return bool(shapely.box(*HIGH_MOUNTAIN_ASIA).covers(self.geometry))

    def as_text(self) -> str:
        """What was understood, in one line: `area aoi.kml: 2 layers, 3 polygons, 12.3 km2, 4 tiles, zones 43 and 44`."""
        source = self.source or AreaSource(label=self.name)
        told = [counted(source.n_layers, "layer")] if source.n_layers else []
        told += [counted(source.n_polygons, "polygon")] if source.n_polygons else []
        told += [
            _km2_in_words(self.area_km2),
            counted(len(group_cells(self.ground)), "tile"),
            _zones_in_words(self.zones),
        ]
        left = ", ".join(counted(number, _NOUNS.get(kind, kind)) for kind, number in sorted(source.left_out.items()))
        return f"area {source.label}: {', '.join(told)}" + (f"; without an area and left out: {left}" if left else "")

    def is_same_ground(self, geometry: BaseGeometry) -> bool:
        """True if another geometry in EPSG:4326 covers the same ground, but for a millionth of its area."""
        apart = shapely.symmetric_difference(self.geometry, geometry).area
        return bool(apart <= 1e-6 * self.geometry.area)

    def in_zone(self, epsg: int) -> BaseGeometry:
        """The area in a zone's metres, its edges densified so that they stay straight in degrees."""
        return _project(self.geometry, epsg)

    def _zones(self) -> list[Zone]:
        """Every zone that a part of the area may have a cell in."""
        found: set[Zone] = set()
        for part in getattr(self.geometry, "geoms", [self.geometry]):
            west, south, east, north = part.bounds
            for lat in (south, north):
                for lon in [*np.arange(west - 0.05, east + 0.05, 1.0).tolist(), east + 0.05]:
                    found.add(zone_of_lonlat(float(lon), lat))
            if south < 0 < north:
                found.update(zone_of_lonlat(lon, sign * 0.01) for lon in (west, east) for sign in (-1.0, 1.0))
        return sorted(found)


def _km2_in_words(area_km2: float) -> str:
    """Three digits of a small area, whole square kilometres of a large one, square metres of a speck."""
    if area_km2 < 0.01:
        return f"{1e6 * area_km2:.0f} m2"
    return f"{area_km2:,.0f} km2" if area_km2 >= 100 else f"{area_km2:.3g} km2"


def _zones_in_words(zones: tuple[Zone, ...]) -> str:
    """`zone 43`, `zones 43 and 44`, with an S in the southern half."""
    names = [f"{zone.number}{'S' if zone.is_south else ''}" for zone in zones]
    if len(names) == 1:
        return f"zone {names[0]}"
    return f"zones {', '.join(names[:-1])} and {names[-1]}"


def _project(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """EPSG:4326 -> a zone's metres."""
    return project_geometry(shapely.segmentize(geometry, 0.02), 4326, epsg)


def _cells_touching(geometry: BaseGeometry, zone: Zone) -> list[Cell]:
    """Cells of a zone's lattice (whoever owns them) that a geometry in EPSG:4326 touches."""
    west, east = zone.west - 1.0, zone.east + 1.0
    south, north = (-80.0, 0.5) if zone.is_south else (-0.5, 84.0)
    near = shapely.intersection(geometry, shapely.box(west, south, east, north))
    if near.is_empty:
        return []
    projected = shapely.buffer(_project(near, zone.epsg), 0)
    shapely.prepare(projected)
    cells = list(cells_of_bounds(zone.epsg, projected.bounds))
    boxes = shapely.box(*np.array([cell.grid.bounds for cell in cells]).T)
    touches = shapely.intersects(projected, boxes)
    return [cell for cell, hit in zip(cells, touches, strict=True) if hit]


def _grow(cells: tuple[Cell, ...], rings: int) -> tuple[Cell, ...]:
    """The cells with all their neighbours within some rings, sorted."""
    grown = {neighbour for cell in cells for neighbour in cell.neighbours(rings)}
    return tuple(sorted(grown))
