"""How hard a simulation makes it: what real mountains do to light, water, ice and elevation models that tidy scenes leave out.

`easy` has none of it, and the same bytes as ever. Figures are plausible, not measured at one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["easy", "real", "hard"]


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """What is added to a simulation; nothing is the default.

    Attributes:
        white_flour: Share of lakes with more glacial flour than milky ones, up to white.
        dark_water: Share of lakes far darker than clear ones.
        glint: Highest reflectance of glint on a lake on a date, alike in all bands.
        cirrus: Highest reflectance that thin cirrus adds on a date, nearly alike in all bands.
        rain: Share of dates on which parts of the ground are wet.
        sky_light: Factor on the light of the sky in the shade: valleys see little of it.
        shore_roughness: Factor on the waves of a shore that are shorter than a tenth of its length.
        shade_cost: How much a lake avoids ground in cast shadow when it looks for its place.
        fronts: Share of lakes that end at a calving glacier, beyond one of every kind.
        melange: Highest share of the water before a calving front under icebergs and brash on a date.
        deltas: Share of stable lakes whose inflow's delta covers a part of them in one of the years.
        rivers: Braided rivers on 144 km2.
        dem_noise_m: Standard deviation of the elevation model's error on rough ground beyond what `easy` has.
        dem_voids: Holes of the elevation model on 144 km2.
    """

    white_flour: float = 0.0
    dark_water: float = 0.0
    glint: float = 0.0
    cirrus: float = 0.0
    rain: float = 0.0
    sky_light: float = 1.0
    shore_roughness: float = 0.0
    shade_cost: float = 60.0
    fronts: float = 0.0
    melange: float = 0.0
    deltas: float = 0.0
    rivers: int = 0
    dem_noise_m: float = 0.0
    dem_voids: int = 0


DIFFICULTIES: Final[dict[Level, Difficulty]] = {
    "easy": Difficulty(),
    "real": Difficulty(
        white_flour=0.12, dark_water=0.15, glint=0.02, cirrus=0.02, rain=0.3, sky_light=0.8, shore_roughness=0.6,
        shade_cost=15.0, fronts=0.35, melange=0.15, deltas=0.15, rivers=2, dem_noise_m=1.5, dem_voids=2,
    ),
    "hard": Difficulty(
        white_flour=0.2, dark_water=0.2, glint=0.04, cirrus=0.04, rain=0.6, sky_light=0.6, shore_roughness=1.0,
        shade_cost=0.0, fronts=0.5, melange=0.4, deltas=0.3, rivers=5, dem_noise_m=3.0, dem_voids=6,
    ),
}  # fmt: skip
