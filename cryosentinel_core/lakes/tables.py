"""Lakes as nouns: the columns of their tables, the words of the change table, and what a lake room is given to work with.

The tables themselves are GeoDataFrames with exactly these columns in exactly this order; files and readers rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Grid
from cryosentinel_core.lakes.uncertainty import half_pixel_m
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel

_INVENTORY: Final = re.compile(
    r"^(?P<year>\d{4})=(?P<path>.+?)(\?(?P<column>[^?=@]+)=(?P<value>[^?@]*))?@(?P<metres>\d+(\.\d+)?)\s*m?"
    r"(\s*(±|\+-|\+/-)\s*(?P<error>\d+(\.\d+)?)\s*(?P<unit>px|m))?$"
)

LAKE_COLUMNS: Final = (
    "lake_id",
    "aoi",
    "year",
    "area_m2",
    "area_sigma_random_m2",
    "area_sigma_systematic_m2",
    "area_sigma_m2",
    "perimeter_m",
    "elevation_m",
    "mean_probability",
    "n_observations",
    "median_date",
    "first_date",
    "last_date",
    "water_frequency",
    "radar_used",
    "touches_edge",
    "model",
)
"""Columns of the layers `lakes` and `candidates`, before the geometry."""

BAND_COLUMNS: Final = ("area_low_m2", "area_high_m2")
"""Columns that follow `LAKE_COLUMNS` where the spread of a network's members was asked for."""

CHANGE_COLUMNS: Final = (
    "lake_key",
    "aliases",
    "pair",
    "status",
    "reason",
    "year_from",
    "year_to",
    "area_from_m2",
    "area_to_m2",
    "change_m2",
    "change_percent",
    "change_sigma_m2",
    "critical_change_m2",
    "minimum_detectable_change_m2",
    "significant",
    "q_value",
    "rate_m2_per_year",
    "observed_from",
    "observed_to",
    "day_of_year_difference",
    "lake_ids_from",
    "lake_ids_to",
    "touches_edge",
    "elevation_m",
    "lon",
    "lat",
    "total_status",
    "glacier_contact_from",
    "glacier_contact_to",
    "glacier_distance_m",
)
"""Columns of the change table for two years; three or more add `TREND_COLUMNS`."""

TREND_COLUMNS: Final = (
    "trend_m2_per_year",
    "trend_low_m2_per_year",
    "trend_high_m2_per_year",
    "trend_robust_m2_per_year",
    "trend_robust_low_m2_per_year",
    "trend_robust_high_m2_per_year",
)
"""Slope over all observed years and its interval, weighted by each year's error; beside it Theil-Sen's; the same in every row of a
lake."""

AGREEMENT: Final = "agreement"
"""Column of the change table where another model checked it: the less of the agreements in both years, 0..1, NaN if unknown."""

SERIES_COLUMNS: Final = ("lake_key", "year", "area_m2", "area_sigma_m2", "observed")
"""Columns of `series.csv`."""


class Status(StrEnum):
    """Word for what happened to a lake between two years."""

    GROWN = "grown"
    SHRUNK = "shrunk"
    STABLE = "stable"
    NEW = "new"
    VANISHED = "vanished"
    MERGED = "merged"
    SPLIT = "split"
    COMPLEX = "complex"
    UNOBSERVED = "unobserved"


class Reason(StrEnum):
    """Why a lake counts as unobserved in a pair of years."""

    NONE = ""
    CLOUD = "cloud"
    ICE = "ice"
    SHADOW = "shadow"
    NODATA = "nodata"
    SEASON = "season"
    EDGE = "edge"
    NOT_DRAWN = "not drawn"


@dataclass(frozen=True, kw_only=True)
class GroundSeen:
    """Pixels of a piece of ground, by what one year saw of them.

    Attributes:
        land: Bare, snow-free ground.
        lake: Water.
        ice: Snow or ice.
        shadow: Terrain shadow.
        cloud: Cloud or its shadow on every date.
        nodata: No acquisition, or not processed.
        touches_glacier: True if the year's water ends at a glacier.
    """

    land: int = 0
    lake: int = 0
    ice: int = 0
    shadow: int = 0
    cloud: int = 0
    nodata: int = 0
    touches_glacier: bool = False

    @property
    def total(self) -> int:
        """All pixels of the ground."""
        return self.land + self.lake + self.ice + self.shadow + self.cloud + self.nodata

    @property
    def observed_share(self) -> float:
        """Share seen as land or water, 0..1; 0 for no ground at all."""
        return (self.land + self.lake) / self.total if self.total else 0.0

    @property
    def is_observed_whole(self) -> bool:
        """True if every pixel was seen, as land or as water."""
        return self.total > 0 and self.land + self.lake == self.total

    @property
    def reason(self) -> Reason:
        """The commonest cause of what was not seen; `NONE` if all was."""
        causes = {
            Reason.ICE: self.ice,
            Reason.SHADOW: self.shadow,
            Reason.CLOUD: self.cloud,
            Reason.NODATA: self.nodata,
        }
        most = max(causes, key=lambda cause: causes[cause])
        return most if causes[most] else Reason.NONE


