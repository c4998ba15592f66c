"""Labels from outlines: which inventory speaks for a year, and which pixels its lakes cover."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.ground.projection import transformer


def label_year_of(year: int, inventories: Collection[int], fixed: Mapping[int, int] | None = None) -> int:
    """The year of the inventory that labels the imagery of a year: the nearest, of two equally near ones the later.

    With the inventories of 2016 and 2022 this is the released rule: before 2019 that of 2016, else that of 2022.

    Args:
        year: Of the imagery.
        inventories: Years that there are inventories of.
        fixed: Year of imagery -> year of inventory, where another one is wanted.

    Raises:
        InputError: If there is no inventory, or a fixed one is not there.
    """
    if not inventories:
        raise InputError("no inventory to label chips with", "give one with --inventory YEAR=FILE, or --truth FOLDER")
    if fixed and year in fixed:
        if fixed[year] not in inventories:
            there = ", ".join(str(one) for one in sorted(inventories))
            raise InputError(f"no inventory of {fixed[year]} to label {year} with", f"there are {there}")
        return fixed[year]
    return min(inventories, key=lambda one: (abs(one - year), -one))


@dataclass(frozen=True, eq=False)
class Outlines:
    """Lakes of one inventory in the metres of one UTM zone.

    Attributes:
        epsg: The zone.
        polygons: (N,) valid polygons.
    """

    epsg: int
    polygons: NDArray[np.object_]

    @classmethod
    def project(cls, lonlat: NDArray[np.object_], epsg: int) -> Outlines:
        """The outlines of a zone from polygons in EPSG:4326; only those within the zone and 3 degrees beside it."""
        west = (epsg % 100) * 6.0 - 186.0
        bounds = shapely.bounds(lonlat)
        near = (bounds[:, 2] >= west - 3.0) & (bounds[:, 0] <= west + 9.0)
        to_zone = transformer(4326, epsg)
        polygons = shapely.transform(
            lonlat[near], lambda points: np.column_stack(to_zone.transform(points[:, 0], points[:, 1]))
        )
        bent = ~shapely.is_valid(polygons)
        polygons[bent] = shapely.make_valid(polygons[bent])
        return cls(epsg, polygons)

    def near(self, grid: Grid) -> Outlines:
        """Those that touch a grid."""
        touching = shapely.intersects(self.polygons, shapely.box(*grid.bounds))
        return Outlines(self.epsg, self.polygons[touching])

    def touched(self, grids: list[Grid]) -> NDArray[np.bool_]:
        """(len(grids),) True for grids that an outline touches."""
        found = np.zeros(len(grids), dtype=bool)
        if grids and len(self.polygons):
            boxes = shapely.box(*np.array([grid.bounds for grid in grids]).T)
            hit, _ = shapely.STRtree(self.polygons).query(boxes, predicate="intersects")
            found[hit] = True
        return found

    def burn(self, grid: Grid) -> NDArray[np.uint8]:
        """(H, W) uint8 label: 1 in every pixel that an outline touches (GDAL's all_touched, as published), else 0."""
        near = self.near(grid).polygons
        if not len(near):
            return np.zeros(grid.shape, dtype=np.uint8)
        return np.asarray(
            rasterize(near.tolist(), out_shape=grid.shape, transform=grid.transform, all_touched=True, dtype="uint8")
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the outlines to the millimetre, whatever their order and first corner."""
        rounded = shapely.normalize(shapely.set_precision(self.polygons, 0.001, mode="pointwise"))
        found = hashlib.sha256()
        for wkb in sorted(shapely.to_wkb(rounded)):
            found.update(wkb)
        return found.hexdigest()
