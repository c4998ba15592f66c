"""When satellites pass over the simulated ground, and in which weather: the plan of all scenes, before any pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from cryosentinel_core.simulate.fields import make_generator
from cryosentinel_core.simulate.grids import Ground
from cryosentinel_core.simulate.settings import SimulateSettings
from cryosentinel_core.simulate.sun import sun_position

LAST_WITHOUT_OFFSET: Final = 2021
"""Last year whose scenes carry a processing baseline before 04.00, on Planetary Computer and by default."""

_SOLAR_HOUR: Final = 10.75
_SNOW_LINE_M: Final = ((180, 3_820.0), (205, 4_020.0), (235, 4_130.0), (262, 3_980.0), (285, 3_380.0))
"""Height of the seasonal snow line by day of the year."""

OrbitState = Literal["ascending", "descending"]

LOOK_AZIMUTH_DEG: Final[dict[OrbitState, float]] = {"ascending": 79.0, "descending": 281.0}
"""Bearing from the radar to the ground: Sentinel-1 looks right of a track inclined by 98 degrees."""

Edge = tuple[float, float, float]
"""A half-plane without data: `a x + b y > c` in the ground's CRS."""


@dataclass(frozen=True)
class OpticalPass:
    """A Sentinel-2 acquisition.

    Attributes:
        when: Sensing time, UTC.
        platform: `A` or `B`.
        relative_orbit: Relative orbit.
        baseline: Processing baseline such as `05.09`.
        sun_azimuth_deg, sun_elevation_deg: Position of the sun.
        cloud: Share of the ground under cloud.
        haze: Reflectance that thin cloud adds unnoticed where it is thickest.
        snow_line_m: Height of the seasonal snow line.
        shift_m: How far the image lies off, (east, north).
        gain: Factor on reflectance that atmospheric correction leaves.
        edge: Ground that the swath does not reach, if any.
        in_season: Whether the date lies in July to September.
        clear_rank: 0 or 1 for the year's two clearest passes, whose weather spares all lakes that are not meant to
            be hidden; None for the others.
        copy_of_newer: Whether this is an older processing of another acquisition in the plan.
        glint: Reflectance of glint on the lakes that the wind roughens most.
        cirrus: Reflectance that thin cirrus adds where it is thickest.
        rain: Share of the ground that is wet.
    """

    when: datetime
    platform: Literal["A", "B"]
    relative_orbit: int
    baseline: str
    sun_azimuth_deg: float
    sun_elevation_deg: float
    cloud: float
    haze: float
    snow_line_m: float
    shift_m: tuple[float, float]
    gain: float
    edge: Edge | None
    in_season: bool
    clear_rank: int | None
    copy_of_newer: bool = False
    glint: float = 0.0
    cirrus: float = 0.0
    rain: float = 0.0

    @property
    def name(self) -> str:
        """Sensing time and baseline, unique in a plan."""
        return f"{self.when:%Y%m%dT%H%M%S}-{self.baseline}"

    @property
    def offset(self) -> int:
        """What stored numbers carry on top of reflectance x 10,000."""
        return 1000 if self.baseline >= "04.00" else 0


@dataclass(frozen=True)
class RadarPass:
    """A Sentinel-1 acquisition: time, platform, orbit, weather on the water, shift and ground without data."""

    when: datetime
    platform: Literal["A", "B"]
    orbit_state: OrbitState
    relative_orbit: int
    wind: float
    snow_line_m: float
    shift_m: tuple[float, float]
    edge: Edge | None

    @property
    def name(self) -> str:
        """Sensing time, unique in a plan."""
        return f"{self.when:%Y%m%dT%H%M%S}"


def plan_optical(settings: SimulateSettings, ground: Ground) -> tuple[OpticalPass, ...]:
    """The Sentinel-2 acquisitions of all years, in order of time; an older duplicate comes after its newer twin."""
    passes: list[OpticalPass] = []
    for year in settings.years:
        passes.extend(_optical_year(settings, ground, year))
    return tuple(passes)