@dataclass(frozen=True, kw_only=True)
class LakeOrigin:
    """Origin that all lakes of one run have in common.

    Attributes:
        aoi: Name of the area of interest.
        year: Year of the imagery.
        model: `water-index`, or name and digest of the weights.
        radar_used: True if radar took part in the segmentation.
        is_network: True for a network, whose outlines are less sure without the radar it was trained with.
        error_model: Constants of the segmenter's outlines.
    """

    aoi: str
    year: int
    model: str
    radar_used: bool
    is_network: bool = False
    error_model: UncertaintyModel = WATER_INDEX_ERRORS


@dataclass(frozen=True, kw_only=True)
class LakeReaders:
    """How the rasters of one UTM zone are read, piece by piece; every grid asked for lies inside the hull.

    Attributes:
        logits: Grid -> (H, W) int16 stored logits, `LOGIT_NODATA` where unobserved.
        processed: Grid -> (H, W) bool, True where pixels got their full answer; everything else is the edge of the work.
        dem: Grid -> (H, W) float metres, NaN = nodata; None where there is none.
        counts: Grid -> (5, H, W) uint8, dates by `stack.stack.COUNT_NAMES`; None where there are none.
        dates: Grid -> (3, H, W) uint16, days since 1970-01-01 by `stack.stack.DATE_NAMES`, 0 where none; None where there are none.
        spread: Grid -> (H, W) uint16 stored spreads of the logits, `SPREAD_NODATA` where unobserved; None where there are none.
    """

    logits: Callable[[Grid], NDArray[np.int16]]
    processed: Callable[[Grid], NDArray[np.bool_]]
    dem: Callable[[Grid], NDArray[np.float32]] | None = None
    counts: Callable[[Grid], NDArray[np.uint8]] | None = None
    dates: Callable[[Grid], NDArray[np.uint16]] | None = None
    spread: Callable[[Grid], NDArray[np.uint16]] | None = None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """A file of outlines of one year that somebody else drew.

    Attributes:
        year: Year that the outlines stand for.
        path: Path of the vector file, as given.
        resolution_m: Pixel side of the imagery that the outlines were drawn at.
        select: Column value to keep where one file holds several years, as `("year", "2010")`, or None.
        error_m: Displacement of the shores that the inventory states, one standard deviation; None if it says nothing.
        layer: Layer of the file; None for its only one.
        crs: Reference system of a file that does not say its own, as `EPSG:32643`; None to refuse such a file.
    """

    year: int
    path: str
    resolution_m: float
    select: tuple[str, str] | None = None
    error_m: float | None = None
    layer: str | None = None
    crs: str | None = None

    @property
    def displacement_m(self) -> float:
        """Displacement of the shores before anything is measured, metres: as stated, else half a pixel; one standard deviation."""
        return self.error_m if self.error_m else half_pixel_m(self.resolution_m)

    def __post_init__(self) -> None:
        if not 1 <= self.resolution_m <= 1000:
            raise InputError(
                f"inventory of {self.year}: a resolution of {self.resolution_m:g} m, wanted 1 to 1000",
                "write YEAR=FILE@30m with the resolution that the outlines were drawn at",
            )

    @classmethod
    def parse(cls, text: str) -> Inventory:
        """The inventory of a text such as `2010=lakes.shp@30m`, `2010=lakes.gpkg?year=2010@30m` for a column's value, or
        `2010=lakes.shp@30m±0.3px` with its stated error.

        Raises:
            InputError: If the text has another form.
        """
        found = _INVENTORY.match(text.strip())
        if found is None:
            raise InputError(
                f"inventory {text!r} has another form than YEAR=FILE@30m", "for example 2010=lakes.shp@30m"
            )
        select = (found["column"], found["value"]) if found["column"] else None
        metres = float(found["metres"])
        error = float(found["error"]) * (metres if found["unit"] == "px" else 1.0) if found["error"] else None
        return cls(year=int(found["year"]), path=found["path"], resolution_m=metres, select=select, error_m=error)
