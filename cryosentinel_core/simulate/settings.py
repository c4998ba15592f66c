"""What can be set in a simulation, checked once, so that every other room here may trust it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.simulate.difficulty import DIFFICULTIES, Difficulty, Level

Provider = Literal["planetary-computer", "earth-search"]
"""Whose collection names, asset keys and metadata the catalogue wears."""

DEFAULT_LON: Final = 77.0
"""Degrees east, in the mountains above Almaty: an edge of 1-degree elevation tiles runs through the area."""

ZONE_BORDER_LON: Final = 78.0
"""Degrees east of the border between UTM zones 43 and 44, also an edge of elevation tiles."""

MIN_LAKES_FOR_EVERY_KIND: Final = 11
"""Kinds of lake there are (see `cryosentinel_core.simulate.lakes.KINDS`)."""


@dataclass(frozen=True, kw_only=True)
class SimulateSettings:
    """All parameters of a simulation; the same settings give the same bytes.

    Attributes:
        seed: Seed of every random draw, >= 0.
        years: Years with scenes, ascending, two or more.
        size_km: Side of the square area of interest.
        margin_km: How far scenes reach beyond the area on each side.
        cloud: Mean cloud share of the Sentinel-2 scenes, 0 to 0.8.
        n_lakes: How many lakes are planned (a lake that merges or splits counts once); None for 40 on 144 km2, and
            never fewer than one of every kind.
        like: Whose archive the catalogue resembles.
        centre_lon: Degrees east of the area's centre; None for 77.0, or 78.0 with `zone_border`.
        centre_lat: Degrees north of the area's centre.
        zone_border: Centre on 78 degrees east, where the area crosses UTM zones 43 and 44 and Sentinel-2 items come
            once per zone.
        optical_dates: Sentinel-2 dates a year, July to October.
        radar_dates: Sentinel-1 dates a year and orbit direction; 0 for a catalogue without radar.
        min_lake_ha, max_lake_ha: Range of the lakes' areas, in hectares (the upper end also shrinks with the area).
        misregistration_m: Standard deviation of a date's shift on the ground, in x and in y.
        year_shift_m: Standard deviation of a shift that all Sentinel-2 dates of a year share.
        noise: Factor on the sensor noise of Sentinel-2; 0 for none.
        speckle_looks: Equivalent number of looks of Sentinel-1.
        scl_errors: Factor on the rate of scene classification errors over lakes; 0 for a classification without them.
        duplicates: Whether one acquisition of the last year comes a second time, by an older processing baseline.
        detector_edges: Whether some Sentinel-2 and Sentinel-1 dates end inside the area (nodata).
        islands: Whether some lakes have islands.
        difficulty: How much of what makes real scenes hard goes in; `easy` has none of it.
        workers: Threads that write scenes; never changes a byte.
    """

    seed: int = 0
    years: tuple[int, ...] = (2017, 2023)
    size_km: float = 12.0
    margin_km: float = 7.0
    cloud: float = 0.25
    n_lakes: int | None = None
    like: Provider = "planetary-computer"
    centre_lon: float | None = None
    centre_lat: float = 43.05
    zone_border: bool = False
    optical_dates: int = 5
    radar_dates: int = 2
    min_lake_ha: float = 0.1
    max_lake_ha: float = 100.0
    misregistration_m: float = 3.0
    year_shift_m: float = 1.5
    noise: float = 1.0
    speckle_looks: float = 4.4
    scl_errors: float = 1.0
    duplicates: bool = True
    detector_edges: bool = True
    islands: bool = True
    difficulty: Level = "easy"
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            ConfigError: A parameter is outside its range.
        """
        object.__setattr__(self, "years", tuple(int(year) for year in self.years))
        years = self.years
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(len(years) >= 2 and list(years) == sorted(set(years)), "years", years, "two or more, ascending")
        _require(years[0] >= 2016 and years[-1] <= 2035, "years", years, "years from 2016 to 2035")
        _require(self.difficulty in DIFFICULTIES, "difficulty", self.difficulty, " or ".join(DIFFICULTIES))
        _require(self.like in get_args(Provider), "like", self.like, " or ".join(get_args(Provider)))
        _require(self.n_lakes is None or 1 <= self.n_lakes <= 400, "n_lakes", self.n_lakes, "1 to 400")
        _require(self.min_lake_ha < self.max_lake_ha, "min_lake_ha", self.min_lake_ha, "less than max_lake_ha")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            _require(math.isfinite(value) and low <= value <= high, name, value, f"{low} to {high}")
        if self.zone_border:
            _require(self.centre_lon in (None, ZONE_BORDER_LON), "centre_lon", self.centre_lon, "78.0 with zone_border")
        _require(-180.0 < self.lon < 180.0, "centre_lon", self.lon, "-180 to 180")

    @property
    def lon(self) -> float:
        """Degrees east of the area's centre."""
        if self.centre_lon is not None:
            return self.centre_lon
        return ZONE_BORDER_LON if self.zone_border else DEFAULT_LON

    @property
    def hardships(self) -> Difficulty:
        """What the difficulty adds."""
        return DIFFICULTIES[self.difficulty]

    @property
    def lake_count(self) -> int:
        """How many lakes are planned."""
        if self.n_lakes is not None:
            return self.n_lakes
        return max(MIN_LAKES_FOR_EVERY_KIND + 1, round(40 * (self.size_km / 12.0) ** 2))

    def to_dict(self) -> dict[str, Any]:
        """Every parameter that decides the files' content (not `workers`), with what None stands for filled in."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "workers"
        }
        if self.difficulty == "easy":
            del values["difficulty"]  # as it was before there were others
        return values | {"years": list(self.years), "n_lakes": self.lake_count, "centre_lon": self.lon}


@dataclass(frozen=True, kw_only=True)
class SimulationSummary:
    """What a simulation left behind.

    Attributes:
        directory: The catalogue's folder.
        catalog: Its `catalog.json`.
        aoi: Its `aoi.geojson`.
        n_optical_items, n_radar_items, n_terrain_items: Items per kind.
        n_lakes: Lakes in the truth, summed over years.
        n_events: Rows of the truth's events.
        statuses: Number of events by status.
        bytes_written: Size of everything on disk.
    """

    directory: Path
    catalog: Path
    aoi: Path
    n_optical_items: int
    n_radar_items: int
    n_terrain_items: int
    n_lakes: int
    n_events: int
    statuses: dict[str, int]
    bytes_written: int


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "size_km": (1.5, 60.0),
    "margin_km": (0.5, 20.0),
    "cloud": (0.0, 0.8),
    "centre_lat": (-56.0, 60.0),
    "optical_dates": (1, 12),
    "radar_dates": (0, 8),
    "min_lake_ha": (0.05, 50.0),
    "max_lake_ha": (0.1, 200.0),
    "misregistration_m": (0.0, 30.0),
    "year_shift_m": (0.0, 30.0),
    "noise": (0.0, 20.0),
    "speckle_looks": (1.0, 1000.0),
    "scl_errors": (0.0, 5.0),
    "workers": (1, 64),
}


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(
            f"simulation parameter {name} is {value!r}; wanted {wanted}",
            "give another value; the flag is in `cryosentinel simulate --help`",
        )