def _optical_year(settings: SimulateSettings, ground: Ground, year: int) -> list[OpticalPass]:
    rng = make_generator(settings.seed, "optical", year)
    days = _days(settings.optical_dates) + rng.integers(-3, 4, settings.optical_dates)
    clouds, clear = _cloud_shares(settings.cloud, days, rng)
    common = rng.normal(0, settings.year_shift_m, 2)
    anomaly = float(rng.normal(0, 50))
    usable = [i for i in np.argsort(clouds) if clouds[i] < 0.3]
    edge_at = usable[-1] if settings.detector_edges and len(usable) > 2 else -1
    passes = []
    for i, day in enumerate(days):
        when = _at_noonish(year, int(day), settings.lon, int(rng.integers(0, 59)))
        azimuth, elevation = sun_position(when, settings.lon, settings.centre_lat)
        shift = common + rng.normal(0, settings.misregistration_m, 2)
        edge = _edge(rng, ground, 14.0) if i == edge_at else None
        glint, cirrus, rain = _veil(settings, year, i)
        passes.append(
            OpticalPass(
                when=when,
                platform="AB"[int(day) // 5 % 2],  # type: ignore[arg-type]
                relative_orbit=(105, 5)[int(day) % 2],
                baseline=_baseline(settings, year),
                sun_azimuth_deg=azimuth,
                sun_elevation_deg=elevation,
                cloud=float(clouds[i]),
                haze=float(rng.choice([0.0, 0.015, 0.04])),
                snow_line_m=_snow_line(int(day)) + anomaly,
                shift_m=(float(shift[0]), float(shift[1])),
                gain=float(1 + rng.normal(0, 0.008)),
                edge=edge,
                in_season=when.month < 10,
                clear_rank=clear.get(i),
                glint=glint,
                cirrus=cirrus,
                rain=rain,
            )
        )
    if settings.duplicates and year == settings.years[-1]:
        twin = passes[usable[0] if usable else 0]
        passes.append(_older(twin))
    return passes


def _veil(settings: SimulateSettings, year: int, number: int) -> tuple[float, float, float]:
    """Glint, cirrus and wet ground of a date, where the difficulty has any."""
    hardships = settings.hardships
    if hardships.glint + hardships.cirrus + hardships.rain == 0:
        return 0.0, 0.0, 0.0
    glint, cirrus, wet, share = make_generator(settings.seed, "veil", year, number).random(4)
    return (
        float(hardships.glint * glint),
        float(hardships.cirrus * max(0.0, 2 * cirrus - 1)),
        float(0.2 + 0.8 * share) if wet < hardships.rain else 0.0,
    )


def _older(newer: OpticalPass) -> OpticalPass:
    east, north = newer.shift_m
    older = "04.00" if newer.offset else "02.05"
    return replace(newer, baseline=older, shift_m=(east + 6.0, north - 5.0), gain=newer.gain * 1.02, copy_of_newer=True)


def _days(count: int) -> npt.NDArray[np.int64]:
    """Days of the year of `count` passes: all in the season if few, else the last one in October."""
    if count == 1:
        return np.array([225], np.int64)
    if count < 4:
        return np.asarray(np.rint(np.linspace(205, 243, count)), np.int64)
    return np.asarray(np.append(np.rint(np.linspace(193, 252, count - 1)), 279), np.int64)


def _cloud_shares(
    mean: float, days: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], dict[int, int]]:
    """Cloud share of each pass, and the ranks of the two clearest, which lie in the middle of the season.

    So the median dates of two years differ by less than a month, as a careful choice of real scenes would see to.
    """
    count = len(days)
    order = np.argsort(np.abs(days - 222) + rng.random(count), kind="stable")
    profile = np.linspace(0.08, 0.35, 2)
    rest = np.linspace(0.9, 2.1, max(count - 2, 1))
    shares = np.concatenate([profile, rest])[:count]
    shares = shares / shares.mean() * mean * rng.uniform(0.9, 1.1, count)
    clouds = np.empty(count)
    clouds[order] = np.minimum(shares, 0.97)
    return clouds, {int(i): rank for rank, i in enumerate(order[:2])}


def _baseline(settings: SimulateSettings, year: int) -> str:
    if settings.like == "earth-search":
        return "05.00"  # Collection 1 reprocessed everything with one baseline.
    return "02.12" if year <= LAST_WITHOUT_OFFSET else "05.09"


def _snow_line(day: int) -> float:
    days, heights = zip(*_SNOW_LINE_M, strict=True)
    return float(np.interp(day, days, heights))


def _at_noonish(year: int, day: int, lon: float, second: int) -> datetime:
    hour = (_SOLAR_HOUR - lon / 15) % 24
    return datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day - 1, minutes=round(hour * 60), seconds=second)


def _edge(rng: np.random.Generator, ground: Ground, tilt_deg: float) -> Edge:
    """The edge of a swath that leaves out a strip, 20 to 35 % of the ground's width, in the east or in the west."""
    minx, miny, maxx, maxy = ground.grid.bounds
    side = 1 if rng.random() < 0.5 else -1
    a, b = side * float(np.cos(np.radians(tilt_deg))), -side * float(np.sin(np.radians(tilt_deg)))
    x = (minx + maxx) / 2 + side * (maxx - minx) * rng.uniform(0.15, 0.30)
    return a, b, a * x + b * (miny + maxy) / 2


def plan_radar(settings: SimulateSettings, ground: Ground) -> tuple[RadarPass, ...]:
    """The Sentinel-1 acquisitions of all years: the same relative orbit per direction, some dates in wind."""
    passes: list[RadarPass] = []
    for year in settings.years:
        for state, orbit, hour in (("ascending", 85, 18.1), ("descending", 165, 6.2)):
            rng = make_generator(settings.seed, "radar", year, state)
            count = settings.radar_dates
            days = np.rint(np.linspace(205, 241, count) if count > 1 else np.full(count, 222)).astype(int)
            windy = int(rng.integers(0, 2 * max(count, 1)))
            for i, day in enumerate(days):
                when = datetime(year, 1, 1, tzinfo=UTC) + timedelta(
                    days=int(day) - 1 + (6 if state == "descending" else 0),
                    minutes=round(((hour - settings.lon / 15) % 24) * 60),
                    seconds=int(rng.integers(0, 59)),
                )
                shift = rng.normal(0, settings.misregistration_m, 2)
                edge = (
                    _edge(rng, ground, 11.0)
                    if settings.detector_edges and i == 1 and year == settings.years[-1]
                    else None
                )
                passes.append(
                    RadarPass(
                        when=when,
                        platform="A",
                        orbit_state=state,  # type: ignore[arg-type]
                        relative_orbit=orbit,
                        wind=float(rng.uniform(0.6, 1.0) if i == windy else rng.uniform(0.0, 0.25)),
                        snow_line_m=_snow_line(int(day)),
                        shift_m=(float(shift[0]), float(shift[1])),
                        edge=edge if state == "ascending" else None,
                    )
                )
    return tuple(passes)
