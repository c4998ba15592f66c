"""Which spectra are water beyond doubt, whatever it carries and whatever lies over it.

Water absorbs in the near infrared and, ten to a hundred times more strongly, in the shortwave infrared; flour and silt brighten the
visible and the near infrared and never the shortwave infrared; haze and glint lie on all bands alike. What else is dark in the
shortwave infrared is snow and ice, which are bright and blue, and ground in the shade, which the sky lights blue. So colour decides
how much is asked of a pixel: little where red outshines blue, as over silt and under haze, more where blue does.

Sources: NDWI (McFeeters 1996, Int. J. Remote Sens. 17, 1425), MNDWI (Xu 2006, Int. J. Remote Sens. 27, 3025), glint by an infrared
band (Hedley et al. 2005, Int. J. Remote Sens. 26, 2107) and by the shortwave infrared (Vanhellemont & Ruddick 2015, Remote Sens.
Environ. 161, 89), near infrared of silt (Doxaran et al. 2002, Remote Sens. Environ. 81, 149), snow (Hall et al. 1995, Remote Sens.
Environ. 54, 127), colour of light in the shade (Shahtahmassebi et al. 2013, Chin. Geogr. Sci. 23, 403).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryosentinel_core.segment.neighbourhoods import Array, Mask
from cryosentinel_core.segment.water_parameters import WaterIndexParameters
from cryosentinel_core.stack.bands import index_of_band


@dataclass(frozen=True)
class Spectrum:
    """Reflectance 0..1 of the bands that decide, each (H, W) float32."""

    blue: Array
    green: Array
    red: Array
    nir: Array
    swir1: Array
    swir2: Array

    @classmethod
    def of(cls, reflectance: Array) -> Spectrum:
        """The bands of (12, H, W) reflectance."""
        return cls(*(reflectance[index_of_band(name)] for name in ("B02", "B03", "B04", "B08", "B11", "B12")))


def is_water_spectrum(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True where the spectrum alone says water; no radar, no terrain."""
    found: Mask = (is_open_water(seen, p) | is_silty_water(seen, p) | is_black_water(seen, p)) & ~_is_skylit(seen, p)
    return found & (seen.swir1 < p.swir_seed) & (seen.blue < p.blue_seed)


def is_open_water(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True where green outshines near and shortwave infrared by more than snow, ice and shade do."""
    is_warm = (seen.blue < p.blue_per_red_warm * seen.red) | (seen.blue < p.blue_per_green_silt * seen.green)
    veil = np.minimum(seen.swir1, seen.swir2)
    veil = np.where(is_warm | (veil > p.swir_shade), veil, np.float32(0.0))
    green, nir, swir1 = seen.green - veil, seen.nir - veil, seen.swir1 - veil
    ndwi, mndwi = normalised_difference(green, nir), normalised_difference(green, swir1)
    asked = np.where(
        is_warm,
        np.maximum(p.ndwi_warm, p.ndwi_per_nir_warm * nir),
        np.maximum(p.ndwi_seed, p.ndwi_per_nir * nir),
    )
    absorbing = mndwi > p.mndwi_seed - p.mndwi_yield * np.clip(ndwi - 0.5, 0.0, 0.5)
    dim = seen.nir < np.where(is_warm, p.nir_warm, p.nir_seed)
    return np.asarray((green > 0) & (ndwi > asked) & absorbing & dim, dtype=bool)


def is_silty_water(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True where silt outshines the near infrared's absorption, and the shortwave infrared gives the water away."""
    veil = np.minimum(seen.swir1, seen.swir2)
    absorbing = normalised_difference(seen.green - veil, seen.swir1 - veil) > p.mndwi_silt
    brown = (seen.blue < p.blue_per_green_silt * seen.green) & (seen.red >= seen.nir)
    return np.asarray((seen.green > veil) & absorbing & brown & (seen.nir < p.nir_seed), dtype=bool)


def is_black_water(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True where hardly anything comes back, and no blue of a sky that lights shade."""
    visible = np.maximum(seen.blue, seen.green)
    dark = (visible < p.visible_black) & (seen.nir < p.nir_black) & (seen.swir1 < p.swir_black)
    return np.asarray(dark & (seen.blue <= seen.green), dtype=bool)


def is_dim_water(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True where the spectrum allows water that radar must confirm."""
    dark = (seen.nir < p.nir_dark) & (seen.swir1 < p.swir_dark)
    return np.asarray(dark & (normalised_difference(seen.green, seen.nir) > p.ndwi_dark), dtype=bool)


def _is_skylit(seen: Spectrum, p: WaterIndexParameters) -> Mask:
    """(H, W) bool: True on shaded snow: bright and bluer than any water."""
    blue = normalised_difference(seen.blue, seen.green)
    return np.asarray((seen.blue > p.skylit_blue) & (blue > p.skylit_index), dtype=bool)


def normalised_difference(first: Array, second: Array) -> Array:
    """(first - second) / (first + second), 0 where both are 0; same shape, -1..1."""
    total = first + second
    out: Array = np.divide(first - second, total, out=np.zeros_like(total), where=total > 0)
    return out
