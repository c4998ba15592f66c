"""Results of a year that `predict` left, read again for a comparison: lakes, classes of the ground, true colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosentinel_core.change.image_shifts import REGISTRATION_BAND, ImageReaders
from cryosentinel_core.errors import ConfigError, DataError
from cryosentinel_core.ground.lattice import Cell, Grid
from cryosentinel_core.io.rasters.mosaic import read_part
from cryosentinel_core.io.rasters.stack_files import RECORD as TILE_RECORD
from cryosentinel_core.io.rasters.stack_files import Layer
from cryosentinel_core.io.rasters.stack_files import read_layer as read_stack_layer
from cryosentinel_core.io.tables.vector import read_lakes
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.lakes.observed_ground import ZoneClasses
from cryosentinel_core.lakes.pixel_classes import WATER_UNOBSERVED
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.stack.stack import COUNT_NAMES
from cryosentinel_core.units import REFLECTANCE_SCALE, TILE_CELLS

TRUE_COLOUR: Final = ("B04", "B03", "B02")
"""Red, green, blue."""


@dataclass(frozen=True, eq=False)
class TrueColour:
    """Source of a year's true colour.

    Attributes:
        zones: EPSG of the zones that it covers.
        read: (EPSG, Grid) -> (3, H, W) float32 reflectance of red, green and blue, NaN = nodata; None where there is none.
    """

    zones: tuple[int, ...]
    read: Callable[[int, Grid], NDArray[np.float32] | None]


@dataclass(frozen=True, eq=False)
class YearOfLakes:
    """One year's results on disk.

    Attributes:
        year: Year of the imagery.
        folder: `<aoi>/<year>/<model>`.
        run: Its record, `run.json`.
    """

    year: int
    folder: Path
    run: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path, year: int) -> YearOfLakes:
        """The results of a year.

        Raises:
            DataError: If there are none, or not whole.
        """
        run = read_json(folder / "run.json")
        if not isinstance(run, dict) or "digest" not in run:
            raise DataError(f"no lakes of {year} in {folder}", f"run predict for {year} first")
        return cls(year, folder, run)

    @property
    def digest(self) -> str:
        """Digest of all that decided the lakes."""
        return str(self.run["digest"])

    @property
    def radar_used(self) -> bool:
        """True if radar took part."""
        return bool(self.run.get("settings", {}).get("radar_used"))

    @property
    def is_network(self) -> bool:
        """True if a network found the lakes; where an older record does not say, by its constants."""
        return bool(self.run.get("is_network", self.error_model != WATER_INDEX_ERRORS))

    @property
    def error_model(self) -> UncertaintyModel:
        """Constants of how far the segmenter's outlines are off.

        Raises:
            DataError: If the record does not say them.
        """
        try:
            return UncertaintyModel(**self.run["settings"]["uncertainty"])
        except (KeyError, TypeError, ConfigError) as error:
            raise DataError(
                f"{self.folder / 'run.json'} does not say how far the outlines of {self.year} are off",
                f"run predict for {self.year} again",
            ) from error

    @property
    def min_area_m2(self) -> float:
        """Smallest lake of the year's own table; 0 if the record does not say."""
        return float(self.run.get("settings", {}).get("min_area_m2", 0.0))

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run."""
        return [str(text) for text in self.run.get("warnings", [])]

    @property
    def stack(self) -> Path | None:
        """The stack's folder; None if it is gone."""
        name = self.run.get("stack")
        folder = self.folder.parent / str(name)
        return folder if name and folder.is_dir() else None

    @property
    def tile_cells(self) -> int:
        """Cells along a side of the stack's tiles."""
        return int(self.run.get("stack_tile_cells", TILE_CELLS))

    def read_outlines(self) -> tuple[gpd.GeoDataFrame, NDArray[np.bool_]]:
        """Lakes and candidates in one table, and (N,) bool: True for rows that are lakes of the year's own table.

        Raises:
            DataError: If the file is missing or damaged.
        """
        lakes, candidates = read_lakes(self.folder)
        filled = [frame for frame in (lakes, candidates) if len(frame)]
        table = pd.concat(filled, ignore_index=True) if filled else lakes
        return gpd.GeoDataFrame(table, geometry="geometry", crs="EPSG:4326"), np.arange(len(table)) < len(lakes)

    def zone_classes(self) -> dict[int, ZoneClasses]:
        """EPSG -> readers of the class rasters.

        Raises:
            DataError: If there is none.
        """
        zones = {}
        for path in sorted(self.folder.glob("water_*.tif")):
            epsg = int(path.stem.removeprefix("water_"))
            zones[epsg] = ZoneClasses(
                water=_water_reader(path),
                condition=self._layer_reader("class", band=0),
                heights=self._layer_reader("dem", band=0),
                counts=self._layer_reader("clear"),
            )
        if not zones:
            raise DataError(f"no water_<epsg>.tif in {self.folder}", f"run predict for {self.year} again")
        return zones

    def image_readers(self) -> ImageReaders | None:
        """Readers of the stack and the classes, to measure how two years' images lie; None if the stack is gone.

        Raises:
            DataError: If there are no classes.
        """
        stack = self.stack
        if stack is None:
            return None
        zones = self.zone_classes()

        def band_of(layer: Layer, band: int) -> Callable[[Grid], NDArray[Any]]:
            return lambda patch: np.asarray(read_stack_layer(stack, layer, patch, tile_cells=self.tile_cells)[band])

        return ImageReaders(
            cells=frozenset(cell for cell in _cells_of_stack(stack) if cell.epsg in zones),
            image=band_of("s2", index_of_band(REGISTRATION_BAND)),
            water=lambda patch: zones[patch.epsg].water(patch),
            condition=band_of("class", 0),
            wet_dates=band_of("clear", COUNT_NAMES.index("water")),
        )

    def true_colour(self) -> TrueColour | None:
        """Reader of the stack's red, green and blue; None if the stack is gone."""
        stack = self.stack
        if stack is None:
            return None

        def read(epsg: int, grid: Grid) -> NDArray[np.float32] | None:
            if not (stack / str(epsg)).is_dir():
                return None
            stored = read_stack_layer(stack, "s2", grid, tile_cells=self.tile_cells)
            bands = [index_of_band(name) for name in TRUE_COLOUR]
            colour = np.asarray(stored[bands] / REFLECTANCE_SCALE, dtype=np.float32)
            colour[:, (stored == 0).all(axis=0)] = np.nan
            return colour

        return TrueColour(zones=tuple(int(epsg) for epsg in self.run.get("zones", ())), read=read)

    def _layer_reader(self, layer: Layer, band: int | None = None) -> Callable[[Grid], NDArray[Any]] | None:
        """Reader of a layer of the stack, of one band of it where one is named; None if the stack is gone."""
        stack = self.stack
        if stack is None:
            return None

        def read(grid: Grid) -> NDArray[Any]:
            bands = read_stack_layer(stack, layer, grid, tile_cells=self.tile_cells)
            return np.asarray(bands if band is None else bands[band])

        return read


def shared_error_model(years: Mapping[int, YearOfLakes]) -> UncertaintyModel:
    """The constants that the lakes of all years were found with.

    Raises:
        DataError: If a record does not say them, or two years differ: their sigmas could not be compared.
    """
    models = {year: results.error_model for year, results in years.items()}
    first = next(iter(models))
    for year, model in models.items():
        if model != models[first]:
            raise DataError(
                f"the lakes of {first} and {year} were found with different constants of their outlines' error",
                "run predict again for both years",
            )
    return models[first]


def _cells_of_stack(stack: Path) -> set[Cell]:
    """The cells that a stack holds, from the records of its tiles."""
    cells: set[Cell] = set()
    for path in stack.glob(f"*/*/{TILE_RECORD}"):
        record = read_json(path)
        if isinstance(record, dict):
            cells.update(Cell(int(record["epsg"]), *place) for place in record["inputs"].get("cells", []))
    return cells


def _water_reader(path: Path) -> Callable[[Grid], NDArray[np.uint8]]:
    """Grid -> classes, unobserved outside the file."""
    return lambda grid: read_part(path, grid, WATER_UNOBSERVED).astype(np.uint8)
