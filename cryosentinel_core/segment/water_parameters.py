"""Constants of the water index, each with its unit. Neighbours: `water_spectra`, `shore_unmixing` and `water_index` use them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WaterIndexParameters:
    """Every constant of the water index, with its unit.

    Attributes:
        ndwi_seed: Least NDWI of a seed.
        mndwi_seed: Least MNDWI of a seed.
        nir_seed: Highest near-infrared reflectance of a seed.
        swir_seed: Highest shortwave-infrared reflectance of a seed.
        blue_seed: Highest blue reflectance of a seed: brighter is snow or cloud.
        ndwi_per_nir: Least NDWI of a seed per unit of near-infrared reflectance: brighter water must be greener.
        ndwi_warm: The same two, of a veil of haze or glint rid, where red outshines blue: silt or haze, neither ice nor shade.
        ndwi_per_nir_warm: See `ndwi_warm`.
        nir_warm: Highest near-infrared reflectance of such a seed.
        swir_shade: Highest shortwave-infrared reflectance of ground in the shade: what is above it is haze or glint.
        mndwi_yield: By how much less MNDWI is asked for per unit of NDWI above one half: glint on clear water.
        blue_per_red_warm: Highest blue per red of water with silt or under haze: grey ground, half in the shade, has as much of both.
        mndwi_silt: Least MNDWI, of the veil rid, of water whose silt outshines the near infrared's absorption; wet sand has less.
        blue_per_green_silt: Highest blue per green of such water: bluer is ice.
        visible_black: Highest blue and green reflectance of black water.
        nir_black: Highest near-infrared reflectance of black water.
        swir_black: Highest shortwave-infrared reflectance of black water.
        skylit_blue: Blue reflectance above which ground lit by the sky alone, shaded snow, is told by its colour.
        skylit_index: Least normalised difference of blue and green of such ground.
        ndwi_dark: Least NDWI of a dark seed (needs radar).
        nir_dark: Highest near-infrared reflectance of a dark seed.
        swir_dark: Highest shortwave-infrared reflectance of a dark seed.
        vv_dark_db: Highest VV backscatter of a dark seed, mean of 3 x 3 pixels, dB.
        vh_dark_db: Highest VH backscatter of a dark seed, mean of 3 x 3 pixels, dB.
        vh_bright_db: VH backscatter above which nothing is water, mean of 3 x 3 pixels, dB: rough ground in the dark.
        slope_degrees: Steepest ground under a seed.
        ndwi_sure: Least NDWI of a seed on steeper ground, where ice may have stood when the heights were measured.
        green_sure: Least green reflectance of such a seed, or else radar is dark: shaded rock is darker.
        shadow_sure: Largest share of dates in terrain shadow of such a seed.
        steep_reach_px: How far such seeds may lie from others, through their like.
        shadow_share: Largest share of dates in terrain shadow of a seed.
        water_share: Least share of clear dates on which the date's own index said water.
        land_radius_px: Half side of the neighbourhood of the land's mean and covariance.
        water_radius_px: Half side of the neighbourhood of the water endmember.
        reach_px: How far from a seed a shore may lie.
        noise: Standard deviation of a pixel's reflectance: sensor and registration.
        brightness_share: Standard deviation of the land's brightness as a share of it: wetness and slope.
        land_fallback: Reflectance of land in all bands where none is near.
        steepness: Logit of a pixel that is all water: slope of logit over fraction, times one half.
        shore_fraction: Water fraction of a pixel whose logit is zero: a little over one half, as wet ground looks like water.
        blur_px: Standard deviation of the blur of a composite (instrument, resampling, dates that do not lie quite on each other).
        outside_logit: Logit where no seed is near.
    """

    ndwi_seed: float = 0.12
    mndwi_seed: float = 0.2
    nir_seed: float = 0.14
    swir_seed: float = 0.08
    blue_seed: float = 0.4
    ndwi_per_nir: float = 3.0
    ndwi_warm: float = 0.05
    ndwi_per_nir_warm: float = 1.5
    nir_warm: float = 0.25
    swir_shade: float = 0.02
    mndwi_yield: float = 0.6
    blue_per_red_warm: float = 0.95
    mndwi_silt: float = 0.6
    blue_per_green_silt: float = 0.85
    visible_black: float = 0.03
    nir_black: float = 0.025
    swir_black: float = 0.01
    skylit_blue: float = 0.12
    skylit_index: float = 0.12
    ndwi_dark: float = 0.1
    nir_dark: float = 0.03
    swir_dark: float = 0.05
    vv_dark_db: float = -15.0
    vh_dark_db: float = -20.0
    vh_bright_db: float = -17.5
    slope_degrees: float = 14.0
    ndwi_sure: float = 0.3
    green_sure: float = 0.05
    shadow_sure: float = 0.2
    steep_reach_px: int = 30
    shadow_share: float = 0.6
    water_share: float = 0.3
    land_radius_px: int = 12
    water_radius_px: int = 7
    reach_px: int = 2
    noise: float = 0.002
    brightness_share: float = 0.3
    land_fallback: float = 0.2
    steepness: float = 8.0
    shore_fraction: float = 0.533
    blur_px: float = 0.6
    outside_logit: float = -8.0
