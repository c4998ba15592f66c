"""A scene: one acquisition of the area, as far as choosing and reading it needs.

Neighbours: `items` makes scenes of STAC items; `selection` chooses among them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shapely.geometry.base import BaseGeometry

Role = Literal["optical", "radar", "terrain"]
"""What a scene is used for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One item of a catalogue, as far as choosing and reading it needs.

    Attributes:
        id: STAC item id.
        collection: STAC collection id.
        product: Row of the provider table, as `archive/collection`.
        role: What it is used for.
        moment: Of acquisition, UTC.
        footprint: Where it has data, EPSG:4326.
        hrefs: Our band name -> absolute address or path.
        epsg: Of its pixels; None if the item does not say.
        platform: As `sentinel-2b`, lower case.
        orbit: Relative orbit number, or None.
        orbit_state: `ascending`, `descending` or empty.
        cloud_percent: `eo:cloud_cover`, or None.
        baseline: Processing baseline as (5, 9); (0, 0) if it has none.
        offset: What its numbers carry on top: 0 or 1000.
        sun_azimuth_deg: Clockwise from true north; NaN if it has none.
        sun_elevation_deg: Above the horizon; NaN if it has none.
    """

    id: str
    collection: str
    product: str
    role: Role
    moment: dt.datetime
    footprint: BaseGeometry
    hrefs: Mapping[str, str]
    epsg: int | None = None
    platform: str = ""
    orbit: int | None = None
    orbit_state: str = ""
    cloud_percent: float | None = None
    baseline: tuple[int, int] = (0, 0)
    offset: int = 0
    sun_azimuth_deg: float = float("nan")
    sun_elevation_deg: float = float("nan")

    @property
    def key(self) -> str:
        """`collection/id`: names the item in `scenes.json`."""
        return f"{self.collection}/{self.id}"

    @property
    def date(self) -> dt.date:
        """UTC day of acquisition."""
        return self.moment.date()

    @property
    def acquisition(self) -> tuple[dt.date, str, int]:
        """Equal for all items cut from one overpass: day, platform, relative orbit."""
        return self.date, self.platform, -1 if self.orbit is None else self.orbit

    @property
    def orbit_name(self) -> str:
        """`descending-165`: the viewing geometry of a radar scene."""
        return f"{self.orbit_state or 'unknown'}-{'unknown' if self.orbit is None else self.orbit}"
